"""Real encoders and real players: ffmpeg publishes, ffmpeg and plain HTTPS listen."""

from __future__ import annotations

import itertools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.live import tones as ears

# Nothing that the demo leaves running outlives this many seconds.
PUBLISH_SECONDS = 4 * 3600
#: Tones in Hz: of whoever is live, and of the music that a station plays by itself.
LIVE, MUSIC = 660, 1000

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


def audio_publisher(url: str, audio_format: str, seconds: int = PUBLISH_SECONDS, frequency: int = LIVE) -> list[str]:
    """Command that publishes a tone (Hz) as MP3 or AAC (``mp3``, ``aac``) to an Icecast mount."""
    codec = {
        "mp3": ["-c:a", "libmp3lame", "-b:a", "128k", "-content_type", "audio/mpeg", "-f", "mp3"],
        "aac": ["-c:a", "aac", "-b:a", "64k", "-content_type", "audio/aac", "-f", "adts"],
    }[audio_format]
    source = ["-re", "-f", "lavfi", "-i", f"sine=frequency={frequency}:sample_rate=44100"]
    return [*_QUIET, *source, "-t", str(seconds), *codec, url]


def recording(path: Path, frequency: int, seconds: int = 30) -> list[str]:
    """Command that makes an MP3 of one tone."""
    source = ["-f", "lavfi", "-i", f"sine=frequency={frequency}:sample_rate=44100:duration={seconds}"]
    return [*_QUIET, "-y", *source, "-ac", "2", "-b:a", "128k", f"file:{path}"]


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


def curl(url: str, ca: str, node: str, seconds: int = 5, output: str = "/dev/null") -> list[str]:
    """Command that GETs ``url`` from the node for at most ``seconds`` into ``output`` and prints ``status bytes``."""
    return [
        # curl takes every *.localhost for this machine, whatever the resolver says.
        *("curl", "--connect-to", f"::{node}:"),
        *("--silent", "--cacert", ca, "--max-time", str(seconds), "--output", output),
        *("--write-out", "%{http_code} %{size_download}", url),
    ]


def tones(path: Path) -> list[int]:
    """The tones (LIVE, MUSIC) of a recorded MP3 stream in the order in which they are heard, each once in a row."""
    if not path.is_file():
        return []
    samples = ears.decoded(path.read_bytes())
    pieces = [samples[start : start + ears.RATE // 2] for start in range(0, len(samples), ears.RATE // 2)]
    heard = [ears.tone(piece, (LIVE, MUSIC)) for piece in pieces]
    return [tone for tone, _ in itertools.groupby(tone for tone in heard if tone is not None)]
