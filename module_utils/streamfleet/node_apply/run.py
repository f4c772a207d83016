"""What one apply works with: how it was asked, what it found, what it plans and did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import firewall, users
from .holder import Holder
from .host import Host
from .plan import Plan
from .transfer import Transfer


@dataclass(frozen=True)
class Options:
    """How to apply. ``lock_timeout`` and ``start_timeout`` are seconds."""

    check: bool = False
    diff: bool = False
    who: str = "unknown"
    lock_timeout: float = 60.0
    start_timeout: float = 10.0


@dataclass
class Run:
    """What one apply works with."""

    host: Host
    options: Options
    payload: Mapping[str, Any]
    state: dict[str, Any]
    journal: dict[str, Any]
    accounts: users.Accounts
    plans: list[Plan] = field(default_factory=list)
    purge: list[str] = field(default_factory=list)
    retire: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    retire_problems: dict[str, str] = field(default_factory=dict)
    purged: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    pairs: set[firewall.Pair] = field(default_factory=set)
    firewall_differs: bool = False
    warnings: list[str] = field(default_factory=list)
    transfer: Transfer = field(default_factory=Transfer)
    names: list[Holder] = field(default_factory=list)
    #: What one service gives up and another gets.
    passed: set[str] = field(default_factory=set)

    @property
    def live(self) -> list[Plan]:
        """The plans that have not failed."""
        return [plan for plan in self.plans if not plan.error]
