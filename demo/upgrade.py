"""``python -m demo upgrade``: release 0.1.0, with streams on the air, becomes this tree; what is lost is counted."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import media
from demo.report import Report
from demo.show import credentials, need_players, wait_until_running
from demo.stage import ROOT, STREAM_HOST, DemoError, Stage
from scripts import release_tree
from tests.live.streams import Listener, Source

OLD = "0.1.0"
PROGRAMS = Path(sys.executable).parent
NOTHING = ", of this very release; nothing to do"
SLUGS = ("ada-fm", "lin-tv")
DOCUMENT: dict[str, Any] = {
    "customers": [{"username": name, "name": name, "email": f"{name}@live.example"} for name in ("ada", "lin")],
    "media_services": [
        {"slug": "ada-fm", "name": "Ada FM", "customer": "ada", "engine": "icecast"},
        {"slug": "lin-tv", "name": "Lin TV", "customer": "lin", "engine": "nginx_rtmp"},
    ],
}


class FromTree(Stage):
    """The stage, whose playbooks come from another tree."""

    tree = ROOT
    #: What every run is given beside.
    more: tuple[str, ...] = ()

    def ansible(self, playbook: str, *arguments: str) -> list[str]:
        """The command that runs a playbook of the tree for the node."""
        added = {"streamfleet_demo_https_port": self.ports.https, "streamfleet_node_port_range_end": self.last_port}
        return [
            *(str(PROGRAMS / "ansible-playbook"), "-i", str(self.tree / "inventories/demo/hosts.yml")),
            *("-i", str(ROOT / ".nodes" / self.fleet / "inventory.yml"), str(self.tree / "playbooks" / playbook)),
            *("-e", json.dumps(added), *self.more, *arguments),
        ]

    def command(self, path: str, *arguments: str, inventory: bool = True) -> list[str]:
        """ansible-playbook for this stage, of this tree."""
        return super().command(path, *(self.more if inventory else ()), *arguments, inventory=inventory)

    def surroundings(self) -> dict[str, str]:
        """The environment of a run."""
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(self.tree / "ansible.cfg")}
        # Each tree has its own.
        environment.pop("PYTHONPATH", None)
        return environment

    def run(self, playbook: str, *arguments: str, ok: bool = True) -> str:
        """Run a playbook of the tree for the node, and return its output."""
        done = subprocess.run(
            self.ansible(playbook, *arguments), cwd=self.tree, env=self.surroundings(), text=True,
            capture_output=True, check=False, timeout=1200,
        )  # fmt: skip
        with (self.state / "runs.log").open("a") as log:
            log.write(f"\n== {self.tree.name}: {playbook} {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        if (done.returncode == 0) is not ok:
            raise DemoError(f"{playbook} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6000:]}")
        return done.stdout

    def upgrade(self, *arguments: str, ok: bool = True) -> str:
        """Run upgrade.yml; the probe is heard at the node's own address."""
        return self.run("upgrade.yml", *arguments, ok=ok)


@dataclass
class Air:
    """Who is on the air, from before the upgrade until after it."""

    source: Source
    listeners: list[Listener]
    encoder: subprocess.Popen[str]

    def faults(self) -> list[str]:
        """What anybody has lost, in words; empty where nobody was disconnected and nothing is missing."""
        found = [] if self.source.is_alive() and self.source.error is None else [f"source: {self.source.error}"]
        if self.encoder.poll() is not None:
            found.append(f"encoder: ended with {self.encoder.returncode}")
        for listener in self.listeners:
            heard = listener.heard
            if (heard.disconnects, heard.lost_lines) != (0, 0) or heard.bytes < 100_000 or heard.longest_gap >= 5:
                found.append(f"listener: {heard}")
        return found


def plan(said: str) -> list[str]:
    """The lines of the plan in what a run of upgrade.yml has said. Raises DemoError where there is none."""
    found = said.partition("TASK [Say what is going to be done]")[2].partition('"msg": [')[2].partition("\n    ]")[0]
    lines = [line.strip().removesuffix(",").strip('"') for line in found.splitlines() if line.strip()]
    if not lines:
        raise DemoError(f"upgrade.yml has not said what it does:\n{said[-6000:]}")
    return lines


def install_old(stage: FromTree) -> None:
    """Install the old release from its own tree, with two customers on the air to be."""
    stage.tree = stage.state / OLD
    if not stage.tree.exists():
        release_tree.unpack(OLD, stage.tree)
    stage.start()
    install(stage)
    stage.tree = ROOT


def install(stage: FromTree) -> None:
    """Install the stage's tree on its node, which runs, and have the two customers on it."""
    stage.run("install.yml")
    stage.hand_over()
    stage.api().request("POST", "/apply", {"document": DOCUMENT})
    wait_until_running(stage.api(), SLUGS)


@contextlib.contextmanager
def on_air(stage: FromTree) -> Iterator[Air]:
    """A station with a listener at its own port and one over HTTPS, and a channel with an encoder."""
    service = stage.api().request("GET", "/media-services/ada-fm").data
    source = Source(stage.address, service["port"], "/stream", credentials(stage.api(), "ada-fm")["source_password"])
    source.start()
    if not source.accepted.wait(15):
        raise DemoError(f"The station does not take its source: {source.error}")
    listeners = [
        Listener(stage.address, service["port"], STREAM_HOST, "/stream"),
        Listener(stage.address, 443, STREAM_HOST, "/listen/ada-fm/stream", str(stage.ca)),
    ]
    key = credentials(stage.api(), "lin-tv")["stream_key"]
    encoder = subprocess.Popen(
        stage.inside(media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}", seconds=3000)),
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        for listener in listeners:
            listener.start()
            if not listener.playing.wait(20):
                raise DemoError(f"A listener hears nothing: {listener.heard}")
        yield Air(source, listeners, encoder)
    finally:
        encoder.terminate()
        encoder.wait(20)
        source.stop()


def run(stage: FromTree, report: Report) -> None:
    """All of it; the node is removed at the end. Raises DemoError when it cannot go on."""
    need_players()
    try:
        report.step(f"Installing release {OLD} on a node, with a station and a channel")
        install_old(stage)
        with on_air(stage) as air:
            report.step("Upgrading with streams on the air (playbooks/upgrade.yml)")
            for line in plan(stage.upgrade()):
                print(f"         {line}")
            version = stage.api().request("GET", "/health").data["version"]
            report.check("The panel answers as another version", version != OLD, version)
            report.step("Upgrading again")
            first = plan(stage.upgrade())[0]
            report.check("There is nothing to do for the panel", first.endswith(NOTHING), first)
            heard = [f"{one.heard.bytes} bytes, longest gap {one.heard.longest_gap:.1f} s" for one in air.listeners]
            faults = air.faults()
            report.check("Nobody was disconnected, no byte is missing", not faults, "; ".join(faults or heard))
    finally:
        stage.remove()
