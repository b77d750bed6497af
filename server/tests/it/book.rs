//! The SQL of the documentation runs: every ```sql block of a page, in order, on an empty database.

use std::path::{Path, PathBuf};

use crate::harness::{TestServer, described};

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The bodies of a page's SQL blocks.
fn blocks(page: &str) -> Vec<&str> {
    let parts = page.split("\n```sql\n").skip(1);
    parts
        .map(|part| part.split("\n```").next().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_run() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut found = Vec::new();
    pages(&docs, &mut found);
    found.sort();
    let mut wrong = Vec::new();
    for path in found {
        // Its statements speak of a database that the benchmark made.
        if path.ends_with("rescaling.md") {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        let blocks = blocks(&page);
        if blocks.is_empty() {
            continue;
        }
        let server = TestServer::start().await;
        let db = server.connect().await;
        for block in blocks {
            if let Err(error) = db.client.simple_query(block).await {
                let name = path.file_name().unwrap().display();
                wrong.push(format!("{name}: {}\n{block}", described(&error)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_summary_names_every_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let mut found = Vec::new();
    pages(&docs, &mut found);
    for page in found {
        let name = page.strip_prefix(&docs).unwrap().display().to_string();
        let is_named = summary.contains(&format!("({name})"));
        assert!(
            is_named || name == "SUMMARY.md",
            "{name} is not in SUMMARY.md"
        );
    }
}
