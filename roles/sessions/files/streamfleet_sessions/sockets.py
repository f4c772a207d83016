"""What the kernel knows of open TCP connections: asked over netlink, as ss(8) does. Needs no privilege."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST, DUMP = 0x1, 0x300
ERROR, DONE = 2, 3
INET_DIAG_INFO = 2
#: Established, and those that are closing with something left to send (tcp_states.h).
STATES = sum(1 << state for state in (1, 4, 8, 9, 11))
HEADER = struct.Struct("=IHHII")
#: struct inet_diag_msg up to the cookie: family, state, timer, retransmits, ports, addresses, interface, cookie.
MESSAGE = struct.Struct("=BBBB2s2s16s16sIQ")
MESSAGE_SIZE = 72
ATTRIBUTE = struct.Struct("=HH")
#: Where struct tcp_info has the bytes that the other side has acknowledged.
BYTES_ACKED = 120
#: Where struct inet_diag_msg has the bytes that the program has not read yet, and tcp_info those that have come.
UNREAD, BYTES_RECEIVED = 56, 128


@dataclass(frozen=True)
class Connection:
    """A connection to a port of this host. ``sent``: bytes that have arrived at the other side; ``received``: bytes
    that the program has read."""

    cookie: int
    port: int
    address: str
    sent: int
    received: int = 0


class Kernel:
    """Asks the kernel. Raises OSError where it has no such interface, and where an answer is not whole."""

    def connections(self, ports: Mapping[int, str]) -> list[Connection]:
        """Every connection to one of ``ports``."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for answer in self._dump(family):
                found += [connection for connection in parse(answer) if connection.port in ports]
        return found

    def _dump(self, family: int) -> Iterator[bytes]:
        request = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0, STATES)
        head = HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, 1, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as link:
            link.settimeout(5.0)
            link.send(head + request)
            while True:
                answer = link.recv(1 << 17)
                if not answer:
                    raise OSError(errno.EIO, "the kernel's answer has no end")
                yield answer
                if ended(answer):
                    return


def ended(answer: bytes) -> bool:
    """Whether this is the last part of an answer. Raises OSError for a refusal."""
    for kind, body in _messages(answer):
        if kind == ERROR:
            code = -struct.unpack_from("=i", body)[0]
            raise OSError(code, errno.errorcode.get(code, "refused"))
        if kind == DONE:
            # It may have got no further than this.
            code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
            if code > 0:
                raise OSError(code, errno.errorcode.get(code, "refused"))
            return True
    return False


def parse(answer: bytes) -> Iterator[Connection]:
    """The connections in one part of an answer."""
    for kind, body in _messages(answer):
        if kind != SOCK_DIAG_BY_FAMILY or len(body) < MESSAGE_SIZE:
            continue
        family, _state, _timer, _again, port, _peer, _source, target, _device, cookie = MESSAGE.unpack_from(body)
        carried = _carried(body)
        if carried is None:
            continue
        raw = ipaddress.ip_address(target[:4] if family == socket.AF_INET else target)
        address = str(getattr(raw, "ipv4_mapped", None) or raw)
        yield Connection(cookie, int.from_bytes(port, "big"), address, *carried)


def _carried(body: bytes) -> tuple[int, int] | None:
    place = MESSAGE_SIZE
    while place + ATTRIBUTE.size <= len(body):
        size, kind = ATTRIBUTE.unpack_from(body, place)
        if size < ATTRIBUTE.size:
            return None
        if kind == INET_DIAG_INFO and size >= ATTRIBUTE.size + BYTES_RECEIVED + 8:
            acknowledged, come = struct.unpack_from("=QQ", body, place + ATTRIBUTE.size + BYTES_ACKED)
            return acknowledged, max(0, come - struct.unpack_from("=I", body, UNREAD)[0])
        place += (size + 3) & ~3
    return None


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + HEADER.size <= len(answer):
        size, kind, _flags, _number, _pid = HEADER.unpack_from(answer, place)
        if size < HEADER.size:
            return
        yield kind, answer[place + HEADER.size : place + size]
        place += (size + 3) & ~3
