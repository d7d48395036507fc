#!/usr/bin/env bash
# Brings what `make test` needs beyond the Rust toolchain: a Python that can make virtual environments, Node 18 or
# later with npm, and psql. The scripts that try other people's readers and clients install those into
# environments of their own. Does nothing when all are there.
set -euo pipefail

has_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
has_psql() { command -v psql >/dev/null; }
has_node() { command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null; }

if has_python && has_psql && has_node; then exit 0; fi
if ! command -v apt-get >/dev/null; then
    echo "setup: install Python 3 with venv and pip, Node 18 or later with npm, and psql, then try again" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
"${as_root[@]}" apt-get update -qq
missing=()
# Debian and Ubuntu keep venv apart from Python itself.
has_python || missing+=(python3 python3-venv)
has_psql || missing+=(postgresql-client)
has_node || missing+=(nodejs npm)
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
has_python && has_psql && has_node
