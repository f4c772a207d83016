"""Units at the end of an apply: act in bulk, see what became of them, take back what does not run, and say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import domains
from . import diff, files, names, units
from .host import Host
from .plan import Plan, configuration, slug_of
from .run import Run

#: Seconds between two looks at units that are starting: first, longest.
FIRST_LOOK = 0.02
LONGEST_LOOK = 0.25
#: Units whose reasons are asked for one by one; of more failures than this, the rest is told in general.
EXPLAINED = 20


def act(run: Run) -> None:
    """Stop, reload, restart and start what is planned, all of one kind at once, and judge the result."""
    host = run.host
    working = [plan for plan in run.live if plan.action != "none"]
    if any(plan.needs_daemon_reload for plan in run.live):
        # Stopped before systemd learns of another user: what runs keeps what it had.
        units.daemon_reload(host)
    moving = [plan for plan in working if plan.action == "restart" and plan.moves]
    stopping = [plan for plan in working if plan.action == "stop"]
    _do(host, "stop", stopping + moving)
    _do(host, "reload", [plan for plan in working if plan.action == "reload"])
    starting = [plan for plan in working if plan.action == "start"] + moving
    units.reset_failed(host, _failed(host, starting))
    _do(host, "restart", [plan for plan in working if plan.action == "restart" and not plan.moves])
    _do(host, "start", starting)
    for plan in working:
        plan.done.append(plan.action)
    up = [plan for plan in working if plan.action in ("start", "restart", "reload")]
    _judge(host, up, run.options.start_timeout)
    broken = [plan for plan in up if plan.error and plan.was_on and plan.action == "restart"]
    _take_back(run, broken + _companions_of(broken, up))


def _companions_of(broken: list[Plan], up: list[Plan]) -> list[Plan]:
    """Companions of services that go back to what they ran with, and so go back, too."""
    slugs = {plan.slug for plan in broken if not plan.companion}
    found = [plan for plan in up if plan.companion and plan.slug in slugs and not plan.error]
    found = [plan for plan in found if plan.was_on and plan.action == "restart"]
    for plan in found:
        plan.error = f"{plan.unit} goes with its service"
    return found


def stop_for_good(host: Host, unit: str | None) -> str:
    """Stop the unit of a service that is being removed; returns why that failed, or nothing."""
    if not unit or unit not in units.states(host, [unit]):
        return ""
    return units.act(host, "stop", [unit]).get(unit, "")


def _do(host: Host, verb: str, plans: list[Plan]) -> None:
    by_unit = {plan.unit: plan for plan in plans if plan.unit}
    if not by_unit:
        return
    refused = units.act(host, verb, [unit for unit in by_unit if unit])
    for unit, problem in refused.items():
        # A start that systemd calls failed is judged below, with the reason; a refused stop or reload only here.
        if verb in ("stop", "reload"):
            by_unit[unit].error = f"{unit} cannot {verb}: {problem}"


def _failed(host: Host, plans: list[Plan]) -> list[str]:
    loaded = units.states(host, {units.pattern(plan.unit) for plan in plans if plan.unit})
    return [plan.unit for plan in plans if plan.unit in loaded and loaded[plan.unit].active == "failed"]


def _judge(host: Host, plans: list[Plan], timeout: float) -> None:
    """Wait until all are up, or it is clear that they will not be. Sets ``error`` of those."""
    waiting = {plan.unit: plan for plan in plans if plan.unit and not plan.error}
    deadline, pause = host.clock() + timeout, FIRST_LOOK
    down: list[Plan] = []
    while waiting:
        loaded = units.states(host, {units.pattern(unit) for unit in waiting})
        open_ports = host.listening() if any(plan.wanted["listen"] for plan in waiting.values()) else set()
        for unit, plan in list(waiting.items()):
            now = loaded.get(unit)
            if now is None or now.off or now.sub == "auto-restart":
                down.append(waiting.pop(unit))
            elif now.on and not _closed(plan, open_ports):
                del waiting[unit]
        if not waiting:
            break
        if host.clock() >= deadline:
            for plan in waiting.values():
                missing = _closed(plan, open_ports)
                what = f"it does not listen on port {missing[0]}" if missing else "it is still starting"
                plan.error = f"{plan.unit}: after {timeout:g} seconds {what}"
            break
        host.sleep(pause)
        pause = min(pause * 2, LONGEST_LOOK)
    for number, plan in enumerate(down):
        why = units.reason(host, plan.unit or "") if number < EXPLAINED else "see its journal"
        plan.error = f"{plan.unit} does not run: {why}"


def _closed(plan: Plan, open_ports: set[tuple[int, int]]) -> list[int]:
    """The ports on which the service itself does not listen yet. That somebody else does is no sign of it."""
    return [port for port in sorted(plan.wanted["listen"]) if (plan.wanted["uid"], port) not in open_ports]


def _take_back(run: Run, plans: list[Plan]) -> None:
    """A service that was on the air and is not any more goes back to what it ran with."""
    for plan in plans:
        try:
            for target, found in plan.writes:
                files.put_back(run.host, target.path, found)
            for path, found in plan.removals:
                files.put_back(run.host, path, found)
        except OSError as error:
            plan.error += f"; the previous configuration cannot be put back: {error.strerror}"
            continue
        plan.rolled_back = True
    back = [plan for plan in plans if plan.rolled_back]
    if not back:
        return
    if any(plan.needs_daemon_reload for plan in back):
        units.daemon_reload(run.host)
    names = [plan.unit for plan in back if plan.unit]
    units.reset_failed(run.host, names)
    units.act(run.host, "restart", names)
    loaded = units.states(run.host, {units.pattern(name) for name in names})
    for plan in back:
        now = loaded.get(plan.unit or "")
        on = "it is on the air again with" if now is not None and now.on else "it does not run with either"
        plan.error += f"; {on} its previous configuration. Change or restart the service to try again."


def entries(run: Run) -> dict[str, Any]:
    """The state file's entries after this run."""
    retired = {key for key in run.retire if key not in run.retire_problems}
    services = {key: entry for key, entry in run.state["services"].items() if key not in {*run.purged, *retired}}
    failed = run.payload.get("failed", {})
    for key, entry in run.state["services"].items():
        state = failed.get(slug_of(key), {}).get("state")
        if state is not None and key in retired:
            services[key] = {**entry, "state": state, "files": [], "fingerprints": {}}
        elif state is not None and key not in run.retire:
            services[key] = {**entry, "state": state}
    for plan in run.plans:
        wanted = plan.wanted
        if not plan.error:
            services[plan.key] = {
                **{key: wanted[key] for key in ("engine", "uid", "unit", "generation", "state", "restart")},
                **{key: wanted[key] for key in ("ports", "listen", "fingerprints")},
                "files": [target.path for target in plan.targets],
            }
        elif plan.rolled_back:
            services[plan.key] = {
                **plan.old,
                "files": sorted({*plan.old.get("files", []), *plan.paths}),
                "refused": {"configuration": configuration(wanted), "message": plan.error},
            }
        elif plan.done:
            # Its files are the new ones, its unit is not what it should be: the next run acts on it again.
            services[plan.key] = {
                **{key: wanted[key] for key in ("engine", "uid", "unit", "generation", "state", "restart")},
                **{key: wanted[key] for key in ("ports", "listen")},
                "fingerprints": plan.old.get("fingerprints", {}),
                "files": plan.paths,
            }
    for holder in run.names:
        if (entry := services.get(holder.key)) is not None:
            others = [path for path in entry["files"] if not domains.is_path(path)]
            services[holder.key] = {**entry, "files": others + names.kept(run.host, holder)}
    return services


