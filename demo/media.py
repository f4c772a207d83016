"""Real encoders and real players: ffmpeg publishes, ffmpeg and plain HTTPS listen."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

# Nothing that the demo leaves running outlives this many seconds.
PUBLISH_SECONDS = 4 * 3600

_QUIET = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error"]


def video_publisher(url: str, seconds: int = PUBLISH_SECONDS) -> list[str]:
    """Command that publishes a test picture with a tone, H.264 and AAC, a key frame every two seconds."""
    return [
        *_QUIET,
        *("-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"),
        *("-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"),
        *("-t", str(seconds), "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"),
        *("-g", "50", "-keyint_min", "50", "-b:v", "300k", "-c:a", "aac", "-b:a", "64k", "-f", "flv", url),
    ]


def audio_publisher(url: str, audio_format: str, seconds: int = PUBLISH_SECONDS) -> list[str]:
    """Command that publishes a tone as MP3 or AAC (``mp3``, ``aac``) to an Icecast mount."""
    codec = {
        "mp3": ["-c:a", "libmp3lame", "-b:a", "128k", "-content_type", "audio/mpeg", "-f", "mp3"],
        "aac": ["-c:a", "aac", "-b:a", "64k", "-content_type", "audio/aac", "-f", "adts"],
    }[audio_format]
    source = ["-re", "-f", "lavfi", "-i", "sine=frequency=660:sample_rate=44100"]
    return [*_QUIET, *source, "-t", str(seconds), *codec, url]


def player(url: str, ca: str, seconds: int = 5) -> list[str]:
    """Command that decodes ``seconds`` of a stream to nothing and prints how much it decoded."""
    tls = ["-tls_verify", "1", "-ca_file", ca] if url.startswith("https://") and not url.endswith(".m3u8") else []
    return [
        *("ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "info", "-rw_timeout", "15000000"),
        *(*tls, "-i", url, "-t", str(seconds), "-map", "0", "-f", "null", "-"),
    ]


@dataclass(frozen=True)
class Decoded:
    """What a player got: video frames, seconds of sound, and its last words when it got nothing."""

    frames: int
    seconds: float
    log: str


def decoded(run: subprocess.CompletedProcess[str]) -> Decoded:
    """Read what ``player`` printed."""
    frames = re.findall(r"frame=\s*(\d+)", run.stderr)
    times = re.findall(r"time=(\d+):(\d+):(\d+\.\d+)", run.stderr)
    seconds = 0.0
    if times:
        hours, minutes, rest = times[-1]
        seconds = int(hours) * 3600 + int(minutes) * 60 + float(rest)
    last = run.stderr.strip().splitlines()[-1:] or [""]
    return Decoded(int(frames[-1]) if frames else 0, seconds, last[0])


def curl(url: str, ca: str, node: str, extra: Sequence[str] = (), seconds: int = 5) -> list[str]:
    """Command that GETs ``url`` from the node for at most ``seconds`` and prints ``status bytes``."""
    return [
        # curl takes every *.localhost for this machine, whatever the resolver says.
        *("curl", "--connect-to", f"::{node}:"),
        *("--silent", "--cacert", ca, "--max-time", str(seconds), "--output", "/dev/null"),
        *("--write-out", "%{http_code} %{size_download}", *extra, url),
    ]
