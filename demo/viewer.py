"""Somebody who watches a channel, and counts what is missed."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading

import m3u8

from demo.stage import Stage
from tests.live.hls import check_playlist, check_successor


class Viewer(threading.Thread):
    """Watches a channel over new connections, and fetches each segment; ``faults`` is what was missed.

    ``folder``: the address of the playlist's folder, as ``/hls/<slug>``.
    """

    def __init__(self, stage: Stage, host: str, folder: str) -> None:
        super().__init__(daemon=True)
        self._stage, self._host, self._folder = stage, host, folder
        self._ended = threading.Event()
        self.segments, self.faults = 0, list[str]()

    def run(self) -> None:
        """Watch until stopped."""
        before = ""
        while not self._ended.wait(0.5):
            try:
                before = self._look(before)
            except (OSError, AssertionError) as error:
                self.faults.append(f"{type(error).__name__}: {error}")

    def _look(self, before: str) -> str:
        """Fetch the playlist, and what is new in it since the one ``before``."""
        text = self._get("index.m3u8").decode()
        listed = check_playlist(text).segments
        if before:
            # Beside Ansible's runs the encoder does not always come to work in time.
            check_successor(before, text, paced=False)
            known = m3u8.loads(before)
            step = (m3u8.loads(text).media_sequence or 0) - (known.media_sequence or 0)
            assert step <= len(known.segments), "segments came and went unseen"
        for segment in listed:
            if segment.uri not in before:
                assert self._get(segment.uri)
                self.segments += 1
        return text

    def _get(self, name: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self._stage.ca))
        with (
            socket.create_connection((self._stage.address, 443), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname=self._host) as link,
        ):
            link.sendall(f"GET {self._folder}/{name} HTTP/1.0\r\nHost: {self._host}\r\n\r\n".encode())
            answer = http.client.HTTPResponse(link)
            answer.begin()
            assert answer.status == 200, f"{name}: {answer.status}"
            return answer.read()

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self.join(25)
