//! Aggregations against the batch engine, and the cases worth a table of their own.

use arrow::datatypes::{DataType, Field};
use planner::dataflow::{AggFunction, Distribution, Fragment, Input, Node, Upstream};
use planner::measures::partial_schema;
use rand::Rng;
use rand::rngs::StdRng;

use super::*;
use crate::operators::changed::ROWS_PER_PIECE;
use crate::operators::testing::{
    KEY_GROUPS, RandomInput, Twins, batch_query, context, for_seeds, fragment, input_node,
    output_to_text, schema, small_or_null,
};
use crate::pipeline::Pipeline;

fn call(function: AggFunction, argument: usize, output_type: DataType) -> AggCall {
    AggCall {
        function,
        argument: Some(argument),
        output_type,
    }
}

/// An aggregation node; its output columns are named `c0`, `c1`, ….
fn aggregation(input: &SchemaRef, group_by: &[usize], calls: &[AggCall]) -> Node {
    let groups = group_by
        .iter()
        .map(|&column| input.field(column).data_type().clone());
    let types = groups.chain(calls.iter().map(|call| call.output_type.clone()));
    let fields: Vec<Field> = types
        .enumerate()
        .map(|(at, t)| Field::new(format!("c{at}"), t, true))
        .collect();
    Node::HashAgg {
        input: Box::new(input_node(&[0], input)),
        group_by: group_by.to_vec(),
        calls: calls.to_vec(),
        forgets: None,
        append_only: false,
        partial_of: None,
        schema: Arc::new(Schema::new(fields)),
    }
}

/// One instance of an aggregation that owns everything; each element of `epochs` is an epoch's
/// input, the result is what each barrier emits.
fn emitted(
    input: &SchemaRef,
    group_by: &[usize],
    calls: &[AggCall],
    epochs: &[&str],
) -> (Vec<String>, u64) {
    let context = context();
    let inputs = [(input.clone(), group_by.to_vec())];
    let fragment = fragment(aggregation(input, group_by, calls), &inputs);
    let owned = (0..KEY_GROUPS).map(scaling::KeyGroup);
    let mut pipeline = Pipeline::build(&fragment, 1, 0, owned, &context).unwrap();
    let mut outputs = Vec::new();
    for (epoch, text) in (1..).zip(epochs) {
        let mut out = Output::new();
        let batch = ChangeBatch::from_text(input, text).keyed(group_by, KEY_GROUPS);
        pipeline.on_batch(0, batch, &mut out).unwrap();
        assert!(out.is_empty(), "nothing is emitted before the barrier");
        let barrier = Barrier {
            epoch: scaling::Epoch(epoch),
            durable: epoch % 2 == 0,
            time: 0,
        };
        pipeline
            .on_barrier(&barrier, &[Watermarks::default()], &mut out)
            .unwrap();
        for table in pipeline.tables() {
            let _ = table.commit(barrier.durable).unwrap();
        }
        outputs.push(output_to_text(&mut out));
    }
    (outputs, context.errors.count())
}

#[test]
fn emits_one_pair_a_group_and_only_what_changed() {
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Int64)]);
    let calls = [
        AggCall {
            function: AggFunction::Count,
            argument: None,
            output_type: DataType::Int64,
        },
        call(AggFunction::Sum, 1, DataType::Int64),
    ];
    let (outputs, errors) = emitted(
        &columns,
        &[0],
        &calls,
        &[
            "+1 | 1 | 10\n+1 | 1 | NULL\n+2 | 1 | 3",
            "+1 | 1 | 4\n-1 | 1 | 4",
            "-1 | 1 | 10\n+1 | 1 | 11",
            "-2 | 1 | 3\n-1 | 1 | 11",
            "-1 | 1 | NULL",
        ],
    );
    assert_eq!(
        outputs,
        [
            "+1 | 1 | 4 | 16\n",
            "",
            "-1 | 1 | 4 | 16\n+1 | 1 | 4 | 17\n",
            "-1 | 1 | 4 | 17\n+1 | 1 | 1 | NULL\n",
            "-1 | 1 | 1 | NULL\n",
        ]
    );
    assert_eq!(errors, 0);
}

