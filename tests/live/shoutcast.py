"""A source of Shoutcast 1 and a listener that count: every MP3 frame that the source sends is numbered.

The server passes whole frames on as they are, so a listener who gets frame n must get frame n + 1 next.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streamfleet.behaviour.counted import FRAME, HEADER, NUMBER, frame, numbered

__all__ = ["Audience", "Heard", "LegacySource", "frame", "on_air"]


class LegacySource(threading.Thread):
    """A source of Shoutcast 1, on the port after ``port``; ``error`` says why it ended early.

    ``password`` as an encoder is given it: with ``:#N`` behind it for stream N. ``due`` gives what is to be sent now.
    """

    def __init__(
        self,
        address: str,
        port: int,
        password: str,
        *,
        due: Callable[[], bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self._address, self._password, self._due = (address, port + 1), password, due
        self._headers = {
            "icy-name": "Test station",
            "icy-genre": "Tests",
            "icy-pub": "0",
            "icy-br": "128",
            "content-type": "audio/mpeg",
            **(headers or {}),
        }
        self._ended = threading.Event()
        self.answer = ""
        self.error: str | None = None
        self.accepted = threading.Event()

    def run(self) -> None:
        """Send until stopped."""
        try:
            with socket.create_connection(self._address, timeout=10) as link:
                link.sendall(f"{self._password}\r\n".encode())
                self.answer = link.recv(256).decode("latin-1")
                if not self.answer.startswith("OK2\r\n"):
                    raise ConnectionError(self.answer)
                head = "".join(f"{name}:{value}\r\n" for name, value in self._headers.items())
                link.sendall(f"{head}\r\n".encode())
                # A source that is refused for its headers is hung up on.
                link.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    if link.recv(1) == b"":
                        raise ConnectionError("hung up after the headers")
                link.settimeout(10)
                self.accepted.set()
                due = self._due or numbered()
                while not self._ended.is_set():
                    link.sendall(due())
                    self._ended.wait(0.05)
        except OSError as error:
            if not self._ended.is_set():
                self.error = str(error)

    def stop(self) -> None:
        """Go off the air."""
        self._ended.set()
        self.join(12)


@contextlib.contextmanager
def on_air(source: LegacySource) -> Iterator[LegacySource]:
    """Start a source and stop it at the end; fails when it is refused."""
    source.start()
    try:
        assert source.accepted.wait(12), f"the source was refused: {source.answer or source.error}"
        yield source
    finally:
        source.stop()


@dataclass
class Heard:
    """What a listener got so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    frames: int = 0
    lost: int = 0
    disconnects: int = 0
    titles: list[str] = field(default_factory=list)


class Audience(threading.Thread):
    """A listener, over HTTPS (``ca`` given) or HTTP, who takes titles out of the stream and counts frames."""

    def __init__(self, address: str, port: int, host: str, path: str, *, ca: str = "", titles: bool = True) -> None:
        super().__init__(daemon=True)
        self._address, self._host, self._path, self._ca, self._titles = (address, port), host, path, ca, titles
        self._ended = threading.Event()
        self.answered = threading.Event()
        self.playing = threading.Event()
        self.heard = Heard()

    def run(self) -> None:
        """Listen until stopped; the end of the stream counts as a disconnect."""
        try:
            with self._connect() as link:
                ask = "Icy-MetaData: 1\r\n" if self._titles else ""
                request = f"GET {self._path} HTTP/1.0\r\nHost: {self._host}\r\nUser-Agent: counter\r\n{ask}\r\n"
                link.sendall(request.encode())
                with link.makefile("rb") as stream:
                    self._read(stream)
        except OSError:
            pass
        finally:
            if not self._ended.is_set():
                self.heard.disconnects += 1
            self.answered.set()

    def _connect(self) -> socket.socket:
        link = socket.create_connection(self._address, timeout=20)
        if not self._ca:
            return link
        return ssl.create_default_context(cafile=self._ca).wrap_socket(link, server_hostname=self._host)

    def _read(self, stream: object) -> None:
        lines = iter(lambda: stream.readline().decode("latin-1").rstrip("\r\n"), "")  # type: ignore[attr-defined]
        self.heard.status = int(next(lines).split()[1])
        self.heard.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        self.answered.set()
        if self.heard.status != 200:
            return
        every = int(self.heard.headers.get("icy-metaint", 0))
        data, expected = b"", None
        while not self._ended.is_set():
            piece = stream.read(every or 1024)  # type: ignore[attr-defined]
            if every and len(piece) == every:
                self._title(stream)
            if not piece:
                return
            self.heard.bytes += len(piece)
            data += piece
            while len(data) >= FRAME + 16:
                at = data.find(HEADER + b"#")
                if at < 0 or at + FRAME > len(data):
                    break
                found = NUMBER.match(data, at + len(HEADER))
                assert found
                number = int(found[1])
                self.heard.lost += at if expected is not None else 0
                self.heard.lost += number - expected if expected is not None else 0
                expected, data = number + 1, data[at + FRAME :]
                self.heard.frames += 1
                if self.heard.frames > 5:
                    self.playing.set()

    def _title(self, stream: object) -> None:
        length = stream.read(1)  # type: ignore[attr-defined]
        if length and length[0]:
            block = stream.read(length[0] * 16).rstrip(b"\0").decode()  # type: ignore[attr-defined]
            title = re.fullmatch(r"StreamTitle='(.*)';", block)
            assert title, block
            self.heard.titles.append(title[1])

    def stop(self) -> Heard:
        """Stop listening and return what was heard."""
        self._ended.set()
        self.join(25)
        return self.heard
