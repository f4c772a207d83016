"""What DNS has at a domain. Only the jobs process asks; nothing here touches the database."""

from __future__ import annotations

import ipaddress

import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from django.conf import settings

from streamfleet_panel.domains.records import Answer, Found, txt_name

#: Seconds that one name server, and all of them together, may take for one record set.
ONE_TRY, ALL_TRIES = 2.0, 5.0


def look_up(name: str) -> Found:
    """What stands at the domain ``name``. Raises nothing: what cannot be found out is not known."""
    try:
        resolver = _resolver()
    except (dns.exception.DNSException, OSError):
        return Found(Answer(known=False), Answer(known=False))
    txt = _ask(resolver, txt_name(name), dns.rdatatype.TXT)
    return Found(txt, _ask(resolver, name, dns.rdatatype.CNAME))


def _resolver() -> dns.resolver.Resolver:
    """Of the host's own resolv.conf, or of the setting; read each time, for this process lives for weeks."""
    servers = [server_of(text) for text in settings.DOMAIN_RESOLVERS]
    resolver = dns.resolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in servers]
    resolver.timeout, resolver.lifetime = ONE_TRY, ALL_TRIES
    return resolver


def server_of(text: str) -> tuple[str, int]:
    """``192.0.2.53``, ``192.0.2.53:5353``, ``2001:db8::53`` or ``[2001:db8::53]:5353``. Raises ValueError."""
    host, _colon, port = text.rpartition(":")
    if text.count(":") == 1 or (text.startswith("[") and host.endswith("]")):
        host = host.removeprefix("[").removesuffix("]")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text} has no port from 1 to 65535 behind its colon")
        return str(ipaddress.ip_address(host)), int(port)
    return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))), 53


def _ask(resolver: dns.resolver.Resolver, name: str, kind: dns.rdatatype.RdataType) -> Answer:
    try:
        # With the dot at its end, so that no search domain of the host is put behind it.
        answer = resolver.resolve(dns.name.from_text(f"{name}."), kind, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return Answer()
    except (dns.exception.DNSException, OSError):
        return Answer(known=False)
    if kind == dns.rdatatype.TXT:
        return Answer(frozenset(b"".join(item.strings).decode("ascii", "replace") for item in answer))
    return Answer(frozenset(item.target.to_text(omit_final_dot=True).lower() for item in answer))
