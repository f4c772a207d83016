"""Whether a name leads to this host, asked before any directory is: what it would find out costs its patience."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

SECONDS = 10.0
#: Name → all its addresses. Raises Unresolved.
Resolver = Callable[[str], list[str]]


class Unresolved(Exception):
    """A name has no addresses; the text says why."""


def fault(
    hosts: Iterable[str],
    settings: Mapping[str, Any],
    webroot: Path,
    resolve: Resolver,
    *,
    ask: bool = True,
    shared: bool = False,
) -> str | None:
    """Why the directory would not find what it asks for on this host; None where it should.

    ``ask``: whether the web server is asked, too. ``shared``: whether a name that leads here may lead to other hosts of
    the fleet, too, as where it is not proved by a request to each of its addresses.
    """
    for host in hosts:
        if host in settings["proxied"]:
            continue
        try:
            found = resolve(host)
        except Unresolved as error:
            return f"{host} does not resolve: {error}. Give it A and AAAA records with this host's addresses"
        public = {ipaddress.ip_address(address) for address in settings["addresses"]}
        elsewhere = [a for a in found if ipaddress.ip_address(a) not in public and not is_here(a)]
        fleet = _fleet(settings["fleet"], resolve) if elsewhere else set()
        theirs = [a for a in elsewhere if ipaddress.ip_address(a) in fleet]
        if len(theirs) < len(elsewhere):
            strange = [address for address in elsewhere if address not in theirs]
            return (
                f"{host} leads to {', '.join(strange)}, which is not this host's. Change its A and AAAA records; or "
                "name the address in streamfleet_certificates_acme_addresses (it is translated to this host's), or the "
                "host in streamfleet_certificates_acme_proxied (a proxy passes requests on to this host)"
            )
        if theirs and len(theirs) == len(found):
            return (
                f"{host} leads to {', '.join(theirs)}, which is another host of this fleet. Change its A and AAAA "
                "records, or use it there"
            )
        if theirs and not shared:
            return (
                f"{host} leads here and to {', '.join(theirs)}, which is another host of this fleet. The directory may "
                "ask either, and each knows its own answers only. Have it lead to one of them; or, if it is no "
                "customer's, have it proved by DNS: streamfleet_certificates_acme_challenge: dns-01"
            )
        found = [address for address in found if address not in theirs]
        for address in found:
            if ask and ipaddress.ip_address(address) not in public:
                said = answer(address, host, int(settings["http_port"]), webroot)
                if said is not None:
                    return said
    return None


def _fleet(others: Iterable[str], resolve: Resolver) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses of other hosts, which are named by an address or by a name; one that DNS does not know has none."""
    found = set()
    for other in others:
        try:
            found.add(ipaddress.ip_address(other))
        except ValueError:
            with contextlib.suppress(Unresolved):
                found.update(ipaddress.ip_address(address) for address in resolve(other))
    return found


def is_here(address: str) -> bool:
    """Whether the address is this host's, other than loopback. Nothing is sent: the kernel says from where it would."""
    parsed = ipaddress.ip_address(address)
    if parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast or parsed.is_link_local:
        return False
    family = socket.AF_INET6 if parsed.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        try:
            link.connect((address, 9))
        except OSError:
            return False
        return ipaddress.ip_address(link.getsockname()[0]) == parsed


def answer(address: str, host: str, port: int, webroot: Path) -> str | None:
    """What is wrong with how the web server at the address answers for the host; None where it is right."""
    token = f"streamfleet-{secrets.token_urlsafe(24)}"
    path = webroot / ".well-known" / "acme-challenge" / token
    try:
        path.write_text(token)
        link = http.client.HTTPConnection(address, port, timeout=SECONDS)
        try:
            link.request("GET", f"/.well-known/acme-challenge/{token}", headers={"Host": host})
            found = link.getresponse()
            if found.status == 200 and found.read(256) == token.encode():
                return None
            why = f"answers with {found.status}"
        finally:
            link.close()
    except (OSError, http.client.HTTPException) as error:
        why = f"says {error}"
    finally:
        path.unlink(missing_ok=True)
    return (
        f"the web server at {address} port {port} {why} where {host} is asked for what the directory would ask for. "
        "Likely cause: it is not running yet, or a site of your own has the name"
    )


def resolver(servers: list[str]) -> Resolver:
    """Asks DNS, past the host's own table: what counts is what others see. ``servers``: address[:port] each."""
    # Not on the machines where the rest of this is tested.
    import dns.exception
    import dns.resolver

    asked = dns.resolver.Resolver(configure=not servers)
    if servers:
        places = [place(server) for server in servers]
        asked.nameservers = [address for address, _port in places]
        asked.nameserver_ports = dict(places)
    asked.lifetime = SECONDS
    # The fleet's other hosts are asked for again with each name that leads elsewhere.
    asked.cache = dns.resolver.LRUCache()

    def resolve(host: str) -> list[str]:
        found: list[str] = []
        for kind in ("A", "AAAA"):
            try:
                answers = asked.resolve(f"{host}.", kind, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN:
                raise Unresolved("DNS has no such name") from None
            except dns.exception.DNSException as error:
                raise Unresolved(f"{kind} records: {error}") from None
            found += [record.address for record in answers.rrset or ()]
        if not found:
            raise Unresolved("it has neither A nor AAAA records")
        return found

    return resolve


def place(server: str) -> tuple[str, int]:
    """Address and port of ``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1`` or ``[2001:db8::1]:5353``."""
    if server.startswith("["):
        address, _bracket, port = server[1:].partition("]")
        return address, int(port.removeprefix(":") or 53)
    if server.count(":") == 1:
        address, _colon, port = server.partition(":")
        return address, int(port)
    return server, 53


def system(host: str) -> list[str]:
    """Ask as the host's own programs do. Raises Unresolved."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unresolved(str(error)) from None
    return sorted({str(entry[4][0]) for entry in found})


def main() -> None:
    """By itself, before there is a client: prints the fault of ``{"hosts", "settings", "acme"}``, if there is one.

    ``acme``: whether all is asked as a directory would; else only where the names lead, by the host's own means.
    """
    order = json.loads(sys.argv[1])
    settings = order["settings"]
    resolve = resolver(list(settings["resolvers"])) if order["acme"] else system
    shared = not order["acme"] or settings["challenge"] != "http-01"
    said = fault(order["hosts"], settings, Path(sys.argv[2]), resolve, ask=order["acme"], shared=shared)
    if said is not None:
        print(said)


if __name__ == "__main__":
    main()
