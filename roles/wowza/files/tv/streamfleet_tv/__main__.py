"""Plays a channel until it is stopped. Folders come from the environment."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from pathlib import Path
from typing import NoReturn

from . import rtmp
from .air import Air, Unfit
from .flv import Tag
from .live import Live
from .programme import Item, Programme
from .source import Source

#: What is shown where nothing is to be played.
SLATE = Path("/usr/lib/streamfleet/wowza/slate.mp4")
#: Seconds that what comes next may take to be found, once it is its turn: the slate is shown meanwhile.
PATIENCE = 2.0
#: Seconds until Wowza is tried again, and between two looks at what happens.
AGAIN, LOOK = 2.0, 0.25
#: A broadcaster who has sent nothing for so long is gone: two segments, and these seconds.
DRY = 8.0
FAULTS = (OSError, ValueError, KeyError, TypeError)


def say(text: str) -> None:
    """One line for the journal."""
    print(text, flush=True)


class Station:
    """One channel. One thread does what has to do with its library, so that nothing that takes long is waited for."""

    def __init__(self, settings: Path, data: Path, slate: Path = SLATE) -> None:
        wanted = json.loads((settings / "settings.json").read_bytes())
        self._settings, self._slate = settings, slate
        self._programme = Programme(settings, data)
        self._air = Air(settings)
        self._live = Live(wanted["hls_port"], wanted["application"], wanted["live"])
        self._pool = ThreadPoolExecutor(1)
        self._next: Future[Item | None] | None = None
        self._asked = False
        self._trouble = ""

    def run(self) -> NoReturn:
        """Play until stopped."""
        self._live.start()
        while True:
            self.one()

    def one(self) -> None:
        """What is to be sent now, until it ends or makes room."""
        live = self._live.take()
        if live is not None:
            self._send_live(live)
            return
        item = self._chosen()
        try:
            source = Source.of_file("slate", self._slate) if item is None else self._programme.source(item)
        except OSError as error:
            self._say(f"cannot read: {error}")
            time.sleep(AGAIN)
            return
        self._send(source, item)

    def _send(self, source: Source, item: Item | None) -> None:
        """A recording, or the slate (None), until it ends or a broadcaster is live."""
        begun = tried = False
        self._air.begin()
        try:
            while not source.over and not self._live.ready:
                tag = source.take(LOOK)
                if tag is not None:
                    sent = self._out(source, tag)
                    tried = tried or sent is None
                    if sent and not begun:
                        begun = True
                        self._begun(item)
                if source.read.is_set() and not self._asked:
                    self._ask()
            if source.over and not begun and not tried:
                raise Unfit("nothing of it can be sent")
        except Unfit as unfit:
            if item is not None:
                self._pool.submit(self._programme.videos.refuse, item.path, str(unfit))
        finally:
            source.close()

    def _send_live(self, source: Source) -> None:
        """A broadcaster, for as long as something comes."""
        say("live takes over")
        self._air.begin()
        wanted = json.loads((self._settings / "settings.json").read_bytes())
        last, dry = time.monotonic(), DRY + 2 * float(wanted["segment_seconds"])
        try:
            while not source.over:
                tag = source.take(LOOK)
                if tag is not None:
                    self._out(source, tag)
                    last = time.monotonic()
                elif time.monotonic() - last > dry:
                    break
        except Unfit as unfit:
            say(f"live: {unfit}")
        finally:
            source.close()
        say("the programme goes on")
        # What was to come next when live began may not be what is to come now.
        self._next, self._asked = None, False

    def _out(self, source: Source, tag: Tag) -> bool | None:
        """Send it: whether something of it is seen; None where Wowza does not take it now. Raises Unfit."""
        try:
            sent = self._air.send(tag)
        except (rtmp.Gone, *FAULTS) as error:
            self._say(f"{source.name} cannot be sent: {type(error).__name__}: {error}")
            time.sleep(AGAIN)
            return None
        if sent:
            self._trouble = ""
        return sent

    def _begun(self, item: Item | None) -> None:
        self._asked = False
        self._next = None
        if item is not None:
            self._pool.submit(self._programme.begun, item)
        self._pool.submit(self._programme.look_on, lambda: self._asked)

    def _ask(self) -> None:
        self._asked = True
        self._next = self._pool.submit(self._programme.next)

    def _chosen(self) -> Item | None:
        """What comes next; None where nothing does, or where that is not known yet."""
        if self._next is None:
            self._ask()
        assert self._next is not None
        try:
            item = self._next.result(PATIENCE)
        except TimeoutError:
            return None
        except FAULTS as error:
            self._say(f"cannot choose: {type(error).__name__}: {error}")
            item = None
        self._next, self._asked = None, False
        return item

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            say(trouble)


def _stop(_signal: int, _frame: object) -> NoReturn:
    # Whatever its threads are at.
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    Station(Path(os.environ["STREAMFLEET_TV_SETTINGS"]), Path(os.environ["STREAMFLEET_TV_DATA"])).run()
