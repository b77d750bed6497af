"""psycopg 3: the extended protocol, binary and text, pipelines, COPY in three formats."""

import datetime
import decimal
import uuid

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

import report
from report import attempt, show

TYPES = {
    "boolean": True, "smallint": -3, "integer": 70000, "bigint": 9_000_000_000, "real": 1.5, "double precision": -0.25,
    "numeric": decimal.Decimal("-12345.6700"), "text": "häh", "varchar": "v", "date": datetime.date(1999, 12, 31),
    "time": datetime.time(12, 34, 56, 789000), "timestamp": datetime.datetime(2024, 2, 29, 23, 59, 59, 1),
    "timestamptz": datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone.utc),
    "interval": datetime.timedelta(days=-2, seconds=3), "bytea": b"\x00\xff", "jsonb": Jsonb({"a": [1, None]}),
    "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"), "integer[]": [1, None, 3], "text[]": ["a", "b,c", ""],
    "numeric[]": [decimal.Decimal("1.5"), decimal.Decimal("2.25")], "integer[][]": [[1, 2], [3, 4]],
    "timestamp[]": [datetime.datetime(2024, 1, 1)], "boolean[]": [True, False], "uuid[]": [uuid.UUID(int=1)],
}


def code(error):
    return getattr(error, "sqlstate", None)


def main():
    with psycopg.connect(host=report.HOST, port=report.PORT, user=report.USER, dbname=report.DATABASE) as connection:
        connection.execute("set time zone 'UTC'")
        round_trips(connection)
        inference(connection)
        statements(connection)
        copies(connection)
        errors(connection)


def round_trips(connection):
    for name, value in TYPES.items():
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                placeholder = "%b" if binary else "%t"
                try:
                    cursor.execute(f"select {placeholder}::{name} as value", [value])
                    column = cursor.description[0]
                    show(f"{name} binary={binary}", (cursor.fetchone()[0], column.name, column.type_code))
                except psycopg.Error as error:
                    show(f"{name} binary={binary}", (type(error).__name__, code(error)))
                    connection.rollback()


def inference(connection):
    connection.execute("create table typed (i2 smallint, i8 bigint, n numeric(10,2), t varchar(5), d date, f double precision)")
    connection.execute("insert into typed values (%s, %s, %s, %s, %s, %s)", [1, 2, 3, "x", datetime.date(2024, 1, 1), 1])
    connection.commit()
    for name, query, values in (
        ("smaller than column", "select i8 from typed where i8 = %s", [2]),
        ("larger than column", "select i2 from typed where i2 = %s", [70000]),
        ("numeric", "select n from typed where n > %s", [decimal.Decimal("2.5")]),
        ("text", "select t from typed where t = %s", ["x"]),
        ("date", "select d from typed where d >= %s", [datetime.date(2023, 1, 1)]),
        ("date as text", "select d from typed where d >= %s", ["2023-01-01"]),
        ("like", "select t from typed where t like %s", ["x%"]),
        ("in", "select i8 from typed where i8 = any(%s)", [[1, 2]]),
        ("limit", "select i8 from typed limit %s offset %s", [1, 0]),
        ("interval", "select d + %s from typed", [datetime.timedelta(days=1)]),
        ("null", "select %s::int is null", [None]),
        ("coalesce", "select coalesce(i2, %s) from typed", [5]),
        ("between", "select f from typed where f between %s and %s", [0.5, 1.5]),
        ("case", "select case when i2 = %s then 'yes' else 'no' end from typed", [1]),
        ("concat", "select t || %s from typed", ["y"]),
        ("sum", "select sum(i2) + %s from typed", [1]),
    ):
        try:
            cursor = connection.execute(query, values)
            show(f"infer {name}", (cursor.fetchall(), [c.type_code for c in cursor.description]))
        except psycopg.Error as error:
            show(f"infer {name}", (type(error).__name__, code(error), str(error)))
            connection.rollback()
    for query in ("select %s", "select %s + 1", "select i8 from typed where i8 = %s", "insert into typed (n, t) values (%s, %s)",
                  "update typed set f = %s where d = %s", "select %s::text", "select %s || 'a'", "select upper(%s)"):
        count = query.count("%s")
        text = query
        for at in range(count):
            text = text.replace("%s", f"${at + 1}", 1)
        prepared = connection.pgconn.prepare(b"p", text.encode())
        described = connection.pgconn.describe_prepared(b"p")
        show(f"described {query}", (
            prepared.status, [described.param_type(i) for i in range(described.nparams)],
            [(described.fname(i), described.ftype(i), described.fmod(i)) for i in range(described.nfields)],
        ))
        connection.rollback()
        connection.execute("deallocate all")
        connection.commit()


