"""Known faults in what Wowza and Flussonic log. Their programs say in words what their ports do not."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, WARNING, Finding

#: Bytes of the end of a log that are read.
_TAIL = 65536
WOWZA_LOGS = (
    "/var/log/streamfleet-wowza/wowzastreamingengine_error.log",
    "/var/log/streamfleet-wowza/wowzastreamingengine_access.log",
)
UNITS = {"wowza": "streamfleet-wowza.service", "flussonic": "flussonic.service"}
#: Vendor, what its log says, word, cause, fix, severity. The newest line that matches is shown.
KNOWN = (
    (
        "wowza",
        r"licen[cs]e.*(?:expired|invalid|not valid|revoked|could not)|invalid licen[cs]e",
        "licence",
        "Wowza's licence key has run out or is not valid, so no channel is on the air.",
        "Set streamfleet_wowza_licence_key to a valid key, and run install.yml.",
        ERROR,
    ),
    (
        "wowza",
        r"licen[cs]e.*(?:limit|maximum|exceed)|(?:connection|application) limit",
        "limit",
        "Wowza refuses what its licence does not cover.",
        "See the licence's limits of connections and applications.",
        ERROR,
    ),
    (
        "wowza",
        r"java\.lang\.OutOfMemoryError",
        "memory",
        "Wowza's Java has used up its heap; what it does next is not certain.",
        "Raise streamfleet_wowza_heap, and restart Wowza when nobody listens: systemctl restart streamfleet-wowza.",
        ERROR,
    ),
    (
        "wowza",
        r"BindException|Address already in use|bind failed",
        "port",
        "Another program has a port of Wowza.",
        "ss -ltnp says who; stop it, and restart streamfleet-wowza.",
        ERROR,
    ),
    (
        "wowza",
        r"Too many open files",
        "files",
        "Wowza may not open as many files as it wants: it refuses connections.",
        "Raise streamfleet_wowza_open_files, and run install.yml.",
        ERROR,
    ),
    (
        "wowza",
        r"SAXParseException|error parsing|XMLUtils",
        "settings",
        "Wowza cannot read one of its files.",
        "Run converge.yml for this host; the line names the file.",
        ERROR,
    ),
    (
        "wowza",
        r"keystore|KeyStoreException|Keystore was tampered",
        "keystore",
        "Wowza cannot read its keystore.",
        "Run install.yml for this host.",
        ERROR,
    ),
    (
        "wowza",
        r"rtmp.*(?:authentication failed|Authorization "
        r"failed)|security.*publish.*reject|ModuleCoreSecurity.*(?:reject|fail)",
        "encoder",
        "An encoder was refused by Wowza: a wrong user or password.",
        "Compare them with those on the channel's page.",
        WARNING,
    ),
    (
        "flussonic",
        r"no_license|license_failure|licen[cs]e.*(?:expired|invalid|not found)",
        "licence",
        "Flussonic's licence key has run out, is not valid or cannot be checked, so it serves nothing.",
        "Set streamfleet_flussonic_licence_key to a valid key; it must reach the vendor's server to check it.",
        ERROR,
    ),
    (
        "flussonic",
        r"broken_config|config.*(?:error|invalid)|syntax error",
        "settings",
        "Flussonic does not take its configuration.",
        "Run install.yml for this host; the line names what it does not take.",
        ERROR,
    ),
    (
        "flussonic",
        r"eaddrinuse|address already in use",
        "port",
        "Another program has a port of Flussonic.",
        "ss -ltnp says who; stop it, and restart flussonic.service.",
        ERROR,
    ),
    (
        "flussonic",
        r"emfile|too many open files",
        "files",
        "Flussonic may not open as many files as it wants.",
        "Raise streamfleet_flussonic_open_files, and run install.yml.",
        ERROR,
    ),
    (
        "flussonic",
        r"enospc|no space left|disk.*(?:full|overload)",
        "disk",
        "Flussonic cannot write its archive: the disk is full.",
        "Free some space under /var/lib/flussonic, or keep fewer hours.",
        ERROR,
    ),
    (
        "flussonic",
        r"(?:publish|auth).*(?:denied|forbidden|wrong password|password_mismatch)",
        "encoder",
        "An encoder was refused by Flussonic: a wrong password, or the channel is not on the air.",
        "Compare it with the one on the channel's page.",
        WARNING,
    ),
)


def gather(host: Host, about: About, seen: dict[str, Any]) -> dict[str, Any]:
    """Vendor → the newest lines that one of ``KNOWN`` matches, of the last minutes."""
    found: dict[str, Any] = {}
    for vendor, unit in UNITS.items():
        if vendor not in about.engines:
            continue
        argv = [
            "journalctl",
            f"--unit={unit}",
            f"--since=-{about.minutes}min",
            "--lines=5000",
            "--output=cat",
            "--no-pager",
        ]
        lines = host.run(argv, "", 60.0).out.splitlines()
        if vendor == "wowza":
            for path in WOWZA_LOGS:
                lines += _tail(host, path, about.minutes)
        found[vendor] = [line[:500] for line in lines if any(_means(vendor, entry, line) for entry in KNOWN)][-200:]
    return found


def _tail(host: Host, path: str, minutes: int) -> list[str]:
    """The end of a log that was written within the last minutes."""
    with contextlib.suppress(OSError):
        file = host.path(path)
        if file.stat().st_mtime < time.time() - minutes * 60:
            return []
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - _TAIL))
            return stream.read().decode(errors="replace").splitlines()[1:]
    return []


def _means(vendor: str, entry: tuple[str, ...], line: str) -> bool:
    return entry[0] == vendor and re.search(entry[1], line, re.IGNORECASE) is not None


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules: of a line the first that it means, each once."""
    newest: dict[tuple[str, ...], str] = {}
    for vendor, lines in facts["vendors"].items():
        for line in lines:
            entry = next((one for one in KNOWN if _means(vendor, one, line)), None)
            if entry:
                newest[entry] = line
    return [
        Finding(f"{entry[0]}.{entry[2]}", UNITS[entry[0]], entry[3], line, entry[4], entry[5])
        for entry, line in newest.items()
    ]
