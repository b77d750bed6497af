"""A PostgreSQL 15 and a Tidewater, on empty databases and free ports, ended when done."""

import contextlib
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import sys
import time

POSTGRES = pathlib.Path(os.environ.get("POSTGRES_BIN", "/usr/lib/postgresql/15/bin"))
START_SECONDS_MAX = 60


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
