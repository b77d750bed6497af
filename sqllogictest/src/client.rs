//! A connection that plays statements and brings back what `psql` would show.
//!
//! Statements go by the simple protocol, so every value arrives as text, as the server prints it.
//! NULL reads `NULL`, an empty text `(empty)`, and a line break inside a value `\n`: an expected
//! result is one line a row.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sqllogictest_runner::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::error::DbError;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// A statement without an answer for so long has failed; a hanging server must not hang the run.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// Which server is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Statements go as they stand.
    Tidewater,
    /// Materialized views become plain views, which PostgreSQL keeps as fresh as ours, and `FLUSH`
    /// is left out.
    PostgreSql,
}

/// Why a statement did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's error: `42P01: relation "t" does not exist`, then its detail and hint.
    #[error("{}", Report(.0))]
    Server(Box<DbError>),
    /// The connection is gone, or what came over it is no valid answer.
    #[error("connection failed")]
    Connection(#[source] tokio_postgres::Error),
    /// No answer came in time.
    #[error("no answer within {} s", ANSWER_WAIT_MAX.as_secs())]
    NoAnswer,
}

impl Error {
    /// The five characters of the server's SQLSTATE, if the server answered at all.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Error::Server(error) => Some(error.code().code()),
            Error::Connection(_) | Error::NoAnswer => None,
        }
    }

    /// Whether a rescale was ended by one that another session asked for.
    fn is_superseded(&self) -> bool {
        let Error::Server(error) = self else {
            return false;
        };
        self.sqlstate() == Some("57014") && error.message().contains("ended by a later one")
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(reported) => Error::Server(Box::new(reported.clone())),
            None => Error::Connection(error),
        }
    }
}

/// A server's error in one line, with the SQLSTATE in front.
struct Report<'a>(&'a DbError);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code().code(), self.0.message())?;
        if let Some(detail) = self.0.detail() {
            write!(f, " DETAIL: {detail}")?;
        }
        if let Some(hint) = self.0.hint() {
            write!(f, " HINT: {hint}")?;
        }
        Ok(())
    }
}

/// One session.
pub struct Client {
    dialect: Dialect,
    session: tokio_postgres::Client,
}

impl Client {
    /// Connects and opens a session.
    ///
    /// # Errors
    /// What the server or the socket reports.
    pub async fn connect(config: &Config, dialect: Dialect) -> Result<Self, Error> {
        let (session, connection) = config.connect(NoTls).await?;
        // Ends with the session. Its error is not lost: the statement that waits gets it too.
        tokio::spawn(connection);
        Ok(Client { dialect, session })
    }

    /// Runs one statement; rows as text if it has any, the number of rows it changed otherwise.
    ///
    /// # Errors
    /// What the server reports, or that it gave no answer.
    pub async fn execute(&self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let sql = match self.dialect {
            Dialect::Tidewater => sql.to_owned(),
            Dialect::PostgreSql if sql.trim().eq_ignore_ascii_case("flush") => {
                return Ok(DBOutput::StatementComplete(0));
            }
            Dialect::PostgreSql => with_plain_views(sql),
        };
        let messages = tokio::time::timeout(ANSWER_WAIT_MAX, self.session.simple_query(&sql))
            .await
            .map_err(|_| Error::NoAnswer)??;
        Ok(output(&messages))
    }

    /// The first column of a query's rows.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn first_column(&self, sql: &str) -> Result<Vec<String>, Error> {
        let DBOutput::Rows { rows, .. } = self.execute(sql).await? else {
            return Ok(Vec::new());
        };
        Ok(rows
            .into_iter()
            .filter_map(|row| row.into_iter().next())
            .collect())
    }
}

#[async_trait]
impl AsyncDB for Client {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        // Alterations from aside may end a file's own one early: it is asked for again.
        loop {
            match self.execute(sql).await {
                Err(error) if error.is_superseded() => {}
                answer => return answer,
            }
        }
    }

    async fn shutdown(&mut self) {
        // Dropping the session closes its socket.
    }

    fn engine_name(&self) -> &str {
        match self.dialect {
            Dialect::Tidewater => "tidewater",
            Dialect::PostgreSql => "postgresql",
        }
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Error) -> Option<String> {
        error.sqlstate().map(str::to_owned)
    }
}

fn with_plain_views(sql: &str) -> String {
    sql.replace(
        "CREATE MATERIALIZED VIEW IF NOT EXISTS",
        "CREATE OR REPLACE VIEW",
    )
    .replace("MATERIALIZED VIEW", "VIEW")
}

/// What the messages of one statement say: a row description makes it a query, even without rows.
fn output(messages: &[SimpleQueryMessage]) -> DBOutput<DefaultColumnType> {
    let mut columns = None;
    let mut rows = Vec::new();
    let mut changed = 0;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(described) => columns = Some(described.len()),
            SimpleQueryMessage::Row(row) => rows.push(values(row)),
            SimpleQueryMessage::CommandComplete(count) => changed = *count,
            // The enum is open to additions; none of today's is left out.
            _ => {}
        }
    }
    match columns {
        Some(count) => DBOutput::Rows {
            types: vec![DefaultColumnType::Any; count],
            rows,
        },
        None => DBOutput::StatementComplete(changed),
    }
}

fn values(row: &SimpleQueryRow) -> Vec<String> {
    (0..row.len())
        .map(|column| match row.get(column) {
            None => "NULL".to_owned(),
            Some("") => "(empty)".to_owned(),
            Some(text) => text.replace('\n', "\\n"),
        })
        .collect()
}
