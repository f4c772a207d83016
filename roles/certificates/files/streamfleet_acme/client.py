"""One look of the client: what is due is ordered, one name after the other, and none is in another's way."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import directory, here, orders, pem
from .errors import TlsError
from .lego import Lego, Refused
from .orders import Asked, Order
from .shelf import Shelf, digest, held, read

WEBROOT = Path("/var/lib/streamfleet/acme")
#: Seconds for which the installer is waited for.
INSTALLED = 60.0


class Client:
    """``shelf``: where all lies. What it asks of others is given, so that each can be another in tests."""

    def __init__(
        self,
        shelf: Shelf,
        lego: Lego,
        settings: dict[str, Any],
        check: Callable[[Order], str | None],
        usable: Callable[[], str | None],
    ) -> None:
        self._shelf, self._lego, self._settings = shelf, lego, settings
        self._check, self._usable = check, usable
        self._asked: Asked = shelf.read_asked()
        self.state = shelf.read_state()

    def run(self) -> bool:
        """Order what is due, then revoke what has been replaced; whether all of that succeeded."""
        all_orders = [self._shelf.order(item) for item in self._settings["orders"]]
        self.state = {order.name: self.state.get(order.name, {}) for order in all_orders}
        due = [(order, why) for order in all_orders if (why := self._due(order)) is not None]
        # Who has waited longest is tried first: one that takes its time again and again keeps nobody from their turn.
        for order in all_orders:
            self._lay_aside(order)
            # A run that was killed, or an installer that had no room, has left it.
            if (chain := self._shelf.waiting(order.name)) is not None and self._fits(order):
                self._shelf.hand_on(order.name, chain)
        due.sort(key=lambda item: str(self.state[item[0].name].get("tried_at") or ""))
        unusable = self._usable() if due else None
        good = True
        for order, why in due:
            good = self._try(order, why, unusable) and good
        for order in all_orders:
            good = self._revoke(order) and good
        self._shelf.write_state(self.state)
        return good

    def _due(self, order: Order) -> str | None:
        entry, now = self.state[order.name], _now()
        held = self._shelf.held(order.name)
        why = orders.wanted(order, held, entry, self._settings, self._asked, now)
        return why if why and orders.waits(order, entry, self._settings, self._asked, now) is None else None

    def _try(self, order: Order, why: str, unusable: str | None) -> bool:
        print(f"{order.name}: ordered, for {why}", flush=True)
        entry = self.state[order.name]
        entry.update(
            tried_at=orders.text(_now()),
            tried_for=self._asked.id,
            fingerprint=orders.fingerprint(self._settings, order),
        )
        error, found_here = unusable, True
        try:
            if error is None:
                error = "its request is missing; run install.yml for this host" if order.key is None else None
            if error is None:
                error = self._check(order)
            if error is None:
                found_here = False
                self._take(order, self._lego.obtain(self._shelf.request(order.name)))
        except (Refused, TlsError) as failure:
            error = str(failure)
        except Exception as failure:
            # Whatever it is, it is this name's: the others have their turn.
            error, found_here = f"this host: {type(failure).__name__}: {failure}", True
        if error is not None:
            self.state[order.name] = orders.failed(entry, error, found_here, _now(), random.random())  # noqa: S311
            print(f"{order.name}: {error}", file=sys.stderr, flush=True)
        self._shelf.write_state(self.state)
        return error is None

    def _take(self, order: Order, chain: bytes) -> None:
        """Keep what was issued, and hand it on. Raises TlsError for what was not ordered."""
        got = held(chain)
        if got.key != order.key:
            raise TlsError("the directory has issued a certificate for another key than was asked for")
        if got.hosts != set(order.hosts):
            raise TlsError(f"the directory has issued a certificate for {', '.join(sorted(got.hosts))}")
        pem.put(self._shelf.own / "held" / f"{order.name}.pem", chain, 0o644)
        self._shelf.hand_on(order.name, chain)
        entry = orders.issued(self.state[order.name], got, self._settings["directory"], _now())
        self.state[order.name] = {**entry, "renewed_for": self._asked.id}
        print(f"{order.name}: issued, until {orders.text(got.until)}", flush=True)

    def _fits(self, order: Order) -> bool:
        held = self._shelf.held(order.name)
        return held is not None and held.key == order.key and held.until > _now()

    def _lay_aside(self, order: Order) -> None:
        """Note what is to be revoked, and keep it until it is: what was asked for and not done yet is not forgotten."""
        entry = self.state[order.name]
        if order.name not in self._asked.revoke or entry.get("revoke_for") == self._asked.id:
            return
        if "revoke" not in entry:
            chain = read(self._shelf.own / "held" / f"{order.name}.pem")
            pem.put(self._aside(order), chain, 0o600)
        entry["revoke"] = {"reason": self._asked.reason, "unreplaced": self._asked.unreplaced}
        entry["revoke_for"] = self._asked.id
        self._shelf.write_state(self.state)

    def _revoke(self, order: Order) -> bool:
        """Whether nothing is left to revoke. What is not replaced stays, unless the operator wants it away anyhow."""
        entry = self.state[order.name]
        pending = entry.get("revoke")
        if pending is None:
            return True
        try:
            chain = read(self._aside(order))
            replaced = self._key_in_use(order) not in (None, digest(pem.read_chain(chain)[0]))
            if not replaced and not pending["unreplaced"]:
                raise Refused(f"it is not replaced yet: {entry.get('error') or 'the new one is not in place'}")
            self._lego.revoke(order.name, chain, int(pending["reason"]))
        except (Refused, TlsError, OSError) as failure:
            entry["revoke_error"] = str(failure)
            print(f"{order.name}: not revoked: {failure}", file=sys.stderr, flush=True)
            return False
        self._aside(order).unlink(missing_ok=True)
        for name in ("revoke", "revoke_error"):
            entry.pop(name, None)
        entry["revoked_for"] = entry["revoke_for"]
        print(f"{order.name}: revoked", flush=True)
        return True

    def _key_in_use(self, order: Order) -> str | None:
        """Of the certificate that is in place, once the installer has taken what was issued."""
        held = self._shelf.held(order.name)
        return held.key if held is not None and self._installed(order.name) else None

    def _installed(self, name: str) -> bool:
        """Wait until the installer has taken what was issued for the name."""
        deadline = time.monotonic() + INSTALLED
        while self._shelf.waiting(name) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def _aside(self, order: Order) -> Path:
        return self._shelf.own / f"{order.name}.revoke"


def main(shelf: Shelf) -> int:
    """Exit status: 0 also where a name has failed, which its entry in the state says; the unit did what it is for."""
    settings = shelf.read_settings()
    for folder in ("held", "lego"):
        (shelf.own / folder).mkdir(mode=0o700, exist_ok=True)
    lego = Lego(shelf, settings, WEBROOT)
    client = Client(
        shelf, lego, settings, lambda order: _here(order, settings),
        lambda: directory.fault(settings, shelf.settings / "directory-ca.pem"),
    )  # fmt: skip
    client.run()
    return 0


def _here(order: Order, settings: Mapping[str, Any]) -> str | None:
    """By DNS a name is proved without anything leading here."""
    if settings["challenge"] != "http-01":
        return None
    return here.fault(order.hosts, settings, WEBROOT, here.resolver(list(settings["resolvers"])))


def _now() -> datetime:
    return datetime.now(UTC)
