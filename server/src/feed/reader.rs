//! One subscription's place in a feed.

use std::sync::Arc;

use scaling::Epoch;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::feed::kept::{Changes, Next};

/// Reads the changes of a relation, each epoch once, in order.
#[derive(Debug)]
pub struct Reader {
    feed: Arc<Feed>,
    number: u64,
    advanced: watch::Receiver<()>,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// What an epoch changed.
    Changes(Arc<Changes>),
    /// There are no changes up to this epoch.
    Advanced(Epoch),
}

impl Reader {
    pub(super) fn new(feed: Arc<Feed>, number: u64, advanced: watch::Receiver<()>) -> Reader {
        Reader {
            feed,
            number,
            advanced,
        }
    }

    /// The epoch up to which changes were read.
    #[must_use]
    pub fn position(&self) -> Epoch {
        self.feed.kept().position(self.number)
    }

    /// Waits for the next epoch. Nothing is lost if the caller stops waiting.
    ///
    /// # Errors
    /// [`Error::SubscriptionEnded`] if the relation was dropped, or the changes are not kept any
    /// more.
    pub async fn next(&mut self) -> Result<Step> {
        loop {
            self.advanced.mark_unchanged();
            match self.feed.kept().next(self.number)? {
                Next::Changes(changes) => return Ok(Step::Changes(changes)),
                Next::Advanced(epoch) => return Ok(Step::Advanced(epoch)),
                Next::End => return Err(ended()),
                Next::NotYet => {}
            }
            self.advanced.changed().await.map_err(|_| ended())?;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.feed.kept().remove_reader(self.number);
    }
}

fn ended() -> Error {
    Error::SubscriptionEnded {
        message: "what is subscribed to was dropped, or its columns were altered".to_owned(),
        hint: "Subscribe to something that exists.",
    }
}
