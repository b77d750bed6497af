//! Passwords: asked for by SCRAM-SHA-256, kept as verifiers, and nothing told to strangers.

use std::net::SocketAddr;

use server::{Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestServer;

/// SQLSTATE and message of a log-in that must fail.
async fn refused(server: &TestServer, user: &str, password: &str) -> (String, String) {
    match server.log_in(user, Some(password)).await {
        Ok(_) => panic!("{user} got in with {password}"),
        Err(error) => {
            let error = error.as_db_error().expect("the server's own words");
            (error.code().code().to_owned(), error.message().to_owned())
        }
    }
}

fn wrong(user: &str) -> (String, String) {
    let message = format!("password authentication failed for user \"{user}\"");
    ("28P01".to_owned(), message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_once_there_is_one() {
    let server = TestServer::start().await;
    let root = server.connect().await;
    root.run("CREATE USER ann PASSWORD 'tide-pool'; CREATE ROLE group_only PASSWORD 'x'")
        .await;
    let ann = server.log_in("ann", Some("tide-pool")).await.unwrap();
    assert_eq!(
        ann.value("SELECT current_user || session_user").await,
        "annann"
    );
    assert_eq!(refused(&server, "ann", "rock-pool").await, wrong("ann"));
    // A user who does not exist, and one who has no password to be right, are told the same.
    assert_eq!(
        refused(&server, "mallory", "tide-pool").await,
        wrong("mallory")
    );
    assert!(server.log_in("ann", None).await.is_err());
    let (code, _) = refused(&server, "group_only", "x").await;
    assert_eq!(code, "28000");

    // The password's own, changed by who has it.
    ann.run("ALTER USER ann PASSWORD 'rock-pool'").await;
    assert_eq!(refused(&server, "ann", "tide-pool").await, wrong("ann"));
    server.log_in("ann", Some("rock-pool")).await.unwrap();
    root.run("ALTER USER ann VALID UNTIL '2020-01-01'").await;
    assert_eq!(refused(&server, "ann", "rock-pool").await, wrong("ann"));
    root.run("ALTER USER ann VALID UNTIL 'infinity'").await;
    server.log_in("ann", Some("rock-pool")).await.unwrap();
    root.run("ALTER USER ann PASSWORD NULL").await;
    server.log_in("ann", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_a_client_made_works_after_a_restart() {
    let mut server = TestServer::start().await;
    let root = server.connect().await;
    // RFC 7677's salt, of the password "pencil", as psql's \password would send it.
    root.run(
        "ALTER USER root PASSWORD 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU='",
    )
    .await;
    assert_eq!(
        root.code("ALTER USER root PASSWORD 'md5aaaabbbbccccddddaaaabbbbccccdddd'")
            .await,
        "0A000"
    );
    drop(root);
    server.restart().await;
    assert_eq!(refused(&server, "root", "pen").await, wrong("root"));
    let root = server.log_in("root", Some("pencil")).await.unwrap();
    assert_eq!(root.value("SHOW is_superuser").await, "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_role_are_counted() {
    let server = TestServer::start().await;
    let root = server.connect().await;
    root.run("CREATE USER ann CONNECTION LIMIT 1").await;
    let first = server.log_in("ann", None).await.unwrap();
    let error = server.log_in("ann", None).await.err().unwrap();
    assert_eq!(error.as_db_error().unwrap().code().code(), "53300");
    drop(first);
    root.run("ALTER USER ann CONNECTION LIMIT -1; REVOKE CONNECT ON DATABASE dev FROM PUBLIC")
        .await;
    let error = server.log_in("ann", None).await.err().unwrap();
    assert_eq!(error.as_db_error().unwrap().code().code(), "42501");
}

fn startup(user: &str) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    body.extend(format!("user\0{user}\0database\0dev\0\0").bytes());
    let mut bytes = (body.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b'p'];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn initial(mechanism: &str, data: &str) -> Vec<u8> {
    let mut body = [mechanism.as_bytes(), b"\0"].concat();
    body.extend((data.len() as u32).to_be_bytes());
    body.extend(data.as_bytes());
    answer(&body)
}

/// What the server says to these bytes until it closes, or until the client does.
async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    drop(socket.write_all(bytes).await);
    drop(socket.shutdown().await);
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_tell_who_exists() {
    let server = TestServer::start().await;
    server
        .connect()
        .await
        .run("CREATE USER ann PASSWORD 'tide-pool'")
        .await;
    // The salt of a user who does not exist is the same each time, too.
    let salt = async |user: &str| {
        let first = initial("SCRAM-SHA-256", "n,,n=,r=nonce");
        let said = talk(server.address(), &[startup(user), first].concat()).await;
        assert!(
            said.contains("SCRAM-SHA-256") && said.contains("r=nonce"),
            "{said:?}"
        );
        let (_, salt) = said.split_once(",s=").unwrap();
        let (salt, rest) = salt.split_once(',').unwrap();
        assert!(rest.starts_with("i=4096"), "{said:?}");
        salt.to_owned()
    };
    for user in ["ann", "mallory", "eve"] {
        assert_eq!(salt(user).await, salt(user).await, "{user}");
    }
    assert_ne!(salt("mallory").await, salt("eve").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_exchanges_end() {
    let server = TestServer::start().await;
    let root = server.connect().await;
    root.run("CREATE USER ann PASSWORD 'tide-pool'").await;
    let first = initial("SCRAM-SHA-256", "n,,n=,r=nonce");
    for (broken, code) in [
        (b"Q\0\0\0\x0dSELECT 1\0".to_vec(), "08P01"),
        (initial("PLAIN", "x"), "08P01"),
        (
            initial("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=nonce"),
            "08P01",
        ),
        (
            initial("SCRAM-SHA-256", "p=tls-server-end-point,,n=,r=nonce"),
            "08P01",
        ),
        (initial("SCRAM-SHA-256", "nonsense"), "08P01"),
        (answer(b"SCRAM-SHA-256\0\xff\xff\xff\xff"), "08P01"),
        (answer(b"SCRAM-SHA-256\0\0\0\0\x05n,"), "08P01"),
        (
            [first.clone(), answer(b"c=biws,r=other,p=AAAA")].concat(),
            "08P01",
        ),
        ([first, answer(b"nonsense")].concat(), "08P01"),
        (
            [b"p".as_slice(), &0x7fff_ffffu32.to_be_bytes()].concat(),
            "08P01",
        ),
    ] {
        let said = talk(server.address(), &[startup("ann"), broken.clone()].concat()).await;
        assert!(
            said.contains(code),
            "{:?}: {said:?}",
            String::from_utf8_lossy(&broken)
        );
        assert!(!said.contains("server_version"), "{said:?}");
    }
    root.run("SELECT 1").await;
}

async fn start(server: &TestServer, change: impl FnOnce(&mut Config)) -> Result<Server, String> {
    let mut config = Config {
        data_dir: server.data_dir(),
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        ..Config::default()
    };
    change(&mut config);
    Server::start(config)
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_only_with_tls_and_a_password() {
    let mut server = TestServer::start().await;
    server.shutdown().await;
    let refusal = start(&server, |_| {}).await.unwrap_err();
    assert!(
        refusal.contains("--tls-cert") && refusal.contains("ALTER ROLE root PASSWORD"),
        "{refusal}"
    );
    let with_tls = |config: &mut Config| {
        config.tls_cert = Some(crate::tls::file("server.crt"));
        config.tls_key = Some(crate::tls::file("server.key"));
    };
    let refusal = start(&server, with_tls).await.unwrap_err();
    assert!(
        !refusal.contains("--tls-cert") && refusal.contains("ALTER ROLE root PASSWORD"),
        "{refusal}"
    );
    server.reopen().await;
    server
        .connect()
        .await
        .run("ALTER ROLE root PASSWORD 'tide-pool'")
        .await;
    server.shutdown().await;
    let refusal = start(&server, |_| {}).await.unwrap_err();
    assert!(
        refusal.contains("--tls-cert") && !refusal.contains("ALTER ROLE"),
        "{refusal}"
    );
    start(&server, with_tls)
        .await
        .unwrap()
        .shutdown()
        .await
        .unwrap();
}
