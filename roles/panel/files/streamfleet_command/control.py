"""``streamfleet start|stop|restart``: the panel's processes; what is on the air only when that is asked for."""

from __future__ import annotations

import sys

from . import host, systemd
from .errors import USAGE, CommandFailed

#: What can be named → its units, in the order in which they start.
COMPONENTS = {
    "panel": ("streamfleet-panel.service", "streamfleet-panel-jobs.service"),
    "worker": ("streamfleet-worker.service",),
    "web": ("nginx.service",),
}
INSTANCES = "streamfleet-instances.target"
_EACH = "streamfleet-*@*.service"
_WEB = COMPONENTS["web"][0]


def plan(verb: str, component: str, engines: list[str]) -> list[tuple[str, list[str]]]:
    """Calls of systemctl, as (verb, units).

    A restart of the web server is a reload: new processes take over, and listeners and uploads that have begun go on
    with the old ones. It starts a web server that is stopped.
    """
    units = [unit for name in COMPONENTS if component in (name, "all") for unit in COMPONENTS[name]]
    if verb == "stop":
        # Named by themselves, so that systemctl waits for them; for the target it waits only for the target.
        return [(verb, list(reversed(units)) + engines + ([_EACH] if INSTANCES in engines else []))]
    if verb == "start" or _WEB not in units:
        return [(verb, engines + units)]
    others = [unit for unit in engines + units if unit != _WEB]
    return [*([(verb, others)] if others else []), ("reload-or-restart", [_WEB])]


def run(verb: str, component: str, *, engines: bool, yes: bool) -> int:
    """Do it, and ask first where somebody is taken off the air. Returns 0; raises CommandFailed."""
    also = [unit for unit in (*host.servers(), INSTANCES) if systemd.is_installed(unit)] if engines else []
    if engines and not also:
        raise CommandFailed(
            "--engines: this host carries no media services; leave it out, or do this on their node", USAGE
        )
    if verb != "start" and (engines or (verb == "stop" and component in ("web", "all"))):
        _ask(verb, yes=yes)
    for call, units in plan(verb, component, also):
        systemd.act(call, units)
    return 0


def _ask(verb: str, *, yes: bool) -> None:
    """Raise CommandFailed unless somebody agrees to what others will hear, or nobody is on the air here."""
    services, listeners = host.on_air()
    if not services or yes:
        return
    print(
        f"{services} media {'service is' if services == 1 else 'services are'} on the air here, with {listeners} "
        f"listeners as far as they are counted. They are cut off by this {verb}."
    )
    if not sys.stdin.isatty():
        raise CommandFailed(
            "nobody is there to be asked; add --yes if that is what you want. Nothing was changed", USAGE
        )
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandFailed("nothing was changed")
