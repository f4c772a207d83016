"""RTMP as far as publishing needs it, with Adobe's log-in.

ffmpeg could publish, too, but takes the password in its arguments only, which every process of the host can read, and
connects anew for every recording, which viewers would notice. No library of Debian's does both.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

_HANDSHAKE = 1536
_CHUNK = 4096
_SET_CHUNK, _ABORT, _CONTROL, _WINDOW, _COMMAND = 1, 2, 4, 5, 20
_PING, _PONG = 6, 7
#: Seconds that the server may take for an answer, and to take what it is sent.
ANSWER_SECONDS = 10.0
MOST_BYTES = 1 << 20
_FLASH = "FMLE/3.0 (compatible; Streamfleet)"
_MOMENT = 0xFFFFFF


class Gone(Exception):
    """The server does not take the stream now. Its text says why, without the password."""


class Publisher:
    """One stream, to a server of this host. Raises Gone where it is not let in."""

    def __init__(self, port: int, application: str, stream: str, password: str) -> None:
        self._application, self._stream, self._port = application, stream, port
        self._connection = self._let_in(password)
        self._publish()
        self._why = ""
        # It answers what the server asks meanwhile, and hears that it ends the stream.
        threading.Thread(target=self._hear, daemon=True).start()

    def send(self, kind: int, moment: int, body: bytes) -> None:
        """Pictures or sound, ``moment`` in milliseconds. Raises Gone."""
        if self._why:
            raise Gone(self._why)
        channel = 6 if kind == 9 else 4
        try:
            self._connection.send(channel, kind, moment, body, stream=1)
        except OSError as error:
            raise Gone(error.strerror or type(error).__name__) from None

    def close(self) -> None:
        """End the stream."""
        self._connection.close()

    def _let_in(self, password: str) -> Connection:
        """The three steps of the log-in, each a connection of its own. Raises Gone."""
        query = ""
        for _step in range(3):
            connection = Connection(self._port)
            try:
                refused = self._connect(connection, query)
            except BaseException:
                connection.close()
                raise
            if refused is None:
                return connection
            connection.close()
            query = self._answer(refused, password)
        raise Gone("it asks for the password again and again")

    def _connect(self, connection: Connection, query: str) -> str | None:
        """None where the server lets it in, else why not. Raises Gone."""
        application = self._application + query
        asked = {
            "app": application,
            "type": "nonprivate",
            "flashVer": _FLASH,
            "tcUrl": f"rtmp://127.0.0.1:{self._port}/{application}",
        }
        connection.command("connect", 1, asked)
        name, _number, *rest = connection.answer("_result", "_error")
        if name == "_result":
            return None
        told = next((item for item in rest if isinstance(item, dict)), {})
        return str(told.get("description", ""))

    def _answer(self, refused: str, password: str) -> str:
        """What is to be asked next. Raises Gone where the server does not want this encoder."""
        user = self._application
        begin = f"?authmod=adobe&user={user}"
        if "need auth" in refused:
            return begin
        found = dict(re.findall(r"[?&](\w+)=([^&\s]*)", refused))
        if found.get("reason") != "needauth":
            raise Gone("the password is not taken" if "authfailed" in refused else refused[:200])
        salt, opaque = found.get("salt", ""), found.get("opaque", "")
        challenge = secrets.token_hex(4)
        asked = opaque or found.get("challenge", "")
        response = _hash(_hash(user, salt, password), asked, challenge)
        return f"{begin}&challenge={challenge}&response={response}&opaque={opaque}"

    def _publish(self) -> None:
        link = self._connection
        try:
            link.send(2, _SET_CHUNK, 0, struct.pack(">I", _CHUNK))
            link.out = _CHUNK
            link.command("releaseStream", 2, None, self._stream)
            link.command("FCPublish", 3, None, self._stream)
            link.command("createStream", 4, None)
            while True:
                name, number, *_rest = link.answer("_result", "_error")
                # The two before it may be answered, too, or not.
                if number == 4:
                    break
            if name != "_result":
                raise Gone("it makes no stream")
            link.command("publish", 5, None, self._stream, "live", stream=1)
            name, _number, *rest = link.answer("onStatus", "_error")
            told = next((item for item in rest if isinstance(item, dict)), {})
            if name != "onStatus" or told.get("code") != "NetStream.Publish.Start":
                raise Gone(f"{told.get('code')}: {told.get('description')}"[:200])
            link.patient()
        except BaseException:
            link.close()
            raise

    def _hear(self) -> None:
        try:
            while True:
                name, _number, *rest = self._connection.answer("onStatus", "close")
                told = next((item for item in rest if isinstance(item, dict)), {})
                if name == "close" or told.get("level") == "error" or "Unpublish" in str(told.get("code")):
                    raise Gone(f"it ends the stream: {told.get('code', name)}"[:200])
        except (Gone, ValueError, IndexError, struct.error) as error:
            self._why = str(error) or "it says what is no RTMP"
            self._connection.close()


class Connection:
    """One connection after its handshake. ``out``: the size of the chunks that it sends. Raises Gone."""

    def __init__(self, port: int) -> None:
        self.out, self._in = 128, 128
        self._lock = threading.Lock()
        self._heads: dict[int, tuple[int, int, bool]] = {}
        self._bodies: dict[int, bytes] = {}
        try:
            self._link = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
        except OSError as error:
            raise Gone(error.strerror or type(error).__name__) from None
        try:
            # For later, when what the server says is waited for as long as it takes: what is sent must be taken soon.
            whole, part = int(ANSWER_SECONDS), 0
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, part))
            self._reading = self._link.makefile("rb")
            self._link.sendall(b"\x03" + bytes(8) + os.urandom(_HANDSHAKE - 8))
            if self._read(1) != b"\x03":
                raise Gone("it speaks no RTMP")
            theirs = self._read(_HANDSHAKE)
            self._read(_HANDSHAKE)
            self._link.sendall(theirs)
        except (OSError, Gone) as error:
            self._link.close()
            raise error if isinstance(error, Gone) else Gone(error.strerror or type(error).__name__) from None

    def close(self) -> None:
        """End it, whoever reads."""
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()

    def command(self, name: str, number: float, *values: Any, stream: int = 0) -> None:
        """Ask the server to do something. Raises Gone."""
        body = b"".join(map(_packed, (name, number, *values)))
        try:
            self.send(3, _COMMAND, 0, body, stream)
        except OSError as error:
            raise Gone(error.strerror or type(error).__name__) from None

    def send(self, channel: int, kind: int, moment: int, body: bytes, stream: int = 0) -> None:
        """A message, in chunks. Raises OSError."""
        long = moment >= _MOMENT
        more = struct.pack(">I", moment) if long else b""
        head = struct.pack(">I", _MOMENT if long else moment)[1:] + struct.pack(">I", len(body))[1:]
        begin = bytes([channel]) + head + bytes([kind]) + struct.pack("<I", stream) + more
        again = bytes([0xC0 | channel]) + more
        pieces = [body[place : place + self.out] for place in range(0, len(body), self.out)] or [b""]
        with self._lock:
            self._link.sendall(begin + again.join(pieces))

    def answer(self, *names: str) -> list[Any]:
        """The next command of one of these names: it, its number and its values. Raises Gone, ValueError."""
        while True:
            kind, body = self._message()
            if kind == _CONTROL and body[:2] == struct.pack(">H", _PING):
                with suppress(OSError):
                    self.send(2, _CONTROL, 0, struct.pack(">H", _PONG) + body[2:6])
            elif kind == _COMMAND:
                said = _unpacked(body)
                if said and said[0] in names:
                    return said

    def _message(self) -> tuple[int, bytes]:
        while True:
            first = self._read(1)[0]
            form, channel = first >> 6, first & 0x3F
            if channel < 2:
                channel = 64 + int.from_bytes(self._read(channel + 1), "little")
            length, kind, long = self._heads.get(channel, (0, 0, False))
            if form < 3:
                long = self._read(3) == b"\xff\xff\xff"
                if form < 2:
                    length, kind = int.from_bytes(self._read(3), "big"), self._read(1)[0]
                if form == 0:
                    self._read(4)
            if long:
                self._read(4)
            if length > MOST_BYTES:
                raise Gone(f"it says something of {length} bytes")
            self._heads[channel] = (length, kind, long)
            body = self._bodies.pop(channel, b"")
            body += self._read(min(self._in, length - len(body)))
            if len(body) < length:
                self._bodies[channel] = body
            elif kind == _SET_CHUNK:
                self._in = max(1, int.from_bytes(body[:4], "big") & 0x7FFFFFFF)
            else:
                return kind, body

    def _read(self, count: int) -> bytes:
        try:
            data = self._reading.read(count)
        except (OSError, ValueError) as error:
            raise Gone(getattr(error, "strerror", None) or type(error).__name__) from None
        if len(data) < count:
            raise Gone("it has ended the connection")
        return data

    def patient(self) -> None:
        """Wait for what it says as long as it takes."""
        self._link.settimeout(None)


def _hash(*parts: str) -> str:
    # Adobe's log-in is made of it; the password does not leave this host.
    return base64.b64encode(hashlib.md5("".join(parts).encode(), usedforsecurity=False).digest()).decode()


def _packed(value: Any) -> bytes:
    """AMF0 of a value."""
    if value is None:
        return b"\x05"
    if isinstance(value, int | float):
        return b"\0" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\x02" + _text(value)
    pairs = b"".join(_text(key) + _packed(item) for key, item in value.items())
    return b"\x03" + pairs + b"\0\0\x09"


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


def _unpacked(body: bytes) -> list[Any]:
    """The values of AMF0, up to the first of a kind that publishing has no use for. Raises ValueError."""
    values: list[Any] = []
    place = 0
    try:
        while place < len(body):
            value, place = _value(body, place)
            values.append(value)
    except (struct.error, IndexError, RecursionError):
        raise ValueError("what it says is cut off") from None
    except KeyError:
        pass
    return values


def _value(body: bytes, place: int) -> tuple[Any, int]:
    kind, place = body[place], place + 1
    if kind == 0:
        return struct.unpack_from(">d", body, place)[0], place + 8
    if kind == 1:
        return body[place] != 0, place + 1
    if kind == 2:
        size = struct.unpack_from(">H", body, place)[0]
        return body[place + 2 : place + 2 + size].decode(errors="replace"), place + 2 + size
    if kind in (3, 8):
        found, place = {}, place + (4 if kind == 8 else 0)
        while body[place : place + 3] != b"\0\0\x09":
            size = struct.unpack_from(">H", body, place)[0]
            key = body[place + 2 : place + 2 + size].decode(errors="replace")
            found[key], place = _value(body, place + 2 + size)
        return found, place + 3
    if kind in (5, 6):
        return None, place
    raise KeyError(kind)
