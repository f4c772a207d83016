"""What root does for the client of an ACME directory: keys and requests, and asking it for a look at once."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import orders, pem
from .certificates import CHAIN, KEY, NEXT, Place
from .errors import TlsError
from .names import Names
from .orders import Asked, Order
from .shelf import Shelf, digest, read

if pem.MISSING is None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

UNIT = "streamfleet-acme.service"
#: Words for reasons of revocation → RFC 5280's numbers; those that directories take from subscribers.
REASONS = {
    "unspecified": 0,
    "key_compromise": 1,
    "affiliation_changed": 3,
    "superseded": 4,
    "cessation_of_operation": 5,
}


def prepare(shelf: Shelf, place: Place, wanted: Iterable[Names], group: int, *, write: bool = True) -> list[str]:
    """Have a request for each name, for the key that it uses or is to get, and none for others; the paths that changed.

    ``group``: of the client, which may read requests. Raises OSError, TlsError.
    """
    changed = []
    requests = shelf.settings / "requests"
    kept = set()
    for names in wanted:
        path = shelf.request(names.name)
        kept.add(path)
        if not _fits(place, names, path):
            changed.append(str(path))
            if write:
                _ask(place, names, path, group)
    for path in sorted(requests.glob("*")) if requests.is_dir() else []:
        if path not in kept:
            changed.append(str(path))
            if write:
                path.unlink()
    return changed


def new_key(shelf: Shelf, place: Place, names: Names, group: int) -> None:
    """Have a new key asked for, for a certificate that is revoked; the old pair is used until it is there."""
    _key, text = pem.new_key(place.key)
    pem.put(place.directory / names.name / NEXT, text, 0o600)
    _write_request(shelf.request(names.name), names, text, group)


def _fits(place: Place, names: Names, path: Path) -> bool:
    folder = place.directory / names.name
    try:
        request = x509.load_pem_x509_csr(read(path))
        keys = [(folder / KEY, False)] if not (folder / NEXT).exists() else [(folder / NEXT, True)]
        key = pem.read_key(keys[0][0])
    except (OSError, ValueError, TlsError):
        return False
    return (
        pem.public(request) == pem.public(key) and pem.kind(key) == place.key and pem.hosts(request) == set(names.hosts)
    )


def _ask(place: Place, names: Names, path: Path, group: int) -> None:
    folder = place.directory / names.name
    for name in (NEXT, KEY):
        try:
            key, text = pem.read_key(folder / name), (folder / name).read_bytes()
        except (FileNotFoundError, TlsError):
            continue
        if pem.kind(key) == place.key:
            break
    else:
        key, text = pem.new_key(place.key)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem.put(folder / NEXT, text, 0o600)
    _write_request(path, names, text, group)


def _write_request(path: Path, names: Names, key: bytes, group: int) -> None:
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in names.hosts]), critical=False)
    )
    signed = builder.sign(serialization.load_pem_private_key(key, None), hashes.SHA256())  # type: ignore[arg-type]
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    pem.put(path, signed.public_bytes(serialization.Encoding.PEM), 0o640, group)


@dataclass
class Look:
    """What is due, what was asked for, and what came of it."""

    shelf: Shelf
    settings: Mapping[str, Any]
    asked: Asked
    due: list[dict[str, str]] = field(default_factory=list)
    #: Of these, those that have failed when they were last tried: nobody knows whether they will again.
    doubtful: set[str] = field(default_factory=set)

    def plan(self, now: datetime) -> None:
        """Fill in ``due``: name and reason of what would be ordered now. Raises TlsError for names that are none."""
        names = [item["name"] for item in self.settings["orders"]]
        for option, given in (("renew", self.asked.renew), ("revoke", self.asked.revoke)):
            unknown = [name for name in given if name not in names]
            if unknown:
                raise TlsError(
                    f"{option}: {', '.join(unknown)} is no certificate of this host's from an ACME directory; "
                    f"there are {', '.join(names) or 'none'}"
                )
        state = self.shelf.read_state()
        self.due, self.doubtful = [], set()
        for order in self.orders():
            entry = state.get(order.name, {})
            held = self.shelf.held(order.name)
            if order.name in self.asked.revoke and held is None:
                raise TlsError(f"revoke: {order.name} has no certificate of the directory's that could be revoked")
            why = orders.wanted(order, held, entry, self.settings, self.asked, now)
            if why and orders.waits(order, entry, self.settings, self.asked, now) is None:
                self.due.append({"name": order.name, "reason": why})
                if entry.get("error") and order.name not in (*self.asked.renew, *self.asked.revoke):
                    self.doubtful.add(order.name)

    def orders(self) -> list[Order]:
        """All that the settings name."""
        return [self.shelf.order(item) for item in self.settings["orders"]]

    def ask(self, group: int) -> None:
        """Write down what is asked for, for the client."""
        text = json.dumps(asdict(self.asked)) + "\n"
        pem.put(self.shelf.data / "asked.json", text.encode(), 0o640, group)

    def start(self, seconds: float, run: Callable[[float], None] | None = None) -> None:
        """Have the client look, and wait until it has tried all that is due, and all is in place; at most ``seconds``.

        It may be in the middle of a look that began before something was asked for: then it looks once more.
        """
        deadline = time.monotonic() + seconds
        start = run or _start
        while (left := deadline - time.monotonic()) > 0:
            start(left)
            state = self.shelf.read_state()
            if all(state.get(item["name"], {}).get("tried_for") == self.asked.id for item in self.due):
                break
            time.sleep(0.5)
        while self.due and time.monotonic() < deadline:
            if all(self.shelf.waiting(item["name"]) is None for item in self.due if self._held_now(item["name"])):
                break
            time.sleep(0.2)

    def _held_now(self, name: str) -> bool:
        return self.shelf.read_state().get(name, {}).get("renewed_for") == self.asked.id

    def results(self, place: Place) -> list[dict[str, Any]]:
        """Of each name: whether the directory's certificate is in place, until when it lasts, and what is wrong."""
        state = self.shelf.read_state()
        reasons = {item["name"]: item["reason"] for item in self.due}
        found = []
        for order in self.orders():
            entry = state.get(order.name, {})
            held = self.shelf.held(order.name)
            found.append(
                {
                    "name": order.name,
                    "in_place": held is not None and _served(place, order.name) == held.key,
                    "ordered": reasons.get(order.name, ""),
                    "issued": bool(self.asked.id) and entry.get("renewed_for") == self.asked.id,
                    "not_after": entry.get("not_after", ""),
                    "error": entry.get("error", ""),
                    "next_try": entry.get("next_try", ""),
                    "revoked": order.name in self.asked.revoke and entry.get("revoked_for") == self.asked.id,
                    "revoke_error": entry.get("revoke_error", ""),
                }
            )
        return found


