//! SUBSCRIBE: the rows of a relation or query, then what changes, as it changes.
//!
//! Columns and options are Materialize's: `mz_timestamp` is the epoch, `mz_diff` the weight, and
//! with `WITH (PROGRESS)` a row whose `mz_progressed` is true says that all changes of epochs
//! before its `mz_timestamp` have come. A table or materialized view is read from its feed; for
//! anything else a materialized view is made that lives as long as the subscription.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use planner::Emit;
use planner::parse::{Subscribe, Subscribed};
use scaling::Epoch;
use sqlparser::ast;
use sqlparser::ast::Query;
use storage::{PartitionSnapshot, TableSnapshot};

use crate::access::privilege::Privileges;
use crate::error::{Error, Result};
use crate::feed::{Reader, Start, Step};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::copy::CopyOut;
use crate::statement::cursor::unknown_option;
use crate::statement::rows::Rows;
use crate::temporary_view::TemporaryView;

/// The epoch.
const EPOCH: &str = "mz_timestamp";
/// Whether the row is about progress.
const PROGRESSED: &str = "mz_progressed";
/// The weight.
const WEIGHT: &str = "mz_diff";

/// What the `WITH` clause says.
#[derive(Debug, Clone, Copy)]
struct Options {
    snapshot: bool,
    progress: bool,
}

/// What a subscription reads.
enum Target {
    /// A relation that a job keeps.
    Kept {
        id: u32,
        columns: SchemaRef,
        /// Where the columns lie in its rows.
        places: Option<Vec<usize>>,
    },
    /// Anything else.
    Query(Box<Query>),
}

impl Session {
    /// Starts a subscription.
    ///
    /// # Errors
    /// What the query's planning finds; an epoch that is not kept.
    pub(crate) async fn subscribe(&mut self, subscribe: &Subscribe) -> Result<Rows> {
        let options = options(subscribe)?;
        let start = match subscribe.as_of {
            None => Start::Now,
            Some(_) if options.snapshot => {
                return Err(Error::unsupported(
                    "AS OF with a snapshot is not supported",
                    "Add WITH (SNAPSHOT = false) to go on behind an epoch that you have.",
                ));
            }
            Some(epoch) => Start::After(Epoch(epoch)),
        };
        let (id, columns, places, view) = match self.subscribed(&subscribe.of)? {
            Target::Kept {
                id,
                columns,
                places,
            } => (id, columns, places, None),
            Target::Query(_) if subscribe.as_of.is_some() => {
                return Err(Error::unsupported(
                    "AS OF is not supported for a query",
                    "Create a materialized view and subscribe to that.",
                ));
            }
            Target::Query(query) => {
                let view = self.create_temporary_view(&query).await?;
                (view.id(), view.columns(), None, Some(view))
            }
        };
        self.see_own_writes().await?;
        let shared = Arc::clone(&self.shared);
        let read = shared.feeds.read(&shared.engine, id, start);
        let (reader, rows) = self.interrupt.clone().guard(read).await?;
        let schema = output_schema(&columns, options);
        let subscription = Subscription {
            schema: Arc::clone(&schema),
            places,
            progress: options.progress,
            up_to: subscribe.up_to.map(Epoch),
            ready: VecDeque::new(),
            snapshot: options.snapshot.then(|| Snapshot {
                epoch: reader.position(),
                partitions: partitions(&rows),
            }),
            reader,
            view,
        };
        let stream = futures::stream::try_unfold(subscription, |mut subscription| async {
            let next = subscription.next().await?;
            Ok(next.map(|batch| (batch, subscription)))
        });
        Ok(Rows::live(schema, stream.boxed()))
    }

    /// The columns of a subscription that is not started.
    ///
    /// # Errors
    /// As [`Session::subscribe`].
    pub(crate) async fn subscribe_columns(&mut self, subscribe: &Subscribe) -> Result<SchemaRef> {
        let options = options(subscribe)?;
        let columns = match self.subscribed(&subscribe.of)? {
            Target::Kept { columns, .. } => columns,
            Target::Query(query) => {
                self.plan_continuous(&query, Vec::new(), Emit::Immediately)
                    .await?
                    .0
                    .dataflow
                    .schema
            }
        };
        Ok(output_schema(&columns, options))
    }

    pub(crate) async fn copy_subscribe(
        &mut self,
        subscribe: &Subscribe,
        copy: &ast::Statement,
    ) -> Result<Outcome> {
        let options = self.copy_to_options(copy)?;
        let rows = self.subscribe(subscribe).await?;
        Ok(Outcome::CopyOut(Box::new(CopyOut { rows, options })))
    }

    fn subscribed(&self, of: &Subscribed) -> Result<Target> {
        let name = match of {
            Subscribed::Query(query) => return Ok(Target::Query(query.clone())),
            Subscribed::Relation(name) => name,
        };
        let local = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        match catalog.by_name(&local) {
            Some(entry) if entry.kind.has_job() => {
                self.check_privilege(entry, Privileges::SELECT)?;
                Ok(Target::Kept {
                    id: entry.id,
                    columns: entry.schema(),
                    places: entry.places().map(<[usize]>::to_vec),
                })
            }
            Some(_) => Ok(Target::Query(Box::new(super::select_all(name.clone())?))),
            None => Err(Error::UndefinedRelation {
                name: local.to_string(),
            }),
        }
    }
}

