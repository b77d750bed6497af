//! Passwords are nowhere but in the client's hands: not in the log, the data directory, or what
//! other sessions see. What is done to roles, and who is refused, is in the log.

use tidewater_sqllogictest::{Client, Dialect, ServerProcess};

/// Nothing else contains it.
const PASSWORD: &str = "barnacle7351";

#[tokio::test]
async fn passwords_leave_no_trace() {
    let mut server = ServerProcess::start();
    let root = Client::connect(&server.config(), Dialect::Tidewater)
        .await
        .expect("a listening server");
    for sql in [
        format!("CREATE USER ann PASSWORD '{PASSWORD}'"),
        format!("ALTER USER ann WITH ENCRYPTED PASSWORD E'{PASSWORD}' VALID UNTIL 'infinity'"),
        format!("SELECT 1; ALTER ROLE ann PASSWORD $${PASSWORD}$$; SELECT 2"),
    ] {
        root.execute(&sql).await.expect("a role with a password");
        let seen = "SELECT string_agg(query, ' ') FROM pg_stat_activity";
        let seen = root.first_column(seen).await.expect("what sessions do");
        assert!(!seen.concat().contains(PASSWORD), "{seen:?}");
    }
    for sql in [
        format!("ALTER ROLE nobody PASSWORD '{PASSWORD}'"),
        format!("CREATE ROLE ann PASSWORD '{PASSWORD}'"),
    ] {
        let error = root
            .execute(&sql)
            .await
            .err()
            .expect("no such role, or a second one");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
    // An error in a word elsewhere points to that.
    let sql = format!("ALTER ROLE ann PASSWORD '{PASSWORD}' VALID TILL '2040-01-01'");
    let error = root.execute(&sql).await.err().expect("a slip");
    assert!(!error.to_string().contains(PASSWORD), "{error}");

    let mut stranger = server.config();
    stranger.user("ann").password(format!("{PASSWORD}!"));
    let refused = Client::connect(&stranger, Dialect::Tidewater).await;
    assert_eq!(
        refused
            .err()
            .and_then(|e| e.sqlstate().map(str::to_owned))
            .as_deref(),
        Some("28P01")
    );
    stranger.password(PASSWORD);
    Client::connect(&stranger, Dialect::Tidewater)
        .await
        .expect("the right password");

    let log = server.log();
    assert!(!log.contains(PASSWORD), "{log}");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("audit")).collect();
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(has("CREATE USER ann PASSWORD '********'"), "{log}");
    assert!(
        has("password authentication failed for user \"ann\""),
        "{log}"
    );

    server.kill_and_restart();
    let mut ann = server.config();
    ann.user("ann").password(PASSWORD);
    Client::connect(&ann, Dialect::Tidewater)
        .await
        .expect("the right password after a restart");
    let held = server.bytes_on_disk();
    assert!(
        !held
            .windows(PASSWORD.len())
            .any(|part| part == PASSWORD.as_bytes())
    );
}
