#!/usr/bin/env python3
"""Reads a table of the lake with other people's Delta readers.

    scripts/read_with_deltalake.py LAKE/DATASET/TABLE

Makes a virtual environment in a temporary directory, installs `deltalake` and `duckdb` there, and
prints the version, the number of rows and the sum of `_offset` as each of them finds it. Fails when a
reader cannot open the table, or when they disagree.
"""

import pathlib
import subprocess
import sys
import tempfile
import venv

WITH_DELTALAKE = """
import os, sys, deltalake
import pyarrow.compute as compute
table = deltalake.DeltaTable(sys.argv[1])
rows = table.to_pyarrow_table(columns=["_offset"])
total = compute.sum(rows["_offset"]).as_py() or 0
print(f"{rows.num_rows} {total}")
print(f"deltalake {deltalake.__version__}: version {table.version()}, protocol {table.protocol()}", file=sys.stderr, flush=True)
sys.stdout.flush()
# Not through the interpreter's end: every eighth time or so pyarrow's threads, still there when its globals go,
# abort a process that has read all it was to read ("terminate called without an active exception").
os._exit(0)
"""

WITH_DUCKDB = """
import sys, duckdb
connection = duckdb.connect()
connection.execute("install delta; load delta")
rows, total = connection.execute(
    "select count(*), coalesce(sum(_offset), 0)::bigint from delta_scan(?)", [sys.argv[1]]
).fetchone()
print(f"{rows} {total}")
print(f"duckdb {duckdb.__version__}", file=sys.stderr)
"""


def run(python: pathlib.Path, name: str, script: str, table: str) -> str:
    done = subprocess.run([python, "-c", script, table], capture_output=True, text=True)
    print(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else name)
    if done.returncode != 0:
        sys.exit(f"{name} cannot read {table}:\n{done.stderr}")
    answer = done.stdout.strip()
    print(f"  rows and sum of _offset: {answer}")
    return answer


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    table = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = pathlib.Path(directory, "bin", "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "deltalake", "pyarrow"], check=True)
        answers = {run(python, "deltalake", WITH_DELTALAKE, table)}
        if subprocess.run([*pip, "duckdb"]).returncode == 0:
            # DuckDB fetches its Delta extension from its own server, which not every machine can reach.
            check = "import duckdb; duckdb.connect().execute('install delta')"
            if subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
                answers.add(run(python, "duckdb", WITH_DUCKDB, table))
            else:
                print("duckdb cannot fetch its delta extension here: left out")
    if len(answers) != 1:
        sys.exit("the readers disagree")


if __name__ == "__main__":
    main()
