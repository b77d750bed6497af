//! The simple protocol: one message with any number of statements.
//!
//! The whole text is parsed before any of it runs. Statements run one after the other, each for
//! itself unless a block is open; the first error ends the message.

use crate::big_stack;
use crate::error::Result;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::query::Rows;
use crate::wire::encode::{RowEncoder, describe, spread_formats};
use crate::wire::frame::Format;

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
        let statements = big_stack::run(move |_| Ok(planner::parse(&sql)?)).await?;
        if statements.is_empty() {
            self.client.outbox.empty_query();
        }
        for statement in statements {
            let outcome = self.execute(&statement, Vec::new()).await?;
            self.answer(outcome).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Done(tag) => self.client.outbox.complete(&tag),
            Outcome::Rows(rows) => self.send_all(rows).await?,
            Outcome::CopyIn(copy) => {
                let tag = self.copy_in(*copy).await?;
                self.client.outbox.complete(&tag);
            }
            Outcome::CopyOut(copy) => {
                let tag = self.copy_out(*copy).await?;
                self.client.outbox.complete(&tag);
            }
        }
        Ok(())
    }

    /// Sends a whole result, as text.
    async fn send_all(&mut self, mut rows: Rows) -> Result<()> {
        let formats = spread_formats(&[], rows.schema.fields().len()).unwrap_or_default();
        self.client
            .outbox
            .row_description(describe(&rows.schema, &formats));
        let mut sent = 0usize;
        let interrupt = self.interrupt.clone();
        while let Some(batch) = interrupt.guard(rows.next()).await? {
            sent += batch.num_rows();
            self.send_batch(&batch, &formats).await?;
        }
        self.client.outbox.complete(&rows.tag(sent));
        Ok(())
    }

    /// Sends the rows of a batch; a client that does not read them can still cancel.
    async fn send_batch(
        &mut self,
        batch: &arrow::array::RecordBatch,
        formats: &[Format],
    ) -> Result<()> {
        let encoder = RowEncoder::new(batch, formats, self.style())?;
        let mut scratch = String::new();
        let interrupt = self.interrupt.clone();
        for row in 0..encoder.rows() {
            encoder.write_row(row, &mut scratch, &mut self.client.outbox);
            interrupt.guard(self.client.flush_if_full()).await?;
        }
        Ok(())
    }
}
