"""What a playlist says: which files, in which order, at which times."""

from __future__ import annotations

from typing import Any

from streamfleet_panel.apply.checks import Bad, Field, boolean, choice, integer, items, one_line
from streamfleet_panel.apply.schedule import times
from streamfleet_panel.models import Playlist

MOST_CHARACTERS = 500
MOST_FILES = 10_000

_PATH_FIX = "Write it relative to the media library, e.g. music/rock/song.mp3."
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


def _files(value: Any) -> list[str]:
    paths = []
    for index, item in enumerate(items(value, "files", MOST_FILES, "Name fewer, or split it into several playlists.")):
        try:
            paths.append(path_of(item))
        except Bad as error:
            raise Bad(error.message, error.fix, f"[{index}]", item) from None
    return paths


_PATH_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS}

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
    times(
        "active",
        "Times at which it is played, in the service's time zone, beside those of schedules that name it. "
        "null = always; of type scheduled: those of schedules only.",
    ),
    integer("every_tracks", "jingle: after so many tracks. null = not counted.", 1, 1000, nullable=True),
    integer("every_minutes", "jingle: after so many minutes. null = not counted.", 1, 1440, nullable=True),
)
