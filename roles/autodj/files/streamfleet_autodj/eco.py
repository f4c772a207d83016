"""The small AutoDJ: sends recordings as they are, without a decoder or an encoder. One process a station.

Which track comes next says ``__main__`` (``eco-next``), in a process of its own that ends: this one holds nothing of a
library. Folders come from the environment, as for Liquidsoap. See docs/autodj.md for what it cannot do.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any, NoReturn

from . import frames

HOST = "127.0.0.1"
SAFE = Path("/usr/lib/streamfleet/autodj")
#: Seconds of sound that are sent ahead of time, and that go out at once.
AHEAD, AT_ONCE = 3.0, 0.5
#: Behind by so many seconds (a machine that slept), time begins anew.
LATE = 10.0
#: Seconds that the server may take for an answer, and that pass before it is tried again.
ANSWER_SECONDS, AGAIN_SECONDS = 10.0, 2.0
CHOOSING_SECONDS = 60.0
#: So long is waited for what comes next before the safe tone is sent meanwhile: less than what is sent ahead of time;
#: and where nothing is on the air yet.
PATIENCE, PATIENCE_AT_FIRST = 2.0, 10.0
#: What is held back at most, where a file's time does not go on.
MOST_HELD = 1 << 20
#: Seconds between two looks whether the station's queue has changed.
LOOK_SECONDS = 1.0
KINDS = {"mp3": "audio/mpeg", "aac": "audio/aac", "ogg": "application/ogg", "opus": "application/ogg"}


class Gone(Exception):
    """The server does not take the stream now. Its text says why."""


class Skipped(Exception):
    """The track that plays is to end now."""


def say(text: str) -> None:
    """One line for the journal."""
    print(text, flush=True)


class Server:
    """The station's own server, to which one stream goes."""

    def __init__(self, port: int, password: str, mount: str, format: str) -> None:
        self._address = HOST, port
        self._mount = mount
        self._kind = KINDS[format]
        login = base64.b64encode(f"source:{password}".encode()).decode()
        self._authorization = f"Authorization: Basic {login}\r\n"
        self._link: socket.socket | None = None

    def send(self, data: bytes) -> None:
        """Send a piece. Raises Gone."""
        try:
            if self._link is None:
                self._link = self._open()
            self._link.sendall(data)
        except OSError as error:
            self.close()
            raise Gone(error.strerror or type(error).__name__) from None

    def title(self, text: str) -> None:
        """Have listeners see a title. A server that does not take it goes on without."""
        query = urllib.parse.urlencode({"mode": "updinfo", "mount": self._mount, "charset": "UTF-8", "song": text})
        head = f"GET /admin/metadata?{query} HTTP/1.0\r\n{self._authorization}\r\n"
        try:
            with socket.create_connection(self._address, ANSWER_SECONDS) as link:
                link.sendall(head.encode())
                said = link.recv(64)
        except OSError as error:
            said = str(error).encode()
        if b" 200 " not in said:
            say(f"a title was not taken: {said[:60].decode('latin-1').splitlines()[:1]}")

    def close(self) -> None:
        """End the stream."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _open(self) -> socket.socket:
        link = socket.create_connection(self._address, ANSWER_SECONDS)
        try:
            head = f"SOURCE {self._mount} HTTP/1.0\r\n{self._authorization}Content-Type: {self._kind}\r\n\r\n"
            link.sendall(head.encode())
            said = link.recv(256)
            if said.split()[1:2] != [b"200"]:
                link.close()
                raise Gone(f"it answered {said[:40].decode('latin-1').splitlines()[:1]}")
        except OSError:
            link.close()
            raise
        say(f"sending to {self._mount}")
        return link


class Wishes:
    """What the station's owner has queued, and how often it was asked to skip. Where that is not said, it stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self.items: list[Any] = []
        self.skips = 0

    def look(self) -> None:
        """Read the file where it is another one: it may be long, and this is every second of every station."""
        try:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_ino, status.st_size
            if stamp == self._stamp:
                return
            self._stamp = stamp
            data = json.loads(self._path.read_bytes())
            self.items, self.skips = list(data["items"]), int(data["skip"])
        except (OSError, ValueError, KeyError, TypeError):
            return


