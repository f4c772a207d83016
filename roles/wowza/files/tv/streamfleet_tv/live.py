"""Whether a broadcaster is live on the channel, and what is sent then.

Wowza packages the broadcaster's stream as it does every one; it is taken from there by HLS, on loopback. By RTMP
nobody may play: who may is a matter of the stream's name alone, so that viewers could, too, past the web server.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable

from .source import Source

#: Seconds between two looks.
PAUSE = 2.0
_LIST = re.compile(r"chunklist_[A-Za-z0-9_-]{1,80}\.m3u8")
MOST_BYTES = 100_000


class Live:
    """Looks for the stream ``live`` of an application. ``source`` is there once it can be sent, from a key frame on."""

    def __init__(self, port: int, application: str, stream: str) -> None:
        self._port, self._place = port, f"/{application}/{stream}"
        self._list = ""
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._taken: Source | None = None

    def start(self, pause: Callable[[float], None] = time.sleep) -> None:
        """Look for ever, beside all else."""

        def look() -> None:
            while True:
                self.look()
                pause(PAUSE)

        threading.Thread(target=look, daemon=True).start()

    def look(self) -> None:
        """Look once; what was found before and is not over stays."""
        with self._lock:
            if self._taken is not None and not self._taken.over:
                return
            source, self._taken = self._source, None
        if source is not None:
            if not source.over:
                return
            # It could not be sent: what ffmpeg says is in the journal.
            source.close()
            with self._lock:
                self._source = None
        found = self._found()
        if not found:
            return
        try:
            begun = Source.of_stream("live", f"http://127.0.0.1:{self._port}{self._place}/{found}")
        except OSError as error:
            print(f"live: {error}", flush=True)
            return
        with self._lock:
            self._source = begun

    @property
    def ready(self) -> bool:
        """Whether there is something of it to send."""
        with self._lock:
            return self._source is not None and self._source.ready

    def take(self) -> Source | None:
        """The broadcaster's stream, once there is something of it to send; then it is the caller's."""
        with self._lock:
            if self._source is None or not self._source.ready:
                return None
            self._taken, self._source = self._source, None
            return self._taken

    def _found(self) -> str:
        """The list of a viewer's session: the one of before, since each counts as a viewer; empty: nobody is live."""
        if self._list and self._get(self._list) is not None:
            return self._list
        self._list = ""
        text = self._get("playlist.m3u8")
        lines = [line.strip() for line in (text or "").splitlines()]
        self._list = next((line for line in lines if _LIST.fullmatch(line)), "")
        return self._list

    def _get(self, name: str) -> str | None:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            link.request("GET", f"{self._place}/{name}")
            answer = link.getresponse()
            body = answer.read(MOST_BYTES)
            return body.decode("ascii", "replace") if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            link.close()
