//! The page of functions (`docs/sql/functions.md`) names every function, and no other.
//!
//! Its tables are written by hand; the list of all others is made here (with `BLESS=1`, written).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::catalog_view::CatalogView;
use crate::pg_catalog::{register_pure, register_session};
use crate::sequence::LastNumbers;
use crate::server::Server;
use crate::settings::Settings;
use crate::{Config, Error};

/// What looks like a function and is syntax, or becomes others, or gives rows.
const OTHERS: [&str; 5] = [
    "generate_series",
    "grouping",
    "mode",
    "percentile_disc",
    "unnest",
];
/// Where the list of functions that the tables do not name stands.
const BEGIN: &str = "<!-- begin: other functions -->\n";
const END: &str = "<!-- end -->";

/// Names of all functions that a session may call.
async fn registered() -> Result<BTreeSet<String>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Config {
        data_dir: folder.path().join("data"),
        listen: ([127, 0, 0, 1], 0).into(),
        ..Config::default()
    })
    .await?;
    let catalog = Arc::new(CatalogView::without_rows(server.shared().catalog.read()));
    let session = planner::batch::session(catalog, &planner::Settings::default());
    register_pure(&session);
    let settings = Arc::new(Mutex::new(Settings::new(1, 256)));
    let numbers = Arc::new(Mutex::new(LastNumbers::default()));
    register_session(&session, server.shared(), &settings, &numbers, 1);
    let state = session.context().state();
    let names = state.scalar_functions().keys();
    let names = names.chain(state.aggregate_functions().keys());
    let names = names.chain(state.window_functions().keys());
    Ok(names.cloned().collect())
}

/// The names in front of brackets in the code of a page: `` `abs(n)` ``.
fn named(page: &str) -> BTreeSet<&str> {
    let tables = page.lines().filter(|line| line.starts_with('|'));
    let cells = tables.filter_map(|line| line.split(" | ").next());
    let codes = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    codes
        .filter_map(|code| code.split_once('(').map(|(name, _)| name))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_is_on_its_page() {
    let path = Path::new("../docs/sql/functions.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    let named = named(head);
    let registered = registered().await.unwrap();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !registered.contains(**name) && !OTHERS.contains(name))
        .collect();
    assert!(missing.is_empty(), "no functions: {missing:?}");
    // What operators, casts and syntax become has names of its own.
    let others: Vec<String> = registered
        .iter()
        .filter(|name| !named.contains(name.as_str()) && !name.starts_with("pg_"))
        .map(|name| format!("`{name}`"))
        .collect();
    let expected = format!("\n{}.\n\n", others.join(", "));
    if std::env::var("BLESS").is_ok_and(|value| value == "1") {
        std::fs::write(path, format!("{head}{BEGIN}{expected}{END}{tail}")).unwrap();
    } else {
        assert_eq!(found, expected, "BLESS=1 writes the list");
    }
}
