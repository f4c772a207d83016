"""What Liquidsoap asks: ``next`` prints the next request, ``started N`` notes that track N is on the air.

``eco-next`` prints the next track for the small player (``eco``): only recordings that can be sent as they are.
``again`` and ``eco-again`` choose once more what comes next, when the station's queue has changed. ``again`` prints
``more`` where it had no time to look at all of the queue, so that it is to be asked again soon, else ``done``, and in a
second line the request, none where it is what is ready already. ``eco-again`` prints what ``eco-next`` does, whose
``more`` is the same.

``live`` is not asked but runs: it is what DJs connect to (see there).
``index`` measures new tracks; ``next`` begins it beside itself. Folders come from the environment: settings of the
station in STREAMFLEET_AUTODJ_SETTINGS, its own data in STREAMFLEET_AUTODJ_DATA.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import frames, history, index, library, live, passed
from .chooser import Choice, State, catch_up, choose
from .queued import Queue

#: Choices that are known by number: one plays, one is ready, one may be asked for too early.
KEPT = 8
#: Tracks tried in one go, where files have become unreadable since they were listed.
TRIES = 50
SAFE_SUFFIX = ".audio"
#: A recording that is sent as it is may have so many times the mount's bitrate: containers and tags count, too.
MOST_OVER = 1.1
#: Seconds that one question may look into files that are not known yet.
LOOKING_SECONDS = 10.0
#: Seconds that one question may look into what was put into the queue.
QUEUE_SECONDS = 3.0
#: What is said of a file that this question had no time for.
NOT_YET = "was not looked at yet"
SILENT = "holds no sound that can be played"


class Station:
    """One station's folders. Whatever in them is missing or damaged, it plays on with what is left."""

    def __init__(self, settings: Path, data: Path, run: str = "") -> None:
        # What stands for the player that asks: the next one knows nothing of what this one has ready.
        self.run = run
        # Whether there was no time, so far, to look at all of the queue.
        self.unseen = False
        self.wanted = _read(settings / "queue.json", {}).get("items")
        self.settings = _read(settings / "settings.json", {})
        playlists = _read(settings / "playlists.json", [])
        self.playlists: list[dict[str, Any]] = playlists if isinstance(playlists, list) else []
        self.data = data
        self.media = Path(self.settings.get("library", "/nonexistent"))
        # Of the library, not of the station: all stations of a customer know what one has measured.
        self.index = Path(self.settings.get("index", "/nonexistent"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time: what is read, changed and written in the block belongs together."""
        with (self.data / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def next(self, now: float) -> str:
        """The next request; empty where there is nothing to play. ``now``: seconds of the epoch."""
        found = self._next(now)
        return "" if found is None else self._request(*found[:2])

    def again(self, now: float) -> str:
        """What is to come instead of the track that is ready; empty where that stays."""
        found = self._next(now, again=True)
        return "" if found is None or found[2] else self._request(*found[:2])

    def eco_next(self, now: float, again: bool = False) -> dict[str, Any] | None:
        """The next track that can be sent as it is; None where there is none. ``again``: instead of the one before."""
        (feed,) = self.settings["feeds"]
        verdicts = Verdicts(self.media, self.data / "eco.json", feed["format"], int(feed["bitrate_kbps"]))
        found = self._next(now, verdicts.reason, again)
        while found is None and verdicts.learned():
            # All that were tried cannot be sent; by now they are known.
            found = self._next(now, verdicts.reason, again)
        verdicts.save()
        if found is None:
            return None
        entry, link, _same = found
        words = [entry["artist"], entry["title"] or Path(entry["path"]).stem]
        title = index.clean(" - ".join(word for word in words if word).encode("utf-8", "replace").decode())
        return {"number": entry["number"], "file": str(link), "title": title, "more": self.unseen}

    def _next(
        self, now: float, unfit: Callable[[str, bool], str | None] | None = None, again: bool = False
    ) -> tuple[dict[str, Any], Path, bool] | None:
        """What is known of the next track, our name for its file, and whether it is the one that was ready before.

        :param unfit: why a file cannot be played.
        :param again: choose instead of the track that is ready, as if that had not been chosen.
        """
        with self.locked():
            memory = _read(self.data / "state.json", {})
            chosen = [entry for entry in memory.get("chosen", []) if isinstance(entry, dict)]
            queue = Queue(self.wanted, memory.get("queue"), self.run)
            before = memory.get("state")
            ready = self._ready(chosen, memory) if again else None
            if ready is not None:
                queue.take_back(ready.get("queued") or "")
                # Numbers are never used again: it may begin at this very moment.
                before = {**memory["before"], "count": ready["number"]}
            measured = library.read_index(self.index / "index.json")
            every = library.files_of(self.media)
            reasons = {path: SILENT if self._is_bad(measured, path) else None for path in every}
            files = [path for path, reason in reasons.items() if reason is None]
            if queue.items:
                self._look(queue, set(every), set(files), measured, unfit)
            if unfit is not None:
                reasons |= {path: unfit(path, False) for path in files}
                files = [path for path in files if reasons[path] is None]
            begins = _begins([entry for entry in chosen if entry is not ready], memory.get("playing"), now)
            found = self._choose(files, measured, before, begins, unfit, queue, reasons)
            passed.tell(self.data, reasons)
            self.unseen = bool(queue.unseen())
            same = ready is not None and found is not None and _is_same(ready, found[2])
            if same:
                assert ready is not None
                if ready.get("queued"):
                    queue.give(ready["queued"], ready["number"])
                self._remember(memory, queue)
                return ready, self._name(ready["number"], ready["path"]), True
            if found is None:
                # What is ready is better than nothing.
                if ready is not None and ready.get("queued") in {item.id for item in queue.waiting()}:
                    queue.give(ready["queued"], ready["number"])
                self._remember(memory, queue)
                return None
            choice, state, entry = found
            if ready is not None:
                # It may be beginning now, though: see ``started``.
                ready |= {"replaced": True, "change": [memory["before"], memory.get("state")]}
            if choice.queued is not None:
                queue.give(choice.queued, choice.number)
            link = self._link(choice, keep={item.get("number") for item in chosen[-KEPT:]})
            # Of those that were replaced the last may be beginning now; the others cannot.
            kept = [item for item in chosen if item is ready or not item.get("replaced")]
            chosen = [*kept[-KEPT:], entry]
            self._remember({**memory, "before": before, "state": state.as_dict(), "chosen": chosen}, queue)
        return entry, link, False

    def _ready(self, chosen: list[dict[str, Any]], memory: Mapping[str, Any]) -> dict[str, Any] | None:
        """The track that the player has ready: the last that it was given, if it has not begun."""
        if not chosen or not isinstance(memory.get("before"), dict):
            return None
        last, playing = chosen[-1], memory.get("playing")
        begun = playing.get("number", 0) if isinstance(playing, dict) else 0
        return last if last.get("run") == self.run and last.get("number", 0) > begun else None

    def _look(
        self,
        queue: Queue,
        every: set[str],
        files: set[str],
        measured: library.Index,
        unfit: Callable[[str, bool], str | None] | None,
    ) -> None:
        """Look at what was put into the queue: what cannot be played is refused. Names at once, sound in time."""
        for item in queue.waiting():
            if item.path not in every:
                queue.failed(item.id, "is not in the media library")
            elif item.path not in files:
                queue.failed(item.id, SILENT)
            elif unfit is not None and (reason := unfit(item.path, False)) is not None:
                queue.failed(item.id, reason)
        until = time.monotonic() + QUEUE_SECONDS
        for number, item in enumerate(queue.unseen()):
            # One at least, so that there is an end of it.
            if number and time.monotonic() > until:
                return
            path = self.media / item.path
            reason = unfit(item.path, True) if unfit is not None else None
            if reason is None and library.known(measured, item.path, library.stamp(path)) is None:
                reason = SILENT if index.tags(path) is None else None
            if reason == NOT_YET:
                return
            if reason is None:
                queue.seen(item.id)
            else:
                queue.failed(item.id, reason)

    def started(self, number: int, now: float) -> None:
        """Note what is on the air."""
        with self.locked():
            memory = _read(self.data / "state.json", {})
            entry = next((item for item in memory.get("chosen", []) if item.get("number") == number), None)
            if entry is None:
                return
            queue = Queue(self.wanted, memory.get("queue"), self.run)
            queue.started(entry.get("queued"), number)
            change = entry.pop("change", None)
            if entry.pop("replaced", False) and isinstance(change, list) and len(change) == 2:
                # The player was quicker than the answer to ``again``: what was taken back is played after all.
                for name in ("before", "state"):
                    state = State.of(memory.get(name))
                    catch_up(state, State.of(change[0]), State.of(change[1]))
                    memory[name] = state.as_dict()
            self._remember({**memory, "playing": {"number": number, "since": now}}, queue)
        history.add(self.data, now, {key: entry.get(key) for key in ("playlist", "path", "title", "artist")})

    def has_files(self) -> bool:
        """Whether there is anything in the library, be it of use or not."""
        return bool(library.files_of(self.media))

    def measure(self) -> int:
        """Bring the index up to date."""
        return index.update(self.media, self.index / "index.json", self.index / "index.lock")

    def _is_bad(self, measured: library.Index, path: str) -> bool:
        if not measured.get(path, {}).get("bad"):
            return False
        return library.known(measured, path, library.stamp(self.media / path)) is not None

    def _choose(
        self,
        files: list[str],
        measured: library.Index,
        before: Any,
        at: float,
        unfit: Callable[[str, bool], str | None] | None,
        queue: Queue,
        reasons: dict[str, str | None],
    ) -> tuple[Choice, State, dict[str, Any]] | None:
        """Choice, state after it, and what is known of the track. What has no sound is as if it were not there.

        Why others are not chosen is put into ``reasons``.
        """
        for _try in range(TRIES):
            state = State.of(before)
            choice = choose(self.settings, self.playlists, files, state, at, queue.waiting())
            if choice is None:
                return None
            reason = unfit(choice.path, True) if unfit is not None else None
            entry = self._described(choice, measured) if reason is None else None
            if entry is not None:
                return choice, state, entry
            if reason != NOT_YET:
                reasons[choice.path] = reason or "cannot be played"
            if choice.queued is not None and reason != NOT_YET:
                queue.failed(choice.queued, reason or "cannot be played")
            files = [path for path in files if path != choice.path]
        return None

    def _described(self, choice: Choice, measured: library.Index) -> dict[str, Any] | None:
        """What is known of the track; None where it cannot be played."""
        path = self.media / choice.path
        now = library.stamp(path)
        entry = library.known(measured, choice.path, now)
        if entry is None:
            # Not measured yet: its tags at least, which takes no time.
            entry = index.tags(path) if now else None
        if entry is None:
            return None
        return {
            "number": choice.number,
            "playlist": choice.playlist,
            "path": choice.path,
            "queued": choice.queued,
            "run": self.run,
            "title": entry.get("title"),
            "artist": entry.get("artist"),
            "seconds": entry.get("seconds"),
            "gain": index.gain(entry.get("lufs"), entry.get("peak")),
        }

    def _link(self, choice: Choice, keep: set[Any]) -> Path:
        """A name of ours for the file, so that no tenant's text is ever in a request."""
        folder = self.data / "next"
        folder.mkdir(mode=0o750, exist_ok=True)
        for old in folder.iterdir():
            if not old.stem.isdigit() or int(old.stem) not in keep:
                old.unlink(missing_ok=True)
        link = self._name(choice.number, choice.path)
        link.unlink(missing_ok=True)
        link.symlink_to(self.media / choice.path)
        return link

    def _name(self, number: int, path: str) -> Path:
        suffix = Path(path).suffix.lower()
        return self.data / "next" / f"{number}{suffix if suffix in library.SUFFIXES else SAFE_SUFFIX}"

    def _request(self, entry: Mapping[str, Any], link: Path) -> str:
        """The track with our annotations: numbers, fixed words and, where it has no title, the name of its file."""
        seconds, shortest = entry["seconds"], float(self.settings.get("minimum_track_seconds", 10))
        short = seconds is not None and seconds < shortest
        cross = min(float(self.settings.get("crossfade_seconds", 3)), (seconds or 3600.0) / 2)
        annotations = {
            "streamfleet_track": entry["number"],
            "streamfleet_short": "yes" if short else "no",
            "streamfleet_smart": "yes" if self.settings.get("smart_crossfade", True) else "no",
            "liq_cross_duration": f"{0.0 if short else cross:.2f}",
            "liq_amplify": f"{entry['gain']:.2f} dB",
        }
        if not entry["title"]:
            # Otherwise players would go on showing the title before it.
            annotations["title"] = quotable(Path(entry["path"]).stem)
        written = ",".join(f'{key}="{value}"' for key, value in annotations.items())
        return f"annotate:{written}:{link}"

    def _remember(self, memory: Mapping[str, Any], queue: Queue) -> None:
        library.replace(self.data / "state.json", json.dumps({**memory, "queue": queue.as_dict()}).encode())
        library.tell(self.data / "queue.json", queue.told(), {"items": []})


class Verdicts:
    """Which files of a library can be sent as they are, and why others cannot; looked at once, until they change."""

    def __init__(self, media: Path, path: Path, format: str, kbps: int) -> None:
        self._media, self._path = media, path
        self._format, self._kbps = format, kbps
        known = _read(path, {})
        same = known.get("format") == format and known.get("bitrate_kbps") == kbps
        files = known.get("files") if same else None
        self._files: dict[str, list[Any]] = files if isinstance(files, dict) else {}
        self._new = 0
        self._saved = 0
        self._until = time.monotonic() + LOOKING_SECONDS

    def reason(self, path: str, look: bool) -> str | None:
        """Why the file cannot be sent; None where it can. ``look``: into it, where it is not known yet."""
        if not path.lower().endswith(frames.SUFFIXES.get(self._format, ())):
            return f"is not called {' or '.join(frames.SUFFIXES.get(self._format, ()))}"
        stamp = library.stamp(self._media / path)
        known = self._files.get(path)
        if stamp is not None and isinstance(known, list) and known[:2] == list(stamp):
            return known[2] or None
        if not look:
            return None
        if self._new and time.monotonic() > self._until:
            # In a library of many unfit files the rest is looked at when it is asked again: what is known is kept.
            return NOT_YET
        reason = self._look(path)
        self._new += 1
        if stamp is not None:
            self._files[path] = [*stamp, reason or ""]
        return reason

    def _look(self, path: str) -> str | None:
        try:
            with (self._media / path).open("rb") as file:
                seconds, size = frames.measure(file, self._format)
        except frames.Unfit as error:
            return str(error)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        kbps = size * 8 / seconds / 1000
        if kbps > self._kbps * MOST_OVER:
            return f"has {kbps:.0f} kbit/s, more than the {self._kbps} of the mount"
        return None

    def learned(self) -> bool:
        """Whether something has become known since the last time."""
        before, self._saved = self._saved, self._new
        return self._new > before

    def save(self) -> None:
        """Keep it, without what is gone."""
        if self._new:
            there = {path: known for path, known in self._files.items() if library.stamp(self._media / path)}
            whole = {"format": self._format, "bitrate_kbps": self._kbps, "files": there}
            library.replace(self._path, json.dumps(whole).encode())


def quotable(text: str) -> str:
    """``text`` as it can stand in a quoted annotation, which Liquidsoap reads as a string of its language.

    So no quote, no backslash, no beginning of an expression, no control or broken character.
    """
    whole = index.clean(text.encode("utf-8", "replace").decode())
    return whole.replace("\\", "/").replace('"', "'").replace("#{", "# {")


def _begins(chosen: list[dict[str, Any]], playing: Any, now: float) -> float:
    """When the next choice will begin: after what plays and what is chosen already, as far as their length is known."""
    if not isinstance(playing, dict):
        return now
    at = float(playing.get("since", now))
    for entry in chosen:
        if entry.get("number", 0) >= playing.get("number", 0) and not entry.get("replaced"):
            at += float(entry.get("seconds") or 0.0)
    return max(now, at)


def _is_same(ready: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return all(ready.get(key) == entry[key] for key in ("playlist", "path", "queued"))


def _read(path: Path, otherwise: Any) -> Any:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return otherwise
    return data if isinstance(data, type(otherwise)) else otherwise


def _measure_beside() -> None:
    """Begin to measure in a process of its own; it ends at once where one is at it."""
    argv = [sys.executable, "-P", "-s", "-m", "streamfleet_autodj", "index"]
    quiet = subprocess.DEVNULL
    subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def main(arguments: list[str]) -> int:
    """Exit status."""
    if arguments == ["live"]:
        return live.main()
    settings, data = (Path(os.environ[f"STREAMFLEET_AUTODJ_{name}"]) for name in ("SETTINGS", "DATA"))
    # systemd names every run of a unit anew.
    station = Station(settings, data, os.environ.get("INVOCATION_ID", ""))
    match arguments:
        case ["next"]:
            print(station.next(time.time()), flush=True)
            if station.has_files():
                _measure_beside()
        case ["again"]:
            request = station.again(time.time())
            print("more" if station.unseen else "done", request, sep="\n", flush=True)
        case ["eco-next" | "eco-again" as asked]:
            print(json.dumps(station.eco_next(time.time(), asked == "eco-again")), flush=True)
        case ["started", number]:
            station.started(int(number), time.time())
        case ["index"]:
            index.yield_to_playing()
            station.measure()
        case _:
            print("usage: next | again | eco-next | eco-again | started NUMBER | index | live", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
