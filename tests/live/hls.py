"""What RFC 8216 asks of a media playlist, as checks; and a player that fetches segments and decodes them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import m3u8


def check_playlist(text: str, folders: bool = False) -> m3u8.M3U8:
    """Fail unless ``text`` is a media playlist as RFC 8216 wants it; return it parsed.

    ``folders``: segments may lie in folders below it.
    """
    lines = text.splitlines()
    assert lines[0] == "#EXTM3U", lines[0]
    assert text.endswith("\n")
    parsed = m3u8.loads(text)
    assert not parsed.is_variant
    assert parsed.segments, "no segment"
    assert (parsed.version or 1) >= 3, "fractions of seconds in EXTINF need version 3"
    for single in ("#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-ENDLIST"):
        assert sum(line.startswith(single) for line in lines) <= 1, f"{single} more than once"
    for tag in lines[1:]:
        assert not tag.startswith("#EXT") or re.match(r"^#EXT[A-Z0-9-]*(:[^ ].*)?$", tag), tag
    assert parsed.target_duration
    for segment in parsed.segments:
        assert round(segment.duration) <= parsed.target_duration, (segment.duration, parsed.target_duration)
        assert folders or "/" not in segment.uri
    names = [segment.uri for segment in parsed.segments]
    assert len(names) == len(set(names)), "a segment's name twice"
    if "#EXT-X-ENDLIST" in text:
        assert lines[-1] == "#EXT-X-ENDLIST"
    return parsed


def check_successor(before: str, after: str, folders: bool = False, paced: bool = True) -> None:
    """Fail unless ``after`` can follow ``before`` at the same address: nothing between is lost, nothing rewritten.

    ``paced``: the encoder has the machine to itself. One that is kept waiting sends its keyframes late, the segment is
    longer than all before, and the server says so; that is the encoder's doing, and players go on.
    """
    first, second = check_playlist(before, folders), check_playlist(after, folders)
    if paced:
        assert second.target_duration == first.target_duration, "the target duration must not change"
    step = (second.media_sequence or 0) - (first.media_sequence or 0)
    assert step >= 0, "the media sequence went back"
    kept = [segment.uri for segment in first.segments][step:]
    assert [segment.uri for segment in second.segments][: len(kept)] == kept, "segments were renumbered"


def decode(playlist: str, fetch: Callable[[str], bytes], folder: Path) -> tuple[int, float]:
    """Fetch every segment of a playlist, decode them all; return video frames and seconds of sound."""
    whole = folder / "whole.ts"
    whole.write_bytes(b"".join(fetch(segment.uri) for segment in m3u8.loads(playlist).segments))
    frames = _probe(whole, "v:0", "stream=nb_read_frames")
    packets = _probe(whole, "a:0", "stream=nb_read_frames")
    rate = _probe(whole, "a:0", "stream=sample_rate", count=False)
    return int(frames), int(packets) * 1024 / int(rate)


def _probe(path: Path, stream: str, entries: str, count: bool = True) -> str:
    command = ["ffprobe", "-v", "error", *(["-count_frames"] if count else []), "-select_streams", stream]
    command += ["-show_entries", entries, "-of", "default=nokey=1:noprint_wrappers=1", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()[0]
