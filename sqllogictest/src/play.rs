//! Plays one file in one setting, and says how to repeat it when it fails.

use std::env;
use std::future::pending;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use sqllogictest_runner::{DefaultColumnType, Record, Runner, StatementExpect, parse_file};
use tokio_postgres::Config;

use crate::alterations::Alterations;
use crate::client::{Client, Dialect, Error};
use crate::oracle::{Means, Oracle};
use crate::server_process::ServerProcess;

/// How many lines of the server's log a failure shows.
const LOG_LINES_SHOWN: usize = 40;
/// What views start with when their parallelism is altered afterwards.
const PARALLELISM_BEFORE_ALTERING: u32 = 2;

/// What happens to the parallelism of views and tables while a file is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It stays at this from beginning to end.
    Fixed(u32),
    /// It is altered between the statements, or all along if `CHAOS` is set to other than 0. State has
    /// no memory, either: whatever can be is on disk alone.
    Altered,
}

impl Setting {
    /// The word for `onlyif` and `skipif`.
    fn label(self) -> String {
        match self {
            Setting::Fixed(parallelism) => format!("parallelism_{parallelism}"),
            Setting::Altered => "altered".to_owned(),
        }
    }

    fn parallelism(self) -> u32 {
        match self {
            Setting::Fixed(parallelism) => parallelism,
            Setting::Altered => PARALLELISM_BEFORE_ALTERING,
        }
    }
}

/// Where the `.slt` files are: test runners work in the crate's directory.
#[must_use]
pub fn slt_folder() -> PathBuf {
    PathBuf::from("slt")
}

/// Plays `file` (`topic/name.slt`) on a fresh server.
///
/// The environment's `SEED` fixes the alterations; by default they follow from the file's name.
///
/// # Panics
/// If the file fails, with the record, the line that repeats the run, and the server's last words.
pub fn play(file: &str, setting: Setting) {
    let seed = seed(file);
    let server = match setting {
        Setting::Fixed(_) => ServerProcess::start(),
        Setting::Altered => ServerProcess::start_with(&[("TIDEWATER_STATE_MEMORY_LIMIT", "0")]),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread");
    let Err(failure) = runtime.block_on(play_records(file, setting, seed, &server.config())) else {
        return;
    };
    let chaos = if is_chaos() { " CHAOS=1" } else { "" };
    let only = file.trim_end_matches(".slt").replace('/', "::");
    panic!(
        "{failure}\nFAILED slt file={file} setting={} seed={seed:#x}: \
         make slt SEED={seed:#x}{chaos} ONLY={only}\n--- end of the server's log ---\n{}",
        setting.label(),
        last_lines(&server.log(), LOG_LINES_SHOWN),
    );
}

async fn play_records(
    file: &str,
    setting: Setting,
    seed: u64,
    config: &Config,
) -> Result<(), String> {
    let records: Vec<Record<DefaultColumnType>> =
        parse_file(slt_folder().join(file)).map_err(|error| error.to_string())?;
    let mut runner = Runner::new(|| open_session(config, setting));
    runner.add_label(&setting.label());
    let session = async || {
        open_session(config, setting)
            .await
            .map_err(|e| e.to_string())
    };
    let text = std::fs::read_to_string(slt_folder().join(file)).map_err(|e| e.to_string())?;
    let means = match text.lines().any(|line| line == "# oracle: VERIFY") {
        true => Means::Verify,
        false => Means::Text,
    };
    let oracle = Oracle::new(session().await?, means);
    let alterations = match setting {
        Setting::Fixed(_) => None,
        Setting::Altered => Some(Alterations::new(session().await?, seed)),
    };
    let (mut between, beside) = if is_chaos() {
        (None, alterations)
    } else {
        (alterations, None)
    };

    let statements = async {
        for record in records {
            let changes = changes(&record);
            runner
                .run_async(record)
                .await
                .map_err(|error| error.to_string())?;
            if !changes {
                continue;
            }
            oracle.check().await.map_err(|error| error.to_string())?;
            if let Some(alterations) = &mut between {
                alterations
                    .after_statement()
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    };
    let alterations_beside = async {
        match beside {
            Some(alterations) => Err(alterations.go_on().await.to_string()),
            None => pending().await,
        }
    };
    tokio::select! {
        played = statements => played,
        failed = alterations_beside => failed,
    }
}

/// A session whose new views and tables get the setting's parallelism.
async fn open_session(config: &Config, setting: Setting) -> Result<Client, Error> {
    let client = Client::connect(config, Dialect::Tidewater).await?;
    let parallelism = setting.parallelism();
    client
        .execute(&format!("SET streaming_parallelism = {parallelism}"))
        .await?;
    Ok(client)
}

/// Whether the record may have changed tables or views: a statement that is to succeed.
fn changes(record: &Record<DefaultColumnType>) -> bool {
    matches!(
        record,
        Record::Statement {
            expected: StatementExpect::Ok | StatementExpect::Count(_),
            ..
        }
    )
}

fn is_chaos() -> bool {
    env::var("CHAOS").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// `SEED`, decimal or `0x…`; without it a number that follows from the file's name, so that a
/// commit always tests the same alterations.
fn seed(file: &str) -> u64 {
    match env::var("SEED") {
        Ok(text) if !text.is_empty() => {
            let parsed = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            };
            parsed.unwrap_or_else(|error| panic!("SEED={text}: {error}"))
        }
        _ => {
            let mut hasher = DefaultHasher::new();
            file.hash(&mut hasher);
            hasher.finish()
        }
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
