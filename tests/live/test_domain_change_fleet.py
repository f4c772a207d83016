"""Names of a fleet's hosts change in one run, with certificates of an ACME directory and file transfer: all or none.

Pebble, lego, nginx, Icecast and ProFTPD are the real ones. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests playbooks: domain_change.yml certificates.yml.
"""

from __future__ import annotations

import contextlib
import ftplib
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from cryptography import x509
from streamfleet.http import Client

from demo.show import credentials, wait_until_running
from demo.stage import ROOT
from tests.live.acme import DIRECTORY, HOST, Pebble
from tests.live.node import NODE
from tests.live.renames import Run, printed_patch, read_only, watch
from tests.live.streams import Listener, Source, on_air
from tests.live.transfers import Ftps, Sftp, ftps
from tests.live.visitors import ask
from tests.nodes.fleet import Domain, Fleet, NodeSpec

pytestmark = [pytest.mark.live, pytest.mark.full]

NODES = ("n1", "n2")
OLD, NEW, BAD = ".old.acme.test", ".new.acme.test", ".bad.acme.test"
MOVE = {"from": OLD, "to": NEW}
HOSTS = ("panel", *NODES)
LOGIN, SECRET = "ada.studio", "a broom swept the studio"
RECAP = re.compile(r"changed=(\d+)")


class Pair:
    """Two nodes with Icecast; the first has the panel, file transfer, and the directory that issues to both."""

    def __init__(self, folder: Path, fleet: str) -> None:
        self.folder = folder
        self.fleet = Fleet(fleet)
        self.pebble = Pebble(self, folder, blocked=(f"n2{BAD}",))
        #: What clients trust: the directory's root.
        self.ca = folder / "root.pem"

    @property
    def address(self) -> str:
        """The first node's."""
        return self.address_of(NODE)

    def address_of(self, node: str) -> str:
        """The address of a node."""
        return str(self.fleet.node(node).address)

    def sh(self, script: str, check: bool = True, node: str = NODE) -> str:
        """Run a script on a node, as root."""
        return str(self.fleet.exec(node, ["sh", "-c", script], check=check).stdout).strip()

    @property
    def hosts(self) -> Path:
        """The inventory, below the repository, so that a diff of it can be applied there."""
        return self.fleet.directory / "hosts.yml"

    def write_inventory(self) -> None:
        """The inventory before any change."""
        nodes = {name: {"streamfleet_stream_host": f"{name}{OLD}"} for name in NODES}
        shared = {
            "streamfleet_panel_host": f"panel{OLD}",
            "streamfleet_panel_addresses": [self.address],
            "streamfleet_panel_allowed_hosts": ["127.0.0.1", "localhost", "[::1]", self.address],
            "streamfleet_certificates_source": "acme",
            "streamfleet_certificates_acme_directory": DIRECTORY,
            "streamfleet_certificates_acme_directory_ca": self.pebble.ca,
            "streamfleet_certificates_acme_email": "ops@acme.test",
            "streamfleet_certificates_acme_terms_agreed": True,
            "streamfleet_certificates_acme_resolvers": [f"{self.address}:8053"],
            "streamfleet_certificates_trusted": self.pebble.root,
        }
        groups: dict[str, Any] = {name: {"hosts": {NODE: {}}} for name in ("streamfleet_panel", "file_transfer")}
        groups |= {"autodj": {"hosts": {NODE: {}}}, "icecast": {"hosts": {name: {} for name in NODES}}}
        groups["streamfleet_nodes"] = {"hosts": nodes}
        self.hosts.write_text(yaml.safe_dump({"all": {"vars": shared, "children": groups}}, sort_keys=False))

    def command(self, name: str, *arguments: str) -> list[str]:
        """ansible-playbook for the fleet."""
        program = str(Path(sys.executable).parent / "ansible-playbook")
        return [program, "-i", str(self.fleet.inventory), "-i", str(self.hosts), f"playbooks/{name}.yml", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}

    def play(self, name: str, *arguments: str, ok: bool = True) -> str:
        """Run a playbook; its output."""
        done = subprocess.run(
            self.command(name, *arguments), cwd=ROOT, env=self.environment, text=True, capture_output=True,
            check=False, timeout=1200,
        )  # fmt: skip
        output = done.stdout + done.stderr
        with (self.folder / "runs.log").open("a") as log:
            log.write(f"\n== {name} {arguments}\n{output}")
        assert (done.returncode == 0) is ok, output[-6000:]
        return output

    def change(self, asked: dict[str, Any], *more: str, ok: bool = True) -> str:
        """Run domain_change.yml; its output."""
        return self.play("domain_change", *options(asked), *more, ok=ok)

    def api(self) -> Client:
        """A client of the panel, by its host's address, for which the own authority signs."""
        token = self.folder / "token"
        if not token.exists():
            command = "streamfleet-panel issue_token --name t --scope account --account admin"
            token.write_text(json.loads(self.sh(command))["token"])
            (self.folder / "own.pem").write_text(self.sh("cat /etc/streamfleet/ca/ca.pem"))
        return Client(f"https://{self.address}", token.read_text(), str(self.folder / "own.pem"))

    def there(self) -> dict[str, str]:
        """By node, what a change of names writes and what is ordered of the directory; and what the panel says."""
        folders = "/etc/streamfleet /etc/nginx/conf.d /etc/systemd/system"
        look = f"find {folders} -type f -not -path '*/ca/issued/*' | sort | xargs sha256sum"
        nodes = self.api().request("GET", "/nodes").data["items"]
        said = {f"panel of {one['name']}": f"{one['stream_host']} {one['former_stream_hosts']}" for one in nodes}
        return said | {name: self.sh(look, node=name) for name in NODES}

    def issued(self, names: str) -> bool:
        """Whether each host shows a certificate of the directory for its name, and answers there."""
        found = [ask(self, f"panel{names}", "/api/v1/health")[0] == 200]
        for name in NODES:
            with shown(self.address_of(name), f"{name}{names}", str(self.ca)) as certificate:
                found.append("Pebble" in certificate.issuer.rfc4514_string())
        return all(found)

    def ftps(self) -> Ftps:
        """A session of the customer's."""
        return ftps(self.address, self.ca.read_text(), LOGIN, SECRET)

    def ftps_shows(self) -> x509.Certificate:
        """What a new session is shown."""
        client = self.ftps()
        try:
            found = client.sock.getpeercert(binary_form=True)  # type: ignore[union-attr]
            assert found
            return x509.load_der_x509_certificate(found)
        finally:
            client.close()


