//! Starts servers and connects to them. No fixed ports; every wait is for something that happens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use server::{Config, Server};
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

/// A server over its own data directory.
pub(crate) struct TestServer {
    server: Option<Server>,
    directory: tempfile::TempDir,
    change: fn(&mut Config),
}

impl TestServer {
    pub(crate) async fn start() -> TestServer {
        TestServer::with(|_| {}).await
    }

    pub(crate) async fn with(change: fn(&mut Config)) -> TestServer {
        let mut test = TestServer {
            server: None,
            directory: tempfile::tempdir().unwrap(),
            change,
        };
        test.open().await;
        test
    }

    async fn open(&mut self) {
        let mut config = Config {
            data_dir: self.data_dir(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            streaming_parallelism: 2,
            ..Config::default()
        };
        (self.change)(&mut config);
        self.server = Some(Server::start(config).await.unwrap());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    /// What runs behind the sessions.
    pub(crate) fn engine(&self) -> &executor::Engine {
        self.server.as_ref().unwrap().engine()
    }

    pub(crate) async fn shutdown(&mut self) {
        self.server.take().unwrap().shutdown().await.unwrap();
    }

    /// Starts another server over the same directory, after [`TestServer::shutdown`].
    pub(crate) async fn reopen(&mut self) {
        self.open().await;
    }

    /// Ends the server in order and starts another one over the same directory.
    pub(crate) async fn restart(&mut self) {
        self.shutdown().await;
        self.open().await;
    }

    /// Starts one over the same directory after a shutdown.
    pub(crate) async fn start_again(&mut self) {
        self.open().await;
    }

    pub(crate) async fn connect(&self) -> Connection {
        self.log_in("root", None).await.unwrap()
    }

    /// Opens a session in another database.
    pub(crate) async fn connect_to(&self, database: &str) -> Connection {
        self.log_in_to("root", database).await.unwrap()
    }

    /// Opens a session of a user in another database.
    pub(crate) async fn log_in_to(
        &self,
        user: &str,
        database: &str,
    ) -> Result<Connection, tokio_postgres::Error> {
        Connection::open(self.config(user, None).dbname(database)).await
    }

    /// Opens a session as this user.
    pub(crate) async fn log_in(
        &self,
        user: &str,
        password: Option<&str>,
    ) -> Result<Connection, tokio_postgres::Error> {
        Connection::open(&self.config(user, password)).await
    }

    /// How a user reaches the server.
    pub(crate) fn config(&self, user: &str, password: Option<&str>) -> tokio_postgres::Config {
        let address = self.address();
        let mut config = tokio_postgres::Config::new();
        config
            .host(address.ip().to_string())
            .port(address.port())
            .user(user)
            .dbname("dev");
        if let Some(password) = password {
            config.password(password);
        }
        config
    }

    /// The directory of the server's data, for a server that is not started here.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// A client and what it was told besides results.
pub(crate) struct Connection {
    pub(crate) client: Client,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Connection {
    async fn open(config: &tokio_postgres::Config) -> Result<Connection, tokio_postgres::Error> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&notices);
        tokio::spawn(async move {
            while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if let Ok(AsyncMessage::Notice(notice)) = message {
                    collected.lock().unwrap().push(notice.message().to_owned());
                }
            }
        });
        Ok(Connection { client, notices })
    }

    /// Runs statements; panics with their error.
    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {}", described(&error));
        }
    }

    /// SQLSTATE and message of a statement that must fail.
    pub(crate) async fn error(&self, sql: &str) -> (String, String) {
        match self.client.batch_execute(sql).await {
            Ok(()) => panic!("{sql}: succeeded"),
            Err(error) => {
                let error = error
                    .as_db_error()
                    .unwrap_or_else(|| panic!("{sql}: {error}"));
                (error.code().code().to_owned(), error.message().to_owned())
            }
        }
    }

    /// SQLSTATE of a statement that must fail.
    pub(crate) async fn code(&self, sql: &str) -> String {
        self.error(sql).await.0
    }

    /// The rows of a query by the simple protocol, sorted, values joined by `|`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let mut rows = self.unsorted(sql).await;
        rows.sort();
        rows
    }

    /// The rows of a query in their order.
    pub(crate) async fn unsorted(&self, sql: &str) -> Vec<String> {
        let messages = match self.client.simple_query(sql).await {
            Ok(messages) => messages,
            Err(error) => panic!("{sql}: {}", described(&error)),
        };
        messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let values: Vec<&str> = (0..row.len())
                        .map(|c| row.get(c).unwrap_or("NULL"))
                        .collect();
                    Some(values.join("|"))
                }
                _ => None,
            })
            .collect()
    }

    /// The one value of a query.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let mut rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows.remove(0)
    }

    /// What the server noticed since the last call.
    pub(crate) fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().unwrap())
    }
}

/// An error with its code and details.
pub(crate) fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!(
            "{} {error} {:?} {:?}",
            error.code().code(),
            error.detail(),
            error.hint()
        ),
        None => error.to_string(),
    }
}
