#!/usr/bin/env python3
"""Runs real clients against Tidewater and against PostgreSQL, and compares what they say.

    run.py [NAME ...]     all clients, or some: psycopg2, asyncpg, node, jdbc, …

A client is a program in `programs/`. It connects as PGHOST, PGPORT, PGUSER and PGDATABASE say, does what people
do with it, and prints a line a result. It runs against a PostgreSQL 15 and against Tidewater, both started here on
free ports and ended after; the two outputs must be equal but for the lines that `differences.txt` explains.

Clients come from the package registries, into a cache outside of the tree (`~/.cache/tidewater/clients`); one that
cannot be had is skipped, and said so. SERVER_BINARY names the server.
"""

import contextlib
import difflib
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "tidewater/clients"
POSTGRES = pathlib.Path(os.environ.get("POSTGRES_BIN", "/usr/lib/postgresql/15/bin"))
START_SECONDS_MAX = 60
PROGRAM_SECONDS_MAX = 300
PYTHON = CACHE / "venv/bin/python"
JDBC = CACHE / "jdbc"


class Missing(Exception):
    """A client that cannot be had here."""


def main():
    wanted = sys.argv[1:]
    unknown = set(wanted) - set(CLIENTS)
    if unknown:
        sys.exit(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    results = {}
    with tempfile.TemporaryDirectory(prefix="tidewater-clients-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        with postgres(folder) as postgres_port:
            for name in wanted or CLIENTS:
                try:
                    results[name] = compare(name, CLIENTS[name](), folder, postgres_port)
                except Missing as reason:
                    results[name] = f"skipped: {reason}"
                print(f"{name:12} {results[name]}", flush=True)
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


# --- servers


@contextlib.contextmanager
def postgres(folder):
    if not (POSTGRES / "initdb").exists():
        sys.exit(f"PostgreSQL 15 is needed for comparison: no {POSTGRES}/initdb (Debian: apt-get install postgresql-15)")
    data, port, user = folder / "postgres", free_port(), None
    if os.getuid() == 0:
        # PostgreSQL does not run as root.
        user = "postgres"
        data.mkdir()
        os.chown(data, pwd.getpwnam(user).pw_uid, -1)
    quiet = {"user": user, "stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([POSTGRES / "initdb", "-D", data, "-A", "trust", "-U", "root", "-E", "UTF8", "--no-sync", "--locale", "C.UTF-8"], check=True, **quiet)
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}", "-c", "timezone=UTC", "-c", "fsync=off"]
    log = open(folder / "postgres.log", "w")
    process = subprocess.Popen([POSTGRES / "postgres", "-D", data, "-p", str(port), *options], stderr=log, **quiet)
    try:
        wait_for(port)
        psql(port, "create database dev", database="postgres")
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@contextlib.contextmanager
def tidewater(log):
    binary = os.environ.get("SERVER_BINARY", "tidewater")
    with open(log, "w") as errors:
        process = subprocess.Popen([binary, "playground", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=errors)
    try:
        port = int(process.stdout.readline().decode().rsplit(":", 1)[1])
        yield port
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    ends = time.monotonic() + START_SECONDS_MAX
    while subprocess.run([POSTGRES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        if time.monotonic() > ends:
            sys.exit("PostgreSQL does not start")
        time.sleep(0.1)


def psql(port, sql, database="dev"):
    command = ["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "root", "-d", database, "-c", "set client_min_messages = warning", "-c", sql]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


# --- clients


def installed(what, marker, *commands):
    """Installs once, by the commands given."""
    if marker.exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    for command in commands:
        done = subprocess.run(command, cwd=CACHE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
            raise Missing(f"{what} cannot be installed: {' '.join(last)}")
    marker.touch()


def python(program, *packages):
    def command():
        if not PYTHON.exists():
            installed("a Python environment", CACHE / ".venv", [sys.executable, "-m", "venv", CACHE / "venv"])
        installed(packages[0], CACHE / f".{program}", [PYTHON, "-m", "pip", "install", "-q", *packages])
        return [PYTHON, PROGRAMS / f"{program}.py"]

    return command


def node():
    need("node", "npm")
    (CACHE / "node").mkdir(parents=True, exist_ok=True)
    installed("node-pg", CACHE / ".node", ["npm", "install", "--prefix", CACHE / "node", "pg"])
    return ["node", PROGRAMS / "node_pg.js"]


def jdbc():
    need("java")
    if not list(JDBC.glob("*.jar")):
        JDBC.mkdir(parents=True, exist_ok=True)
        debian = "apt-get download libpostgresql-jdbc-java && dpkg -x libpostgresql-jdbc-java*.deb unpacked && cp unpacked/usr/share/java/postgresql-4*.jar jdbc/"
        installed("pgJDBC", CACHE / ".jdbc", ["sh", "-c", debian])
    return ["java", "-cp", str(next(JDBC.glob("*.jar"))), PROGRAMS / "PgJdbc.java"]


def psql_commands():
    need("psql")
    return ["psql", "-X", "-f", "psql_commands.sql"]


def pgbench():
    return ["bash", PROGRAMS / "pgbench.sh"]


def dbt():
    python("dbt_project", "dbt-postgres<1.11", "dbt-core<1.11")()
    return [PYTHON, PROGRAMS / "dbt_project.py"]


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Missing(f"no {program} here")


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
    "dbt": dbt,
}

if __name__ == "__main__":
    main()
