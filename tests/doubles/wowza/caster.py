"""A MediaCaster: fetches a stream from elsewhere, again and again, and has it cut into segments by ffmpeg."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from ..video.media import LISTED, Segment

#: Type → schemes of what it fetches, and the protocols that this may lead to.
TYPES = {
    "liverepeater": (("rtmp",), "rtmp,tcp"),
    "rtp": (("rtsp",), "rtsp,tcp,udp,rtp"),
    "applehls": (("http", "https"), "http,https,tcp,tls,crypto"),
    "shoutcast": (("http",), "http,tcp"),
}
#: Seconds without a byte after which it connects anew, and between two attempts.
SILENCE, PAUSE = 8, 2
_NUMBER = re.compile(r"^(\d+)\.ts$", re.MULTILINE)
_LISTED = re.compile(r"^#EXTINF:([0-9.]+),\n(\d+)\.ts$", re.MULTILINE)
#: Seconds between two looks for segments that are whole.
LOOK = 0.3


def fault_of(kind: str, uri: str) -> str:
    """Why such a MediaCaster cannot fetch this; empty: it can try."""
    if kind not in TYPES:
        return f"unknown mediaCasterType {kind}"
    if not re.fullmatch(r"[!-~]+", uri) or uri.partition("://")[0].lower() not in TYPES[kind][0]:
        return f"a MediaCaster {kind} has nothing to do with {uri[:20]!r}"
    return ""


class Caster:
    """One stream that is fetched. As its packager it keeps the last segments, and gives each to ``closed`` once."""

    def __init__(
        self, kind: str, uri: str, seconds: float, interleaved: bool, closed: Callable[[Segment], None]
    ) -> None:
        self._closed = closed
        self._folder = tempfile.TemporaryDirectory(prefix="caster-")
        place = Path(self._folder.name)
        self._list = place / "list.m3u8"
        timeout = [] if kind == "rtp" else ["-rw_timeout", f"{SILENCE * 1_000_000}"]
        transport = ["-rtsp_transport", "tcp" if interleaved else "udp"] if kind == "rtp" else []
        given = ["-protocol_whitelist", TYPES[kind][1], *timeout, *transport, "-i", uri]
        cut = ["-map", "0:v:0?", "-map", "0:a:0?", "-c", "copy", "-f", "hls", "-hls_time", f"{seconds}"]
        kept = ["-hls_list_size", f"{LISTED}", "-hls_delete_threshold", "3"]
        flags = ["-hls_flags", "delete_segments+append_list+omit_endlist"]
        names = ["-hls_segment_filename", f"{place}/%d.ts", f"{self._list}"]
        self._command = ["ffmpeg", "-v", "error", "-nostdin", *given, *cut, *kept, *flags, *names]
        self._ended = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        for work in (self._run, self._give):
            threading.Thread(target=work, daemon=True).start()

    def _give(self) -> None:
        last = -1
        while not self._ended.wait(LOOK):
            for seconds, number in _LISTED.findall(self._text()):
                data = self.segment(int(number)) if int(number) > last else None
                if data is not None:
                    last = int(number)
                    self._closed(Segment(last, float(seconds), data))

    def _run(self) -> None:
        while not self._ended.is_set():
            with subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True) as self._process:
                if self._ended.is_set():
                    self._process.kill()
                said = self._process.communicate()[1].strip()
            print(f"WARN MediaCaster: {said[-300:] or 'the stream has ended'}", flush=True)
            self._ended.wait(PAUSE)

    def stop(self) -> None:
        """Fetch no more."""
        self._ended.set()
        if self._process:
            self._process.kill()

    def _text(self) -> str:
        with contextlib.suppress(OSError):
            return self._list.read_text()
        return ""

    @property
    def segments(self) -> list[Segment]:
        """What is listed."""
        return [Segment(int(number), 0.0, b"") for number in _NUMBER.findall(self._text())]

    def list(self, name: Callable[[Segment], str]) -> str:
        """The media playlist; ``name`` says how a segment is called in it."""
        return _NUMBER.sub(lambda found: name(Segment(int(found[1]), 0.0, b"")), self._text())

    def segment(self, number: int) -> bytes | None:
        """A segment that is still there."""
        with contextlib.suppress(OSError):
            return self._list.with_name(f"{number}.ts").read_bytes()
        return None
