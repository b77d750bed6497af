//! The naive meaning of a dataflow over given rows, to be compared with the batch engine: every
//! node is evaluated once over all of its input, without key groups, epochs or retractions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{concat_batches, filter_record_batch, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use planner::RelationId;
use planner::dataflow::{
    AggCall, AggFunction, Dataflow, Distribution, JoinKind, Node, UnnestColumn, Upstream,
};

/// The rows of a view, as sorted text.
pub(crate) fn view_rows(
    dataflow: &Dataflow,
    relation: &dyn Fn(RelationId) -> RecordBatch,
) -> Vec<String> {
    let mut fragments: Vec<RecordBatch> = Vec::new();
    for fragment in &dataflow.fragments {
        let inputs: Vec<RecordBatch> = fragment
            .inputs
            .iter()
            .map(|input| {
                let rows = match input.from {
                    Upstream::Fragment(at) => fragments[at].clone(),
                    Upstream::Relation(id) => relation(id),
                };
                if let Distribution::Hash(keys) = &input.distribution {
                    assert!(keys.iter().all(|key| *key < rows.num_columns()));
                }
                match input.from {
                    // The first phase of an aggregation hands on its rows as they are.
                    Upstream::Fragment(at) if is_local(&dataflow.fragments[at].root) => rows,
                    _ => retyped(&rows, &input.schema),
                }
            })
            .collect();
        let rows = evaluate(&fragment.root, &inputs);
        assert!(
            fragment
                .root
                .schema()
                .fields()
                .iter()
                .all(|field| field.is_nullable())
        );
        fragments.push(rows);
    }
    text(fragments.last().unwrap())
}

/// Rows as sorted text.
pub(crate) fn text(batch: &RecordBatch) -> Vec<String> {
    let mut rows: Vec<String> = (0..batch.num_rows())
        .map(|row| {
            let values = batch.columns().iter().map(|column| {
                if column
                    .logical_nulls()
                    .is_some_and(|nulls| nulls.is_null(row))
                {
                    "NULL".to_owned()
                } else {
                    array_value_to_string(column, row).unwrap()
                }
            });
            values.collect::<Vec<_>>().join("|")
        })
        .collect();
    rows.sort();
    rows
}

fn is_local(root: &Node) -> bool {
    matches!(root, Node::LocalAgg { .. })
}

fn retyped(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)
        .unwrap()
}

