"""One encoder's connection by RTMP: what it may do is the double's business, the talk is the same for all."""

from __future__ import annotations

import abc
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from . import rtmp
from .media import Packager

#: Seconds that an encoder may take to answer a ping, as long as it sends something.
PATIENCE = 10.0


class Encoder(abc.ABC):
    """One connection to an RTMP port. A double says in ``connect`` and ``publish`` who is let in."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.packager: Packager | None = None
        self._connected = False
        # What it was asked and has not answered, and since when.
        self._asked, self._since = b"", 0.0

    @abc.abstractmethod
    def connect(self, said: dict[str, Any]) -> str:
        """Why a client that says this may not connect; empty: it may."""

    @abc.abstractmethod
    def publish(self, stream: str) -> Packager | str:
        """Where what it sends goes, or why it may not send it."""

    @abc.abstractmethod
    def play(self, stream: str) -> str:
        """Why a client may not play; empty: the double could, and does not."""

    @abc.abstractmethod
    def stopped(self) -> None:
        """Its stream has ended. Called more than once."""

    def run(self) -> None:
        """Until it goes or is sent away."""
        try:
            with self.link:
                self.link.settimeout(60)
                self._talk(rtmp.Connection(self.link))
        except (rtmp.Ended, OSError, IndexError, ValueError) as error:
            print(f"INFO encoder gone: {error}", flush=True)
        finally:
            self._stop()

    def throw_out(self) -> None:
        """End the connection, from another thread."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)

    def _talk(self, connection: rtmp.Connection) -> None:
        while True:
            kind, moment, body = connection.message()
            if self._asked and time.monotonic() - self._since > PATIENCE:
                raise rtmp.Ended("it has not answered a ping")
            if kind == rtmp.COMMAND:
                self._command(connection, *rtmp.decode(body))
            elif kind == rtmp.CONTROL and body == rtmp.PONG + self._asked:
                self._asked = b""
            elif kind == rtmp.VIDEO and self.packager:
                self.packager.video(moment, body)
            elif kind == rtmp.AUDIO and self.packager:
                self.packager.audio(moment, body)

    def _command(self, connection: rtmp.Connection, name: str, number: float, *rest: Any) -> None:
        if name == "connect":
            self._connect(connection, number, rest[0])
        elif not self._connected:
            raise rtmp.Ended("a command before connect")
        elif name == "createStream":
            connection.send("_result", number, None, 1)
        elif name == "publish":
            self._publish(connection, str(rest[1]))
        elif name == "play":
            why = self.play(str(rest[1]))
            if why:
                self._refuse(connection, "NetStream.Play.Failed", why)
            raise rtmp.Ended("the double plays nothing by RTMP")
        elif name in ("deleteStream", "FCUnpublish", "closeStream"):
            self._stop()

    def _connect(self, connection: rtmp.Connection, number: float, said: dict[str, Any]) -> None:
        why = self.connect(said)
        if why:
            told = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": why}
            connection.send("_error", number, None, told)
            raise rtmp.Ended(why.split("salt=")[0])
        self._connected = True
        answer = {"level": "status", "code": "NetConnection.Connect.Success", "description": "Connection succeeded."}
        connection.send("_result", number, {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31}, answer)

    def _publish(self, connection: rtmp.Connection, stream: str) -> None:
        found = "publishes already" if self.packager else self.publish(stream)
        if isinstance(found, str):
            self._refuse(connection, "NetStream.Publish.BadName", found)
        self.packager = found
        connection.send(
            "onStatus", 0, None,
            {"level": "status", "code": "NetStream.Publish.Start", "description": "It is now published."}, stream=1,
        )  # fmt: skip
        self._asked, self._since = os.urandom(4), time.monotonic()
        connection.ping(self._asked)

    @staticmethod
    def _refuse(connection: rtmp.Connection, code: str, why: str) -> NoReturn:
        connection.send("onStatus", 0, None, {"level": "error", "code": code, "description": why}, stream=1)
        raise rtmp.Ended(f"{code}: {why}")

    def _stop(self) -> None:
        if self.packager:
            self.packager = None
            self.stopped()


def serve_rtmp(made: Callable[[socket.socket], Encoder], address: str, port: int) -> None:
    """Take encoders for ever."""
    listening = socket.create_server((address, port), backlog=100)

    def accept() -> None:
        while True:
            link, _ = listening.accept()
            threading.Thread(target=made(link).run, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
