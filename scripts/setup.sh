#!/usr/bin/env bash
# Brings what `make test` needs beyond the Rust toolchain: a Python that can make virtual environments, and
# psql. The scripts that try other people's readers and clients install those into environments of their own.
# Does nothing when both are there.
set -euo pipefail

has_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
has_psql() { command -v psql >/dev/null; }

if has_python && has_psql; then exit 0; fi
if ! command -v apt-get >/dev/null; then
    echo "setup: install Python 3 with venv and pip, and psql, then try again" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
"${as_root[@]}" apt-get update -qq
# Debian and Ubuntu keep venv apart from Python itself.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv postgresql-client
has_python && has_psql
