"""What upgrade.yml says beforehand, put together from what was foretold on each host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: What streamfleet_units calls the facts in which check mode tells what is due.
_FORETOLD = "streamfleet_unit_"
_IDLE = "restart while idle"
#: Units that no listener and no encoder goes through.
_UNHEARD = re.compile(
    r"streamfleet-(panel|panel-jobs|worker|sessions|usage|acme|acme-install|acme-keys|acme-domains|backup"
    r"|file-transfer-quota|firewall|tenants)\.(service|timer|path)"
    r"|fail2ban\.service|.*\.(timer|path|mount)"
)


def streamfleet_due(facts: Mapping[str, Any]) -> dict[str, list[str]]:
    """Of a host's facts, the units with which something would be done: name → verbs.

    The restart of one that nobody uses is another verb: what decides on it, the role, asks again when it comes to it.
    """
    found = [value for name, value in facts.items() if name.startswith(_FORETOLD) and value["verbs"]]
    return {
        item["unit"]: [_IDLE if item["idle"] and verb == "restart" else verb for verb in item["verbs"]]
        for item in sorted(found, key=lambda item: item["unit"])
    }


def streamfleet_cut(due: Mapping[str, Iterable[str]]) -> list[str]:
    """Of the units that are due, those whose restart interrupts who listens or sends. A reload interrupts nobody."""
    return [unit for unit, verbs in due.items() if "restart" in verbs and not _UNHEARD.fullmatch(unit)]


def streamfleet_packages_due(output: str) -> list[str]:
    """Packages that apt would install or upgrade, of what it says when it only simulates."""
    return sorted(set(re.findall(r"^Inst (\S+)", output, re.MULTILINE)))


def streamfleet_upgrade_plan(
    panel: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]], services: Iterable[Mapping[str, Any]]
) -> list[str]:
    """The plan, a line for each thing.

    :param panel: ``plan`` of streamfleet_panel_upgrade.
    :param hosts: by name, ``due`` (streamfleet_due) and ``packages``, in the order in which they are upgraded.
    :param services: those on the air, each with ``node`` and ``listeners`` (None where that is not known).
    """
    lines = [_panel_line(panel)]
    if panel["changes"]:
        lines.append(_migrations_line(panel))
        away = (
            "can be read and takes no changes" if panel["read_only"] else "is away, since it cannot be read-only yet,"
        )
        lines.append(f"panel: {away} while it is changed and probed; nobody on the air notices")
    carried = list(services)
    for name, host in hosts.items():
        lines += _host_lines(name, host, [item for item in carried if item["node"] == name])
    return lines


def _panel_line(panel: Mapping[str, Any]) -> str:
    before, after = panel["from"]["version"], panel["to"]["version"]
    if not panel["changes"]:
        return f"panel: is {after} already, of this very release; nothing to do"
    return f"panel: {before} to {after}" if before != after else f"panel: {before}, of another state of it"


def _migrations_line(panel: Mapping[str, Any]) -> str:
    if panel["migrations"] is None:
        return "panel: migrations are known once the new release lies beside the old one"
    count = len(panel["migrations"])
    names = f": {', '.join(panel['migrations'])}" if count else ""
    return f"panel: {count} migrations of its {panel['database']} database, which is saved before{names}"


def _host_lines(name: str, host: Mapping[str, Any], carried: list[Mapping[str, Any]]) -> list[str]:
    due = host["due"]
    cut = streamfleet_cut(due)
    lines = [f"{name}: {', '.join(verbs)} {unit}" for unit, verbs in due.items()]
    if host["packages"]:
        lines.append(
            f"{name}: new packages {', '.join(host['packages'])}, whose own scripts may restart what they serve"
        )
    touches = bool(cut or host["packages"])
    lines.append(f"{name}: {'TOUCHES' if touches and carried else 'touches nobody:'} {_audience(carried)}")
    return lines


def _audience(carried: list[Mapping[str, Any]]) -> str:
    """Who is on the air, as far as it is known."""
    if not carried:
        return "nothing is on the air there"
    known = [item["listeners"] for item in carried if item["listeners"] is not None]
    listeners = f"{'at least ' if len(known) < len(carried) else ''}{sum(known)}" if known else "an unknown number of"
    return f"{len(carried)} services on the air, {listeners} listeners"


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What Ansible asks for."""
        return {
            "streamfleet_due": streamfleet_due,
            "streamfleet_cut": streamfleet_cut,
            "streamfleet_packages_due": streamfleet_packages_due,
            "streamfleet_upgrade_plan": streamfleet_upgrade_plan,
        }
