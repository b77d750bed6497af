"""Sends every statement that real clients were seen to send, and prints what comes back.

The statements stand in `server/tests/it/data/client-statements.jsonl`, over the objects that
`client-objects.sql` beside it creates. Oids of those objects stand as `{bid}`, and so they are printed.
"""

import json
import pathlib

from psycopg import pq

import report

DATA = pathlib.Path(__file__).resolve().parents[3] / "server/tests/it/data"
RELATIONS = ("bid", "v1", "mv", "bid_pkey")
#: What parameters are when a statement is executed: of its type, or text.
SAMPLES = {16: b"t", 21: b"1", 20: b"1", 23: b"1", 1700: b"1.5", 1043: b"x", 0: b"bid"}


def main():
    connection = pq.PGconn.connect(
        f"host={report.HOST} port={report.PORT} user={report.USER} dbname={report.DATABASE}".encode()
    )
    connection.exec_(b"set client_min_messages = warning")
    run(connection, (DATA / "client-objects.sql").read_text())
    oids = {}
    for name in RELATIONS:
        result = connection.exec_(f"select '{name}'::regclass::oid".encode())
        oids[name] = result.get_value(0, 0).decode()
    names = {oid: "{" + name + "}" for name, oid in oids.items()}
    for number, line in enumerate((DATA / "client-statements.jsonl").read_text().splitlines()):
        asked = json.loads(line)
        sql = asked["sql"]
        for name, oid in oids.items():
            sql = sql.replace("{" + name + "}", oid)
        title = f"{number + 1} {asked['client']} {asked.get('command', '')} {' '.join(sql.split())[:90]}"
        for text in replay(connection, sql, asked):
            for oid, name in names.items():
                text = text.replace(oid, name)
            print(f"{title}: {text}")


def run(connection, sql):
    result = connection.exec_(sql.encode())
    if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        raise SystemExit(result.error_message.decode())


def replay(connection, sql, asked):
    if asked["protocol"] == "simple":
        yield from results(connection.exec_(sql.encode()), connection)
        return
    oids = asked.get("param_oids") or []
    result = connection.prepare(b"", sql.encode(), oids)
    if result.status != pq.ExecStatus.COMMAND_OK:
        yield error(result)
        return
    described = connection.describe_prepared(b"")
    types = [described.param_type(i) for i in range(described.nparams)]
    yield f"parameters {types}"
    yield f"columns {columns(described)}"
    values = [SAMPLES.get(oid, b"bid") for oid in types]
    if any(oid not in SAMPLES and oid != 25 for oid in types):
        return
    yield from results(connection.exec_prepared(b"", values), connection)


def columns(result):
    return [(result.fname(i).decode(), result.ftype(i)) for i in range(result.nfields)]


def results(result, connection):
    if result.status == pq.ExecStatus.COPY_IN:
        connection.put_copy_end(b"nothing to say")
        connection.get_result()
        yield "COPY IN"
    elif result.status == pq.ExecStatus.COPY_OUT:
        while connection.get_copy_data(0)[0] > 0:
            pass
        connection.get_result()
        yield "COPY OUT"
    elif result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY):
        yield f"{result.command_status.decode()} columns {columns(result)}"
        rows = [
            "|".join((result.get_value(r, c) or b"NULL").decode() for c in range(result.nfields))
            for r in range(result.ntuples)
        ]
        for row in sorted(rows):
            yield f"row {row}"
    else:
        yield error(result)


def error(result):
    return f"ERROR {(result.error_field(pq.DiagnosticField.SQLSTATE) or b'').decode()} {result.error_message.decode()}"


main()
