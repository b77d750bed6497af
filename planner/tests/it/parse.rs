//! Statements of our own grammar, spans, positions.

use planner::parse::{
    CursorBody, Direction, ExplainOptions, ObjectKind, Parallelism, ScalingChange, Show,
};
use planner::{Error, Statement, parse};
use sqlparser::ast;

use crate::catalog::one;

fn fault(sql: &str) -> (String, usize) {
    match parse(sql) {
        Err(Error::Syntax { message, position }) => (message, position),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn create_source_keeps_its_options() {
    let sql = "CREATE SOURCE IF NOT EXISTS bid (auction BIGINT, \"Price\" bigint) WITH (
        connector = 'nexmark', nexmark.table.type = 'Bid', nexmark.event.num = 1000,
        nexmark.min.event.gap.in.ns = -1, flag = true,)";
    let Statement::CreateSource {
        name,
        if_not_exists,
        columns,
        options,
    } = one(sql)
    else {
        panic!()
    };
    assert_eq!(name.to_string(), "bid");
    assert!(if_not_exists);
    assert_eq!(columns.len(), 2);
    let options: Vec<String> = options
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        options.join(" "),
        "connector=nexmark flag=true nexmark.event.num=1000 nexmark.min.event.gap.in.ns=-1 nexmark.table.type=Bid"
    );
    let Statement::CreateSource {
        columns,
        if_not_exists,
        ..
    } = one("create source s with (connector = 'nexmark')")
    else {
        panic!()
    };
    assert!(columns.is_empty() && !if_not_exists);
}

#[test]
fn drop_takes_several_names() {
    let Statement::DropRelations {
        names,
        if_exists,
        cascade,
        ..
    } = one("drop source if exists a, public.b cascade")
    else {
        panic!()
    };
    assert_eq!((names.len(), if_exists, cascade), (2, true, true));
    let Statement::DropRelations { cascade, .. } = one("drop source a restrict") else {
        panic!()
    };
    assert!(!cascade);
    let Statement::Pg(statement) = one("drop materialized view if exists a, b cascade") else {
        panic!()
    };
    let ast::Statement::Drop {
        object_type,
        names,
        if_exists,
        cascade,
        ..
    } = *statement
    else {
        panic!()
    };
    assert_eq!(object_type, ast::ObjectType::MaterializedView);
    assert_eq!((names.len(), if_exists, cascade), (2, true, true));
}

#[test]
fn alter_parallelism_keeps_the_value_as_written() {
    for (sql, expected_kind, expected) in [
        (
            "alter materialized view v set parallelism = 4",
            ObjectKind::MaterializedView,
            Parallelism::Fixed(4),
        ),
        (
            "ALTER MATERIALIZED VIEW v SET PARALLELISM TO 4",
            ObjectKind::MaterializedView,
            Parallelism::Fixed(4),
        ),
        (
            "alter table v set parallelism 4",
            ObjectKind::Table,
            Parallelism::Fixed(4),
        ),
        (
            "alter source v set parallelism = 0",
            ObjectKind::Source,
            Parallelism::Fixed(0),
        ),
        (
            "alter table v set parallelism = -1",
            ObjectKind::Table,
            Parallelism::Fixed(-1),
        ),
        (
            "alter table v set parallelism=-1",
            ObjectKind::Table,
            Parallelism::Fixed(-1),
        ),
        (
            "alter table v set parallelism = adaptive",
            ObjectKind::Table,
            Parallelism::Adaptive,
        ),
        (
            "alter table v set parallelism = 'ADAPTIVE'",
            ObjectKind::Table,
            Parallelism::Adaptive,
        ),
        (
            "alter table v set parallelism = '8'",
            ObjectKind::Table,
            Parallelism::Fixed(8),
        ),
        (
            "alter table v set parallelism = 1e9",
            ObjectKind::Table,
            Parallelism::Invalid("1e9".into()),
        ),
        (
            "alter table v set parallelism = 1.5",
            ObjectKind::Table,
            Parallelism::Invalid("1.5".into()),
        ),
        (
            "alter table v set parallelism = many",
            ObjectKind::Table,
            Parallelism::Invalid("many".into()),
        ),
        (
            "alter table v set parallelism = 99999999999999999999",
            ObjectKind::Table,
            Parallelism::Invalid("99999999999999999999".into()),
        ),
    ] {
        let Statement::AlterScaling(alter) = one(sql) else {
            panic!("{sql}")
        };
        assert_eq!(
            (alter.kind, alter.change, alter.if_exists),
            (expected_kind, ScalingChange::Parallelism(expected), false),
            "{sql}"
        );
        assert_eq!(alter.name.to_string(), "v");
    }
    let (message, position) = fault("alter table v set parallelism =");
    assert_eq!(message, "syntax error at end of input");
    assert_eq!(position, 32);
}

