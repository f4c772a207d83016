"""One look of the client at tenants' own names: bounded in time and in orders, and no tenant is in another's way.

What is known of all stands in one file, so that a name that is fine costs a look nothing but its line in a listing.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import directory, domains, here, orders, pem
from .client import WEBROOT
from .errors import TlsError
from .lego import Lego, Refused
from .orders import Order
from .shelf import Shelf, digest, held, read

if pem.MISSING is None:
    from cryptography import x509

#: Seconds after which a look leaves the rest to the next one.
LONGEST = 300.0
#: Names whose DNS is asked at one time.
AT_ONCE = 8
#: Seconds between writes of what is known, where nothing was ordered: it is one file.
WRITTEN = 15.0
#: Seconds for which the installer is waited for.
INSTALLED = 10.0
HOUR = timedelta(hours=1)
#: What a name waits at most that does not lead here.
LONGEST_ELSEWHERE = timedelta(hours=6)
#: What ends sooner comes before all others.
URGENT = timedelta(days=7)
#: A name that has gone is known for as long as its certificate is kept (keys.py).
GRACE = timedelta(days=7)
#: Of an hour's orders one tenant has at most a fifth while others wait who have had less, but so many in any case; a
#: fifth is left to who comes later.
FIFTH, SHARE = 5, 5
#: Names that are told with what is wrong with them.
TOLD = 20


class Tenants:
    """``check``: why a name does not lead here. ``usable``: why the directory cannot be asked. None: all is well."""

    def __init__(
        self,
        shelf: Shelf,
        lego: Lego,
        settings: dict[str, Any],
        check: Callable[[str], str | None],
        usable: Callable[[], str | None],
    ) -> None:
        self._shelf, self._lego, self._settings = shelf, lego, settings
        self._check, self._usable = check, usable
        self._asked_for = shelf.read_asked()
        self._fingerprint = orders.fingerprint(settings, Order("", ()))
        self._known = shelf.read_domains()
        self._names: dict[str, dict[str, Any]] = self._known["names"]
        self._written = _text(self._known)
        self._next_write = 0.0
        #: Name → when its request was made, in nanoseconds.
        self._requests: dict[str, int] = {}
        #: Name → uid of the tenant whose it is.
        self._uids: dict[str, int] = {}
        self._listed: int | None = None
        # Whether the directory can be used, and what it says of all, is found out once.
        self._asked = self._limited = False

    def run(self) -> None:
        """Order what is due, as far as that may be."""
        deadline = time.monotonic() + LONGEST
        self._list()
        self._lay_aside()
        self._settle(again=True)
        self._known["error"] = ""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self._order_due(pool, deadline)
            # Who has come while the installer was waited for has woken nobody.
            while self._list() and time.monotonic() < deadline:
                self._order_due(pool, deadline)
        self._revoke()
        self._write(now=True)

    def _is_asked(self, name: str) -> bool:
        """Whether the operator wants it anew, and it was not tried since."""
        wanted = name in self._asked_for.renew or name in self._asked_for.revoke
        return wanted and self._names.get(name, {}).get("tried_for") != self._asked_for.id

    def _lay_aside(self) -> None:
        """Note what is to be revoked, and keep it until it is: what was asked for and not done yet is not forgotten."""
        asked = self._asked_for
        for name in (name for name in asked.revoke if name in self._requests):
            entry = self._names.setdefault(name, {})
            if entry.get("revoke_for") == asked.id:
                continue
            try:
                if "revoke" not in entry:
                    pem.put(self._aside(name), read(self._shelf.replaced(name)), 0o600)
            except OSError as failure:
                entry["revoke_error"] = f"this host: {failure}"
                continue
            entry["revoke"] = {"reason": asked.reason, "unreplaced": asked.unreplaced}
            entry["revoke_for"] = asked.id
            self._write(now=True)

    def _revoke(self) -> None:
        """Revoke what has been replaced; what is not stays, unless the operator wants it away anyhow."""
        for name, entry in self._names.items():
            if "revoke" not in entry:
                continue
            try:
                chain = read(self._aside(name))
                old = digest(pem.read_chain(chain)[0])
                replaced = "waiting" not in entry and entry.get("key") not in (None, old)
                if not replaced and not entry["revoke"]["unreplaced"]:
                    raise Refused(f"it is not replaced yet: {entry.get('error') or 'the new one is not in place'}")
                self._lego.revoke(name, chain, int(entry["revoke"]["reason"]))
            except (Refused, TlsError, OSError) as failure:
                entry["revoke_error"] = str(failure)
                print(f"{name}: not revoked: {failure}", file=sys.stderr, flush=True)
                continue
            self._aside(name).unlink(missing_ok=True)
            entry.pop("revoke_error", None)
            del entry["revoke"]
            entry["revoked_for"] = entry["revoke_for"]
            print(f"{name}: revoked", flush=True)

    def _aside(self, name: str) -> Path:
        return self._shelf.own / "domains" / f"{name}.revoke"

    def _fault(self) -> str:
        """Why nothing can be ordered; empty where it can."""
        registered = self._lego.registered
        fault = self._usable() if registered else "the host's own names come first, and none has been ordered yet"
        if fault is not None:
            print(f"no name of a tenant's is ordered: {fault}", file=sys.stderr, flush=True)
        return fault or ""

    def _order_due(self, pool: ThreadPoolExecutor, deadline: float) -> None:
        due = self._due()
        if due and not self._asked:
            self._asked, self._known["error"] = True, self._fault()
        if self._known["error"]:
            return
        while due and time.monotonic() < deadline and (batch := self._batch(due)):
            self._try(batch, pool)
            # Who has come meanwhile does not wait for all who were there.
            due = self._due() if self._list() else [name for name in due if name not in set(batch)]
        installed = time.monotonic() + INSTALLED
        while not self._settle() and time.monotonic() < installed:
            time.sleep(0.2)

    def _list(self) -> bool:
        """See which names there are; whether they may be others than before."""
        changed = self._shelf.domains.stat().st_mtime_ns
        if changed == self._listed:
            return False
        self._listed, self._requests, own = changed, {}, set(self._settings["own"])
        with os.scandir(self._shelf.domains) as files:
            for file in files:
                name = file.name.removesuffix(".csr")
                if name == file.name or name in own or domains.problem(name) is not None:
                    continue
                try:
                    self._requests[name] = file.stat(follow_symlinks=False).st_mtime_ns
                except FileNotFoundError:
                    continue
        self._uids = {name: owner.uid for name, owner in self._shelf.read_owners().items()}
        now = _now()
        for name, entry in list(self._names.items()):
            if name in self._requests:
                entry.pop("left", None)
                continue
            since = orders.moment(entry.setdefault("left", orders.text(now)))
            if since is None or now - since > GRACE:
                del self._names[name]
                self._chain(name).unlink(missing_ok=True)
                self._aside(name).unlink(missing_ok=True)
        return True

    def _due(self) -> list[str]:
        """Names that are to be looked at: renewals that have not failed, then all others. In both tenants take turns.

        One tenant's own: first what is about to end, then new ones, then who has waited longest.
        """
        now, urgent = orders.text(_now()), orders.text(_now() + URGENT)
        found = []
        for name, made in self._requests.items():
            entry = self._names.get(name, {})
            # A name that goes and comes back has a new request; what the directory has refused waits all the same.
            anew = entry.get("request") != made and ("next_try" not in entry or entry.get("here"))
            if anew or self._is_asked(name) or not self._rests(entry, now):
                ends = str(entry.get("not_after") or "9")
                renewal = "error" not in entry and now < ends < "9" and str(entry.get("renew_at") or "9") <= now
                found.append((not renewal, ends > urgent, str(entry.get("tried_at") or ""), name))
        turns: Counter[tuple[bool, int]] = Counter()
        taken = []
        for further, later, tried, name in sorted(found):
            whose = further, self._uids.get(name, 0)
            taken.append((further, turns[whose], later, tried, name))
            turns[whose] += 1
        return [name for *_order, name in sorted(taken)]

    def _batch(self, due: list[str]) -> list[str]:
        """Who is next: names of tenants who have not had their share of this hour; others when none of these waits.

        Before all, whatever was had: what the operator has asked for.
        """
        if asked := [name for name in due if self._is_asked(name)]:
            return [] if self._limited else asked[:AT_ONCE]
        room, most = self._room(), int(self._settings["domains_per_hour"])
        had = Counter(uid for _at, uid in self._known["ordered"])
        share = max(SHARE, most // FIFTH)
        for limit in (share, max(share, most - most // FIFTH)):
            batch: list[str] = []
            mine = Counter(had)
            for name in due:
                if len(batch) >= min(AT_ONCE, room):
                    break
                uid = self._uids.get(name, 0)
                if mine[uid] < limit:
                    batch.append(name)
                    mine[uid] += 1
            if batch:
                return batch
        return []

    def _rests(self, entry: dict[str, Any], now: str) -> bool:
        """Whether a name is fine, or waits after a failure. All times are written in one way, and compared as text."""
        if "next_try" in entry:
            return str(entry["next_try"]) > now and entry.get("fingerprint") == self._fingerprint
        return entry.get("directory") == self._settings["directory"] and str(entry.get("renew_at") or "") > now

    def _try(self, names: list[str], pool: ThreadPoolExecutor) -> None:
        wanted, now = [], orders.text(_now())
        for name in names:
            order, entry = Order(name, (name,), self._key(name)), self._names.get(name, {})
            if (
                order.key is not None
                and not self._is_asked(name)
                and entry.get("key") == order.key
                and "error" not in entry
                and self._rests(entry, now)
            ):
                # It was away, and is back with what it had.
                entry["request"] = self._requests[name]
            else:
                wanted.append(order)
        for order, fault in zip(wanted, pool.map(self._look_at, wanted), strict=True):
            asked = self._is_asked(order.name)
            if fault is not None:
                self._failed(order.name, fault, found_here=True)
            elif self._room() > 0 or (asked and not self._limited):
                self._order(order)
        self._write()

    def _key(self, name: str) -> str | None:
        try:
            return digest(x509.load_pem_x509_csr(read(self._shelf.domain_request(name))))
        except (OSError, ValueError):
            return None

    def _look_at(self, order: Order) -> str | None:
        if order.key is None:
            return "this host: its request cannot be read"
        try:
            return self._check(order.name)
        except Exception as failure:
            # Whatever it is, it is this name's: the others have their turn.
            return f"this host: {type(failure).__name__}: {failure}"

    def _order(self, order: Order) -> None:
        print(f"{order.name}: ordered", flush=True)
        self._known["ordered"].append((orders.text(_now()), self._uids.get(order.name, 0)))
        try:
            chain = self._lego.obtain(self._shelf.domain_request(order.name))
            got = held(chain)
            if got.key != order.key or got.hosts != set(order.hosts):
                raise TlsError("the directory has issued a certificate for another key or name than was asked for")
            pem.put(self._chain(order.name), chain, 0o644)
        except (Refused, TlsError) as failure:
            self._failed(order.name, str(failure), found_here=False)
            self._limited = _is_of_all(str(failure))
        except Exception as failure:
            self._failed(order.name, f"this host: {type(failure).__name__}: {failure}", found_here=True)
        else:
            renewed = got.until - orders.early(order.name, got, float(self._settings["renew_days"]))
            self._names[order.name] = {
                **orders.issued(self._tried(order.name), got, self._settings["directory"], _now()),
                "key": got.key,
                "renew_at": orders.text(renewed),
                "waiting": hashlib.sha256(chain).hexdigest(),
                **({"renewed_for": self._asked_for.id} if self._asked_for.id else {}),
            }
            self._shelf.hand_on(order.name, chain)
            print(f"{order.name}: issued, until {orders.text(got.until)}", flush=True)
        # At once: what was ordered and is forgotten would be ordered again. There are few of these in an hour.
        self._write(now=True)

    def _failed(self, name: str, error: str, *, found_here: bool) -> None:
        chance = random.random()  # noqa: S311
        self._names[name] = orders.failed(self._tried(name), error, found_here, _now(), chance, LONGEST_ELSEWHERE)
        print(f"{name}: {error}", file=sys.stderr, flush=True)

    def _tried(self, name: str) -> dict[str, Any]:
        tried = {"tried_at": orders.text(_now()), "fingerprint": self._fingerprint, "request": self._requests[name]}
        if self._asked_for.id:
            tried["tried_for"] = self._asked_for.id
        return {**self._names.get(name, {}), **tried}

    def _room(self) -> int:
        """How many more may be ordered now."""
        since = orders.text(_now() - HOUR)
        self._known["ordered"] = [(at, uid) for at, uid in self._known["ordered"] if at > since]
        return 0 if self._limited else int(self._settings["domains_per_hour"]) - len(self._known["ordered"])

    def _settle(self, *, again: bool = False) -> bool:
        """Whether all that was issued is in place. ``again``: what got lost on the way is handed on once more."""
        settled = True
        for name, entry in self._names.items():
            if "waiting" not in entry or name not in self._requests:
                continue
            try:
                placed = read(self._shelf.marker(name)).decode("ascii", "replace")
            except OSError:
                placed = ""
            if placed == entry["waiting"]:
                del entry["waiting"]
                self._chain(name).unlink(missing_ok=True)
                continue
            settled = False
            if again and not (self._shelf.issued / f"{name}.pem").exists():
                try:
                    self._shelf.hand_on(name, read(self._chain(name)))
                except OSError:
                    # It is ordered anew.
                    del entry["waiting"]
                    entry.pop("renew_at", None)
        return settled

    def _write(self, *, now: bool = False) -> None:
        if not now and time.monotonic() < self._next_write:
            return
        text = _text(self._known)
        if text != self._written:
            self._shelf.write_domains(text)
        self._written, self._next_write = text, time.monotonic() + WRITTEN

    def _chain(self, name: str) -> Path:
        return self._shelf.own / "domains" / f"{name}.pem"


def main(shelf: Shelf) -> int:
    """Exit status: 0 also where names have failed, which the state says; the unit did what it is for."""
    # A tenant's name is not proved by what the operator's provider of DNS can do.
    settings = {**shelf.read_settings(), "challenge": "http-01"}
    for folder in ("domains", "lego-domains"):
        (shelf.own / folder).mkdir(mode=0o700, exist_ok=True)
    accounts = shelf.own / "lego-domains" / "accounts"
    if not accounts.is_symlink():
        accounts.symlink_to("../lego/accounts")
    resolve = here.resolver(list(settings["resolvers"]))
    Tenants(
        shelf, Lego(shelf, settings, WEBROOT, folder="lego-domains"), settings,
        lambda name: here.fault([name], settings, WEBROOT, resolve),
        lambda: directory.fault(settings, shelf.settings / "directory-ca.pem"),
    ).run()  # fmt: skip
    return 0


def tell(shelf: Shelf) -> int:
    """Print, as JSON, how many names there are, how many have their certificate, and what is wrong with some."""
    known, now = shelf.read_domains(), orders.text(_now())
    names = {name: entry for name, entry in known["names"].items() if "left" not in entry}
    failing = sorted(name for name, entry in names.items() if entry.get("error"))
    served = [entry for entry in names.values() if "waiting" not in entry and str(entry.get("not_after") or "") > now]
    print(
        json.dumps(
            {
                "names": sum(1 for path in shelf.domains.iterdir() if path.suffix == ".csr"),
                "served": len(served),
                "failing": len(failing),
                "error": known["error"],
                "told": [
                    f"{name}: {names[name]['error']} (again {names[name]['next_try']})" for name in failing[:TOLD]
                ],
            }
        )
    )
    return 0


def _is_of_all(refusal: str) -> bool:
    """Whether a directory has refused for a limit of the account or of all, not of one name or domain.

    Those name what they are of, in quotation marks, or the set of names: texts of Boulder's limits.
    """
    limited = re.search(r"rateLimited.*", refusal, re.DOTALL)
    return limited is not None and re.search(r"\bfor \\?\"|exact set of", limited[0]) is None


def _text(known: dict[str, Any]) -> str:
    return json.dumps(known, separators=(",", ":"), sort_keys=True) + "\n"


def _now() -> datetime:
    return datetime.now(UTC)
