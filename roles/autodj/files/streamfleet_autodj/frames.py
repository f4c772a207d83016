"""Recordings as pieces that can be sent as they are, each with its seconds: MP3, AAC (ADTS), Ogg Vorbis and Opus.

Pure but for reading. Files are tenants': whatever is in them, only whole frames or pages come out, or ``Unfit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

#: Format of a mount → names of files that may be of it.
SUFFIXES = {"mp3": (".mp3",), "aac": (".aac",), "ogg": (".ogg", ".oga"), "opus": (".opus", ".ogg")}
PIECE = 65536
#: Bytes without a frame after which a file is taken for something else.
MOST_JUNK = 256 * 1024
#: Frames that are looked at before a file is believed, and seconds of one page that are believed.
FIRST_FRAMES = 4
LONGEST_PAGE = 60.0
#: Bytes in which no time may pass.
MOST_TIMELESS = 16 << 20

_MP3_KBPS = {
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


#: Size, seconds and kind of a frame that begins at a place of the data, or None.
Head = Callable[[bytes, int], tuple[int, float, tuple[int, ...]] | None]


class Unfit(Exception):
    """The file cannot be sent as it is. Its text says why."""


def pieces(file: BinaryIO, format: str) -> Iterator[tuple[bytes, float]]:
    """Every frame or page of the file, with its seconds. Raises Unfit, OSError."""
    if format in ("mp3", "aac"):
        return _frames(file, format)
    return _pages(file, format)


def measure(file: BinaryIO, format: str) -> tuple[float, int]:
    """Seconds and bytes of what would be sent. Raises Unfit, OSError."""
    seconds, size = 0.0, 0
    for piece, length in pieces(file, format):
        seconds += length
        size += len(piece)
    if seconds < 0.5:
        raise Unfit("holds less than half a second of sound")
    return seconds, size


def _frames(file: BinaryIO, format: str) -> Iterator[tuple[bytes, float]]:
    head: Head = _mp3_head if format == "mp3" else _aac_head
    buffer, ended, junk, found = b"", False, 0, 0
    first: tuple[int, ...] | None = None
    start = _behind_id3(file)
    file.seek(start)
    while True:
        if not ended and len(buffer) < PIECE:
            more = file.read(PIECE)
            ended = not more
            buffer += more
        position = 0
        while position + 8 <= len(buffer):
            frame = head(buffer, position)
            if frame is None or (first is not None and frame[2] != first):
                # Of another kind than the first, or no frame: the next one is looked for.
                position += 1
                junk += 1
                if junk > MOST_JUNK:
                    raise Unfit(f"is no {format.upper()}")
                continue
            size, seconds, kind = frame
            if position + size + (0 if ended else 8) > len(buffer):
                break
            if found < FIRST_FRAMES and not _followed(buffer, position + size, head, kind):
                position += 1
                junk += 1
                continue
            found += 1
            first, junk = kind, 0
            yield buffer[position : position + size], seconds
            position += size
        buffer = buffer[position:]
        if ended:
            break
    if not found:
        raise Unfit(f"is no {format.upper()}")


def _followed(buffer: bytes, position: int, head: Head, kind: tuple[int, ...]) -> bool:
    """Whether another frame of the kind begins there: two bytes may look like one by chance."""
    if position + 8 > len(buffer):
        return True
    following = head(buffer, position)
    return following is not None and following[2] == kind


def _behind_id3(file: BinaryIO) -> int:
    """Where an ID3v2 tag at the beginning ends."""
    file.seek(0)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3" or any(part & 0x80 for part in head[6:]):
        return 0
    return 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + (10 if head[5] & 0x10 else 0)


def _mp3_head(data: bytes, at: int) -> tuple[int, float, tuple[int, ...]] | None:
    """Size, seconds and kind of a frame of MPEG audio layer III; None where none begins."""
    if data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    bitrate, rate, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return None
    kbps = _MP3_KBPS[(3 if version == 3 else 2, 1)][bitrate]
    hertz = _MP3_RATES[version][rate]
    samples = 1152 if version == 3 else 576
    return samples // 8 * kbps * 1000 // hertz + padding, samples / hertz, (version, hertz)


def _aac_head(data: bytes, at: int) -> tuple[int, float, tuple[int, ...]] | None:
    """The same of a frame of AAC in ADTS."""
    if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    rate = data[at + 2] >> 2 & 15
    size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if rate >= len(_AAC_RATES) or size < 8:
        return None
    blocks = (data[at + 6] & 3) + 1
    return size, 1024 * blocks / _AAC_RATES[rate], (rate, data[at + 2] >> 6)


def _pages(file: BinaryIO, format: str) -> Iterator[tuple[bytes, float]]:
    file.seek(0)
    rate, before, serial, timeless = 0, 0, b"", 0
    word = "Ogg Vorbis" if format == "ogg" else "Opus"
    while len(head := file.read(27)) == 27 and head[:4] == b"OggS":
        table = file.read(head[26])
        body = file.read(sum(table))
        if len(body) < sum(table):
            break
        if head[5] & 2:
            rate = _rate(body, format)
            if rate <= 0 or (serial and head[14:18] == serial):
                raise Unfit(f"is no {word}, or has something beside it")
            before, serial = 0, head[14:18]
        elif head[14:18] != serial:
            raise Unfit(f"is no {word}, or has something beside it")
        granule = int.from_bytes(head[6:14], "little", signed=True)
        seconds = 0.0
        if granule > before:
            seconds = (granule - before) / rate
            before = granule
        if seconds > LONGEST_PAGE:
            raise Unfit("has a gap of more than a minute")
        # Titles and covers take no time, and come before the sound.
        timeless = 0 if seconds else timeless + len(body)
        if timeless > MOST_TIMELESS:
            raise Unfit("has megabytes in which no time passes")
        yield head + table + body, seconds
    if not rate:
        raise Unfit(f"is no {word}")


def _rate(body: bytes, format: str) -> int:
    """Ticks a second of an Ogg stream's clock, by its first page; 0 for another format."""
    if format == "ogg" and body[:7] == b"\x01vorbis" and len(body) >= 16:
        return int.from_bytes(body[12:16], "little")
    if format == "opus" and body[:8] == b"OpusHead":
        return 48000
    return 0
