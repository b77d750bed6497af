//! The rows of a state table that an epoch changed, several key groups at a time as one batch.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::compute::concat;
use scaling::KeyGroup;
use storage::{Changed, Measures, RowRef, Run, StateTable};

use crate::error::Result;

/// Changed rows with their measures at the last barrier and now. Rows of one key group are one run.
pub(crate) struct ChangedRows {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) old: Measures,
    pub(crate) new: Measures,
    pub(crate) runs: Vec<Run>,
}

/// Changed rows that are worked on together at a barrier, unless one key group has more.
pub(crate) const ROWS_PER_PIECE: usize = 4096;

impl ChangedRows {
    /// The rows of a table that the epoch changed, in bounded pieces of whole key groups.
    ///
    /// # Errors
    /// If state cannot be read.
    pub(crate) fn pieces(table: &StateTable) -> Result<Vec<Self>> {
        let mut pieces: Vec<Vec<Changed>> = Vec::new();
        let mut room = 0;
        for changed in table.changed() {
            let changed = changed?;
            let rows = changed.new.len();
            match pieces.last_mut() {
                Some(piece) if rows <= room => {
                    piece.push(changed);
                    room -= rows;
                }
                _ => {
                    pieces.push(vec![changed]);
                    room = ROWS_PER_PIECE.saturating_sub(rows);
                }
            }
        }
        let pieces = pieces.into_iter().map(Self::concat);
        pieces.filter_map(Result::transpose).collect()
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.runs.last().map_or(0, |run| run.rows.end)
    }

    /// The rows of some key groups as one batch. `None` if there are no rows.
    ///
    /// # Errors
    /// If columns cannot be joined.
    pub(crate) fn concat(mut parts: Vec<Changed>) -> Result<Option<Self>> {
        parts.retain(|part| !part.new.is_empty());
        let mut runs = Vec::with_capacity(parts.len());
        let mut start = 0;
        for part in &parts {
            let end = start + part.new.len();
            runs.push(Run {
                key_group: part.key_group,
                rows: start..end,
            });
            start = end;
        }
        if parts.len() <= 1 {
            return Ok(parts.pop().map(|part| Self {
                columns: part.columns,
                old: part.old,
                new: part.new,
                runs,
            }));
        }
        let columns = (0..parts[0].columns.len())
            .map(|column| {
                let pieces: Vec<_> = parts
                    .iter()
                    .map(|part| part.columns[column].as_ref())
                    .collect();
                Ok(concat(&pieces)?)
            })
            .collect::<Result<_>>()?;
        let (mut old, mut new) = (Measures::default(), Measures::default());
        for part in parts {
            append(&mut old, part.old);
            append(&mut new, part.new);
        }
        Ok(Some(Self {
            columns,
            old,
            new,
            runs,
        }))
    }
}

/// Rows of a state table with their measures. Rows of one key group are one run.
pub(crate) struct TableRows {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) measures: Measures,
    pub(crate) runs: Vec<Run>,
}

impl TableRows {
    /// The rows whose ordered column is below a limit, in bounded pieces.
    ///
    /// # Errors
    /// If state cannot be read.
    pub(crate) fn below(table: &StateTable, limit: i64) -> Result<Vec<Self>> {
        Self::pieces(table, &table.below(limit))
    }

    /// All rows, in bounded pieces.
    ///
    /// # Errors
    /// If state cannot be read.
    pub(crate) fn all(table: &StateTable) -> Result<Vec<Self>> {
        Self::pieces(table, &table.all())
    }

    fn pieces(table: &StateTable, rows: &[RowRef]) -> Result<Vec<Self>> {
        let all: Vec<usize> = (0..table.schema().columns.fields().len()).collect();
        let pieces = rows.chunks(ROWS_PER_PIECE).map(|rows| {
            let mut runs: Vec<Run> = Vec::new();
            for (at, row) in rows.iter().enumerate() {
                match runs.last_mut() {
                    Some(run) if run.key_group == row.key_group() => run.rows.end = at + 1,
                    _ => runs.push(Run {
                        key_group: row.key_group(),
                        rows: at..at + 1,
                    }),
                }
            }
            Ok(Self {
                columns: table.gather(rows, &all)?,
                measures: table.measures_of(rows),
                runs,
            })
        });
        pieces.collect()
    }

    /// Takes all rows below a limit out of a table: no later row will ask for them.
    ///
    /// # Errors
    /// If state cannot be changed.
    pub(crate) fn forget_below(table: &mut StateTable, limit: i64) -> Result<()> {
        for below in Self::below(table, limit)? {
            table.add(&below.columns, &below.measures.negated(), &below.runs)?;
        }
        Ok(())
    }
}

/// The changed rows of a table by key group.
///
/// # Errors
/// If state cannot be read.
pub(crate) fn changed_by_key_group(table: &StateTable) -> Result<BTreeMap<KeyGroup, Changed>> {
    table
        .changed()
        .map(|changed| {
            let changed = changed?;
            Ok((changed.key_group, changed))
        })
        .collect()
}

/// Appends the rows of `part`, measure by measure.
fn append(all: &mut Measures, part: Measures) {
    use storage::MeasureColumn::{Float64, Greatest, Int64, Int128, Int256};
    if all.0.is_empty() {
        *all = part;
        return;
    }
    for (all, part) in all.0.iter_mut().zip(part.0) {
        match (all, part) {
            (Int64(all), Int64(part)) => all.extend(part),
            (Int128(all), Int128(part)) => all.extend(part),
            (Int256(all), Int256(part)) => all.extend(part),
            (Float64(all), Float64(part)) => all.extend(part),
            (Greatest(all), Greatest(part)) => all.extend(part),
            _ => unreachable!("the measures of one table have the same types in every key group"),
        }
    }
}