def sentence(item: Mapping[str, Any]) -> str:
    """What is wrong with a name of ``results``, for people."""
    error = item["error"] or "the client has not come to it yet; journalctl -u streamfleet-acme says what it does"
    again = f" It is tried again at {item['next_try']}, and by each run." if item["next_try"] else ""
    if item["in_place"]:
        return f"{item['name']}: not renewed, the certificate lasts until {item['not_after']}: {error}.{again}"
    return f"{item['name']}: no certificate of the directory's is in place yet: {error}.{again}"


def undone(item: Mapping[str, Any], asked: Asked) -> str:
    """What was asked for and is not done, in a sentence; empty where nothing is."""
    name = item["name"]
    if name in asked.revoke and not item["revoked"]:
        why = item["revoke_error"] or item["error"] or "the client has not come to it yet"
        way = "" if asked.unreplaced else ", or at once with certificates_revoke_unreplaced=true"
        return f"{name} is not revoked: {why}. It will be as soon as that is mended{way}."
    if name in asked.renew and not item["issued"]:
        return f"{name} is not renewed: {item['error'] or 'the client has not come to it yet'}."
    return ""


def now() -> datetime:
    """With its zone."""
    return datetime.now(UTC)


def _served(place: Place, name: str) -> str | None:
    """Digest of the key of the certificate in place, where it is none of the own authority's."""
    try:
        leaf = pem.read_certificate(place.directory / name / CHAIN)
        own = pem.read_certificate(place.authority)
    except (OSError, TlsError):
        return None
    return None if pem.signed_by(leaf, own) else digest(leaf)


def _start(seconds: float) -> None:
    try:
        done = subprocess.run(
            ["systemctl", "start", UNIT], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return
    if done.returncode != 0:
        raise TlsError(f"{UNIT} does not run: {done.stderr.strip()}; journalctl -u {UNIT} says why")
