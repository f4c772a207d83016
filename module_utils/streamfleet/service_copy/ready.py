"""Whether a node can have the services of another one: asked before anybody goes off the air for it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterable
from typing import Any

from ..node_apply import state
from ..node_apply.host import Host
from ..node_apply.plan import slug_of
from .places import BASE, CopyError, addresses_of, folders_of

UNITS = "/etc/systemd/system"
#: Units by which customers' files come, listeners are counted and web addresses lead → the group whose role has them.
BESIDE = {
    "streamfleet-file-transfer.service": "file_transfer",
    "streamfleet-sessions.service": "sessions",
    "streamfleet-web-logs.service": "web",
}
#: Units of servers that all services of an engine share → the group whose role has them.
SHARED = {"streamfleet-rtmp.service": "nginx_rtmp", "streamfleet-rtmps.service": "nginx_rtmp"}
RTMP_STATE, RTMP_SETTINGS = "/usr/lib/streamfleet/rtmp/state", "/etc/streamfleet/rtmp/nginx.conf"
#: Of role fail2ban.
JAILS = "/etc/fail2ban/jail.d/streamfleet.conf"


def templates_of(host: Host, slugs: Iterable[str]) -> list[str]:
    """Templates of the units that these services have on this node: ``streamfleet-icecast@.service``.

    With the units of the node's that they have a part in: without these no service fails, and yet people miss them.
    Raises CopyError where a server that is to send on what comes for them cannot.
    """
    wanted = set(slugs)
    entries = [entry for key, entry in _entries(host).items() if slug_of(key) in wanted]
    names = {str(entry["unit"]).partition("@")[0] for entry in entries if entry["unit"]}
    engines = {entry.get("engine") for entry in entries}
    shared = [unit for unit, engine in SHARED.items() if engine in engines]
    beside = [unit for unit in (*BESIDE, *shared) if host.path(f"{UNITS}/{unit}").is_file()]
    if shared and (problem := _of_the_rtmp_server(host)):
        raise CopyError(f"This node cannot send on what comes for the services: {problem}")
    return sorted([f"{name}@.service" for name in names if name != "streamfleet-forward"] + beside)


def check(
    host: Host, slugs: Iterable[str], templates: Iterable[str], ports: Iterable[int], former: Iterable[str] = ()
) -> None:
    """Raises CopyError with everything that stands in the way on this node. ``former``: addresses of the other one."""
    known = [folder.partition("/")[2] for folder in folders_of(slugs, [])]
    entries, problems = _entries(host), []
    for slug in known:
        if (entry := entries.get(slug)) is not None:
            problems.append(f"it still has {slug} ({entry['state']}), {_way_out(slug, entry['state'])}")
    for template in templates:
        if "/" in template or not host.path(f"{UNITS}/{template}").is_file():
            name = {**BESIDE, **SHARED}.get(template, template.partition("@")[0].removeprefix("streamfleet-"))
            problems.append(f"it has no unit {template}: add this host to the group {name} and run install.yml for it")
        elif template == next(iter(SHARED)) and (problem := _of_the_rtmp_server(host)):
            problems.append(problem)
    taken = sorted({port for _uid, port in host.listening()} & set(ports))
    if taken:
        problems.append(f"something listens on its ports {', '.join(map(str, taken))} already")
    if banned := _would_be_banned(host, former):
        problems.append(
            f"its fail2ban does not know {', '.join(banned)}, and would ban all who come by the way over there for one"
            " who guesses passwords: run hardening.yml for this host"
        )
    if problems:
        raise CopyError(f"This node cannot have the services: {'; '.join(problems)}. Nothing is off the air for it")


def _of_the_rtmp_server(host: Host) -> str:
    """Why the RTMP server of this node knows nothing of encoders that are sent on; empty where it does."""
    fix = "run install.yml for this host when nobody publishes, or with -e streamfleet_nginx_rtmp_restart=always"
    try:
        settings = host.path(RTMP_SETTINGS).read_text()
    except FileNotFoundError:
        return f"{RTMP_SETTINGS} is missing: {fix}"
    if "notify_relay_redirect on;" not in settings:
        return f"its RTMP server is of an earlier release, which sends no encoders on: {fix}"
    done = host.run([RTMP_STATE], "", 20)
    try:
        found = json.loads(done.out)["state"]
    except (ValueError, KeyError, TypeError):
        return f"{RTMP_STATE} fails: {done.last_words}"
    return "" if found == "fresh" else f"its RTMP server is {found}, and does not run with what is on disk: {fix}"


def _way_out(slug: str, found: str) -> str:
    if found == "deleted":
        return "which its next converge removes: run this again"
    return (
        "which the panel does not know of there, so that nothing removes it: see whether anybody needs"
        f" {BASE}/services/{slug}, then uninstall that host with its data before it gets services"
    )


def _would_be_banned(host: Host, former: Iterable[str]) -> list[str]:
    """Those addresses that this node's jails do not spare, if it has jails of ours."""
    try:
        lines = host.path(JAILS).read_text().splitlines()
    except FileNotFoundError:
        return []
    spared = {word for line in lines if line.startswith("ignoreip") for word in line.partition("=")[2].split()}
    networks = []
    for word in spared:
        with contextlib.suppress(ValueError):
            networks.append(ipaddress.ip_network(word, strict=False))

    def known(address: str) -> bool:
        return any(ipaddress.ip_address(address) in network for network in networks)

    return [name for name in former if name not in spared and not any(map(known, addresses_of([name])))]


def _entries(host: Host) -> dict[str, Any]:
    entries: dict[str, Any] = state.load(host)["services"]
    return entries
