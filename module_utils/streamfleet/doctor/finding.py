"""What is found, and how it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

ERROR = "error"
WARNING = "warning"

#: Characters of evidence; it may hold what others have sent, such as a line of a log.
_MOST = 300


@dataclass(frozen=True)
class Finding:
    """A fault by its cause.

    ``check``: ``<theme>.<word>``, as docs/doctor.md lists them. ``subject``: what has the fault: a unit, path or name.
    ``severity``: ``error`` for what keeps the host from its work, ``warning`` for what will, or what is a customer's.
    ``commands``: a fix that is safe: no listener or encoder who is served loses anything by it, no data is changed, and
    doing it twice does no more than doing it once. Empty where somebody has to decide.
    """

    check: str
    subject: str
    cause: str
    evidence: str
    fix: str
    severity: str = ERROR
    commands: tuple[tuple[str, ...], ...] = ()

    @property
    def key(self) -> str:
        """The same for the same fault of the same thing."""
        return f"{self.check} {self.subject}"

    def as_dict(self) -> dict[str, Any]:
        """As the module returns it."""
        return {
            "check": self.check,
            "subject": self.subject,
            "severity": self.severity,
            "cause": self.cause,
            "evidence": plain(self.evidence),
            "fix": self.fix,
            "safe_fix": [" ".join(command) for command in self.commands],
        }


def plain(text: str) -> str:
    """One printable line. What stands behind a question mark in a path is left out: passwords are put there."""
    line = " ".join(re.sub(r"[^\x20-\x7e\xa0-\uffff]", " ", text).split())
    line = re.sub(r"(?<=/)([^\s?\"']*)\?[^\s\"']+", r"\1?…", line)
    return line if len(line) <= _MOST else line[: _MOST - 1] + "…"
