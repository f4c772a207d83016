"""What upgrade.yml says beforehand, put together from what was foretold on each host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: What streamfleet_units calls the facts in which check mode tells what is due.
_FORETOLD = "streamfleet_unit_"
_IDLE = "restart while idle"
_ASIDE = {"streamfleet-file-transfer.service": ", which ends transfers of files that are under way"}
#: What scripts of Debian's packages do to those who are on the air, and what they leave to a later start.
_PACKAGES = (
    (
        re.compile(r"nginx(-common|-core)?|libnginx-mod-\S+"),
        "Debian's script has nginx change over to its new program: MAY CUT OFF who listens, watches or works by HTTPS",
    ),
    (re.compile(r"icecast2"), "stations go on with the Icecast that they run with, until they are next started"),
    (
        re.compile(r"liquidsoap|ffmpeg|lib(av|sw)\S+"),
        "AutoDJs and relays go on as they are, until they are next started",
    ),
    (re.compile(r"proftpd-\S+"), "transfers of files that are under way may end"),
    (re.compile(r"openssh-(server|client|sftp-server)"), "SSH is restarted; connections that are there stay"),
)
_MASK = "********"
_PASSWORD_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+@")
#: Units that no listener and no encoder goes through.
_UNHEARD = re.compile(
    r"streamfleet-(panel|panel-jobs|worker|sessions|usage|acme|acme-install|acme-keys|acme-domains|backup"
    r"|file-transfer|file-transfer-quota|firewall|tenants)\.(service|timer|path)"
    r"|fail2ban\.service|.*\.(timer|path|mount)"
)


def streamfleet_due(facts: Mapping[str, Any]) -> dict[str, list[str]]:
    """Of a host's facts, the units with which something would be done: name → verbs.

    The restart of one that nobody uses is another verb: what decides on it, the role, asks again when it comes to it.
    """
    found: dict[str, set[str]] = {}
    for name, item in facts.items():
        if name.startswith(_FORETOLD) and item["verbs"]:
            verbs = {_IDLE if item["idle"] and verb == "restart" else verb for verb in item["verbs"]}
            found[item["unit"]] = found.get(item["unit"], set()) | verbs
    return {unit: _done(verbs) for unit, verbs in sorted(found.items())}


def _done(verbs: set[str]) -> list[str]:
    """Of what several tasks would do with a unit, what is done, in its order: what is started is not reloaded."""
    strongest = next((verb for verb in ("start", "restart", _IDLE, "reload") if verb in verbs), None)
    return [*(["enable"] if "enable" in verbs else []), *([strongest] if strongest else [])]


def streamfleet_cut(due: Mapping[str, Iterable[str]]) -> list[str]:
    """Of the units that are due, those whose restart interrupts who listens or sends. A reload interrupts nobody."""
    return [unit for unit, verbs in due.items() if "restart" in verbs and not _UNHEARD.fullmatch(unit)]


def streamfleet_packages_due(output: str) -> list[str]:
    """Packages that apt would install or upgrade, of what it says when it only simulates: ``nginx 1.0-1 to 1.0-2``."""
    found = re.findall(r"^Inst (\S+)(?: \[(\S+)\])? \((\S+)", output, re.MULTILINE)
    return sorted({f"{name} {old} to {new}" if old else f"{name} {new}" for name, old, new in found})


def _costs(packages: Iterable[str]) -> list[str]:
    """What new versions of packages do to whom, each once; the sentence for all that is not known comes last."""
    names = {package.split()[0] for package in packages}
    costs = [words for pattern, words in _PACKAGES if any(pattern.fullmatch(name) for name in names)]
    known = {name for name in names if any(pattern.fullmatch(name) for pattern, _words in _PACKAGES)}
    others = sorted(names - known)
    return costs + ([f"{', '.join(others)}: their own scripts may restart what they serve"] if others else [])


def streamfleet_why(result: Mapping[str, Any], task: str, secrets: Iterable[str]) -> str:
    """Why a task has failed, for people: its name, its message, and the last words of what it ran.

    :param result: what it has returned, of a hidden task (``no_log``) the whole of it.
    :param secrets: values that are not shown, wherever they are; empty ones are none.
    """
    texts = [task, str(result.get("msg") or "it gives no reason"), *_last_line(result)]
    for item in result.get("results") or []:
        if isinstance(item, Mapping) and item.get("failed"):
            texts += [str(item.get("msg") or ""), *_last_line(item)]
    said = ": ".join(text for text in texts if text)
    # The longest first: one may be part of another.
    for secret in sorted({str(value) for value in secrets if value}, key=len, reverse=True):
        said = said.replace(secret, _MASK)
    return _PASSWORD_IN_URL.sub(rf"\1{_MASK}@", said)


def _last_line(result: Mapping[str, Any]) -> list[str]:
    lines = [line.strip() for line in str(result.get("stderr") or "").splitlines() if line.strip()]
    return lines[-1:]


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
    lines = [f"{name}: {', '.join(verbs)} {unit}{_aside(unit, verbs)}" for unit, verbs in due.items()]
    if host["packages"]:
        lines.append(f"{name}: new packages {', '.join(host['packages'])}")
        lines += [f"{name}: {words}" for words in _costs(host["packages"])]
    touches = bool(cut or host["packages"])
    lines.append(f"{name}: {'TOUCHES' if touches and carried else 'touches nobody:'} {_audience(carried)}")
    return lines


def _aside(unit: str, verbs: Iterable[str]) -> str:
    """What the restart of a unit that no stream goes through ends all the same."""
    return _ASIDE.get(unit, "") if "restart" in verbs else ""


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
            "streamfleet_why": streamfleet_why,
            "streamfleet_upgrade_plan": streamfleet_upgrade_plan,
        }
