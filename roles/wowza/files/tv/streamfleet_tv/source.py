"""What is sent: a recording, or the live source, taken out of its container by an ffmpeg of its own, as it is."""

from __future__ import annotations

import queue
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from . import flv

#: What is held of a source: about five seconds, and no more than so many bytes of it.
MOST_TAGS, MOST_BYTES = 400, 24 * 1024 * 1024
_FFMPEG = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-threads", "1"]
_OUT = ["-c", "copy", "-map_metadata", "-1", "-flvflags", "no_duration_filesize", "-f", "flv", "pipe:1"]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
#: Recordings are tenants' data: a list in disguise opens nothing, and what looks like another format is not read.
ONLY_FILES = ["-f", "mov", "-protocol_whitelist", "file"]
_ONLY_HLS = ["-f", "hls", "-protocol_whitelist", "http,tcp", "-rw_timeout", "10000000"]


class Source:
    """An ffmpeg and what it has written and was not taken yet."""

    def __init__(self, name: str, argv: list[str]) -> None:
        self.name = name
        self._tags: queue.Queue[flv.Tag] = queue.Queue(MOST_TAGS)
        self._bytes = 0
        self._room = threading.Condition()
        self._closed = False
        #: All has been read of it; what waits is the rest.
        self.read = threading.Event()
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=ENVIRONMENT, bufsize=1 << 16
        )
        threading.Thread(target=self._fill, daemon=True).start()

    @classmethod
    def of_file(cls, name: str, path: Path) -> Source:
        """A recording, from its beginning. Raises OSError."""
        argv = [*_FFMPEG, *ONLY_FILES, "-i", f"file:{path}", "-map", "0:V:0", "-map", "0:a:0", *_OUT]
        return cls(name, argv)

    @classmethod
    def of_stream(cls, name: str, url: str) -> Source:
        """What Wowza has packaged of a stream, from a little before now. Raises OSError."""
        quick = ["-live_start_index", "-2", "-max_reload", "5", "-analyzeduration", "2000000", "-probesize", "1000000"]
        argv = [*_FFMPEG, *_ONLY_HLS, *quick, "-i", url, "-map", "0:v:0", "-map", "0:a:0", *_OUT]
        return cls(name, argv)

    def take(self, seconds: float) -> flv.Tag | None:
        """The next tag; None where there is none within so long."""
        try:
            tag = self._tags.get(timeout=seconds)
        except queue.Empty:
            return None
        with self._room:
            self._bytes -= len(tag.body)
            self._room.notify()
        return tag

    @property
    def ready(self) -> bool:
        """Whether there is something of it to send."""
        return not self._tags.empty()

    @property
    def over(self) -> bool:
        """Whether nothing comes any more."""
        return self._closed or (self.read.is_set() and self._tags.empty())

    def close(self) -> None:
        """Let go of it."""
        with self._room:
            self._closed = True
            self._room.notify()
        with suppress(OSError):
            self._process.kill()
        self._process.wait()

    def _fill(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as stream:
                for tag in flv.tags(stream):
                    if not self._put(tag):
                        return
        except (flv.Broken, OSError, ValueError) as error:
            print(f"{self.name}: {error}", flush=True)
        finally:
            self.read.set()
            self._process.wait()

    def _put(self, tag: flv.Tag) -> bool:
        """Wait for room; False once nobody wants it any more."""
        with self._room:
            self._bytes += len(tag.body)
            while not self._closed and (self._tags.full() or (self._bytes > MOST_BYTES and not self._tags.empty())):
                self._room.wait()
            if self._closed:
                return False
            self._tags.put_nowait(tag)
        return True
