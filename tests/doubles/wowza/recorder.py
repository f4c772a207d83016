"""A stream recorder: keeps what is published as MP4, in pieces of a length that it is told."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from ..video.media import Segment

#: What a recorder may be asked for, and the type of each.
ASKED = {
    "instanceName": str,
    "recorderName": str,
    "startOnKeyFrame": bool,
    "outputPath": str,
    "baseFile": str,
    "fileFormat": str,
    "fileTemplate": str,
    "segmentationType": str,
    "segmentDuration": int,
}


def fault_of(name: str, wanted: Any) -> str:
    """Why such a recorder cannot be; empty: it can."""
    if not isinstance(wanted, dict):
        return "no JSON object"
    for key, value in wanted.items():
        kind = ASKED.get(key, tuple)
        # True is a number to Python, and none to JSON.
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            return f"bad field {key}"
    if wanted.get("recorderName", name) != name or wanted.get("instanceName", "_definst_") != "_definst_":
        return "the recorder is called otherwise"
    if wanted.get("fileFormat") != "MP4" or wanted.get("segmentationType") not in ("None", "SegmentByDuration"):
        return "fileFormat or segmentationType is none that there is"
    if wanted["segmentationType"] == "SegmentByDuration" and wanted.get("segmentDuration", 0) < 1000:
        return "segmentDuration is in milliseconds"
    if not Path(wanted.get("outputPath", "")).is_dir():
        return "outputPath is no folder"
    return ""


class Recorder:
    """One recorder. Segments are the packager's, so a recording begins with a key frame."""

    def __init__(self, name: str, wanted: dict[str, Any]) -> None:
        self.name = name
        self.wanted = wanted
        self.current = ""
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._number = 0
        self._raw: Path | None = None

    def told(self) -> dict[str, Any]:
        """What REST says of it."""
        state = "Recording in Progress" if self.current else "Waiting for stream"
        return {**self.wanted, "recorderName": self.name, "recorderState": state, "currentFile": self.current}

    def take(self, segment: Segment) -> None:
        """A segment that is whole."""
        with self._lock:
            if self._raw is None:
                base = self.wanted.get("baseFile", f"{self.name}.mp4").removesuffix(".mp4")
                begun = time.strftime("%Y-%m-%d-%H.%M.%S.000-+00:00", time.gmtime())
                self.current = f"{self.wanted['outputPath']}/{base}_{begun}_{self._number}.mp4"
                self._raw, self._number, self._seconds = Path(f"{self.current}.tmp"), self._number + 1, 0.0
            with self._raw.open("ab") as stream:
                stream.write(segment.data)
            self._seconds += segment.seconds
            limit = self.wanted.get("segmentDuration", 0) / 1000
            if limit and self._seconds >= limit:
                self._close()

    def stop(self) -> None:
        """The recording is at its end."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._raw is None:
            return
        raw, whole = self._raw, self.current
        self._raw, self.current = None, ""
        made = ["ffmpeg", "-v", "error", "-nostdin", "-f", "mpegts", "-i", f"file:{raw}", "-c", "copy"]
        made += ["-f", "mp4", "-y", f"file:{whole}"]
        done = subprocess.run(made, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"WARN recorder {self.name}: {done.stderr.strip()}", flush=True)
        raw.unlink()
