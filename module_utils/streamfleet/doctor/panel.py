"""The panel: whether it answers, for its own name, and knows its worker."""

from __future__ import annotations

import contextlib
from typing import Any

from ..node_apply.host import Host
from . import asking, database
from .about import About
from .finding import Finding
from .processes import restart

UNIT = "streamfleet-panel.service"
SOCKET = "/run/streamfleet-panel/panel.sock"
TOKEN = "/etc/streamfleet/worker/token"  # noqa: S105  (a path)


def gather(host: Host, about: About, seen: dict[str, Any]) -> dict[str, Any]:
    """``health`` and ``worker``: ``[status, the answer's beginning, why there is none]``; not where it does not run."""
    running = seen["units"]["units"].get(UNIT, {}).get("active") == "active"
    held = any(process["unit"] == UNIT for process in seen["processes"]["stopped"])
    if not about.panel_host or not running or held:
        return {"asked": False}
    headers = {"Host": about.panel_host, "X-Forwarded-Proto": "https"}
    path = str(host.path(SOCKET))
    health = asking.unix_http(path, "/api/v1/health", headers, about.patience)
    if health[2] == asking.SILENT:
        health = asking.unix_http(path, "/api/v1/health", headers, about.patience * 3)
    found: dict[str, Any] = {"asked": True, "health": list(health), "worker": None, "token": ""}
    if health[0] == 200 and host.path("/etc/streamfleet/worker").is_dir():
        token = ""
        with contextlib.suppress(OSError):
            token = host.path(TOKEN).read_text().strip()
        if not token.isprintable() or not token:
            found["token"] = "missing or empty"  # noqa: S105  (no token)
        else:
            headers["Authorization"] = f"Bearer {token}"
            status, _body, why = asking.unix_http(path, "/api/v1/whoami", headers, about.patience * 2)
            found["worker"] = [status, "", why]
    return found


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules. What its database or socket's folder does to it is told by those."""
    it = facts["panel"]
    if not it["asked"]:
        return []
    status, body, why = it["health"]
    if why == asking.SILENT and not database.judge(facts):
        return [
            Finding(
                "panel.hung",
                UNIT,
                "The panel is hung: it takes requests and answers none.",
                why,
                f"systemctl restart {UNIT}.",
                commands=restart(UNIT),
            )
        ]
    if why and why != asking.SILENT:
        return [
            Finding(
                "panel.socket",
                SOCKET,
                "The panel's socket is gone, so the web server does not reach it.",
                why,
                f"systemctl restart {UNIT}.",
                commands=(("systemctl", "restart", UNIT),),
            )
        ]
    if status == 400:
        return [
            Finding(
                "panel.name",
                UNIT,
                "The panel was installed for another host name, and refuses this one.",
                f"400: {body[:120]}",
                "Compare streamfleet_panel_host with what it was installed with; domain_change.yml changes it.",
            )
        ]
    if status not in (200, 0) and not database.judge(facts):
        return [
            Finding(
                "panel.answer",
                UNIT,
                "The panel answers with an error.",
                f"{status}: {body[:160]}",
                "journalctl -u streamfleet-panel -n 50 says why.",
            )
        ]
    again = f"Remove {TOKEN}, and run install.yml for this host: it issues another one."
    if it["token"]:
        return [
            Finding(
                "panel.worker",
                TOKEN,
                "The worker has no token, so no change reaches any node.",
                f"{TOKEN} is {it['token']}",
                again,
            )
        ]
    if it["worker"] and it["worker"][0] in (401, 403):
        return [
            Finding(
                "panel.worker",
                TOKEN,
                "The panel does not know the worker's token, so no change reaches any node.",
                f"whoami answers {it['worker'][0]}",
                again,
            )
        ]
    return []
