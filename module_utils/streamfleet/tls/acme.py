"""What root does for the client of an ACME directory: asking it for a look at once, and telling what came of it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from .. import domains
from . import csr, orders, pem
from .certificates import CHAIN, Place
from .errors import TlsError
from .names import ACME, Names
from .orders import Asked, Order
from .shelf import Shelf, digest, read

UNIT, TENANTS_UNIT = "streamfleet-acme.service", "streamfleet-acme-domains.service"
#: Seconds after which the tenants' client is started once more, in case it was in the middle of a look.
AGAIN = 5.0
#: Looks after which what was issued before is in place again, or is not put there: one may have begun too early.
LOOKS = 2
#: Words for reasons of revocation → RFC 5280's numbers; those that directories take from subscribers.
REASONS = {
    "unspecified": 0,
    "key_compromise": 1,
    "affiliation_changed": 3,
    "superseded": 4,
    "cessation_of_operation": 5,
}


@dataclass
class Look:
    """What is due, what was asked for, and what came of it."""

    shelf: Shelf
    settings: Mapping[str, Any]
    asked: Asked
    due: list[dict[str, str]] = field(default_factory=list)
    #: Of these, those that have failed when they were last tried: nobody knows whether they will again.
    doubtful: set[str] = field(default_factory=set)
    #: Names of tenants' own that were asked for.
    tenants: list[str] = field(default_factory=list)
    #: Names whose certificate the directory has issued, and that are served with one that was put over it.
    covered: list[str] = field(default_factory=list)

    def plan(self, now: datetime) -> None:
        """Fill in ``due``: name and reason of what would be ordered now. Raises TlsError for names that are none."""
        names = [item["name"] for item in self.settings["orders"]]
        asked = dict.fromkeys((*self.asked.renew, *self.asked.revoke))
        self.tenants = [name for name in asked if name not in names and self._is_tenants(name)]
        for option, given in (("renew", self.asked.renew), ("revoke", self.asked.revoke)):
            unknown = [name for name in given if name not in (*names, *self.tenants)]
            if unknown:
                raise TlsError(
                    f"{option}: {', '.join(unknown)} is no certificate of this host's from an ACME directory; "
                    f"there are {', '.join(names) or 'none'}, and customers' domains that lead to its services"
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

        for name in self.tenants:
            if name in self.asked.revoke and not self.shelf.marker(name).exists():
                raise TlsError(f"revoke: {name} has no certificate of the directory's that could be revoked")
            self.due.append({"name": name, "reason": "it was asked for"})

    def _is_tenants(self, name: str) -> bool:
        """Whether it is a name of a tenant's that leads to a service here."""
        own = self.settings.get("own", [])
        return name not in own and domains.problem(name) is None and self.shelf.domain_request(name).is_file()

    def uncover(self, place: Place, now: datetime) -> None:
        """Fill in ``covered``. While another source was chosen, the own authority's may have come into its place."""
        state = self.shelf.read_state()
        self.covered = [
            order.name
            for order in self.orders()
            # Of one that is revoked the new one is waited for.
            if order.name not in self.asked.revoke
            and orders.fits(order, self.shelf.held(order.name), state.get(order.name, {}), self.settings, now)
            and not self._shown(place, order.name)
        ]

    def _shown(self, place: Place, name: str) -> bool:
        """Whether what is held is what is served, or something later that is none of the own authority's."""
        try:
            ours = pem.read_chain(read(self.shelf.own / "held" / f"{name}.pem"))[0]
            leaf = pem.read_certificate(place.directory / name / CHAIN)
            own = pem.read_certificate(place.authority)
        except (OSError, TlsError):
            return False
        if leaf == ours:
            return True
        return (
            not pem.signed_by(leaf, own)
            and digest(leaf) == digest(ours)
            and pem.days_left(leaf) > 0
            and pem.validity(leaf)[0] > pem.validity(ours)[0]
        )

    def lay_aside(self, place: Place, group: int) -> None:
        """Have tenants' certificates that are to be revoked there for the client, and new keys asked for.

        Raises OSError, TlsError.
        """
        for name in (name for name in self.tenants if name in self.asked.revoke):
            chain = read(place.directory / name / CHAIN)
            pem.put(self.shelf.replaced(name), chain, 0o640, group)
            csr.new_key(place, Names(name, (name,), (), ACME), self.shelf.domain_request(name), group)

    def orders(self) -> list[Order]:
        """All that the settings name."""
        return [self.shelf.order(item) for item in self.settings["orders"]]

    def ask(self, group: int) -> None:
        """Write down what is asked for, for the client."""
        text = json.dumps(asdict(self.asked)) + "\n"
        pem.put(self.shelf.data / "asked.json", text.encode(), 0o640, group)

    def start(self, seconds: float, run: Callable[[float], None] | None = None) -> None:
        """Have the client look, and wait until it has tried all that is due, and all is in place; at most ``seconds``.

        What is ``covered`` it hands on, for that is forgotten as placed.
        It may be in the middle of a look that began before something was asked for: then it looks once more.
        """
        deadline = time.monotonic() + seconds
        start = run or _start
        self.shelf.forget_placed(self.covered)
        own = [item for item in self.due if item["name"] not in self.tenants]
        while own and (left := deadline - time.monotonic()) > 0:
            start(left)
            state = self.shelf.read_state()
            if all(state.get(item["name"], {}).get("tried_for") == self.asked.id for item in own):
                break
            time.sleep(0.5)
        while own and time.monotonic() < deadline:
            if all(self.shelf.waiting(item["name"]) is None for item in own if self._held_now(item["name"])):
                break
            time.sleep(0.2)
        looks = 0
        while looks < LOOKS and self.put_back() != self.covered and (left := deadline - time.monotonic()) > 0:
            start(left)
            looks += 1
            # The installer takes it out whatever becomes of it.
            while time.monotonic() < deadline and any(self.shelf.handed_on(name) for name in self.covered):
                time.sleep(0.2)
        following = 0.0
        while self.tenants and time.monotonic() < deadline and not self._tenants_done():
            # A look that began before knows nothing of what was asked for: then it looks once more.
            if time.monotonic() >= following:
                (run or _begin)(deadline - time.monotonic())
                following = time.monotonic() + AGAIN
            time.sleep(0.3)

    def put_back(self) -> list[str]:
        """What was ``covered`` and is in place again."""
        return [name for name in self.covered if self.shelf.waiting(name) is None]

    def _tenants_done(self) -> bool:
        """Whether the client has come to all of them, and what it got is in place."""
        names = self.shelf.read_domains()["names"]
        for name in self.tenants:
            entry = names.get(name, {})
            ended = "error" in entry or "waiting" not in entry
            if name in self.asked.revoke and "error" not in entry:
                ended = entry.get("revoked_for") == self.asked.id or "revoke_error" in entry
            if entry.get("tried_for") != self.asked.id or not ended:
                return False
        return True

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
                    "here": bool(entry.get("here")),
                    "revoked": order.name in self.asked.revoke and entry.get("revoked_for") == self.asked.id,
                    "revoke_error": entry.get("revoke_error", ""),
                }
            )
        return found + self._tenants_results(place, reasons)

    def _tenants_results(self, place: Place, reasons: Mapping[str, str]) -> list[dict[str, Any]]:
        known = self.shelf.read_domains()
        found = []
        for name in self.tenants:
            entry = known["names"].get(name, {})
            found.append(
                {
                    "name": name,
                    "in_place": "key" in entry and _served(place, name) == entry["key"],
                    "ordered": reasons.get(name, ""),
                    "issued": entry.get("renewed_for") == self.asked.id,
                    "not_after": entry.get("not_after", ""),
                    "error": entry.get("error", "") or known["error"],
                    "next_try": entry.get("next_try", ""),
                    "here": bool(entry.get("here")),
                    "revoked": name in self.asked.revoke and entry.get("revoked_for") == self.asked.id,
                    "revoke_error": entry.get("revoke_error", ""),
                }
            )
        return found


def sentence(item: Mapping[str, Any]) -> str:
    """What is wrong with a name of ``results``, for people."""
    error = item["error"] or "the client has not come to it yet; journalctl -u streamfleet-acme says what it does"
    # What the directory has refused costs of its limits: a run does not ask it again by itself.
    sooner = ", and by each run" if item["here"] else "; before that where certificates_renew names it"
    again = f" It is tried again at {item['next_try']}{sooner}." if item["next_try"] else ""
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


def _begin(seconds: float) -> None:
    """Have the tenants' client look, without waiting for its end: it has others to look at, too."""
    command = ["systemctl", "start", "--no-block", TENANTS_UNIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=max(seconds, 1.0), check=False)
    if done.returncode != 0:
        raise TlsError(f"{TENANTS_UNIT} does not run: {done.stderr.strip()}; journalctl -u {TENANTS_UNIT} says why")


def _start(seconds: float) -> None:
    try:
        done = subprocess.run(
            ["systemctl", "start", UNIT], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return
    if done.returncode != 0:
        raise TlsError(f"{UNIT} does not run: {done.stderr.strip()}; journalctl -u {UNIT} says why")
