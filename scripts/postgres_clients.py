#!/usr/bin/env python3
"""Uses the Postgres port as people do: with psql, psycopg and SQLAlchemy.

    scripts/postgres_clients.py HOST PORT [USER]

PGPASSWORD is the password, when one is asked for. Makes a virtual environment in a temporary directory and
installs the drivers there; psql must be installed. Fails at the first thing that a client cannot do.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import venv

# What is typed, and what must show.
PSQL = [
    (r"\conninfo", ["local"]),
    (r"\l", ["local"]),
    (r"\dn", ["telemetry"]),
    (r"\dt", ["gemini_raw_logs", "gemini_raw_logs_error_records", "table"]),
    (r"\dv", ["gemini_analytics_view", "daily_metrics", "view"]),
    (r"\dv vw_*", ["vw_token_usage"]),
    (r"\d", ["gemini_raw_logs", "gemini_analytics_view"]),
    (r"\d gemini_analytics_view", ["event_name", "text", "timestamp with time zone", "input_tokens", "bigint"]),
    (r"\d+ gemini_analytics_view", ["event_name", "text", "Storage"]),
    (r"\d+ gemini_raw_logs", ["insertid"]),
    (r"\dt+", ["gemini_raw_logs"]),
    (r"\dv+", ["daily_metrics"]),
    (r"\df", ["Result data type"]),
    (r"\du", ["Role name"]),
    (r"\dp", ["Access privileges", "gemini_raw_logs"]),
    (r"\di", []),
    (r"\dT", []),
    (r"\dx", []),
    (r"\encoding", ["UTF8"]),
    (r"\timing on", []),
    ("SELECT count(*) > 0 AS some FROM gemini_analytics_view;", ["some", "t"]),
    ("SELECT 1 AS a; SELECT 2 AS b;", ["a", "b"]),
    ("BEGIN; DECLARE c CURSOR FOR SELECT 7 AS seven; FETCH 1 FROM c; COMMIT;", ["seven", "COMMIT"]),
    (r"SELECT $1 AS bound \bind 'x' \g", ["bound", "x"]),
    (r"\set FETCH_COUNT 10" + "\nSELECT event_name FROM gemini_analytics_view LIMIT 25;", ["(25 rows)"]),
]

DRIVERS = '''
import datetime, sys, threading, time

import psycopg
from psycopg.rows import dict_row

host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]
where = dict(host=host, port=port, user=user, dbname="local")


def check(what, holds):
    if not holds:
        sys.exit(f"{what}: no")
    print(f"  {what}")


with psycopg.connect(**where) as connection:
    rows = connection.execute(
        "SELECT count(*) AS n, min(timestamp) AS first FROM gemini_analytics_view "
        "WHERE event_name = %s AND timestamp > %s AND timestamp::date > %s",
        ("gemini_cli.api_response", datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), datetime.date(2020, 1, 1)),
    ).fetchall()
    check("psycopg: parameters", rows[0][0] > 0 and isinstance(rows[0][1], datetime.datetime))
    kinds = connection.execute(
        "SELECT %s::bigint AS i, %s::double precision AS f, %s::text AS t, %s::boolean AS b, %s::text AS n, %s::text AS u",
        (2**40, 1.5, "text", True, None, "utf-8 \\u2713"),
    ).fetchone()
    check("psycopg: types", kinds == (2**40, 1.5, "text", True, None, "utf-8 \\u2713"))
    with connection.cursor(binary=True, row_factory=dict_row) as cursor:
        cursor.execute("SELECT timestamp, input_tokens, duration_ms FROM gemini_analytics_view "
            "WHERE event_name = 'gemini_cli.api_response' ORDER BY timestamp LIMIT 3", prepare=True)
        row = cursor.fetchone()
        check("psycopg: binary", row["timestamp"].tzinfo is not None and isinstance(row["duration_ms"], float))
    with connection.cursor(name="pieces") as cursor:
        cursor.itersize = 20
        cursor.execute("SELECT insertid FROM gemini_raw_logs WHERE insertid <> %s ORDER BY insertid", ("none",))
        pieces = [row[0] for row in cursor]
        check("psycopg: a named cursor", len(pieces) > 40 and pieces == sorted(pieces) and cursor.description)

with psycopg.connect(**where, autocommit=True) as connection:
    try:
        connection.execute("CREATE TABLE t (a int)")
        check("psycopg: writing is refused", False)
    except psycopg.errors.ReadOnlySqlTransaction as error:
        check("psycopg: writing is refused", error.diag.message_hint is not None)
    try:
        connection.execute("SELECT nothing FROM gemini_raw_logs")
    except psycopg.errors.UndefinedColumn as error:
        check("psycopg: mistakes have their class and place", error.diag.statement_position == "8")
    ended = []

    def run():
        try:
            connection.execute("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, "
                "generate_series(1, 100000) c")
        except psycopg.errors.QueryCanceled:
            ended.append(time.monotonic())

    endless = threading.Thread(target=run)
    endless.start()
    started = time.monotonic()
    while endless.is_alive() and time.monotonic() < started + 30:
        connection.cancel()
        endless.join(0.2)
    check("psycopg: cancel", bool(ended))
    check("psycopg: the connection goes on", connection.execute("SELECT 1 AS one").fetchone() == (1,))
    connection.execute("SET statement_timeout = '200ms'")
    try:
        connection.execute("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b")
        check("psycopg: statement_timeout", False)
    except psycopg.errors.QueryCanceled:
        check("psycopg: statement_timeout", True)
with psycopg.connect(**where) as connection:
    limited = connection.execute("SELECT insertid FROM gemini_raw_logs ORDER BY insertid LIMIT %s OFFSET %s", (3, 2)).fetchall()
    check("psycopg: LIMIT and OFFSET", len(limited) == 3)
    names = ["gemini_cli.api_response", "gemini_cli.api_request"]
    found = connection.execute("SELECT DISTINCT event_name FROM gemini_analytics_view WHERE event_name = ANY(%s)", (names,)).fetchall()
    check("psycopg: a list for ANY", found and {row[0] for row in found} <= set(names))
    few = connection.execute("SELECT count(*) FROM gemini_analytics_view WHERE input_tokens = ANY(%s)", ([1, 2**40],)).fetchone()
    check("psycopg: a list of numbers", few[0] >= 0)
    check("psycopg: a value of its own type", connection.execute("SELECT %s AS x, abs(%s) AS y", (7, -1.5)).fetchone() == (7, 1.5))
with psycopg.connect(**where) as connection, connection.pipeline():
    answers = [connection.execute("SELECT %s::bigint AS n", (n,)) for n in range(20)]
    check("psycopg: a pipeline", [answer.fetchone()[0] for answer in answers] == list(range(20)))
'''

SQLALCHEMY = '''
import datetime, os, sys
from urllib.parse import quote

import sqlalchemy as sa

host, port, user, driver = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


def check(what, holds):
    if not holds:
        sys.exit(f"SQLAlchemy, {driver}: {what}: no")
    print(f"  SQLAlchemy, {driver}: {what}")


secret = quote(os.environ.get("PGPASSWORD", ""), safe="")
engine = sa.create_engine(f"postgresql+{driver}://{quote(user)}:{secret}@{host}:{port}/local")
with engine.connect() as connection:
    check("connects", connection.execute(sa.text("SELECT 1")).scalar() == 1)
looker = sa.inspect(engine)
check("default schema", looker.default_schema_name == "telemetry")
check("schemas", "telemetry" in looker.get_schema_names())
check("tables", "gemini_raw_logs" in looker.get_table_names() and "daily_metrics" not in looker.get_table_names())
check("views", {"gemini_analytics_view", "daily_metrics"} <= set(looker.get_view_names()))
check("tables of a schema", "gemini_raw_logs" in looker.get_table_names(schema="telemetry"))
check("has_table", looker.has_table("gemini_raw_logs") and not looker.has_table("nothing"))
columns = {column["name"]: column["type"] for column in looker.get_columns("gemini_analytics_view")}
check("columns", isinstance(columns["event_name"], sa.Text) and isinstance(columns["input_tokens"], sa.BigInteger)
    and isinstance(columns["timestamp"], sa.DateTime) and columns["timestamp"].timezone)
check("columns of a table", "insertid" in {column["name"] for column in looker.get_columns("gemini_raw_logs")})
check("no keys and indexes", looker.get_pk_constraint("gemini_raw_logs")["constrained_columns"] == []
    and looker.get_indexes("gemini_raw_logs") == [] and looker.get_foreign_keys("gemini_raw_logs") == []
    and looker.get_unique_constraints("gemini_raw_logs") == [] and looker.get_check_constraints("gemini_raw_logs") == [])
check("no comment", looker.get_table_comment("gemini_raw_logs") == {"text": None})
events = sa.Table("gemini_analytics_view", sa.MetaData(), autoload_with=engine)
check("reflects a view", len(events.columns) == len(columns))
with engine.connect() as connection:
    since = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    query = (
        sa.select(events.c.event_name, sa.func.count().label("n"))
        .where(events.c.timestamp > since, events.c.event_name.in_(["gemini_cli.api_response", "gemini_cli.api_request"]))
        .group_by(events.c.event_name).order_by(sa.desc("n")).limit(5).offset(0)
    )
    rows = connection.execute(query).all()
    check("bound parameters", len(rows) == 2 and all(row.n > 0 for row in rows))
    like = sa.select(sa.func.count()).select_from(events).where(events.c.event_name.contains("gemini_cli.", autoescape=True))
    check("LIKE with an escape", connection.execute(like).scalar() > 0)
    none = sa.select(sa.func.count()).select_from(events).where(events.c.event_name.startswith("gemini%cli", autoescape=True))
    check("an escape escapes", connection.execute(none).scalar() == 0)
    raw = sa.text("SELECT count(*) FROM gemini_analytics_view WHERE event_name = :name AND input_tokens > :tokens")
    check("text with parameters", connection.execute(raw, {"name": "gemini_cli.api_response", "tokens": 0}).scalar() > 0)
with engine.connect() as connection:
    streamed = connection.execution_options(stream_results=True, yield_per=20).execute(
        sa.select(events.c.event_name).where(events.c.event_name != "none")
    )
    check("server-side cursors", sum(1 for _ in streamed) > 40)
'''


def psql(host: str, port: str, user: str) -> None:
    base = ["psql", "-X", "-h", host, "-p", port, "-U", user, "-d", "local", "-v", "ON_ERROR_STOP=1"]
    version = subprocess.run(["psql", "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.split()[2].split(".")[0])
    print(version.stdout.strip())
    for typed, expected in PSQL:
        if r"\bind" in typed and major < 16:
            continue
        done = subprocess.run(base, input=typed + "\n", capture_output=True, text=True)
        shown = done.stdout + done.stderr
        missing = [text for text in expected if text not in shown]
        if done.returncode != 0 or missing or "ERROR" in shown:
            sys.exit(f"psql: {typed}\n{shown}\nmissing: {missing}")
        print(f"  {typed.splitlines()[-1]}")


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    host, port, user = [*sys.argv[1:], "analyst"][:3]
    psql(host, port, user)
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = pathlib.Path(directory, "bin", "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "psycopg[binary]", "psycopg2-binary", "sqlalchemy>=2"], check=True)
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        for script in ([DRIVERS], [SQLALCHEMY, "psycopg"], [SQLALCHEMY, "psycopg2"]):
            command = [python, "-c", script[0], host, port, user, *script[1:]]
            done = subprocess.run(command, env=environment)
            if done.returncode != 0:
                sys.exit(done.returncode)
    print("clients: psql, psycopg and SQLAlchemy can do their work")


if __name__ == "__main__":
    main()
