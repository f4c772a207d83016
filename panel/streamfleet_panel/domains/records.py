"""The records by which a customer proves a domain. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

#: Label below the domain at which the TXT record stands, and what its value begins with.
LABEL, VALUE = "_streamfleet", "streamfleet="


class Verdict(Enum):
    """What DNS says of one customer's claim. ``UNKNOWN``: name servers did not answer, which proves nothing."""

    PROVED = "proved"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """The values of one record set; ``known`` is false where nobody answered."""

    values: frozenset[str] = frozenset()
    known: bool = True


@dataclass(frozen=True)
class Found:
    """What stands at a domain: values of TXT at its label, and the target of its CNAME without the last dot.

    The CNAME says where the domain leads, too, so it is asked for where it proves nothing.
    """

    txt: Answer = field(default_factory=Answer)
    cname: Answer = field(default_factory=Answer)

    def verdict(self, token: str, targets: Collection[str]) -> Verdict:
        """Whether the customer with ``token`` has proved it; ``targets`` are suffixes of CNAMEs that do."""
        if f"{VALUE}{token}" in self.txt.values or any(f"{token}.{one}" in self.cname.values for one in targets):
            return Verdict.PROVED
        if not self.txt.known or (targets and not self.cname.known):
            return Verdict.UNKNOWN
        return Verdict.ABSENT

    @property
    def others(self) -> bool:
        """A record for some customer stands there."""
        return any(value.startswith(VALUE) for value in self.txt.values)


def txt_name(name: str) -> str:
    """Where the TXT record of a domain stands."""
    return f"{LABEL}.{name}"


def proof(name: str, token: str, target: str) -> dict[str, Mapping[str, Any] | None]:
    """The records of which one proves the domain: ``{"txt": {"name", "value"}, "cname": the same or None}``."""
    return {
        "txt": {"name": txt_name(name), "value": f"{VALUE}{token}"},
        "cname": {"name": name, "value": f"{token}.{target}"} if target else None,
    }
