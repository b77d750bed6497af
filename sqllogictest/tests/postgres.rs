//! PostgreSQL as the second oracle: the same files, the same expected output, none of our code.
//!
//! `SLT_POSTGRES` holds the connection string of a database that may be written to; each file is
//! played in a schema of its own. Materialized views become plain views there. Where ours differs
//! by design a record has `skipif postgresql`; a file about what only we have says so in a line
//! `# tidewater only: reason`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use sqllogictest_runner::Runner;
use tidewater_sqllogictest::{Client, Dialect, Error, slt_folder};
use tokio_postgres::Config;

#[test]
#[ignore = "needs a PostgreSQL server: make postgres"]
fn postgres_gives_the_same_answers() {
    let config: Config = env::var("SLT_POSTGRES")
        .expect("SLT_POSTGRES holds a connection string")
        .parse()
        .expect("SLT_POSTGRES is a connection string");
    let only = env::var("ONLY").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread");

    let mut failures = Vec::new();
    for file in files_for_both() {
        if file.to_string_lossy().contains(&only) {
            failures.extend(runtime.block_on(play(&file, &config)).err());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

async fn play(file: &Path, config: &Config) -> Result<(), String> {
    let admin = Client::connect(config, Dialect::PostgreSql)
        .await
        .map_err(|error| error.to_string())?;
    for sql in ["DROP SCHEMA IF EXISTS slt CASCADE", "CREATE SCHEMA slt"] {
        admin
            .execute(sql)
            .await
            .map_err(|error| error.to_string())?;
    }
    let mut runner = Runner::new(|| open_session(config));
    runner
        .run_file_async(file)
        .await
        .map_err(|error| error.to_string())
}

async fn open_session(config: &Config) -> Result<Client, Error> {
    let client = Client::connect(config, Dialect::PostgreSql).await?;
    client.execute("SET search_path = slt").await?;
    client.execute("SET TimeZone = 'UTC'").await?;
    Ok(client)
}

/// The files that say nothing against PostgreSQL, sorted.
fn files_for_both() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = entries(&slt_folder())
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|topic| entries(topic))
        .filter(|path| path.extension().is_some_and(|e| e == "slt"))
        .filter(|path| {
            let text = fs::read_to_string(path).expect("a file of this repository is readable");
            !text.contains("\n# tidewater only:")
        })
        .collect();
    files.sort();
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .expect("a folder of this repository is readable")
        .map(|entry| entry.expect("so are its entries").path())
        .collect()
}