#[test]
fn extremes_follow_retractions() {
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Utf8)]);
    let calls = [
        call(AggFunction::Min, 1, DataType::Utf8),
        call(AggFunction::Max, 1, DataType::Utf8),
    ];
    let (outputs, _) = emitted(
        &columns,
        &[0],
        &calls,
        &[
            "-1 | 1 | m\n+2 | 1 | m\n+1 | 1 | c\n+1 | 1 | x",
            "-1 | 1 | c",             // the least leaves: found among all values
            "+1 | 1 | a\n-1 | 1 | x", // a better one comes, the greatest leaves
            "-1 | 1 | m\n-1 | 1 | a\n+1 | 1 | NULL", // no value is left, the group is
            "-1 | 1 | NULL",
            "+1 | 1 | z",
        ],
    );
    assert_eq!(
        outputs,
        [
            "+1 | 1 | c | x\n",
            "-1 | 1 | c | x\n+1 | 1 | m | x\n",
            "-1 | 1 | m | x\n+1 | 1 | a | m\n",
            "-1 | 1 | a | m\n+1 | 1 | NULL | NULL\n",
            "-1 | 1 | NULL | NULL\n",
            "+1 | 1 | z | z\n",
        ]
    );
}

#[test]
fn a_negative_group_does_not_exist_yet() {
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Int64)]);
    let calls = [
        call(AggFunction::Sum, 1, DataType::Int64),
        call(AggFunction::Max, 1, DataType::Int64),
    ];
    let epochs = ["-1 | 1 | 5", "+1 | 1 | 5", "+1 | 1 | 7"];
    let (outputs, _) = emitted(&columns, &[0], &calls, &epochs);
    assert_eq!(outputs, ["", "", "+1 | 1 | 7 | 7\n"]);
}

#[test]
fn a_value_that_is_owed_is_no_extreme() {
    // As while a view is backfilled: the retraction of 9 is here, 9 itself is not yet.
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Int64)]);
    let calls = [call(AggFunction::Max, 1, DataType::Int64)];
    let epochs = [
        "+1 | 1 | 5\n-1 | 1 | 9\n+1 | 1 | 7",
        "-1 | 1 | 7\n+1 | 1 | 3",
        "+1 | 1 | 9",
        "+1 | 1 | 9",
    ];
    let (outputs, _) = emitted(&columns, &[0], &calls, &epochs);
    let expected = [
        "+1 | 1 | 7\n",
        "-1 | 1 | 7\n+1 | 1 | 5\n",
        "",
        "-1 | 1 | 5\n+1 | 1 | 9\n",
    ];
    assert_eq!(outputs, expected);
}

#[test]
fn a_sum_may_pass_its_limit_inside_an_epoch_only() {
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Int64)]);
    let calls = [call(AggFunction::Sum, 1, DataType::Int64)];
    let most = i64::MAX;
    let epochs = [
        format!("+1 | 1 | {most}\n+1 | 1 | 1\n-1 | 1 | 1"),
        "+1 | 1 | 2".to_owned(),
        "-1 | 1 | 2".to_owned(),
    ];
    let epochs: Vec<&str> = epochs.iter().map(String::as_str).collect();
    let (outputs, errors) = emitted(&columns, &[0], &calls, &epochs);
    assert_eq!(
        outputs,
        [
            format!("+1 | 1 | {most}\n"),
            format!("-1 | 1 | {most}\n+1 | 1 | NULL\n"),
            format!("-1 | 1 | NULL\n+1 | 1 | {most}\n"),
        ]
    );
    assert_eq!(errors, 1);
}

