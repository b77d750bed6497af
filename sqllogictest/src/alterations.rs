//! Random `ALTER … SET PARALLELISM` from a second session, repeatable by seed.
//!
//! Each alteration picks a materialized view or a table that exists at this moment and a target
//! from 1 to [`PARALLELISM_MAX`]. Played *between* the statements of a file that change something,
//! the seed fixes which
//! statement is followed by which alteration. Played *beside* them ([`Alterations::go_on`]), a file
//! never sees a moment without scaling; the order of the two sessions is then the machine's.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::client::{Client, Error};

/// More than any fixed setting, and enough for several executors to be old and new owner at once.
const PARALLELISM_MAX: u32 = 6;
/// Alterations come after every first, second or third statement.
const STATEMENTS_BETWEEN_MAX: u32 = 3;

/// Refusals that a file causes by itself when it works on the same objects beside us: the object is
/// gone or has become another kind, is busy, or its scaling was cancelled with it.
const REFUSALS_BESIDE: [&str; 5] = ["42P01", "42809", "55000", "55006", "57014"];

/// A session that alters, and the random numbers that say what.
pub struct Alterations {
    client: Client,
    random: StdRng,
    statements_left: u32,
}

impl Alterations {
    /// Alterations by way of `client`, the same ones for the same `seed`.
    #[must_use]
    pub fn new(client: Client, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let statements_left = random.random_range(1..=STATEMENTS_BETWEEN_MAX);
        Alterations {
            client,
            random,
            statements_left,
        }
    }

    /// Counts one statement of the file; alters one object when its turn has come.
    ///
    /// # Errors
    /// Any refusal of the `ALTER`: nothing else runs meanwhile that could excuse it.
    pub async fn after_statement(&mut self) -> Result<(), AlterError> {
        self.statements_left -= 1;
        if self.statements_left > 0 {
            return Ok(());
        }
        self.statements_left = self.random.random_range(1..=STATEMENTS_BETWEEN_MAX);
        match self.next_statement().await? {
            Some(sql) => self.alter(&sql).await,
            None => Ok(()),
        }
    }

    /// Alters one object after the other until it fails; dropped when the file ends.
    pub async fn go_on(mut self) -> AlterError {
        loop {
            match self.next_statement().await {
                Ok(Some(sql)) => match self.alter(&sql).await {
                    Err(failed) if !failed.is_excused_beside() => return failed,
                    _ => {}
                },
                // Nothing exists yet: leave the machine to the file's own session.
                Ok(None) => tokio::task::yield_now().await,
                Err(failed) => return failed,
            }
        }
    }

    async fn alter(&self, sql: &str) -> Result<(), AlterError> {
        match self.client.execute(sql).await {
            Ok(_) => Ok(()),
            Err(source) => Err(AlterError {
                sql: sql.to_owned(),
                source,
            }),
        }
    }

    /// An `ALTER` of something that exists; `None` while nothing does.
    async fn next_statement(&mut self) -> Result<Option<String>, AlterError> {
        let mut objects = Vec::new();
        for (kind, list) in [
            ("MATERIALIZED VIEW", "SHOW MATERIALIZED VIEWS"),
            ("TABLE", "SHOW TABLES"),
        ] {
            let names = self.client.first_column(list).await;
            let mut names = names.map_err(|source| AlterError {
                sql: list.to_owned(),
                source,
            })?;
            // The seed decides which one: not the order in which the server lists them.
            names.sort();
            objects.extend(names.into_iter().map(|name| (kind, name)));
        }
        if objects.is_empty() {
            return Ok(None);
        }
        let (kind, name) = &objects[self.random.random_range(0..objects.len())];
        let target = self.random.random_range(1..=PARALLELISM_MAX);
        let name = name.replace('"', "\"\"");
        Ok(Some(format!(
            "ALTER {kind} \"{name}\" SET PARALLELISM = {target}"
        )))
    }
}

/// An alteration that was refused.
#[derive(Debug, thiserror::Error)]
#[error("altering from aside failed: {source}\n[SQL] {sql}")]
pub struct AlterError {
    sql: String,
    source: Error,
}

impl AlterError {
    fn is_excused_beside(&self) -> bool {
        self.source
            .sqlstate()
            .is_some_and(|state| REFUSALS_BESIDE.contains(&state))
    }
}
