"""Titles that stand between the bytes of a stream, as Shoutcast has put them there and Icecast does, too."""

from __future__ import annotations

import re

_TITLE = re.compile(rb"StreamTitle='(.*?)';", re.DOTALL)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MOST = 250


class Splitter:
    """Takes titles out of a stream that has one after every ``interval`` bytes; 0: it has none."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._left = interval
        # What of a title has come so far; None between titles.
        self._title: bytearray | None = None

    def feed(self, data: bytes) -> tuple[bytes, str | None]:
        """The sound in ``data``, and the last title that is whole by now."""
        if not self._interval:
            return data, None
        sound, title, start = bytearray(), None, 0
        while start < len(data):
            if self._title is None and self._left:
                piece = data[start : start + self._left]
                sound += piece
                start += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._title = bytearray()
                continue
            assert self._title is not None
            # Its first byte says how many times sixteen bytes follow.
            wanted = 1 if not self._title else 1 + 16 * self._title[0]
            piece = data[start : start + wanted - len(self._title)]
            self._title += piece
            start += len(piece)
            if len(self._title) == 1 + 16 * self._title[0]:
                said = title_of(bytes(self._title[1:]))
                title = said if said is not None else title
                self._title, self._left = None, self._interval
        return bytes(sound), title


def title_of(raw: bytes) -> str | None:
    """The title in what stands between; None where there is none."""
    match = _TITLE.search(raw)
    if match is None:
        return None
    try:
        text = match[1].decode("utf-8")
    except UnicodeDecodeError:
        text = match[1].decode("latin-1")
    return _CONTROL.sub(" ", text).strip()[:MOST]
