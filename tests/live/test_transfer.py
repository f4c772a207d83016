"""Stations go to another node with their files, and back, while whoever sends to the former node is sent on.

Tests playbooks: transfer.yml. The panel is a real one, on this machine; the nodes have engines and no web server.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from streamfleet.behaviour.route import Route

from tests.contract.panel_server import Panel, running_panel
from tests.live import returning, tones
from tests.live.jobs import Jobs, succeeded
from tests.live.streams import Listener, Source, on_air
from tests.live.upgrades import Run
from tests.nodes.fleet import Fleet, NodeSpec

pytestmark = [pytest.mark.live, pytest.mark.full]

ROOT = Path(__file__).resolve().parents[2]
NODES = ("n1", "n2")
ROLES = """\
---
- name: Prepare the nodes
  hosts: streamfleet_nodes
  become: true
  gather_facts: false
  roles:
    - common
    - icecast
    - autodj
"""
UNINSTALL = """\
---
- name: Uninstall
  hosts: streamfleet_nodes
  become: true
  gather_facts: false
  tasks:
    - name: Remove the AutoDJ
      ansible.builtin.import_role: {name: autodj, tasks_from: uninstall}
    - name: Remove Icecast
      ansible.builtin.import_role: {name: icecast, tasks_from: uninstall}
    - name: Remove what all nodes have
      ansible.builtin.import_role: {name: common, tasks_from: uninstall}
