#!/usr/bin/env python3
"""Runs real clients against Tidewater and against PostgreSQL, and compares what they say.

    run.py [NAME ...]     all clients, or some: psycopg2, asyncpg, node, jdbc, docs-python, …

A client is a program in `programs/`. It connects as PGHOST, PGPORT, PGUSER and PGDATABASE say, does what people
do with it, and prints a line a result. It runs against a PostgreSQL 15 and against Tidewater, both started here on
free ports and ended after; the two outputs must be equal but for the lines that `differences.txt` explains.

The pages of `docs/clients` are run too, against Tidewater alone: `docs-…` (see `pages.py`).

Clients come from the package registries, into a cache outside of the tree (`~/.cache/tidewater/clients`); one that
cannot be had is skipped, and said so. SERVER_BINARY names the server.
"""

import contextlib
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import pages
from installs import CACHE, Missing, jdbc_driver, need, node_pg, python_packages
from servers import POSTGRES, postgres, psql, tidewater

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
PROGRAM_SECONDS_MAX = 300


def main():
    wanted = sys.argv[1:]
    known = [*CLIENTS, *pages.PAGES]
    unknown = set(wanted) - set(known)
    if unknown:
        sys.exit(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results = {}
    with tempfile.TemporaryDirectory(prefix="tidewater-clients-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        names = wanted or known
        is_compared = any(name in CLIENTS for name in names)
        with postgres(folder) if is_compared else contextlib.nullcontext() as postgres_port:
            for name in names:
                try:
                    if name in CLIENTS:
                        results[name] = compare(name, CLIENTS[name](), folder, postgres_port)
                    else:
                        results[name] = pages.play(name, folder)
                except Missing as reason:
                    results[name] = f"skipped: {reason}"
                print(f"{name:17} {results[name]}", flush=True)
    sys.exit(any(result.startswith("FAILED") for result in results.values()))


def compare(name, command, folder, postgres_port):
    """Runs a client against both servers, each on an empty database."""
    with tidewater(folder / f"{name}.log") as tidewater_port:
        psql(postgres_port, "drop schema public cascade; create schema public")
        expected = said(command, postgres_port, folder)
        found = said(command, tidewater_port, folder)
    allowed = allowed_differences(name)
    different = []
    for line in difflib.unified_diff(expected, found, "PostgreSQL", "Tidewater", lineterm="", n=0):
        is_text = not line.startswith(("---", "+++", "@@"))
        if is_text and not any(pattern.search(line[1:]) for pattern in allowed):
            different.append(line)
    if not different:
        return f"passed, {len(expected)} lines compared"
    return "FAILED\n" + "\n".join(f"    {line[:400]}" for line in different[:60])


def said(command, port, folder):
    """The lines that a client prints."""
    environment = os.environ | {
        "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "root", "PGDATABASE": "dev", "PGTZ": "UTC", "TZ": "UTC",
        "NODE_PATH": str(CACHE / "node/node_modules"), "NODE_NO_WARNINGS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{CACHE / 'venv/bin'}:{POSTGRES}:{os.environ['PATH']}", "HOME": str(folder),
    }
    done = subprocess.run(
        command, env=environment, cwd=PROGRAMS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=PROGRAM_SECONDS_MAX, check=False, stdin=subprocess.DEVNULL,
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    return lines + ([f"ended with {done.returncode}"] if done.returncode else [])


def allowed_differences(name):
    """The patterns of `differences.txt` that hold for a client: `client: pattern`, `*` for all."""
    patterns = []
    for line in (HERE / "differences.txt").read_text().splitlines():
        client, separator, pattern = line.partition(": ")
        if separator and not line.startswith("#") and client in (name, "*"):
            patterns.append(re.compile(pattern))
    return patterns

# --- clients: what to run


def python(program, *packages):
    return lambda: [python_packages(program, *packages), PROGRAMS / f"{program}.py"]


def node():
    return [node_pg(), PROGRAMS / "node_pg.js"]


def jdbc():
    return ["java", "-cp", str(jdbc_driver()), PROGRAMS / "PgJdbc.java"]


def psql_commands():
    need("psql")
    return ["psql", "-X", "-f", "psql_commands.sql"]


def pgbench():
    return ["bash", PROGRAMS / "pgbench.sh"]


CLIENTS = {
    "psql": psql_commands,
    "replay": python("replay", "psycopg[binary]"),
    "psycopg2": python("psycopg2_driver", "psycopg2-binary"),
    "psycopg3": python("psycopg3_driver", "psycopg[binary]"),
    "asyncpg": python("asyncpg_driver", "asyncpg"),
    "pg8000": python("pg8000_driver", "pg8000"),
    "sqlalchemy": python("sqlalchemy_orm", "sqlalchemy>=2", "psycopg2-binary", "psycopg[binary]"),
    "pandas": python("pandas_frames", "pandas", "sqlalchemy>=2", "psycopg2-binary"),
    "node": node,
    "jdbc": jdbc,
    "pgbench": pgbench,
    "pgcli": python("pgcli_session", "pgcli"),
    "dbt": python("dbt_project", "dbt-postgres<1.11", "dbt-core<1.11"),
}

if __name__ == "__main__":
    main()
