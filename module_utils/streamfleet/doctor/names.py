"""The host's names, as this host resolves them."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, WARNING, Finding


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``found``: name → addresses, or why there are none; ``own``: the host's addresses; ``servers``: name servers."""
    own = set(about.addresses)
    with contextlib.suppress(ValueError, TypeError):
        for link in json.loads(host.run(["ip", "-json", "address"], "", 10.0).out or "[]"):
            own |= {entry["local"] for entry in link.get("addr_info", []) if "local" in entry}
    servers: list[str] = []
    with contextlib.suppress(OSError):
        servers = re.findall(r"^nameserver\s+(\S+)", host.path("/etc/resolv.conf").read_text(), re.MULTILINE)
    return {"found": {name: _resolve(name) for name in about.names}, "own": sorted(own), "servers": servers}


def _resolve(name: str) -> dict[str, Any]:
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return {"addresses": [], "why": error.strerror, "again": error.errno == socket.EAI_AGAIN}
    return {"addresses": sorted({str(answer[4][0]) for answer in answers}), "why": "", "again": False}


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["names"]
    found = []
    for name, answer in it["found"].items():
        if answer["again"]:
            found.append(
                Finding(
                    "names.servers",
                    name,
                    "The name servers of this host do not answer, so it finds no other host by its name.",
                    f"{name}: {answer['why']}; /etc/resolv.conf names {', '.join(it['servers']) or 'none'}",
                    "Mend /etc/resolv.conf, or the name servers that it names.",
                )
            )
        elif not answer["addresses"]:
            found.append(
                Finding(
                    "names.none",
                    name,
                    f"DNS knows no address of {name}, so nobody finds it.",
                    f"{name}: {answer['why']}",
                    f"Give {name} a record (A, AAAA) with an address of this host: {', '.join(_public(it['own']))}.",
                )
            )
        elif not any(address in it["own"] or _here(address) for address in answer["addresses"]):
            found.append(
                Finding(
                    "names.elsewhere",
                    name,
                    f"{name} leads to another host.",
                    f"{name} is {', '.join(answer['addresses'])}; this host is {', '.join(_public(it['own']))}",
                    f"Correct the record of {name}. Where something in between passes connections on (NAT, a "
                    "proxy), name its addresses "
                    "in streamfleet_stream_addresses or streamfleet_panel_addresses of this host.",
                    WARNING
                    if any(ipaddress.ip_address(address.partition("%")[0]).is_global for address in answer["addresses"])
                    else ERROR,
                )
            )
    return found


def _here(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _public(own: list[str]) -> list[str]:
    """Addresses of the host that others may reach."""
    found = []
    for text in own:
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(text)
            if not address.is_loopback and not address.is_link_local:
                found.append(text)
    return found or own
