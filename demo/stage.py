"""The machine under the demo: one test node, Ansible runs against it, commands in its network."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".demo"
FLEET = "demo"
NODE = "demo1"
PANEL_HOST = "panel.demo.localhost"
STREAM_HOST = "stream.demo.localhost"
_RECAP = re.compile(r"ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


def nodes(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the node tool; raises DemoError when it fails."""
    command = [sys.executable, "-m", "tests.nodes", *arguments]
    done = subprocess.run(command, cwd=ROOT, text=True, check=False, capture_output=capture)
    if done.returncode:
        raise DemoError(f"'{' '.join(command[1:])}' ended with {done.returncode}\n{done.stderr or ''}")
    return done


def inside(command: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``command`` on this machine with the demo's host names resolving to the node."""
    whole = [sys.executable, "-m", "tests.nodes", "run", "--fleet", FLEET, "--", *command]
    return subprocess.run(whole, cwd=ROOT, text=True, capture_output=True, check=False, timeout=timeout)


def on_node(command: Sequence[str], stdin: str | None = None) -> str:
    """Run ``command`` on the node as root and return what it printed."""
    whole = [sys.executable, "-m", "tests.nodes", "exec", "--fleet", FLEET, NODE, "--", *command]
    done = subprocess.run(whole, cwd=ROOT, text=True, capture_output=True, check=False, input=stdin, timeout=120)
    if done.returncode:
        raise DemoError(f"On the node, {command[0]} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


@dataclass(frozen=True)
class Recap:
    """Totals of an Ansible run over its hosts."""

    ok: int
    changed: int
    unreachable: int
    failed: int


def playbook(name: str, *arguments: str, env: dict[str, str] | None = None, inventory: bool = True) -> Recap:
    """Run a playbook, showing its output as it comes, and return its totals. Raises DemoError when it fails."""
    sources = ["-i", "inventories/demo/hosts.yml", "-i", f".nodes/{FLEET}/inventory.yml"] if inventory else []
    command = [str(Path(sys.executable).parent / "ansible-playbook"), *sources, f"playbooks/{name}.yml", *arguments]
    environment = os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")} | (env or {})
    totals = [0, 0, 0, 0]
    log = STATE / f"{name}.log"
    with (
        log.open("a") as record,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process,
    ):
        for line in process.stdout or ():
            record.write(line)
            if line.startswith(("PLAY [", "TASK [")):
                _progress(line)
            if found := _RECAP.search(line):
                totals = [a + int(b) for a, b in zip(totals, found.groups(), strict=True)]
    _progress("")
    if process.returncode:
        tail = "".join(log.read_text().splitlines(keepends=True)[-40:])
        raise DemoError(f"playbooks/{name}.yml ended with {process.returncode}:\n{tail}")
    return Recap(*totals)


def _progress(line: str) -> None:
    """Show which task runs: over itself on a terminal, nothing elsewhere (the log has it all)."""
    if sys.stdout.isatty():
        text = re.sub(r"\s*\*+$", "", line.strip())[:110]
        sys.stdout.write(f"\r\033[K         {text}" if text else "\r\033[K")
        sys.stdout.flush()


@dataclass
class Ports:
    """Where the node's ports are published on this machine's loopback address."""

    https: int = 8443
    http: int = 8080
    rtmp: int = 1935
    audio: int = 8100

    @classmethod
    def choose(cls) -> Ports:
        """The ports of the running demo, else the usual ones, each moved up where it is in use."""
        path = STATE / "ports.json"
        if path.is_file():
            return cls(**json.loads(path.read_text()))
        ports = cls(*(_free(start) for start in (8443, 8080, 1935, 8100)))
        path.write_text(
            json.dumps({"https": ports.https, "http": ports.http, "rtmp": ports.rtmp, "audio": ports.audio})
        )
        return ports


def _free(start: int) -> int:
    for port in range(start, start + 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise DemoError(f"No free port on 127.0.0.1 between {start} and {start + 199}: free one and run this again")
