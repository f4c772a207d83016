"""A double of an ACME directory (RFC 8555) that registers accounts, and those only that are bound to one of its own.

It refuses what a directory does: a nonce that it has not given or that was used, a signature that is not the account's
key's, a binding of another account, key or address. Of its nonces it refuses the first few, as it may at any time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from streamfleet.tls import certificates
from streamfleet.tls.authority import Authority
from streamfleet.tls.certificates import Place
from streamfleet.tls.names import Names


class Problem(Exception):
    """Why a request is refused: status, type, detail."""


def decoded(text: str) -> bytes:
    """Of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class AcmeDirectory:
    """``known``: its own accounts, identifier → key in base64url. ``refuse``: how many nonces are refused first.

    ``accounts``: what was registered, thumbprint of the key → what was asked for.
    """

    def __init__(self, known: Mapping[str, str], refuse: int = 2) -> None:
        self.known, self.refuse = dict(known), refuse
        self.accounts: dict[str, dict[str, Any]] = {}
        self.url, self.ca = "", Path()
        self._nonces: set[str] = set()

    @contextmanager
    def serving(self, folder: Path) -> Iterator[AcmeDirectory]:
        """Serve over TLS until the block ends; ``ca`` is the authority to trust."""
        authority = Authority(folder / "ca", "Directory", 30, ())
        authority.ensure()
        me = Names.of({"name": "localhost", "addresses": ["127.0.0.1"]})
        place = Place(folder / "tls", folder / "ca.pem", os.getgid(), 0)
        certificates.install(place, [me], authority.sign([(me, certificates.request(place, me))], 30), authority.text)
        with ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) as server:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(folder / "tls/localhost/fullchain.pem", folder / "tls/localhost/privkey.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            self._base = f"https://127.0.0.1:{server.server_port}"
            self.url, self.ca = f"{self._base}/directory", folder / "ca.pem"
            yield self
            server.shutdown()

    def register(self, body: bytes, kind: str) -> tuple[int, str, dict[str, Any]]:
        """Status, address and answer for a request of a new account. Raises Problem."""
        if kind != "application/jose+json":
            raise Problem(415, "malformed", "the media type is not JOSE")
        signed = json.loads(body)
        head, asked = (json.loads(decoded(signed[part])) for part in ("protected", "payload"))
        if head["nonce"] not in self._nonces:
            raise Problem(400, "badNonce", "the nonce was not given, or was used")
        self._nonces.remove(head["nonce"])
        if self.refuse:
            self.refuse -= 1
            raise Problem(400, "badNonce", "the nonce is too old")
        url = f"{self._base}/account"
        if head["alg"] != "ES256" or head["url"] != url or not asked["termsOfServiceAgreed"]:
            raise Problem(400, "malformed", "not what a new account is asked for with")
        self._verify(signed, head["jwk"])
        self._bound(asked["externalAccountBinding"], head["jwk"], url)
        print_of = hashlib.sha256(json.dumps(head["jwk"], sort_keys=True).encode()).hexdigest()[:16]
        status = 200 if print_of in self.accounts else 201
        self.accounts.setdefault(print_of, asked)
        return status, f"{url}/{print_of}", {"status": "valid", "contact": asked["contact"]}

    @staticmethod
    def _verify(signed: Mapping[str, str], jwk: Mapping[str, str]) -> None:
        x, y = (int.from_bytes(decoded(jwk[name]), "big") for name in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        both = decoded(signed["signature"])
        if len(both) != 64:
            raise Problem(400, "malformed", "the signature is not of two numbers of 32 bytes")
        signature = encode_dss_signature(int.from_bytes(both[:32], "big"), int.from_bytes(both[32:], "big"))
        try:
            key.verify(signature, f"{signed['protected']}.{signed['payload']}".encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Problem(400, "malformed", "the signature is not the key's") from None

    def _bound(self, binding: Mapping[str, str], jwk: Mapping[str, str], url: str) -> None:
        head = json.loads(decoded(binding["protected"]))
        if head.get("kid") not in self.known:
            raise Problem(403, "unauthorized", "the field 'kid' references a key that is not known")
        text = f"{binding['protected']}.{binding['payload']}".encode()
        due = hmac.digest(decoded(self.known[head["kid"]]), text, hashlib.sha256)
        if head["alg"] != "HS256" or head["url"] != url or not hmac.compare_digest(due, decoded(binding["signature"])):
            raise Problem(403, "unauthorized", "external account binding JWS verification error")
        if json.loads(decoded(binding["payload"])) != jwk:
            raise Problem(403, "unauthorized", "what is bound is another key")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_arguments: object) -> None: ...

            def do_GET(self) -> None:
                if self.path == "/nonce":
                    nonce = secrets.token_urlsafe(16)
                    double._nonces.add(nonce)
                    self._answer(204, {}, nonce=nonce)
                    return
                names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order"}
                found: dict[str, Any] = {name: f"{double._base}/{path}" for name, path in names.items()}
                self._answer(200, {**found, "meta": {"externalAccountRequired": True}})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    status, where, data = double.register(body, self.headers["Content-Type"])
                except Problem as problem:
                    status, kind, detail = problem.args
                    said = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status}
                    self._answer(status, said)
                else:
                    self._answer(status, data, where=where)

            def _answer(self, status: int, data: Mapping[str, Any], nonce: str = "", where: str = "") -> None:
                self.send_response(status)
                for name, value in (("Replay-Nonce", nonce), ("Location", where)):
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                if status != 204:
                    self.wfile.write(json.dumps(data).encode())

        return Handler