def statements(connection):
    connection.execute("create table many (id integer primary key, v text)")
    with connection.cursor() as cursor:
        cursor.executemany("insert into many values (%s, %s) returning id", [(n, f"v{n}") for n in range(20)], returning=True)
        ids = []
        while True:
            ids.append(cursor.fetchone()[0])
            if not cursor.nextset():
                break
        show("executemany returning", ids)
    connection.commit()
    for _ in range(8):
        last = connection.execute("select v from many where id = %s", [7], prepare=True).fetchone()
    show("prepared", last)
    show("prepared statements", connection.execute("select count(*) from pg_prepared_statements").fetchone())
    with connection.pipeline() as pipeline:
        first = connection.execute("select count(*) from many")
        connection.execute("update many set v = 'w' where id = 1")
        second = connection.execute("select v from many where id = 1")
        pipeline.sync()
        show("pipeline", (first.fetchone(), second.fetchone()))
    connection.commit()
    try:
        with connection.pipeline():
            connection.execute("select 1")
            connection.execute("select 1/0")
            connection.execute("select 2")
    except psycopg.Error as error:
        show("pipeline error", code(error))
    connection.rollback()
    with connection.cursor(name="server", binary=True) as cursor:
        cursor.execute("select id, v from many order by id")
        show("server cursor", (cursor.fetchmany(3), cursor.fetchone(), [c.name for c in cursor.description]))
        show("rest", len(cursor.fetchall()))
    connection.commit()
    with connection.cursor(row_factory=dict_row) as cursor:
        show("dictionary", cursor.execute("select * from many where id = 1").fetchone())
    for _ in connection.cursor().stream("select id from many order by id"):
        pass
    with connection.transaction():
        connection.execute("insert into many values (100, 'outer')")
        try:
            with connection.transaction():
                connection.execute("insert into many values (101, 'inner')")
                raise psycopg.Rollback()
        except psycopg.Rollback:
            pass
    show("nested", connection.execute("select id from many where id >= 100").fetchall())
    query = sql.SQL("select {} from {} where {} = %s").format(
        sql.Identifier("v"), sql.Identifier("public", "many"), sql.Identifier("many", "id"))
    show("composed", connection.execute(query, [2]).fetchone())
    show("info", (connection.info.server_version, connection.info.encoding, str(connection.info.timezone)))
    connection.commit()


def copies(connection):
    connection.execute("create table copied (a integer, b text, c numeric(10,2), d timestamp, e boolean, f integer[], g jsonb)")
    rows = [
        (1, "x\ty", decimal.Decimal("1.50"), datetime.datetime(2024, 1, 1), True, [1, 2], Jsonb({"k": 1})),
        (2, None, None, None, None, None, None),
    ]
    with connection.cursor() as cursor:
        with cursor.copy("copy copied from stdin") as copy:
            for row in rows:
                copy.write_row(row)
        with cursor.copy("copy copied from stdin (format binary)") as copy:
            copy.set_types(["int4", "text", "numeric", "timestamp", "bool", "int4[]", "jsonb"])
            for row in rows:
                copy.write_row(row)
        show("copied in", cursor.execute("select * from copied order by a").fetchall())
        with cursor.copy("copy (select * from copied order by a) to stdout (format binary)") as copy:
            copy.set_types(["int4", "text", "numeric", "timestamp", "bool", "int4[]", "jsonb"])
            show("copied out binary", list(copy.rows()))
        with cursor.copy("copy (select a, b from copied order by a) to stdout (format csv, header, force_quote *)") as copy:
            show("copied out csv", b"".join(copy))
        with cursor.copy("copy (select a, b from copied order by a) to stdout") as copy:
            show("copied out text", list(copy.rows()))
    connection.commit()


def errors(connection):
    for name, query in (
        ("column", "select nothing from many"), ("table", "select *\nfrom nothing"), ("syntax", "select 1 +* 2"),
        ("type", "select 1::nothing"), ("function", "select nothing(1)"), ("key", "insert into many values (1, 'x')"),
        ("null", "insert into many values (null, 'x')"), ("drop", "drop table nothing"), ("cast", "select '12a'::integer"),
        ("ambiguous", "select id from many a, many b"), ("operator", "select 'a'::text + 1"),
        ("group by", "select v from many group by id having count(*) > 1 and v > 'a' or nothing"),
        ("arguments", "select upper(1, 2)"), ("date", "select '2024-13-01'::date"), ("json", "select '{'::jsonb"),
        ("uuid", "select 'x'::uuid"), ("union", "select 1 union select 'a', 2"), ("alias", "select a.id from many b"),
    ):
        try:
            connection.execute(query)
            show(name, "no error")
        except psycopg.Error as error:
            diagnostic = error.diag
            show(f"error {name}", (
                diagnostic.severity, diagnostic.sqlstate, diagnostic.message_primary, diagnostic.message_detail,
                diagnostic.statement_position))
        connection.rollback()
    connection.execute("drop table typed, many, copied")
    connection.commit()


main()
