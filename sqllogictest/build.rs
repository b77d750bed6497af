//! Writes one test module per `.slt` file, so that each file shows by name in every test runner.
//!
//! ```text
//!   slt/joins/keys.slt ──► mod joins { mod keys {
//!                              #[test] fn at_parallelism_1()
//!                              #[test] fn at_parallelism_3()
//!                              #[test] fn altered_midway()
//!                          }}
//! ```
//!
//! `tests/slt.rs` includes what is written here and has the function that each test calls. A file
//! dropped into the folder is a test; there is no list to keep. Pages of the documentation that
//! have SQL become tests in the same way, for `tests/docs.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("slt");
    println!("cargo::rerun-if-changed={}", root.display());

    let mut modules = String::new();
    for (topic, names) in files_by_topic(&root) {
        writeln!(modules, "mod {topic} {{").expect("a String takes any text");
        for name in names {
            let file = format!("{topic}/{name}.slt");
            writeln!(
                modules,
                "    mod {name} {{
        use crate::{{Setting, check}};
        #[test] fn at_parallelism_1() {{ check({file:?}, Setting::Fixed(1)); }}
        #[test] fn at_parallelism_3() {{ check({file:?}, Setting::Fixed(3)); }}
        #[test] fn altered_midway() {{ check({file:?}, Setting::Altered); }}
    }}"
            )
            .expect("a String takes any text");
        }
        modules.push_str("}\n");
    }

    write_out("slt_files.rs", &modules);
    write_out("docs_pages.rs", &page_tests(&root.join("../..")));
}

fn write_out(name: &str, text: &str) {
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join(name);
    fs::write(out, text).expect("the build directory can be written");
}

/// A test for each page with SQL: `docs/sql/create-table.md` is `sql_create_table`.
fn page_tests(repository: &Path) -> String {
    let mut pages = vec![repository.join("README.md")];
    println!("cargo::rerun-if-changed={}", pages[0].display());
    println!(
        "cargo::rerun-if-changed={}",
        repository.join("docs").display()
    );
    markdown_files(&repository.join("docs"), &mut pages);
    pages.sort();
    let mut tests = String::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page is readable");
        if !text.contains("\n```sql\n") {
            continue;
        }
        let name = page.strip_prefix(repository).expect("it was found there");
        let name = name.to_str().expect("names of pages are ASCII");
        let test = name
            .trim_start_matches("docs/")
            .trim_end_matches(".md")
            .to_lowercase()
            .replace(['/', '-'], "_");
        writeln!(tests, "#[test] fn {test}() {{ play_page({name:?}); }}")
            .expect("a String takes any text");
    }
    tests
}

fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() {
            markdown_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
}

/// Names without `.slt` by the folder they stand in, both sorted.
fn files_by_topic(root: &Path) -> BTreeMap<String, Vec<String>> {
    let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for topic in entries(root).into_iter().filter(|path| path.is_dir()) {
        let mut names: Vec<String> = entries(&topic)
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "slt"))
            .map(|path| stem(path))
            .collect();
        names.sort();
        topics.insert(stem(&topic), names);
    }
    topics
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .map(|entry| {
            entry
                .expect("a folder of this repository is readable")
                .path()
        })
        .collect()
}

/// The file's name as an identifier: test modules bear it.
fn stem(path: &Path) -> String {
    let stem = path
        .file_stem()
        .and_then(|s| s.to_str())
        .unwrap_or_default();
    let is_identifier = stem.starts_with(|c: char| c.is_ascii_lowercase())
        && stem
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    assert!(is_identifier, "{}: use a-z, 0-9 and _ only", path.display());
    stem.to_owned()
}
