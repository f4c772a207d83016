"""Encoders that were refused in the last minutes, and why. Their owners' to mend: a warning."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import WARNING, Finding

#: Lines of the journal that are read at most.
_LINES = 20000
#: Journals of stations (Icecast, Icecast-KH), of the ways in for DJs, and of the RTMP server's callbacks.
_SLICES = ("icecast", "icecast_kh", "live")
#: Lines that may be those that are looked for; the journal's own program leaves out the rest.
_PATTERN = r'"(?:SOURCE|PUT) |refused|[Mm]ount ?point .* in use|dropped: '
_ACCESS = re.compile(r'^(?P<address>\S+) - \S* \[[^\]]*\] "(?:SOURCE|PUT) (?P<mount>\S+) [^"]*" (?P<status>40[0-9]) ')
_LIVE = re.compile(r"^refused (?P<address>\S+): (?P<status>401|403|404|409) (?P<words>.*)")

_REASONS = {
    "key": (
        "uses a stream key that this host does not know",
        "Compare its stream key with the one on the channel's page; it may have been "
        "rotated, or the channel is suspended, stopped or deleted.",
    ),
    "busy": (
        "was refused, because another encoder publishes to that channel",
        "End the other one; a dead one is let go after some seconds.",
    ),
    "bitrate": ("sends more than the channel's limit", "Lower its bitrate, or raise max_bitrate_kbps of the channel."),
    "space": ("fills more memory than one channel may", "Lower its bitrate or its keyframe interval."),
    "401": ("uses a wrong user or password", "Compare user (source) and password with those on the station's page."),
    "403": (
        "was refused: another source has the mount, or it sends a format that the mount does not take",
        "See who sends already; compare format and mount with the station's page.",
    ),
    "404": ("asks for a mount that there is not", "Compare its mount with the station's page."),
}
#: Of answers of HTTP.
_WORDS = {"401": "login", "403": "refused", "404": "mount"}
_EVENTS = {
    "refused: no such key": "key",
    "refused: already publishing": "busy",
    "dropped: above the bitrate limit": "bitrate",
    "dropped: segments take more space than a service may": "space",
}


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``refused``: ``{"service", "address", "reason", "count", "line"}`` of each that was."""
    if not about.stream_host:
        return {"refused": []}
    matches = ["SYSLOG_IDENTIFIER=streamfleet_rtmp"]
    for name in _SLICES:
        matches += ["+", f"_SYSTEMD_SLICE=system-streamfleet\\x2d{name}.slice"]
    # "-" before the minutes: so long ago.
    argv = [
        "journalctl",
        "--output=json",
        "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT",
        f"--since=-{about.minutes}min",
    ]
    done = host.run([*argv, f"--lines={_LINES}", f"--grep={_PATTERN}", "--case-sensitive=yes", *matches], "", 60.0)
    counted: Counter[tuple[str, str, str]] = Counter()
    lines: dict[tuple[str, str, str], str] = {}
    for text in done.out.splitlines():
        try:
            entry = json.loads(text)
        except ValueError:
            continue
        refused = reason_of(entry)
        if refused:
            counted[refused] += 1
            lines[refused] = str(entry["MESSAGE"])
    return {
        "refused": [
            {"service": key[0], "address": key[1], "reason": key[2], "count": count, "line": lines[key]}
            for key, count in counted.most_common(10)
        ],
        "minutes": about.minutes,
    }


def reason_of(entry: dict[str, Any]) -> tuple[str, str, str] | None:
    """Service, address and reason of one line of the journal; None where nobody was refused."""
    message, unit = str(entry.get("MESSAGE", "")), str(entry.get("_SYSTEMD_UNIT", ""))
    service = unit.partition("@")[2].removesuffix(".service")
    # Only what the unit itself says: a tenant's process can call itself anything.
    if unit == "streamfleet-rtmp.service" and entry.get("SYSLOG_IDENTIFIER") == "streamfleet_rtmp":
        try:
            event = json.loads(message)
        except ValueError:
            return None
        reason = _EVENTS.get(event.get("event", ""))
        return (event.get("slug", "") or "a channel", event.get("address", ""), reason) if reason else None
    if unit.startswith(("streamfleet-icecast@", "streamfleet-icecast_kh@")):
        found = _ACCESS.match(message)
        if found:
            return service, found["address"], found["status"] if found["status"] in _REASONS else "403"
    if unit.startswith("streamfleet-live@"):
        found = _LIVE.match(message)
        if found:
            return service, found["address"], found["status"] if found["status"] in _REASONS else "403"
    return None


def _where(address: str) -> str:
    """Where it is. To the RTMP server those that come by RTMPS are at loopback, as the listener for TLS is."""
    if address.startswith("127."):
        return "that came by RTMPS (journalctl -t streamfleet_rtmps has addresses)"
    return f"at {address}"


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    found = []
    for it in facts["encoders"]["refused"]:
        words, fix = _REASONS[it["reason"]]
        word = _WORDS.get(it["reason"], it["reason"])
        found.append(
            Finding(
                f"encoders.{word}",
                it["service"],
                f"An encoder {_where(it['address'])} {words} ({it['service']}).",
                f"{it['count']} times within {facts['encoders']['minutes']} minutes, as: {it['line']}",
                fix,
                WARNING,
            )
        )
    return found
