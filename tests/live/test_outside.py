"""A node with every engine and file transfer, as others find it: open ports, TLS on each, how its units are shut in.

The quick scan of TLS is with the web server's other tests (tests/live/test_web.py). ``STREAMFLEET_LIVE_RELEASE`` says
which release of Debian.

Tests roles: certificates file_transfer firewall web.
Tests playbooks: hardening.yml.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet import domains

from tests.live.engines import NAMES, adapter
from tests.live.engines.stand import PLAY, STREAM, EnginesNode
from tests.live.node import NODE
from tests.live.scan import PROGRAM
from tests.live.tls_scan import Server, scan_tls, speaks_tls

pytestmark = [pytest.mark.live, pytest.mark.full]

PANEL, TENANT = "panel.example.net", "radio.tenant.test"
HTTPS, FTPS, SFTP, RTMPS = 443, 21, 2022, 1936
#: Somebody else's program.
STRANGE = 7777
#: Of the host, beside the services' own: SSH, HTTP, HTTPS, file transfer, RTMPS, and RTMP of each engine for video.
OF_THE_HOST = {22, 80, HTTPS, FTPS, SFTP, RTMPS, 1935, *(getattr(adapter(name), "RTMP_PORT", 1935) for name in NAMES)}
MODERN = {
    "streamfleet_web_tls_protocols": ["TLSv1.3"],
    "streamfleet_file_transfer_tls_protocols": ["TLSv1.3"],
    "streamfleet_nginx_rtmp_tls_protocols": ["TLSv1.3"],
    "streamfleet_certificates_days": 90,
}


class WholeNode(EnginesNode):
    """A node whose web server has a panel, too, and that takes files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, NAMES)
        self.variables.update(
            streamfleet_certificates_names=[{"name": name} for name in (STREAM, PANEL, TENANT)],
            streamfleet_web_panel_host=PANEL,
            streamfleet_file_transfer_host=STREAM,
            streamfleet_nginx_rtmp_tls_host=STREAM,
            streamfleet_nginx_rtmp_tls_hidden_names=[PANEL],
            streamfleet_node_port_range_start=8100,
            streamfleet_node_port_range_end=9099,
            streamfleet_hardening=["firewall"],
            streamfleet_firewall_close_others=True,
        )
        groups: dict[str, Any] = {name: {"hosts": {NODE: {}}} for name in (*NAMES, "file_transfer", "hardening")}
        groups["streamfleet_nodes"] = {"hosts": {NODE: {}}, "vars": self.variables}
        (folder / "groups.json").write_text(json.dumps(groups))
        self.roles("common", "certificates", *NAMES, "file_transfer", "web")

    def roles(self, *names: str) -> None:
        """What ``roles.yml`` runs."""
        (self.folder / "roles.yml").write_text(PLAY.format(roles=json.dumps(names)))

    @property
    def servers(self) -> list[Server]:
        """Each that has a certificate of its own, or is another program."""
        web = [Server(self.address, HTTPS, name, hsts=name == PANEL) for name in (PANEL, STREAM, TENANT)]
        return [*web, Server(self.address, RTMPS, STREAM), Server(self.address, FTPS, STREAM, ftp=True)]

    def open_ports(self) -> set[int]:
        """TCP ports that let this machine, another host than the node, in."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, self.address, "65535"], capture_output=True, text=True, check=True
        )
        return set(json.loads(done.stdout)["open"])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeNode]:
    """The node, with a service of each engine, one of which has a name of its own."""
    with WholeNode(Path(tmp_path_factory.mktemp("outside"))).started() as it:
        it.play(it.folder / "roles.yml")
        services = [adapter(name).service(f"{name.replace('_', '-')}-a", 1) for name in NAMES]
        told = it.converge(*services)
        assert {one["state"] for one in told.values()} == {"running"}, told
        text = domains.content("icecast-a", 201001, "listen")
        path = f"/etc/streamfleet/domains/{TENANT}.json"
        it.sh(f"cat >{path} <<'END'\n{text}\nEND\nchgrp www-data {path} && chmod 640 {path}")
        it.ca.write_text(it.sh("cat /etc/streamfleet/ca/ca.pem"))
        yield it


def deviations(node: WholeNode, profile: str, tmp_path: Path) -> dict[str, list[str]]:
    """By server what its scan finds, printed with what it offers."""
    found = {}
    for server in node.servers:
        scanned = scan_tls(server, node.ca.read_text(), profile, tmp_path)
        place = f"{server.name}:{server.port}"
        print(f"{profile} {place}: {json.dumps(scanned.offers)} {scanned.deviations}")
        assert scanned.cbc == [], place
        found[place] = scanned.deviations
    return found


def test_only_what_the_node_is_for_is_open_and_tls_is_where_it_is_scanned(node: WholeNode) -> None:
    services: list[dict[str, Any]] = node.panel.documents[NODE]["services"]
    own = {int(service["port"]) for service in services if service.get("port")}
    # Sources of Shoutcast come by the port beside.
    own |= {int(service["port"]) + 1 for service in services if service["engine"] == "shoutcast2"}
    # Nothing of ours listens anywhere else; what is somebody else's is shut off by the firewall.
    assert node.open_ports() == OF_THE_HOST | own
    node.sh(f"systemd-run --quiet --unit=strange python3 -m http.server --bind :: {STRANGE}")
    wait_for(lambda: STRANGE in node.open_ports())
    node.play("playbooks/hardening.yml")
    assert node.open_ports() == OF_THE_HOST | own
    speaking = {port: said for port in sorted(OF_THE_HOST | own) if (said := speaks_tls(node.address, port))}
    assert speaking == {HTTPS: "tls", RTMPS: "tls", FTPS: "ftp"}


def test_every_unit_of_ours_is_shut_in(node: WholeNode) -> None:
    """What tests/unit/test_sandboxes.py asks of files, of what systemd has made of them, drop-ins and all."""
    listed = node.sh("systemctl list-units --all --plain --no-legend --type=service 'streamfleet-*' | awk '{print $1}'")
    units = listed.split()
    for name in (
        "icecast@icecast-a",
        "shoutcast2@shoutcast2-a",
        "rtmp",
        "rtmps",
        "wowza",
        "file-transfer",
        "flussonic-gate",
    ):
        assert f"streamfleet-{name}.service" in units, units
    said = node.sh("for unit in " + " ".join(units) + "; do systemd-analyze security --no-pager $unit | tail -1; done")
    scores = dict(re.findall(r"Overall exposure level for (\S+): ([0-9.]+)", said))
    print(scores)
    assert set(scores) == set(units), said
    assert not {unit: score for unit, score in scores.items() if float(score) > 3.0}


def test_there_is_no_deviation_from_the_intermediate_profile(node: WholeNode, tmp_path: Path) -> None:
    found = deviations(node, "intermediate", tmp_path)
    assert len(found) == 5
    assert not any(found.values()), found


def test_there_is_none_with_keys_for_old_players_either(node: WholeNode, tmp_path: Path) -> None:
    node.roles("certificates", "file_transfer", "web")
    node.play(node.folder / "roles.yml", "-e", "streamfleet_certificates_key_type=rsa2048")
    assert "rsaEncryption" in node.sh(f"openssl x509 -noout -text -in /etc/streamfleet/tls/{STREAM}/fullchain.pem")
    found = deviations(node, "intermediate", tmp_path)
    assert not any(found.values()), found


def test_there_is_none_from_the_modern_one_where_that_is_chosen(node: WholeNode, tmp_path: Path) -> None:
    node.sh(f"rm -r /etc/streamfleet/tls/{STREAM} /etc/streamfleet/tls/{PANEL} /etc/streamfleet/tls/{TENANT}")
    node.roles("certificates", "nginx_rtmp", "file_transfer", "web")
    node.play(node.folder / "roles.yml", "-e", json.dumps(MODERN))
    found = deviations(node, "modern", tmp_path)
    assert not any(found.values()), found
    node.play(node.folder / "roles.yml")
    assert any("TLSv1.2" in line for line in deviations(node, "modern", tmp_path)[f"{PANEL}:{HTTPS}"])


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    """Until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@contextlib.contextmanager
def careless(folder: Path) -> Iterator[int]:
    """A server of Python's on this machine, with all that OpenSSL has; its port."""
    key, chain = folder / "key.pem", folder / "chain.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=careless.test", "-days", "800"]
    subprocess.run([*made, "-keyout", key, "-out", chain], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(chain, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(link: socket.socket) -> None:
        with contextlib.suppress(OSError), link, context.wrap_socket(link, server_side=True) as secured:
            secured.settimeout(5)
            if secured.recv(4096):
                secured.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()


def test_a_careless_server_is_found_out(tmp_path: Path) -> None:
    with careless(tmp_path) as port:
        ca = (tmp_path / "chain.pem").read_text()
        found = scan_tls(Server("127.0.0.1", port, "careless.test"), ca, "intermediate", tmp_path)
    said = "\n".join(found.deviations)
    for what in ("tls_versions", "ciphers", "tls_curves", "rsa_key_size", "maximum_certificate_lifespan"):
        assert f"{what}: " in said, said
    assert {"tls_1_0", "tls_1_1"} <= set(found.offers)
    assert "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA" in found.cbc
