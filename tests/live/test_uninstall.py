"""Uninstalled, installed again and uninstalled with its data, on a host on which others have things, too.

Tests playbooks: install.yml uninstall.yml.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator

import pytest

from demo.show import credentials
from demo.stage import NODE, PANEL_HOST, Stage
from tests.live.streams import Source, on_air
from tests.live.test_platform import account, apply, published, running, station

pytestmark = [pytest.mark.live, pytest.mark.full]

SLUG = "evergreen-fm"
#: An operator's own Icecast, which is on the air, with settings that its package has not brought.
THEIRS = r"""
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install icecast2 >/dev/null
sed -i 's:<location>.*</location>:<location>The operator</location>:' /etc/icecast2/icecast.xml
sed -i 's/^ENABLE=.*/ENABLE=true/' /etc/default/icecast2
systemctl restart icecast2.service
systemctl is-active icecast2.service
"""
#: A database of somebody else's, with a user of its own.
BOOKINGS = """
CREATE ROLE clerk LOGIN;
CREATE DATABASE bookings OWNER clerk;
\\connect bookings
CREATE TABLE room (name text);
INSERT INTO room VALUES ('blue');
"""
KEPT = ["/etc/streamfleet/panel", "/etc/streamfleet/panel/admin_password", "/etc/streamfleet/panel/secrets.env"]
LEFT = """
find / -xdev \\( -path /proc -o -path /sys -o -path /tmp -o -path /var/log -o -path /var/cache -o -path /root \\) \
    -prune \
    -o -iname '*streamfleet*' -print
getent passwd | grep -E '^(sf[0-9]|streamfleet)'
getent group | grep -E '^(sf[0-9]|streamfleet)'
systemctl list-units --all --plain --no-legend --full '*streamfleet*' | awk '$2 != "not-found"'
true
"""


def sh(stage: Stage, script: str, stdin: str | None = None) -> str:
    return stage.on_node(["sh", "-c", script], stdin=stdin, timeout=600).strip()


def sql(stage: Stage, statements: str, database: str = "postgres") -> str:
    command = f"cd / && runuser -u postgres -- psql -X -q -t -A -v ON_ERROR_STOP=1 {database}"
    return sh(stage, command, stdin=statements)


def databases(stage: Stage) -> list[str]:
    """Databases and users of the server, but for its own."""
    return sql(
        stage,
        "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
        " UNION ALL SELECT rolname FROM pg_roles WHERE rolname <> 'postgres' AND rolname !~ '^pg_' ORDER BY 1",
    ).splitlines()


def play(stage: Stage, name: str, **more: object) -> str:
    """What a run of a playbook says."""
    variables = {**stage.added, "streamfleet_panel_database_install": True, **more}
    log = stage.state / f"{name}.log"
    before = len(log.read_text()) if log.is_file() else 0
    totals = stage.playbook(f"playbooks/{name}.yml", "-e", json.dumps(variables), check=False)
    said = log.read_text()[before:]
    assert (totals.failed, totals.unreachable) == (0, 0), said[-6000:]
    return said


def uninstall(stage: Stage, **more: object) -> str:
    return play(stage, "uninstall", streamfleet_uninstall_confirm=NODE, **more)


def logs_in(stage: Stage, username: str, password: str) -> bool:
    """Whether the panel's page for it lets somebody in."""
    jar = stage.state / f"jar-{secrets.token_hex(3)}"
    page = f"https://{PANEL_HOST}/login/"
    ask = ["curl", "--connect-to", f"::{NODE}:", "--cacert", str(stage.ca), "-sS", "-e", page]
    ask += ["-b", str(jar), "-c", str(jar)]
    shown = stage.run_inside([*ask, page])
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', shown.stdout)
    assert token, shown.stdout[:500] + shown.stderr
    fields = {"csrfmiddlewaretoken": token[1], "username": username, "password": password}
    words = [word for name, value in fields.items() for word in ("--data-urlencode", f"{name}={value}")]
    done = stage.run_inside([*ask, "-o", "/dev/null", "-w", "%{http_code}", *words, page])
    assert done.stdout in ("200", "302", "429"), done
    return done.stdout == "302"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    it = Stage(f"uninst{secrets.token_hex(3)}", tmp_path_factory.mktemp("uninstall"), last_port=8199)
    it.start()
    try:
        yield it
    finally:
        it.remove()


