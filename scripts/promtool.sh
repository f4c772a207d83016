#!/bin/sh
# Prints where promtool is, which tests the alert rules. Where there is none, Debian's package is unpacked below .cache: to install it
# would start a server.
set -eu

if command -v promtool; then exit 0; fi
folder=$(dirname "$0")/../.cache/promtool
if [ ! -x "$folder/promtool" ]; then
    new=$(mktemp -d)
    trap 'rm -rf "$new"' EXIT
    chmod 0755 "$new"
    (cd "$new" && apt-get -q -o APT::Sandbox::User=root download prometheus >/dev/null)
    dpkg-deb --extract "$new"/prometheus_*.deb "$new/package"
    mkdir -p "$folder"
    mv "$new/package/usr/bin/promtool" "$folder/promtool.new"
    mv "$folder/promtool.new" "$folder/promtool"
fi
echo "$folder/promtool"