#[test]
fn changes_of_scaling_take_options() {
    let options = |pairs: &[(&str, &str)]| {
        let owned = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        owned.collect::<std::collections::BTreeMap<String, String>>()
    };
    for (sql, change, expected) in [
        (
            "alter table v set parallelism = 4 with (MAX_PAUSE = '20ms', strategy = drrs)",
            ScalingChange::Parallelism(Parallelism::Fixed(4)),
            options(&[("max_pause", "20ms"), ("strategy", "drrs")]),
        ),
        (
            "alter materialized view v set parallelism adaptive with (min = 1, target_utilization = 0.7)",
            ScalingChange::Parallelism(Parallelism::Adaptive),
            options(&[("min", "1"), ("target_utilization", "0.7")]),
        ),
        (
            "alter materialized view if exists public.v move key group 3 to executor 12",
            ScalingChange::MoveKeyGroup {
                key_group: 3,
                executor: 12,
            },
            options(&[]),
        ),
        (
            "alter table v rebalance with (strategy = 'otfs')",
            ScalingChange::Rebalance,
            options(&[("strategy", "otfs")]),
        ),
    ] {
        let Statement::AlterScaling(alter) = one(sql) else {
            panic!("{sql}")
        };
        assert_eq!(
            (&alter.change, &alter.options),
            (&change, &expected),
            "{sql}"
        );
        let Statement::ExplainAlterScaling {
            alter: explained,
            options,
        } = one(&format!("explain analyze {sql}"))
        else {
            panic!("{sql}")
        };
        assert!(options.analyze, "{sql}");
        assert_eq!(explained, alter, "{sql}");
    }
    assert!(matches!(
        one("cancel rescale 7"),
        Statement::CancelRescale { id: 7 }
    ));
    for sql in [
        "cancel rescale",
        "cancel rescale x",
        "alter table v move key group to executor 1",
        "alter table v move key group -1 to executor 1",
        "alter table v move key group 1",
        "alter table v rebalance now",
        "alter table v set parallelism with (strategy = drrs)",
        "alter table v set parallelism = 4 with",
        "alter table v set parallelism = 4 with (strategy)",
    ] {
        fault(sql);
    }
    assert!(matches!(
        parse("alter table v rebalance with (strategy = drrs, Strategy = otfs)"),
        Err(Error::InvalidParameter { .. })
    ));
}

#[test]
fn other_alters_go_to_sqlparser_where_it_can() {
    for sql in [
        "alter table public.t rename column a to b",
        "alter table t add column x int",
    ] {
        assert!(matches!(one(sql), Statement::Pg(_)), "{sql}");
    }
    assert!(matches!(
        parse("alter materialized view v rename column a to b"),
        Err(Error::Unsupported { .. })
    ));
    for sql in [
        "alter table t rename to u",
        "alter view if exists v rename to w",
        "alter materialized view public.v owner to root",
        "alter sequence s rename to \"S\"",
    ] {
        assert!(matches!(one(sql), Statement::AlterRelation(_)), "{sql}");
    }
}

#[test]
fn show_and_describe() {
    for (sql, expected) in [
        ("show jobs", Show::Jobs),
        ("SHOW TABLES", Show::Tables),
        ("show sources", Show::Sources),
        ("show views", Show::Views),
        ("show materialized views", Show::MaterializedViews),
        ("show rescales", Show::Rescales),
        ("show all", Show::All),
        (
            "show server_version",
            Show::Variable("server_version".into()),
        ),
        ("show TimeZone", Show::Variable("timezone".into())),
        ("show time zone", Show::Variable("timezone".into())),
        (
            "show transaction isolation level",
            Show::Variable("transaction_isolation".into()),
        ),
    ] {
        let Statement::Show(what) = one(sql) else {
            panic!("{sql}")
        };
        assert_eq!(what, expected, "{sql}");
    }
    for (sql, expected) in [
        ("show create table public.x", ObjectKind::Table),
        ("show create view x", ObjectKind::View),
        ("show create source x", ObjectKind::Source),
        (
            "show create materialized view x",
            ObjectKind::MaterializedView,
        ),
    ] {
        let Statement::ShowCreate { kind, .. } = one(sql) else {
            panic!("{sql}")
        };
        assert_eq!(kind, expected, "{sql}");
    }
    assert!(matches!(one("describe t"), Statement::Describe { .. }));
    assert!(matches!(one("FLUSH;"), Statement::Flush));
}

