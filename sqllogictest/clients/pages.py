"""Runs the examples of `docs/clients/*.md` as they stand there, and compares what they print.

    ```python          run with the clients installed, port 4566 being the server's
    ```
    ```text            directly behind it: what it prints; `…` stands for what differs from run to run
    ```
    `models/live.sql`:
    ```sql,norun       behind a name alone in a line: a file for the examples that follow
    ```

A page's examples run in order, in one folder, on an empty Tidewater with the tables of `docs/quick-start.md`.
With BLESS=1 what is printed is written to the page instead of compared.
"""

import os
import pathlib
import re
import subprocess

import installs
from installs import CACHE, PYTHON
from servers import POSTGRES, tidewater

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
EXAMPLE_SECONDS_MAX = 300

#: Pages, and what must be there to run them.
PAGES = {
    "docs-command-line": lambda: installs.python_packages("pgcli_session", "pgcli"),
    "docs-python": lambda: [
        installs.python_packages("sqlalchemy_orm", "sqlalchemy>=2", "psycopg2-binary", "psycopg[binary]"),
        installs.python_packages("asyncpg_driver", "asyncpg"),
        installs.python_packages("pandas_frames", "pandas", "sqlalchemy>=2", "psycopg2-binary"),
    ],
    "docs-java": installs.jdbc_driver,
    "docs-node": installs.node_pg,
    "docs-rust": installs.rust_project,
    "docs-go": installs.go_with_pgx,
    "docs-dbt": lambda: installs.python_packages("dbt_project", "dbt-postgres<1.11", "dbt-core<1.11"),
}


def sh(code, _folder):
    return ["bash", "-c", code]


def python(code, _folder):
    return [PYTHON, "-c", code]


def js(code, _folder):
    return ["node", "-e", code]


def java(code, folder):
    (folder / "Example.java").write_text(code)
    return ["java", "-cp", str(installs.jdbc_driver()), folder / "Example.java"]


def rust(code, _folder):
    project = installs.rust_project()
    (project / "src/main.rs").write_text(code)
    return ["cargo", "run", "-q", "--manifest-path", project / "Cargo.toml", "--target-dir", project / "target"]


def go(code, folder):
    program, path = installs.go_with_pgx()
    (folder / "main.go").write_text(code)
    return ["env", "GO111MODULE=off", f"GOPATH={path}", f"GOCACHE={CACHE / 'go/cache'}", program, "run", folder / "main.go"]


LANGUAGES = {"sh": sh, "python": python, "js": js, "java": java, "rust": rust, "go": go}


def play(name, folder):
    """Runs a page's examples; what became of them."""
    PAGES[name]()
    page = DOCS / "clients" / f"{name.removeprefix('docs-')}.md"
    folder = folder / name
    folder.mkdir()
    wrong, count = [], 0
    with tidewater(folder / "server.log") as port:
        run(["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "root", "dev", "-c", quick_start()], port, folder)
        printed = {}
        for block in blocks(page.read_text()):
            code = block["body"].replace("4566", str(port))
            if block["file"]:
                path = folder / block["file"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(code)
            elif block["language"] in LANGUAGES:
                count += 1
                done = run(LANGUAGES[block["language"]](code, folder), port, folder)
                expected = block["printed"]
                if expected is None and done.returncode == 0:
                    continue
                found = [line.rstrip() for line in done.stdout.decode(errors="replace").rstrip().splitlines()]
                if done.returncode or expected is None or not matches(expected, found):
                    wrong.append(f"{page.name}:{block['line']} ended with {done.returncode} and printed\n" + "\n".join(found))
                    printed[block["printed_at"]] = (len(expected or []), found)
    if os.environ.get("BLESS") == "1":
        bless(page, printed)
        return f"blessed, {len(printed)} of {count} examples"
    if wrong:
        return "FAILED\n" + "\n".join(wrong)
    return f"passed, {count} examples"


def run(command, port, folder):
    environment = os.environ | {
        "PGPORT": str(port), "PGTZ": "UTC", "TZ": "UTC", "HOME": str(folder), "NODE_PATH": str(CACHE / "node/node_modules"),
        "PATH": f"{CACHE / 'venv/bin'}:{POSTGRES}:{os.environ['PATH']}", "CARGO_HOME": home(".cargo", "CARGO_HOME"),
        "RUSTUP_HOME": home(".rustup", "RUSTUP_HOME"), "DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_PROFILES_DIR": str(folder),
    }
    return subprocess.run(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=EXAMPLE_SECONDS_MAX, check=False, stdin=subprocess.DEVNULL,
    )


def home(folder, variable):
    return os.environ.get(variable, str(pathlib.Path.home() / folder))


def quick_start():
    """The statements of the quick start that the pages build on."""
    first = next(block for block in blocks((DOCS / "quick-start.md").read_text()) if block["language"] == "sql")
    return first["body"]


def blocks(text):
    """The code of a page: language, body, the file it is, and what it prints if that follows directly."""
    lines = text.splitlines()
    found, at, behind = [], 0, None
    while at < len(lines):
        fence = re.fullmatch(r"```(\S*)", lines[at])
        if not fence:
            if lines[at].strip():
                behind = None
            at += 1
            continue
        end = lines.index("```", at + 1)
        body = lines[at + 1 : end]
        if fence[1] == "text" and behind:
            behind["printed"], behind["printed_at"] = body, at + 1
        name = next((line for line in reversed(lines[:at]) if line.strip()), "")
        file = re.search(r"`([\w./]+)`:$", name)
        behind = {
            "language": fence[1].split(",")[0], "body": "\n".join(body) + "\n", "line": at + 1,
            "file": file and file[1], "printed": None, "printed_at": None,
        }
        found.append(behind)
        at = end + 1
    return found


def matches(expected, found):
    """Whether lines are as expected: `…` stands for any text, alone in a line for any lines."""
    pattern = ""
    for line in expected:
        text = "[^\n]*".join(re.escape(part) for part in line.rstrip().split("…"))
        pattern += "(?:[^\n]*\n)*" if line.strip() == "…" else text + "\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) is not None


def bless(page, printed):
    """Writes what examples printed behind them."""
    lines = page.read_text().splitlines()
    for at, (length, found) in sorted(((at, new) for at, new in printed.items() if at is not None), reverse=True):
        lines[at : at + length] = found
    page.write_text("\n".join(lines) + "\n")
