"""FLV as ffmpeg writes it: pictures and sound as messages of RTMP have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

AUDIO, VIDEO = 8, 9
_HEAD, _AVC, _AAC = 9, 7, 10
#: No picture is as large.
MOST_BYTES = 8 * 1024 * 1024


class Broken(Exception):
    """It is no FLV."""


@dataclass(frozen=True)
class Tag:
    """One picture or piece of sound; ``moment`` in milliseconds."""

    kind: int
    moment: int
    body: bytes

    @property
    def is_head(self) -> bool:
        """Whether it says how to decode those that follow."""
        return self.body[1] == 0

    @property
    def is_key(self) -> bool:
        """Whether a viewer can begin with it."""
        return self.kind == VIDEO and self.body[0] >> 4 == 1 and not self.is_head


def tags(stream: IO[bytes]) -> Iterator[Tag]:
    """H.264 and AAC of a stream of FLV, until its end. Raises Broken."""
    begin = _read(stream, _HEAD + 4)
    if begin is None:
        return
    if begin[:3] != b"FLV":
        raise Broken("it does not begin as FLV does")
    while (head := _read(stream, 11)) is not None:
        size = int.from_bytes(head[1:4], "big")
        if size > MOST_BYTES:
            raise Broken(f"a tag has {size} bytes")
        body = _read(stream, size + 4)
        if body is None:
            return
        tag = Tag(head[0] & 0x1F, head[7] << 24 | int.from_bytes(head[4:7], "big"), body[:-4])
        if _is_known(tag):
            yield tag


def _is_known(tag: Tag) -> bool:
    if tag.kind == VIDEO:
        # 2 is the end of a sequence, which is none here: another follows.
        return len(tag.body) > 5 and tag.body[0] & 0x0F == _AVC and tag.body[1] in (0, 1)
    return tag.kind == AUDIO and len(tag.body) > 2 and tag.body[0] >> 4 == _AAC and tag.body[1] in (0, 1)


def _read(stream: IO[bytes], count: int) -> bytes | None:
    data = stream.read(count)
    return data if len(data) == count else None
