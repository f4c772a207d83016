"""A node with all roles, uninstalled with its data, is what it was before: a fresh one, and one that others use, too.

The vendors' engines are doubles (tests/doubles), as docs/engines.md says. ``STREAMFLEET_LIVE_RELEASE`` chooses the
Debian release. Tests playbooks: install.yml uninstall.yml.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.show import wait_until_running
from demo.stage import NODE
from demo.upgrade import FromTree
from tests.live.engines import flussonic, icecast_kh, shoutcast2, wowza
from tests.live.manifest import PACKAGED, lines, of_packages, packages, script
from tests.live.test_hardening import TIMERS
from tests.live.upgrades import on_node

pytestmark = [pytest.mark.live, pytest.mark.full]

GROUPS = (
    *("icecast", "icecast_kh", "shoutcast2", "nginx_rtmp", "wowza", "flussonic", "autodj", "relay"),
    *("file_transfer", "backup", "hardening"),
)
REPOSITORY = "/srv/backup"
DATA = ("common", "panel", "icecast", "icecast_kh", "shoutcast2", "wowza", "autodj", "sessions", "file_transfer")
OPTIONS = {
    "streamfleet_panel_database_install": True,
    "streamfleet_backup_repository": REPOSITORY,
    "streamfleet_backup_password": "kept-where-the-host-is-not",
    "streamfleet_backup_delay_seconds": 0,
    "streamfleet_firewall_close_others": True,
    **{f"streamfleet_{role}_uninstall_data": True for role in DATA},
}
#: A service of every engine, and of what goes with them.
SERVICES: dict[str, dict[str, Any]] = {
    "ada-fm": {"engine": "icecast", "autodj": {}},
    "ada-kh": {"engine": "icecast_kh"},
    "ada-cast": {"engine": "shoutcast2"},
    "lin-tv": {"engine": "nginx_rtmp"},
    "lin-wow": {"engine": "wowza"},
    "lin-flu": {"engine": "flussonic"},
}
DOCUMENT: dict[str, Any] = {
    "customers": [{"username": "ada", "name": "Ada", "email": "ada@live.example"}],
    "media_services": [{"slug": slug, "name": slug, "customer": "ada", **more} for slug, more in SERVICES.items()],
    "media_users": [{"customer": "ada", "name": "studio", "password": secrets.token_urlsafe(18)}],
    "relays": [
        {"media_service": "ada-kh", "name": "network", "direction": "in", "address": "https://network.example/live.mp3"}
    ],
}
#: What an operator has who had the host for other things before: settings of packages that roles need, too, a database,
#: a jail, a table of the firewall's, a job, a user with a service.
THEIRS = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y --no-install-recommends install cron nginx postgresql proftpd-core icecast2 fail2ban python3-systemd \
    nftables >/dev/null

sed -i 's/worker_connections 768;/worker_connections 1500; # for the shop/' /etc/nginx/nginx.conf
mkdir -p /srv/shop /etc/nginx/snippets /etc/systemd/system/nginx.service.d
echo 'the shop' >/srv/shop/index.html
cat >/etc/nginx/sites-available/shop <<'SITE'
server { listen 8080; server_name shop.example; root /srv/shop; include snippets/shop.conf; }
SITE
echo 'add_header X-Shop open;' >/etc/nginx/snippets/shop.conf
ln -s ../sites-available/shop /etc/nginx/sites-enabled/shop
printf '[Service]\nNice=1\n' >/etc/systemd/system/nginx.service.d/shop.conf

cd / && runuser -u postgres -- psql -X -q postgres <<'SQL'
CREATE ROLE clerk LOGIN;
CREATE DATABASE bookings OWNER clerk;
\connect bookings
SET ROLE clerk;
CREATE TABLE room (name text);
INSERT INTO room VALUES ('blue');
SQL
sed -i '1i local bookings clerk trust' /etc/postgresql/*/main/pg_hba.conf

systemctl disable --now proftpd.service 2>&1
echo 'ServerName "The operator"' >/etc/proftpd/conf.d/own.conf
systemctl stop icecast2.service && systemctl disable icecast2.service 2>&1
sed -i 's:<location>.*</location>:<location>The operator</location>:' /etc/icecast2/icecast.xml
sed -i 's/^ENABLE=.*/ENABLE=true/' /etc/default/icecast2
echo '<p>own</p>' >/etc/icecast2/web/own.xsl

printf '[Definition]\nfailregex = ^refused <HOST>$\n' >/etc/fail2ban/filter.d/shop.conf
cat >/etc/fail2ban/jail.d/shop.conf <<'JAIL'
[sshd]
backend = systemd
[shop]
enabled = true
logpath = /srv/shop/refused.log
port = 8080
backend = polling
JAIL
touch /srv/shop/refused.log
systemctl enable fail2ban.service 2>&1

useradd --system --create-home --home-dir /srv/keeper keeper
mkdir -p /etc/systemd/system /usr/local/bin
printf '#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 --directory /srv/shop 9300\n' >/usr/local/bin/keeper
chmod 755 /usr/local/bin/keeper
printf '[Service]\nUser=keeper\nExecStart=/usr/local/bin/keeper\n[Install]\nWantedBy=multi-user.target\n' \
    >/etc/systemd/system/keeper.service
echo '5 4 * * * keeper true' >/etc/cron.d/keeper
echo '6 4 * * * true' | crontab -u keeper -

printf 'table inet shop {\n  chain here {\n    tcp dport 8081 counter drop\n  }\n}\n' >/etc/nftables.conf
nft -f /etc/nftables.conf
systemctl daemon-reload
systemctl enable --now keeper.service 2>&1
systemctl restart nginx.service postgresql.service fail2ban.service cron.service
"""
#: What those are good for, beside that they are there.
THEIRS_WORK = r"""
curl -s -m 5 http://127.0.0.1:8080/
curl -s -m 5 -o /dev/null -D - http://127.0.0.1:8080/ | grep -i x-shop
cd / && runuser -u postgres -- psql -X -q -t -A -U clerk bookings -c 'SELECT name FROM room'
fail2ban-client status shop | grep -c 'Status for the jail: shop'
systemctl start icecast2.service && systemctl is-active icecast2.service
systemctl stop icecast2.service
systemctl start proftpd.service && systemctl is-active proftpd.service
systemctl stop proftpd.service
runuser -u keeper -- python3 -c 'print(open("/srv/shop/index.html").read())'
"""
#: General tools that stay, since something else may use them by now, and what they depend on: docs/install.md.
KEPT = {
    *("acl", "ca-certificates", "curl", "fail2ban", "ffmpeg", "iproute2", "libogg0", "libvorbis0a", "libxml2"),
    *("libxslt1.1", "logrotate", "nftables", "openssh-client", "openssh-server", "openssl", "postgresql-client"),
    *("python3", "python3-cryptography", "python3-systemd", "restic", "rsync", "sudo", "tzdata"),
    "unattended-upgrades",
}
#: What stays by intent, and the group that Debian's package of certificates leaves, which PostgreSQL's had brought.
LEFT = re.compile(rf" ({REPOSITORY}(/\S*)?|/etc/apt/apt\.conf\.d/60streamfleet-updates)$|^(group|password) ssl-cert:")


