//! Every statement that real clients were seen to send: psql 15 for its backslash commands, drivers,
//! SQLAlchemy, dbt. Each is answered, with the columns and parameters that PostgreSQL 15 gives.
//!
//! `data/client-statements.jsonl` has a statement a line; `columns` and `parameters` are what
//! PostgreSQL 15.18 said over the objects of `data/client-objects.sql`.

use serde::Deserialize;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use crate::harness::{Connection, TestServer, described};

#[derive(Deserialize)]
struct Asked {
    client: String,
    #[serde(default)]
    command: String,
    protocol: String,
    sql: String,
    #[serde(default)]
    param_oids: Vec<u32>,
    columns: Option<Vec<(String, u32)>>,
    #[serde(default)]
    parameters: Vec<u32>,
}

/// Oids of types that are text here: `"char"`, `name`, `text`, `varchar`, `regclass`,
/// `regnamespace`, and `json`, which is `jsonb`.
const TEXTS: [u32; 9] = [18, 19, 25, 1043, 2205, 4089, 114, 3802, 705];

/// Whole numbers: those of an array's elements are `bigint` here.
const NUMBERS: [u32; 3] = [20, 21, 23];

/// The same of their arrays, and of vectors of numbers.
const ARRAYS: [u32; 4] = [1003, 1009, 1005, 22];

fn is_same_type(expected: u32, found: u32) -> bool {
    let alike = |types: &[u32]| types.contains(&expected) && types.contains(&found);
    expected == found || alike(&TEXTS) || alike(&NUMBERS) || alike(&ARRAYS)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_answered_as_by_postgresql() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(include_str!("data/client-objects.sql")).await;
    let mut oids = Vec::new();
    for name in ["bid", "v1", "mv"] {
        let oid = db.value(&format!("SELECT '{name}'::regclass::oid")).await;
        oids.push((format!("{{{name}}}"), oid));
    }
    let mut wrong = Vec::new();
    for line in include_str!("data/client-statements.jsonl").lines() {
        let mut asked: Asked = serde_json::from_str(line).unwrap();
        for (name, oid) in &oids {
            asked.sql = asked.sql.replace(name, oid);
        }
        if let Err(fault) = answered(&db, &asked).await {
            let Asked {
                client,
                command,
                sql,
                ..
            } = &asked;
            wrong.push(format!("{client} {command}: {fault}\n{sql}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

async fn answered(db: &Connection, asked: &Asked) -> Result<(), String> {
    let sql = asked.sql.as_str();
    // COPY and cursors have tests of their own: here is nobody to speak the rest of them.
    let starts = |words: &[&str]| {
        words
            .iter()
            .any(|word| sql.to_lowercase().starts_with(word))
    };
    if starts(&["copy", "fetch", "close", "declare"]) {
        return Ok(());
    }
    if let Some(expected) = &asked.columns {
        let types: Vec<Type> = asked
            .param_oids
            .iter()
            .map(|oid| Type::from_oid(*oid).unwrap_or(Type::UNKNOWN))
            .collect();
        let prepared = db.client.prepare_typed(sql, &types).await;
        let prepared = prepared.map_err(|error| described(&error))?;
        let found: Vec<(String, u32)> = prepared
            .columns()
            .iter()
            .map(|column| (column.name().to_owned(), column.type_().oid()))
            .collect();
        let is_same =
            |(e, f): (&(String, u32), &(String, u32))| e.0 == f.0 && is_same_type(e.1, f.1);
        if expected.len() != found.len() || !expected.iter().zip(&found).all(is_same) {
            return Err(format!("columns {found:?}, not {expected:?}"));
        }
        let parameters = prepared.params().iter().map(Type::oid);
        if !parameters
            .zip(&asked.parameters)
            .all(|(f, e)| is_same_type(*e, f))
        {
            return Err(format!("parameters {:?}", prepared.params()));
        }
    }
    if asked.protocol == "simple" {
        let rows = db.client.simple_query(sql).await;
        let rows = rows.map_err(|error| described(&error))?;
        let described = rows
            .iter()
            .any(|m| matches!(m, SimpleQueryMessage::RowDescription(_)));
        let expected = asked
            .columns
            .as_ref()
            .is_some_and(|columns| !columns.is_empty());
        if expected && !described {
            return Err("no row description".to_owned());
        }
    }
    Ok(())
}
