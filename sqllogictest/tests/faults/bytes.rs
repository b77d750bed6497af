//! Bytes of the data directory that have changed: every kind of file, at places drawn by `SEED`.
//!
//! A server on such files shows what it showed before, or refuses: to start, or the query. What it
//! must not do is show something else. One thing cannot be told from a write that a loss of power
//! tore: harm to the end of the newest log. It takes writes that came after the last checkpoint, the
//! last of them first, and nothing else; here those are the rows of `u`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidewater_sqllogictest::ServerProcess;

use crate::directories::{files, restore};
use crate::{SETTINGS, Session, fill, insert};

/// What happened to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// A byte is another one.
    Flipped,
    /// A sector is zero.
    Zeroed,
    /// The end is missing.
    Cut,
    /// It is not there.
    Removed,
}

impl Harm {
    const ALL: [Harm; 4] = [Harm::Flipped, Harm::Zeroed, Harm::Cut, Harm::Removed];

    fn inflict(self, path: &Path, random: &mut StdRng) {
        let mut bytes = fs::read(path).expect("our own file");
        if bytes.is_empty() || matches!(self, Harm::Removed) {
            fs::remove_file(path).expect("our own file");
            return;
        }
        let at = random.random_range(0..bytes.len());
        match self {
            Harm::Flipped => bytes[at] ^= 1 << random.random_range(0..8),
            Harm::Zeroed => {
                let end = bytes.len().min(at + 512);
                bytes[at..end].fill(0);
            }
            Harm::Cut => bytes.truncate(at),
            Harm::Removed => {}
        }
        fs::write(path, bytes).expect("our own file");
    }
}

/// Such as "sst", "log" or "MANIFEST".
fn kind(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.extension() {
        Some(extension) => extension.to_string_lossy().into_owned(),
        None => name.split('-').next().unwrap_or_default().to_owned(),
    }
}

const QUERIES: [&str; 4] = [
    "select id, g, filler from t",
    "select * from v",
    "select relname from pg_class where relname in ('t', 'v', 'u')",
    LATE,
];
/// What has come since the last checkpoint.
const LATE: &str = "select * from u";

/// What a server on these files shows: the rows of each query, `None` where it refuses one.
async fn shown(session: &Session) -> Vec<Option<Vec<String>>> {
    let mut shown = Vec::new();
    for query in QUERIES {
        shown.push(session.try_rows(query).await.ok());
    }
    shown
}

/// Names that RocksDB writes for people, and its lock.
const WITHOUT_DATA: [&str; 4] = ["LOG", "LOCK", "IDENTITY", "OPTIONS"];

/// Harms files of all kinds, each `times` in ways that follow each other.
async fn harm(times: usize) {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(1);
    let mut random = StdRng::seed_from_u64(seed);
    // Small buffers, so that there are all kinds of files.
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let name = log.path().display().to_string();
    let small = (storage::crash::LOG_VARIABLE, name.as_str());
    let mut server = ServerProcess::start_with(&[&SETTINGS[..], &[small]].concat());
    let session = Session::new(&server).await;
    fill(&session, 1000).await;
    session.run("create table u (a int)").await;
    insert(&session, 1000, 1000).await;
    server.terminate();
    server.wait_for_end();
    // The last rows are in a log alone, as a crash leaves them.
    let late = [("TIDEWATER_CHECKPOINT_INTERVAL", "3600s"), small];
    server.restart_with(&late);
    let session = Session::new(&server).await;
    session
        .run("insert into u values (1); insert into u values (2)")
        .await;
    let expected = shown(&session).await;
    assert!(expected.iter().all(Option::is_some));
    server.kill();
    let root = server.data_dir();
    let whole = files(&root);
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (path, _) in &whole {
        let kind = kind(path);
        if !WITHOUT_DATA.contains(&kind.as_str()) {
            kinds.entry(kind).or_default().push(path.clone());
        }
    }
    for kind in ["sst", "log", "MANIFEST", "CURRENT", "epoch"] {
        assert!(kinds.contains_key(kind), "there is no {kind} in {kinds:?}");
    }
    let (mut cases, mut refused) = (0, 0);
    for (number, (kind, paths)) in kinds.iter().enumerate() {
        for time in 0..times {
            let harm = Harm::ALL[(number + time + seed as usize) % Harm::ALL.len()];
            let path = &paths[random.random_range(0..paths.len())];
            let what = format!("SEED={seed}: {harm:?} {}", path.display());
            restore(&root, &whole);
            harm.inflict(path, &mut random);
            server.restart_with(&late);
            cases += 1;
            let log = server.log();
            assert!(!log.contains("panicked"), "{what}: {log}");
            if !server.listens() {
                refused += 1;
                assert!(log.contains("ERROR"), "{what}: {log}");
                continue;
            }
            let found = shown(&Session::new(&server).await).await;
            server.kill();
            for (query, (found, expected)) in QUERIES.iter().zip(found.iter().zip(&expected)) {
                let lost = |row: &Vec<String>| row.is_empty() || row[..] == ["1"];
                let is_tail = kind == "log" && *query == LATE && found.as_ref().is_some_and(lost);
                let count = |rows: &Option<Vec<String>>| rows.as_ref().map_or(0, Vec::len);
                assert!(
                    found.is_none() || found == expected || is_tail,
                    "{what}: {query}: {} rows, not {}",
                    count(found),
                    count(expected)
                );
            }
        }
    }
    println!("{cases} passed, 0 failed");
    println!(
        "{{\"layer\":\"bytes\",\"seed\":{seed},\"kinds\":{},\"cases\":{cases},\"refused\":{refused}}}",
        kinds.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_bytes_are_never_shown() {
    harm(2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make fault"]
async fn changed_bytes_are_never_shown_at_many_places() {
    harm(40).await;
}