#[test]
fn decimal_sums_beyond_their_precision_are_null() {
    let decimal = DataType::Decimal128(38, 0);
    let columns = schema(&[("g", DataType::Int64), ("x", decimal.clone())]);
    let calls = [call(AggFunction::Sum, 1, decimal)];
    let nines = "9".repeat(38);
    let text = format!("+2 | 1 | {nines}");
    let (outputs, errors) = emitted(&columns, &[0], &calls, &[&text]);
    assert_eq!(outputs, ["+1 | 1 | NULL\n"]);
    assert_eq!(errors, 1);
}

#[test]
fn nan_and_infinities_retract() {
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Float64)]);
    let float = DataType::Float64;
    let calls = [
        call(AggFunction::Sum, 1, float.clone()),
        call(AggFunction::Avg, 1, float.clone()),
        call(AggFunction::Max, 1, float),
    ];
    let (outputs, _) = emitted(
        &columns,
        &[0],
        &calls,
        &[
            "+1 | 1 | 1.5\n+1 | 1 | NaN",
            "-1 | 1 | NaN\n+1 | 1 | inf",
            "+1 | 1 | -inf",
            "-1 | 1 | inf",
            "-1 | 1 | -inf",
        ],
    );
    let states = [
        "NaN | NaN | NaN",
        "inf | inf | inf",
        "NaN | NaN | inf",
        "-inf | -inf | 1.5",
        "1.5 | 1.5 | 1.5",
    ];
    let expected: Vec<String> = (0..states.len())
        .map(|epoch| {
            let new = format!("+1 | 1 | {}\n", states[epoch]);
            match epoch {
                0 => new,
                _ => format!("-1 | 1 | {}\n{new}", states[epoch - 1]),
            }
        })
        .collect();
    assert_eq!(outputs, expected);
}

#[test]
fn equal_floats_are_one_group() {
    let columns = schema(&[("g", DataType::Float64)]);
    let (outputs, _) = emitted(
        &columns,
        &[0],
        &[],
        &["+1 | 0.0\n+1 | -0.0\n+1 | NaN\n+1 | -NaN"],
    );
    let mut lines: Vec<&str> = outputs[0].lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["+1 | 0.0", "+1 | NaN"]);
}

#[test]
fn aggregates_nobody_has_are_refused() {
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Utf8)]);
    let calls = [call(AggFunction::Sum, 1, DataType::Utf8)];
    let plan = AggPlan {
        group_by: &[0],
        calls: &calls,
        forgets: None,
        append_only: false,
        partial_of: None,
    };
    let refused = HashAgg::table_schemas(plan, &columns);
    assert!(matches!(refused, Err(Error::Plan { .. })));
}

fn wide_columns() -> SchemaRef {
    schema(&[
        ("g", DataType::Int64),
        ("h", DataType::Utf8),
        ("x", DataType::Int64),
        ("d", DataType::Decimal128(10, 2)),
        ("f", DataType::Float64),
        ("s", DataType::Utf8),
    ])
}

fn wide_row(random: &mut StdRng) -> String {
    let h = ["a", "b", "NULL"][random.random_range(0..3)];
    let d = match random.random_range(0..6) {
        0 => "NULL".to_owned(),
        _ => format!(
            "{}.{:02}",
            random.random_range(-500..500),
            random.random_range(0..100)
        ),
    };
    // Quarters add up without rounding, so the oracle's order of addition does not matter.
    let f = match random.random_range(0..6) {
        0 => "NULL".to_owned(),
        _ => (f64::from(random.random_range(1..400)) / 4.0).to_string(),
    };
    let s = small_or_null(random, 12);
    let (g, x) = (small_or_null(random, 5), small_or_null(random, 20));
    format!("{g} | {h} | {x} | {d} | {f} | {s}")
}

/// Feeds random epochs to an aggregation, moves key groups meanwhile, and compares each barrier
/// with the batch engine.
fn compare_with_batch(group_by: &[usize], calls: &[AggCall], query: &str) {
    let columns = wide_columns();
    let node = aggregation(&columns, group_by, calls);
    compare_node(&columns, group_by, &node, query, |input| input);
    if partial_schema(group_by, calls, &columns, false).is_some() {
        compare_in_two_phases(group_by, calls, false, query);
    }
}

