#!/bin/sh
# Prints the Python that has sslyze, which tests scan TLS servers with. It is made below .cache on first use, from a lock file of its own:
# sslyze asks for an older cryptography than all the rest. Run from anywhere, after scripts/bootstrap.sh.
set -eu

cd "$(dirname "$0")/.."
lock=requirements/tls-scanner.lock
folder=$PWD/.cache/tls-scanner/$(sha256sum $lock | cut -c1-12)
if [ ! -x "$folder/bin/python" ]; then
    mkdir -p .cache/tls-scanner
    new=$(mktemp -d "$PWD/.cache/tls-scanner/new.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    .venv/bin/python -m venv --without-pip "$new/venv" >&2
    .venv/bin/uv pip sync -q --require-hashes --python "$new/venv/bin/python" $lock >&2
    # Who comes second finds it made by the first.
    mv -T "$new/venv" "$folder" 2>/dev/null || [ -x "$folder/bin/python" ]
fi
echo "$folder/bin/python"