def options(asked: dict[str, Any]) -> list[str]:
    return ["-e", json.dumps({f"domain_change_{name}": value for name, value in asked.items()})]


@contextlib.contextmanager
def shown(address: str, name: str, ca: str) -> Iterator[x509.Certificate]:
    """The certificate of a new connection that trusts the authority and verifies the name. Raises OSError."""
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection((address, 443), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as link,
    ):
        found = link.getpeercert(binary_form=True)
        assert found
        yield x509.load_der_x509_certificate(found)


def names_of(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(found.get_values_for_type(x509.DNSName))


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The fleet, with a station on each node, and a customer who brings files to the first.

    ``STREAMFLEET_LIVE_FLEET`` names one to keep and use again, for the inner loop.
    """
    kept = os.environ.get("STREAMFLEET_LIVE_FLEET")
    folder = ROOT / ".cache" / f"live-{kept}" if kept else Path(tmp_path_factory.mktemp("names"))
    folder.mkdir(exist_ok=True, parents=True)
    it = Pair(folder, kept or f"names{secrets.token_hex(3)}")
    try:
        if not (folder / "token").exists():
            _install(it)
        yield it
    finally:
        if not kept:
            it.fleet.down()


def _install(pair: Pair) -> None:
    release = os.environ.get("STREAMFLEET_LIVE_RELEASE", "bookworm")
    pair.fleet.up([NodeSpec(name, release) for name in NODES], [], [Domain(HOST, NODE)])
    pair.pebble.install()
    pair.pebble.start()
    pair.ca.write_text(pair.pebble.root)
    for ending in (OLD, NEW, BAD):
        for host in HOSTS:
            pair.pebble.leads(f"{host}{ending}", pair.address_of(NODE if host == "panel" else host))
    pair.write_inventory()
    pair.play("install")
    stations = [
        {"slug": f"{name}-fm", "name": name, "customer": "ada", "engine": "icecast", "node": name} for name in NODES
    ]
    library = {"slug": "ada-night", "name": "Night", "customer": "ada", "engine": "icecast", "node": NODE}
    document = {
        "customers": [{"username": "ada", "name": "Ada", "email": "ada@live.example"}],
        "media_services": [*stations, {**library, "autodj": {}}],
        "media_users": [{"customer": "ada", "name": "studio", "password": SECRET}],
    }
    pair.api().request("POST", "/apply", {"document": document})
    wait_until_running(pair.api(), (*(f"{name}-fm" for name in NODES), "ada-night"), 120)
    assert pair.issued(OLD)


class AtTheFiles(threading.Thread):
    """A session of file transfer that looks at its folder from time to time. ``fault``: what ended it."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(daemon=True)
        self._session = pair.ftps()
        self._ended = threading.Event()
        self.fault: Exception | None = None

    def run(self) -> None:
        """Until it is left."""
        try:
            while not self._ended.wait(5):
                self._session.nlst()
        except (OSError, EOFError, ftplib.Error) as error:
            self.fault = error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self.join(30)
        self._session.close()


@contextlib.contextmanager
def everybody(pair: Pair) -> Iterator[None]:
    """A source and two listeners of each node by the old names, and a session of file transfer: nobody is dropped."""
    with contextlib.ExitStack() as stack:
        listeners, sources = [], []
        for name in NODES:
            address = pair.address_of(name)
            port = pair.api().request("GET", f"/media-services/{name}-fm").data["port"]
            secret = credentials(pair.api(), f"{name}-fm")["source_password"]
            sources.append(stack.enter_context(on_air(Source(address, port, "/stream", secret))))
            path = f"/listen/{name}-fm/stream"
            listeners.append(Listener(address, 443, f"{name}{OLD}", path, str(pair.ca)))
            listeners.append(Listener(address, port, f"{name}{OLD}", "/stream"))
        for listener in listeners:
            listener.start()
            assert listener.playing.wait(20), listener.heard
        session = stack.enter_context(AtTheFiles(pair))
        yield
        assert session.fault is None
        assert [source.error for source in sources] == [None] * len(NODES)
        for listener in listeners:
            heard = listener.stop()
            assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
            assert heard.longest_gap < 5, heard


def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_touched(pair: Pair) -> None:
    before = pair.there()
    pair.pebble.leads(f"n2{NEW}", "192.0.2.9")
    try:
        said = one_line(pair.change(MOVE, ok=False))
    finally:
        pair.pebble.leads(f"n2{NEW}", pair.address_of("n2"))
    assert f"n2: n2{NEW} leads to 192.0.2.9, which is not this host's" in said
    assert RECAP.findall(said) == ["0", "0"]
    assert pair.there() == before
    assert "domain_change" not in pair.sh("ls /var/lib/streamfleet")


def test_no_certificate_for_one_host_no_change_of_any(pair: Pair) -> None:
    before = pair.there()
    with everybody(pair):
        said = one_line(pair.change({"from": OLD, "to": BAD}, ok=False))
        assert f"No certificate could be had for n2{BAD}" in said
        assert "rejectedIdentifier" in said
        assert "All is as it was before." in said
        # The others' were issued, and are taken away.
        assert pair.there() == before
        assert pair.issued(OLD)


def test_a_file_transfer_that_cannot_be_written_has_all_put_back(pair: Pair) -> None:
    before = pair.there()
    breaks, mends = read_only("/etc/streamfleet/file-transfer")
    mended: list[str] = []
    broken, turned = ("Note the step", 5), ("Turn round", 1)

    def at(task: str, times: int) -> bool:
        if (task, times) == broken:
            pair.sh(breaks)
        if (task, times) == turned:
            mended.append(pair.sh(mends))
        return False

    with everybody(pair):
        try:
            said = one_line(_watched(pair, MOVE, at, (broken, turned)).said)
        finally:
            if not mended:
                pair.sh(mends, check=False)
        assert "Read-only file system" in said
        assert "All is as it was before." in said
        assert pair.issued(OLD)
        assert names_of(pair.ftps_shows()) == [f"n1{OLD}"]
    assert pair.there() == before


def _watched(
    pair: Pair, asked: dict[str, Any], at: Callable[[str, int], bool], held: Container[tuple[str, int]] = ()
) -> Run:
    run = watch(pair.command("domain_change", *options(asked)), pair.environment, at, held)
    with (pair.folder / "runs.log").open("a") as log:
        log.write(f"\n== domain_change, watched, {asked}\n{run.said}")
    return run


def test_a_step_that_is_done_once_for_all_hosts_fails_and_all_are_put_back(pair: Pair) -> None:
    before = pair.there()
    told = ("Note the step", 6)

    def at(task: str, times: int) -> bool:
        if (task, times) == told:
            pair.sh("systemctl stop streamfleet-panel.service")
        return False

    with everybody(pair):
        said = one_line(_watched(pair, MOVE, at, (told,)).said)
        assert "Tell the panel of the streams' names" in said
        assert "All is as it was before." in said
        assert pair.issued(OLD)
    assert pair.there() == before


def test_a_host_that_is_lost_on_the_way_is_put_back_when_it_is_there_again(pair: Pair) -> None:
    before = pair.there()
    lost = ("Note the step", 4)

    def at(task: str, times: int) -> bool:
        if (task, times) == lost:
            pair.fleet.pause("n2")
        return False

    try:
        said = one_line(_watched(pair, MOVE, at, (lost,)).said)
        assert "n2: it cannot be reached any more" in said
        assert "Old names are served. Mend that, then run domain_change.yml -e domain_change_undo=true." in said
        assert ask(pair, f"panel{OLD}", "/login/")[0] == 200
        # Nobody was told a name that the lost host did not answer to.
        told = {one["stream_host"] for one in pair.api().request("GET", "/nodes").data["items"]}
        assert told == {f"{name}{OLD}" for name in NODES}
    finally:
        pair.fleet.unpause("n2")
    pair.change({"undo": True})
    assert pair.there() == before
    assert pair.issued(OLD)


def test_all_names_change_in_one_run_and_file_transfer_shows_the_new_one(pair: Pair, tmp_path: Path) -> None:
    before = pair.there()
    said = pair.change(MOVE, "--check", "--diff")
    for name in NODES:
        assert f"+          streamfleet_stream_host: {name}{NEW}" in said, said[-3000:]
    assert pair.there() == before
    with everybody(pair):
        # Killed when the certificates are there, and one host's file transfer has been told; then finished.
        run = _watched(pair, MOVE, lambda task, times: task == "Note the step" and times == 6)
        assert run.killed, run.said
        assert pair.issued(OLD)
        said = pair.change(MOVE)
        for names in (OLD, NEW):
            assert pair.issued(names)
        assert names_of(pair.ftps_shows()) == [f"n1{NEW}"]
        # SFTP has no certificate; its key is the same.
        assert "day" in Sftp(tmp_path, pair.address, LOGIN, SECRET).run("mkdir day", "ls")
    nodes = {one["name"]: one for one in pair.api().request("GET", "/nodes").data["items"]}
    for name in NODES:
        assert (nodes[name]["stream_host"], nodes[name]["former_stream_hosts"]) == (f"{name}{NEW}", [f"{name}{OLD}"])
        urls = pair.api().request("GET", f"/media-services/{name}-fm").data["listen_urls"]
        assert f"https://{name}{NEW}/listen/{name}-fm/stream" in urls
    # The inventory as it was is refused, on every host; with the diff it says what the hosts are.
    assert RECAP.findall(pair.play("install", ok=False)) == ["0", "0"]
    patch = printed_patch(said)
    subprocess.run(["patch", "-p1"], cwd=ROOT, input="\n".join(patch) + "\n", text=True, check=True)
    assert RECAP.findall(pair.play("install")) == ["0", "0"]
    # What watches the certificate of FTP over TLS watches the new name's.
    old = pair.ftps_shows()
    pair.play("certificates", "-e", f"certificates_renew=n1{NEW}")
    deadline = time.monotonic() + 60
    while pair.ftps_shows() == old:
        assert time.monotonic() < deadline, "FTP over TLS shows the certificate of before"
        time.sleep(0.5)


def test_one_node_alone_goes_back_while_the_other_cannot_be_reached(pair: Pair) -> None:
    """Goes on where the test before has ended."""
    pair.fleet.pause("n2")
    try:
        pair.change({"from": f"n1{NEW}", "to": f"n1{OLD}"}, ok=False)
        said = pair.change({"from": f"n1{NEW}", "to": f"n1{OLD}"}, "--limit", NODE)
    finally:
        pair.fleet.unpause("n2")
    assert names_of(pair.ftps_shows()) == [f"n1{OLD}"]
    node = pair.api().request("GET", "/nodes/n1").data
    assert (node["stream_host"], node["former_stream_hosts"]) == (f"n1{OLD}", [f"n1{NEW}"])
    patch = printed_patch(said)
    subprocess.run(["patch", "-p1"], cwd=ROOT, input="\n".join(patch) + "\n", text=True, check=True)
    assert RECAP.findall(pair.play("install")) == ["0", "0"]
