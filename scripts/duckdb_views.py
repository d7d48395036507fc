#!/usr/bin/env python3
"""Asks DuckDB what two views of the warehouse ask, over the same files and the same raw JSON column.

    scripts/duckdb_views.py LAKE/DATASET/gemini_raw_logs [--threads N]

Uses the `duckdb` of this Python when it has one, else installs it into a virtual environment in a temporary
directory. Reads the table's Delta log itself for the live files, since DuckDB fetches its Delta extension from
a server that not every machine can reach. Prints one JSON object: version, and for each view its rows, a sum
by which the answers can be compared, and the seconds of the first run and the median of three more;
or {"skipped": REASON} when DuckDB cannot be had.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import venv

# What daily_metrics and vw_token_usage say, in DuckDB's words. Every path is read from the JSON text.
FIELD = "json_extract_string(jsonPayload_json, '$.\"{}\"')"
NUMBER = "try_cast(" + FIELD + " as bigint)"
VIEWS = {
    "daily_metrics": (
        "request_count",
        f"""
        select cast(timestamp as date) as day, {FIELD.format("model")} as model, count(*) as request_count,
            count(distinct {FIELD.format("user.email")}) as distinct_users,
            sum({NUMBER.format("input_token_count")}) as total_input_tokens,
            sum({NUMBER.format("output_token_count")}) as total_output_tokens,
            sum({NUMBER.format("total_token_count")}) as total_tokens,
            avg(try_cast({FIELD.format("duration_ms")} as double)) as average_duration_ms,
            count(*) filter ({FIELD.format("event.name")} = 'gemini_cli.api_error') as error_count
        from logs
        where {FIELD.format("event.name")} in ('gemini_cli.api_response', 'gemini_cli.api_error')
        group by all""",
    ),
    "vw_token_usage": (
        "grand_total_tokens",
        f"""
        select cast(timestamp as date) as day, {FIELD.format("user.email")} as user_email,
            {FIELD.format("model")} as model,
            sum({NUMBER.format("input_token_count")}) as total_input_tokens,
            sum({NUMBER.format("output_token_count")}) as total_output_tokens,
            sum({NUMBER.format("cached_content_token_count")}) as total_cached_tokens,
            sum({NUMBER.format("thoughts_token_count")}) as total_thoughts_tokens,
            sum({NUMBER.format("total_token_count")}) as grand_total_tokens
        from logs
        where {FIELD.format("event.name")} = 'gemini_cli.api_response'
        group by all""",
    ),
}
RUNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if importlib.util.find_spec("duckdb"):
        print(json.dumps(measure(arguments.table, arguments.threads)))
        return
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = pathlib.Path(directory, "bin", "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "duckdb"]
        if subprocess.run(pip, stdout=sys.stderr).returncode != 0:
            print(json.dumps({"skipped": "the duckdb package cannot be installed here"}))
            return
        again = [python, __file__, arguments.table, "--threads", str(arguments.threads)]
        sys.exit(subprocess.run(again).returncode)


def measure(table: pathlib.Path, threads: int) -> dict:
    import duckdb

    connection = duckdb.connect(config={"threads": threads})
    connection.execute("set timezone = 'UTC'")
    files = live_files(connection, table)
    # Listed one by one: a pattern would read files that a compaction has replaced.
    listed = ", ".join("'" + str(table / name).replace("'", "''") + "'" for name in files)
    connection.execute(f"create view logs as select * from read_parquet([{listed}])")
    views = []
    for name, (column, sql) in VIEWS.items():
        times = [timed(connection, sql) for _ in range(1 + RUNS)]
        rows, check = connection.execute(f"select count(*), sum({column})::bigint from ({sql})").fetchone()
        views.append({"view": name, "rows": rows, "check": check or 0, "first_seconds": times[0],
                      "hot_seconds": statistics.median(times[1:])})
    return {"version": duckdb.__version__, "files": len(files), "views": views}


def timed(connection, sql: str) -> float:
    start = time.perf_counter()
    connection.execute(sql).fetchall()
    return time.perf_counter() - start


def live_files(connection, table: pathlib.Path) -> list[str]:
    """The files of the newest version: the last checkpoint, and what was added and removed since."""
    log = table / "_delta_log"
    live, version = set(), -1
    pointer = log / "_last_checkpoint"
    if pointer.exists():
        version = json.loads(pointer.read_text())["version"]
        checkpoint = str(log / f"{version:020}.checkpoint.parquet")
        paths = connection.execute("select add.path from read_parquet(?) where add.path is not null", [checkpoint])
        live = {path for (path,) in paths.fetchall()}
    for commit in sorted(log.glob("*.json")):
        if not commit.stem.isdigit() or int(commit.stem) <= version:
            continue
        for line in commit.read_text().splitlines():
            action = json.loads(line)
            if "remove" in action:
                live.discard(action["remove"]["path"])
            if "add" in action:
                live.add(action["add"]["path"])
    if not live:
        sys.exit(f"{table} has no live files")
    return sorted(urllib.parse.unquote(path) for path in live)


if __name__ == "__main__":
    main()
