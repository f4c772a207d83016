"""A node with the web server and the RTMP server and nothing else: no panel, no converge.

The tests write its files, as the node module would, so they show what the two servers do by themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from streamfleet import domains

from demo.media import video_publisher
from scripts import forked_ansible
from tests.nodes.fleet import Fleet, NodeSpec

NODE = "edge1"
STREAM = "stream.edge.test"
PANEL = "panel.edge.test"
HLS = "/run/streamfleet/hls"
RTMPS = 1936


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case, several of one name joined by newlines."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def rtmps_publisher(address: str, host: str, ca: Path, key: str, seconds: int) -> list[str]:
    """The command of an ffmpeg that publishes by RTMPS, verifies the certificate to be the host's, and names nobody."""
    *command, url = video_publisher(f"rtmps://{address}:{RTMPS}/live/{key}", seconds)
    return [*command, "-tls_verify", "1", "-ca_file", str(ca), "-verifyhost", host, url]


class Edge:
    """The node, its authority, and what the tests do with them."""

    def __init__(self, directory: Path, release: str) -> None:
        self.directory = directory
        self.logs: dict[str, str] = {}
        self.fleet = Fleet(f"edge{secrets.token_hex(3)}")
        self.fleet.up([NodeSpec(NODE, release)])
        self.address = self.fleet.node(NODE).address
        self._authority = ec.generate_private_key(ec.SECP256R1())
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(
            self._sign("Edge test authority", self._authority, None).public_bytes(serialization.Encoding.PEM)
        )

    # The node

    def prepare(self) -> None:
        """Do what common does before: fresh lists, directories, the authority's certificate."""
        self.run("apt-get -q update")
        self.run("install -d /etc/streamfleet/tls /etc/streamfleet/ca /var/lib/streamfleet /run/streamfleet")
        self.run("install -d -m 750 -g www-data /etc/streamfleet/routes /etc/streamfleet/domains")
        self.run("cat >/etc/streamfleet/ca/ca.pem", stdin=self.ca.read_text())

    def run(self, script: str, check: bool = True, stdin: str | None = None) -> str:
        """Run a shell script on the node as root and return what it printed."""
        return self.fleet.exec(NODE, ["sh", "-c", script], check=check, stdin=stdin).stdout

    def write(self, path: str, text: str, group: str, mode: str = "640") -> None:
        """Write a file on the node as the node module does: whole or not at all."""
        self.run(
            f"cat >{path}.new && chgrp {group} {path}.new && chmod {mode} {path}.new && mv {path}.new {path}",
            stdin=text,
        )

    def playbook(self, roles: list[object], *arguments: str, tasks_from: str | None = None) -> str:
        """Run roles on the node and return the log. Fails when the run does."""
        if tasks_from:
            entry: dict[str, object] = {
                "tasks": [{"ansible.builtin.include_role": {"name": role, "tasks_from": tasks_from}} for role in roles]
            }
        else:
            entry = {"roles": roles}
        play = self.directory / "play.yml"
        variables = {
            "streamfleet_web_stream_host": STREAM,
            "streamfleet_web_panel_host": PANEL,
            "streamfleet_web_panel_alt_names": [self.address],
            "streamfleet_nginx_rtmp_tls_host": STREAM,
            "streamfleet_nginx_rtmp_tls_hidden_names": [PANEL],
        }
        play.write_text(json.dumps([{"hosts": "all", "become": True, "vars": variables, **entry}]))
        done = forked_ansible.playbook(["-i", str(self.fleet.inventory), str(play), *arguments], timeout=900)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    # Files that a converge would write

    def route(self, slug: str, port: int, mounts: list[str]) -> None:
        """Put a service on the air."""
        text = json.dumps({"port": port, "mounts": mounts, "default": mounts[0]})
        self.write(f"/etc/streamfleet/routes/{slug}.json", text, "www-data")

    def domain(self, name: str, slug: str, way: str) -> None:
        """Have a name of a tenant's own lead to a service: ``listen`` or ``hls``."""
        self.write(f"/etc/streamfleet/domains/{name}.json", domains.content(slug, 200001, way), "www-data")

    def grant(self, key: str, slug: str, expires: str | None = None, kbps: int | None = None) -> None:
        """Let a key publish as ``slug``."""
        text = json.dumps({"slug": slug, "expires": expires, "max_bitrate_kbps": kbps})
        self.write(self._key_file(key), text, "streamfleet-rtmp")

    def revoke(self, key: str) -> None:
        """Take a key away, as suspending does."""
        self.run(f"rm {self._key_file(key)}")

    @staticmethod
    def _key_file(key: str) -> str:
        return f"/etc/streamfleet/publish-keys/{hashlib.sha256(key.encode()).hexdigest()}.json"

    def certificate(self, host: str, addresses: list[str] | None = None) -> str:
        """Give the node a new certificate for ``host``; return its SHA-256."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(host, key, [host])
        folder = f"/etc/streamfleet/tls/{host}"
        self.run(f"mkdir -p {folder} && chgrp www-data {folder} && chmod 750 {folder}")
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.write(f"{folder}/privkey.pem", private.decode(), "www-data")
        self.write(f"{folder}/fullchain.pem", made.public_bytes(serialization.Encoding.PEM).decode(), "www-data")
        return made.fingerprint(hashes.SHA256()).hex()

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, hosts: list[str] | None) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Edge test authority")])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=hosts is None, path_length=None), critical=True)
        )  # fmt: skip
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority.public_key())
        use = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        usage = x509.KeyUsage(
            digital_signature=hosts is not None, key_cert_sign=hosts is None, crl_sign=hosts is None,
            encipher_only=False, decipher_only=False, **use,
        )  # fmt: skip
        builder = builder.add_extension(own, False).add_extension(signer, False).add_extension(usage, True)
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._authority, hashes.SHA256())

    # A listener

    def connect(
        self, host: str | None, tls: bool = True, verify: bool = True, timeout: float = 10, port: int = 443
    ) -> socket.socket:
        """Connect to the node, asking for ``host`` by SNI (None: for nobody)."""
        plain = socket.create_connection((self.address, port if tls else 80), timeout=timeout)
        if not tls:
            return plain
        context = ssl.create_default_context(cafile=str(self.ca))
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=host)

    def ask(
        self, path: str, host: str = STREAM, *, method: str = "GET", headers: Mapping[str, str] | None = None,
        tls: bool = True, seconds: float = 10, body_limit: int = 10_000_000, verify: bool = True,
    ) -> Answer:  # fmt: skip
        """One request with the path as it is given, over HTTP/1.1; the body up to the limit, the time or the end."""
        with self.connect(host if tls else None, tls, verify, seconds) as link:
            lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            link.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            data = b""
            end = time.monotonic() + seconds
            while time.monotonic() < end and len(data) < body_limit:
                link.settimeout(max(0.05, end - time.monotonic()))
                try:
                    piece = link.recv(65536)
                except TimeoutError:
                    break
                if not piece:
                    break
                data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        fields: dict[str, str] = {}
        for name, _, value in (line.partition(":") for line in rest):
            key = name.lower()
            fields[key] = f"{fields[key]}\n{value.strip()}" if key in fields else value.strip()
        return Answer(int(first.split()[1]) if first else 0, fields, body)

    def playlist(self, slug: str) -> str | None:
        """The playlist as a viewer gets it, or None where there is none."""
        answer = self.ask(f"/hls/{slug}/index.m3u8")
        assert answer.status in (200, 404), answer
        return answer.body.decode() if answer.status == 200 else None

    def wait_for_playlist(self, slug: str, pattern: str, seconds: float = 30) -> str:
        """Poll the playlist until it matches."""
        end = time.monotonic() + seconds
        text = None
        while time.monotonic() < end:
            text = self.playlist(slug)
            if text and re.search(pattern, text):
                return text
            time.sleep(0.3)
        raise AssertionError(f"{pattern} not in the playlist of {slug} after {seconds} s: {text}")

    # An encoder

    def publisher_by_tls(self, key: str, seconds: int) -> list[str]:
        """The command of an ffmpeg that publishes by RTMPS, verifies the certificate, and names nobody."""
        return rtmps_publisher(self.address, STREAM, self.ca, key, seconds)

    @contextlib.contextmanager
    def publishing(self, key: str, seconds: int = 120, tls: bool = False) -> Iterator[subprocess.Popen[str]]:
        """An ffmpeg that publishes, stopped at the end."""
        command = (
            self.publisher_by_tls(key, seconds)
            if tls
            else video_publisher(f"rtmp://{self.address}/live/{key}", seconds)
        )
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as encoder:
            try:
                yield encoder
            finally:
                encoder.terminate()
                try:
                    encoder.wait(10)
                except subprocess.TimeoutExpired:
                    encoder.kill()

    def down(self) -> None:
        """Remove the node."""
        self.fleet.down()
