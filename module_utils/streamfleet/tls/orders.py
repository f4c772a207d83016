"""What is to be ordered from an ACME directory, and when: decided here for the client on a host and the module alike.

Reads nothing and writes nothing; on Python's own library.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

#: What is waited after failures in a row: a directory's cost its patience, one that was found here costs nothing.
FIRST, LONGEST, LONGEST_HERE = timedelta(minutes=10), timedelta(days=1), timedelta(hours=1)
LIMITED = timedelta(hours=1)
#: A limit's end that is further away is not believed.
FURTHEST = timedelta(days=8)
_AGAIN_AT = re.compile(r"retry after (\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)", re.IGNORECASE)
#: Settings whose change makes another attempt worth while at once.
TELLING = ("directory", "email", "challenge", "dns_provider", "resolvers", "addresses", "proxied", "secrets")


@dataclass(frozen=True)
class Order:
    """What is wanted: the certificate's names, the first of which is its folder's, and the digest of its public key.

    ``key`` is None where there is no request yet.
    """

    name: str
    hosts: tuple[str, ...]
    key: str | None = None


@dataclass(frozen=True)
class Held:
    """A certificate that the directory has issued."""

    hosts: frozenset[str]
    key: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Asked:
    """What an operator asks for beyond what is due: ``renew`` and ``revoke`` are names.

    ``retry`` lets nothing wait that failed for a reason that was found here.
    """

    id: str = ""
    renew: tuple[str, ...] = ()
    revoke: tuple[str, ...] = ()
    reason: int = 0
    unreplaced: bool = False
    retry: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Asked:
        """From its file."""
        return cls(
            str(data.get("id") or ""),
            tuple(data.get("renew") or ()),
            tuple(data.get("revoke") or ()),
            int(data.get("reason") or 0),
            bool(data.get("unreplaced")),
            bool(data.get("retry")),
        )


def fingerprint(settings: Mapping[str, Any], order: Order) -> str:
    """What an attempt depends on; after a failure it is not waited when this is another one."""
    told = [order.hosts, *(settings.get(name) for name in TELLING)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def wanted(
    order: Order, held: Held | None, entry: Mapping[str, Any], settings: Mapping[str, Any], asked: Asked, now: datetime
) -> str | None:
    """Why a certificate is to be ordered, in words; None where the one that is held does.

    ``entry``: what the client's state says of the name. ``settings``: ``directory`` and ``renew_days``.
    """
    if held is None or order.key is None:
        return "there is none yet"
    if entry.get("directory") != settings["directory"]:
        return f"the one that is there is of {entry.get('directory') or 'another directory'}"
    if set(order.hosts) != held.hosts:
        return f"the one that is there is for {', '.join(sorted(held.hosts))}"
    if order.key != held.key:
        return "it gets a new key"
    if order.name in (*asked.renew, *asked.revoke) and entry.get("renewed_for") != asked.id:
        return "it was asked for"
    left = held.until - now
    if left < early(order.name, held, float(settings["renew_days"])):
        return f"{max(0, left // timedelta(days=1))} days are left of the one that is there"
    return None


def fits(order: Order, held: Held | None, entry: Mapping[str, Any], settings: Mapping[str, Any], now: datetime) -> bool:
    """Whether the one that is held is what would be ordered, and valid; however soon it is to be renewed."""
    return (
        held is not None
        and entry.get("directory") == settings["directory"]
        and set(order.hosts) == held.hosts
        and order.key == held.key
        and held.since <= now < held.until
    )


def early(name: str, held: Held, renew_days: float) -> timedelta:
    """How long before its end a certificate is renewed: at most a third of its time, a little later for some names, so
    that what was made at one time is not all renewed at one time."""
    most = min(timedelta(days=renew_days), (held.until - held.since) / 3)
    return most * (0.9 + 0.1 * hashlib.sha256(name.encode()).digest()[0] / 255)


def waits(
    order: Order, entry: Mapping[str, Any], settings: Mapping[str, Any], asked: Asked, now: datetime
) -> datetime | None:
    """Until when it is waited after failures; None: it may be tried."""
    until = moment(entry.get("next_try"))
    if until is None or until <= now or entry.get("fingerprint") != fingerprint(settings, order):
        return None
    if order.name in (*asked.renew, *asked.revoke) and entry.get("tried_for") != asked.id:
        return None
    if asked.retry and entry.get("here") and entry.get("tried_for") != asked.id:
        return None
    return until


def failed(
    entry: Mapping[str, Any], error: str, here: bool, now: datetime, chance: float, longest: timedelta = LONGEST_HERE
) -> dict[str, Any]:
    """The entry after one more failure. ``here``: found before the directory was asked. ``chance``: from 0 to 1.

    ``longest``: what is waited at most where it was found here.
    """
    count = int(entry.get("failures") or 0) + 1 if entry.get("here", here) == here else 1
    delay = min(FIRST * 2 ** min(count - 1, 10), longest if here else LONGEST) * (1 + chance / 10)
    if "rateLimited" in error:
        delay = max(delay, LIMITED)
        said = _AGAIN_AT.search(error)
        end = moment(f"{said[1]}T{said[2]}Z") if said else None
        if end is not None:
            delay = min(max(delay, end - now), FURTHEST)
    return {**entry, "error": error, "here": here, "failures": count, "next_try": text(now + delay)}


def issued(entry: Mapping[str, Any], held: Held, directory: str, now: datetime) -> dict[str, Any]:
    """The entry after a success."""
    kept = {name: value for name, value in entry.items() if name not in ("error", "here", "failures", "next_try")}
    return {**kept, "directory": directory, "issued_at": text(now), "not_after": text(held.until)}


def text(at: datetime) -> str:
    """RFC 3339, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(said: Any) -> datetime | None:
    """The reverse; None for what is no time."""
    try:
        return datetime.fromisoformat(said)
    except (TypeError, ValueError):
        return None
