"""The panel goes to another host and back, while a station on its first host is heard by somebody who counts.

Tests playbooks: panel_transfer.yml install.yml. The tests are steps of one story, in this order; the last one runs
alone, too.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from streamfleet.http import Client

from demo.show import credentials, wait_until_running
from demo.stage import ROOT
from tests.live.jobs import Jobs, succeeded
from tests.live.streams import Listener, Source
from tests.live.upgrades import Run, playbook
from tests.nodes.fleet import Domain, Fleet, NodeSpec

pytestmark = [pytest.mark.live, pytest.mark.full]

FIRST, SECOND = "panel1", "panel2"
PANEL = "panel.moving.localhost"
UNITS = ("streamfleet-panel.service", "streamfleet-panel-jobs.service", "streamfleet-worker.service")
CONFIRM = ("-e", "panel_transfer_confirm=yes")
RELEASE = ("-e", "panel_transfer_release=true")
MARK = "/var/lib/streamfleet/panel_transfer.json"
SECRETS = (
    *("/etc/streamfleet/panel/secrets.env", "/etc/streamfleet/panel/install_token", "/etc/streamfleet/worker/token"),
    *("/etc/streamfleet/panel/admin_password", "/etc/streamfleet/worker/id_ed25519", "/etc/streamfleet/ca/ca.key"),
)
LOGINS = "journalctl -q -o cat SYSLOG_IDENTIFIER=streamfleet-login --since=-2min"


@dataclass
class Two:
    """Two hosts; the first is a node with a station, too."""

    fleet: Fleet
    folder: Path
    output: list[str] = field(default_factory=list)

    def inventory(self, panel: str, former: str = "") -> None:
        """Write the inventory: where the panel is to be, and where it is to go from."""
        hosts = {name: {"streamfleet_panel_addresses": [self.address(name)]} for name in (FIRST, SECOND)}
        groups: dict[str, Any] = {
            "streamfleet_panel": {"hosts": {panel: {}}},
            "streamfleet_nodes": {"hosts": {FIRST: {"streamfleet_stream_host": "one.moving.localhost"}}},
            "icecast": {"hosts": {FIRST: {}}},
        }
        if former:
            groups["streamfleet_panel_former"] = {"hosts": {former: {}}}
        shared = {
            "streamfleet_panel_host": PANEL,
            "streamfleet_panel_allowed_hosts": ["127.0.0.1", "localhost", "[::1]", *map(self.address, hosts)],
        }
        everything = {"all": {"vars": shared, "hosts": hosts, "children": groups}}
        (self.folder / "hosts.json").write_text(json.dumps(everything))

    def begin(self, name: str, *arguments: str) -> Run:
        """Begin a run of a playbook."""
        inventories = [self.fleet.inventory, self.folder / "hosts.json"]
        return playbook(inventories, name, *arguments)

    def play(self, name: str, *arguments: str, ok: bool = True) -> str:
        """Run a playbook, and return its output."""
        run = self.begin(name, *arguments)
        code = run.end()
        self.note(name, arguments, run)
        assert (code == 0) is ok, run.said[-6000:]
        return run.said

    def note(self, name: str, arguments: tuple[str, ...], run: Run) -> None:
        """Keep what a run has said."""
        self.output.append(run.said)
        with (self.folder / "runs.log").open("a") as log:
            log.write(f"\n== {time.strftime('%X')} {name} {arguments}\n{run.said}")

    def move(self, *arguments: str, ok: bool = True) -> str:
        return self.play("panel_transfer", *arguments, ok=ok)

    def address(self, name: str) -> str:
        return str(self.fleet.node(name).address)

    def sh(self, name: str, script: str) -> str:
        return str(self.fleet.exec(name, ["sh", "-c", script]).stdout).strip()

    def states(self, name: str) -> list[str]:
        return self.sh(name, f"systemctl is-active {' '.join(UNITS)} || true").split()

    def mark(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.sh(name, f"cat {MARK} 2>/dev/null || echo '{{}}'")))

    def api(self, name: str) -> Client:
        """A client that comes by this host's address."""
        return Client(f"https://{self.address(name)}", (self.folder / "token").read_text(), str(self.folder / "ca.pem"))

    def login(self, asker: str, name: str) -> str:
        """What the API says of a wrong password, asked on the one host by the other's address and the panel's name."""
        ask = (
            "curl -s -o /dev/null -w '%{http_code}' --cacert /etc/streamfleet/ca/ca.pem"
            f" --resolve {PANEL}:443:{self.address(name)}"
            f" -H 'Authorization: Bearer sft_abcdefgh_{'x' * 43}' -H 'X-Forwarded-For: 203.0.113.9' https://{PANEL}/api/v1/whoami"
        )
        return self.sh(asker, ask)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Both hosts, the panel and a station on the first.

    ``STREAMFLEET_LIVE_FLEET`` names a fleet to keep and go on with, for the inner loop.
    """
    kept = os.environ.get("STREAMFLEET_LIVE_FLEET")
    folder = ROOT / ".cache" / f"live-{kept}" if kept else Path(tmp_path_factory.mktemp("panel_transfer"))
    folder.mkdir(mode=0o700, exist_ok=True)
    it = Two(Fleet(kept or f"move{secrets.token_hex(3)}"), folder)
    try:
        domains = [Domain("one.moving.localhost", FIRST), Domain(PANEL, FIRST)]
        it.fleet.up([NodeSpec(FIRST), NodeSpec(SECOND)], [], domains)
        if not (folder / "token").exists():
            it.inventory(FIRST)
            it.play("install")
            made = it.sh(FIRST, "streamfleet-panel issue_token --name t --scope account --account admin")
            (folder / "ca.pem").write_text(it.sh(FIRST, "cat /etc/streamfleet/ca/ca.pem") + "\n")
            (folder / "token").write_text(json.loads(made)["token"])
            add(it.api(FIRST), "one-fm")
        yield it
    finally:
        if not kept:
            it.fleet.down()


def add(api: Client, slug: str) -> None:
    """A station, on the air."""
    service = {"slug": slug, "name": slug, "customer": "ada", "engine": "icecast", "node": FIRST}
    document = {"customers": [{"username": "ada"}], "media_services": [service]}
    api.request("POST", "/apply", {"document": document})
    wait_until_running(api, (slug,))


@dataclass
class Air:
    source: Source
    listener: Listener

    def undisturbed(self) -> None:
        assert self.source.error is None
        heard = self.listener.heard
        assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
        assert heard.longest_gap < 5, heard


@pytest.fixture(scope="module")
def air(two: Two) -> Iterator[Air]:
    """Somebody sends, and somebody listens, from the first test to the last."""
    port, address = two.api(FIRST).request("GET", "/media-services/one-fm").data["port"], two.address(FIRST)
    source = Source(address, port, "/stream", credentials(two.api(FIRST), "one-fm")["source_password"])
    source.start()
    assert source.accepted.wait(15), source.error
    listener = Listener(address, port, address, "/stream")
    listener.start()
    assert listener.playing.wait(15), listener.heard
    yield Air(source, listener)
    source.stop()
    listener.stop()


def changed(output: str) -> int:
    return sum(map(int, re.findall(r"changed=(\d+)", output.partition("PLAY RECAP")[2])))


def test_the_plan_is_told_and_nothing_is_done_without_a_yes(two: Two, air: Air) -> None:
    assert "streamfleet_panel_former none" in two.move(*CONFIRM, ok=False)
    two.inventory(SECOND, FIRST)
    assert "Unknown: panel_transfer_confrm" in two.move("-e", "panel_transfer_confrm=yes", ok=False)
    assert "leave --limit out" in two.move(*CONFIRM, "--limit", SECOND, ok=False)
    assert "has not come to panel2 yet" in two.move(*RELEASE, ok=False)
    for said in (two.move(), two.move(*CONFIRM, "--check")):
        assert "The panel goes from panel1 to panel2" in said
        assert "1 customers, 1 services, 1 nodes, of which its worker reaches panel1" in said
        assert "database sqlite of" in said
        assert changed(said) == 0
    # An empty panel gets nothing of the fleet, whichever part of a playbook is run.
    for name, *arguments in (
        ["install"],
        ["install", "--limit", SECOND],
        ["install", "--tags", "register"],
        ["install", "--tags", "web"],
        ["certificates"],
    ):
        assert "The panel is still on panel1: run panel_transfer.yml" in two.play(name, *arguments, ok=False)
    jobs = Jobs(two.folder, [str(two.fleet.inventory), str(two.folder / "hosts.json")], {})
    assert "The panel goes from panel1 to panel2" in succeeded(jobs.launch("panel transfer")).output
    assert two.sh(SECOND, "ls -d /etc/streamfleet /opt/streamfleet /var/lib/streamfleet 2>/dev/null; true") == ""
    assert two.states(FIRST) == ["active"] * 3
    air.undisturbed()


def test_what_fails_is_put_back_by_itself(two: Two, air: Air) -> None:
    two.inventory(SECOND, FIRST)
    run = two.begin("panel_transfer", *CONFIRM)
    assert run.wait_for(at("Hold worker and jobs")), run.said[-6000:]
    two.sh(SECOND, "rm /opt/streamfleet/venv")
    code = run.end()
    two.note("panel_transfer", CONFIRM, run)
    assert code != 0
    assert "The panel is on panel1 as before, and everybody may write" in run.said, run.said[-6000:]
    assert (two.states(FIRST), two.mark(FIRST)) == (["active"] * 3, {})
    assert (two.states(SECOND), two.mark(SECOND)) == (["inactive"] * 3, {})
    left = "ls /var/lib/streamfleet/panel/*.sqlite3 /etc/streamfleet/panel/secrets.env 2>/dev/null; true"
    assert two.sh(SECOND, left) == ""
    assert "streamfleet-panel-transfer" not in two.sh(FIRST, "cat /var/lib/streamfleet-converge/.ssh/authorized_keys")
    rename(two.api(FIRST), "After a failure")
    air.undisturbed()


def test_a_run_that_was_killed_is_gone_on_with(two: Two, air: Air) -> None:
    run = two.begin("panel_transfer", *CONFIRM)
    assert run.wait_for(at("Have it here as it was there")), run.said[-6000:]
    time.sleep(2)
    run.kill()
    two.note("panel_transfer", CONFIRM, run)
    # Neither of them has a worker, nor gets one by a restart.
    for name in (SECOND, FIRST):
        assert two.states(name)[1:] == ["inactive"] * 2
    two.fleet.reboot(SECOND)
    assert two.states(SECOND)[1:] == ["inactive"] * 2
    assert "The panel is still on panel1" in two.play("install", ok=False)
    two.inventory(FIRST)
    assert "is under way, or was killed" in two.play("install", "--tags", "panel", ok=False)
    two.inventory(SECOND, FIRST)

    said = two.move(*CONFIRM)
    assert "TASK [Have the panel go on where it was]" in said
    found = re.search(r"(\d+) seconds without changes, of them (\d+) without a panel", said)
    assert found, said[-6000:]
    (two.folder / "seconds").write_text(" ".join(found.groups()))
    is_on(two, SECOND, FIRST)
    air.undisturbed()


def at(task: str) -> Callable[[list[str]], bool]:
    """Whether a run has come to a task."""
    return lambda tasks: any(name.startswith(task) for name in tasks)


def is_on(two: Two, panel: str, former: str) -> None:
    """The panel is on the one host, and the other one passes on what comes for it."""
    assert two.states(panel) == ["active"] * 3
    assert two.states(former) == ["inactive"] * 3
    assert two.mark(panel)["state"] == "here"
    assert two.mark(former)["state"] == "gone"
    for name in (panel, former):
        assert two.api(name).request("GET", "/media-services/one-fm").data["name"] == "After a failure"
        before = len(two.sh(panel, LOGINS).splitlines())
        assert two.login(panel, name) == "401"
        deadline = time.monotonic() + 10
        while len(lines := two.sh(panel, LOGINS).splitlines()) == before:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        # Who asks is the panel's host, by whichever way; what it says of itself counts nothing. (Of the former host it
        # would count: that passes on.)
        assert json.loads(lines[-1])["address"] == two.address(panel), lines[-1]


def test_the_panel_works_on_its_new_host(two: Two, air: Air) -> None:
    add(two.api(FIRST), "two-fm")
    two.api(SECOND).request("PUT", "/media-services/two-fm", {"name": "Made on the new host"})
    wait_until_running(two.api(SECOND), ("one-fm", "two-fm"))
    assert changed(two.move(*CONFIRM)) == 0
    assert changed(two.play("install")) == 0
    # Whoever has the inventory of before is told, and a restart brings no second panel.
    two.inventory(FIRST)
    said = two.play("install", "--limit", FIRST, "--tags", "panel", ok=False)
    assert "The panel has gone from panel1 to panel2" in said
    assert two.sh(FIRST, f"systemctl start {UNITS[0]} 2>/dev/null && echo started || echo refused") == "refused"
    assert two.states(FIRST) == ["inactive"] * 3
    two.inventory(SECOND, FIRST)
    air.undisturbed()


def test_it_goes_back_with_what_has_come_since(two: Two, air: Air) -> None:
    two.inventory(FIRST, SECOND)
    said = two.move(*CONFIRM)
    assert "The panel is on panel1" in said
    is_on(two, FIRST, SECOND)
    assert two.api(FIRST).request("GET", "/media-services/two-fm").data["name"] == "Made on the new host"
    two.api(SECOND).request("PUT", "/media-services/two-fm", {"name": "Back"})
    wait_until_running(two.api(FIRST), ("one-fm", "two-fm"))
    assert changed(two.move(*CONFIRM)) == 0
    air.undisturbed()


def test_the_former_host_gives_it_up(two: Two, air: Air) -> None:
    two.inventory(SECOND, FIRST)
    two.move(*CONFIRM)
    is_on(two, SECOND, FIRST)
    two.sh(SECOND, f"systemctl stop {UNITS[0]}")
    assert "answered the worker's token with" in two.move(*RELEASE, ok=False)
    two.sh(SECOND, f"systemctl start {UNITS[0]}")
    two.move(*RELEASE)
    assert changed(two.move(*RELEASE)) == 0
    assert two.sh(FIRST, f"ls -d {' '.join(SECRETS)} /var/lib/streamfleet/panel 2>/dev/null; true") == ""
    two.inventory(SECOND)
    two.play("install")
    assert changed(two.play("install")) == 0
    assert two.api(SECOND).request("GET", "/media-services/two-fm").data["name"] == "Back"
    add(two.api(SECOND), "three-fm")
    air.undisturbed()
    token = (two.folder / "token").read_text()
    hidden = [two.sh(SECOND, "cat /etc/streamfleet/panel/secrets.env").split("'")[1], token]
    assert not [secret for secret in hidden for said in two.output if secret in said]


LOST = ("-e", "panel_transfer_lost=panel2")


def rename(api: Client, name: str) -> None:
    """Give the station on the air another name, and wait until its node has it, and runs all that there is."""
    api.request("PUT", "/media-services/one-fm", {"name": name})
    wait_until_running(api, tuple(it["slug"] for it in api.request("GET", "/media-services").data["items"]))


def test_a_host_that_is_lost_is_gone_on_without(two: Two, air: Air) -> None:
    if two.mark(SECOND).get("state") == "here":
        two.inventory(FIRST, SECOND)
        two.move(*CONFIRM)
    two.inventory(SECOND, FIRST)
    rename(two.api(FIRST), "Went along")
    two.move(*CONFIRM)
    for name in ("Lost", "Lost with the host"):
        rename(two.api(SECOND), name)
    two.inventory(FIRST)
    assert "panel2 answers, so it is not lost" in two.move(*LOST, *CONFIRM, ok=False)
    assert "knows of panel2, and not of panel3" in two.move("-e", "panel_transfer_lost=panel3", *CONFIRM, ok=False)
    assert (two.states(FIRST), two.mark(FIRST)["state"]) == (["inactive"] * 3, "gone")
    two.fleet.pause(SECOND)
    told = two.move(*LOST)
    assert "nothing is done without -e panel_transfer_confirm=yes" in told
    assert (changed(told), two.states(FIRST)) == (0, ["inactive"] * 3)
    assert "panel2 must never start again" in two.move(*LOST, *CONFIRM)
    assert (two.states(FIRST), two.mark(FIRST)) == (["active"] * 3, {})
    assert two.api(FIRST).request("GET", "/media-services/one-fm").data["name"] == "Went along"
    assert "nothing is to be done. Run install.yml" in two.move(*LOST, *CONFIRM, ok=False)
    assert changed(two.play("install")) == 0
    # The node takes what this panel says, though the lost one had said more.
    rename(two.api(FIRST), "Gone on")
    air.undisturbed()
