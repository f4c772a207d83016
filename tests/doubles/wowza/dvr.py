"""An nDVR store: the segments of a stream on disk, for as long as its window is, to be watched again."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

from ..video.media import Segment


class Store:
    """The store of one stream. What is there of an earlier publication stays, and the next is appended."""

    def __init__(self, folder: Path, window: int) -> None:
        self._folder = folder
        self._window = window
        self._lock = threading.Lock()
        self._kept: list[tuple[int, float]] = []
        with contextlib.suppress(OSError, ValueError):
            self._kept = [(number, seconds) for number, seconds in json.loads((folder / "manifest").read_text())]

    def take(self, segment: Segment) -> None:
        """A segment that is whole."""
        with self._lock:
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            number = self._kept[-1][0] + 1 if self._kept else 0
            (self._folder / f"{number}.ts").write_bytes(segment.data)
            self._kept.append((number, segment.seconds))
            while self._window and sum(seconds for _number, seconds in self._kept) > self._window + self._kept[0][1]:
                (self._folder / f"{self._kept.pop(0)[0]}.ts").unlink(missing_ok=True)
            (self._folder / "manifest").write_text(json.dumps(self._kept))

    @property
    def segments(self) -> list[Segment]:
        """All that is kept."""
        with self._lock:
            return [Segment(number, seconds, b"") for number, seconds in self._kept]

    def list(self, name: Callable[[Segment], str]) -> str:
        """The media playlist: all of the window."""
        kept = self.segments
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{round(max(s.seconds for s in kept) + 0.49)}"]
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{kept[0].number}")
        for segment in kept:
            lines += [f"#EXTINF:{segment.seconds:.3f},", name(segment)]
        return "\n".join(lines) + "\n"

    def segment(self, number: int) -> bytes | None:
        """A segment that is still there."""
        with contextlib.suppress(OSError):
            return (self._folder / f"{number}.ts").read_bytes()
        return None
