//! Data directories of other servers, of other formats, and of another time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidewater_sqllogictest::{ServerProcess, server_binary};

use crate::{SETTINGS, Session, check, fill, insert};

/// All files below a directory with their bytes.
pub(crate) fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("our own folder") {
        let path = entry.expect("our own folder").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("our own file");
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// Puts files back as they were, and removes others.
pub(crate) fn restore(root: &Path, files: &[(PathBuf, Vec<u8>)]) {
    fs::remove_dir_all(root).expect("our own folder");
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("our own file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_a_directory_is_refused() {
    let server = ServerProcess::start();
    let session = Session::new(&server).await;
    fill(&session, 100).await;
    let second = Command::new(server_binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.data_dir())
        .output()
        .expect("a server that ends");
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(words.contains("is in use by another server"), "{words}");
    insert(&session, 100, 10).await;
    check(&session, 110).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_format_is_refused_untouched() {
    let mut server = ServerProcess::start();
    fill(&Session::new(&server).await, 100).await;
    server.terminate();
    server.wait_for_end();
    let root = server.data_dir();
    let whole = files(&root);
    let witness = root.join("epoch");
    for number in [0u32, 99, u32::MAX] {
        let mut bytes = fs::read(&witness).expect("the epoch witness");
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        fs::write(&witness, &bytes).expect("the epoch witness");
        let before = files(&root);
        server.restart_with(&[]);
        assert!(!server.listens());
        let log = server.log();
        let words = format!("data format {number} is not supported");
        assert!(log.contains(&words), "{log}");
        assert_eq!(files(&root), before, "it has changed something");
    }
    restore(&root, &whole);
    server.restart_with(&[]);
    check(&Session::new(&server).await, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_database_is_refused() {
    let mut server = ServerProcess::start_with(&SETTINGS);
    fill(&Session::new(&server).await, 100).await;
    server.terminate();
    server.wait_for_end();
    let root = server.data_dir();
    let older = files(&root.join("db"));
    server.restart_with(&SETTINGS);
    insert(&Session::new(&server).await, 100, 100).await;
    server.terminate();
    server.wait_for_end();
    let newer = files(&root);
    restore(&root.join("db"), &older);
    server.restart_with(&SETTINGS);
    assert!(
        !server.listens(),
        "acknowledged rows are gone, and nobody says so"
    );
    let log = server.log();
    assert!(log.contains("was committed"), "{log}");
    restore(&root, &newer);
    server.restart_with(&SETTINGS);
    check(&Session::new(&server).await, 200).await;
}

/// What is there is not ours.
#[tokio::test(flavor = "multi_thread")]
async fn other_files_are_no_data_directory() {
    let mut server = ServerProcess::start();
    server.kill();
    let root = server.data_dir();
    for make in [
        |root: &Path| fs::write(root, "a file"),
        |root: &Path| fs::create_dir_all(root).and_then(|()| fs::write(root.join("db"), "a file")),
        |root: &Path| fs::create_dir_all(root.join("epoch")),
        |root: &Path| {
            fs::create_dir_all(root).and_then(|()| fs::write(root.join("epoch"), "GIF89a"))
        },
    ] {
        drop(fs::remove_dir_all(&root));
        drop(fs::remove_file(&root));
        make(&root).expect("our own folder");
        server.restart_with(&[]);
        assert!(!server.listens());
        let log = server.log();
        assert!(log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }
}
