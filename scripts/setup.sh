#!/usr/bin/env bash
# Brings what `make test` needs beyond the Rust toolchain: a Python that can make virtual environments.
# The script that reads our tables with other people's readers installs those into one of its own. Does
# nothing when Python is there.
set -euo pipefail

has_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

if has_python; then exit 0; fi
if ! command -v apt-get >/dev/null; then
    echo "setup: install Python 3 with venv and pip, then try again" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
"${as_root[@]}" apt-get update -qq
# Debian and Ubuntu keep venv apart from Python itself.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv
has_python
