"""Which track comes next: the same seed, clock, library and state give the same answer. Pure."""

from __future__ import annotations

import hashlib
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from .queued import Item

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: A track does not come again within so many others, where there are as many.
APART = 20
#: The name under which the whole library is played when no playlist has anything.
LIBRARY = ""


@dataclass
class Position:
    """Where a playlist is: in shuffled order the round and the last track's place in it, else the last track itself.

    ``owed`` are tracks whose turn came too soon after they had been played.
    """

    round: int = 0
    place: str = ""
    owed: list[str] = field(default_factory=list)
    index: int = -1
    path: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Position:
        """From plain data."""
        owed = [str(path) for path in data["owed"]]
        return cls(int(data["round"]), str(data["place"]), owed, int(data["index"]), str(data["path"]))


@dataclass
class Jingle:
    """Since when a jingle is due again: tracks played and time (seconds of the epoch) when it came last."""

    tracks: int = 0
    at: float = 0.0

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Jingle:
        """From plain data."""
        return cls(int(data["tracks"]), float(data["at"]))


@dataclass
class State:
    """What is remembered between two choices. ``count`` numbers the choices; ``recent`` holds paths, newest last."""

    count: int = 0
    recent: list[str] = field(default_factory=list)
    recent_jingles: list[str] = field(default_factory=list)
    after_jingle: bool = False
    credits: dict[str, int] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    jingles: dict[str, Jingle] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Any) -> State:
        """From what ``as_dict`` gave. Whatever else it is, is a beginning: a station plays on with a broken file."""
        try:
            return cls(
                count=int(data["count"]),
                recent=[str(path) for path in data["recent"]],
                recent_jingles=[str(path) for path in data["recent_jingles"]],
                after_jingle=bool(data["after_jingle"]),
                credits={str(name): int(value) for name, value in data["credits"].items()},
                positions={str(name): Position.of(value) for name, value in data["positions"].items()},
                jingles={str(name): Jingle.of(value) for name, value in data["jingles"].items()},
            )
        except (TypeError, KeyError, ValueError, AttributeError):
            return cls()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """The next track: its number, the playlist that it is from (none: the library) and its path in the library.

    ``queued``: the id of the entry of the station's queue that it is.
    """

    number: int
    playlist: str | None
    path: str
    queued: str | None = None


def choose(
    settings: Mapping[str, Any],
    playlists: Sequence[Mapping[str, Any]],
    files: Sequence[str],
    state: State,
    at: float,
    queue: Sequence[Item] = (),
) -> Choice | None:
    """What is played from ``at`` (seconds of the epoch) on; None where there is nothing. Moves ``state`` on.

    :param files: every playable path of the library, sorted.
    :param queue: what was put before the rotation and waits, in order.
    """
    local = datetime.fromtimestamp(at, zone(settings.get("timezone", "UTC")))
    there = set(files)
    known = [playlist for playlist in playlists if playlist["enabled"]]
    tracks = {playlist["name"]: tracks_of(playlist, files, there) for playlist in known}
    ready = [item for item in known if tracks[item["name"]] and is_active(item["active"], local)]
    _forget(state, known)
    state.count += 1
    seed = int(settings.get("seed", 0))

    for jingle in (item for item in ready if item["type"] == "jingle"):
        if not state.after_jingle and _is_due(state, jingle, at):
            return _play(state, seed, jingle, tracks[jingle["name"]], at)
    asked = next((item for item in queue if item.path in there), None)
    for kind in ("scheduled", "rotation"):
        of_kind = {item["name"]: item for item in ready if item["type"] == kind}
        if kind == "rotation" and asked is not None:
            return _play_queued(state, asked)
        if of_kind:
            name = _turn(state, seed, {name: _weight(item) for name, item in of_kind.items()})
            return _play(state, seed, of_kind[name], tracks[name], at)
    jingles = {path for item in known if item["type"] == "jingle" for path in tracks[item["name"]]}
    rest = [path for path in files if path not in jingles] or list(files)
    if not rest:
        return None
    return _play(state, seed, {"name": LIBRARY, "type": "rotation", "order": "shuffle"}, rest, at)


def catch_up(state: State, before: State, after: State) -> None:
    """Bring ``state`` forward by a choice that was taken back, and was played all the same.

    That choice led from ``before`` to ``after``; ``state`` began at ``before`` without it. What has moved on since by
    itself stays where it is.
    """
    if state.credits == before.credits:
        state.credits = dict(after.credits)
    for name, position in after.positions.items():
        if state.positions.get(name) == before.positions.get(name):
            state.positions[name] = replace(position, owed=list(position.owed))
    for name, jingle in after.jingles.items():
        now, then = state.jingles.get(name), before.jingles.get(name, Jingle())
        if now is not None:
            since = max(0, now.tracks - then.tracks)
            state.jingles[name] = Jingle(jingle.tracks + since, max(now.at, jingle.at))
    for recent, earlier, later in (
        (state.recent, before.recent, after.recent),
        (state.recent_jingles, before.recent_jingles, after.recent_jingles),
    ):
        if later != earlier and later[-1:] != recent[-1:]:
            recent.extend(later[-1:])
            del recent[:-APART]


