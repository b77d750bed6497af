"""asyncpg: named statements, Flush, every value in binary, portals with row limits, COPY in binary."""

import asyncio
import datetime
import decimal
import uuid

import asyncpg

import report
from report import show


def described(error):
    return (type(error).__name__, getattr(error, "sqlstate", None))


async def main():
    connection = await asyncpg.connect(host=report.HOST, port=int(report.PORT), user=report.USER, database=report.DATABASE)
    show("version", (connection.get_server_version().major, connection.get_settings().server_encoding))
    await connection.execute(
        "create table everything (id integer primary key, b boolean, i2 smallint, i8 bigint, f4 real, f8 double precision,"
        " n numeric(12,3), t text, v varchar(10), d date, ti time, ts timestamp, tz timestamptz, iv interval, by bytea,"
        " j jsonb, u uuid, ia integer[], ta text[])"
    )
    row = (
        1, True, -3, 9_000_000_000, 1.5, -0.25, decimal.Decimal("12345.670"), "ä", "short", datetime.date(1999, 12, 31),
        datetime.time(12, 34, 56, 789000), datetime.datetime(2024, 2, 29, 23, 59, 59),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(days=3, hours=4), b"\x00\xff",
        '{"a": [1, null]}', uuid.UUID(int=5), [1, None, 3], ["a", "b,c", ""],
    )
    marks = ", ".join(f"${n + 1}" for n in range(len(row)))
    show("insert", await connection.execute(f"insert into everything values ({marks})", *row))
    record = await connection.fetchrow("select * from everything where id = $1", 1)
    show("row", dict(record))
    statement = await connection.prepare("select * from everything where i8 = $1 and t = $2 and n < $3")
    show("parameters", [p.name for p in statement.get_parameters()])
    show("attributes", [(a.name, a.type.name, a.type.oid) for a in statement.get_attributes()])
    show("prepared", len(await statement.fetch(9_000_000_000, "ä", decimal.Decimal(99999))))
    await connection.executemany("insert into everything (id, t) values ($1, $2)", [(n, f"t{n}") for n in range(2, 200)])
    show("count", await connection.fetchval("select count(*) from everything"))
    async with connection.transaction():
        seen = []
        async for record in connection.cursor("select id from everything order by id", prefetch=17):
            seen.append(record["id"])
        show("cursor", (len(seen), seen[:3], seen[-1]))
        cursor = await connection.cursor("select id from everything order by id")
        await cursor.forward(10)
        show("forward", [r["id"] for r in await cursor.fetch(3)])
    show("arrays", await connection.fetch("select $1::int[] as a, $2::text[] as b, $3::numeric[] as c", [1, 2], ["x"], [decimal.Decimal("1.5")]))
    show("any", [r["id"] for r in await connection.fetch("select id from everything where id = any($1) order by id", [3, 5])])
    show("copy in", await connection.copy_records_to_table(
        "everything", columns=["id", "t", "n", "ts"],
        records=[(1000 + n, f"c{n}", decimal.Decimal(n), datetime.datetime(2024, 1, 1 + n)) for n in range(5)]))
    show("copied", [tuple(r) for r in await connection.fetch("select id, t, n, ts from everything where id >= 1000 order by id")])
    import io
    out = io.BytesIO()
    show("copy out", await connection.copy_from_query("select id, t from everything where id > $1 order by id", 1002, output=out, format="csv", header=True))
    show("copied out", out.getvalue())
    out = io.BytesIO()
    await connection.copy_from_table("everything", columns=["id"], output=out, format="binary")
    show("binary bytes", len(out.getvalue()))
    try:
        async with connection.transaction():
            await connection.execute("insert into everything (id) values (5000)")
            async with connection.transaction():
                await connection.execute("insert into everything (id) values (5001)")
            raise ValueError
    except ValueError:
        pass
    show("rolled back", await connection.fetchval("select count(*) from everything where id >= 5000"))
    async with connection.transaction(readonly=True, isolation="repeatable_read"):
        show("repeatable read", await connection.fetchval("select count(*) from everything"))
        try:
            async with connection.transaction():
                await connection.execute("delete from everything")
            show("read only", "no error")
        except asyncpg.PostgresError as error:
            show("read only", described(error))
    for name, query, arguments in (
        ("table", "select * from nothing", ()), ("unique", "insert into everything (id) values ($1)", (1,)),
        ("division", "select 1 / $1::int", (0,)), ("syntax", "selec", ()), ("type", "select $1::int", ("x",)),
    ):
        try:
            await connection.fetch(query, *arguments)
            show(f"error {name}", "none")
        except Exception as error:  # noqa: BLE001
            show(f"error {name}", described(error))
    try:
        await asyncio.wait_for(connection.fetch("select pg_sleep(60)"), timeout=0.2)
    except asyncio.TimeoutError:
        show("cancelled", await connection.fetchval("select 1"))
    await connection.set_type_codec("jsonb", encoder=str, decoder=len, schema="pg_catalog")
    show("codec", await connection.fetchval("select j from everything where id = 1"))
    await connection.execute("drop table everything")
    await connection.reset()
    await connection.close()
    async with asyncpg.create_pool(host=report.HOST, port=int(report.PORT), user=report.USER, database=report.DATABASE, min_size=2, max_size=4) as pool:
        show("pool", sorted(await asyncio.gather(*(pool.fetchval("select $1::int", n) for n in range(8)))))


asyncio.run(main())
