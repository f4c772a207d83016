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
KINDS = {"mp3": "audio/mpeg", "aac": "audio/aac", "ogg": "application/ogg", "opus": "application/ogg"}


class Gone(Exception):
    """The server does not take the stream now. Its text says why."""


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

    def play(self, path: Path, format: str, number: int, title: str | None) -> bool:
        """Send a file; False where nothing of it could be sent. Raises Gone where the server is away, OSError."""
        began = False
        held, waiting = b"", 0.0
        with path.open("rb") as file:
            try:
                for piece, seconds in frames.pieces(file, format):
                    held += piece
                    waiting += seconds
                    if waiting < AT_ONCE:
                        continue
                    self._out(held, waiting)
                    held, waiting = b"", 0.0
                    if not began:
                        began = True
                        self._begun(format, number, title)
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
        if title is not None and format in ("mp3", "aac") and self._server is not None:
            # Ogg streams bring their titles themselves.
            self._server.title(title)
        if number:
            _done(_ask("started", str(number)))
        # Meanwhile, since it takes its time in a large library.
        self._choosing = self._choosing or _ask("eco-next")

    def run(self) -> NoReturn:
        """Play until stopped."""
        while True:
            try:
                self._one()
                self._trouble = ""
            except (Gone, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                self._sent = 0.0
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    say(f"cannot send: {type(error).__name__}: {error}")
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
        asked, self._choosing = self._choosing or _ask("eco-next"), None
        chosen = json.loads(_done(asked) or "null")
        if chosen is not None and self.play(Path(chosen["file"]), format, chosen["number"], chosen["title"]):
            return
        self.play(SAFE / f"safe.{format}", format, 0, None)


def _ask(*words: str) -> subprocess.Popen[str]:
    """Begin to ask the chooser. Raises OSError."""
    argv = [sys.executable, "-P", "-s", "-m", "streamfleet_autodj", *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def _done(asked: subprocess.Popen[str]) -> str:
    """What it answers. Raises SubprocessError."""
    try:
        answer = asked.communicate(timeout=CHOOSING_SECONDS)[0]
    except subprocess.TimeoutExpired:
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
