"""Ears: a listener who keeps what it hears, and says which tone that is.

Every recording of these tests is one tone, so what is on the air is known by its frequency alone, whatever the encoder
made of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
from array import array
from collections.abc import Iterable
from pathlib import Path

from streamfleet.behaviour.sound import RATE, decoded, tone

__all__ = ["RATE", "Ears", "Encoder", "ShoutcastEncoder", "decoded", "longest_silence", "recording", "tone"]


def heard_at(url: str, candidates: Iterable[int], within: float) -> int | None:
    """Which of the candidates a new listener hears at ``url``, in any format, once it plays; None if it does not."""
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-i", url, "-t", "3", "-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"]
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        samples = array("h")
        output = subprocess.run(argv, capture_output=True, check=False, timeout=60).stdout
        samples.frombytes(output[: len(output) // 2 * 2])
        if samples:
            return tone(samples, candidates)
        time.sleep(1)
    return None


def longest_silence(samples: array[int], rate: int = RATE) -> float:
    """The longest stretch without sound, in seconds, by pieces of a twentieth."""
    size, longest, now = rate // 20, 0, 0
    for start in range(0, len(samples) - size, size):
        piece = samples[start : start + size]
        now = now + 1 if sum(sample * sample for sample in piece) / size < 20 * 20 else 0
        longest = max(longest, now)
    return longest / 20


def recording(path: Path, frequency: int, seconds: float, *options: str) -> Path:
    """Make a recording of one tone; the suffix tells its format."""
    argv = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        f"sine=frequency={frequency}:duration={seconds}",
    ]
    subprocess.run([*argv, "-ac", "2", "-ar", "44100", *options, f"file:{path}"], check=True)
    return path


class Encoder:
    """A broadcaster's encoder: one tone, live, as MP3."""

    def __init__(
        self, address: str, port: int, mount: str, password: str, frequency: int, user: str = "source"
    ) -> None:
        url = f"icecast://{user}:{password}@{address}:{port}{mount}"
        argv = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", f"sine=frequency={frequency}"]
        argv += ["-ac", "2", "-ar", "44100", "-b:a", "128k", "-content_type", "audio/mpeg", "-f", "mp3", url]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def stop(self) -> None:
        """Go off the air, as a broadcaster's cable that is pulled."""
        assert self._process.poll() is None, self._process.communicate()[1]
        self._process.kill()
        self._process.communicate()

    def sent_away(self, within: float = 10.0) -> bool:
        """Whether the other side ends it in so many seconds; in any case it has ended then."""
        try:
            self._process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return False
        return True


class ShoutcastEncoder(threading.Thread):
    """A broadcaster's encoder that speaks Shoutcast 1's protocol; ``answer`` is what it was told."""

    def __init__(self, address: str, port: int, login: str, frequency: int) -> None:
        super().__init__(daemon=True)
        self._link = socket.create_connection((address, port), timeout=10)
        self._link.sendall(f"{login}\r\n".encode())
        self.answer = self._link.recv(256)
        if self.answer.startswith(b"OK2"):
            self._link.sendall(b"icy-name: A show\r\nicy-br: 128\r\ncontent-type: audio/mpeg\r\n\r\n")
        argv = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", f"sine=frequency={frequency}"]
        argv += ["-ac", "2", "-ar", "44100", "-b:a", "128k", "-f", "mp3", "-"]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def run(self) -> None:
        """Send until stopped."""
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            while piece := os.read(self._process.stdout.fileno(), 4096):
                self._link.sendall(piece)

    def stop(self) -> None:
        """Go off the air."""
        self._process.kill()
        self._process.communicate()
        self._link.close()


class Ears(threading.Thread):
    """A listener over one connection that is never made anew; ``ended`` says that the server ended it.

    With ``host`` over TLS, whose certificate ``ca`` has signed for that host.
    """

    def __init__(self, address: str, port: int, path: str, host: str | None = None, ca: str | None = None) -> None:
        super().__init__(daemon=True)
        self._link = socket.create_connection((address, port), timeout=30)
        if host is not None:
            self._link = ssl.create_default_context(cafile=ca).wrap_socket(self._link, server_hostname=host)
        head = f"GET {path} HTTP/1.0\r\nHost: {host or address}\r\nUser-Agent: ears\r\n\r\n"
        self._link.sendall(head.encode())
        self._pieces: list[tuple[float, bytes]] = []
        self._stopped = False
        self.status = 0
        self.media_type = "audio/mpeg"
        self.ended = False
        self.start()

    def run(self) -> None:
        """Listen."""
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                piece = self._link.recv(4096)
                if not piece:
                    break
                head += piece
            self.status = int(head.split()[1]) if head else 0
            fields = (line.partition(b":") for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
            named = [value.strip().decode("latin-1") for name, _, value in fields if name.lower() == b"content-type"]
            self.media_type = (named or [self.media_type])[0]
            self._pieces.append((time.monotonic(), head.partition(b"\r\n\r\n")[2]))
            while piece := self._link.recv(16384):
                self._pieces.append((time.monotonic(), piece))
        except OSError:
            pass
        self.ended = not self._stopped

    def bytes_since(self, moment: float) -> bytes:
        """What came after that moment of time.monotonic()."""
        return b"".join(piece for when, piece in self._pieces if when >= moment)

    def sound_since(self, moment: float) -> array[int]:
        """The same as samples."""
        return decoded(self.bytes_since(moment), self.media_type)

    def hears(self, candidates: Iterable[int], seconds: float = 2.0) -> int | None:
        """The tone of the last seconds."""
        samples = self.sound_since(time.monotonic() - seconds)
        return tone(samples[-RATE:], candidates)

    def since_until(self, moment: float, frequency: int, candidates: Iterable[int]) -> float | None:
        """Seconds of sound after that moment until this tone begins; None where it does not."""
        samples, size, known = self.sound_since(moment), RATE // 5, list(candidates)
        for start in range(0, len(samples) - size, size):
            if tone(samples[start : start + size], known) == frequency:
                return start / RATE
        return None

    def await_tone(self, frequency: int, candidates: Iterable[int], within: float = 60.0) -> float:
        """Wait until this tone is heard; the seconds that it took. Fails when it is not, or the connection ends."""
        begun = time.monotonic()
        known, heard = list(candidates), []
        while time.monotonic() - begun < within:
            assert not self.ended, f"the listener was disconnected (status {self.status})"
            heard.append(self.hears(known))
            if heard[-1] == frequency:
                return time.monotonic() - begun
            time.sleep(0.3)
        raise AssertionError(f"{frequency} Hz was not heard within {within:g} seconds, but {heard[-20:]}")

    def stop(self) -> None:
        """Stop listening."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self._link.close()
