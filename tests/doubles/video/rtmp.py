"""RTMP as far as an encoder needs it: handshake, chunks, commands, and Adobe's log-in of encoders."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

COMMAND, DATA, AUDIO, VIDEO, CHUNK_SIZE, CONTROL = 20, 18, 8, 9, 1, 4
PING, PONG = b"\0\6", b"\0\7"
HANDSHAKE = 1536


class Ended(Exception):
    """The other side is gone, or is sent away."""


def encode(*values: Any) -> bytes:
    """AMF0 of the values."""
    out = b""
    for value in values:
        if value is None:
            out += b"\x05"
        elif isinstance(value, bool):
            out += b"\x01" + bytes([value])
        elif isinstance(value, int | float):
            out += b"\0" + struct.pack(">d", value)
        elif isinstance(value, str):
            raw = value.encode()
            out += b"\x02" + struct.pack(">H", len(raw)) + raw
        else:
            pairs = [struct.pack(">H", len(key)) + key.encode() + encode(item) for key, item in value.items()]
            out += b"\x03" + b"".join(pairs) + b"\0\0\x09"
    return out


def decode(data: bytes) -> list[Any]:
    """The values of AMF0. Raises Ended for what it does not know."""
    values, place = [], 0
    while place < len(data):
        value, place = _value(data, place)
        values.append(value)
    return values


def _value(data: bytes, place: int) -> tuple[Any, int]:
    kind, place = data[place], place + 1
    if kind == 0:
        return struct.unpack_from(">d", data, place)[0], place + 8
    if kind == 1:
        return bool(data[place]), place + 1
    if kind == 2:
        size = struct.unpack_from(">H", data, place)[0]
        return data[place + 2 : place + 2 + size].decode(errors="replace"), place + 2 + size
    if kind in (3, 8):
        found, place = {}, place + (4 if kind == 8 else 0)
        while data[place : place + 3] != b"\0\0\x09":
            size = struct.unpack_from(">H", data, place)[0]
            key = data[place + 2 : place + 2 + size].decode(errors="replace")
            found[key], place = _value(data, place + 2 + size)
        return found, place + 3
    if kind in (5, 6):
        return None, place
    raise Ended(f"AMF type {kind}")


class Connection:
    """One client after its handshake."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._stream = link.makefile("rb")
        self._size = 128
        self._heads: dict[int, tuple[int, int, int, int, bool, int]] = {}
        self._bodies: dict[int, bytes] = {}
        self._handshake()

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise Ended("closed")
        return data

    def _handshake(self) -> None:
        if self._read(1) != b"\x03":
            raise Ended("no RTMP")
        theirs = self._read(HANDSHAKE)
        self._link.sendall(b"\x03" + bytes(8) + os.urandom(HANDSHAKE - 8) + theirs)
        self._read(HANDSHAKE)

    def send(self, *values: Any, stream: int = 0) -> None:
        """A command."""
        body = encode(*values)
        head = b"\x03\0\0\0" + struct.pack(">I", len(body))[1:] + bytes([COMMAND]) + struct.pack("<I", stream)
        pieces = [body[place : place + 128] for place in range(0, len(body), 128)]
        self._link.sendall(head + b"\xc3".join(pieces))

    def ping(self, stamp: bytes) -> None:
        """Ask whether the client still listens: it answers with the same four bytes."""
        self._link.sendall(b"\x02\0\0\0\0\0\6" + bytes([CONTROL]) + bytes(4) + PING + stamp)

    def message(self) -> tuple[int, int, bytes]:
        """The next message: its type, its time in milliseconds, its body. Raises Ended."""
        while True:
            first = self._read(1)[0]
            kind, channel = first >> 6, first & 0x3F
            if channel < 2:
                channel = 64 + int.from_bytes(self._read(channel + 1), "little")
            time, length, message, stream, long, delta = self._heads.get(channel, (0, 0, 0, 0, False, 0))
            if kind < 3:
                given, long = int.from_bytes(self._read(3), "big"), False
                if kind < 2:
                    length, message = int.from_bytes(self._read(3), "big"), self._read(1)[0]
                if kind == 0:
                    stream = int.from_bytes(self._read(4), "little")
                if given == 0xFFFFFF:
                    long, given = True, int.from_bytes(self._read(4), "big")
                time, delta = (given, 0) if kind == 0 else (time + given, given)
            else:
                if long:
                    self._read(4)
                if channel not in self._bodies:
                    time += delta
            self._heads[channel] = (time, length, message, stream, long, delta)
            body = self._bodies.pop(channel, b"")
            body += self._read(min(self._size, length - len(body)))
            if len(body) < length:
                self._bodies[channel] = body
            elif message == CHUNK_SIZE:
                self._size = int.from_bytes(body, "big")
            else:
                return message, time, body


def digest(*parts: str) -> str:
    """The hash of Adobe's log-in."""
    return base64.b64encode(hashlib.md5("".join(parts).encode(), usedforsecurity=False).digest()).decode()


def log_in(query: dict[str, str], password_of: Callable[[str], str | None], asked: dict[str, tuple[str, str]]) -> str:
    """What a client that must log in is told, empty if it is let in. ``asked``: challenges that are open."""
    user = query.get("user", "")
    if query.get("authmod") != "adobe" or not user:
        return "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : "
    if "response" not in query:
        salt, challenge = base64.b64encode(os.urandom(4)).decode(), base64.b64encode(os.urandom(4)).decode()
        asked[challenge] = (user, salt)
        told = f"?reason=needauth&user={user}&salt={salt}&challenge={challenge}&opaque={challenge}"
        return f"[ AccessManager.Reject ] : [ authmod=adobe ] : {told}"
    known, salt = asked.pop(query.get("opaque", ""), ("", ""))
    password = password_of(user)
    expected = digest(digest(user, salt, password or ""), query.get("opaque", ""), query.get("challenge", ""))
    if known != user or password is None or query["response"] != expected:
        return "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=authfailed&opaque=x"
    return ""
