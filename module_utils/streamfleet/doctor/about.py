"""What the doctor is told of the host that it looks at: what only the inventory knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class AboutError(ValueError):
    """What was told means nothing; the message names field, value and fix."""


@dataclass(frozen=True)
class Server:
    """A unit that serves many, with its TCP ports. ``protocol``: how the first is asked (http, rtmp, tcp; tls: not)."""

    unit: str
    ports: tuple[int, ...]
    protocol: str = "tcp"


@dataclass(frozen=True)
class About:
    """``panel_host`` and ``stream_host``: names that the host is reached by, "" where it has none.

    ``addresses``: under which clients reach it, beside those of its own. ``open``: TCP ports that everybody must reach,
    ``(first, last, what for)``. ``time``: the controller's clock, seconds since 1970; None: not compared.
    ``patience``: seconds for an answer; a second, longer look follows where there is none. ``minutes``: of the logs.
    """

    panel_host: str = ""
    stream_host: str = ""
    https_port: int = 443
    addresses: tuple[str, ...] = ()
    servers: tuple[Server, ...] = ()
    open: tuple[tuple[int, int, str], ...] = ()
    time: float | None = None
    engines: tuple[str, ...] = ()
    patience: float = 3.0
    minutes: int = 15

    @property
    def names(self) -> tuple[str, ...]:
        """The names, each once."""
        return tuple(dict.fromkeys(name for name in (self.panel_host, self.stream_host) if name))

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> About:
        """From the module's options. Raises AboutError."""
        if options["minutes"] < 1:
            raise AboutError(f"minutes: {options['minutes']} is too small. Give 1 or more")
        return cls(
            panel_host=options["panel_host"],
            stream_host=options["stream_host"],
            https_port=options["https_port"],
            addresses=tuple(options["addresses"]),
            servers=tuple(Server(one["unit"], tuple(one["ports"]), one["protocol"]) for one in options["servers"]),
            open=tuple(_ranges(options["open"])),
            time=options["time"] or None,
            engines=tuple(options["engines"]),
            minutes=options["minutes"],
        )


def _ranges(openings: list[dict[str, Any]]) -> list[tuple[int, int, str]]:
    """Of TCP, and for everybody."""
    found = []
    for opening in openings:
        if opening["protocol"] != "tcp" or opening["sources"]:
            continue
        for text in opening["ports"]:
            match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
            if not match or not 0 < int(match[1]) <= int(match[2] or match[1]) < 65536:
                raise AboutError(f"open: {text!r} of {opening['name']} is no port. Give one, or a range as 10000-19999")
            found.append((int(match[1]), int(match[2] or match[1]), opening["name"]))
    return found
