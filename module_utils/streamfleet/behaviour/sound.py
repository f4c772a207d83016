"""What is heard: a piece of a stream as samples, and which tone that is.

What is published for a check is one tone, so what comes back is known by its frequency alone, whatever was made of it.
"""

from __future__ import annotations

import json
import math
import subprocess
from array import array
from collections.abc import Iterable

#: Samples a second of what is decoded.
RATE = 8000
#: What a tone must have of all power in the piece to be called the one that is heard.
SHARE = 0.5
#: The decoder's name of a format, by media type; what is not here it finds out.
FORMATS = {"audio/mpeg": "mp3", "audio/aac": "aac", "audio/aacp": "aac", "video/mp2t": "mpegts"}
SECONDS = 60


def power(samples: Iterable[int], frequency: float, rate: int = RATE) -> float:
    """The power of one frequency in ``samples``, by Goertzel's algorithm."""
    turn = 2 * math.cos(2 * math.pi * frequency / rate)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + turn * last - before
    return last * last + before * before - turn * last * before


def tone(samples: array[int], candidates: Iterable[int], rate: int = RATE) -> int | None:
    """Which of the candidates (Hz) makes up most of the sound; None for silence, a mixture, or another sound."""
    total = sum(sample * sample for sample in samples)
    if not samples or total / len(samples) < 20 * 20:
        return None
    # A sine of the full energy gives power n * energy / 2.
    shares = {frequency: 2 * power(samples, frequency, rate) / (len(samples) * total) for frequency in candidates}
    best = max(shares, key=lambda frequency: shares[frequency])
    return best if shares[best] > SHARE else None


def decoded(data: bytes, media_type: str = "audio/mpeg") -> array[int]:
    """A piece of a stream as mono samples of 16 bits at RATE; none where there is no sound in it."""
    kind = FORMATS.get(media_type.partition(";")[0].strip().lower())
    argv = ["ffmpeg", "-nostdin", "-v", "quiet", *(["-f", kind] if kind else []), "-i", "-", "-map", "0:a:0"]
    argv += ["-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"]
    samples = array("h")
    output = subprocess.run(argv, input=data, capture_output=True, check=False, timeout=SECONDS).stdout
    samples.frombytes(output[: len(output) // 2 * 2])
    return samples


def pictures(data: bytes) -> int:
    """How many video frames of a piece of a stream can be decoded."""
    argv = ["ffprobe", "-v", "quiet", "-count_frames", "-select_streams", "v:0"]
    argv += ["-show_entries", "stream=nb_read_frames", "-of", "json", "-"]
    done = subprocess.run(argv, input=data, capture_output=True, check=False, timeout=SECONDS)
    streams = json.loads(done.stdout or b"{}").get("streams") or [{}]
    return int(streams[0].get("nb_read_frames") or 0)
