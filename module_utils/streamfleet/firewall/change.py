"""Changing the firewall so that nobody is locked out: a change is loaded, and stays only if it is confirmed in time.

What is confirmed lies in ``FIREWALL`` and is what the host boots with. A change is ``CANDIDATE`` until it is confirmed;
confirming is one rename, by whoever holds the change's token, while its timer runs. The timer is systemd's, and has
``PROGRAM`` load again what is confirmed, whatever became of whoever made the change.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import durable
from ..node_apply.host import Finished, Host
from . import listeners
from .rules import FAMILY, TABLE, Rules, opened

FIREWALL = "/etc/streamfleet/nftables/firewall.nft"
CANDIDATE = "/etc/streamfleet/nftables/candidate-firewall.nft"
#: The table as the kernel told it when it was loaded last: what has changed since is a drift.
LISTING = "/run/streamfleet-firewall.listing"
PROGRAM = "/usr/lib/streamfleet/firewall"
#: Held while a change is made, confirmed or taken back.
LOCK = "/run/streamfleet-firewall.lock"
TIMER = "streamfleet-firewall-revert"
TIMEOUT = 60.0
NAMED = 8


_WAITS = "another change waits to be confirmed, or takes itself back within a minute. Run this again then"


class FirewallError(Exception):
    """The firewall is as it was; the text says why and what to do."""


def change(host: Host, options: Mapping[str, Any], check: bool = False) -> dict[str, Any]:
    """Load what ``options`` (of the module streamfleet_firewall) ask for, until ``confirm``, for ``confirm_seconds``.

    Returns ``{"changed", "ssh_ports", "diff", "unconfirmed"}``; ``unconfirmed``: the token that ``confirm`` wants,
    empty where there is nothing to confirm.
    Raises FirewallError, RulesError and ListenersError, having changed nothing.
    """
    rules = Rules.of(options)
    seen = listeners.look(host, foretold=check)
    sockets = seen or []
    ssh = listeners.ssh_ports(host, sockets) | set(options["ssh_ports"])
    if not ssh and options["needs_ssh"] and seen is not None:
        raise FirewallError(
            "no SSH server is found on this host, though it is reached by SSH. Name its port in ssh_ports"
        )
    text, before = rules.text(ssh), _read(host, FIREWALL)
    result = {"changed": False, "ssh_ports": sorted(ssh), "unconfirmed": "", "diff": _diff(before, text)}
    if _pending(host):
        raise FirewallError(_WAITS)
    if before == text and _loaded(host):
        return result
    if not options["close_others"]:
        _refuse_to_close(rules, ssh, sockets, before)
    result["changed"] = True
    if not check:
        with _locked(host):
            if _pending(host):
                raise FirewallError(_WAITS)
            _try(host, text, int(options["confirm_seconds"]))
        result["unconfirmed"] = _token(text)
    return result


def confirm(host: Host, token: str) -> None:
    """Keep what the ``change`` that gave ``token`` has loaded.

    Raises FirewallError when it has taken itself back, or is about to, or when what waits is another change.
    """
    with _locked(host):
        candidate = _read(host, CANDIDATE)
        if candidate is None or not _pending(host):
            raise FirewallError(
                "the change was not confirmed in time, and what was before is in force again. Make confirm_seconds "
                "longer than it takes to log in to this host"
            )
        if not hmac.compare_digest(_token(candidate), token):
            raise FirewallError("what waits to be confirmed is another change, of somebody else. Run this again later")
        host.path(CANDIDATE).rename(host.path(FIREWALL))
        durable.sync_directory(host.path(FIREWALL).parent)
        # It keeps the listing, too. The timer, should it run out before it is stopped, waits for the lock, and then
        # loads what is confirmed.
        _run(host, [PROGRAM, "load", "locked"], "the firewall is confirmed but cannot be loaded")
        host.run(["systemctl", "stop", f"{TIMER}.timer"], "", TIMEOUT)


def _token(text: str) -> str:
    """What tells one change from another."""
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _locked(host: Host) -> Iterator[None]:
    with Path(host.path(LOCK)).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _try(host: Host, text: str, seconds: int) -> None:
    candidate = host.path(CANDIDATE)
    durable.write(candidate, text.encode(), 0o600)
    try:
        _run(host, ["nft", "--check", "--file", str(candidate)], "nft refuses the rules")
        host.run(["systemctl", "reset-failed", f"{TIMER}.service", f"{TIMER}.timer"], "", TIMEOUT)
        timer = ["systemd-run", "--collect", "--quiet", f"--unit={TIMER}", f"--on-active={seconds}"]
        timer += ["--timer-property=AccuracySec=500ms", PROGRAM, "revert"]
        _run(host, timer, "systemd arms no timer that would take the change back, so it is not made")
    except FirewallError:
        candidate.unlink(missing_ok=True)
        raise
    done = host.run(["nft", "--file", str(candidate)], "", TIMEOUT)
    if done.code != 0:
        host.run([PROGRAM, "revert", "locked"], "", TIMEOUT)
        host.run(["systemctl", "stop", f"{TIMER}.timer"], "", TIMEOUT)
        raise FirewallError(f"the kernel refuses the rules: {_words(done)}")


def _refuse_to_close(rules: Rules, ssh: set[int], sockets: list[listeners.Socket], before: str | None) -> None:
    """``before``: the rules that are confirmed, None where all is open. Raises FirewallError."""
    closed = [
        each
        for each in listeners.others(sockets)
        if not (each.protocol == "tcp" and each.port in ssh)
        and not any(opening.covers(each.protocol, each.port) for opening in rules.openings)
        and (before is None or opened(before, each.protocol, each.port))
    ]
    if closed:
        names = ", ".join(f"{each.port}/{each.protocol} ({_program(each)})" for each in closed[:NAMED])
        who = "the first firewall of this host" if before is None else "the change"
        more = f" and {len(closed) - NAMED} more" if len(closed) > NAMED else ""
        raise FirewallError(
            f"{who} would close {names}{more}, where other programs listen. Open what others "
            "shall reach (streamfleet_firewall_open), and close the rest with streamfleet_firewall_close_others: true"
        )


def _program(socket: listeners.Socket) -> str:
    return "the kernel, such as WireGuard" if socket.program == listeners.UNKNOWN else socket.program


def _pending(host: Host) -> bool:
    return host.run(["systemctl", "is-active", "--quiet", f"{TIMER}.timer"], "", TIMEOUT).code == 0


def _loaded(host: Host) -> bool:
    """Whether the kernel has the table as it was when it was loaded."""
    done = host.run(["nft", "--stateless", "list", "table", FAMILY, TABLE], "", TIMEOUT)
    return done.code == 0 and done.out == _read(host, LISTING)


def _read(host: Host, path: str) -> str | None:
    try:
        return Path(host.path(path)).read_text()
    except FileNotFoundError:
        return None


def _diff(before: str | None, after: str) -> dict[str, str]:
    return {"before_header": FIREWALL, "after_header": FIREWALL, "before": before or "", "after": after}


def _run(host: Host, argv: list[str], what: str) -> None:
    done = host.run(argv, "", TIMEOUT)
    if done.code != 0:
        raise FirewallError(f"{what}: {_words(done)}")


def _words(done: Finished) -> str:
    """What is wrong. nft says it first, and then shows where."""
    return next((line for line in done.err.splitlines() if "Error:" in line), done.last_words)
