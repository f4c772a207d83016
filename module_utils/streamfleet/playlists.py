"""Playlists and their times as programs on nodes read them: what renderers check, for all that plays by itself.

Whatever the panel has let through, a program gets paths inside the library and times that are times, or nothing.
"""

from __future__ import annotations

import hashlib
import re
import zoneinfo
from collections.abc import Mapping
from typing import Any

from .engine import RenderError

DAYS = frozenset({"mon", "tue", "wed", "thu", "fri", "sat", "sun"})
TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
LONGEST_PATH = 500
SURROGATE = re.compile("[\ud800-\udfff]")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def times_by_name(service: Mapping[str, Any], kind: str) -> dict[str, list[dict[str, Any]]]:
    """What the station's calendar adds to playlists or DJs, by their names: windows as these have them, checked."""
    found: dict[str, list[dict[str, Any]]] = {}
    for number, item in enumerate(service.get("schedules") or []):
        where, name = f"schedules[{number}]", item[kind]
        check_texts(item, where)
        if name is None or not item["enabled"]:
            continue
        window = {key: item[key] for key in ("days", "start", "end")}
        window |= {key: item[key] for key in ("start_date", "end_date") if item[key] is not None}
        check_window(window, where)
        found.setdefault(name, []).append(window)
    return found


def with_times(own: Any, times: list[dict[str, Any]], *, only: bool) -> list[dict[str, Any]] | None:
    """Times of its own and those of the calendar. ``only``: without any it is never on, otherwise always (None)."""
    if own is None and not only:
        return None
    return [*(own or []), *times]


def playlists_of(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The service's playlists as the chooser reads them, with the times of its calendar. Raises RenderError."""
    times = times_by_name(service, "playlist")
    items = service.get("playlists") or []
    return [playlist_of(item, f"playlists[{number}]", times) for number, item in enumerate(items)]


def playlist_of(item: Mapping[str, Any], where: str, times: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The playlist as the chooser reads it, its paths and times checked."""
    check_texts(item, where)
    if item.get("folder") is not None:
        check_path(item["folder"], f"{where}.folder", root=True)
    for number, path in enumerate(item.get("files") or []):
        check_path(path, f"{where}.files[{number}]")
    check_windows(item.get("active"), where)
    keys = ("name", "enabled", "type", "folder", "files", "order", "weight", "active", "every_tracks", "every_minutes")
    active = with_times(item.get("active"), times.get(item["name"], []), only=item.get("type") == "scheduled")
    return {**{key: item.get(key) for key in keys}, "active": active}


def check_texts(item: Mapping[str, Any], where: str, secret: bool = False) -> None:
    """Raises RenderError for a text that no file can hold."""
    for key, value in item.items():
        if isinstance(value, str) and SURROGATE.search(value):
            shown = "(hidden)" if secret or key == "password" else ascii(value)
            raise RenderError(f"{where}.{key}", shown, "holds half a character (a surrogate): remove it")


def check_windows(windows: Any, where: str) -> None:
    """Raises RenderError for what is no window of time."""
    for number, window in enumerate(windows or []):
        check_window(window, f"{where}.active[{number}]")


def check_window(window: Mapping[str, Any], where: str) -> None:
    """Raises RenderError for a time of day or a day that is none."""
    for end in ("start", "end"):
        if not isinstance(window.get(end), str) or not TIME.fullmatch(window[end]):
            raise RenderError(f"{where}.{end}", window.get(end), "is not a time from 00:00 to 23:59")
    if not set(window.get("days") or []) <= DAYS:
        raise RenderError(f"{where}.days", window["days"], f"are not days of {sorted(DAYS)}")
    for end in ("start_date", "end_date"):
        day = window.get(end)
        if day is not None and (not isinstance(day, str) or not DATE.fullmatch(day)):
            raise RenderError(f"{where}.{end}", day, "is not a date as 2026-12-24")


def check_path(path: object, field: str, root: bool = False) -> None:
    """A path below the library. ``root``: it may be the library itself, written as a dot."""
    if root and path == ".":
        return
    good = (
        isinstance(path, str)
        and len(path) <= LONGEST_PATH
        and not CONTROL.search(path)
        and all(part not in ("", ".", "..") for part in path.split("/"))
    )
    if not good:
        raise RenderError(
            field, path, "is not a path inside the media library: no leading slash, no .. and no empty part"
        )


def time_zone(name: str, field: str) -> str:
    """The name of a zone that programs find. Raises RenderError."""
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        message = "is not a time zone: use an IANA name such as Europe/Prague"
        raise RenderError(field, name, message) from None
    return name


def seed_of(slug: str) -> int:
    """What shuffling starts from, where nobody has said."""
    return int.from_bytes(hashlib.sha256(slug.encode()).digest()[:4], "big") >> 1
