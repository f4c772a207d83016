"""The way a newcomer begins: a checkout on one fresh Debian server, inventories/local, connection local, no SSH.

The server of this test has no package index, so what `make deps` brings is laid beside the checkout.

Tests playbooks: install.yml site.yml self_check.yml apply.yml.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_collections
import pytest

from demo.stage import ROOT
from tests.live.streams import Listener, Source, on_air
from tests.nodes import podman
from tests.nodes.fleet import Fleet
from tests.nodes.spec import Domain, NodeSpec

pytestmark = [pytest.mark.live, pytest.mark.full]

SERVER = "radio"
#: What `hostname --fqdn` says there; the inventory makes both host names of it.
DOMAIN = "radio.example.test"
CHECKOUT = "/root/streamfleet"
LIBRARIES = "/root/libraries"


class Server:
    """One Debian server with a checkout, and its administrator's shell."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        self.ca = directory / "ca.pem"
        self.address = fleet.node(SERVER).address

    def shell(self, script: str, check: bool = True, timeout: float = 600) -> str:
        """Run a script as root in the checkout; returns both outputs. Raises AssertionError when it fails."""
        done = self.fleet.exec(SERVER, ["sh", "-c", f"cd {CHECKOUT} && {script}"], check=False, timeout=timeout)
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        return done.stdout + done.stderr

    def playbook(self, name: str, arguments: str = "", before: str = "") -> tuple[int, int]:
        """Run a playbook with the local inventory; returns (ok, changed)."""
        log = self.shell(
            f"{before} ANSIBLE_COLLECTIONS_PATH={LIBRARIES} .venv/bin/python -m ansible playbook "
            f"-i inventories/local/hosts.yml playbooks/{name} {arguments}"
        )
        ok, changed = re.findall(r"^(?:server|localhost)\s+: ok=(\d+)\s+changed=(\d+)", log, re.M)[-1]
        return int(ok), int(changed)

    def api(self, path: str) -> dict[str, Any]:
        """GET from the panel's API, with the installation's token."""
        token = "$(cat /etc/streamfleet/panel/install_token)"
        answer = self.shell(
            f'curl -sS --fail --cacert /etc/streamfleet/ca/ca.pem -H "Authorization: Bearer {token}" '
            f"https://127.0.0.1/api/v1/{path}"
        )
        return dict(json.loads(answer))


def _libraries(directory: Path) -> Path:
    """Ansible and what the build scripts import, of the locked versions, for Debian 12's Python."""
    target = directory / "libraries"
    subprocess.run(
        [
            *(str(Path(sys.executable).parent / "uv"), "pip", "install", "-q", "--target", str(target)),
            *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"),
            *("--constraint", "requirements/dev.lock", "ansible-core", "packaging"),
        ],
        cwd=ROOT, check=True,
    )  # fmt: skip
    crypto = Path(next(iter(ansible_collections.__path__))) / "community" / "crypto"
    shutil.copytree(crypto, target / "ansible_collections" / "community" / "crypto")
    return target


def _ship(fleet: Fleet, directory: Path) -> None:
    """Lay the checkout, the libraries and the wheelhouse (nothing else of the caches) on the server."""
    subprocess.run(
        [sys.executable, "scripts/build_wheelhouse.py", "--python=3.11", "--arch=x86_64", "--cache=.cache/wheelhouse"],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    bundle = directory / "checkout.tar"
    with tarfile.open(bundle, "w") as tar:
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).exists():
                tar.add(ROOT / name, f"{CHECKOUT[1:]}/{name}")
        tar.add(ROOT / ".cache" / "wheelhouse", f"{CHECKOUT[1:]}/.cache/wheelhouse")
        tar.add(_libraries(directory), LIBRARIES[1:])
    with bundle.open("rb") as data:
        subprocess.run(
            [*podman.command(), "exec", "--interactive", fleet.node(SERVER).container, "tar", "-x", "-C", "/"],
            stdin=data, check=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A fresh server with a checkout."""
    directory = tmp_path_factory.mktemp("local")
    fleet = Fleet(f"local{secrets.token_hex(3)}")
    try:
        domains = [Domain(name, SERVER) for name in (f"panel.{DOMAIN}", f"stream.{DOMAIN}")]
        fleet.up([NodeSpec(SERVER)], domains=domains)
        # A server's name as Debian's installer writes it.
        fleet.exec(SERVER, ["sh", "-c", f"{{ echo '127.0.1.1 {DOMAIN} {SERVER}'; cat /etc/hosts; }} > /tmp/hosts"])
        fleet.exec(SERVER, ["sh", "-c", "cat /tmp/hosts > /etc/hosts; rm /tmp/hosts"])
        _ship(fleet, directory)
        it = Server(fleet, directory)
        it.shell("python3 -m venv --without-pip .venv")
        it.shell(f"echo {LIBRARIES} > .venv/lib/python3.11/site-packages/libraries.pth")
        yield it
    finally:
        fleet.down()


def test_a_newcomer_is_on_the_air(server: Server) -> None:
    assert server.shell("hostname --fqdn").strip() == DOMAIN
    _ok, predicted = server.playbook("install.yml", "--check --diff")
    _ok, changed = server.playbook("site.yml")
    assert changed == predicted > 20
    server.ca.write_text(server.shell("cat /etc/streamfleet/ca/ca.pem"))
    document = {
        "customers": [{"username": "ada", "name": "Ada", "email": "ada@radio.example"}],
        "media_services": [{"slug": "ada-fm", "name": "Ada FM", "customer": "ada", "engine": "icecast"}],
    }
    server.shell(f"cat > /root/first.yml <<'END'\n{json.dumps(document)}\nEND")
    variables = (
        "STREAMFLEET_URL=https://127.0.0.1 STREAMFLEET_CA=/etc/streamfleet/ca/ca.pem "
        "STREAMFLEET_TOKEN=$(cat /etc/streamfleet/panel/install_token)"
    )
    server.playbook("apply.yml", "-e apply_files=/root/first.yml", before=variables)
    deadline = time.monotonic() + 60
    while (state := server.api("media-services/ada-fm/status")["state"]) != "running":
        assert time.monotonic() < deadline, state
        time.sleep(0.3)
    password = server.api("media-services/ada-fm/credentials")["credentials"]["source_password"]
    port = server.api("media-services/ada-fm")["port"]
    with on_air(Source(server.address, port, "/stream", password)) as source:
        listener = Listener(server.address, 443, f"stream.{DOMAIN}", "/listen/ada-fm/stream", str(server.ca))
        listener.start()
        assert listener.playing.wait(20), f"{listener.heard} {source.error}"
        listener.join(3)
        heard = listener.stop()
    assert heard.bytes > 10_000
    assert (heard.lost_lines, heard.disconnects) == (0, 0)


def test_a_second_run_changes_nothing(server: Server) -> None:
    ok, changed = server.playbook("site.yml")
    assert changed == 0
    assert ok > 20
