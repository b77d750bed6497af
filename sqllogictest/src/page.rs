//! Plays a page of the documentation: its SQL is run by `psql`, and what it prints is on the page.
//!
//! ````text
//!   ```sql                    one or more statements
//!   SELECT 1 AS one;
//!   ```
//!
//!   ```text                   directly behind it: what psql prints for them, errors and notices too
//!    one
//!   -----
//!      1
//!   (1 row)
//!   ```
//! ````
//!
//! A page's blocks are run in order, on an empty server of its own. A block without a `text` block
//! behind it must not fail. `…` stands for what differs from run to run, a line of it for any lines.
//! Errors are printed with their SQLSTATE (`\set VERBOSITY verbose`). A block of ```` ```sql,norun ````
//! is not run. With `BLESS=1` what is printed is written to the page instead of compared.
//!
//! Not here: which pages there are (`build.rs`), and the programs of clients (`clients/run.py`).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use tempfile::TempDir;

use crate::server_process::ServerProcess;

/// A page that runs longer waits for something that does not happen.
const PAGE_TIME_MAX: Duration = Duration::from_secs(60);
const END_POLL: Duration = Duration::from_millis(5);
/// What psql prints between the outputs of two blocks.
const MARK: &str = "@@ block ";
/// So that plans and jobs look the same on every machine.
const VARIABLES: [(&str, &str); 1] = [("TIDEWATER_STREAMING_PARALLELISM", "2")];

/// A block of SQL and what it is to print, as line numbers of the page.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    sql: std::ops::Range<usize>,
    printed: Option<std::ops::Range<usize>>,
}

/// The repository's root, which the names of pages start from: test runners work in the crate's
/// directory. (A path fixed when compiling would be another checkout's: clones share builds.)
#[must_use]
pub fn repository() -> PathBuf {
    PathBuf::from("..")
}

/// Runs the examples of a page, such as `docs/sql/select.md`.
///
/// # Panics
/// If something else is printed than the page says, with both; if there is no `psql`.
pub fn play_page(name: &str) {
    let path = repository().join(name);
    let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut lines: Vec<&str> = page.lines().collect();
    let examples = examples(&lines);
    let server = ServerProcess::start_with(&VARIABLES);
    let output = run_psql(&server, &script(&lines, &examples));
    let outputs = outputs(&output, examples.len());

    let mut wrong = String::new();
    let is_blessed = env::var("BLESS").is_ok_and(|value| value == "1");
    // From the end, so that the line numbers in front stay true.
    for (example, found) in examples.iter().zip(&outputs).rev() {
        let sql = lines[example.sql.clone()].join("\n");
        match &example.printed {
            Some(printed) if matches(&lines[printed.clone()], found) => {}
            Some(printed) if is_blessed => {
                lines.splice(printed.clone(), found.iter().copied());
            }
            None if !found.iter().any(|line| is_error(line)) => {}
            _ => {
                let line = example.sql.start + 1;
                let found = found.join("\n");
                write!(wrong, "\n{name}:{line}:\n{sql}\n--- prints\n{found}\n")
                    .expect("a String takes any text");
            }
        }
    }
    if is_blessed {
        fs::write(&path, lines.join("\n") + "\n").expect("the page can be written");
    }
    assert!(
        wrong.is_empty(),
        "{wrong}\n(make docs ONLY=… BLESS=1 writes to the page what is printed)"
    );
}

/// The `sql` blocks of a page, each with the `text` block directly behind it.
fn examples(lines: &[&str]) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut at = 0;
    // Whether only blank lines stand between the last example and here.
    let mut is_directly_behind = false;
    while at < lines.len() {
        let Some(info) = lines[at].strip_prefix("```") else {
            is_directly_behind &= lines[at].trim().is_empty();
            at += 1;
            continue;
        };
        let start = at + 1;
        let end = (start..lines.len())
            .find(|&end| lines[end].starts_with("```"))
            .unwrap_or_else(|| panic!("line {}: the block has no end", at + 1));
        match (info.trim(), found.last_mut()) {
            ("sql", _) => found.push(Example {
                sql: start..end,
                printed: None,
            }),
            ("text", Some(example)) if is_directly_behind => example.printed = Some(start..end),
            _ => {}
        }
        is_directly_behind = info.trim() == "sql";
        at = end + 1;
    }
    found
}

/// What psql reads: the blocks, each behind a mark.
fn script(lines: &[&str], examples: &[Example]) -> String {
    let mut script = "\\set VERBOSITY verbose\n".to_owned();
    for (number, example) in examples.iter().enumerate() {
        let sql = lines[example.sql.clone()].join("\n");
        writeln!(script, "\\echo {MARK}{number}\n{sql}").expect("a String takes any text");
    }
    script
}