fn evaluate(node: &Node, inputs: &[RecordBatch]) -> RecordBatch {
    match node {
        Node::Input {
            inputs: read,
            schema,
        } => {
            let read: Vec<&RecordBatch> = read.iter().map(|at| &inputs[*at]).collect();
            let schema = read
                .first()
                .map_or(Arc::clone(schema), |rows| rows.schema());
            concat_batches(&schema, read).unwrap()
        }
        Node::Filter { input, predicate } => {
            let rows = evaluate(input, inputs);
            let keep = predicate
                .evaluate(&rows)
                .unwrap()
                .into_array(rows.num_rows())
                .unwrap();
            let keep = keep
                .as_any()
                .downcast_ref::<BooleanArray>()
                .unwrap()
                .clone();
            filter_record_batch(&rows, &keep).unwrap()
        }
        Node::Project {
            input,
            exprs,
            schema,
        } => {
            let rows = evaluate(input, inputs);
            let columns = exprs.iter().map(|expr| {
                expr.evaluate(&rows)
                    .unwrap()
                    .into_array(rows.num_rows())
                    .unwrap()
            });
            let columns = columns.collect();
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap()
        }
        Node::HashAgg {
            input,
            group_by,
            calls,
            schema,
            forgets: _,
            append_only: _,
            partial_of,
        } => {
            let rows = evaluate(input, inputs);
            let rows = match partial_of {
                Some(schema) => retyped(&rows, schema),
                None => rows,
            };
            aggregate(&rows, group_by, calls, schema)
        }
        Node::LocalAgg { input, .. } => evaluate(input, inputs),
        Node::Unnest {
            input,
            columns,
            schema,
        } => unnest(&evaluate(input, inputs), columns, schema),
        Node::HashJoin { left, right, .. } => {
            join(node, &evaluate(left, inputs), &evaluate(right, inputs))
        }
        Node::Union {
            inputs: all,
            schema,
        } => {
            let rows: Vec<RecordBatch> = all.iter().map(|node| evaluate(node, inputs)).collect();
            concat_batches(schema, &rows).unwrap()
        }
        Node::Recompute {
            inputs: children,
            keys,
            evaluation,
            schema,
            ..
        } => {
            let rows = children.iter().map(|node| evaluate(node, inputs)).collect();
            let results = evaluation.start().unwrap().run(rows).unwrap();
            let columns = results.columns()[keys[0].len()..].to_vec();
            let options = RecordBatchOptions::new().with_row_count(Some(results.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap()
        }
        Node::Materialize { input, key } => {
            let rows = evaluate(input, inputs);
            assert_unique(&rows, key);
            rows
        }
        Node::Values { batch } => batch.clone(),
        Node::TemporalFilter { .. } | Node::TemporalJoin { .. } | Node::WatermarkFilter { .. } => {
            panic!("time passes in an executor")
        }
        Node::Dml { .. } | Node::Nexmark { .. } => panic!("no rows"),
    }
}

fn unnest(rows: &RecordBatch, columns: &[UnnestColumn], schema: &SchemaRef) -> RecordBatch {
    let elements = |at: usize, row: usize| -> Vec<ScalarValue> {
        let list = rows.column(at).as_list::<i32>();
        match list.is_null(row) {
            true => Vec::new(),
            false => {
                let list = list.value(row);
                let values = (0..list.len()).map(|at| ScalarValue::try_from_array(&list, at));
                values.collect::<Result<_, _>>().unwrap()
            }
        }
    };
    let mut out: Vec<Vec<ScalarValue>> = vec![Vec::new(); columns.len()];
    for row in 0..rows.num_rows() {
        let lists = columns.iter().map(|column| match *column {
            UnnestColumn::Kept(_) => 0,
            UnnestColumn::Elements(at) => elements(at, row).len(),
        });
        for place in 0..lists.max().unwrap() {
            for (column, out) in columns.iter().zip(&mut out) {
                out.push(match *column {
                    UnnestColumn::Kept(at) => {
                        ScalarValue::try_from_array(rows.column(at), row).unwrap()
                    }
                    UnnestColumn::Elements(at) => {
                        let null = || ScalarValue::try_new_null(schema.field(0).data_type());
                        let element = elements(at, row).into_iter().nth(place);
                        element.unwrap_or_else(|| null().unwrap())
                    }
                });
            }
        }
    }
    let arrays = out.into_iter().zip(schema.fields()).map(|(values, field)| {
        if values.is_empty() {
            arrow::array::new_empty_array(field.data_type())
        } else {
            ScalarValue::iter_to_array(values).unwrap()
        }
    });
    RecordBatch::try_new(Arc::clone(schema), arrays.collect()).unwrap()
}

fn assert_unique(rows: &RecordBatch, key: &[usize]) {
    let keys = keys(rows, key, false);
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert!(
        key.is_empty() || distinct.len() == rows.num_rows(),
        "key {key:?} is not unique"
    );
}

/// Comparable keys of rows; `None` for a key with a NULL if those never match.
fn keys(rows: &RecordBatch, columns: &[usize], null_never_matches: bool) -> Vec<Option<Vec<u8>>> {
    if columns.is_empty() {
        return vec![Some(Vec::new()); rows.num_rows()];
    }
    let columns: Vec<ArrayRef> = columns
        .iter()
        .map(|at| Arc::clone(rows.column(*at)))
        .collect();
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect()).unwrap();
    let encoded = converter.convert_columns(&columns).unwrap();
    (0..rows.num_rows())
        .map(|row| {
            let has_null = columns.iter().any(|column| column.is_null(row));
            (!(has_null && null_never_matches)).then(|| encoded.row(row).as_ref().to_vec())
        })
        .collect()
}

fn join(node: &Node, left: &RecordBatch, right: &RecordBatch) -> RecordBatch {
    let Node::HashJoin {
        kind,
        left_keys,
        right_keys,
        nulls_match,
        residual,
        schema,
        ..
    } = node
    else {
        panic!("not a join");
    };
    for (left_key, right_key) in left_keys.iter().zip(right_keys) {
        assert_eq!(
            left.column(*left_key).data_type(),
            right.column(*right_key).data_type()
        );
    }
    let mut pairs = Vec::new();
    let right_key = keys(right, right_keys, !nulls_match);
    for (at, key) in keys(left, left_keys, !nulls_match).iter().enumerate() {
        for (other, other_key) in right_key.iter().enumerate() {
            if key.is_some() && key == other_key {
                pairs.push((Some(at), Some(other)));
            }
        }
    }
    if let Some(residual) = residual {
        let mut fields = left.schema().fields().to_vec();
        fields.extend(right.schema().fields().iter().cloned());
        let both = Arc::new(arrow::datatypes::Schema::new(fields));
        let rows = chosen(left, right, &pairs, &both);
        let passed = residual.evaluate(&rows).unwrap();
        let passed = passed.into_array(rows.num_rows()).unwrap();
        let passed = passed.as_any().downcast_ref::<BooleanArray>().unwrap();
        let mut passed = passed.iter();
        pairs.retain(|_| passed.next().flatten() == Some(true));
    }
    let is_matched = |at: usize| pairs.iter().any(|(left, _)| *left == Some(at));
    let is_right_matched = |at: usize| pairs.iter().any(|(_, right)| *right == Some(at));
    let lonely_left: Vec<_> = (0..left.num_rows())
        .filter(|at| !is_matched(*at))
        .map(|at| (Some(at), None))
        .collect();
    let lonely_right: Vec<_> = (0..right.num_rows())
        .filter(|at| !is_right_matched(*at))
        .map(|at| (None, Some(at)))
        .collect();
    let matched: Vec<_> = (0..left.num_rows())
        .filter(|at| is_matched(*at))
        .map(|at| (Some(at), None))
        .collect();
    let rows = match kind {
        JoinKind::Inner => pairs,
        JoinKind::Left => [pairs, lonely_left].concat(),
        JoinKind::Right => [pairs, lonely_right].concat(),
        JoinKind::Full => [pairs, lonely_left, lonely_right].concat(),
        JoinKind::LeftSemi => matched,
        JoinKind::LeftAnti => lonely_left,
        JoinKind::LeftMark => {
            let all: Vec<_> = (0..left.num_rows()).map(|at| (Some(at), None)).collect();
            let columns = chosen(left, right, &all, &left.schema()).columns().to_vec();
            let marks: BooleanArray = (0..left.num_rows())
                .map(|at| Some(is_matched(at)))
                .collect();
            let columns = columns.into_iter().chain([Arc::new(marks) as ArrayRef]);
            return RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap();
        }
    };
    chosen(left, right, &rows, schema)
}

/// Pairs of rows as rows of a schema that begins with the left columns.
fn chosen(
    left: &RecordBatch,
    right: &RecordBatch,
    pairs: &[(Option<usize>, Option<usize>)],
    schema: &SchemaRef,
) -> RecordBatch {
    let index = |at: Option<usize>| at.map(|at| u32::try_from(at).unwrap());
    let left_rows: UInt32Array = pairs.iter().map(|pair| index(pair.0)).collect();
    let right_rows: UInt32Array = pairs.iter().map(|pair| index(pair.1)).collect();
    let left = left.columns().iter();
    let left = left.map(|column| take(column, &left_rows, None).unwrap());
    let right = right.columns().iter();
    let right = right.map(|column| take(column, &right_rows, None).unwrap());
    let columns = left.chain(right).take(schema.fields().len()).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(pairs.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap()
}

fn aggregate(
    rows: &RecordBatch,
    group_by: &[usize],
    calls: &[AggCall],
    schema: &SchemaRef,
) -> RecordBatch {
    let mut groups: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (row, key) in keys(rows, group_by, false).into_iter().enumerate() {
        groups.entry(key.unwrap()).or_default().push(row);
    }
    let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::new(); schema.fields().len()];
    for members in groups.values() {
        for (at, column) in group_by.iter().enumerate() {
            columns[at]
                .push(ScalarValue::try_from_array(rows.column(*column), members[0]).unwrap());
        }
        for (at, call) in calls.iter().enumerate() {
            columns[group_by.len() + at].push(fold(rows, members, call));
        }
    }
    let arrays = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(values, field)| {
            if values.is_empty() {
                arrow::array::new_empty_array(field.data_type())
            } else {
                ScalarValue::iter_to_array(values).unwrap()
            }
        });
    let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays.collect(), &options).unwrap()
}

