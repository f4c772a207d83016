"""The web server: whether it would start again, and whether it answers for its names."""

from __future__ import annotations

from typing import Any

from ..node_apply.host import Host
from . import asking, certificates
from .about import About
from .finding import Finding

UNIT = "nginx.service"
STATE = "/usr/lib/streamfleet/web/state"


def gather(host: Host, about: About, seen: dict[str, Any]) -> dict[str, Any]:
    """``test``: what nginx says of its configuration, "" for nothing; ``state``; ``answers``: name → status, why."""
    if not host.path(STATE).exists():
        return {"installed": False}
    tested = host.run(["nginx", "-t", "-q"], "", 30.0)
    running = seen["units"]["units"].get(UNIT, {}).get("active") in ("active", "reloading")
    answers = {}
    if running and not _held(seen):
        for name, path in ((about.stream_host, "/"), (about.panel_host, "/api/v1/health")):
            if name:
                status, why = asking.https(about.https_port, name, path, about.patience)
                if why == asking.SILENT:
                    status, why = asking.https(about.https_port, name, path, about.patience * 2)
                answers[name] = {"status": status, "why": why, "panel": name == about.panel_host}
    state = host.run([STATE], "", 30.0).out.strip() if running else ""
    return {
        "installed": True,
        "running": running,
        "test": "" if tested.code == 0 else tested.err.strip() or tested.last_words,
        "state": state,
        "answers": answers,
    }


def _held(seen: dict[str, Any]) -> bool:
    return any(process["unit"] == UNIT for process in seen["processes"]["stopped"])


def _first(text: str) -> str:
    """The first line that is an error: nginx may warn before."""
    lines = text.splitlines()
    return next((line for line in lines if "[emerg]" in line), lines[0] if lines else "")


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["web"]
    if not it["installed"]:
        return []
    found = []
    if it["test"]:
        doing = "runs with the one of before, but would not start again" if it["running"] else "does not start"
        found.append(
            Finding(
                "web.configuration",
                UNIT,
                f"nginx's configuration on disk is not valid: nginx {doing}.",
                _first(it["test"]),
                "Mend or remove the line that nginx names; then nginx -t and systemctl reload nginx.service. What "
                "is in "
                "conf.d/streamfleet.conf comes back by install.yml for this host.",
            )
        )
    elif it["running"] and it["state"] == "stale":
        found.append(
            Finding(
                "web.stale",
                UNIT,
                "nginx does not run with the configuration that is on disk.",
                "its files are newer than its start",
                "systemctl reload nginx.service.",
                commands=(("systemctl", "reload", UNIT),),
            )
        )
    for name, answer in it["answers"].items():
        if answer["why"] == asking.SILENT and not answer["panel"]:
            found.append(
                Finding(
                    "web.hung",
                    UNIT,
                    "nginx takes connections and answers nothing.",
                    f"https://{name}/: {answer['why']}",
                    "systemctl restart nginx.service, which ends the connections of everybody who is still served "
                    "by it.",
                )
            )
        elif answer["why"].startswith("TLS:") and not _certificate_told(facts, name):
            found.append(
                Finding(
                    "web.handshake",
                    name,
                    f"There is no TLS handshake for {name}.",
                    answer["why"],
                    "journalctl -u nginx.service and /var/log/nginx/error.log say why; see /etc/streamfleet/tls.",
                )
            )
    return found


def _certificate_told(facts: dict[str, Any], name: str) -> bool:
    """Whether the certificate's own theme says what is wrong with it."""
    return any(finding.subject == name for finding in certificates.judge(facts))