#[test]
fn explain_of_queries_and_views() {
    for (sql, analyze, verbose) in [
        ("explain select 1", false, false),
        ("explain analyze verbose select 1", true, true),
        (
            "explain (analyze, verbose false, format text) select 1",
            true,
            false,
        ),
        ("explain (select 1)", false, false),
        ("explain with x as (select 1) select * from x", false, false),
    ] {
        let Statement::ExplainQuery { options, .. } = one(sql) else {
            panic!("{sql}")
        };
        let expected = ExplainOptions {
            analyze,
            verbose,
            ..ExplainOptions::default()
        };
        assert_eq!(options, expected, "{sql}");
    }
    let sql = "explain (verbose) create materialized view v as select 1";
    let parsed = parse(sql).unwrap().remove(0);
    assert_eq!(parsed.view_definition(), Some("select 1"));
    let Statement::ExplainCreateMaterializedView { view, options } = parsed.statement else {
        panic!()
    };
    assert_eq!(view.name.to_string(), "v");
    assert!(options.verbose);
    assert!(matches!(
        parse("explain insert into t values (1)"),
        Err(Error::Unsupported { .. })
    ));
    assert!(matches!(
        parse("explain (format xml) select 1"),
        Err(Error::Unsupported { .. })
    ));
    assert!(matches!(
        parse("explain (nope) select 1"),
        Err(Error::InvalidParameter { .. })
    ));
}

#[test]
fn statements_keep_their_text() {
    let sql = "  select 'ä;ö' ;; -- nothing\n create materialized view \"V\"(a) as\n  select 1 as b ; flush ";
    let parsed = parse(sql).unwrap();
    let texts: Vec<&str> = parsed
        .iter()
        .map(|statement| statement.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "select 'ä;ö'",
            "create materialized view \"V\"(a) as\n  select 1 as b",
            "flush"
        ]
    );
    for statement in &parsed {
        assert_eq!(
            &sql[statement.start..statement.start + statement.text.len()],
            statement.text
        );
    }
    assert_eq!(parsed[1].view_definition(), Some("select 1 as b"));
    assert_eq!(parsed[0].view_definition(), None);
    assert!(parse("").unwrap().is_empty());
    assert!(parse(" ; -- x\n;/* y */").unwrap().is_empty());
}

#[test]
fn view_definitions_start_behind_as() {
    for (sql, expected) in [
        (
            "create view v as select a as b from t",
            Some("select a as b from t"),
        ),
        (
            "create or replace view v (x, y) as (select 1, 2)",
            Some("(select 1, 2)"),
        ),
        (
            "create materialized view if not exists v as with x as (select 1) select * from x",
            Some("with x as (select 1) select * from x"),
        ),
        ("create table v as select 1", None),
        ("select 1 as x", None),
    ] {
        assert_eq!(parse(sql).unwrap()[0].view_definition(), expected, "{sql}");
    }
}

#[test]
fn copy_needs_no_semicolon() {
    for sql in [
        "copy t from stdin",
        "copy t (a, b) from stdin with (format csv, header true);",
        "COPY t FROM STDIN CSV",
    ] {
        assert!(matches!(one(sql), Statement::Pg(_)), "{sql}");
    }
    assert_eq!(parse("copy t from stdin; select 1").unwrap().len(), 2);
}

#[test]
fn faults_have_positions_in_characters() {
    for (sql, expected, position) in [
        ("selec 1", "syntax error at or near \"selec\"", 1),
        ("select 1 from", "syntax error at end of input", 14),
        (
            "select 'ä', from where",
            "syntax error at or near \"where\"",
            18,
        ),
        (
            "select 1;\nselect *\nfrom t whre a = 1 1",
            "syntax error at or near \"a\"",
            32,
        ),
        ("select (1", "syntax error at end of input", 10),
        ("select 'abc", "unterminated quoted string", 8),
        ("select \"abc", "unterminated quoted identifier", 8),
        ("select 1 /* x", "unterminated /* comment", 14),
        (
            "create source s with (connector 'x')",
            "syntax error at or near \"'x'\"",
            33,
        ),
        ("create source s", "syntax error at end of input", 16),
        (
            "create source s with (a = )",
            "syntax error at or near \")\"",
            27,
        ),
        ("flush now", "syntax error at or near \"now\"", 7),
        ("show create x", "syntax error at or near \"x\"", 13),
        (
            "explain create materialized view v as selec 1",
            "syntax error at or near \"selec\"",
            39,
        ),
        (
            "alter materialized view v frobnicate",
            "syntax error at or near \"frobnicate\"",
            27,
        ),
    ] {
        let (message, at) = fault(sql);
        assert!(message.starts_with(expected), "{sql}: {message}");
        assert_eq!(at, position, "{sql}: {message}");
    }
}

