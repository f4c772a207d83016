"""Which recordings of the library Wowza can pass on as they are: each is looked into once."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from . import library
from .source import ENVIRONMENT, ONLY_FILES

#: What is a recording, by the end of its name.
SUFFIXES = (".mp4", ".m4v", ".mov")
#: Seconds that looking into one may take, and that one must last at least.
LOOK_SECONDS, SHORTEST = 10.0, 1.0
LONGEST_TEXT = 300
#: Seconds between two savings of what is known, as long as nobody asks for one: in a large library it is long.
SAVE_SECONDS = 15.0
_PICTURES = ("yuv420p", "yuvj420p")
_ENTRIES = (
    "format=duration:format_tags=title,artist:stream=codec_type,codec_name,pix_fmt,channels:"
    "stream_disposition=attached_pic"
)


class Videos:
    """What is known of the library's recordings: ``file`` remembers it."""

    def __init__(self, folder: Path, file: Path) -> None:
        self._folder, self._file = folder, file
        self._known = library.read_index(file)
        self._saved, self._is_saved = 0.0, True

    def files(self) -> list[str]:
        """Every recording but those that are known not to fit, sorted."""
        found = library.files_of(self._folder, SUFFIXES)
        there = set(found)
        if self._known.keys() - there:
            self._known = {path: entry for path, entry in self._known.items() if path in there}
            self._is_saved = False
        return [path for path in found if not self._fault(path)]

    def left_out(self) -> dict[str, str]:
        """Why each recording that is known not to fit does not, by its path, sorted."""
        faults = {path: self._fault(path) for path in sorted(self._known)}
        return {path: fault for path, fault in faults.items() if fault}

    def is_new(self, path: str) -> bool:
        """Whether it was not looked into yet, as it is now."""
        return library.known(self._known, path, library.stamp(self._folder / path)) is None

    def look(self, path: str) -> dict[str, Any]:
        """What is known of a recording: ``fault`` (empty: it fits), ``title``, ``artist``."""
        now = library.stamp(self._folder / path)
        known = library.known(self._known, path, now)
        if known is not None:
            return dict(known)
        if now is None:
            return {"fault": "it cannot be read, or is empty", "title": None, "artist": None}
        found = {"size": now[0], "mtime_ns": now[1], **look_into(self._folder / path)}
        self._note(path, found)
        return found

    def refuse(self, path: str, fault: str) -> None:
        """Leave it out from now on, until it is another file."""
        now = library.stamp(self._folder / path)
        if now is not None:
            found = {"size": now[0], "mtime_ns": now[1], "fault": fault, "title": None, "artist": None}
            self._note(path, found)

    def _fault(self, path: str) -> str:
        entry = self._known.get(path)
        if entry is None or not entry.get("fault"):
            return ""
        return str(entry["fault"]) if not self.is_new(path) else ""

    def _note(self, path: str, found: dict[str, Any]) -> None:
        self._known[path] = found
        self._is_saved = False
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()
        if found["fault"]:
            print(f"{path!a} is left out: {found['fault']}", flush=True)

    def save(self) -> None:
        """Remember what is known by now."""
        if self._is_saved:
            return
        self._saved, self._is_saved = time.monotonic(), True
        try:
            library.replace(self._file, json.dumps(self._known).encode())
        except OSError as error:
            print(f"cannot remember what was looked into: {error}", flush=True)


def look_into(path: Path) -> dict[str, Any]:
    """``fault``, ``title`` and ``artist`` of a recording."""
    argv = ["ffprobe", "-v", "error", *ONLY_FILES, "-of", "json", "-show_entries", _ENTRIES, f"file:{path}"]
    nothing = {"title": None, "artist": None}
    try:
        said = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=LOOK_SECONDS, env=ENVIRONMENT, check=False
        )
        data = json.loads(said.stdout)
        streams, container = data.get("streams") or [], data.get("format") or {}
    except subprocess.TimeoutExpired:
        return {"fault": f"looking into it took more than {LOOK_SECONDS:.0f} seconds", **nothing}
    except (OSError, ValueError, AttributeError):
        return {"fault": "it is no MP4 or MOV file", **nothing}
    if said.returncode != 0 or not container:
        return {"fault": "it is no MP4 or MOV file", **nothing}
    tags = {str(name).lower(): str(value) for name, value in (container.get("tags") or {}).items()}
    told = {name: _clean(tags.get(name, "")) or None for name in ("title", "artist")}
    return {"fault": fault_of(streams, container), **told}


def fault_of(streams: list[dict[str, Any]], container: dict[str, Any]) -> str:
    """Why Wowza cannot pass a recording on as it is; empty where it can."""
    pictures = [
        item
        for item in streams
        if item.get("codec_type") == "video" and not (item.get("disposition") or {}).get("attached_pic")
    ]
    sounds = [item for item in streams if item.get("codec_type") == "audio"]
    if not pictures:
        return "it has no pictures"
    if not sounds:
        return "it has no sound: add a silent track"
    picture, sound = pictures[0], sounds[0]
    if picture.get("codec_name") != "h264":
        return f"its pictures are {_word(picture.get('codec_name'))}, not h264"
    if picture.get("pix_fmt") not in _PICTURES:
        return f"its pictures are of the kind {_word(picture.get('pix_fmt'))}, not {_PICTURES[0]}"
    if sound.get("codec_name") != "aac":
        return f"its sound is {_word(sound.get('codec_name'))}, not aac"
    if sound.get("channels") not in (1, 2):
        return f"its sound has {_word(sound.get('channels'))} channels, not one or two"
    try:
        seconds = float(container["duration"])
    except (KeyError, TypeError, ValueError):
        return "it does not say how long it is"
    return "" if seconds >= SHORTEST else "it is shorter than a second"


def _word(value: object) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "", str(value))[:30] or "unknown"


def _clean(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text)).strip()[:LONGEST_TEXT]
