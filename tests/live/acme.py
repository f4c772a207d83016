"""An ACME directory for tests: Pebble and its DNS, on the node that it issues to. Random nonces are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509
from streamfleet.tls.authority import Authority
from streamfleet.tls.certificates import Place, install, request
from streamfleet.tls.names import Names

from tests.live.node import NODE
from tests.nodes.fleet import Fleet

HOST = "ca.acme.test"
DIRECTORY = f"https://{HOST}:14000/dir"
#: A name that it refuses whoever asks.
BLOCKED = "blocked.acme.test"
DNS = "127.0.0.1:8053"
#: The hook of its DNS, as an operator's would set records with a provider.
HOOK = """#!/bin/sh
set -eu
case "$1" in
present) exec curl --silent --fail --data "{\\"host\\":\\"$2\\",\\"value\\":\\"$3\\"}" http://127.0.0.1:8055/set-txt ;;
cleanup) exec curl --silent --fail --data "{\\"host\\":\\"$2\\"}" http://127.0.0.1:8055/clear-txt ;;
esac
exit 1
"""
#: Their common DNS.
NAMES = "/usr/bin/pebble-challtestsrv -defaultIPv4= -defaultIPv6= -http01= -https01= -tlsalpn01="


class Host(Protocol):
    """Where it runs: the node NODE of a fleet, on which ``sh`` runs a script."""

    @property
    def fleet(self) -> Fleet: ...

    def sh(self, script: str, check: bool = True) -> str: ...


class Pebble:
    """The directory, its DNS, and what they know. ``ca``: PEM of the authority of the directory's own TLS.

    ``blocked``: names that it refuses. ``number``: of one beside others, with ports of its own. ``bound``: the accounts
    to one of which an account of ACME must be bound, key identifier → key, in base64url; empty where none need be.
    """

    def __init__(
        self, node: Host, folder: Path, blocked: tuple[str, ...] = (BLOCKED,), *,
        number: int = 0, bound: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._node, self._blocked, self._bound = node, blocked, dict(bound or {})
        self._port, self._manager = 14000 + number, f"https://127.0.0.1:{15000 + number}"
        self.unit = f"pebble{number or ''}"
        self.url = f"https://{HOST}:{self._port}/dir"
        authority = Authority(folder / "directory-ca", "Directory", 30, ())
        authority.ensure()
        self.ca = authority.text
        me = Names.of({"name": HOST})
        place = Place(folder / "directory-tls", folder / "directory-ca.pem", 0, 0)
        install(place, [me], authority.sign([(me, request(place, me))], 30), authority.text)
        self._pair = [(folder / "directory-tls" / HOST / name).read_text() for name in ("fullchain.pem", "privkey.pem")]

    def install(self) -> None:
        """Have both there, and DNS running. The directory is down until ``start``."""
        self._node.sh("apt-get -q update && apt-get -q -y install --no-install-recommends pebble curl")
        config = {
            "listenAddress": f"0.0.0.0:{self._port}",
            "managementListenAddress": self._manager.removeprefix("https://"),
            "httpPort": 80, "tlsPort": 443,
            "certificate": "/etc/pebble/fullchain.pem", "privateKey": "/etc/pebble/privkey.pem",
            "externalAccountBindingRequired": bool(self._bound), "externalAccountMACKeys": self._bound,
            "domainBlocklist": list(self._blocked),
        }  # fmt: skip
        files = {
            f"/etc/pebble/{self.unit}.json": json.dumps({"pebble": config}),
            "/etc/pebble/fullchain.pem": self._pair[0],
            "/etc/pebble/privkey.pem": self._pair[1],
        }
        run = f"/usr/bin/pebble -strict -config /etc/pebble/{self.unit}.json -dnsserver {DNS}"
        for name, command in {self.unit: run, "pebble-dns": NAMES}.items():
            files[f"/run/systemd/system/{name}.service"] = (
                "[Service]\nEnvironment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=30 PEBBLE_AUTHZREUSE=0\n"
                f"ExecStart={command}\n"
            )
        self._node.sh("mkdir -p /etc/pebble /run/systemd/system")
        for path, text in files.items():
            self._node.fleet.exec(NODE, ["sh", "-c", f"cat >{path}"], stdin=text)
        self._node.sh("systemctl daemon-reload && systemctl start pebble-dns.service")

    def start(self) -> None:
        """Begin to answer."""
        self._node.sh(f"systemctl start {self.unit}.service")
        deadline = time.monotonic() + 20
        while not self._node.sh(f"curl -sk {self._manager}/roots/0", check=False):
            assert time.monotonic() < deadline, self._node.sh(f"journalctl -u {self.unit} -n 20")
            time.sleep(0.3)

    @property
    def root(self) -> str:
        """PEM of the authority that clients have to trust."""
        return self._node.sh(f"curl -sk {self._manager}/roots/0") + "\n"

    def leads(self, host: str, *addresses: str) -> None:
        """Have the name lead there, and nowhere else."""
        for record, colon in (("a", False), ("aaaa", True)):
            self._dns(f"clear-{record}", {"host": host})
            if found := [address for address in addresses if (":" in address) is colon]:
                self._dns(f"add-{record}", {"host": host, "addresses": found})

    def said(self) -> str:
        """Its journal, in which each request is a line."""
        return self._node.sh(f"journalctl -o cat -u {self.unit}")

    def status(self, certificate: x509.Certificate) -> dict[str, Any]:
        """What the directory says of a certificate that it has issued."""
        address = f"{self._manager}/cert-status-by-serial/{certificate.serial_number:x}"
        found: dict[str, Any] = json.loads(self._node.sh(f"curl -sk {address}"))
        return found

    def _dns(self, call: str, data: object) -> None:
        command = ["curl", "--silent", "--fail", "--data", json.dumps(data), f"http://127.0.0.1:8055/{call}"]
        self._node.fleet.exec(NODE, command)
