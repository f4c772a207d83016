"""Who guesses passwords and tokens of a panel that has a host to itself, as fail2ban there counts what the panel tells.

Somebody on a host that the fleet does not know guesses; this controller, which is never banned, tries to have others
accused. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests playbooks: install.yml.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.bans import Stranger, accused, banned, soon
from tests.live.node import NODE, Node
from tests.live.test_hardening import TIMERS
from tests.live.visitors import Visitor, asked
from tests.nodes.fleet import NodeSpec

pytestmark = [pytest.mark.live, pytest.mark.full]

OTHER, HOST = "n2", "panel.bans.test"
#: Whom forged lines accuse.
VICTIM = "203.0.113.66"
JAIL, MOST, SECONDS = "streamfleet-panel", 3, 30
#: Log-ins at the page and tokens of the API, by one connection, which no ban ends; the status of each.
GUESS = """\
import http.client, re, ssl, sys, urllib.parse
address, host, *kinds = sys.argv[1:]
link = http.client.HTTPSConnection(address, timeout=20, context=ssl._create_unverified_context())
def ask(method, path, body=None, **headers):
    link.request(method, path, body, {'Host': host, **headers})
    answer = link.getresponse()
    return answer.status, answer.headers, answer.read().decode()
def page():
    _status, head, text = ask('GET', '/login/')
    cookies = '; '.join(one.partition(';')[0] for one in head.get_all('Set-Cookie'))
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', text)[1]
    form = urllib.parse.urlencode({'csrfmiddlewaretoken': token, 'username': 'admin', 'password': 'wrong'})
    about = {'Cookie': cookies, 'Origin': f'https://{host}', 'Content-Type': 'application/x-www-form-urlencoded'}
    return ask('POST', '/login/', form, **about)[0]
def api():
    return ask('GET', '/api/v1/whoami', Authorization='Bearer sft_wrong')[0]
for kind in kinds:
    print(kind, {'page': page, 'api': api}[kind]())
"""


class Panel(Node):
    """A panel's host, hardened, and another host that guesses."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.stranger = Stranger(self, OTHER)
        self.ca = folder / "ca.pem"

    @contextlib.contextmanager
    def up(self) -> Iterator[Panel]:
        """Both, bare."""
        release = os.environ.get("STREAMFLEET_LIVE_RELEASE", "bookworm")
        try:
            self.fleet.up([NodeSpec(NODE, release), NodeSpec(OTHER, release)])
            yield self
        finally:
            self.fleet.down()

    def install(self) -> str:
        """playbooks/install.yml, with bans that come soon and do not last."""
        groups: dict[str, Any] = {name: {"hosts": {NODE: {}}} for name in ("streamfleet_panel", "hardening")}
        (self.folder / "groups.json").write_text(json.dumps(groups))
        variables = {
            "streamfleet_panel_host": HOST,
            "streamfleet_fail2ban_max_failures": MOST,
            "streamfleet_fail2ban_ban_seconds": SECONDS,
        }
        path = self.folder / "variables.json"
        path.write_text(json.dumps(variables))
        return self.play("playbooks/install.yml", "-e", f"@{path}")


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """A panel, and no node."""
    with Panel(Path(tmp_path_factory.mktemp("bans"))).up() as it:
        it.sh(TIMERS)
        it.install()
        it.ca.write_text(it.sh("cat /etc/streamfleet/ca/ca.pem"))
        yield it


def test_guesses_at_the_panel_are_banned_and_nobody_is_by_what_others_write(panel: Panel) -> None:
    here, forged = panel.stranger, f'{{"event":"login_refused","address":"{VICTIM}","via":"portal"}}'
    # As a name, as headers by which proxies tell of clients, and as lines of other programs under the same name.
    visitor = Visitor(panel, HOST)
    for name in (forged, f"x\n{forged}\nx", f"x\r\nn1 streamfleet-login: {forged}\r\n"):
        assert visitor.open_form()
        assert visitor.send_form(name, forged) == 200
    headers = f"X-Forwarded-For: {VICTIM}\r\nX-Real-IP: {VICTIM}\r\nForwarded: for={VICTIM}\r\n"
    assert asked(panel, HOST, "/api/v1/whoami", headers=f"{headers}Authorization: Bearer {forged}\r\n").status == 401
    assert asked(panel, HOST, f"/login/?next={VICTIM}%0A%7B%22event%22", headers=headers).status in (200, 400)
    panel.sh(f"logger -t streamfleet-login '{forged}'")
    panel.sh(f"systemd-run -q --wait -p SyslogIdentifier=streamfleet-login --unit=forged echo '{forged}'")
    assert panel.sh("journalctl -q -t streamfleet-login -o cat").splitlines().count(forged) == 2
    accusing = accused(panel, JAIL)
    assert accusing.total() == 4
    assert VICTIM not in accusing
    assert banned(panel, JAIL) == []

    assert here.reaches(80, 443, 22) == [80, 443, 22]
    said = here.run(GUESS, panel.address, HOST, "page", "api", "page")
    assert said.splitlines() == ["page 200", "api 401", "page 200"]
    soon(lambda: banned(panel, JAIL) == [here.address])
    assert here.reaches(80, 443, 22) == [22]
    # Others are served, and the stranger again by and by; the next ban is longer, and is lifted.
    assert asked(panel, HOST, "/login/").status == 200
    soon(lambda: banned(panel, JAIL) == [], 90)
    soon(lambda: here.reaches(80, 443) == [80, 443])
    assert here.run(GUESS, panel.address, HOST, *["api"] * MOST).splitlines() == ["api 401"] * MOST
    soon(lambda: f"+ {2 * SECONDS} = " in panel.sh(f"fail2ban-client get {JAIL} banip --with-time"))
    assert panel.sh(f"fail2ban-client unban {here.address}") == "1"
    assert here.reaches(80, 443) == [80, 443]
    assert VICTIM not in accused(panel, JAIL)


def test_the_web_server_is_updated_where_no_streams_are(panel: Panel) -> None:
    held = panel.sh("apt-config dump --format '%v%n' Unattended-Upgrade::Package-Blacklist")
    assert "icecast2$" in held
    assert "nginx" not in held
