"""What a station's owner has put at the head of what plays: what of it waits, and what became of the rest. Pure.

The panel says what was asked for, and never changes an entry; what became of each is remembered here, by its id, for as
long as the panel names it. So nothing is played twice, whoever restarts when.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Entries that are read of what the panel says, and those that are remembered beyond it.
MOST, REMEMBERED = 200, 200
WAITING, PLAYED, FAILED = "waiting", "played", "failed"
LONGEST_MESSAGE = 200

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Item:
    """One recording that was asked for: its id, and its path in the library."""

    id: str
    path: str


class Queue:
    """The queue of a station. ``run`` stands for the player: another one has nothing of what the last one was given."""

    def __init__(self, wanted: object, known: object, run: str) -> None:
        listed = wanted if isinstance(wanted, list) else []
        self.items = [Item(item["id"], item["path"]) for item in listed[:MOST] if _is_item(item)]
        found = known if isinstance(known, dict) else {}
        self._known: dict[str, dict[str, Any]] = {
            name: dict(entry) for name, entry in found.items() if isinstance(entry, dict)
        }
        self._run = run

    def waiting(self) -> list[Item]:
        """What the player has not been given yet, in order."""
        return [item for item in self.items if self._state(item.id) in ("", WAITING) and not self._is_given(item.id)]

    def unseen(self) -> list[Item]:
        """What nobody has looked at yet, in order."""
        return [item for item in self.items if not self._state(item.id)]

    def seen(self, name: str) -> None:
        """It can be played."""
        self._known.setdefault(name, {"state": WAITING})

    def failed(self, name: str, message: str) -> None:
        """It cannot be played."""
        self._end(name, FAILED, message[:LONGEST_MESSAGE])

    def give(self, name: str, number: int) -> None:
        """The player has it, as track ``number``."""
        self.seen(name)
        self._known[name] |= {"number": number, "run": self._run}

    def take_back(self, name: str) -> None:
        """The player has let go of it."""
        for key in ("number", "run"):
            self._known.get(name, {}).pop(key, None)

    def started(self, name: str | None, number: int) -> None:
        """Track ``number`` is on the air, entry ``name`` of the queue (None: of no queue)."""
        for other, entry in list(self._known.items()):
            given = entry.get("number")
            if self._is_given(other) and self._state(other) == WAITING and isinstance(given, int) and given < number:
                # The player came past it.
                self.failed(other, "could not be played")
        if name is not None:
            self._end(name, PLAYED, "")

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: what the panel names, and the last of what it named before."""
        named = {item.id for item in self.items}
        earlier = [name for name in self._known if name not in named and self._state(name) in (PLAYED, FAILED)]
        kept = named | set(earlier[-REMEMBERED:])
        return {name: entry for name, entry in self._known.items() if name in kept}

    def told(self) -> dict[str, Any]:
        """What the panel is told of the entries that it names."""
        return {
            "items": [
                {"id": item.id, "state": self._state(item.id), "message": self._known[item.id].get("message", "")}
                for item in self.items
                if self._state(item.id)
            ]
        }

    def _state(self, name: str) -> str:
        state = self._known.get(name, {}).get("state", "")
        return state if state in (WAITING, PLAYED, FAILED) else ""

    def _is_given(self, name: str) -> bool:
        entry: Mapping[str, Any] = self._known.get(name, {})
        return entry.get("number") is not None and entry.get("run") == self._run

    def _end(self, name: str, state: str, message: str) -> None:
        self._known[name] = {"state": state, "message": message}


def _is_item(item: object) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("path"), str):
        return False
    return isinstance(item.get("id"), str) and _ID.fullmatch(item["id"]) is not None
