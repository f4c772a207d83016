"""Units of a role: enabled, running, and running with what is on disk. Asked and acted on in bulk."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .node_apply import units
from .node_apply.host import Host

TIMEOUT = 180.0
_SHOWN = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
_ENABLED = frozenset({"enabled", "enabled-runtime", "static", "alias", "generated", "transient", "indirect"})
#: What is done with a running unit, the strongest first.
_VERBS = ("restart", "reload")


class UnitsError(Exception):
    """A unit is missing or does not run; the text names it and says why."""


@dataclass(frozen=True)
class Stale:
    """A running unit is out of date when one of ``paths`` is newer than ``stamp``, which it touches when it starts."""

    stamp: str
    paths: tuple[str, ...]
    verb: str


@dataclass(frozen=True)
class Unit:
    """A unit that shall run and start with the host.

    ``ask``: a program that prints one word, and what that word asks for. ``pending``: what the caller knows to be due.
    """

    name: str
    stale: tuple[Stale, ...]
    ask: tuple[str, ...]
    answers: Mapping[str, str]
    pending: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Unit:
        """From the module's options."""
        stale = tuple(Stale(each["stamp"], tuple(each["paths"]), each["verb"]) for each in item["stale"])
        return cls(item["name"], stale, tuple(item["ask"]), dict(item["answers"]), item["pending"])


def ensure(host: Host, wanted: Iterable[Unit], check: bool = False, written: Collection[str] = ()) -> dict[str, Any]:
    """Enable and start what does not run, restart or reload what is out of date, in this order.

    ``written``: paths that an earlier step has written, which ``check`` takes for newer than any stamp: in check mode
    that step has written nothing.
    Returns ``{"changed", "units": {name: [verbs]}, "daemon_reload"}``; those with
    verbs. Raises UnitsError.
    """
    names = list(wanted)
    shown = _show(host, [unit.name for unit in names])
    reload_first = _wants_reload(shown)
    fresh = written if check else ()
    actions: dict[str, list[str]] = {unit.name: _actions(host, unit, shown, check, fresh) for unit in names}
    if not check:
        if reload_first:
            _run(host, ["daemon-reload"], [])
        for verb in ("enable", "start", *_VERBS):
            due = [name for name, verbs in actions.items() if verb in verbs]
            if due:
                # Enabling writes links for the next boot; nothing that runs needs them to be read.
                _run(host, ["enable", "--no-reload"] if verb == "enable" else [verb], due)
                # But systemd of Debian 13 counts them as something to read, and of a unit that has failed any systemd
                # goes on telling what was before them: the next run would find that.
                if verb == "enable" and _told_late(_show(host, due)):
                    _run(host, ["daemon-reload"], [])
    changed = {name: verbs for name, verbs in actions.items() if verbs}
    return {"changed": bool(changed) or reload_first, "units": changed, "daemon_reload": reload_first}


def _actions(
    host: Host, unit: Unit, shown: Mapping[str, Mapping[str, str]], check: bool, fresh: Collection[str]
) -> list[str]:
    values = shown.get(unit.name, {})
    if values.get("LoadState") != "loaded":
        if check:  # An earlier step of the same run would have put it there.
            return ["enable", "start"]
        raise UnitsError(f"unit {unit.name} is {values.get('LoadState', 'not known')} on this host: install it first")
    actions = [] if values["UnitFileState"] in _ENABLED else ["enable"]
    if values["ActiveState"] not in units.ON:
        return [*actions, "start"]
    stale = (each for each in unit.stale if _newer(host, each) or any(path in fresh for path in each.paths))
    due = {each.verb for each in stale} | {unit.pending}
    if unit.ask:
        due.add(unit.answers.get(_answer(host, unit, check), ""))
    return [*actions, *[verb for verb in _VERBS if verb in due][:1]]


def _newer(host: Host, stale: Stale) -> bool:
    """Whether a path is newer than the stamp, or there is no stamp. Of links the link itself counts: it is switched."""
    try:
        stamp = os.lstat(host.path(stale.stamp)).st_ctime_ns
    except FileNotFoundError:
        return True
    for path in stale.paths:
        try:
            if os.lstat(host.path(path)).st_ctime_ns > stamp:
                return True
        except FileNotFoundError:
            continue
    return False


def _answer(host: Host, unit: Unit, check: bool) -> str:
    done = host.run(unit.ask, "", TIMEOUT)
    if done.code == 127 and check:  # Not installed yet.
        return ""
    if done.code != 0:
        raise UnitsError(f"{unit.ask[0]} does not say how {unit.name} runs: {done.last_words}")
    return done.out.strip()


def _wants_reload(shown: Mapping[str, Mapping[str, str]]) -> bool:
    return any(values.get("NeedDaemonReload") == "yes" for values in shown.values())


def _told_late(shown: Mapping[str, Mapping[str, str]]) -> bool:
    return _wants_reload(shown) or any(values.get("UnitFileState") not in _ENABLED for values in shown.values())


def _show(host: Host, names: list[str]) -> dict[str, dict[str, str]]:
    done = host.run(["systemctl", "show", f"--property={','.join(_SHOWN)}", "--", *names], "", TIMEOUT)
    if done.code != 0:
        raise UnitsError(f"systemd does not say how units are: {done.last_words}")
    found = {}
    for block in done.out.strip().split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        found[values.get("Id", "")] = values
    return found


def _run(host: Host, verb: list[str], names: list[str]) -> None:
    done = host.run(["systemctl", *verb, *(["--", *names] if names else [])], "", TIMEOUT)
    if done.code == 0:
        return
    broken = next((name for name in names if name in done.err), names[0] if names else "")
    why = units.reason(host, broken) if broken else done.last_words
    raise UnitsError(f"systemctl {verb[0]} failed for {broken or 'systemd'}: {why}")
