//! What can happen next, and how a trace says so.

use scaling::{ExecutorId, SubscaleId};

use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A predecessor makes its next batches, those in front of its next barrier.
    Make {
        predecessor: usize,
        batches: usize,
    },
    /// A predecessor makes its next barrier.
    Barrier(usize),
    BeginScaling,
    Cancel,
    PrepareNew(SubscaleId),
    PrepareOld(SubscaleId),
    /// A predecessor switches a subscale when so many messages of its queue to the old owner have
    /// been sent.
    Switch {
        predecessor: usize,
        subscale: SubscaleId,
        sent: usize,
    },
    Done(SubscaleId),
    /// An executor reads a regular channel.
    Read {
        predecessor: usize,
        executor: usize,
    },
    /// A new owner reads the migration channel from an old one.
    ReadMigration(ExecutorId, ExecutorId),
    /// An old owner hands over a key group.
    Poll(usize),
    Commit(usize),
    Crash,
}

impl World {
    /// A step that can happen in this state, in words.
    pub(crate) fn words(&self, step: Step) -> String {
        match step {
            Step::Make {
                predecessor,
                batches,
            } => {
                let made = self.predecessors[predecessor].made;
                let batches = (made..made + batches).map(|b| {
                    let rows = self.ground.setting.batch(predecessor, b);
                    format!("[{}]", crate::message::names(&rows))
                });
                let batches: Vec<_> = batches.collect();
                format!("p{predecessor} makes {}", batches.join(" "))
            }
            Step::Barrier(p) => {
                format!("p{p} makes barrier {}", self.predecessors[p].barrier.next())
            }
            Step::BeginScaling => "a scaling begins".to_owned(),
            Step::Cancel => "the scaling is cancelled".to_owned(),
            Step::PrepareNew(id) => {
                let subscale = self.plan.subscale(id);
                format!("{} is told that it gets {subscale}", subscale.new_owner)
            }
            Step::PrepareOld(id) => {
                let subscale = self.plan.subscale(id);
                format!("{} is told that it gives {subscale}", subscale.old_owner)
            }
            Step::Switch {
                predecessor,
                subscale,
                sent,
            } => {
                let subscale = self.plan.subscale(subscale);
                let queue = &self.regular(predecessor, subscale.old_owner).queue;
                format!(
                    "p{predecessor} switches {subscale} with {} of {} messages to {} unsent",
                    queue.len() - sent,
                    queue.len(),
                    subscale.old_owner
                )
            }
            Step::Done(id) => format!("the coordinator hears that {id} is done"),
            Step::Read {
                predecessor,
                executor,
            } => {
                let channel = self.regular(predecessor, crate::message::executor(executor));
                let head = channel.queue.front().map(ToString::to_string);
                format!(
                    "e{executor} reads {} of p{predecessor}",
                    head.unwrap_or_default()
                )
            }
            Step::ReadMigration(from, to) => {
                let head = self.migration_head(from, to).map(ToString::to_string);
                format!("{to} reads {} from {from}", head.unwrap_or_default())
            }
            Step::Poll(e) => format!("e{e} hands over a key group"),
            Step::Commit(e) => {
                let epoch = self.executors[e].as_ref().and_then(|e| e.committing);
                format!("e{e} commits epoch {}", epoch.unwrap_or_default())
            }
            Step::Crash => "crash: all start again from the last checkpoint".to_owned(),
        }
    }
}
