"""A double of a recursive name server: answers over UDP on loopback what a test has put into it, and nothing else.

It answers as one does: NXDOMAIN for a name that is not there, no records where the name has others, SERVFAIL where its
authorities cannot be asked, and CNAMEs are followed for other types. It refuses what it cannot do (several questions,
other classes) with NOTIMP.

Run as a program, ``name_server.py PORT RECORDS``, it answers from a JSON file, ``{"name": {"TXT": ["…"]}}``, that may
change meanwhile.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

TTL = 60
# Followed at most so often, as resolvers do.
_MOST_ALIASES = 8


class NameServer:
    """``records``: (name, type) → values, as a zone file has them; change them while it runs.

    ``broken``: names, with all below them, whose authorities fail. ``silent``: those to which nothing is answered.
    ``asked`` counts questions.
    """

    def __init__(self, port: int = 0) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def txt(self, name: str, *values: str) -> None:
        """Set the TXT records of a name; none: it has none any more."""
        self._set(name, "TXT", [f'"{value}"' for value in values])

    def cname(self, name: str, target: str | None) -> None:
        """Set the CNAME of a name, or take it away."""
        self._set(name, "CNAME", [f"{target}."] if target else [])

    def _set(self, name: str, kind: str, values: list[str]) -> None:
        if values:
            self.records[name, kind] = values
        else:
            self.records.pop((name, kind), None)

    def serve(self) -> None:
        """Answer until an empty message comes."""
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            try:
                query = dns.message.from_wire(data)
            except dns.exception.DNSException:
                continue
            answer = self._answer(query)
            if answer is not None:
                self._socket.sendto(answer.to_wire(max_size=65535), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        reply = dns.message.make_response(query, recursion_available=True)
        if len(query.question) != 1 or query.question[0].rdclass != dns.rdataclass.IN:
            reply.set_rcode(dns.rcode.NOTIMP)
            return reply
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if _below(name, self.silent):
            return None
        for _ in range(_MOST_ALIASES):
            if _below(name, self.broken):
                reply.set_rcode(dns.rcode.SERVFAIL)
                return reply
            alias = self.records.get((name, "CNAME"))
            shown = "CNAME" if alias else kind
            values = self.records.get((name, shown))
            if values:
                reply.answer.append(dns.rrset.from_text(f"{name}.", TTL, "IN", shown, *values))
            if not alias or kind == "CNAME":
                if not values and not any(known == name or known.endswith(f".{name}") for known, _ in self.records):
                    reply.set_rcode(dns.rcode.NXDOMAIN)
                return reply
            name = alias[0].rstrip(".").lower()
        reply.set_rcode(dns.rcode.SERVFAIL)
        return reply

    def stop(self) -> None:
        """Have ``serve`` end."""
        self._socket.sendto(b"", self._socket.getsockname())


def _below(name: str, zones: set[str]) -> bool:
    return any(name == zone or name.endswith(f".{zone}") for zone in zones)


@contextmanager
def running() -> Iterator[NameServer]:
    """One that answers in a thread of this process."""
    server = NameServer()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(5)


def main(port: str, records: str) -> None:
    """Answer from a file until the process is ended."""
    server = NameServer(int(port))
    threading.Thread(target=server.serve, daemon=True).start()
    while True:
        found = json.loads(Path(records).read_text())
        server.records = {
            (name, kind): [f'"{value}"' if kind == "TXT" else value for value in values]
            for name, kinds in found.items()
            for kind, values in kinds.items()
        }
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