class Player:
    """Plays one track after the other, in real time."""

    def __init__(self, settings: Path, sleep: Any = time.sleep, clock: Any = time.monotonic) -> None:
        self._settings = settings
        self._sleep, self._clock = sleep, clock
        self._server: Server | None = None
        self._sent = 0.0
        self._since = 0.0
        self._to: tuple[Any, ...] = ()
        self._trouble = ""
        self._choosing: subprocess.Popen[str] | None = None
        # What that one has answered, where it was heard already.
        self._said: str | None = None
        self._asked = 0.0
        self._looked = 0.0
        # What was chosen and has not begun, since the server is away.
        self._held: dict[str, Any] | None = None
        self._number = 0
        # The queue as it was when it was last asked what comes next, and how often it had been asked to skip.
        self._wishes = Wishes(settings / "queue.json")
        self._wishes.look()
        self._queue: list[Any] = []
        self._skips = self._wishes.skips

    def play(self, path: Path, format: str, number: int, title: str | None) -> bool:
        """Send a file; False where nothing of it could be sent. Raises Gone where the server is away, OSError."""
        began = False
        held, waiting = b"", 0.0
        with path.open("rb") as file:
            try:
                for piece, seconds in frames.pieces(file, format):
                    held += piece
                    waiting += seconds
                    if waiting < AT_ONCE and len(held) < MOST_HELD:
                        continue
                    self._out(held, waiting)
                    held, waiting = b"", 0.0
                    if not began:
                        began = True
                        self._begun(format, number, title)
                    elif self._clock() - self._looked >= LOOK_SECONDS:
                        self._looked = self._clock()
                        self._look()
            except Skipped:
                say(f"track {number} is skipped")
                return True
            except frames.Unfit as error:
                say(f"track {number}: {error}")
        if held:
            self._out(held, waiting)
        return began

    def _out(self, data: bytes, seconds: float) -> None:
        now = self._clock()
        if not self._sent or now - self._since - self._sent > LATE:
            self._since, self._sent = now, 0.0
        early = self._sent - AHEAD - (now - self._since)
        if early > 0:
            self._sleep(early)
        assert self._server is not None
        self._server.send(data)
        self._sent += seconds

    def _begun(self, format: str, number: int, title: str | None) -> None:
        self._number = number
        if title is not None and format in ("mp3", "aac") and self._server is not None:
            # Ogg streams bring their titles themselves.
            self._server.title(title)
        try:
            if number:
                _done(_ask("started", str(number)), PATIENCE)
            # Meanwhile, since it takes its time in a large library.
            self._ask_next()
        except (OSError, subprocess.SubprocessError) as error:
            # What is on the air stays there: nobody hears that it cannot be written down.
            self._say(f"cannot note or choose tracks: {error}")

    def _ask_next(self) -> None:
        if self._choosing is None:
            self._begin_asking("eco-next")

    def _begin_asking(self, word: str) -> None:
        self._wishes.look()
        self._queue, self._said = self._wishes.items, None
        self._choosing, self._asked = _ask(word), time.monotonic()

    def _hear(self, seconds: float, end: bool = True) -> str:
        """What the chooser answers; as ``_done``, as often as it is asked."""
        assert self._choosing is not None
        if self._said is None:
            self._said = _done(self._choosing, seconds, end)
        return self._said

    def _look(self) -> None:
        """Choose once more what comes next where the queue has changed, or was not all looked at. Raises Skipped."""
        self._wishes.look()
        # One that still thinks about it is let be: it is asked again at the next look.
        if self._choosing is not None and self._choosing.poll() is not None:
            try:
                said = self._hear(PATIENCE)
                if self._wishes.items != self._queue or (json.loads(said or "null") or {}).get("more"):
                    self._begin_asking("eco-again")
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                self._choosing = None
                self._say(f"cannot choose tracks: {error}")
        before, self._skips = self._skips, self._wishes.skips
        if self._skips > before:
            raise Skipped

    def _next(self) -> dict[str, Any] | None:
        """What comes next; None where nothing does, or where it is not known yet or cannot be found out."""
        try:
            self._ask_next()
            assert self._choosing is not None
            try:
                patience = PATIENCE if self._sent else PATIENCE_AT_FIRST
                answer = self._hear(patience, end=time.monotonic() - self._asked > CHOOSING_SECONDS)
            except subprocess.TimeoutExpired:
                if self._choosing.poll() is not None:
                    self._choosing = None
                return None
            self._choosing = None
            chosen: dict[str, Any] | None = json.loads(answer or "null")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._choosing = None
            self._say(f"cannot choose tracks: {error}")
            return None
        return chosen

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            say(trouble)

    def run(self) -> NoReturn:
        """Play until stopped."""
        while True:
            try:
                self._one()
            except (Gone, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                self._sent = 0.0
                self._say(f"cannot send: {type(error).__name__}: {error}")
                self._sleep(AGAIN_SECONDS)

    def _one(self) -> None:
        """The next track, by the settings as they are now."""
        settings = json.loads((self._settings / "settings.json").read_bytes())
        (feed,) = settings["feeds"]
        to = settings["port"], settings["password"], feed["mount"], feed["format"]
        if to != self._to:
            if self._server is not None:
                self._server.close()
            self._server, self._to, self._sent = Server(*to), to, 0.0
        format = feed["format"]
        if self._held is not None:
            self._wishes.look()
            if self._wishes.items != self._queue:
                # It may have been taken out meanwhile.
                self._held = None
                self._begin_asking("eco-again")
        chosen, self._held = self._held or self._next(), None
        try:
            if chosen is not None and self.play(Path(chosen["file"]), format, chosen["number"], chosen["title"]):
                self._trouble = ""
                return
        except Gone:
            self._held = chosen if chosen is not None and chosen["number"] != self._number else None
            raise
        except FileNotFoundError:
            self._say("a track that was chosen is gone")
        self.play(SAFE / f"safe.{format}", format, 0, None)


def _ask(*words: str) -> subprocess.Popen[str]:
    """Begin to ask the chooser. Raises OSError."""
    argv = [sys.executable, "-P", "-s", "-m", "streamfleet_autodj", *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def _done(asked: subprocess.Popen[str], seconds: float, end: bool = True) -> str:
    """What it answers within so long; one that does not is ended, or let be. Raises SubprocessError."""
    try:
        answer = asked.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        if end:
            asked.kill()
            asked.communicate()
        raise
    if asked.returncode:
        raise subprocess.CalledProcessError(asked.returncode, "streamfleet_autodj")
    return answer


def _stop(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    Player(Path(os.environ["STREAMFLEET_AUTODJ_SETTINGS"])).run()
