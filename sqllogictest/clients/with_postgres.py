#!/usr/bin/env python3
"""Runs a command beside a PostgreSQL 15 of its own: with_postgres.py COMMAND …

SLT_POSTGRES, which names it, is the command's. If it is set already, or there is no PostgreSQL 15 here, the command
runs as it is.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from servers import POSTGRES, postgres


def main():
    command = sys.argv[1:]
    if os.environ.get("SLT_POSTGRES"):
        sys.exit(subprocess.run(command, check=False).returncode)
    if not (POSTGRES / "initdb").exists():
        print(f"no PostgreSQL 15 in {POSTGRES} (Debian: postgresql-15): nothing is compared with it", flush=True)
        sys.exit(subprocess.run(command, check=False).returncode)
    with tempfile.TemporaryDirectory(prefix="tidewater-postgres-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        with postgres(folder) as port:
            name = f"host=127.0.0.1 port={port} user=root dbname=dev"
            environment = {**os.environ, "SLT_POSTGRES": name}
            sys.exit(subprocess.run(command, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
