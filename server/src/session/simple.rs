//! The simple protocol: one message with any number of statements.
//!
//! The whole text is parsed before any of it runs. Statements run one after the other, each for
//! itself unless a block is open; the first error ends the message.

use arrow::array::RecordBatch;

use crate::big_stack;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::rows::Rows;
use crate::wire::encode::{describe, spread_formats};

impl Session {
    /// Runs the statements of one Query message and answers them, errors included.
    ///
    /// # Errors
    /// Only what ends the session.
    pub(crate) async fn simple_query(&mut self, sql: String) -> Result<()> {
        self.portals.remove("");
        self.prepared.remove("");
        match self.run_all(sql).await {
            Ok(()) => Ok(()),
            Err(error) => self.fail(&error),
        }
    }

    async fn run_all(&mut self, sql: String) -> Result<()> {
        self.text.clone_from(&sql);
        let statements = big_stack::parse(sql).await?;
        if statements.is_empty() {
            self.client.outbox.empty_query();
        }
        for statement in statements {
            let outcome = self.execute(&statement, Vec::new()).await?;
            self.answer(outcome).await?;
        }
        Ok(())
    }

    /// Sends what a statement answers; rows as text, all of them.
    pub(crate) async fn answer(&mut self, outcome: Outcome) -> Result<()> {
        let tag = match outcome {
            Outcome::Done(tag) => tag,
            Outcome::Rows(mut rows) => {
                let formats = spread_formats(&[], rows.schema.fields().len()).unwrap_or_default();
                self.client
                    .outbox
                    .row_description(describe(&rows.schema, &formats));
                self.send_rows(&mut rows, &formats, 0).await?;
                return Ok(());
            }
            Outcome::CopyIn(copy) => self.copy_in(*copy).await?,
            Outcome::CopyOut(copy) => self.copy_out(*copy).await?,
        };
        self.client.outbox.complete(&tag);
        Ok(())
    }

    /// The next batch of a result. While live rows are long in coming the client gets what is
    /// queued, and may leave.
    pub(crate) async fn next_batch(&mut self, rows: &mut Rows) -> Result<Option<RecordBatch>> {
        let interrupt = self.interrupt.clone();
        if !rows.is_live() {
            return interrupt.guard(rows.next()).await;
        }
        interrupt.check()?;
        interrupt.guard(self.client.flush()).await?;
        let client = &mut self.client;
        let next = async {
            tokio::select! {
                biased;
                next = rows.next() => next,
                () = client.closed() => Err(Error::ClientGone),
            }
        };
        interrupt.guard(next).await
    }
}
