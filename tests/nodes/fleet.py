"""A fleet of test nodes: brought up, used, and removed without a trace.

Everything that is started carries two labels, the fleet's name and the checkout it belongs to; `down` removes what
carries both, and needs no file for it. So a fleet can be taken down whatever happened to the process that started it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.nodes import hosts, image, inventory, keys, network, packages, podman, state, subnets
from tests.nodes.errors import NodesError
from tests.nodes.paths import FLEETS, LOCKS, ROOT, package_cache
from tests.nodes.proc import Result, locked, run
from tests.nodes.runtime import Runtime, detect
from tests.nodes.spec import Domain, NodeSpec, Publish, check_request, checked_name
from tests.nodes.state import Node, State

BOOT_TIMEOUT = 90.0
"""Seconds that a node may take from start to answering; three is usual, more when many start on few cores."""

LABEL = "streamfleet.fleet"
LABEL_ROOT = "streamfleet.root"
LABEL_NODE = "streamfleet.node"

Log = Callable[[str], None]


def _silent(_: str) -> None:
    """Report nothing."""


class Fleet:
    """One fleet by name. Methods raise NodesError with a cause and a fix."""

    def __init__(self, name: str, *, root: Path = ROOT, fleets: Path = FLEETS, log: Log = _silent) -> None:
        self.name = checked_name(name, "Fleet")
        self.root = root
        self.directory = (fleets / name).absolute()
        self.log = log

    # What it is

    @property
    def inventory(self) -> Path:
        """Ansible inventory with the connection facts of every node."""
        return self.directory / "inventory.yml"

    @property
    def key(self) -> Path:
        """Private key that root of every node accepts."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Pinned host keys of every node, under name and address."""
        return self.directory / "known_hosts"

    @property
    def hosts_file(self) -> Path:
        """This machine's hosts file, extended by the fleet's names; what `run` mounts."""
        return self.directory / "hosts"

    @property
    def state(self) -> State:
        """The running fleet. Raises NodesError when it is not up."""
        found = state.load(self._state_file)
        if found is None:
            raise NodesError(
                f"Fleet {self.name} is not up.", f"Start it: python -m tests.nodes up --fleet {self.name} --node NAME"
            )
        return found

    def node(self, name: str) -> Node:
        """A node by name."""
        nodes = self.state.nodes
        if name not in nodes:
            raise NodesError(f"Fleet {self.name} has no node {name}.", f"It has: {', '.join(nodes)}.")
        return nodes[name]

    # Life

    def up(
        self,
        nodes: Sequence[NodeSpec],
        publish: Sequence[Publish] = (),
        domains: Sequence[Domain] = (),
        image_name: str | None = None,
    ) -> State:
        """Start the fleet, or add to it what it lacks; nodes that run are left alone. Returns when all answer over SSH.

        image_name: an image (see `snapshot`) for the nodes that this call creates, instead of the release's own.
        """
        packages.ensure()
        with self._lock():
            self._refuse_foreign()
            known = state.load(self._state_file)
            have = known.nodes if known else {}
            check_request(list(nodes), list(publish), list(domains), set(have))
            self._check_same(have, nodes, publish)
            new = [spec for spec in nodes if spec.name not in have]
            images = {spec.name: image_name or image.ensure(spec.release, self.log) for spec in new}
            if image_name and not podman.exists("image", image_name):
                raise NodesError(f"There is no image {image_name}.", "List images: podman images")
            runtime = detect(next(iter(images.values()), None) or next(iter(have.values())).image)
            known = known or self._begin(runtime)
            known.domains.update({domain.name: domain.node for domain in domains})
            for spec in new:
                ports = [(item.host_port, item.port) for item in publish if item.node == spec.name]
                self._create(known, spec, images[spec.name], runtime, ports)
            self._write_files(known)
            self._start(known)
            return known

    def down(self) -> list[str]:
        """Remove everything that belongs to the fleet; returns what was removed. Does nothing when nothing is there."""
        removed: list[str] = []
        if not shutil.which("podman"):
            shutil.rmtree(self.directory, ignore_errors=True)
            return removed
        with self._lock():
            mine = [f"label={LABEL}={self.name}", f"label={LABEL_ROOT}={self.root}"]
            filters = [part for item in mine for part in ("--filter", item)]
            for container in podman.data(["ps", "--all", "--format", "json", *filters]) or []:
                # A paused container cannot be removed by every version of podman.
                podman.call(["unpause", container["Id"]], check=False)
                podman.call(["rm", "--force", "--time", "0", "--volumes", container["Id"]])
                removed.append(f"container {container['Names'][0]}")
            for name in podman.call(["network", "ls", "--quiet", *filters]).stdout.split():
                podman.call(["network", "rm", "--force", name])
                removed.append(f"network {name}")
            for control in Path("/tmp").glob(f"{self._control_prefix()}-*"):
                _close_connections(control)
                shutil.rmtree(control, ignore_errors=True)
            if self.directory.exists():
                shutil.rmtree(self.directory)
                removed.append(f"files in {self.directory}")
            self._lock_file.unlink(missing_ok=True)
        return removed

    # Use

    def exec(
        self, node: str, argv: Sequence[str], *, check: bool = True, timeout: float = 300.0, stdin: str | None = None
    ) -> Result:
        """Run a command as root in a node, without SSH; output captured."""
        command = [
            *podman.command(),
            "exec",
            *(["--interactive"] if stdin is not None else []),
            self.node(node).container,
            *argv,
        ]
        return run(command, check=check, timeout=timeout, stdin=stdin)

    def ssh(self, node: str, *command: str) -> list[str]:
        """Command line that logs in to a node over SSH."""
        target = self.node(node)
        return ["ssh", *inventory.ssh_options(self.directory, target), f"root@{target.address}", *command]

    def run_command(self, argv: Sequence[str]) -> list[str]:
        """Command line that runs argv on this machine with the fleet's names resolving.

        In a mount namespace of its own, so this machine's /etc/hosts stays as it is.
        """
        _ = self.state  # the fleet must be up
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(self.hosts_file), *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        capture: bool = True,
    ) -> Result:
        """Run a command on this machine with the fleet's names resolving."""
        return subprocess.run(
            self.run_command(argv),
            check=check,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            capture_output=capture,
            text=True,
        )

    def reboot(self, name: str, hard: bool = False) -> None:
        """Reboot a node: address and data stay, /run and /tmp are empty again. hard: as if the power had failed."""
        node = self.node(name)
        with self._lock():
            if hard:
                podman.call(["kill", "--signal", "KILL", node.container], check=False)
            podman.call(["stop", "--time", "60", node.container])
            _close_connections(Path(node.control_dir))
            podman.call(["start", node.container])
        self._wait(node)

    def pause(self, name: str) -> None:
        """Freeze a node: it keeps its address and answers nothing."""
        podman.call(["pause", self.node(name).container])

    def unpause(self, name: str) -> None:
        """Let a frozen node go on."""
        podman.call(["unpause", self.node(name).container])

    def snapshot(self, name: str, image_name: str) -> str:
        """Save a node as an image for `up`; the node is stopped meanwhile, so that its files are consistent.

        Keys, address and machine identity are made anew for each node that starts from it. Returns the image's name.
        """
        node = self.node(name)
        full = image_name if "/" in image_name else f"localhost/{image_name}"
        with self._lock():
            podman.call(["stop", "--time", "60", node.container])
            _close_connections(Path(node.control_dir))
            podman.call(["commit", "--quiet", "--change", "CMD=/sbin/init", node.container, full], timeout=600)
            podman.call(["start", node.container])
        self._wait(node)
        return full

    # How

    @property
    def _state_file(self) -> Path:
        return self.directory / "state.json"

    @property
    def _lock_file(self) -> Path:
        return LOCKS / f"streamfleet-nodes-fleet-{self._short_id()}.lock"

    def _short_id(self) -> str:
        """Eight characters that stand for this fleet of this checkout."""
        return hashlib.sha256(f"{self.root}\0{self.directory}".encode()).hexdigest()[:8]

    def _control_prefix(self) -> str:
        # In /tmp because the path of a Unix socket may have 107 characters, and a checkout's may have more.
        return f"sfn-{self._short_id()}"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with locked(self._lock_file, 900, f"with fleet {self.name}"):
            yield

    def _labels(self) -> dict[str, str]:
        return {LABEL: self.name, LABEL_ROOT: str(self.root)}

    def _network(self) -> str:
        return f"streamfleet-{self.name}"

    def _container(self, node: str) -> str:
        return f"streamfleet-{self.name}-{node}"

    def _refuse_foreign(self) -> None:
        """Another checkout's fleet of this name is not ours to touch; nor is a fleet of which the files are gone."""
        found = podman.data(["ps", "--all", "--format", "json", "--filter", f"label={LABEL}={self.name}"]) or []
        for container in found:
            root = container["Labels"].get(LABEL_ROOT)
            if root != str(self.root):
                raise NodesError(
                    f"Fleet {self.name} is up already, started from {root}.",
                    "Choose another name, or take it down there.",
                )
        if (found or podman.exists("network", self._network())) and not self._state_file.exists():
            raise NodesError(
                f"Remains of fleet {self.name} are here, but not its state.",
                f"Remove them: python -m tests.nodes down --fleet {self.name}",
            )

    def _check_same(self, have: Mapping[str, Node], nodes: Iterable[NodeSpec], publish: Iterable[Publish]) -> None:
        """What is fixed when a node is created cannot be asked for differently later."""
        for spec in nodes:
            if spec.name in have and have[spec.name].release != spec.release:
                raise NodesError(
                    f"Node {spec.name} runs {have[spec.name].release}, not {spec.release}.",
                    "Take the fleet down first.",
                )
        for item in publish:
            if item.node in have and (item.host_port, item.port) not in have[item.node].publish:
                raise NodesError(
                    f"Node {item.node} runs already, and its port {item.port} is not published at {item.host_port}.",
                    "Ports are published when a node is created: take the fleet down first.",
                )
            if item.node not in have and not _is_free(item.host_port):
                raise NodesError(f"Port {item.host_port} of this machine is taken.", "Publish at another one.")

    def _begin(self, runtime: Runtime) -> State:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        subnet, subnet6 = network.create(self._network(), self._labels(), runtime.mtu)
        fresh = State(fleet=self.name, network=self._network(), subnet=subnet, subnet6=subnet6)
        state.save(self._state_file, fresh)
        return fresh

    def _create(
        self, known: State, spec: NodeSpec, image_name: str, runtime: Runtime, ports: list[tuple[int, int]]
    ) -> None:
        """Create a node's container with everything of its own inside, not started; it joins the state when whole."""
        number = subnets.next_number(node.number for node in known.nodes.values())
        container = self._container(spec.name)
        address = subnets.node_address(known.subnet, number)
        address6 = subnets.node_address(known.subnet6, number) if known.subnet6 else None
        key_file = self.directory / "host_keys" / spec.name
        key_file.parent.mkdir(mode=0o700, exist_ok=True)
        host_key = keys.generate(key_file, f"root@{spec.name}")
        cache = package_cache(spec.release)
        cache.mkdir(parents=True, exist_ok=True)
        # Left over by an earlier call that was killed between here and the state file.
        podman.call(["rm", "--force", "--ignore", "--time", "0", container])
        argv = ["create", "--name", container, "--hostname", spec.name, "--systemd=always", "--no-hosts"]
        argv += [f"--label={key}={value}" for key, value in {**self._labels(), LABEL_NODE: spec.name}.items()]
        argv += [f"--network={known.network}:ip={address}" + (f",ip={address6}" if address6 else "")]
        argv += [f"--publish=127.0.0.1:{host_port}:{port}" for host_port, port in ports]
        argv += ["--tmpfs", "/run", "--tmpfs", "/tmp"]
        # Each node sees the shared packages through an overlay of its own: apt locks and writes only there.
        argv += ["--volume", f"{cache}:/var/cache/apt/archives:O", "--volume", f"{cache}:{image.PACKAGE_STORE}"]
        podman.call([*argv, *runtime.options, image_name, "/sbin/init"], runtime=runtime.runtime)
        self._personalise(container, key_file)
        known.nodes[spec.name] = Node(
            name=spec.name,
            release=spec.release,
            image=image_name,
            container=container,
            number=number,
            address=address,
            address6=address6,
            host_key=" ".join(host_key.split()[:2]),
            control_dir=f"/tmp/{self._control_prefix()}-{secrets.token_hex(4)}",
            publish=ports,
        )
        state.save(self._state_file, known)

    def _personalise(self, container: str, host_key: Path) -> None:
        """Give a container that has not started yet its keys and an identity of its own."""
        public = keys.generate(self.key, f"streamfleet-{self.name}")
        top = Path(podman.call(["mount", container]).stdout.strip())
        try:
            ssh = top / "root/.ssh"
            ssh.mkdir(mode=0o700, exist_ok=True)
            state.write(ssh / "authorized_keys", public + "\n", 0o600)
            for old in (top / "etc/ssh").glob("ssh_host_*"):
                old.unlink()
            state.write(top / "etc/ssh/ssh_host_ed25519_key", host_key.read_text(), 0o600)
            state.write(
                top / "etc/ssh/ssh_host_ed25519_key.pub", host_key.with_name(host_key.name + ".pub").read_text()
            )
            (top / "etc/machine-id").write_text("")
        finally:
            podman.call(["umount", container])

    def _write_files(self, known: State) -> None:
        """Write what callers read, and the nodes' hosts files."""
        names = [
            ([name, node.address, *([node.address6] if node.address6 else [])], node.host_key)
            for name, node in known.nodes.items()
        ]
        state.write(self.known_hosts, keys.known_hosts(names))
        state.write(self.inventory, inventory.render(known, self.directory))
        # In place, not by rename: a `run` that is under way sees the file through its mount.
        self.hosts_file.write_text(hosts.machine_file(Path("/etc/hosts").read_text(), known.addresses, known.domains))
        content = hosts.node_file(known.addresses, known.domains)
        for node in known.nodes.values():
            Path(node.control_dir).mkdir(mode=0o700, exist_ok=True)
            top = Path(podman.call(["mount", node.container]).stdout.strip())
            try:
                (top / "etc/hosts").write_text(content)
            finally:
                podman.call(["umount", node.container])
        state.save(self._state_file, known)

    def _start(self, known: State) -> None:
        """Start every node that does not run, together, and wait for all."""
        running = {
            item["Names"][0]: item["State"]
            for item in podman.data(["ps", "--all", "--format", "json", "--filter", f"label={LABEL}={self.name}"]) or []
        }

        def bring(node: Node) -> None:
            current = running.get(node.container)
            if current is None:
                raise NodesError(f"Container {node.container} is gone.", f"Take the fleet down: --fleet {self.name}")
            if current == "paused":
                podman.call(["unpause", node.container])
            elif current != "running":
                self.log(f"starting {node.name} ({node.release}, {node.address})")
                podman.call(["start", node.container])
            self._wait(node)

        with ThreadPoolExecutor(max_workers=4) as pool:
            for future in [pool.submit(bring, node) for node in known.nodes.values()]:
                future.result()

    def _wait(self, node: Node) -> None:
        """Return when the node's sshd answers and its systemd has finished starting."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        while not _answers_ssh(node.address):
            if time.monotonic() > deadline:
                logs = podman.call(["logs", "--tail", "20", node.container], check=False)
                raise NodesError(
                    f"Node {node.name} did not answer on port 22 within {BOOT_TIMEOUT:.0f} s. {logs.stdout[-1500:]}"
                )
            time.sleep(0.25)
        while True:
            status = podman.call(["exec", node.container, "systemctl", "is-system-running"], check=False).stdout.strip()
            if status == "running":
                return
            if status == "degraded":
                units = podman.call(
                    ["exec", node.container, "systemctl", "list-units", "--failed", "--plain", "--no-legend"]
                )
                self.log(f"node {node.name} runs, but units failed: {units.stdout.strip()}")
                return
            if time.monotonic() > deadline:
                raise NodesError(
                    f"systemd of node {node.name} is still {status or 'silent'} after {BOOT_TIMEOUT:.0f} s."
                )
            time.sleep(0.25)


def fleets() -> list[dict[str, object]]:
    """Every fleet on this machine, whoever started it: name, root, nodes (name, state, address)."""
    found: dict[tuple[str, str], dict[str, object]] = {}
    for item in podman.data(["ps", "--all", "--format", "json", "--filter", f"label={LABEL}"]) or []:
        labels = item["Labels"]
        key = (labels[LABEL], labels.get(LABEL_ROOT, ""))
        entry = found.setdefault(key, {"fleet": key[0], "root": key[1], "nodes": []})
        nodes = entry["nodes"]
        assert isinstance(nodes, list)
        nodes.append({"name": labels.get(LABEL_NODE, ""), "state": item["State"], "container": item["Names"][0]})
    return [found[key] for key in sorted(found)]


def _is_free(port: int) -> bool:
    """Whether 127.0.0.1:port of this machine could be bound now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers_ssh(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _close_connections(control: Path) -> None:
    """End the SSH connections that Ansible keeps open to a node that goes away."""
    for sock in control.glob("*") if control.is_dir() else []:
        subprocess.run(
            ["ssh", "-F", "/dev/null", "-o", f"ControlPath={sock}", "-O", "exit", "node"],
            capture_output=True,
            timeout=10,
            check=False,
        )
        sock.unlink(missing_ok=True)


__all__ = ["Domain", "Fleet", "NodeSpec", "Publish", "State", "fleets"]
