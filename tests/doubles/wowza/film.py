"""A file that is played on demand, cut into segments of MPEG-2 TS by ffmpeg, as nothing of it needs to be encoded."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

#: What Wowza plays with the prefix mp4.
SUFFIXES = (".mp4", ".m4v", ".mov")
_NAME = re.compile(r"[^/\x00-\x1f]+")


class Film:
    """The segments of one file. Raises OSError where it cannot be read, ValueError where it is no film."""

    def __init__(self, path: Path) -> None:
        with path.open("rb"):
            pass
        self._folder = tempfile.TemporaryDirectory(prefix="film-")
        cut = ["-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_playlist_type", "vod"]
        names = ["-hls_segment_filename", f"{self._folder.name}/%d.ts", f"{self._folder.name}/list.m3u8"]
        # What it is called, and by no protocol that it names itself: a list of other files is no film.
        given = ["-protocol_whitelist", "file", "-f", "mov", "-i", f"file:{path}"]
        command = ["ffmpeg", "-v", "error", "-nostdin", *given, *cut, *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise ValueError(done.stderr.strip())

    def list(self, session: str) -> str:
        """The media playlist, its segments named as the vendor's."""
        text = Path(self._folder.name, "list.m3u8").read_text()
        return re.sub(r"^(\d+)\.ts$", rf"media_{session}_\1.ts", text, flags=re.MULTILINE)

    def segment(self, number: int) -> bytes | None:
        """One segment; None where there is none."""
        path = Path(self._folder.name, f"{number}.ts")
        return path.read_bytes() if path.is_file() else None


def place_of(storage: Path, name: str) -> Path | None:
    """The file below the application's storage; None for a name that climbs or has another suffix."""
    parts = name.split("/")
    if not name.lower().endswith(SUFFIXES) or any(
        part in ("", ".", "..") or not _NAME.fullmatch(part) for part in parts
    ):
        return None
    return storage.joinpath(*parts)
