#!/bin/sh
# Makes .venv from the lock file, installing what that needs where it may (root on Debian), else saying what to install.
# Usage: scripts/bootstrap.sh            (run from the repository's root; called by make)
set -eu

lock=requirements/dev.lock
uv_version=0.13.9

need() { scripts/need.sh "$@"; }

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.11 python3.12 python3.13; do
        if command -v "$candidate" >/dev/null 2>&1 &&
           "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    need "python3 --version" python3 python3-venv
    python=python3
fi
need "$python -c 'import venv, ensurepip'" python3-venv
need "git --version" git
need "openssl version" openssl
need "ssh -V" openssh-client

if [ ! -x .venv/bin/python ]; then
    rm -rf .venv
    "$python" -m venv .venv
fi
if [ ! -x .venv/bin/uv ] || [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
    .venv/bin/python -m pip install -q --disable-pip-version-check "uv==$uv_version"
fi
VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip sync -q --require-hashes "$lock"
# uv is not in the lock (it installs the lock); keep it for the next time.
if [ ! -x .venv/bin/uv ]; then
    .venv/bin/python -m ensurepip -q >/dev/null 2>&1 || true
    .venv/bin/python -m pip install -q --disable-pip-version-check "uv==$uv_version"
fi
touch .venv/.stamp
