#!/usr/bin/env bash
# Brings what tests need beyond the Rust toolchain: a Python with the `deltalake` package, as a reader
# of our tables that shares no process and no configuration with Millrace. Does nothing when it is there.
#
#   scripts/setup.sh VENV_FOLDER
set -euo pipefail
venv=${1:?usage: scripts/setup.sh VENV_FOLDER}

has_reader() { "$venv/bin/python" -c 'import deltalake' 2>/dev/null; }

# Debian and Ubuntu keep venv apart from Python itself.
install_python() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
    if ! command -v apt-get >/dev/null; then
        echo "setup: install Python 3 with venv, then try again" >&2
        exit 1
    fi
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq python3 python3-venv
}

if has_reader; then exit 0; fi
if ! python3 -c 'import ensurepip' 2>/dev/null; then install_python; fi
python3 -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'deltalake==1.6.*'
has_reader
