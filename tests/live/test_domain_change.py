"""The panel and the streams get other names while everything is on the air; runs are killed, fail and are taken back.

Tests playbooks: domain_change.yml.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stage import NODE, PANEL_HOST, STREAM_HOST, Stage
from tests.live.renames import (
    MOVE,
    NEW,
    NEW_PANEL,
    NEW_STREAM,
    OLD,
    UNDO,
    AtThePanel,
    Inventory,
    change,
    changed_by_install,
    default_of_rtmps,
    everybody,
    kept_inventory,
    killed,
    on_platform,
    stale,
    there,
    watched,
    whole,
)
from tests.live.visitors import ask, asked
from tests.ports import free_port

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def site(platform: Stage) -> Iterator[Stage]:
    """The platform with a station and a channel, and names that lead to it and are not its own yet."""
    with on_platform(platform) as made:
        yield made


@pytest.fixture
def inventory(site: Stage) -> Iterator[Inventory]:
    """What the runs of a test go by, where they are to."""
    with kept_inventory(site) as made:
        yield made


@pytest.mark.full
def test_a_run_that_was_killed_is_taken_back_with_everybody_on_the_air(site: Stage) -> None:
    before = there(site)
    with everybody(site):
        killed(site, "web : Ask the web server as a client would", 2)
        assert whole(site, PANEL_HOST, STREAM_HOST)
        assert whole(site, NEW_PANEL, NEW_STREAM)
        moved = asked(site, PANEL_HOST, "/login/?a=1")
        assert (moved.status, moved.location) == (308, f"https://{NEW_PANEL}/login/?a=1")
        assert moved.headers["Strict-Transport-Security"]
        assert NEW_STREAM in default_of_rtmps(site)
        change(site, UNDO)
        assert whole(site, PANEL_HOST, STREAM_HOST)
        assert STREAM_HOST in default_of_rtmps(site)
    assert there(site) == before


@pytest.mark.full
def test_names_change_and_change_back_and_installing_changes_nothing(site: Stage, inventory: Inventory) -> None:
    before = there(site)
    _recap, check = change(site, MOVE, "--check", "--diff")
    assert there(site) == before
    assert f"+streamfleet_stream_host: {NEW_STREAM}" in check
    with everybody(site):
        customer = AtThePanel(site, PANEL_HOST)
        killed(site, "Tell the panel of the streams' names", 1)
        # The same again finishes it.
        change(site, MOVE)
        customer.goes_on()
        for panel, stream in ((PANEL_HOST, STREAM_HOST), (NEW_PANEL, NEW_STREAM)):
            assert whole(site, panel, stream)
        assert site.api().request("GET", f"/nodes/{NODE}").data["stream_host"] == NEW_STREAM
        login = f"Authorization: Bearer {site.variables()['STREAMFLEET_TOKEN']}\r\n"
        assert ask(site, PANEL_HOST, f"/api/v1/nodes/{NODE}", headers=login) == (200, "")
        # The inventory of before is refused; with what was printed it is what the host is.
        log = site.state / "install.log"
        log.unlink(missing_ok=True)
        assert site.playbook("playbooks/install.yml", "-e", json.dumps(site.added), check=False).failed
        assert f"the streams were moved to {NEW_STREAM} on 20" in " ".join(log.read_text().split())
        inventory.patched((site.state / "domain_change.log").read_text())
        assert NEW_STREAM in default_of_rtmps(site)
        assert changed_by_install(site) == []
        recap, said = change(site, MOVE)
        assert recap.changed == 0
        assert "Nothing: it says so already." in said
        change(site, {"from": NEW, "to": OLD})
        assert STREAM_HOST in default_of_rtmps(site)
        site.hosts = "inventories/demo/hosts.yml"
        # An inventory of before both changes does not know the name that is served still.
        _recap, said = change(site, MOVE, ok=False)
        assert f"would give up {NEW_PANEL}, {NEW_STREAM}, which this inventory does not name" in said
        # Names that the inventory does not know are given up by whatever makes the host into what that says.
        assert site.install().changed > 0
        assert whole(site, PANEL_HOST, STREAM_HOST)
        assert stale(site) == ""
    assert f"{NEW}\n" not in site.on_node(["ls", "/etc/streamfleet/tls"])
    assert there(site) == before
    assert site.install().changed == 0


@pytest.mark.full
def test_a_step_that_fails_puts_everything_back(site: Stage) -> None:
    before = there(site)
    mine = "/etc/nginx/conf.d/aaa.conf"
    server = (
        f"server {{ listen 443 ssl http2; server_name {NEW_PANEL}; return 404; "
        f"ssl_certificate /etc/streamfleet/tls/{PANEL_HOST}/fullchain.pem; "
        f"ssl_certificate_key /etc/streamfleet/tls/{PANEL_HOST}/privkey.pem; }}"
    )
    site.on_node(["sh", "-c", f"cat >{mine}"], stdin=server)
    try:
        with everybody(site):
            _recap, said = change(site, MOVE, ok=False)
            assert "Hostname mismatch" in said
            assert "All is as it was before." in said
            assert whole(site, PANEL_HOST, STREAM_HOST)
    finally:
        site.on_node(["sh", "-c", f"rm {mine} && systemctl reload nginx.service"])
    assert there(site) == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (STREAM_HOST, STREAM_HOST, "nothing would change"),
        pytest.param(STREAM_HOST, PANEL_HOST, "is the name of the panel of demo1 already", marks=pytest.mark.full),
        (STREAM_HOST, "nowhere.demo.invalid", "nowhere.demo.invalid does not resolve"),
        pytest.param(STREAM_HOST, "*.show.localhost", "is a wildcard", marks=pytest.mark.full),
        pytest.param(STREAM_HOST, "strömen.show.localhost", "is not as DNS has it", marks=pytest.mark.full),
    ],
)
def test_bad_names_are_refused_before_anything_is_touched(site: Stage, old: str, new: str, said: str) -> None:
    before = there(site)
    _recap, output = change(site, {"from": old, "to": new}, ok=False)
    assert said in output
    assert there(site) == before
    assert "journal" not in site.on_node(["sh", "-c", "grep -l changing /var/lib/streamfleet/domain_change/* || true"])
    assert site.on_node(["cat", "/run/streamfleet/fleet.lock"]) == ""


@pytest.mark.full
def test_two_operators_do_not_work_at_once(site: Stage) -> None:
    before = there(site)
    said: dict[str, str] = {}
    held = [("Note the step", 1)]

    def at(name: str, times: int) -> bool:
        if (name, times) not in held:
            return False
        said["change"] = change(site, MOVE, ok=False)[1]
        others = {"move_media": {"move_media_to": "/srv/media"}, "uninstall": {"streamfleet_uninstall_confirm": "yes"}}
        for playbook in ("install", "certificates", "hardening", "upgrade", *others):
            log = site.state / f"{playbook}.log"
            log.unlink(missing_ok=True)
            given = json.dumps({**site.added, **others.get(playbook, {})})
            # A node alone knows of it, too: the lock is on the panel's host.
            assert site.playbook(f"playbooks/{playbook}.yml", "-e", given, check=False).failed
            said[playbook] = " ".join(log.read_text().split())
        return True

    assert watched(site, MOVE, at, held).killed
    for playbook, text in said.items():
        assert " works on this fleet with domain_change.yml since 20" in text, (playbook, text)
        assert "Wait for its end" in text
        assert "changed=0" in text
    # The run is dead: whoever is next here waits for nobody, and is told what it has left.
    log = site.state / "install.log"
    log.unlink()
    assert site.playbook("playbooks/install.yml", "-e", json.dumps(site.added), check=False).failed
    assert f"A change of names from {OLD} to {NEW}, begun at 20" in " ".join(log.read_text().split())
    change(site, UNDO)
    assert there(site) == before
    assert site.on_node(["cat", "/run/streamfleet/fleet.lock"]) == ""


@pytest.mark.full
def test_the_panel_s_host_must_be_reached(site: Stage, tmp_path: Path) -> None:
    nowhere = tmp_path / "panel.yml"
    host = {"ansible_host": "127.0.0.1", "ansible_port": free_port(), "ansible_connection": "ssh"}
    # An inventory in which another host, that is down, is the panel's, and this one a node.
    groups = {"streamfleet_panel": {"hosts": {"away1": host}}, "streamfleet_nodes": {"hosts": {NODE: {}}}}
    groups["icecast"] = {"hosts": {NODE: {}}}
    nowhere.write_text(json.dumps({"all": {"children": groups}}))
    known = site.hosts
    site.hosts = str(nowhere)
    names = {"streamfleet_panel_host": PANEL_HOST, "streamfleet_stream_host": STREAM_HOST}
    before = there(site)
    try:
        for playbook in ("install", "certificates"):
            log = site.state / f"{playbook}.log"
            log.unlink(missing_ok=True)
            recap = site.playbook(
                f"playbooks/{playbook}.yml", "--limit", NODE, "-e", json.dumps(names | site.added), check=False
            )
            assert recap.failed
            assert recap.changed == 0
            assert "away1, the panel's host, cannot be reached" in " ".join(log.read_text().split())
    finally:
        site.hosts = known
    assert there(site) == before


@pytest.mark.full
def test_names_change_with_everybody_on_the_air_and_back(site: Stage) -> None:
    before = there(site)
    with everybody(site):
        customer = AtThePanel(site, PANEL_HOST)
        change(site, MOVE)
        customer.goes_on()
        for panel, stream in ((PANEL_HOST, STREAM_HOST), (NEW_PANEL, NEW_STREAM)):
            assert whole(site, panel, stream)
        assert NEW_STREAM in default_of_rtmps(site)
        assert change(site, MOVE)[0].changed == 0
        change(site, {"from": NEW, "to": OLD})
        assert STREAM_HOST in default_of_rtmps(site)
        # Names that the inventory does not know are given up by whatever makes the host into what that says.
        assert site.install().changed > 0
        assert whole(site, PANEL_HOST, STREAM_HOST)
        assert stale(site) == ""
    assert there(site) == before
