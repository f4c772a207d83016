#!/bin/sh
# Makes sure that programs are here, installing Debian's packages where that may be done (root), else saying what to install.
# Usage: scripts/need.sh CHECK PACKAGE...      CHECK is a shell command that succeeds where nothing is missing
set -eu

check=$1
shift
if sh -c "$check" >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing: $*. Install them (as root: apt-get install $*) and run this again." >&2
    exit 1
fi
echo "Installing: $*"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null
apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >/dev/null
sh -c "$check" >/dev/null 2>&1 || { echo "Still missing after apt-get install $*: $check" >&2; exit 1; }
