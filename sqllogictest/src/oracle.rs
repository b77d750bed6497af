//! The one rule, checked while a file is played: each view equals its query, run as a batch.
//!
//! After a statement the oracle reads every materialized view, and runs the view's own query over
//! the tables and views below it. Both must give the same rows, each as often. So every file checks
//! every view it makes after every change, whether its author thought of that or not.
//!
//! The text of a view's query means the tables, their columns and the search path of the time when
//! the view was created. A file that changes these says so in a line `# oracle: VERIFY`; the server
//! is then asked to run the query, by `VERIFY MATERIALIZED VIEW`.
//!
//! A view over a source cannot be checked: a source has no rows to run a query over. Views further
//! up can; while a source sends, the two reads may see different epochs and are repeated.

use std::time::Duration;

use sqllogictest_runner::DBOutput;

use crate::client::{Client, Error};

/// Reads are repeated until they agree; a stream that has not ended by then fails the file.
const ATTEMPTS_MAX: u32 = 100;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);
/// How many differing rows a failure shows.
const ROWS_SHOWN: usize = 10;

/// Ends the query of a view whose rows come when their window closes.
const ON_WINDOW_CLOSE: &str = "EMIT ON WINDOW CLOSE";
/// In a query whose result depends on when its rows came: the server says so.
const TEMPORAL_JOIN: &str = "FOR SYSTEM_TIME AS OF PROCTIME()";
/// A query that the server does not run as a batch, such as one over a source.
const NOT_A_BATCH: &str = "0A000";

/// How a view's query is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// As a statement, by its text.
    Text,
    /// By the server's VERIFY.
    Verify,
}

/// A session that compares.
pub struct Oracle {
    client: Client,
    means: Means,
}

impl Oracle {
    /// An oracle that asks by way of `client`.
    #[must_use]
    pub fn new(client: Client, means: Means) -> Self {
        Oracle { client, means }
    }

    /// Compares every materialized view with its query.
    ///
    /// # Errors
    /// The first view that stays different, or a failed statement of ours.
    pub async fn check(&self) -> Result<(), Disagreement> {
        let views = self
            .rows("SELECT schemaname, matviewname, definition FROM pg_catalog.pg_matviews")
            .await?;
        for view in views {
            let [schema, name, definition] = view.as_slice() else {
                unreachable!("a query of three columns gives rows of three values")
            };
            // Results show a line break as two characters.
            let definition = definition.replace("\\n", "\n");
            let by_server = self.means == Means::Verify
                || definition.trim_end_matches(';').ends_with(ON_WINDOW_CLOSE)
                || definition.contains(TEMPORAL_JOIN);
            if by_server {
                self.verify(schema, name).await?;
            } else {
                self.compare(name, &definition).await?;
            }
        }
        Ok(())
    }

    async fn compare(&self, view: &str, definition: &str) -> Result<(), Disagreement> {
        let name = format!("\"{}\"", view.replace('"', "\"\""));
        let read = format!("SELECT * FROM {name}");
        let mut attempts = 0;
        loop {
            let expected = match self.rows(definition).await {
                Err(Disagreement::Failed { source, .. })
                    if source.sqlstate() == Some(NOT_A_BATCH) =>
                {
                    return Ok(());
                }
                other => other?,
            };
            let actual = self.rows(&read).await?;
            if actual == expected {
                return Ok(());
            }
            attempts += 1;
            if attempts == ATTEMPTS_MAX {
                return Err(Disagreement::Different {
                    view: view.to_owned(),
                    missing: only_in(&expected, &actual),
                    surplus: only_in(&actual, &expected),
                });
            }
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
    }

    /// Has the server compare a view with those rows of its query that are to be there.
    async fn verify(&self, schema: &str, view: &str) -> Result<(), Disagreement> {
        let verify = format!("VERIFY MATERIALIZED VIEW \"{schema}\".\"{view}\"");
        let answer = match self.rows(&verify).await {
            Err(Disagreement::Failed { source, .. }) if source.sqlstate() == Some(NOT_A_BATCH) => {
                return Ok(());
            }
            other => other?,
        };
        match answer
            .first()
            .and_then(|row| row.last())
            .map(String::as_str)
        {
            Some("t") => Ok(()),
            _ => Err(Disagreement::Different {
                view: view.to_owned(),
                missing: Vec::new(),
                surplus: answer.into_iter().map(|row| row.join(" ")).collect(),
            }),
        }
    }

    /// The rows of a query, sorted, so that equal multisets are equal lists.
    async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, Disagreement> {
        match self.client.execute(sql).await {
            Ok(DBOutput::Rows { mut rows, .. }) => {
                rows.sort_unstable();
                Ok(rows)
            }
            Ok(_) => Ok(Vec::new()),
            Err(source) => Err(Disagreement::Failed {
                sql: sql.to_owned(),
                source,
            }),
        }
    }
}

/// Why the oracle is not content.
#[derive(Debug, thiserror::Error)]
pub enum Disagreement {
    /// A view and its query give different rows.
    #[error(
        "materialized view \"{view}\" is not what its query gives\n\
         rows it lacks: {missing:#?}\nrows it should not have: {surplus:#?}"
    )]
    Different {
        /// The view.
        view: String,
        /// Rows of the query that the view has not, or not as often; the first few.
        missing: Vec<String>,
        /// Rows of the view that the query does not give, or not as often; the first few.
        surplus: Vec<String>,
    },
    /// The oracle itself could not read.
    #[error("the oracle's statement failed: {source}\n[SQL] {sql}")]
    Failed {
        /// The statement.
        sql: String,
        /// What the server says.
        source: Error,
    },
}

/// Rows that `left` has more often than `right`, both sorted; the first few, as text.
fn only_in(left: &[Vec<String>], right: &[Vec<String>]) -> Vec<String> {
    let mut right = right.iter().peekable();
    let mut only = Vec::new();
    for row in left {
        while right.next_if(|other| *other < row).is_some() {}
        if right.next_if(|other| *other == row).is_none() {
            only.push(row.join(" | "));
        }
    }
    only.truncate(ROWS_SHOWN);
    only
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        text.split_whitespace()
            .map(|value| vec![value.to_owned()])
            .collect()
    }

    #[test]
    fn rows_are_compared_as_multisets() {
        assert_eq!(only_in(&rows("a b b c"), &rows("a b c")), ["b"]);
        assert_eq!(only_in(&rows("a b c"), &rows("a b b c")), [""; 0]);
        assert_eq!(only_in(&rows("a c d"), &rows("b c")), ["a", "d"]);
        assert_eq!(only_in(&rows("x"), &[]), ["x"]);
    }
}