/// The same with partial results, of batches that are folded and of some that go through row by row.
fn compare_in_two_phases(group_by: &[usize], calls: &[AggCall], append_only: bool, query: &str) {
    let columns = wide_columns();
    let partial = partial_schema(group_by, calls, &columns, append_only).unwrap();
    let plan = AggPlan {
        group_by,
        calls,
        forgets: None,
        append_only,
        partial_of: None,
    };
    let groups: Vec<usize> = (0..group_by.len()).collect();
    let Node::HashAgg { schema, .. } = aggregation(&columns, group_by, calls) else {
        unreachable!("an aggregation");
    };
    let node = Node::HashAgg {
        input: Box::new(input_node(&[0], &partial)),
        group_by: groups.clone(),
        // Partial results know calls by the columns of the rows.
        calls: calls.to_vec(),
        forgets: None,
        append_only,
        partial_of: Some(columns.clone()),
        schema,
    };
    let inputs = (Arc::clone(&partial), groups);
    compare_fed(inputs, &node, query, || {
        let mut local = LocalAgg::new(plan, &columns, Arc::clone(&partial)).unwrap();
        let mut input = RandomInput::new(&columns, wide_row);
        if append_only {
            input = input.append_only();
        }
        let folded = move |batch: ChangeBatch, random: &mut StdRng| {
            let mut out = Output::new();
            local.pass_rows(random.random_range(0..2));
            local.on_batch(0, batch, &mut out).unwrap();
            out.drain().collect::<Vec<_>>()
        };
        (input, folded)
    });
}

#[test]
fn the_best_of_rows_that_stay_in_two_phases() {
    let calls = [
        call(AggFunction::Min, 2, DataType::Int64),
        call(AggFunction::Max, 3, DataType::Decimal128(10, 2)),
        call(AggFunction::Min, 4, DataType::Float64),
        call(AggFunction::Count, 5, DataType::Int64),
    ];
    let query = "select g, h, min(x), max(d), min(f), count(s) from t group by g, h";
    compare_in_two_phases(&[0, 1], &calls, true, query);
}

#[test]
fn a_batch_of_one_group_is_one_row() {
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Int64)]);
    let calls = [call(AggFunction::Sum, 1, DataType::Int64)];
    let partial = partial_schema(&[0], &calls, &columns, false).unwrap();
    let plan = AggPlan {
        group_by: &[0],
        calls: &calls,
        forgets: None,
        append_only: false,
        partial_of: None,
    };
    let mut local = LocalAgg::new(plan, &columns, partial).unwrap();
    let mut folded = |text: &str| {
        let mut out = Output::new();
        let batch = ChangeBatch::from_text(&columns, text).keyed(&[0], KEY_GROUPS);
        local.on_batch(0, batch, &mut out).unwrap();
        output_to_text(&mut out)
    };
    // Group, rows, values, sum: what is taken back for another may leave no row, but a sum.
    assert_eq!(
        folded("+1 | 7 | 3\n+2 | 7 | 5\n-1 | 7 | 1"),
        "+1 | 7 | 2 | 2 | 12\n"
    );
    assert_eq!(folded("-1 | 7 | 3\n+1 | 7 | 4"), "+1 | 7 | 0 | 0 | 1\n");
    let other_groups: String = (0..100).map(|g| format!("+1 | {g} | 1\n")).collect();
    assert_eq!(folded(&other_groups).lines().count(), 100);
    // That one did not shrink.
    assert_eq!(folded("+1 | 7 | 3\n+1 | 7 | 4").lines().count(), 2);
}

