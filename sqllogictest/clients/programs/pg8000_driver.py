"""pg8000: a driver in Python alone, with the extended protocol in text."""

import datetime
import decimal
import uuid

import pg8000.native

import report
from report import attempt, show


def main():
    connection = pg8000.native.Connection(report.USER, host=report.HOST, port=int(report.PORT), database=report.DATABASE)
    connection.run("create table everything (id integer primary key, b boolean, n numeric(10,2), t text, ts timestamp, tz timestamptz, iv interval, by bytea, j jsonb, u uuid, a integer[])")
    connection.run(
        "insert into everything values (:id, :b, :n, :t, :ts, :tz, :iv, :by, :j, :u, :a)",
        id=1, b=True, n=decimal.Decimal("1.50"), t="x", ts=datetime.datetime(2024, 1, 1),
        tz=datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), iv=datetime.timedelta(days=1), by=b"\x01",
        j='{"a": 1}', u=uuid.UUID(int=1), a=[1, 2])
    show("rows", connection.run("select * from everything"))
    show("columns", [(c["name"], c["type_oid"]) for c in connection.columns])
    show("count", connection.row_count)
    connection.run("start transaction")
    connection.run("delete from everything")
    connection.run("rollback")
    prepared = connection.prepare("select t from everything where id = :id")
    show("prepared", [prepared.run(id=1), prepared.run(id=2)])
    prepared.close()
    attempt("error", lambda: connection.run("select * from nothing"), lambda e: e.args[0]["C"])
    connection.run("drop table everything")
    connection.close()


main()
