"""Encoders: ffmpeg sends one tone, and a test picture where there is a picture, until it is stopped or sent away."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping

from ..errors import Misbehaved
from .target import Target

#: Seconds after which an encoder that nobody has sent away is taken for accepted; a refusal comes within one.
ACCEPTED_AFTER = 6.0
#: Nothing outlives this many seconds, whatever becomes of this process.
LONGEST = 1800
PATIENCE = 12.0
#: What a source of Shoutcast 1 says of itself, and an Icecast one as headers.
ABOUT = {"icy-name": "Streamfleet check", "icy-pub": "0", "icy-br": "128", "content-type": "audio/mpeg"}


def command(target: Target, kind: str, frequency: int) -> list[str]:
    """ffmpeg that publishes a tone of so many Hz in real time; for video a picture, a key frame every two seconds."""
    argv = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error"]
    if kind == "video":
        argv += ["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]
    argv += ["-re", "-f", "lavfi", "-i", f"sine=frequency={frequency}:sample_rate=44100", "-t", str(LONGEST)]
    if kind == "video":
        argv += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"]
        argv += ["-g", "50", "-keyint_min", "50", "-b:v", "300k", "-c:a", "aac", "-b:a", "64k", "-f", "flv"]
        return [*argv, target.url]
    argv += ["-ac", "2", "-c:a", "libmp3lame", "-b:a", "128k", "-id3v2_version", "0", "-f", "mp3"]
    # What it makes is sent by Encoder. ffmpeg does not speak Shoutcast's protocol, and commands, passwords and all,
    # are shown to every user of the machine. RTMP is ffmpeg's own affair, which takes the key in no other way.
    return [*argv, "-flush_packets", "1", "-"]


def log_in(target: Target, about: Mapping[str, str] | None = None) -> socket.socket:
    """A connection on which the server waits for sound. Raises Misbehaved with its answer where it refuses."""
    if target.scheme == "icecast":
        login = base64.b64encode(f"{target.user}:{target.password}".encode()).decode()
        head = f"PUT {target.path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nAuthorization: Basic {login}\r\n"
        return _ask(target, f"{head}Content-Type: audio/mpeg\r\nExpect: 100-continue\r\n\r\n", (" 100 ", " 200 "))
    # Sources of Shoutcast 1 connect to the port after the one that is given.
    link = _ask(target, f"{target.password}\r\n", ("OK2",), above=1)
    link.sendall(("".join(f"{name}:{value}\r\n" for name, value in (about or ABOUT).items()) + "\r\n").encode())
    # A source that is refused for its headers is hung up on.
    link.settimeout(0.3)
    try:
        gone = link.recv(1) == b""
    except TimeoutError:
        gone = False
    if gone:
        link.close()
        raise Misbehaved("the server hung up after the headers")
    link.settimeout(PATIENCE)
    return link


def reach(target: Target) -> None:
    """See that somebody listens there: who is not there turns nobody away. Raises Misbehaved."""
    _connect(target, 1 if target.scheme == "shoutcast" else 0).close()


def _connect(target: Target, above: int) -> socket.socket:
    try:
        return socket.create_connection((target.host, target.port + above), timeout=PATIENCE)
    except OSError as error:
        raise Misbehaved(f"{target.host} port {target.port + above}: {error.strerror or error}") from None


def _ask(target: Target, request: str, good: tuple[str, ...], above: int = 0) -> socket.socket:
    link = _connect(target, above)
    try:
        link.sendall(request.encode())
        answer = (link.recv(512).decode("latin-1").splitlines() or ["nothing"])[0]
    except OSError as error:
        answer = str(error)
    if not any(text in answer for text in good):
        link.close()
        raise Misbehaved(f"the server answered {target.hide(answer)!r}")
    return link


class Encoder:
    """One encoder. ``kind`` is an engine's, audio or video."""

    def __init__(self, target: Target, kind: str, frequency: int) -> None:
        self._target = target
        self._link: socket.socket | None = log_in(target) if kind == "audio" else None
        self._process = subprocess.Popen(
            command(target, kind, frequency),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._link else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._words: list[str] = []
        threads = [self._listen, *([self._send] if self._link else [])]
        self._threads = [threading.Thread(target=work, daemon=True) for work in threads]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        for line in self._process.stderr or ():
            self._words.append(self._target.hide(line.decode("utf-8", "replace").strip()))

    def _send(self) -> None:
        link, pipe = self._link, self._process.stdout
        if link is None or pipe is None:
            return
        try:
            while piece := os.read(pipe.fileno(), 4096):
                link.sendall(piece)
        except OSError as error:
            self._words.append(f"the server hung up: {error}")
        finally:
            self._process.kill()

    @property
    def on_air(self) -> bool:
        """Whether it goes on sending."""
        return self._process.poll() is None

    @property
    def words(self) -> str:
        """The last thing that it said."""
        return next((line for line in reversed(self._words) if line), "it said nothing")

    def sent_away(self, within: float) -> bool:
        """Whether the server ends it in so many seconds."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        self._threads[0].join(2)
        return True

    def stop(self) -> None:
        """Go off the air, and wait until all of it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        self._process.kill()
        self._process.wait(10)
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)
            self._link.close()
        for thread in self._threads:
            thread.join(5)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def publishing(target: Target, kind: str, frequency: int) -> Iterator[Encoder]:
    """An encoder, stopped at the end. Raises Misbehaved where the server is seen to refuse it at once."""
    encoder = Encoder(target, kind, frequency)
    try:
        yield encoder
    finally:
        encoder.stop()


def refusal(target: Target, kind: str) -> str:
    """What an encoder is told that is turned away. Raises Misbehaved where it is not."""
    begun = time.monotonic()
    try:
        with publishing(target, kind, 440) as encoder:
            if not encoder.sent_away(ACCEPTED_AFTER):
                raise _Accepted(f"an encoder was let in, and was still sending after {ACCEPTED_AFTER:g} seconds")
            return f"{encoder.words} ({time.monotonic() - begun:.1f} s)"
    except _Accepted as accepted:
        raise Misbehaved(str(accepted)) from None
    except Misbehaved as refused:
        return str(refused)


class _Accepted(Exception):
    """Somebody who should not be was let in."""
