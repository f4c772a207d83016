"""What a playlist says: which files, in which order, at which times."""

from __future__ import annotations

import re
from typing import Any

from streamfleet_panel.apply.checks import Bad, Field, boolean, choice, integer, kind_of, one_line
from streamfleet_panel.models import Playlist

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_CHARACTERS = 500
MOST_FILES = 10_000
MOST_WINDOWS = 100

_PATH_FIX = "Write it relative to the media library, e.g. music/rock/song.mp3."
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_WHOLE_LIBRARY = "."
_line = one_line(MOST_CHARACTERS)


def path_of(value: Any) -> str:
    """A path inside the customer's media library. Raises Bad: absolute, or with a segment that leads elsewhere."""
    path = _line(value)
    if path.startswith("/"):
        raise Bad("begins with a slash", _PATH_FIX)
    for segment in path.split("/"):
        if segment in (".", ".."):
            raise Bad(f"contains the segment {segment}", _PATH_FIX)
        if not segment:
            raise Bad("ends with a slash, or has two in a row", _PATH_FIX)
    return path


def _folder(value: Any) -> str:
    return _WHOLE_LIBRARY if value == _WHOLE_LIBRARY else path_of(value)


def _items(value: Any, what: str, most: int) -> list[Any]:
    """``value`` as a list that is neither empty nor too long. Raises Bad."""
    if not isinstance(value, list):
        raise Bad(f"must be a list, is {kind_of(value)}", f"Write {what} as a list, one item each.")
    if not value:
        raise Bad("is empty", "Name at least one, or give null for none.")
    if len(value) > most:
        raise Bad(f"has {len(value)} items, at most {most} fit", "Name fewer, or split it into several playlists.")
    return value


def _files(value: Any) -> list[str]:
    paths = []
    for index, item in enumerate(_items(value, "files", MOST_FILES)):
        try:
            paths.append(path_of(item))
        except Bad as error:
            raise Bad(error.message, error.fix, f"[{index}]", item) from None
    return paths


def _active(value: Any) -> list[dict[str, Any]]:
    return [_window(item, f"[{index}]") for index, item in enumerate(_items(value, "times", MOST_WINDOWS))]


def _window(value: Any, where: str) -> dict[str, Any]:
    """One time of the week, with its days filled in. Raises Bad."""
    example = 'Write it as {days: [mon, fri], start: "22:00", end: "02:00"}.'
    if not isinstance(value, dict):
        raise Bad(f"must be a mapping, is {kind_of(value)}", example, where, value)
    for name in value:
        if name not in ("days", "start", "end"):
            raise Bad("is not a field of a time", "Known fields: days, start, end.", f"{where}.{str(name)[:60]}")
    times = {name: _time(value, name, where) for name in ("start", "end")}
    return {"days": _days(value.get("days"), f"{where}.days"), **times}


def _time(window: dict[str, Any], name: str, where: str) -> str:
    value, below = window.get(name), f"{where}.{name}"
    # YAML reads 22:00 without quotes as the number 1320.
    fix = f'Write it in quotes, as {name}: "22:00".'
    if value is None:
        raise Bad("is missing", fix, below)
    if not isinstance(value, str):
        raise Bad(f"must be a text, is {kind_of(value)}", fix, below, value)
    if not _TIME.fullmatch(value):
        raise Bad("is not a time of day from 00:00 to 23:59", fix, below, value)
    return value


def _days(value: Any, below: str) -> list[str] | None:
    fix = f"Use {', '.join(DAYS)}; leave days out for every day."
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise Bad("must be a list of days", fix, below, value)
    for index, day in enumerate(value):
        if day not in DAYS:
            raise Bad("is not a day", fix, f"{below}[{index}]", day)
        if day in value[:index]:
            raise Bad("names a day twice", "Name each day once.", f"{below}[{index}]", day)
    return sorted(value, key=DAYS.index)


_PATH_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS}
_TIME_SCHEMA = {"type": "string", "pattern": f"^{_TIME.pattern}$"}
_WINDOW_SCHEMA = {
    "type": "object",
    "required": ["start", "end"],
    "additionalProperties": False,
    "properties": {
        "days": {
            "type": ["array", "null"],
            "items": {"type": "string", "enum": list(DAYS)},
            "minItems": 1,
            "uniqueItems": True,
            "description": "null = every day.",
        },
        "start": _TIME_SCHEMA,
        "end": {**_TIME_SCHEMA, "description": "Not after start: on the next day."},
    },
}

# Beside its key.
PLAYLIST: tuple[Field, ...] = (
    boolean("enabled", "false: it is not played."),
    choice(
        "type",
        "rotation: played in turn with others of the kind, by weight. scheduled: played instead of them at its times. "
        "jingle: one file of it in between, every so often.",
        tuple(Playlist.Type.values),
    ),
    Field(
        "folder",
        _folder,
        _PATH_SCHEMA,
        "Folder of the customer's media library, with all folders below it; . is the whole library. Either this or "
        "files.",
        nullable=True,
    ),
    Field(
        "files",
        _files,
        {"type": "array", "items": _PATH_SCHEMA, "minItems": 1, "maxItems": MOST_FILES},
        "Files of the customer's media library, in their order. Either this or folder.",
        nullable=True,
    ),
    choice("order", "Order in which its files are played.", tuple(Playlist.Order.values)),
    integer("weight", "How often its turn comes, beside the other playlists of type rotation.", 1, 100),
    Field(
        "active",
        _active,
        {"type": "array", "items": _WINDOW_SCHEMA, "minItems": 1, "maxItems": MOST_WINDOWS},
        "Times at which it is played, in the service's time zone. null = always.",
        nullable=True,
    ),
    integer("every_tracks", "jingle: after so many tracks. null = not counted.", 1, 1000, nullable=True),
    integer("every_minutes", "jingle: after so many minutes. null = not counted.", 1, 1440, nullable=True),
)
