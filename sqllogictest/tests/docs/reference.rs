//! The reference pages name everything that there is, and nothing else.
//!
//! What stands between `<!-- begin: … -->` and `<!-- end -->` of a page is made here; with `BLESS=1`
//! it is written to the page instead of compared.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidewater_sqllogictest::{ServerProcess, repository, server_binary};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// The rows of a query, on an empty server.
async fn rows(sql: &str) -> Vec<Vec<String>> {
    let server = ServerProcess::start_with(&[]);
    let connected = server.config().connect(NoTls).await;
    let (client, connection) = connected.expect("a listening server");
    tokio::spawn(connection);
    let messages = client.simple_query(sql).await.expect("a query that works");
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned());
            Some(cells.collect())
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// Checks that a part of a page is `text`, or makes it so.
fn check_part(page: &str, part: &str, text: &str) {
    let path = repository().join("docs").join(page);
    let old = fs::read_to_string(&path).expect("the page is there");
    let begin = format!("<!-- begin: {part} -->\n");
    let (head, rest) = old.split_once(&begin).expect("the part begins");
    let (found, tail) = rest.split_once("<!-- end -->").expect("the part ends");
    let text = format!("\n{}\n\n", text.trim());
    if std::env::var("BLESS").is_ok_and(|value| value == "1") {
        let new = format!("{head}{begin}{text}<!-- end -->{tail}");
        fs::write(path, new).expect("the page can be written");
    } else {
        assert_eq!(found, text, "{page}: make docs BLESS=1 writes it");
    }
}

#[tokio::test]
async fn settings_are_on_their_page() {
    let found = rows(
        "SELECT name, boot_val, context, vartype, unit, min_val, max_val, array_to_string(enumvals, ', '), short_desc \
         FROM pg_settings ORDER BY lower(name)",
    );
    let (mut used, mut without_effect) = (String::new(), String::new());
    for row in found.await {
        let [
            name,
            default,
            context,
            kind,
            unit,
            min,
            max,
            choices,
            meaning,
        ] = &row[..]
        else {
            panic!("{row:?}");
        };
        if meaning.starts_with("Has no effect; ") {
            write!(without_effect, "`{name}`, ").expect("a String takes any text");
            continue;
        }
        let default = match name.as_str() {
            "streaming_parallelism" => "that of the server".to_owned(),
            "backfill_rate_limit" => "no limit".to_owned(),
            _ if default.is_empty() => "empty".to_owned(),
            _ => format!("`{default}`"),
        };
        let values = match (context.as_str(), kind.as_str()) {
            ("internal", _) => "cannot be changed".to_owned(),
            (_, "bool") => "`on`, `off`".to_owned(),
            (_, "enum") => format!("`{}`", choices.replace(", ", "`, `")),
            (_, "integer") if unit == "ms" => "a time".to_owned(),
            (_, "integer") => format!("{min} to {max}"),
            _ => String::new(),
        };
        writeln!(used, "| `{name}` | {default} | {values} | {meaning} |")
            .expect("a String takes any text");
    }
    let head = "| setting | default | values | meaning |\n| --- | --- | --- | --- |";
    let page = "sql/settings.md";
    check_part(
        page,
        "settings that do something",
        &format!("{head}\n{used}"),
    );
    let names = without_effect.trim_end_matches(", ");
    check_part(page, "settings without effect", &format!("{names}."));
}

#[tokio::test]
async fn schema_tide_is_on_its_page() {
    let sql = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'tide'";
    let mut expected = rows(sql).await;
    let page =
        fs::read_to_string(repository().join("docs/sql/tide.md")).expect("the page is there");
    let mut found = Vec::new();
    let mut table = "";
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## tide.") {
            table = name;
        } else if let Some(rest) = line.strip_prefix("| `") {
            let (column, rest) = rest.split_once("` | ").expect("a name and a type");
            let (data_type, _) = rest.split_once(" | ").expect("a type and a meaning");
            found.push([table, column, data_type].map(str::to_owned).to_vec());
        }
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "docs/sql/tide.md and the schema");
}

#[test]
fn options_are_on_their_page() {
    for (part, arguments, language) in [
        ("tidewater config", &["config"][..], "toml"),
        ("tidewater serve --help", &["serve", "--help"], "text"),
        ("tidewater --help", &["--help"], "text"),
    ] {
        let done = Command::new(server_binary()).args(arguments).output();
        let done = done.expect("the server can be started");
        assert!(done.status.success(), "{part}");
        let text = String::from_utf8(done.stdout).expect("it prints UTF-8");
        let text = format!("```{language}\n{}\n```", text.trim_end());
        check_part("configuration.md", part, &text);
    }
}

/// The pages below a folder.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of this repository") {
        let path = entry.expect("a file of this repository").path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[test]
fn the_summary_names_every_page() {
    let docs = repository().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("the page is there");
    let named = summary.split("](").skip(1);
    let named = named.filter_map(|rest| rest.split_once(')'));
    let named: BTreeSet<&str> = named
        .map(|(name, _)| name)
        .filter(|n| !n.is_empty())
        .collect();
    let mut found = Vec::new();
    pages(&docs, &mut found);
    let found: Vec<String> = found
        .iter()
        .map(|page| {
            page.strip_prefix(&docs)
                .expect("it was found there")
                .display()
                .to_string()
        })
        .collect();
    let found: BTreeSet<&str> = found
        .iter()
        .map(String::as_str)
        .filter(|&n| n != "SUMMARY.md")
        .collect();
    assert_eq!(named, found);
}

/// Links between pages, as `[text](page.md)`, lead to files.
#[test]
fn links_lead_somewhere() {
    let mut found = vec![repository().join("README.md")];
    pages(&repository().join("docs"), &mut found);
    let mut broken = Vec::new();
    for page in found {
        let text = fs::read_to_string(&page).expect("the page is there");
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#', ' ']).next().unwrap_or_default();
            let is_here = !target.is_empty() && !target.contains("://");
            if is_here
                && !page
                    .parent()
                    .expect("a page has a folder")
                    .join(target)
                    .exists()
            {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