#[test]
fn statements_of_other_systems_are_refused_by_name() {
    for sql in [
        "create sink s from v with (connector = 'x')",
        "create subscription s from v",
        "create connection c with (type = 'kafka')",
    ] {
        assert!(
            matches!(parse(sql), Err(Error::Unsupported { .. })),
            "{sql}"
        );
    }
}

#[test]
fn session_variables_go_to_sqlparser() {
    for sql in [
        "set streaming_parallelism = 4",
        "set streaming_parallelism to default",
        "set streaming_parallelism = 'adaptive'",
        "set streaming_parallelism = -1",
        "set time zone 'UTC'",
        "begin",
        "commit",
    ] {
        assert!(matches!(one(sql), Statement::Pg(_)), "{sql}");
    }
}

#[test]
fn cursors_have_directions() {
    let direction = |sql: &str| match one(sql) {
        Statement::Fetch(fetch) => (fetch.direction, fetch.cursor.value, fetch.returns_rows),
        other => panic!("{sql}: {other:?}"),
    };
    for (sql, expected) in [
        ("FETCH c", Direction::Forward(1)),
        ("FETCH NEXT FROM c", Direction::Forward(1)),
        ("FETCH 10 IN c", Direction::Forward(10)),
        ("FETCH FORWARD c", Direction::Forward(1)),
        ("FETCH FORWARD 3 FROM c", Direction::Forward(3)),
        ("FETCH ALL c", Direction::ForwardAll),
        ("FETCH FORWARD ALL FROM c", Direction::ForwardAll),
        ("FETCH -1 FROM c", Direction::Backward),
        ("FETCH BACKWARD ALL FROM c", Direction::Backward),
        ("FETCH PRIOR FROM c", Direction::Backward),
        ("FETCH FIRST FROM c", Direction::Absolute(1)),
        ("FETCH ABSOLUTE -2 FROM c", Direction::Absolute(-2)),
        ("FETCH RELATIVE 2 FROM c", Direction::Relative(2)),
        ("FETCH LAST FROM c", Direction::Last),
    ] {
        assert_eq!(direction(sql), (expected, "c".to_owned(), true), "{sql}");
    }
    let (moved, name, returns_rows) = direction("MOVE next");
    assert_eq!(
        (moved, name.as_str(), returns_rows),
        (Direction::Forward(1), "next", false)
    );
    assert_eq!(fault("FETCH 1.5 FROM c").0, "syntax error at or near \"1\"");
}

#[test]
fn subscriptions_stand_alone_in_cursors_and_in_copy() {
    let sql = "SUBSCRIBE TO v WITH (SNAPSHOT = false, PROGRESS) AS OF 7 UP TO 9";
    let Statement::Subscribe(subscribe) = one(sql) else {
        panic!()
    };
    assert_eq!((subscribe.as_of, subscribe.up_to), (Some(7), Some(9)));
    assert_eq!(subscribe.options["snapshot"], "false");
    assert_eq!(subscribe.options["progress"], "true");
    let Statement::Declare(declare) =
        one("DECLARE c NO SCROLL CURSOR WITH HOLD FOR SUBSCRIBE (SELECT 1)")
    else {
        panic!()
    };
    assert!(declare.hold && !declare.scroll);
    assert!(matches!(declare.body, CursorBody::Subscribe(_)));
    let Statement::CopySubscribe { copy, .. } =
        one("COPY (SUBSCRIBE v AS OF 3) TO STDOUT WITH (FORMAT csv, HEADER)")
    else {
        panic!()
    };
    assert!(matches!(*copy, ast::Statement::Copy { to: true, .. }));
    assert!(parse("COPY (SUBSCRIBE v) FROM STDIN").is_err());
    assert!(matches!(
        parse("SUBSCRIBE v ENVELOPE UPSERT (KEY (a))"),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn only_some_statements_can_be_prepared() {
    let Statement::Prepare(prepare) = one("PREPARE p (int, text) AS SELECT $1, $2") else {
        panic!()
    };
    assert_eq!(prepare.types.len(), 2);
    assert!(matches!(*prepare.statement, Statement::Pg(_)));
    let Statement::Execute(execute) = one("EXECUTE p (1, 'x')") else {
        panic!()
    };
    assert_eq!(execute.values.len(), 2);
    assert!(matches!(
        parse("PREPARE p AS CREATE TABLE t (a int)"),
        Err(Error::Unsupported { .. })
    ));
}