fn options(subscribe: &Subscribe) -> Result<Options> {
    let mut options = Options {
        snapshot: true,
        progress: false,
    };
    for (name, value) in &subscribe.options {
        let on = match value.to_lowercase().as_str() {
            "true" | "on" | "1" => true,
            "false" | "off" | "0" => false,
            _ => {
                return Err(Error::InvalidValue {
                    message: format!("invalid value for option \"{name}\": \"{value}\""),
                    hint: Some("It is true or false.".to_owned()),
                });
            }
        };
        match name.as_str() {
            "snapshot" => options.snapshot = on,
            "progress" => options.progress = on,
            other => return Err(unknown_option("SUBSCRIBE", other)),
        }
    }
    Ok(options)
}

fn output_schema(columns: &Schema, options: Options) -> SchemaRef {
    let mut fields = vec![Field::new(EPOCH, DataType::Int64, true)];
    if options.progress {
        fields.push(Field::new(PROGRESSED, DataType::Boolean, true));
    }
    fields.push(Field::new(WEIGHT, DataType::Int64, true));
    fields.extend(columns.fields().iter().map(|field| Field::clone(field)));
    Arc::new(Schema::new(fields))
}

fn partitions(rows: &TableSnapshot) -> VecDeque<PartitionSnapshot> {
    rows.partitions.iter().flatten().cloned().collect()
}

/// The rows that a subscription starts with, as far as not sent.
struct Snapshot {
    epoch: Epoch,
    partitions: VecDeque<PartitionSnapshot>,
}

/// A running subscription.
struct Subscription {
    places: Option<Vec<usize>>,
    // Fixed.
    schema: SchemaRef,
    progress: bool,
    up_to: Option<Epoch>,
    // Changing.
    ready: VecDeque<RecordBatch>,
    snapshot: Option<Snapshot>,
    reader: Reader,
    #[allow(dead_code, reason = "held for its drop")]
    view: Option<TemporaryView>,
}

impl Subscription {
    /// The next rows; `None` behind the last wanted epoch.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(snapshot) = &mut self.snapshot {
                let epoch = snapshot.epoch;
                if !self.is_wanted(epoch) {
                    return Ok(None);
                }
                self.send_snapshot(epoch)?;
                continue;
            }
            if !self.is_wanted(self.reader.position().next()) {
                return Ok(None);
            }
            match self.reader.next().await? {
                Step::Changes(changes) if !self.is_wanted(changes.epoch) => return Ok(None),
                Step::Changes(changes) => {
                    self.send(changes.epoch, &changes.rows, &changes.weights)?;
                    self.send_progress(changes.epoch)?;
                }
                Step::Advanced(epoch) => self.send_progress(epoch)?,
            }
        }
    }

    fn is_wanted(&self, epoch: Epoch) -> bool {
        self.up_to.is_none_or(|up_to| epoch < up_to)
    }

    /// The rows of one more key group.
    fn send_snapshot(&mut self, epoch: Epoch) -> Result<()> {
        let partitions = self.snapshot.as_mut().map(|s| &mut s.partitions);
        let Some(partition) = partitions.and_then(VecDeque::pop_front) else {
            self.snapshot = None;
            return self.send_progress(epoch);
        };
        for (rows, weights) in partition.batches_with_weights(None)? {
            self.send(epoch, &rows, &weights)?;
        }
        Ok(())
    }

    fn send(&mut self, epoch: Epoch, rows: &RecordBatch, weights: &[i64]) -> Result<()> {
        let count = rows.num_rows();
        let mut columns = vec![epochs(epoch, count)];
        if self.progress {
            columns.push(Arc::new(BooleanArray::from(vec![false; count])));
        }
        columns.push(Arc::new(Int64Array::from(weights.to_vec())));
        match &self.places {
            Some(places) => columns.extend(rows.project(places)?.columns().iter().cloned()),
            None => columns.extend(rows.columns().iter().cloned()),
        }
        self.ready
            .push_back(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        Ok(())
    }

    /// All up to this epoch has come.
    fn send_progress(&mut self, epoch: Epoch) -> Result<()> {
        if !self.progress {
            return Ok(());
        }
        let mut columns = vec![
            epochs(epoch.next(), 1),
            Arc::new(BooleanArray::from(vec![true])),
        ];
        let rest = self.schema.fields().iter().skip(columns.len());
        let nulls: Vec<ArrayRef> = rest
            .map(|field| new_null_array(field.data_type(), 1))
            .collect();
        columns.extend(nulls);
        self.ready
            .push_back(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        Ok(())
    }
}

fn epochs(epoch: Epoch, count: usize) -> ArrayRef {
    // Epochs are counted one by one: they stay far below the limits of bigint.
    Arc::new(Int64Array::from_value(epoch.0.cast_signed(), count))
}
