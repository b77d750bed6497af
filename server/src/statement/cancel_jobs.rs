//! `CANCEL JOBS`: gives up views and indexes that are being created.

use crate::error::Result;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::rows::Rows;

/// The one column of CANCEL JOBS.
pub(crate) const CANCEL_COLUMNS: [&str; 1] = ["id"];

impl Session {
    /// Answers with the jobs that were being created, and are no more; `SHOW JOBS` has the numbers.
    pub(crate) async fn cancel_jobs(&mut self, ids: &[u64]) -> Result<Outcome> {
        // What is being created is not in the catalog yet, so it has no owner.
        self.check_superuser("must be superuser to cancel jobs")?;
        let known = ids.iter().filter_map(|id| u32::try_from(*id).ok());
        let cancelled = self.shared.engine.cancel_jobs(known.collect()).await?;
        let row = |id: &u32| vec![Some(id.to_string())];
        let rows: Vec<_> = cancelled.iter().map(row).collect();
        Ok(Outcome::Rows(Rows::of_texts(
            &CANCEL_COLUMNS,
            &rows,
            "CANCEL JOBS",
        )?))
    }
}
