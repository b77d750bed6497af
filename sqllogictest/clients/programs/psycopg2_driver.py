"""psycopg2: the simple protocol, values in the text of statements."""

import datetime
import decimal
import io
import uuid

import psycopg2
import psycopg2.extras

import report
from report import attempt, show


def code(error):
    return error.pgcode


def main():
    psycopg2.extras.register_uuid()
    connection = psycopg2.connect(
        host=report.HOST, port=report.PORT, user=report.USER, dbname=report.DATABASE, application_name="psycopg2 test"
    )
    cursor = connection.cursor()
    show("server version", connection.server_version)
    show("encoding", connection.encoding)
    for name in ("integer_datetimes", "standard_conforming_strings", "DateStyle", "IntervalStyle", "is_superuser"):
        show(name, connection.get_parameter_status(name))

    cursor.execute(
        "create table everything (id serial primary key, b boolean, i2 smallint, i4 integer, i8 bigint, f4 real,"
        " f8 double precision, n numeric(12,3), t text, v varchar(10), d date, ti time, ts timestamp,"
        " tz timestamptz, iv interval, by bytea, j jsonb, u uuid, ia integer[], ta text[])"
    )
    row = (
        True, -3, 70000, 9_000_000_000, 1.5, -0.25, decimal.Decimal("12345.670"), "it's \\ \"quoted\" ä", "short",
        datetime.date(1999, 12, 31), datetime.time(12, 34, 56, 789000), datetime.datetime(2024, 2, 29, 23, 59, 59),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(days=3, hours=4),
        psycopg2.Binary(b"\x00\xff"), psycopg2.extras.Json({"a": [1, None, "x"]}),
        uuid.UUID("12345678-1234-5678-1234-567812345678"), [1, None, 3], ["a", "b,c", 'd"e', ""],
    )
    cursor.execute(f"insert into everything ({names()}) values ({', '.join(['%s'] * len(row))}) returning id", row)
    show("returning", cursor.fetchall())
    cursor.execute(f"insert into everything ({names()}) values ({', '.join(['%s'] * len(row))})", [None] * len(row))
    connection.commit()
    cursor.execute("select * from everything order by id")
    show("description", [(c.name, c.type_code, c.internal_size, c.precision, c.scale) for c in cursor.description])
    show("rows", cursor.fetchall())
    show("rowcount", cursor.rowcount)
    show("status", cursor.statusmessage)

    psycopg2.extras.execute_values(cursor, "insert into everything (i4, t) values %s", [(n, f"t{n}") for n in range(10)])
    cursor.executemany("update everything set t = %s where i4 = %s", [("x", 1), ("y", 2)])
    show("updated", cursor.rowcount)
    connection.rollback()
    cursor.execute("select count(*) from everything")
    show("rolled back", cursor.fetchone())

    with connection:
        with connection.cursor() as inner:
            inner.execute("insert into everything (i4) values (1)")
            inner.execute("savepoint a")
            inner.execute("insert into everything (i4) values (2)")
            inner.execute("rollback to savepoint a")
            inner.execute("release savepoint a")
    cursor.execute("select i4 from everything where i4 < 10 order by i4")
    show("savepoint", cursor.fetchall())

    copied = io.StringIO("101\tone\n102\t\\N\n103\ta\\tb\n")
    cursor.copy_from(copied, "everything", columns=("i4", "t"))
    cursor.copy_expert("copy everything (i4, t) from stdin with (format csv, header)", io.StringIO('i4,t\n104,"a,""b"""\n105,\n'))
    out = io.StringIO()
    cursor.copy_expert("copy (select i4, t from everything where i4 > 100 order by i4) to stdout with csv header", out)
    show("copied", out.getvalue())
    out = io.StringIO()
    cursor.copy_to(out, "everything", columns=("i4", "t"), null="nil")
    show("copied out", sorted(out.getvalue().splitlines()))
    connection.commit()

    with connection.cursor(name="many") as server_side:
        server_side.itersize = 3
        server_side.execute("select g from generate_series(1, 10) g order by g")
        show("server side", list(server_side))
    connection.commit()

    for name, sql in (
        ("syntax", "selec 1"), ("missing table", "select * from nothing"), ("missing column", "select nothing from everything"),
        ("division", "select 1 / 0"), ("unique", "insert into everything (id) values (1)"), ("cast", "select 'x'::int"),
        ("range", "select 40000::smallint"), ("function", "select nothing(1)"), ("duplicate", "create table everything (a int)"),
        ("not null", "insert into everything (id) values (null)"), ("long", "insert into everything (v) values ('01234567890')"),
        ("group", "select i4, count(*) from everything"), ("aborted", "select 1"),
    ):
        if name != "aborted":
            connection.rollback()
        attempt(name, lambda sql=sql: cursor.execute(sql), code)
    show("transaction status", connection.get_transaction_status())
    connection.rollback()
    show("transaction status", connection.get_transaction_status())
    connection.autocommit = True
    cursor.execute("set statement_timeout = 50")
    attempt("timeout", lambda: cursor.execute("select pg_sleep(10)"), code)
    cursor.execute("reset statement_timeout")
    connection.set_session(readonly=True)
    attempt("read only", lambda: cursor.execute("delete from everything"), code)
    connection.set_session(readonly=False, isolation_level="READ COMMITTED")
    cursor.execute("select 1; select 'last' as l")
    show("several", cursor.fetchall())
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as dictionary:
        dictionary.execute("select id, t from everything where id = %(id)s", {"id": 1})
        show("dictionary", dictionary.fetchone())
    cursor.execute("drop table everything")


def names():
    return "b, i2, i4, i8, f4, f8, n, t, v, d, ti, ts, tz, iv, by, j, u, ia, ta"


main()
