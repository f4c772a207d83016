"""One node, the double that tells it what to be, and what all tests of engines do with both."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from scripts import forked_ansible
from tests.doubles.panel import PanelDouble, document
from tests.live.streams import Listener, Source, on_air
from tests.nodes.fleet import Domain, Fleet, NodeSpec

ROOT = Path(__file__).resolve().parents[2]
NODE = "n1"

ROLES = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  gather_facts: false
  roles:
    - common
    - icecast
"""
TASKS = """\
---
- name: Run an entry point
  hosts: streamfleet_nodes
  become: true
  gather_facts: false
  tasks:
    - name: Of each role
      ansible.builtin.include_role:
        name: "{{ item }}"
        tasks_from: "{{ entry }}"
      loop: "{{ roles_in_order }}"
"""


class Node:
    """One node, the double that tells it what to be, and the generation of that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet(f"converge{os.getpid()}")
        self.panel = PanelDouble()
        self.generation = 0
        (folder / "groups.json").write_text(json.dumps({"streamfleet_nodes": {"hosts": {NODE: {}}}}))
        (folder / "roles.yml").write_text(ROLES)
        (folder / "tasks.yml").write_text(TASKS)

    @contextlib.contextmanager
    def started(self, *domains: Domain) -> Iterator[Self]:
        """The node with nothing on it, and the double, serving; both are gone afterwards.

        ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
        """
        try:
            self.fleet.up([NodeSpec(NODE, os.environ.get("STREAMFLEET_LIVE_RELEASE", "bookworm"))], [], list(domains))
            with self.panel.serving():
                yield self
        finally:
            self.fleet.down()

    def first_runs(self, *first: str, compared: bool = True) -> dict[str, str]:
        """Output of the roles' check, first and second run; ``first``: further arguments of the first.

        ``compared``: whether anybody compares them; else there is the first alone.
        """
        roles = self.folder / "roles.yml"
        if not compared:
            return {"first": self.play(roles, "--diff", *first)}
        return {
            "check": self.play(roles, "--check", "--diff"),
            "first": self.play(roles, "--diff", *first),
            "second": self.play(roles, "--diff"),
        }

    @property
    def address(self) -> str:
        """The node's IPv4 address."""
        state = json.loads((ROOT / ".nodes" / self.fleet.name / "state.json").read_text())
        return str(state["nodes"][NODE]["address"])

    def command(self, playbook: str | Path, *arguments: str) -> list[str]:
        """ansible-playbook for this node."""
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        groups = str(self.folder / "groups.json")
        return [program, "-i", str(self.fleet.inventory), "-i", groups, str(playbook), *arguments]

    def play(self, playbook: str | Path, *arguments: str, ok: bool = True, **environment: str) -> str:
        """Run a playbook and return its output."""
        variables = {**os.environ, "ANSIBLE_ROLES_PATH": str(ROOT / "roles"), **self.panel.environment(), **environment}
        done = forked_ansible.playbook(self.command(playbook, *arguments)[1:], env=variables, timeout=600)
        output = done.stdout + done.stderr
        assert not ok or done.returncode == 0, output
        assert "Traceback" not in output
        return output

    def want(self, *services: dict[str, Any]) -> None:
        """Have the double ask for these services, as its next generation."""
        self.generation += 1
        self.panel.documents[NODE] = document(NODE, self.generation, *services)

    def converge(self, *services: dict[str, Any], ok: bool = True) -> dict[str, Any]:
        """Ask for the services, converge, and return what the double was told of each."""
        self.want(*services)
        before = len(self.panel.reports)
        self.play("playbooks/converge.yml", ok=ok)
        assert len(self.panel.reports) == before + 1
        services_told: dict[str, Any] = self.panel.reports[-1][1]["services"]
        return services_told

    def sh(self, script: str, check: bool = True) -> str:
        """Run a script on the node, as root."""
        return str(self.fleet.exec(NODE, ["sh", "-c", script], check=check).stdout).strip()

    def changed(self, output: str) -> int:
        """How many tasks a run says it changed."""
        line = next(line for line in output.splitlines() if line.startswith(NODE) and "changed=" in line)
        return int(line.partition("changed=")[2].split()[0])

    def tenant(self, uid: int, address: str, port: int, kind: str = "SOCK_STREAM", group: str = "") -> str:
        """What a tenant's process gets when it connects: ``open``, or the error. ``group``: instead of the tenant's."""
        code = (
            "import grp, os, socket\n"
            f"gid = grp.getgrnam({group!r}).gr_gid if {group!r} else {uid}\n"
            f"os.setgroups([]); os.setgid(gid); os.setuid({uid})\n"
            f"family = socket.AF_INET6 if ':' in {address!r} else socket.AF_INET\n"
            f"link = socket.socket(family, socket.{kind}); link.settimeout(2)\n"
            "try:\n"
            f"    link.connect(({address!r}, {port})); link.send(b'x'); print('open')\n"
            "except OSError as error: print(type(error).__name__)\n"
        )
        return str(self.fleet.exec(NODE, ["python3", "-c", code]).stdout).strip()


def password(slug: str) -> str:
    """The source password that the double gives a station."""
    return f"source-{slug}-secret"


def changed_tasks(output: str) -> list[str]:
    """The tasks and handlers that a run says it changed something with, in order."""
    changed: list[str] = []
    task = ""
    for line in output.splitlines():
        if line.startswith(("TASK [", "RUNNING HANDLER [")):
            task = line.partition("[")[2].partition("]")[0]
        elif line.startswith("changed:") and task not in changed[-1:]:
            changed.append(task)
    return changed


@contextlib.contextmanager
def counted(node: Node, slug: str, port: int) -> Iterator[tuple[Source, Listener]]:
    """A source and a listener on a station's own port; at the end neither has lost anything."""
    source = Source(node.address, port, "/stream", password(slug))
    with on_air(source):
        listener = Listener(node.address, port, node.address, "/stream")
        listener.start()
        assert listener.playing.wait(10), listener.heard
        yield source, listener
        assert source.error is None
        before = listener.heard.bytes
        time.sleep(0.5)
        assert listener.heard.bytes > before
        heard = listener.stop()
    assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
    assert heard.longest_gap < 5, heard
