"""Who of the connected DJs is heard. Pure: times are given, in seconds of any one clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Show:
    """A DJ who is connected, on a slot of Liquidsoap. ``since``: when the show began, drop-outs included."""

    username: str
    slot: int
    since: float


@dataclass(frozen=True)
class Absent:
    """A DJ who has dropped out while being heard, and is waited for until ``until``."""

    since: float
    priority: int
    until: float


class Air:
    """The shows of a station, in the order in which they are to be heard."""

    def __init__(self) -> None:
        self.shows: dict[str, Show] = {}
        self._absent: dict[str, Absent] = {}

    def join(self, username: str, slot: int, now: float) -> bool:
        """A DJ has connected; whether this goes on with a show that had dropped out.

        The air is kept for one who has returned until it is heard (``forget``): no equal comes on for the moment
        between its connection and its first sound.
        """
        absent = self._absent.get(username)
        returned = absent is not None and now <= absent.until
        if not returned:
            self.forget(username)
        since = absent.since if absent is not None and returned else now
        self.shows[username] = Show(username, slot, since)
        return returned

    def leave(self, username: str, priority: int, keep_until: float | None) -> None:
        """A DJ is gone. ``keep_until``: until when the air is kept for it, where it was heard and may come back."""
        show = self.shows.pop(username, None)
        self.forget(username)
        if show is not None and keep_until is not None:
            self._absent[username] = Absent(show.since, priority, keep_until)

    def forget(self, username: str) -> None:
        """Wait for this one no more: it is heard, or does not come back."""
        self._absent.pop(username, None)

    def ranking(self, priorities: Mapping[str, int], now: float) -> list[Show]:
        """Who is to be heard first, who when that one has no sound, and so on.

        The highest priority first, of equal ones who came first. One whose equal is waited for is left out.
        """
        self._absent = {name: absent for name, absent in self._absent.items() if now <= absent.until}
        by_since = sorted(self._absent.values(), key=lambda absent: absent.since, reverse=True)
        kept = {absent.priority: absent.since for absent in by_since}
        able = [show for show in self.shows.values() if show.username in priorities]
        # Who was on the air before the absent one, by the order of their coming, does not wait for it.
        able = [show for show in able if show.since <= kept.get(priorities[show.username], show.since)]
        return sorted(able, key=lambda show: (-priorities[show.username], show.since, show.slot))
