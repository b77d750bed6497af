"""Clients from the package registries, installed once into a cache outside of the tree."""

import os
import pathlib
import shutil
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "tidewater/clients"
PYTHON = CACHE / "venv/bin/python"
JDBC = CACHE / "jdbc"
#: pgx and the packages that it is compiled with.
GO_PACKAGES = [
    "golang-github-jackc-pgx-v4-dev", "golang-github-jackc-pgconn-dev", "golang-github-jackc-pgtype-dev", "golang-github-jackc-pgio-dev",
    "golang-github-jackc-pgproto3-v2-dev", "golang-github-jackc-chunkreader-v2-dev", "golang-github-jackc-pgpassfile-dev",
    "golang-github-jackc-pgservicefile-dev", "golang-golang-x-crypto-dev", "golang-golang-x-text-dev",
]


class Missing(Exception):
    """A client that cannot be had here."""


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


def python_packages(marker, *packages):
    """The Python with these packages."""
    if not PYTHON.exists():
        installed("a Python environment", CACHE / ".venv", [sys.executable, "-m", "venv", CACHE / "venv"])
    installed(packages[0], CACHE / f".{marker}", [PYTHON, "-m", "pip", "install", "-q", *packages])
    return PYTHON


def node_pg():
    need("node", "npm")
    (CACHE / "node").mkdir(parents=True, exist_ok=True)
    installed("node-pg", CACHE / ".node", ["npm", "install", "--prefix", CACHE / "node", "pg"])
    return "node"


def jdbc_driver():
    """The path of pgJDBC."""
    need("java")
    if not list(JDBC.glob("*.jar")):
        JDBC.mkdir(parents=True, exist_ok=True)
        debian = "apt-get download libpostgresql-jdbc-java && dpkg -x libpostgresql-jdbc-java*.deb unpacked && cp unpacked/usr/share/java/postgresql-4*.jar jdbc/"
        installed("pgJDBC", CACHE / ".jdbc", ["sh", "-c", debian])
    return next(JDBC.glob("*.jar"))


def rust_project():
    """The folder of a Rust program with tokio-postgres and sqlx."""
    need("cargo")
    folder = CACHE / "rust"
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "Cargo.toml").write_text(
        '[package]\nname = "example"\nversion = "0.0.0"\nedition = "2024"\n\n[dependencies]\n'
        'tokio = { version = "1", features = ["full"] }\ntokio-postgres = "0.7"\n'
        'sqlx = { version = "0.8", default-features = false, features = ["postgres", "runtime-tokio"] }\n\n[workspace]\n'
    )
    (folder / "src/main.rs").write_text("fn main() {}\n")
    build = ["cargo", "build", "-q", "--manifest-path", folder / "Cargo.toml", "--target-dir", folder / "target"]
    installed("sqlx", CACHE / ".rust", build)
    return folder


def go_with_pgx():
    """Go, and the GOPATH of pgx and what it needs; all of them Debian's."""
    folder = CACHE / "go"
    packages = " ".join(["golang-1.19-go", "golang-1.19-src", *GO_PACKAGES])
    install = f"mkdir -p go/packages && cd go/packages && apt-get download {packages} && for package in *.deb; do dpkg -x $package ..; done"
    installed("pgx", CACHE / ".pgx", ["sh", "-c", install])
    return folder / "usr/lib/go-1.19/bin/go", folder / "usr/share/gocode"


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Missing(f"no {program} here")
