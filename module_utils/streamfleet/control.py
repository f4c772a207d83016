"""Starting, stopping, restarting and skipping of one media service, and waiting for what comes of it."""

from __future__ import annotations

import time
from typing import Any

from . import errors
from .client import Panel
from .runtime import Module, run

OPTIONS: dict[str, dict[str, Any]] = {
    "slug": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "restarted", "skipped"], "required": True},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 120},
}

ACTIONS = {"started": "start", "stopped": "stop", "restarted": "restart", "skipped": "skip"}
#: What the service must come to be for the outcome to be good.
OUTCOMES = {"started": "running", "stopped": "stopped", "restarted": "running", "skipped": "running"}
#: What is done anew each time.
ALWAYS = ("restarted", "skipped")
#: Seconds between two looks at the service's status: first, and at most.
POLL_FIRST, POLL_MOST = 0.2, 2.0


def run_control_module() -> None:
    """The whole of the module."""
    module = Module(argument_spec=OPTIONS, supports_check_mode=True)
    run(module, _control)


def _control(module: Module) -> dict[str, Any]:
    panel, slug, state = module.panel, module.params["slug"], module.params["state"]
    before = _status(panel, slug)
    outcome = OUTCOMES[state]
    if before["desired"] not in ("running", "stopped"):
        raise errors.Conflict(_blocked(slug, before))
    if state in ALWAYS and before["desired"] == "stopped":
        raise errors.Conflict(f"slug: service {slug} is stopped, and only a running one can be {state}. Use started.")
    changed = state in ALWAYS or before["desired"] != outcome
    diff = {"before": {"state": before["desired"]}, "after": {"state": state if changed else before["desired"]}}
    if module.check_mode:
        return {"changed": changed, "status": {**before, "desired": outcome}, "diff": diff}
    generation = panel.service_action(slug, ACTIONS[state]) if changed else int(before["generation"])
    status = _wait(panel, slug, outcome, generation, module.params["wait_timeout"] if module.params["wait"] else 0)
    return {"changed": changed, "status": status, "diff": diff}


def _status(panel: Panel, slug: str) -> dict[str, Any]:
    try:
        return panel.service_status(slug)
    except errors.NotFound as error:
        raise errors.NotFound(
            f"slug: there is no media service {slug!r}, or none that this token may see. Check the spelling;"
            " streamfleet_media_service creates services.",
            code=error.code,
            status=error.status,
        ) from None


def _blocked(slug: str, status: dict[str, Any]) -> str:
    reason = f" ({status['message']})" if status.get("message") else ""
    fix = {
        "suspended": "Lift the suspension first: suspended=false of streamfleet_media_service.",
        "disabled": "Enable the service and its customer first: enabled=true of streamfleet_media_service, or"
        " status=enabled of streamfleet_customer.",
        "over_quota": "Raise its quota, or wait until the month is over.",
    }.get(status["desired"], "Restore it first.")
    return f"slug: service {slug} is {status['desired'].replace('_', ' ')}{reason} and cannot be controlled. {fix}"


def _wait(panel: Panel, slug: str, outcome: str, generation: int, seconds: float) -> dict[str, Any]:
    """The service's status once the node has acted on ``generation``, or right away with ``seconds`` 0."""
    deadline = time.monotonic() + seconds
    delay = POLL_FIRST
    while True:
        status = _status(panel, slug)
        arrived = int(status.get("observed_generation") or 0) >= generation
        if arrived and status["state"] == outcome:
            return status
        if arrived and status["state"] == "failed":
            raise errors.JobFailed(f"Service {slug} has failed on node {status['node']}: {status['message']}")
        if seconds <= 0:
            return status
        if time.monotonic() >= deadline:
            message = f": {status['message']}" if status.get("message") else ""
            raise errors.TimedOut(
                f"Service {slug} is {status['state']} on node {status['node']} after {seconds:g} seconds{message}. The"
                " request stands; look at the worker and the node, or give a longer wait_timeout."
            )
        time.sleep(delay)
        delay = min(delay * 1.5, POLL_MOST)