def test_data_is_of_use_again_and_nothing_of_others_goes(stage: Stage) -> None:
    # An operator's own Icecast is on the air: it is not touched.
    assert sh(stage, THEIRS) == "active"
    totals = stage.playbook("playbooks/install.yml", "-e", json.dumps(stage.added), check=False)
    said = " ".join((stage.state / "install.log").read_text().split())
    assert totals.failed == 1
    assert "icecast2.service runs, which Streamfleet has not started" in said
    assert sh(stage, "systemctl is-active icecast2.service") == "active"
    assert (
        sh(stage, "ls /etc/systemd/system/icecast2.service /var/lib/streamfleet/packages.json 2>/dev/null; true") == ""
    )
    # As it says. Of an init script, which Debian's Icecast has, disable --now would end nothing.
    sh(stage, "systemctl stop icecast2.service && systemctl disable icecast2.service 2>&1")

    play(stage, "install")
    stage.hand_over()
    sql(stage, BOOKINGS)
    password = secrets.token_urlsafe(12)
    apply(stage, {"customers": [account("carla", password=password)], "media_services": [station("carla", SLUG)]})
    running(stage, SLUG)
    address, port, source = published(stage, SLUG)
    administrator = (stage.state / "admin_password").read_text().strip()
    keys = sh(stage, "cat /etc/streamfleet/panel/secrets.env")

    # Its data stays, and so do the keys that it needs, for root alone.
    uninstall(stage)
    assert sh(stage, "find /etc/streamfleet -mindepth 1 | sort").splitlines() == KEPT
    assert sh(stage, "cd /etc/streamfleet/panel && stat -c '%n %U %a' *").splitlines() == [
        "admin_password root 600",
        "secrets.env root 600",
    ]
    assert databases(stage) == ["bookings", "clerk", "streamfleet", "streamfleet-panel", "streamfleet-worker"]
    assert "liquidsoap" not in sh(stage, "dpkg-query -W -f '${Package}\n'").splitlines()

    play(stage, "install")
    # Of the authority and the tokens there are others now.
    (stage.state / "env").unlink()
    stage.hand_over()
    assert sh(stage, "cat /etc/streamfleet/panel/secrets.env") == keys
    running(stage, SLUG)
    assert published(stage, SLUG) == (address, port, source)
    with on_air(Source(address, port, "/stream", source)):
        pass
    assert credentials(stage.api(), SLUG)["source_password"] == source
    assert logs_in(stage, "carla", password)
    assert not logs_in(stage, "carla", f"{password}x")
    assert logs_in(stage, "admin", administrator)

    data = {
        f"streamfleet_{role}_uninstall_data": True
        for role in ("common", "panel", "icecast", "autodj", "sessions")
    }  # fmt: skip
    said = uninstall(stage, **data)
    assert "PostgreSQL stays" in said
    assert "database bookings, user clerk" in said
    assert databases(stage) == ["bookings", "clerk"]
    assert sql(stage, "SELECT name FROM room", "bookings") == "blue"
    assert sh(stage, LEFT) == ""
    # Nor of the operator's Icecast; it can be started again.
    assert sh(stage, "grep -c 'The operator' /etc/icecast2/icecast.xml") == "1"
    assert sh(stage, "systemctl restart icecast2.service && systemctl is-active icecast2.service") == "active"
    # But for the folder of the lock, which the run has made itself.
    again = re.findall(r"^changed: .*", uninstall(stage, **data), re.MULTILINE)
    assert again == [f"changed: [{NODE}] => (item=/run/streamfleet)"]