fn compare_node(
    columns: &SchemaRef,
    group_by: &[usize],
    node: &Node,
    query: &str,
    restrict: impl Fn(RandomInput) -> RandomInput,
) {
    let inputs = (columns.clone(), group_by.to_vec());
    compare_fed(inputs, node, query, || {
        let input = restrict(RandomInput::new(columns, wide_row));
        (input, |batch, _: &mut StdRng| vec![batch])
    });
}

/// `start` gives the rows of a seed, and what of a batch of them is sent to the node.
fn compare_fed<F: FnMut(ChangeBatch, &mut StdRng) -> Vec<ChangeBatch>>(
    inputs: (SchemaRef, Vec<usize>),
    node: &Node,
    query: &str,
    start: impl Fn() -> (RandomInput, F),
) {
    let fragment = fragment(node.clone(), &[inputs]);
    for_seeds(|random| {
        let (mut input, mut sent) = start();
        let mut twins = Twins::new(&fragment, &context());
        for _ in 0..12 {
            for batch in input.epoch(random) {
                for batch in sent(batch, random) {
                    twins.send(0, &batch);
                }
                if random.random_bool(0.3) {
                    twins.move_key_groups(random);
                }
            }
            twins.barrier(random.random_bool(0.5));
            assert_eq!(twins.result, batch_query(&[("t", input.rows())], query));
        }
    });
}

#[test]
fn sums_and_counts_equal_the_batch_engine() {
    let calls = [
        AggCall {
            function: AggFunction::Count,
            argument: None,
            output_type: DataType::Int64,
        },
        call(AggFunction::Count, 2, DataType::Int64),
        call(AggFunction::Sum, 2, DataType::Int64),
        call(AggFunction::Sum, 3, DataType::Decimal128(20, 2)),
        call(AggFunction::Sum, 4, DataType::Float64),
        call(AggFunction::Avg, 4, DataType::Float64),
    ];
    compare_with_batch(
        &[0, 1],
        &calls,
        "select g, h, count(*), count(x), sum(x), sum(d), sum(f), avg(f) \
         from t group by g, h",
    );
}

#[test]
fn extremes_equal_the_batch_engine() {
    let calls = [
        call(AggFunction::Min, 2, DataType::Int64),
        call(AggFunction::Max, 5, DataType::Utf8),
        call(AggFunction::Count, 5, DataType::Int64),
        call(AggFunction::Max, 3, DataType::Decimal128(10, 2)),
        call(AggFunction::Min, 4, DataType::Float64),
    ];
    compare_with_batch(
        &[1, 0],
        &calls,
        "select h, g, min(x), max(s), count(s), max(d), min(f) from t group by h, g",
    );
}

#[test]
fn distinct_equals_the_batch_engine() {
    compare_with_batch(&[2, 5], &[], "select distinct x, s from t");
}

#[test]
fn a_global_aggregate_equals_the_batch_engine() {
    // The batch engine has a row without input too; here the plan feeds a row of NULLs.
    let calls = [
        call(AggFunction::Sum, 2, DataType::Int64),
        call(AggFunction::Max, 5, DataType::Utf8),
    ];
    let columns = wide_columns();
    for_seeds(|random| {
        let mut input = RandomInput::new(&columns, wide_row);
        let inputs = [(columns.clone(), Vec::new())];
        let fragment = fragment(aggregation(&columns, &[], &calls), &inputs);
        let mut twins = Twins::new(&fragment, &context());
        let nulls = "+1 | NULL | NULL | NULL | NULL | NULL | NULL";
        twins.send(0, &ChangeBatch::from_text(&columns, nulls));
        for _ in 0..12 {
            for batch in input.epoch(random) {
                twins.send(0, &batch);
                twins.move_key_groups(random);
            }
            twins.barrier(true);
            let tables = [("t", input.rows())];
            assert_eq!(
                twins.result,
                batch_query(&tables, "select sum(x), max(s) from t")
            );
        }
    });
}

