"""Units in bulk. One ``list-units`` tells the state of all; ``show`` and ``daemon-reload`` are too slow for that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .errors import ApplyError
from .host import Finished, Host

#: Units that one systemctl call is given.
CHUNK = 250
#: Units started at once, and the pause between two such groups: a node that starts a thousand stays responsive.
BATCH = 50
PAUSE_SECONDS = 0.05
TIMEOUT = 120.0

ON = frozenset({"active", "reloading"})
OFF = frozenset({"inactive", "failed"})


@dataclass(frozen=True)
class Unit:
    """What systemd says of a loaded unit."""

    active: str
    sub: str

    @property
    def on(self) -> bool:
        """Whether it runs."""
        return self.active in ON

    @property
    def off(self) -> bool:
        """Whether it neither runs nor is about to, or to end."""
        return self.active in OFF


def pattern(unit: str) -> str:
    """The pattern that finds all instances of the unit's template."""
    return re.sub(r"@.*\.", "@*.", unit)


def states(host: Host, patterns: Iterable[str]) -> dict[str, Unit]:
    """All loaded units that match. A unit that is not loaded is not in it."""
    wanted = sorted(set(patterns))
    if not wanted:
        return {}
    argv = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", "--full", "--", *wanted]
    done = host.run(argv, "", TIMEOUT)
    if done.code != 0:
        # Without an answer everything would look stopped.
        raise ApplyError(f"systemd does not say which units run: {done.last_words}")
    found: dict[str, Unit] = {}
    for line in done.out.splitlines():
        fields = line.split(None, 4)
        if len(fields) >= 4 and fields[1] != "not-found":
            found[fields[0]] = Unit(fields[2], fields[3])
    return found


def act(host: Host, verb: str, names: Sequence[str]) -> dict[str, str]:
    """``stop``, ``reload``, ``restart`` or ``start`` all; returns unit → reason for those that systemd refused."""
    refused: dict[str, str] = {}
    size = BATCH if verb in ("start", "restart") else CHUNK
    for number, chunk in enumerate(_chunks(sorted(names), size)):
        if number and verb in ("start", "restart"):
            host.sleep(PAUSE_SECONDS)
        done = host.run(["systemctl", verb, "--", *chunk], "", TIMEOUT)
        if done.code != 0:
            found = _refused(chunk, done)
            if verb == "reload":
                # Nothing else asks a unit that goes on as it was.
                found = {name: _with_words(host, name, reason) for name, reason in found.items()}
            refused.update(found)
    return refused


def daemon_reload(host: Host) -> Finished:
    """Have systemd read unit files again: only where a drop-in of a unit that is already loaded changed."""
    return host.run(["systemctl", "daemon-reload"], "", TIMEOUT)


def reset_failed(host: Host, names: Sequence[str]) -> None:
    """Forget failures, so that a start is not refused for having been tried too often."""
    for chunk in _chunks(sorted(names), CHUNK):
        host.run(["systemctl", "reset-failed", "--", *chunk], "", TIMEOUT)


def reason(host: Host, unit: str) -> str:
    """Why a unit is not running: systemd's result and the last thing that it said itself."""
    shown = host.run(["systemctl", "show", "-p", "Result,ExecMainStatus,LoadState", "--", unit], "", TIMEOUT)
    values = dict(line.partition("=")[::2] for line in shown.out.splitlines() if "=" in line)
    if values.get("LoadState") == "not-found":
        return "its unit is not installed on this node: run install.yml for it"
    text = f"{values.get('Result', 'unknown')}, exit status {values.get('ExecMainStatus', '?')}"
    return _with_words(host, unit, text)


def _with_words(host: Host, unit: str, text: str) -> str:
    """``text`` and the last words of a unit's processes."""
    # Lines of the process itself (PRIORITY of systemd's own are about the unit): the last few, in one line.
    said = host.run(["journalctl", "-q", "--no-pager", "-o", "cat", "-n", "3", f"_SYSTEMD_UNIT={unit}"], "", TIMEOUT)
    lines = [line.strip() for line in said.out.splitlines() if line.strip()]
    return f"{text}; last words: {' | '.join(lines)[-600:]}" if lines else text


def _refused(chunk: Sequence[str], done: Finished) -> dict[str, str]:
    """Who of a chunk systemd named; all of them if it named none."""
    named = {name: f"systemd refused: {_line_about(name, done.err)}" for name in chunk if name in done.err}
    return named or dict.fromkeys(chunk, f"systemctl failed: {done.last_words}")


def _line_about(name: str, text: str) -> str:
    return next(line.strip() for line in text.splitlines() if name in line)


def _chunks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