def of(run: Run) -> dict[str, Any]:
    """The result of the run."""
    secrets = run.payload.get("secrets", [])
    results: dict[str, dict[str, Any]] = {}
    for plan in run.plans:
        _add(results, plan, run.options.check, secrets)
    for slug, message in run.payload.get("failed", {}).items():
        results[slug] = {
            "state": "failed",
            "message": message["message"],
            "generation": message["generation"],
            "changed": False,
            "actions": [],
        }
    for holder in run.names:
        result = results[holder.key]
        result["changed"] |= holder.changes
        if holder.error:
            _fail(result, "", diff.masked(holder.error, secrets))
    for key in run.retire:
        slug, _plus, companion = key.partition("+")
        results[slug]["changed"] = True
        if key in run.retire_problems:
            _fail(results[slug], companion, diff.masked(run.retire_problems[key], secrets))
        else:
            results[slug]["actions"].append(f"{companion} stop".lstrip())
    purged = {slug_of(key) for key in (run.purge if run.options.check else run.purged)}
    changed = bool(purged) or run.firewall_differs or any(item["changed"] for item in results.values())
    changed |= run.transfer.changes and not run.transfer.problem
    return {
        "changed": changed,
        "skipped_older": False,
        "generation": run.payload["generation"],
        "services": results,
        "summary": _summary(results, purged),
        "purged": sorted(purged),
        "unknown": sorted({slug_of(key) for key in run.unknown}),
        "warnings": run.warnings,
        "media_problem": run.transfer.problem,
    }


def _add(results: dict[str, dict[str, Any]], plan: Plan, check: bool, secrets: list[str]) -> None:
    """Say of the plan's service what became of this instance: one that failed fails the service."""
    actions = plan.done if not check else [plan.action] if plan.action != "none" else []
    changed = bool(actions) or (plan.changes and not plan.error)
    if not plan.companion:
        results[plan.slug] = {
            "state": plan.wanted["state"],
            "message": plan.wanted.get("reason", ""),
            "generation": plan.wanted["generation"],
            "changed": changed,
            "actions": list(actions),
        }
    else:
        results[plan.slug]["changed"] |= changed
        results[plan.slug]["actions"] += [f"{plan.companion} {action}" for action in actions]
    if plan.error:
        _fail(results[plan.slug], plan.companion, diff.masked(plan.error, secrets))


def _fail(result: dict[str, Any], companion: str, message: str) -> None:
    before = result["message"] if result["state"] == "failed" else ""
    if message != before:
        told = f"{companion}: {message}" if companion else message
        result["message"] = f"{before}; {told}" if before else told
    result["state"] = "failed"


def _summary(results: Mapping[str, Mapping[str, Any]], purged: set[str]) -> dict[str, int]:
    def count(matches: Callable[[Mapping[str, Any]], bool]) -> int:
        return sum(1 for item in results.values() if matches(item))

    return {
        "services": len(results),
        "changed": count(lambda item: bool(item["changed"])),
        "failed": count(lambda item: item["state"] == "failed"),
        "started": count(lambda item: _did(item, "start")),
        "stopped": count(lambda item: _did(item, "stop")),
        "reloaded": count(lambda item: _did(item, "reload")),
        "restarted": count(lambda item: _did(item, "restart")),
        "purged": len(purged),
    }


def _did(item: Mapping[str, Any], verb: str) -> bool:
    """Whether any unit of the service was told this."""
    return any(action.split()[-1] == verb for action in item["actions"])
