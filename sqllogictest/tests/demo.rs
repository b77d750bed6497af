//! The demo (`make demo`) runs to its end, with fewer rows and no time to look.

use std::process::{Command, Stdio};

use tidewater_sqllogictest::{repository, server_binary};

/// It exits with 0 only if every view is what its query gives.
#[test]
fn the_demo_ends_well() {
    let done = Command::new(repository().join("server/demo/demo.sh"))
        .env("QUICK", "1")
        .env("SERVER_BINARY", server_binary())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs it");
    let said = String::from_utf8_lossy(&done.stdout);
    let complained = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{complained}");
    assert!(said.contains("All views are right"), "{said}");
}
