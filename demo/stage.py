"""The machine under a demo, a bench or a test: one installed node, Ansible runs against it, commands in its network."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from streamfleet.http import Client

from tests.nodes.errors import NodesError
from tests.nodes.fleet import Domain, Fleet

ROOT = Path(__file__).resolve().parent.parent
NODE = "demo1"
PANEL_HOST = "panel.demo.localhost"
STREAM_HOST = "stream.demo.localhost"
_RECAP = re.compile(r"ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Recap:
    """Totals of an Ansible run over its hosts."""

    ok: int
    changed: int
    unreachable: int
    failed: int


@dataclass
class Ports:
    """Where the node's ports are published on this machine's loopback address."""

    https: int = 8443
    http: int = 8080
    rtmp: int = 1935
    audio: int = 8100

    @classmethod
    def choose(cls, path: Path, above: int = 0) -> Ports:
        """The ports written to ``path`` by an earlier run, else the usual ones, each moved up where it is in use.

        ``above``: how far above the usual ones to look first. Stages that start at one moment see the same ports free.
        """
        if path.is_file():
            return cls(**json.loads(path.read_text()))
        ports = cls(*(_free(above + start) for start in (8443, 8080, 1935, 8100)))
        path.write_text(json.dumps(asdict(ports)))
        return ports


class Stage:
    """One fleet of one node, set up from ``inventories/demo``; its files lie in ``state``."""

    def __init__(self, fleet: str, state: Path, *, image: str | None = None, last_port: int = 8199) -> None:
        self.fleet = fleet
        #: Debian's release of the node; empty: the one that nodes have where nobody asks for another.
        self.release = ""
        #: The inventory; paths are taken from the repository.
        self.hosts = "inventories/demo/hosts.yml"
        self.last_port = last_port
        self.state = state
        self.image = image
        self.ca = state / "ca.pem"
        state.mkdir(mode=0o700, exist_ok=True, parents=True)

    @cached_property
    def ports(self) -> Ports:
        """The published ports, chosen on first use, so that stages started before are seen."""
        above = 0 if self.fleet == "demo" else 10_000 + secrets.randbelow(10_000)
        return Ports.choose(self.state / "ports.json", above)

    # The node ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node, published on the loopback address only. Does nothing where it runs already."""
        published = {443: self.ports.https, 80: self.ports.http, 1935: self.ports.rtmp, 8100: self.ports.audio}
        arguments = [word for inner, outer in published.items() for word in ("--publish", f"{NODE}:{outer}:{inner}")]
        domains = ["--domain", f"{PANEL_HOST}={NODE}", "--domain", f"{STREAM_HOST}={NODE}"]
        image = ["--image", self.image] if self.image else []
        self._tool(
            "up", "--fleet", self.fleet, "--node", f"{NODE}:{self.release}".rstrip(":"), *domains, *arguments, *image
        )

    def remove(self) -> None:
        """Remove the node and all that was started for it. The files in ``state`` stay."""
        self._tool("down", "--fleet", self.fleet)

    def reboot(self) -> None:
        """Reboot the node; returns when it is up again."""
        self._tool("reboot", "--fleet", self.fleet, NODE)

    def on_node(self, command: Sequence[str], stdin: str | None = None, timeout: float = 120) -> str:
        """Run ``command`` on the node as root and return what it printed. Raises DemoError when it fails."""
        try:
            done = Fleet(self.fleet).exec(NODE, command, check=False, stdin=stdin or "", timeout=timeout)
        except NodesError as error:
            raise DemoError(f"On the node: {error}") from None
        if done.returncode:
            raise DemoError(f"On the node, {command[0]} ended with {done.returncode}: {done.stderr.strip()[-800:]}")
        return done.stdout

    def inside(self, command: Sequence[str]) -> list[str]:
        """``command`` as it is run on this machine with the fleet's host names resolving to the node."""
        return [sys.executable, "-m", "tests.nodes", "run", "--fleet", self.fleet, "--", *command]

    def run_inside(self, command: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ``command`` on this machine with the fleet's host names resolving to the node."""
        return subprocess.run(
            self.inside(command), cwd=ROOT, text=True, capture_output=True, check=False, timeout=timeout
        )

    def _tool(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.nodes", *arguments]
        done = subprocess.run(command, cwd=ROOT, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise DemoError(f"'{' '.join(command[1:])}' ended with {done.returncode}")

    @property
    def address(self) -> str:
        """The node's own IPv4 address."""
        state = json.loads((ROOT / ".nodes" / self.fleet / "state.json").read_text())
        return str(state["nodes"][NODE]["address"])

    # Ansible ----------------------------------------------------------------------------------------------------------

    def playbook(self, path: str, *arguments: str, inventory: bool = True, check: bool = True) -> Recap:
        """Run a playbook (path below the repository), showing its tasks as they come, and return its totals.

        Raises DemoError when it fails and ``check`` is true. The whole output is appended to ``<name>.log``.
        """
        command = self.command(path, *arguments, inventory=inventory)
        log = self.state / f"{Path(path).stem}.log"
        totals = [0, 0, 0, 0]
        with (
            log.open("a") as record,
            subprocess.Popen(
                command, cwd=ROOT, env=self.environment(), text=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ) as process,
        ):  # fmt: skip
            for line in process.stdout or ():
                record.write(line)
                if line.startswith(("PLAY [", "TASK [")):
                    _progress(line)
                if found := _RECAP.search(line):
                    totals = [a + int(b) for a, b in zip(totals, found.groups(), strict=True)]
        _progress("")
        if process.returncode and check:
            tail = "".join(log.read_text().splitlines(keepends=True)[-40:])
            raise DemoError(f"{path} ended with {process.returncode}:\n{tail}")
        return Recap(*totals)

    def command(self, path: str, *arguments: str, inventory: bool = True) -> list[str]:
        """ansible-playbook for this stage."""
        sources = ["-i", self.hosts, "-i", f".nodes/{self.fleet}/inventory.yml"] if inventory else []
        return [str(Path(sys.executable).parent / "ansible-playbook"), *sources, path, *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of an Ansible run: this one, plus the variables of the ``env`` file where there is one."""
        settings = {
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(ROOT / ".ansible"),
        }
        return os.environ | settings | self.variables()

    def install(self, *arguments: str) -> Recap:
        """Run playbooks/install.yml with what this stage adds to the inventory."""
        return self.playbook("playbooks/install.yml", "-e", json.dumps(self.added), *arguments)

    @property
    def added(self) -> dict[str, int]:
        """What this stage adds to the inventory: variables of every run that writes to the node."""
        return {"streamfleet_demo_https_port": self.ports.https, "streamfleet_node_port_range_end": self.last_port}

    def known_as(self, *names: str) -> None:
        """Have further host names lead to the node, on it and in its network."""
        Fleet(self.fleet).up([], [], [Domain(name, NODE) for name in names])

    # The panel --------------------------------------------------------------------------------------------------------

    def variables(self) -> dict[str, str]:
        """What ``env`` exports: STREAMFLEET_URL, STREAMFLEET_TOKEN, STREAMFLEET_CA; empty before ``hand_over``."""
        path = self.state / "env"
        if not path.is_file():
            return {}
        return dict(re.findall(r"^export (\w+)='([^']*)'$", path.read_text(), re.M))

    def hand_over(self) -> None:
        """Fetch the CA, a token and the administrator's password over SSH; write ``env`` (mode 0600)."""
        self.ca.write_text(self.on_node(["cat", "/etc/streamfleet/ca/ca.pem"]))
        private(self.state / "admin_password", self.on_node(["cat", "/etc/streamfleet/panel/admin_password"]))
        if self.variables().get("STREAMFLEET_TOKEN"):
            return
        name = f"{self.fleet}-{secrets.token_hex(3)}"
        issue = ["streamfleet-panel", "issue_token", "--name", name, "--scope", "account", "--account", "admin"]
        values = {
            "STREAMFLEET_URL": f"https://127.0.0.1:{self.ports.https}",
            "STREAMFLEET_TOKEN": json.loads(self.on_node(issue))["token"],
            "STREAMFLEET_CA": str(self.ca),
        }
        private(self.state / "env", "".join(f"export {name}='{value}'\n" for name, value in values.items()))

    def api(self) -> Client:
        """A client of the panel with the administrator's token."""
        known = self.variables()
        return Client(known["STREAMFLEET_URL"], known["STREAMFLEET_TOKEN"], known["STREAMFLEET_CA"])


def private(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` with mode 0600 from the first byte."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _progress(line: str) -> None:
    """Show which task runs: over itself on a terminal, nothing elsewhere (the log has it all)."""
    if sys.stdout.isatty():
        text = re.sub(r"\s*\*+$", "", line.strip())[:110]
        sys.stdout.write(f"\r\033[K         {text}" if text else "\r\033[K")
        sys.stdout.flush()


def _published() -> set[int]:
    """Ports of this machine that fleets publish: the kernel redirects them, so a probing bind does not see them."""
    return {
        outer
        for state in ROOT.glob(".nodes/*/state.json")
        for node in json.loads(state.read_text())["nodes"].values()
        for outer, _ in node["publish"]
    }


def _free(start: int) -> int:
    taken = _published()
    for port in range(start, start + 200):
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise DemoError(f"No free port on 127.0.0.1 between {start} and {start + 199}: free one and run this again")