fn fold(rows: &RecordBatch, members: &[usize], call: &AggCall) -> ScalarValue {
    let Some(argument) = call.argument else {
        assert_eq!(call.function, AggFunction::Count);
        return ScalarValue::Int64(Some(i64::try_from(members.len()).unwrap()));
    };
    let column = rows.column(argument);
    let values: Vec<ScalarValue> = members
        .iter()
        .filter(|row| !column.is_null(**row))
        .map(|row| ScalarValue::try_from_array(column, *row).unwrap())
        .collect();
    let null = ScalarValue::try_new_null(&call.output_type).unwrap();
    let sum = || {
        let cast = values
            .iter()
            .map(|value| value.cast_to(&call.output_type).unwrap());
        cast.reduce(|sum, value| sum.add(value).unwrap().cast_to(&call.output_type).unwrap())
    };
    match call.function {
        AggFunction::Count => ScalarValue::Int64(Some(i64::try_from(values.len()).unwrap())),
        AggFunction::Sum => sum().unwrap_or(null),
        AggFunction::Avg => match sum() {
            Some(ScalarValue::Float64(Some(sum))) => {
                ScalarValue::Float64(Some(sum / values.len() as f64))
            }
            Some(other) => panic!("avg of {other}"),
            None => null,
        },
        AggFunction::Min => values
            .into_iter()
            .reduce(|a, b| if b < a { b } else { a })
            .unwrap_or(null),
        AggFunction::Max => values
            .into_iter()
            .reduce(|a, b| if b > a { b } else { a })
            .unwrap_or(null),
    }
}
