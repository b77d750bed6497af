//! Encrypted connections, by clients of the library that a driver would use.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use server::Config;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::{ChannelBinding as Binding, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, NoTls};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{TestServer, described};

/// A file of `data/tls`; test runners work in the crate's directory.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new("tests/it/data/tls").join(name)
}

fn with_tls(config: &mut Config) {
    config.tls_cert = Some(file("server.crt"));
    config.tls_key = Some(file("server.key"));
}

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file("server.crt")).unwrap()
}

/// The client's side of TLS, as a driver has it.
#[derive(Clone)]
struct Tls {
    connector: TlsConnector,
}

impl Tls {
    fn new() -> Tls {
        let mut roots = RootCertStore::empty();
        roots.add(certificate()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Tls {
            connector: TlsConnector::from(Arc::new(config)),
        }
    }
}

impl MakeTlsConnect<tokio_postgres::Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Tls;
    type Error = std::io::Error;

    fn make_tls_connect(&mut self, _host: &str) -> Result<Tls, std::io::Error> {
        Ok(self.clone())
    }
}

impl TlsConnect<tokio_postgres::Socket> for Tls {
    type Stream = Encrypted;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, std::io::Error>> + Send>>;

    fn connect(self, socket: tokio_postgres::Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from("localhost").unwrap();
            Ok(Encrypted(self.connector.connect(name, socket).await?))
        })
    }
}

struct Encrypted(tokio_rustls::client::TlsStream<tokio_postgres::Socket>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        let hash = ::ring::digest::digest(&::ring::digest::SHA256, &certificate());
        ChannelBinding::tls_server_end_point(hash.as_ref().to_vec())
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

async fn connect(config: &tokio_postgres::Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(Tls::new()).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_encrypted_and_bound_to_the_certificate() {
    let server = TestServer::with(with_tls).await;
    let root = server.connect().await;
    root.run("CREATE USER ann PASSWORD 'tide-pool'").await;
    let mut config = server.config("ann", Some("tide-pool"));
    config.ssl_mode(SslMode::Require);
    for binding in [Binding::Disable, Binding::Prefer, Binding::Require] {
        config.channel_binding(binding);
        for negotiation in [SslNegotiation::Postgres, SslNegotiation::Direct] {
            config.ssl_negotiation(negotiation);
            let ann = match connect(&config).await {
                Ok(ann) => ann,
                Err(error) => panic!("{binding:?}: {}", described(&error)),
            };
            // More than one record of TLS, both ways.
            let long = "x".repeat(100_000);
            let rows = ann.query("SELECT $1::text", &[&long]).await.unwrap();
            assert_eq!(rows[0].get::<_, &str>(0), long);
            let own = "SELECT version, cipher LIKE 'TLS_%', bits FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
            let row = ann.query_one(own, &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), "TLSv1.3");
            assert!(row.get::<_, bool>(1) && row.get::<_, i32>(2) >= 128);
        }
    }
    config.password("rock-pool");
    let error = connect(&config).await.err().unwrap();
    assert_eq!(error.as_db_error().unwrap().code().code(), "28P01");
    // Without TLS it goes on loopback, unless the server says otherwise.
    let plain = server.log_in("ann", Some("tide-pool")).await.unwrap();
    assert_eq!(
        plain
            .value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .await,
        "f"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_can_be_refused() {
    let server = TestServer::with(|config| {
        with_tls(config);
        config.require_tls = true;
    })
    .await;
    let error = server.log_in("root", None).await.err().unwrap();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "28000");
    assert!(error.hint().unwrap().contains("sslmode=require"));
    let mut config = server.config("root", None);
    config.ssl_mode(SslMode::Require);
    connect(&config).await.unwrap();
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_behind_a_request_for_tls_ends_the_connection() {
    let server = TestServer::with(with_tls).await;
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let startup = b"\0\0\0\x21\0\x03\0\0user\0root\0database\0dev\0\0";
    let both = [&SSL_REQUEST[..], startup].concat();
    socket.write_all(&both).await.unwrap();
    let mut said = Vec::new();
    drop(socket.read_to_end(&mut said).await);
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("unencrypted data"), "{said:?}");
    assert!(!said.contains("server_version"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_handshakes_end() {
    let server = TestServer::with(with_tls).await;
    // TLS 1.0 at most; noise; nothing.
    let old = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01".to_vec();
    for bytes in [old, b"\x16\x03\x01\xff\xff".to_vec(), Vec::new()] {
        for asked in [true, false] {
            let mut socket = TcpStream::connect(server.address()).await.unwrap();
            if asked {
                socket.write_all(&SSL_REQUEST).await.unwrap();
                let mut granted = [0];
                socket.read_exact(&mut granted).await.unwrap();
                assert_eq!(&granted, b"S");
            }
            drop(socket.write_all(&bytes).await);
            drop(socket.shutdown().await);
            let mut said = Vec::new();
            drop(socket.read_to_end(&mut said).await);
            assert!(!String::from_utf8_lossy(&said).contains("server_version"));
        }
    }
    server.connect().await.run("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_tls_is_declined() {
    let server = TestServer::start().await;
    let mut config = server.config("root", None);
    config.ssl_mode(SslMode::Prefer);
    connect(&config).await.unwrap();
    config.ssl_mode(SslMode::Require);
    assert!(connect(&config).await.is_err());
    config.ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client.simple_query("SELECT 1").await.unwrap();
}
