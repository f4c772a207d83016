"""Fail2ban's filters, as far as lines of programs are held against them."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILTERS = {
    path.parent.parent.name if path.name == "guard.conf" else path.stem: path
    for pattern in ("roles/*/engine/guard.conf", "roles/fail2ban/files/filters/*.conf")
    for path in ROOT.glob(pattern)
}
#: As fail2ban has them, short: what journald tells before a message, and an address of either version.
PREFIX = r"\s*(?:\S+\s+)?(?:{daemon}(?:\[\d+\])?:?\s+)?"
ADDRESS = r"(?:::f{4}:)?(?P<address>(?:\d{1,3}\.){3}\d{1,3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)"


def accused(name: str, line: str) -> str | None:
    """The address for which a filter counts this line of the journal. A message may have several: fail2ban sees one."""
    parser = configparser.RawConfigParser()
    parser.read(FILTERS[name])
    line = line.replace("\n", "\\n")
    daemon = parser["Definition"]["_daemon"]
    pattern = parser["Definition"]["failregex"].replace("%(__prefix_line)s", PREFIX.format(daemon=daemon))
    passed = parser["Definition"].get("ignoreregex")
    if passed and re.search(passed, line):
        return None
    match = re.search(pattern.replace("<ADDR>", ADDRESS), line)
    return match["address"] if match else None
