"""What there is on a node, one thing a line, and what of that differs after something was installed and removed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

#: Files with mode and owner, users, groups, packages, units, the firewall.
THINGS = Path(__file__).resolve().parents[2] / "molecule/shared/manifest.sh"
#: What is in files and links, where programs and people keep settings; what runs, and who listens where.
#: Of what packages make anew, and of copies that tools for users keep of their files, only that they are there.
INSIDE = r"""
find /etc /opt /srv /home /root /usr/local /var/www /var/spool /var/lib/postgresql -xdev \
    \( -path '/var/lib/postgresql/*/main' -o -name __pycache__ \) -prune -o -type f \
    ! -path /root/manifest ! -path /etc/ld.so.cache ! -path '/etc/ssl/certs/*' \
    ! -path '/etc/*-' ! -path /etc/.pwd.lock ! -path /etc/passwd ! -path /etc/group ! -path /etc/shadow \
    ! -path /etc/gshadow -exec sha256sum {} + |
    sed -E 's:^([0-9a-f]{16})[0-9a-f]*  (.*)$:content \1 \2:'
cat /etc/shadow /etc/gshadow | sed 's/^/password /'
find /etc -xdev -type l ! -path '/etc/ssl/certs/*' -printf 'link %l %p\n'
systemctl list-units --plain --no-legend --state=active --type=service,socket,timer,path,mount |
    awk '{print "active " $1}'
systemctl list-units --plain --no-legend --state=failed | awk '{print "failed " $1}'
ss -Hltnup | awk '{ split($0, part, "\""); print "listens " $1 " " $5 " " part[2] }'
if systemctl -q is-active postgresql.service; then
    cd / && runuser -u postgres -- psql -X -q -t -A postgres <<'SQL' | sed 's/^/database /'
SELECT datname || ' of ' || pg_get_userbyid(datdba) || ' ' || coalesce(datacl::text, '') FROM pg_database;
SELECT 'user ' || rolname FROM pg_roles WHERE rolname !~ '^pg_';
SQL
fi
exit 0
"""
#: What a server does with its own files by itself.
OF_SERVERS = re.compile(r"/var/lib/postgresql/\d+/main/")
#: Units that come and go by themselves: what systemd runs now and then, and who is logged in.
PASSING = ("transient", "run-user-", "user@", "user-runtime-dir@", "session-", "systemd-tmpfiles-clean.service")


def script() -> str:
    """Run by a shell as root, it prints what there is."""
    return f"({THINGS.read_text()})\n({INSIDE})\n"


def lines(text: str) -> set[str]:
    """What lasts of a manifest."""
    found = text.splitlines()
    return {line for line in found if not any(word in line for word in PASSING) and not OF_SERVERS.search(line)}


def packages(manifest: Iterable[str]) -> set[str]:
    """Names of the packages in it, also of those that have left settings."""
    return {line.split()[-1] for line in manifest if line.startswith("package ")}


#: What packages' own scripts make, and the package manager's notes on it.
MADE = re.compile(
    r"/etc/(alternatives|rc.\.d|fonts/conf\.d)/|/etc/(locale\.gen|networks|default/locale)$"
    r"|/etc/apt/apt\.conf\.d/(20auto|50unattended)-upgrades$|/var/lib/ucf/|/usr/share/mime/"
    r"|/usr/local/share/fonts$|/usr/lib/.*/loaders\.cache$|/var/lib/fail2ban/fail2ban\.sqlite3$"
)
#: All files that packages have brought, and links that stand for one of several.
PACKAGED = "cat /var/lib/dpkg/info/*.list /var/lib/dpkg/alternatives/*"


def of_packages(line: str, files: set[str]) -> bool:
    """Whether a line is about what a package has brought; ``files``: of all that are there."""
    kind, _, rest = line.partition(" ")
    path = line.split()[-1]
    if kind == "package" or "__pycache__" in line or MADE.match(path):
        return True
    name = path.rpartition("/")[2] if ".wants/" in path else rest.split()[0]
    if (kind in ("unit", "active") or ".wants/" in path) and any(file.endswith(f"/system/{name}") for file in files):
        return True
    return path in files or path.replace("/usr/", "/", 1) in files