"""
#: Seconds in which a station that was started is heard, on a machine with other things to do.
START = 90.0
#: Connections of SSH end, and none is answered any more.
CUT = "systemctl stop ssh.socket ssh.service; pkill -9 sshd; true"
LISTING = "cd /var/lib/streamfleet/media && find . ! -type d -printf '%m %U:%G %s %T@ %n %p %l\\n' | sort"


@dataclass
class Pair:
    """Two nodes, and the panel that says what they have."""

    fleet: Fleet
    folder: Path
    panel: Panel
    uid: int = 0
    said: list[str] = field(default_factory=list)

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """ansible-playbook for these nodes."""
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        groups = ["-i", str(self.fleet.inventory), "-i", str(self.folder / "groups.json")]
        return [program, *groups, playbook, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.panel.environment,
            "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "0",
        }

    def play(self, playbook: str, *arguments: str, ok: bool = True) -> str:
        """Run a playbook, and return its output."""
        command = self.command(playbook, *arguments)
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, text=True, capture_output=True, check=False, timeout=1200
        )
        output = done.stdout + done.stderr
        with (self.folder / "said.log").open("a") as log:
            log.write(f"$ {' '.join(arguments)}\n{output}")
        assert (done.returncode == 0) is ok, output[-8000:]
        assert "Traceback" not in output, output[-8000:]
        return output

    def transfer(self, *arguments: str, ok: bool = True) -> str:
        """Run the playbook of these tests, for the customer."""
        given = [word for one in ("transfer_customer=ada", *arguments) for word in ("-e", one)]
        return self.play("playbooks/transfer.yml", *given, ok=ok)

    @property
    def jobs(self) -> Jobs:
        """AWX with these nodes and the credential of this panel."""
        sources = [str(self.fleet.inventory), str(self.folder / "groups.json")]
        return Jobs(self.folder, sources, {"url": self.panel.url, "token": self.panel.token})

    def begun(self, *arguments: str) -> list[str]:
        """The command that ``transfer`` runs."""
        given = [word for one in ("transfer_customer=ada", *arguments) for word in ("-e", one)]
        return self.command("playbooks/transfer.yml", *given)

    def sh(self, node: str, script: str) -> str:
        """What a script says on a node, as root."""
        return str(self.fleet.exec(node, ["sh", "-c", script]).stdout).strip()

    def address(self, node: str) -> str:
        return str(self.fleet.node(node).address)

    def declared(self, name: str, **more: Any) -> dict[str, Any]:
        """A node as a document has it; the other one knows it by its key."""
        key = " ".join(self.sh(name, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
        return {"name": name, "address": self.address(name), "host_key": key, **more}

    def get(self, path: str) -> Any:
        status, answer = self.panel.request("GET", path)
        assert status == 200, answer
        return answer

    def port(self, slug: str) -> int:
        return int(self.get(f"/media-services/{slug}")["port"])

    def source(self, node: str, port: int) -> Source:
        """An encoder of the station without an AutoDJ."""
        secret = self.get("/media-services/talk/credentials")["credentials"]["source_password"]
        return Source(self.address(node), port, "/stream", secret)

    def listener(self, node: str, port: int) -> Listener:
        """A listener who hears it, and counts."""
        address = self.address(node)
        deadline = time.monotonic() + START
        while True:
            it = Listener(address, port, address, "/stream")
            it.start()
            if it.playing.wait(15):
                return it
            it.stop()
            assert time.monotonic() < deadline, it.heard

    def history(self, node: str) -> list[str]:
        """What the AutoDJ has played, on a node."""
        place = "/var/lib/streamfleet/services/jazz/autodj/history.jsonl"
        return self.sh(node, f"cat {place} 2>/dev/null; true").splitlines()

    def plays_on(self, node: str) -> None:
        """Wait until the AutoDJ begins a track there."""
        count, deadline = len(self.history(node)), time.monotonic() + START
        while len(self.history(node)) == count:
            assert time.monotonic() < deadline, self.sh(node, "journalctl -n 60 --no-pager")
            time.sleep(1)

    def has_nothing(self, node: str) -> None:
        """Nothing of the customer is on a node, and nothing of a transfer."""
        left = (
            f"{{ ls -d /var/lib/streamfleet/media/{self.uid} /var/lib/streamfleet/media-index/{self.uid}"
            " /var/lib/streamfleet/services/* /etc/streamfleet/routes/* /etc/streamfleet/instances/*/*"
            " /var/lib/streamfleet/transfer/* /run/streamfleet-transfer/* 2>/dev/null;"
            f" getent passwd sf{self.uid};"
            " grep streamfleet-transfer /var/lib/streamfleet-converge/.ssh/authorized_keys;"
            " systemctl list-units --plain --no-legend 'streamfleet-*@*' 'streamfleet-transfer-*'; }"
            " | grep -v bob-fm; true"
        )
        assert self.sh(node, left) == ""


class Returning:
    """An encoder that connects again, to the address that it knows, as encoders do that lose their server."""

    def __init__(self, pair: Pair, node: str, port: int) -> None:
        self._make = lambda: pair.source(node, port)
        self._ended = threading.Event()
        self.connections: list[Source] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.is_set():
            source = self._make()
            source.start()
            if source.accepted.wait(10):
                self.connections.append(source)
                while source.is_alive() and not self._ended.is_set():
                    self._ended.wait(0.2)
            source.stop()
            self._ended.wait(1)

    def __enter__(self) -> Returning:
        self._thread.start()
        deadline = time.monotonic() + START
        while not self.connections:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join(30)


@contextlib.contextmanager
def off_the_air_for_seconds(pair: Pair, node: str, port: int) -> Iterator[None]:
    """Somebody listens who comes back to that address; at the end the station is heard, and was never away for long."""
    route, url = Route(pair.address(node)), f"http://{pair.address(node)}:{port}/stream"
    ear = {"talk": returning.Staying(lambda: returning.Sound(route, url))}
    with returning.on_air({}, ear):
        ear["talk"].silence_from_here()
        yield
        returning.await_all({}, ear)
        silence = ear["talk"].silence
        print(f"off the air for {silence:.1f} seconds")
        assert len(ear["talk"].connections) > 1
        assert silence < returning.OFF_AIR


def upload(pair: Pair, node: str, path: Path, name: str) -> None:
    """Put a file into the customer's library on a node."""
    library = f"/var/lib/streamfleet/media/{pair.uid}"
    script = f'base64 -d > "{library}/{name}" && chown {pair.uid}:{pair.uid} "{library}/{name}"'
    pair.fleet.exec(node, ["sh", "-c", script], stdin=base64.b64encode(path.read_bytes()).decode())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two nodes; on the first a station with an AutoDJ and a library, and one to send to."""
    folder = Path(tmp_path_factory.mktemp("transfer"))
    (folder / "groups.json").write_text(json.dumps({"streamfleet_nodes": {"hosts": {name: {} for name in NODES}}}))
    (folder / "roles.yml").write_text(ROLES)
    fleet = Fleet(f"transfer{os.getpid()}")
    try:
        fleet.up([NodeSpec(name) for name in NODES])
        with running_panel() as panel:
            it = Pair(fleet, folder, panel)
            it.play(str(folder / "roles.yml"))
            nodes = [it.declared(name, engines=["icecast"]) for name in NODES]
            station = {"customer": "ada", "engine": "icecast", "node": "n1"}
            document = {
                "nodes": nodes,
                "customers": [{"username": "ada"}, {"username": "bob"}],
                "media_services": [
                    {**station, "slug": "talk"},
                    {**station, "slug": "jazz", "autodj": {"crossfade_seconds": 0}},
                    # Its port is the one that talk has on the other node.
                    {"slug": "bob-fm", "customer": "bob", "engine": "icecast", "node": "n2"},
                ],
                "playlists": [{"media_service": "jazz", "name": "all", "folder": "."}],
            }
            status, answer = panel.request("POST", "/apply", {"document": document})
            assert status == 200, answer
            it.play("playbooks/converge.yml")
            owner = it.sh("n1", "ls /var/lib/streamfleet/media")
            it.uid = int(owner)
            for number in range(3):
                upload(it, "n1", tones.recording(folder / f"{number}.mp3", 400 + 100 * number, 5.0), f"{number}.mp3")
            # So much that the copy takes a while; links, as customers leave them.
            it.sh(
                "n1",
                f"cd /var/lib/streamfleet/media/{it.uid} && head -c 200000000 /dev/urandom >large.bin"
                f" && ln large.bin same.bin && ln -s 0.mp3 link && chown -h {it.uid}:{it.uid} large.bin link",
            )
            yield it
    finally:
        fleet.down()


def test_without_a_yes_only_the_plan_is_said(pair: Pair) -> None:
    said = pair.transfer("transfer_to=n2")
    assert "2 services from n1" in said
    assert "nothing is done without -e transfer_confirm=yes" in said
    assert pair.get("/transfers")["count"] == 0
    assert pair.sh("n2", f"ls -d /var/lib/streamfleet/media/{pair.uid} 2>/dev/null; true") == ""
    assert "No transfer of these services is under way" in pair.transfer("transfer_undo=true")
    assert "one of these three" in pair.transfer("transfer_to=n2", "transfer_undo=true", ok=False)
    assert "there is no such node" in pair.transfer("transfer_to=n9", ok=False)


def test_they_go_while_they_are_heard_and_are_sent_on(pair: Pair) -> None:
    before, was = pair.sh("n1", LISTING), pair.port("talk")
    pair.plays_on("n1")
    command = pair.command(
        "playbooks/transfer.yml", "-e", "transfer_customer=ada", "-e", "transfer_to=n2", "-e", "transfer_confirm=yes"
    )
    with Returning(pair, "n1", was) as encoder, off_the_air_for_seconds(pair, "n1", was):
        listener = pair.listener("n1", was)
        running = subprocess.Popen(
            command, cwd=ROOT, env=pair.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert running.stdout is not None
        lines = []
        for line in running.stdout:
            lines.append(line)
            if line.startswith("TASK [Hold the services]"):
                # The copy is made: nobody has noticed.
                heard = listener.heard
                assert (heard.disconnects, heard.lost_lines, len(encoder.connections)) == (0, 0, 1)
                assert encoder.connections[0].error is None
                assert heard.bytes > 0
                break
        else:
            running.wait()
            raise AssertionError("".join(lines)[-8000:])
        listener.stop()
        output = "".join(lines) + running.stdout.read()
        assert running.wait() == 0, output[-8000:]
        assert "heard again: jazz, talk" in output
    assert pair.get("/media-services/talk")["node"] == "n2"
    now = pair.port("talk")
    assert now != was
    assert pair.sh("n2", LISTING) == before
    assert pair.sh("n1", "systemctl is-active streamfleet-icecast@talk.service; true") == "inactive"
    with on_air(pair.source("n1", was)):
        ears = [pair.listener("n1", was), pair.listener("n2", now)]
        time.sleep(5)
        for ear in ears:
            heard = ear.stop()
            assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
            assert heard.bytes > 40_000
    pair.plays_on("n2")
    again = pair.transfer("transfer_to=n2", "transfer_confirm=yes")
    assert "on the air on n2" in again


def test_they_go_back_with_what_has_come_since(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "late.txt").write_text("late")
    upload(pair, "n2", tmp_path / "late.txt", "late.txt")
    pair.sh("n2", f"rm /var/lib/streamfleet/media/{pair.uid}/same.bin")
    there = pair.sh("n2", LISTING)
    jobs = pair.jobs
    said = succeeded(jobs.launch("transfer", transfer_customer="ada", transfer_undo="yes")).output
    assert "on n1 as before" in said
    assert pair.get("/media-services/talk")["node"] == "n1"
    assert pair.get("/transfers")["count"] == 0
    assert pair.sh("n1", LISTING) == there
    pair.plays_on("n1")
    left = (
        "ls /var/lib/streamfleet/media /var/lib/streamfleet/transfer /run/streamfleet-transfer 2>/dev/null | grep -v :$"
    )
    assert pair.sh("n2", f"{left}; getent passwd sf{pair.uid}; true") == ""
    assert (
        pair.sh("n1", "ls /var/lib/streamfleet/transfer /run/streamfleet-transfer 2>/dev/null | grep -v :$; true") == ""
    )
    assert pair.sh("n2", "systemctl is-active streamfleet-icecast@bob-fm.service") == "active"


def test_a_library_that_is_there_already_is_left_as_it_is(pair: Pair) -> None:
    """Another station of the customer has left it there: nobody goes off the air, and nothing of it is touched."""
    library = f"/var/lib/streamfleet/media/{pair.uid}"
    pair.sh("n2", f"mkdir {library} && echo old >{library}/old.mp3")
    port = pair.port("talk")
    with on_air(pair.source("n1", port)):
        listener = pair.listener("n1", port)
        said = " ".join(pair.transfer("transfer_to=n2", "transfer_confirm=yes", ok=False).split())
        assert f"{library} is on this node already, with 1 files" in said
        assert "The services are on n1 as before" in said
        assert "streamfleet-transfer" not in pair.sh("n1", "cat /var/lib/streamfleet-converge/.ssh/authorized_keys")
        pair.transfer("transfer_undo=true")
        heard = listener.stop()
    assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
    assert pair.sh("n2", f"cat {library}/*; rm -r {library}") == "old"


def test_a_node_that_cannot_start_them_gives_them_back(pair: Pair) -> None:
    before, port = pair.sh("n1", LISTING), pair.port("talk")
    pair.sh("n2", "chmod 0 /usr/bin/icecast2")
    try:
        with Returning(pair, "n1", port), off_the_air_for_seconds(pair, "n1", port):
            said = " ".join(pair.transfer("transfer_to=n2", "transfer_confirm=yes", ok=False).split())
    finally:
        pair.sh("n2", "chmod 755 /usr/bin/icecast2")
    assert "So the services went back, and are on n1 as before" in said
    assert pair.get("/transfers")["count"] == 0
    assert pair.get("/media-services/talk")["node"] == "n1"
    assert pair.sh("n1", LISTING) == before
    pair.plays_on("n1")
    there = f"ls /var/lib/streamfleet/media /var/lib/streamfleet/services | grep -c 'jazz\\|talk\\|{pair.uid}'; true"
    assert pair.sh("n2", there) == "0"


def test_a_node_that_drops_out_while_they_are_held_leaves_them_where_they_were(pair: Pair) -> None:
    run = Run(pair.begun("transfer_to=n2", "transfer_confirm=yes"), ROOT, pair.environment)
    assert run.wait_for(lambda tasks: "Hold the services" in tasks), run.said[-8000:]
    # The cut may take longer than what is left of the run.
    run.hold()
    pair.sh("n2", CUT)
    run.go_on()
    try:
        assert run.end() != 0, run.said[-8000:]
    finally:
        pair.sh("n2", "systemctl start ssh.service")
    said = " ".join(run.said.split())
    assert "n2 cannot be reached" in said, run.said[-8000:]
    assert "The services are on n1 as before" in said
    assert pair.get("/transfers")["items"][0]["state"] == "copying"
    pair.plays_on("n1")
    # The same command goes on, and undo brings all of it back.
    assert "on the air on n2" in pair.transfer("transfer_to=n2", "transfer_confirm=yes")
    # Of the library nothing is left there: that is no reason to empty the other one.
    pair.sh("n2", f"mkdir /root/lost && mv /var/lib/streamfleet/media/{pair.uid}/* /root/lost/")
    said = " ".join(pair.transfer("transfer_undo=true", ok=False).split())
    assert "add -e transfer_fewer=yes" in said
    assert int(pair.sh("n1", f"find /var/lib/streamfleet/media/{pair.uid} -type f | wc -l")) > 2
    refused = " ".join(pair.transfer("transfer_release=true", ok=False).split())
    assert "The files there would be lost" in refused
    pair.sh("n2", f"mv /root/lost/* /var/lib/streamfleet/media/{pair.uid}/ && rmdir /root/lost")
    assert "on n1 as before" in pair.transfer("transfer_undo=true")
    pair.plays_on("n1")


def test_they_go_for_good(pair: Pair) -> None:
    before = pair.sh("n1", LISTING)
    jobs = pair.jobs
    succeeded(jobs.launch("transfer", transfer_service="jazz,talk", transfer_to="n2", transfer_confirm="yes"))
    succeeded(jobs.launch("transfer", transfer_customer="ada", transfer_release="yes"))
    assert pair.get("/transfers")["count"] == 0
    pair.has_nothing("n1")
    assert pair.sh("n2", "ls /var/lib/streamfleet/transfer; true") == ""
    assert pair.sh("n2", LISTING) == before
    pair.plays_on("n2")
    assert "no transfer of them is under way" in pair.transfer("transfer_to=n2")


def test_a_node_that_is_dead_is_given_up(pair: Pair) -> None:
    """They are on n2, go to n1, and n1 dies: they are on n2 again, as they were when they went."""
    before = pair.sh("n2", LISTING)
    assert "on the air on n1" in pair.transfer("transfer_to=n1", "transfer_confirm=yes")
    pair.sh("n1", CUT)
    lost = " ".join(pair.transfer("transfer_undo=true", ok=False).split())
    assert "set its status to disabled in the panel, and add -e transfer_without_copy=yes" in lost
    early = " ".join(pair.transfer("transfer_undo=true", "transfer_without_copy=yes", ok=False).split())
    assert "transfer_without_copy is for a node that is dead" in early
    status, answer = pair.panel.request(
        "POST", "/apply", {"document": {"nodes": [{"name": "n1", "status": "disabled"}]}}
    )
    assert status == 200, answer
    said = pair.transfer("transfer_undo=true", "transfer_without_copy=yes")
    assert "on n2 as before; n1 is disabled, and was not asked" in " ".join(said.split())
    assert pair.get("/transfers")["count"] == 0
    assert pair.get("/media-services/talk")["node"] == "n2"
    assert pair.sh("n2", LISTING) == before
    pair.plays_on("n2")


def test_uninstall_leaves_nothing_of_transfers(pair: Pair) -> None:
    """The node that was given up has what it had of them, and more, as if others had been under way."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA87XWuBJn2PerAcsbHAuAzufLtl4aLjavEPODNG1Rzn streamfleet-transfer-99"
    pair.sh(
        "n1",
        "systemctl start ssh.service; cd /etc/streamfleet/instances/forward && mkdir x"
        """ && echo '{"address": "127.0.0.1", "ports": [[20000, 20001]]}' >x/forward.json"""
        " && chgrp streamfleet-forward x x/forward.json && chmod 750 x"
        " && cd /etc/systemd/system && mkdir streamfleet-forward@x.service.d"
        " && echo '[Service]' >streamfleet-forward@x.service.d/10-user.conf"
        " && ln -s ../streamfleet-forward@.service streamfleet-instances.target.wants/streamfleet-forward@x.service"
        " && systemctl start streamfleet-forward@x.service"
        " && systemd-run --quiet --unit=streamfleet-transfer-99 sleep 3600"
        f" && mkdir -p /run/streamfleet-transfer/99 && echo '{key}' >>/root/.ssh/authorized_keys",
    )
    assert pair.sh("n1", "ls /var/lib/streamfleet/transfer/*/made.json") != ""
    keys = pair.sh("n1", "grep -cv ' streamfleet-transfer-[0-9]' /root/.ssh/authorized_keys; true")
    (pair.folder / "uninstall.yml").write_text(UNINSTALL)
    pair.play(str(pair.folder / "uninstall.yml"), "--limit", "n1")
    left = (
        "ls -d /etc/systemd/system/*forward* /etc/systemd/system/*/*forward* /etc/streamfleet"
        " /usr/lib/streamfleet/forward.py /run/streamfleet-transfer /var/lib/streamfleet/transfer 2>/dev/null;"
        " systemctl list-units --all --plain --no-legend 'streamfleet-forward*' 'streamfleet-transfer-*';"
        " getent passwd streamfleet-forward; grep ' streamfleet-transfer-[0-9]' /root/.ssh/authorized_keys; true"
    )
    assert pair.sh("n1", left) == ""
    assert pair.sh("n1", "grep -cv ' streamfleet-transfer-[0-9]' /root/.ssh/authorized_keys; true") == keys
