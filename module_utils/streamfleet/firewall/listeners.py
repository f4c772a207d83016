"""Who listens on a host, and which of it is its SSH server: as ``ss`` tells it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..node_apply.host import Host

TIMEOUT = 30.0
#: Programs that take SSH log-ins; systemd listens for them where they are started by a socket.
_SSH = ("sshd", "dropbear")
_SSH_SOCKETS = ("ssh.socket", "sshd.socket", "dropbear.socket")
#: Above it are the ports that the kernel gives to whoever asks something over UDP.
_LAST_OWN_UDP = 32767
#: In place of a program's name.
UNKNOWN = "?"
#: DHCP's, for which the firewall has rules of its own.
_DHCP = frozenset({68, 546})


class ListenersError(Exception):
    """The host does not say who listens; the text says why."""


@dataclass(frozen=True, order=True)
class Socket:
    """A socket that listens, or (``listens`` false) is a TCP connection.

    ``address``: IPv4, IPv6 without a zone, or ``*``. ``program``: its name, or ``?`` where the kernel itself listens.
    """

    protocol: str
    port: int
    address: str
    program: str
    listens: bool = True

    @property
    def local(self) -> bool:
        """Whether only the host itself gets there."""
        return self.address != "*" and ipaddress.ip_address(self.address).is_loopback


def look(host: Host, foretold: bool = False) -> list[Socket] | None:
    """All sockets that listen, and all TCP connections. Raises ListenersError.

    ``foretold``: an earlier step may have installed what tells; None where it is not there yet.
    """
    done = host.run(["ss", "-Hantup"], "", TIMEOUT)
    if done.code == 127 and foretold:
        return None
    if done.code != 0:
        raise ListenersError(f"ss does not say who listens: {done.last_words}")
    return parse(done.out)


def parse(text: str) -> list[Socket]:
    """What ``ss -Hantup`` prints. Raises ListenersError."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] not in ("LISTEN", "UNCONN", "ESTAB"):
            continue
        protocol, state, local = fields[0], fields[1], fields[4]
        address, _colon, port = local.rpartition(":")
        user = re.search(r'users:\(\("([^"]*)"', line)
        if protocol not in ("tcp", "udp") or not port.isdigit() or (protocol == "udp" and state == "ESTAB"):
            continue
        found.append(Socket(protocol, int(port), _address(address), user[1] if user else UNKNOWN, state != "ESTAB"))
    return found


def _address(text: str) -> str:
    """Without zone and brackets. The zone is within the brackets or behind them, as the version of ss has it."""
    bare = re.sub(r"%[^\]]*", "", text).strip("[]")
    if bare != "*":
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            raise ListenersError(f"ss names {text[:80]!r} as the address of a socket, which is none") from None
    return bare


def ssh_ports(host: Host, sockets: Iterable[Socket]) -> set[int]:
    """TCP ports that SSH is reached at: its server's, and those that its log-ins of the moment have come by."""
    every = list(sockets)
    listening = {each.port for each in every if each.protocol == "tcp" and each.listens and not each.local}
    found = {each.port for each in every if each.protocol == "tcp" and each.program.startswith(_SSH)}
    if any(each.program == "systemd" for each in every):
        for unit in _SSH_SOCKETS:
            done = host.run(["systemctl", "show", "--property=Listen,ActiveState", "--", unit], "", TIMEOUT)
            if "ActiveState=active" in done.out:
                found |= {int(port) for port in re.findall(r"^Listen=.*:([0-9]+) \(Stream\)$", done.out, re.MULTILINE)}
    # An SSH server also connects to others, for those who forward ports: from ports where nobody listens.
    return found & listening


def others(sockets: Iterable[Socket]) -> list[Socket]:
    """Those that others than the host itself can reach, one of each protocol, port and program."""
    seen: dict[tuple[str, int, str], Socket] = {}
    for each in sorted(sockets):
        # Where the kernel itself listens (WireGuard), the port is one that somebody has chosen, however high.
        given = each.port > _LAST_OWN_UDP and each.program != UNKNOWN
        asks = each.protocol == "udp" and (given or each.port in _DHCP)
        if each.listens and not each.local and not asks:
            seen.setdefault((each.protocol, each.port, each.program), each)
    return list(seen.values())
