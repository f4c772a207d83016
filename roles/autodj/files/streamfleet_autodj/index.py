"""Tags, duration and loudness (EBU R128) of every track, measured once by ffmpeg; playing never waits for it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import library

#: Seconds that measuring one file may take; a day's recording takes about ten minutes.
MEASURE_SECONDS = 1200.0
TAGS_SECONDS = 8.0
#: Seconds between two savings of what is measured so far.
SAVE_SECONDS = 15.0
#: Loudness that all tracks are brought to (LUFS), and the highest peak that this may make (dBFS).
TARGET_LUFS = -16.0
HIGHEST_PEAK = -1.0
MOST_GAIN = 12.0
#: What is softer than this is silence or noise, and left alone.
SILENT_LUFS = -50.0
LONGEST_TAG = 300

#: Files are data of tenants: a playlist in disguise opens nothing but files.
ONLY_FILES = ["-protocol_whitelist", "file"]


def update(media: Path, index_file: Path, lock_file: Path) -> int:
    """Measure what is new or changed, forget what is gone; the number of files measured.

    Where another process is at it, nothing is done.
    """
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        return _update(media, index_file)


def _update(media: Path, index_file: Path) -> int:
    before = library.read_index(index_file)
    files = library.files_of(media)
    index = {path: before[path] for path in files if path in before}
    changed, saved, measured = len(index) != len(before), time.monotonic(), 0
    for path in files:
        now = library.stamp(media / path)
        if now is None or library.known(index, path, now):
            continue
        index[path] = {"size": now[0], "mtime_ns": now[1], **measure(media / path)}
        measured += 1
        changed = True
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(index_file, index)
            changed, saved = False, time.monotonic()
    if changed:
        _save(index_file, index)
    return measured


def _save(index_file: Path, index: library.Index) -> None:
    library.replace(index_file, json.dumps(index).encode())


def measure(path: Path) -> dict[str, Any]:
    """What is known of a track: ``seconds``, ``title``, ``artist``, ``lufs``, ``peak``; ``bad`` if it has no sound."""
    found = tags(path)
    if found is None:
        return {"bad": True}
    argv = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "info", "-threads", "1", *ONLY_FILES, "-i", f"file:{path}"]
    argv += ["-map", "0:a:0", "-af", "ebur128=peak=sample:framelog=verbose", "-f", "null", "-"]
    said = _run(argv, MEASURE_SECONDS)
    return {**found, **(loudness(said[1]) if said else {})}


def tags(path: Path) -> dict[str, Any] | None:
    """Duration and tags of a track; None where there is no sound in it."""
    argv = ["ffprobe", "-v", "error", *ONLY_FILES, "-of", "json", "-select_streams", "a:0"]
    argv += ["-show_entries", "format=duration:format_tags:stream=duration,codec_type:stream_tags", f"file:{path}"]
    said = _run(argv, TAGS_SECONDS)
    if said is None:
        return {}
    try:
        data = json.loads(said[0])
        streams, container = data.get("streams") or [], data.get("format") or {}
    except (ValueError, AttributeError):
        return None
    if not streams:
        return None
    texts = {**(streams[0].get("tags") or {}), **(container.get("tags") or {})}
    lower = {str(name).lower(): str(value) for name, value in texts.items()}
    found: dict[str, Any] = {name: clean(lower.get(name, "")) or None for name in ("title", "artist")}
    try:
        found["seconds"] = float(container.get("duration") or streams[0]["duration"])
    except (KeyError, TypeError, ValueError):
        found["seconds"] = None
    return found


def clean(text: str) -> str:
    """A tag as one line without control characters."""
    return re.sub(r"\s+", " ", re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)).strip()[:LONGEST_TAG]


def loudness(said: str) -> dict[str, Any]:
    """Integrated loudness and peak, out of what ebur128 says at its end."""
    summary = said.rpartition("Summary:")[2]
    found = {}
    for name, pattern in (("lufs", r"\bI:\s+(-?[0-9.]+) LUFS"), ("peak", r"\bPeak:\s+(-?[0-9.]+) dBFS")):
        match = re.search(pattern, summary)
        if match:
            found[name] = float(match[1])
    return found


def gain(lufs: float | None, peak: float | None) -> float:
    """By how many dB a track is amplified to be as loud as the others, without clipping."""
    if lufs is None or lufs < SILENT_LUFS:
        return 0.0
    room = MOST_GAIN if peak is None else max(0.0, HIGHEST_PEAK - peak)
    return round(max(-30.0, min(TARGET_LUFS - lufs, MOST_GAIN, room)), 2)


def _run(argv: Sequence[str], timeout: float) -> tuple[str, str] | None:
    """Output and messages of a program, None where it did not end in time or is not there."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, env=environment, check=False
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def yield_to_playing() -> None:
    """Take only what is left of the processor and the disk."""
    os.nice(19)