#[test]
fn more_groups_than_a_piece_holds_are_all_emitted() {
    let columns = schema(&[("g", DataType::Int64), ("x", DataType::Int64)]);
    let calls = [call(AggFunction::Min, 1, DataType::Int64)];
    let rows = |weight: i64, value: usize| -> String {
        let groups = 0..3 * ROWS_PER_PIECE;
        groups
            .map(|group| format!("{weight:+} | {group} | {}\n", group + value))
            .collect()
    };
    let epochs = [rows(1, 7), rows(1, 9) + &rows(-1, 7)];
    let epochs: Vec<&str> = epochs.iter().map(String::as_str).collect();
    let (outputs, _) = emitted(&columns, &[0], &calls, &epochs);
    let sorted = |lines: &str| {
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&outputs[0]), sorted(&rows(1, 7)));
    assert_eq!(sorted(&outputs[1]), sorted(&(rows(-1, 7) + &rows(1, 9))));
}

#[test]
fn stacked_aggregations_settle_in_one_barrier() {
    // How many groups have how many rows: the inner one's pairs reach the outer one before its own
    // barrier.
    let columns = schema(&[("g", DataType::Int64)]);
    let count = || AggCall {
        function: AggFunction::Count,
        argument: None,
        output_type: DataType::Int64,
    };
    let inner = aggregation(&columns, &[0], &[count()]);
    let outer = Node::HashAgg {
        input: Box::new(inner),
        group_by: vec![1],
        calls: vec![count()],
        forgets: None,
        append_only: false,
        partial_of: None,
        schema: schema(&[("rows", DataType::Int64), ("groups", DataType::Int64)]),
    };
    let inputs = vec![Input {
        from: Upstream::Fragment(0),
        schema: columns.clone(),
        distribution: Distribution::Hash(Vec::new()),
        watermarks: Vec::new(),
    }];
    let fragment = Fragment {
        root: outer,
        inputs,
    };
    let mut pipeline =
        Pipeline::build(&fragment, 1, 0, [scaling::KeyGroup(0)], &context()).unwrap();
    let mut outputs = Vec::new();
    for (epoch, text) in (1..).zip(["+2 | 1\n+1 | 2\n+1 | 3", "+1 | 2"]) {
        let mut out = Output::new();
        let batch = ChangeBatch::from_text(&columns, text).keyed(&[], KEY_GROUPS);
        pipeline.on_batch(0, batch, &mut out).unwrap();
        let barrier = Barrier {
            epoch: scaling::Epoch(epoch),
            durable: true,
            time: 0,
        };
        pipeline
            .on_barrier(&barrier, &[Watermarks::default()], &mut out)
            .unwrap();
        for table in pipeline.tables() {
            let _ = table.commit(true).unwrap();
        }
        let mut lines: Vec<String> = output_to_text(&mut out)
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort_unstable();
        outputs.push(lines.join(", "));
    }
    assert_eq!(
        outputs,
        [
            "+1 | 1 | 2, +1 | 2 | 1",
            "+1 | 1 | 1, +1 | 2 | 2, -1 | 1 | 2, -1 | 2 | 1"
        ]
    );
}

#[test]
fn best_values_of_rows_that_stay() {
    let columns = wide_columns();
    let types = [
        (2, DataType::Int64),
        (3, DataType::Decimal128(10, 2)),
        (4, DataType::Float64),
        (5, DataType::Utf8),
    ];
    let mut calls = vec![call(AggFunction::Sum, 2, DataType::Int64)];
    for (column, data_type) in types {
        calls.push(call(AggFunction::Min, column, data_type.clone()));
        calls.push(call(AggFunction::Max, column, data_type));
    }
    let mut node = aggregation(&columns, &[0, 1], &calls);
    let Node::HashAgg { append_only, .. } = &mut node else {
        panic!("an aggregation");
    };
    *append_only = true;
    let query = "SELECT g, h, sum(x), min(x), max(x), min(d), max(d), min(f), max(f), min(s), max(s) \
                 FROM t GROUP BY g, h";
    compare_node(&columns, &[0, 1], &node, query, RandomInput::append_only);
}
