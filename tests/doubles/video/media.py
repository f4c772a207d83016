"""What an encoder sends by RTMP (H.264 and AAC, as in FLV), cut into segments of MPEG-2 TS."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

KEPT, LISTED = 8, 5
VIDEO, AUDIO = 256, 257


def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        value = number << 24
        for _ in range(8):
            value = (value << 1) ^ 0x04C11DB7 if value & 0x80000000 else value << 1
        table.append(value & 0xFFFFFFFF)
    return table


CRC = _crc_table()


def _section(pid: int, body: bytes, counter: int) -> bytes:
    value = 0xFFFFFFFF
    for byte in body:
        value = ((value << 8) & 0xFFFFFFFF) ^ CRC[(value >> 24) ^ byte]
    payload = b"\0" + body + struct.pack(">I", value)
    head = struct.pack(">BHB", 0x47, 0x4000 | pid, 0x10 | counter)
    return head + payload + b"\xff" * (184 - len(payload))


def _table(kind: int, number: int, rest: bytes) -> bytes:
    return struct.pack(">BHHBBB", kind, 0xB000 | (len(rest) + 9), number, 0xC1, 0, 0) + rest


PAT = _table(0, 1, struct.pack(">HH", 1, 0xE000 | 4096))
STREAMS = struct.pack(">BHHBHH", 0x1B, 0xE000 | VIDEO, 0xF000, 0x0F, 0xE000 | AUDIO, 0xF000)
PMT = _table(2, 1, struct.pack(">HH", 0xE000 | VIDEO, 0xF000) + STREAMS)


def _stamp(mark: int, value: int) -> bytes:
    value &= (1 << 33) - 1
    return struct.pack(
        ">BHH", mark << 4 | (value >> 29 & 0xE) | 1, (value >> 14 & 0xFFFE) | 1, (value << 1 & 0xFFFE) | 1
    )


class Packets:
    """Makes packets of 188 bytes of what is given to it."""

    def __init__(self) -> None:
        self._counters = {0: 0, 4096: 0, VIDEO: 0, AUDIO: 0}

    def _next(self, pid: int) -> int:
        self._counters[pid] = (self._counters[pid] + 1) % 16
        return self._counters[pid]

    def tables(self) -> bytes:
        """What a segment begins with."""
        return _section(0, PAT, self._next(0)) + _section(4096, PMT, self._next(4096))

    def pes(self, pid: int, dts: int, pts: int, data: bytes, clock: bool) -> bytes:
        """One frame; times in milliseconds."""
        times = _stamp(3, pts * 90) + _stamp(1, dts * 90) if pid == VIDEO else _stamp(2, pts * 90)
        flags = 0xC0 if pid == VIDEO else 0x80
        length = 0 if pid == VIDEO else len(times) + 3 + len(data)
        stream = 0xE0 if pid == VIDEO else 0xC0
        rest = b"\0\0\1" + struct.pack(">BHBBB", stream, length, 0x84, flags, len(times)) + times + data
        out, first = [], True
        while rest:
            extra = b""
            if first and clock:
                base = dts * 90 & ((1 << 33) - 1)
                extra = b"\x50" + struct.pack(">IH", base >> 1, (base & 1) << 15 | 0x7E00)
            room = 184 - (len(extra) + 1 if extra else 0)
            if len(rest) < room:
                missing = room - len(rest)
                if extra:
                    extra += b"\xff" * missing
                else:
                    # A field of one byte says only that it is empty.
                    extra = b"" if missing == 1 else b"\0" + b"\xff" * (missing - 2)
                    field_bytes = bytes([len(extra)]) + extra
                    out.append(self._packet(pid, first, field_bytes, rest))
                    break
            field_bytes = bytes([len(extra)]) + extra if extra else b""
            size = 184 - len(field_bytes)
            out.append(self._packet(pid, first, field_bytes, rest[:size]))
            rest, first = rest[size:], False
        return b"".join(out)

    def _packet(self, pid: int, first: bool, adaptation: bytes, payload: bytes) -> bytes:
        control = 0x30 if adaptation else 0x10
        return (
            struct.pack(">BHB", 0x47, (0x4000 if first else 0) | pid, control | self._next(pid)) + adaptation + payload
        )


@dataclass
class Segment:
    """One segment: its number, its length in seconds and its bytes."""

    number: int
    seconds: float
    data: bytes


@dataclass
class Packager:
    """Takes messages of RTMP, keeps the last segments."""

    target: float
    segments: list[Segment] = field(default_factory=list)
    #: Called with every segment when it is whole.
    closed: Callable[[Segment], None] | None = None

    def __post_init__(self) -> None:
        self._packets = Packets()
        self._lock = threading.Lock()
        self._parameters = b""
        self._lengths = 4
        self._sound: tuple[int, int, int] | None = None
        self._open: list[bytes] = []
        self._begun = 0
        self._number = 0

    def video(self, time: int, body: bytes) -> None:
        """A message of the type 9."""
        if len(body) < 5 or body[0] & 0x0F != 7:
            return
        if body[1] == 0:
            self._describe(body[5:])
            return
        key = body[0] >> 4 == 1
        offset = int.from_bytes(body[2:5], "big", signed=True)
        if body[1] != 1 or (not self._open and not key):
            return
        if key:
            self._cut(time)
        data, rest = [b"\0\0\0\1\x09\xf0", self._parameters if key else b""], body[5:]
        while len(rest) > self._lengths:
            size = int.from_bytes(rest[: self._lengths], "big")
            data += [b"\0\0\0\1", rest[self._lengths : self._lengths + size]]
            rest = rest[self._lengths + size :]
        self._open.append(self._packets.pes(VIDEO, time, time + offset, b"".join(data), clock=True))

    def audio(self, time: int, body: bytes) -> None:
        """A message of the type 8."""
        if len(body) < 4 or body[0] >> 4 != 10:
            return
        if body[1] == 0:
            bits = int.from_bytes(body[2:4], "big")
            self._sound = ((bits >> 11) - 1, bits >> 7 & 0xF, bits >> 3 & 0xF)
        elif self._sound and self._open:
            profile, rate, channels = self._sound
            size = len(body) - 2 + 7
            form = (profile << 6 | rate << 2 | channels >> 2, (channels & 3) << 6 | size >> 11)
            head = bytes((0xFF, 0xF1, *form, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC))
            self._open.append(self._packets.pes(AUDIO, time, time, head + body[2:], clock=False))

    def list(self, name: Callable[[Segment], str]) -> str:
        """The media playlist; ``name`` says how a segment is called in it."""
        with self._lock:
            listed = self.segments[-LISTED:]
            longest = max([self.target, *(segment.seconds for segment in listed)])
            lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{round(longest + 0.49)}"]
            lines.append(f"#EXT-X-MEDIA-SEQUENCE:{listed[0].number if listed else 0}")
            for segment in listed:
                lines += [f"#EXTINF:{segment.seconds:.3f},", name(segment)]
            return "\n".join(lines) + "\n"

    def segment(self, number: int) -> bytes | None:
        """A segment that is still there."""
        with self._lock:
            return next((segment.data for segment in self.segments if segment.number == number), None)

    def _describe(self, record: bytes) -> None:
        """The decoder's configuration: sets of parameters, and how long a length is."""
        self._lengths = (record[4] & 3) + 1
        found, place = [], 6
        for count in (record[5] & 0x1F, None):
            if count is None:
                count, place = record[place], place + 1
            for _ in range(count):
                size = int.from_bytes(record[place : place + 2], "big")
                found += [b"\0\0\0\1", record[place + 2 : place + 2 + size]]
                place += 2 + size
        self._parameters = b"".join(found)

    def _cut(self, time: int) -> None:
        with self._lock:
            if self._open and time - self._begun < self.target * 1000:
                return
            if self._open:
                self._close(time)
            self._begun = time
            self._open = [self._packets.tables()]

    def _close(self, time: int) -> None:
        seconds = max(time - self._begun, 1) / 1000
        segment = Segment(self._number, seconds, b"".join(self._open))
        self.segments = [*self.segments, segment][-KEPT:]
        if self.closed:
            self.closed(segment)
        self._number += 1
        self._open = []