/// All that psql prints, errors among the rows.
fn run_psql(server: &ServerProcess, script: &str) -> String {
    let folder = TempDir::with_prefix("tidewater-docs-").expect("a temporary folder");
    let (input, output) = (folder.path().join("input"), folder.path().join("output"));
    fs::write(&input, script).expect("a file in our own folder");
    let printed = File::create(&output).expect("a file in our own folder");
    let address = server.address();
    let mut psql = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--username=root", "--dbname=dev"])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .env("PGTZ", "UTC")
        .current_dir(folder.path())
        .stdin(File::open(&input).expect("it was just written"))
        .stdout(printed.try_clone().expect("a second handle of the file"))
        .stderr(Stdio::from(printed))
        .spawn()
        .unwrap_or_else(|error| panic!("psql is needed (Debian: postgresql-client): {error}"));
    let started = Instant::now();
    while psql.try_wait().expect("our own child").is_none() {
        if started.elapsed() > PAGE_TIME_MAX {
            psql.kill().expect("our own child");
            psql.wait().expect("our own child");
            let printed = fs::read_to_string(&output).unwrap_or_default();
            panic!("psql did not end within {PAGE_TIME_MAX:?}; so far it printed\n{printed}");
        }
        thread::sleep(END_POLL);
    }
    // Notices have no SQLSTATE that says anything.
    fs::read_to_string(&output)
        .expect("psql prints what the server sends, which is UTF-8")
        .replace("NOTICE:  00000: ", "NOTICE:  ")
}

/// The lines that each block printed, without blank ones at its end.
fn outputs(printed: &str, blocks: usize) -> Vec<Vec<&str>> {
    let mut outputs = vec![Vec::new(); blocks];
    let mut block = None;
    for line in printed.lines() {
        if let Some(number) = line.strip_prefix(MARK) {
            block = number.parse::<usize>().ok();
        } else if let Some(lines) = block.and_then(|block| outputs.get_mut(block)) {
            lines.push(line.trim_end());
        }
    }
    for lines in &mut outputs {
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
    }
    outputs
}

fn is_error(line: &str) -> bool {
    line.starts_with("ERROR: ") || line.starts_with("FATAL: ") || line.starts_with("psql: ")
}

/// Whether lines are as expected; `…` alone in a line stands for any lines.
fn matches(expected: &[&str], found: &[&str]) -> bool {
    match (expected.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => (0..=found.len()).any(|any| matches(rest, &found[any..])),
        (Some((pattern, rest)), Some((line, lines))) => {
            line_matches(pattern.trim_end(), line) && matches(rest, lines)
        }
        _ => false,
    }
}

/// Whether a line is as expected; `…` within it stands for any text.
fn line_matches(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else {
        return pattern == line;
    };
    let Some(line) = line.strip_prefix(start) else {
        return false;
    };
    let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
    ends.into_iter().any(|at| line_matches(rest, &line[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_directly_behind_is_printed() {
        let page = "```sql\nSELECT 1;\n```\n\n```text\n1\n```\n\nwords\n\n```text\nsyntax\n```\n```sql\nFLUSH;\n```\nwords\n```text\nx\n```\n```sql,norun\nSELECT 2;\n```";
        let lines: Vec<&str> = page.lines().collect();
        let expected = [
            Example {
                sql: 1..2,
                printed: Some(5..6),
            },
            Example {
                sql: 14..15,
                printed: None,
            },
        ];
        assert_eq!(examples(&lines), expected);
    }

    #[test]
    fn an_ellipsis_stands_for_what_differs() {
        let found = [
            "NOTICE:  scaling",
            "NOTICE:  scaled \"v\" in 3 ms, rescale 1",
            " a",
        ];
        assert!(matches(
            &["…", "NOTICE:  scaled \"v\" in … ms, rescale 1", " a"],
            &found
        ));
        assert!(!matches(
            &["NOTICE:  scaled \"v\" in … ms, rescale 1", " a"],
            &found
        ));
        assert!(!matches(&["…", " b"], &found));
        assert!(matches(&["…"], &found));
        assert!(!line_matches("took … ms", "took 3 s"));
    }

    #[test]
    fn output_is_told_apart_by_marks() {
        let printed = "early\n@@ block 0\n a \n\n@@ block 1\nERROR:  42P01: no\n";
        assert_eq!(outputs(printed, 2), [vec![" a"], vec!["ERROR:  42P01: no"]]);
    }
}