@dataclass(frozen=True)
class Compared:
    """A node before it was installed and after it was uninstalled; ``said``: what a second removal says."""

    stage: FromTree
    others: bool
    before: set[str]
    after: set[str]
    packaged: set[str]
    said: str

    def sh(self, text: str) -> str:
        return sh(self.stage, text)


def sh(stage: FromTree, text: str) -> str:
    return stage.on_node(["sh", "-s"], stdin=text, timeout=900)


def uninstall(stage: FromTree) -> str:
    return stage.run("uninstall.yml", "-e", f"streamfleet_uninstall_confirm={NODE}")


@pytest.fixture(scope="module", params=["with things of others", "fresh"])
def compared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    """Installed with all that there is, a service of every kind on it, and uninstalled."""
    folder = Path(tmp_path_factory.mktemp("compared"))
    brought = [kind.variables(folder) for kind in (icecast_kh, shoutcast2, wowza, flussonic)]
    variables = {key: value for found in (*brought, OPTIONS) for key, value in found.items()}
    groups: dict[str, Any] = {name: {"hosts": {NODE: {}}} for name in GROUPS}
    with on_node(folder) as stage:
        (folder / "all.json").write_text(json.dumps({**groups, "all": {"vars": variables}}))
        stage.more = ("-i", str(folder / "all.json"))
        stage.start()
        sh(stage, TIMERS)
        others = request.param != "fresh"
        if others:
            sh(stage, THEIRS)
        # So that what it starts for this by itself is there before.
        sh(stage, script())
        before = lines(sh(stage, script()))
        (stage.state / "before").write_text("\n".join(sorted(before)))
        stage.run("install.yml")
        stage.hand_over()
        stage.api().request("POST", "/apply", {"document": DOCUMENT})
        wait_until_running(stage.api(), tuple(SERVICES), 240)
        stage.run("backup.yml")
        uninstall(stage)
        said = uninstall(stage)
        sh(stage, "DEBIAN_FRONTEND=noninteractive apt-get -qq -y autoremove --purge")
        packaged = set(sh(stage, PACKAGED).splitlines())
        after = lines(sh(stage, script()))
        (stage.state / "after").write_text("\n".join(sorted(after)))
        yield Compared(stage, others, before, after, packaged, said)


def test_nothing_of_ours_is_left(compared: Compared) -> None:
    came = {line for line in compared.after - compared.before if not of_packages(line, compared.packaged)}
    assert [line for line in sorted(came) if not LEFT.search(line)] == []


def test_nothing_of_others_is_gone(compared: Compared) -> None:
    assert len(compared.before) > 5000
    assert sorted(compared.before - compared.after) == []
    if compared.others:
        assert compared.sh(THEIRS_WORK).splitlines() == [
            "the shop", "X-Shop: open", "blue", "1", "active", "active", "the shop", "",
        ]  # fmt: skip


def test_packages_that_only_streamfleet_needs_are_gone(compared: Compared) -> None:
    added = packages(compared.after) - packages(compared.before)
    assert added & set(compared.sh("apt-mark showmanual").split()) <= KEPT
    halves = [line for line in compared.after - compared.before if line.startswith("package ") and " ii " not in line]
    assert halves == [], "settings of a package that was removed"


def test_a_second_removal_finds_nothing_to_do(compared: Compared) -> None:
    # But for the folder of the lock, which the run has made itself.
    changed = [line for line in compared.said.splitlines() if line.startswith("changed: ")]
    assert changed == [f"changed: [{NODE}] => (item=/run/streamfleet)"]
