"""What comes next of the channel's programme, and what was played."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import chooser, history, library, passed
from .source import Source
from .videos import Videos

#: Recordings that are looked into at most until one is found that fits: no channel waits for more.
MOST_LOOKED = 25
#: Seconds between two, where there is time.
PAUSE = 0.2


@dataclass(frozen=True)
class Item:
    """A recording whose turn it is. ``state``: what is remembered once it has begun."""

    path: str
    playlist: str | None
    title: str | None
    artist: str | None
    state: chooser.State


class Programme:
    """The channel's playlists, by the files of ``settings``; ``data`` is the channel's own folder."""

    def __init__(self, settings: Path, data: Path, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._data, self._clock = settings, data, clock
        self._trouble = ""
        wanted = self._read("settings.json")
        self._library = Path(wanted["library"])
        self.videos = Videos(self._library, data / "videos.json")
        try:
            self._state = chooser.State.of(json.loads((data / "state.json").read_bytes()))
        except (OSError, ValueError):
            self._state = chooser.State()

    def next(self) -> Item | None:
        """What is played next; None where there is nothing. Nothing is remembered of it until it has begun."""
        settings, playlists = self._read("settings.json"), self._read("playlists.json")
        files = self.videos.files()
        for _look in range(MOST_LOOKED):
            state = chooser.State.of(self._state.as_dict())
            choice = chooser.choose(settings, playlists, files, state, self._clock())
            if choice is None:
                return None
            found = self.videos.look(choice.path)
            if not found["fault"]:
                return Item(choice.path, choice.playlist, found["title"], found["artist"], state)
            files.remove(choice.path)
        return None

    def source(self, item: Item) -> Source:
        """The recording itself. Raises OSError."""
        return Source.of_file(ascii(item.path), self._library / item.path)

    def begun(self, item: Item) -> None:
        """It is on the air. That this cannot be written down is no reason to stop."""
        self._state = item.state
        self.videos.save()
        told = {"playlist": item.playlist, "path": item.path, "title": item.title, "artist": item.artist}
        try:
            library.replace(self._data / "state.json", json.dumps(item.state.as_dict()).encode())
            history.add(self._data, self._clock(), told)
        except OSError as error:
            self._say(f"cannot note what is played: {error}")

    def look_on(self, stop: Callable[[], bool], pause: Callable[[float], None] = time.sleep) -> None:
        """Look into what is new in the library, so that its owner hears of what does not fit before its turn.

        Never in the way of what is on the air: with pauses, and no longer than until ``stop`` says so.
        """
        for path in self.videos.files():
            if stop():
                break
            if self.videos.is_new(path):
                self.videos.look(path)
                pause(PAUSE)
        self.videos.save()
        try:
            passed.tell(self._data, self.videos.left_out())
        except OSError as error:
            self._say(f"cannot tell what is left out: {error}")

    def _read(self, name: str) -> Any:
        return json.loads((self._settings / name).read_bytes())

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            print(trouble, flush=True)
