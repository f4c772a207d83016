"""The host's clock, against the controller's, and what keeps it."""

from __future__ import annotations

import time
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, WARNING, Finding

KEEPERS = (
    "systemd-timesyncd.service",
    "chrony.service",
    "chronyd.service",
    "ntpsec.service",
    "ntp.service",
    "openntpd.service",
)
#: Seconds of difference. A run takes some of them on its way here.
_ODD, _WRONG = 60, 300


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``off``: seconds that this clock is ahead, None where that is not known; ``kept``: whether something keeps it."""
    inside = host.run(["systemd-detect-virt", "--container", "--quiet"], "", 10.0).code == 0
    states = host.run(["systemctl", "is-active", *KEEPERS], "", 20.0).out.split()
    return {
        "off": None if about.time is None else round(time.time() - about.time),
        # In a container the clock is the machine's that it runs on.
        "kept": inside or "active" in states,
    }


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["clock"]
    off = it["off"]
    found = []
    if off is not None and abs(off) >= _ODD:
        found.append(
            Finding(
                "clock.off",
                "clock",
                f"This host's clock is {abs(off)} seconds {'ahead of' if off > 0 else 'behind'} the controller's: "
                "certificates, tokens, "
                "schedules and limits go by it.",
                f"difference {off:+d} s",
                "See which of the two is wrong (timedatectl), and have systemd-timesyncd or chrony keep it.",
                ERROR if abs(off) >= _WRONG else WARNING,
            )
        )
    if not it["kept"]:
        found.append(
            Finding(
                "clock.alone",
                "clock",
                "Nothing keeps this host's clock, so it will go wrong.",
                f"none of {', '.join(name.removesuffix('.service') for name in KEEPERS)} runs",
                "systemctl enable --now systemd-timesyncd.service, or install chrony.",
                WARNING,
            )
        )
    return found
