"""pandas: frames written to tables and read back, by SQLAlchemy."""

import io

import pandas
import sqlalchemy as sa

import report
from report import show


def main():
    engine = sa.create_engine(f"postgresql+psycopg2://{report.USER}@{report.HOST}:{report.PORT}/{report.DATABASE}")
    frame = pandas.DataFrame({
        "n": [1, 2, 3], "x": [0.5, None, 2.5], "name": ["a", None, "c"], "flag": [True, False, True],
        "at": pandas.to_datetime(["2024-01-01", "2024-01-02 03:04:05", None], format="ISO8601"),
    })
    show("written", frame.to_sql("frame", engine, index=False, if_exists="replace"))
    describe("read", pandas.read_sql("select * from frame order by n", engine))
    describe("read table", pandas.read_sql_table("frame", engine).sort_values("n", ignore_index=True))
    frame.to_sql("frame", engine, index=False, if_exists="append", method="multi")
    describe("grouped", pandas.read_sql(sa.text("select name, count(*) as c, sum(x) as s from frame where n >= :n group by name order by name"), engine, params={"n": 1}))
    describe("parsed", pandas.read_sql("select n, at from frame order by n", engine, parse_dates=["at"], index_col="n"))
    show("chunks", [len(chunk) for chunk in pandas.read_sql("select * from frame", engine, chunksize=4)])
    frame.to_sql("frame", engine, index=False, if_exists="replace", method=copy)
    describe("copied", pandas.read_sql("select * from frame order by n", engine))
    with engine.begin() as connection:
        connection.execute(sa.text("drop table frame"))


def copy(table, connection, keys, rows):
    """The recommended way to write many rows: COPY."""
    text = io.StringIO()
    pandas.DataFrame(rows, columns=keys).to_csv(text, index=False, header=False)
    text.seek(0)
    columns = ", ".join(f'"{key}"' for key in keys)
    connection.connection.cursor().copy_expert(f'copy "{table.name}" ({columns}) from stdin with csv', text)


def describe(name, frame):
    show(f"{name} types", [str(t) for t in frame.dtypes])
    for row in frame.to_csv().splitlines():
        print(f"{name}: {row}")


main()
