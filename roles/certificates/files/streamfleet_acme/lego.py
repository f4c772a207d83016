"""The ACME client of Debian: its command lines, and what of what it says is worth keeping."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import account as bound
from .shelf import Shelf, read

PROGRAM = "/usr/bin/lego"
#: Of one name: a directory may take minutes, and DNS does. lego gives up before that by itself.
SECONDS = 600.0
MOST = 600
#: What an account is bound with. lego is not told.
SECRETS = ("STREAMFLEET_EAB_KEY_ID", "STREAMFLEET_EAB_HMAC")
_STAMP = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?:\[(?:INFO|WARN)\].*)?")


class Refused(Exception):
    """lego did not succeed; the text is what it said."""


def base(settings: Mapping[str, Any], path: Path, program: str) -> list[str]:
    """How each command line begins."""
    # Without the last, lego does nothing at a directory that takes bound accounts only, whatever the account is.
    return [
        program, "--server", settings["directory"], "--email", settings["email"], "--accept-tos", "--path", str(path),
        "--http-timeout", "30", "--cert.timeout", "90", *(["--eab"] if settings.get("eab") else []),
    ]  # fmt: skip


def challenge(settings: Mapping[str, Any], webroot: Path) -> list[str]:
    """How a name is proved."""
    if settings["challenge"] == "http-01":
        return ["--http", "--http.webroot", str(webroot)]
    resolvers = [word for server in settings["resolvers"] for word in ("--dns.resolvers", _with_port(server))]
    unseen = [] if settings["dns_wait"] else ["--dns.disable-cp"]
    return ["--dns", settings["dns_provider"], *unseen, *resolvers]


def account(settings: Mapping[str, Any], path: Path) -> Path:
    """Where lego keeps the account, once it is registered."""
    server = urlsplit(str(settings["directory"])).netloc.replace(":", "_")
    return path / "accounts" / server / str(settings["email"]) / "account.json"


class Lego:
    """Runs it for a host. ``program``: another one in tests. ``folder``: where it keeps its things; one run each."""

    def __init__(
        self, shelf: Shelf, settings: Mapping[str, Any], webroot: Path, program: str = PROGRAM, folder: str = "lego"
    ) -> None:
        self._settings, self._webroot, self._program = settings, webroot, program
        self._path = shelf.own / folder
        self._shelf = shelf
        self._environment = {**os.environ, "HOME": str(shelf.own)}
        self._authorities = shelf.settings / "directory-ca.pem"
        if settings.get("directory_ca"):
            self._environment["LEGO_CA_CERTIFICATES"] = str(self._authorities)

    @property
    def registered(self) -> bool:
        """Whether there is an account."""
        return account(self._settings, self._path).exists()

    def obtain(self, request: Path) -> bytes:
        """Have a request signed; the chain. Raises Refused, TlsError, OSError."""
        self._path.mkdir(mode=0o700, exist_ok=True)
        if self._settings.get("eab") and not self.registered:
            kid, key = (self._environment.get(name, "") for name in SECRETS)
            bound.register(self._settings, self._authorities, account(self._settings, self._path).parent, kid, key)
        certificates = self._path / "certificates"
        shutil.rmtree(certificates, ignore_errors=True)
        self._run(
            [
                *base(self._settings, self._path, self._program),
                *challenge(self._settings, self._webroot),
                "--csr", str(request), "run",
            ]
        )  # fmt: skip
        found = [path for path in certificates.glob("*.crt") if not path.name.endswith(".issuer.crt")]
        if len(found) != 1:
            raise Refused(f"lego ended well and left {len(found)} certificates in {certificates}")
        return read(found[0])

    def revoke(self, name: str, chain: bytes, reason: int) -> None:
        """Have a certificate revoked. Raises Refused, OSError."""
        with tempfile.TemporaryDirectory(dir=self._shelf.own, prefix="revoke-") as folder:
            # lego revokes what lies where it has put it, so that is laid out for it.
            path = Path(folder)
            shutil.copytree(self._path / "accounts", path / "accounts")
            (path / "certificates").mkdir()
            (path / "certificates" / f"{name}.crt").write_bytes(chain)
            self._run(
                [
                    *base(self._settings, path, self._program), "--domains", name,
                    "revoke", "--keep", "--reason", str(reason),
                ]
            )  # fmt: skip

    def _run(self, command: Sequence[str]) -> None:
        environment = {name: value for name, value in self._environment.items() if name not in SECRETS}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False,
                env=environment, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Refused(f"lego has not come to an end in {SECONDS:.0f} seconds") from None
        if done.returncode != 0:
            raise Refused(said(done.stdout + "\n" + done.stderr) or f"lego ended with {done.returncode}")


def said(output: str) -> str:
    """The end of what lego has said, in one line, without times and without what it only reports."""
    lines = [_STAMP.sub("", line).strip() for line in output.splitlines()]
    # The first time it says how it keeps the account, too.
    last = max((number for number, line in enumerate(lines) if line.startswith("Could not")), default=0)
    text = " ".join(" ".join(line for line in lines[last:] if line).split())
    return "".join(letter for letter in text if letter.isprintable())[-MOST:]


def _with_port(server: str) -> str:
    if server.startswith("[") or server.count(":") == 1:
        return server
    return f"[{server}]:53" if ":" in server else f"{server}:53"