def zone(name: str) -> zoneinfo.ZoneInfo | Any:
    """The time zone, or UTC where this host does not know it: a wrong hour is better than silence."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return UTC


def is_active(windows: Iterable[Mapping[str, Any]] | None, local: datetime) -> bool:
    """Whether one of the windows holds ``local``, a time of the station's; without windows always.

    One that ends when it begins, or earlier, runs over midnight and belongs to the day on which it begins.
    """
    if windows is None:
        return True
    now = f"{local:%H:%M}"
    today = local.date()
    yesterday = today - timedelta(days=1)
    for window in windows:
        start, end = window["start"], window["end"]
        if start < end:
            if begins_on(window, today) and start <= now < end:
                return True
        elif (begins_on(window, today) and now >= start) or (begins_on(window, yesterday) and now < end):
            return True
    return False


def begins_on(window: Mapping[str, Any], day: date) -> bool:
    """Whether the window begins on this day: by its days of the week, and its dates where it has any."""
    if DAYS[day.weekday()] not in (window.get("days") or DAYS):
        return False
    # Dates of ISO 8601, which sort as they follow each other.
    first, last = window.get("start_date"), window.get("end_date")
    return (first is None or first <= day.isoformat()) and (last is None or day.isoformat() <= last)


def tracks_of(playlist: Mapping[str, Any], files: Sequence[str], there: set[str]) -> list[str]:
    """The playlist's tracks that are there, in its own order: as listed, else by path."""
    if playlist["files"] is not None:
        return [path for path in playlist["files"] if path in there]
    folder = playlist["folder"]
    if folder == ".":
        return list(files)
    return [path for path in files if path.startswith(f"{folder}/")]


def _weight(playlist: Mapping[str, Any]) -> int:
    return int(playlist.get("weight") or 1) if playlist["type"] == "rotation" else 1


def _forget(state: State, known: Sequence[Mapping[str, Any]]) -> None:
    """What is remembered of playlists that are no more."""
    names = {playlist["name"] for playlist in known}
    for memory in (state.credits, state.positions, state.jingles):
        for name in set(memory) - names - {LIBRARY}:
            del memory[name]


def _is_due(state: State, jingle: Mapping[str, Any], at: float) -> bool:
    """Whether so many tracks or minutes have passed since it came last, or was first seen."""
    since = state.jingles.setdefault(jingle["name"], Jingle(at=at))
    if jingle["every_tracks"]:
        return since.tracks >= int(jingle["every_tracks"])
    return at - since.at >= 60 * int(jingle["every_minutes"] or 1)


def _turn(state: State, seed: int, weights: Mapping[str, int]) -> str:
    """Whose turn it is: in every run of as many turns as the weights' sum each has its weight's number, well mixed."""
    for name, weight in weights.items():
        state.credits[name] = state.credits.get(name, 0) + weight
    best = max(weights, key=lambda name: (state.credits[name], _place(seed, "turn", state.count, name)))
    state.credits[best] -= sum(weights.values())
    return best


def _play(state: State, seed: int, playlist: Mapping[str, Any], tracks: Sequence[str], at: float) -> Choice:
    """Take the next track of the playlist."""
    name, is_jingle = playlist["name"], playlist["type"] == "jingle"
    recent = state.recent_jingles if is_jingle else state.recent
    position = state.positions.setdefault(name, Position())
    if playlist["order"] == "sequential":
        path = _next_in_order(position, tracks)
    else:
        apart = min(APART, len(set(tracks)) - 1)
        path = _next_shuffled(position, seed, name, tracks, set(recent[-apart:]) if apart else set())
    recent.append(path)
    del recent[:-APART]
    state.after_jingle = is_jingle
    if is_jingle:
        state.jingles[name] = Jingle(at=at)
    else:
        for jingle in state.jingles.values():
            jingle.tracks += 1
    return Choice(state.count, name or None, path)


def _play_queued(state: State, item: Item) -> Choice:
    """Take this one: the rotation and its playlists stay where they are."""
    state.recent.append(item.path)
    del state.recent[:-APART]
    state.after_jingle = False
    for jingle in state.jingles.values():
        jingle.tracks += 1
    return Choice(state.count, None, item.path, item.id)


def _next_in_order(position: Position, tracks: Sequence[str]) -> str:
    """The one after the last one, wherever that is by now; the first after the end."""
    index = position.index
    if not (0 <= index < len(tracks) and tracks[index] == position.path):
        # The playlist has changed: go on behind the same track, or where it would be.
        before = [number for number, path in enumerate(tracks) if path == position.path]
        index = before[0] if before else min(index, len(tracks)) - 1 if index >= 0 else -1
    position.index = (index + 1) % len(tracks)
    position.path = tracks[position.index]
    return position.path


def _next_shuffled(position: Position, seed: int, name: str, tracks: Sequence[str], avoided: set[str]) -> str:
    """The next in this round's order; every round has another one. A new track finds its place without disorder."""
    there = set(tracks)
    position.owed = [path for path in position.owed if path in there]
    for path in position.owed:
        if path not in avoided:
            position.owed.remove(path)
            return path
    for _round in range(2):
        for place, path in sorted((_place(seed, name, position.round, path), path) for path in there):
            if place <= position.place:
                continue
            position.place = place
            if path not in avoided:
                return path
            if path not in position.owed:
                position.owed.append(path)
        position.round, position.place = position.round + 1, ""
    # Cannot be: fewer are avoided than there are. But a station must not stop for it.
    return tracks[0]


def _place(seed: int, *parts: object) -> str:
    text = "\0".join(str(part) for part in (seed, *parts))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
