"""One apply: plan all services, journal, write, firewall, units, remember. One that fails does not stop the others."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from . import diff, files, firewall, lock, names, outcome, state, transfer, units, users
from .errors import ApplyError
from .host import Host
from .plan import Plan, make, slug_of
from .run import Options, Run

SERVICES_DATA = "/var/lib/streamfleet/services"


def apply(host: Host, payload: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Bring the node to ``payload`` (see docs/contracts.md, Converge); with ``check`` only say what would be done.

    Returns ``changed``, ``skipped_older``, ``generation``, ``services`` (slug → state, message, changed,
    actions, generation), ``summary``, ``purged``, ``unknown``, ``warnings``, ``diff``.
    Raises ApplyError when nothing can be applied.
    """
    if options.check:
        return _guarded(host, payload, options)
    with lock.held(host, options.who, options.lock_timeout):
        return _guarded(host, payload, options)


def _guarded(host: Host, payload: Mapping[str, Any], options: Options) -> dict[str, Any]:
    known = state.load(host)
    journal = state.load_journal(host)
    applied = int(known["generation"])
    # A killed run may have begun a generation newer than the one that the state file knows.
    if journal.get("epoch") == payload["epoch"]:
        applied = max(applied, int(journal.get("generation", 0)))
    if payload["epoch"] in (known["epoch"], journal.get("epoch")) and payload["generation"] < applied:
        message = f"generation {payload['generation']} is older than {applied}, which is applied already"
        return {"changed": False, "skipped_older": True, "generation": applied, "msg": message, "services": {}}
    run = Run(host, options, payload, known, journal, users.Accounts.of(host))
    run.warnings += payload.get("warnings", [])
    _plan(run)
    differences = _diff(run) if options.diff else []
    if not options.check:
        _execute(run)
    return {**outcome.of(run), "diff": differences}


def _plan(run: Run) -> None:
    host, entries, begun = run.host, run.state["services"], run.journal["services"]
    instances = run.payload["services"]
    patterns = {units.pattern(item["unit"]) for item in instances if item["unit"]}
    patterns |= {units.pattern(entry["unit"]) for entry in entries.values() if entry["unit"]}
    loaded = units.states(host, patterns)
    taken: dict[str, str] = {}
    for item in sorted(instances, key=lambda item: str(item["key"])):
        key = item["key"]
        plan = make(host, item, entries.get(key, {}), begun.get(key), run.accounts, loaded)
        for target in plan.targets:
            if taken.setdefault(target.path, key) != key:
                plan.error = f"file {target.path} belongs to service {taken[target.path]}"
        run.plans.append(plan)
    names.plan(run)
    _fail_together(run)
    _hand_over(run)
    _leftovers(run)
    _plan_firewall(run)
    run.transfer = transfer.plan(host, run.payload.get("media_users"), run.accounts)
    run.warnings += [f"{fault}; nobody can log in with it, the others are as wanted" for fault in run.transfer.faults]
    if run.transfer.problem:
        run.warnings.append(run.transfer.problem)


def _fail_together(run: Run) -> None:
    """A service whose instances cannot all be as wanted is left as it was, with all of them."""
    faults = {plan.slug: plan for plan in run.plans if plan.error}
    for plan in run.live:
        if plan.slug in faults:
            plan.refuse(faults[plan.slug].error)


def _hand_over(run: Run) -> None:
    """What one service gives up and another gets, such as a publish key: the latter replaces it, nobody removes it.

    Should the latter not run with what it gets, the file goes: nothing leads back to who has given it up.
    """
    wanted = _wanted(run)
    passed = run.passed = {path for plan in run.live for path, _found in plan.removals if path in wanted}
    for plan in run.live if passed else []:
        plan.removals = [(path, found) for path, found in plan.removals if path not in passed]
        plan.writes = [(target, files.Found() if target.path in passed else found) for target, found in plan.writes]


def _wanted(run: Run) -> set[str]:
    """Every path that shall be there."""
    held = {target.path for holder in run.names for target in holder.targets}
    return held | {target.path for plan in run.live for target in plan.targets}


def _leftovers(run: Run) -> None:
    """Instances that the node has and nobody asks for."""
    wanted = {plan.key for plan in run.plans}
    slugs, failed = {plan.slug for plan in run.plans}, run.payload.get("failed", {})
    refused = {plan.slug for plan in run.plans if plan.error}
    same_epoch = run.payload["epoch"] == run.state["epoch"]
    # Of a companion that a killed run has begun, only the journal tells.
    begun = {key: entry for key, entry in run.journal["services"].items() if key != slug_of(key)}
    for key, entry in {**begun, **run.state["services"]}.items():
        slug = slug_of(key)
        if slug in failed and "state" in failed[slug] and entry.get("state") == "running":
            run.retire[key] = entry
        if key in wanted or slug in failed or slug in refused:
            continue
        if slug in slugs:
            # Its service is wanted, but without this companion.
            run.retire[key] = entry
        elif same_epoch and entry.get("state") == "deleted":
            run.purge.append(key)
        elif key in run.state["services"]:
            run.unknown.append(key)
    if run.unknown:
        known = ", ".join(sorted({slug_of(key) for key in run.unknown}))
        run.warnings.append(f"left alone, since the panel does not name them and never deleted them here: {known}")


def _plan_firewall(run: Run) -> None:
    applied = {plan.key for plan in run.live}
    for plan in run.live:
        if plan.runs:
            run.pairs |= {(plan.wanted["uid"], port) for port in plan.wanted["ports"]}
    for key, entry in run.state["services"].items():
        if key not in (applied | {*run.purge, *run.retire}) and entry["state"] == "running":
            run.pairs |= {(entry["uid"], port) for port in entry["ports"]}
    live = firewall.live(run.host)
    if live is None:
        run.warnings.append("the tenants' firewall was not loaded on this node")
    run.firewall_differs = live != run.pairs or firewall.saved(run.host) != firewall.script(run.pairs)


def _diff(run: Run) -> list[dict[str, str]]:
    secrets = run.payload.get("secrets", [])
    entries: list[dict[str, str]] = []
    for plan in run.live:
        entries += [diff.of(target, target.path, found, secrets) for target, found in plan.writes]
        entries += [diff.of(None, path, found, secrets) for path, found in plan.removals]
    for holder in run.names:
        entries += [diff.of(target, target.path, found, secrets) for target, found in holder.writes]
        entries += [diff.of(None, path, found, secrets) for path, found in holder.removals]
    for entry in run.retire.values():
        found_there = [(path, found) for path in entry["files"] if (found := files.look(run.host, path)).there]
        entries += [diff.of(None, path, found, secrets) for path, found in found_there]
    if len(entries) > diff.MOST:
        more = {"prepared": f"and {len(entries) - diff.MOST} more files\n"}
        entries = [*entries[: diff.MOST], more]
    entries += [diff.of(target, target.path, found, secrets) for target, found in run.transfer.writes]
    return entries


def _execute(run: Run) -> None:
    host = run.host
    working = [plan for plan in run.live if plan.changes]
    naming = any(holder.changes for holder in run.names)
    if working or naming or run.purge or run.retire or run.firewall_differs or run.journal["services"]:
        _journal(run, working)
        host.checkpoint("journal")
        _create_users(run, working)
        host.checkpoint("users")
        _write([plan for plan in working if not plan.error], run)
        _remove_what_nobody_took(run)
        names.write(run)
        host.checkpoint("written")
        if run.firewall_differs:
            problem = firewall.update(host, run.pairs)
            if problem:
                _firewall_failed(run, problem)
        host.checkpoint("firewall")
        _retire(run)
        host.checkpoint("retired")
        outcome.act(run)
        _firewall_of_taken_back(run)
        host.checkpoint("units")
        _purge(run)
        host.checkpoint("purged")
    run.transfer.problem = transfer.execute(host, run.transfer)
    if run.transfer.problem:
        run.warnings.append(run.transfer.problem)
    _remember(run)


def _journal(run: Run, working: list[Plan]) -> None:
    """Write down what is about to be done, before it is. A run that was killed may have left more."""
    services = dict(run.journal["services"])
    for plan in working:
        before = services.get(plan.key, {"files": []})
        services[plan.key] = {
            "unit": plan.unit,
            "files": sorted({*before["files"], *plan.paths}),
            "action": plan.action,
        }
    units_of = {plan.key: plan.unit for plan in run.plans}
    for holder in (holder for holder in run.names if holder.changes):
        before = services.get(holder.key, {"unit": units_of.get(holder.key), "files": [], "action": "none"})
        services[holder.key] = {**before, "files": sorted({*before["files"], *holder.paths})}
    for entry in services.values():
        for path in entry["files"]:
            files.unstage(run.host, path)
    journal = {"epoch": run.payload["epoch"], "generation": run.payload["generation"], "services": services}
    try:
        state.save(run.host.journal, journal)
    except OSError as error:
        message = f"cannot write {run.host.journal}: {error.strerror}; nothing was changed"
        for plan in working:
            plan.error = message
        raise ApplyError(message, outcome.of(run)["services"]) from None


def _retire(run: Run) -> None:
    """Take away companions that their services have no more, and whatever must go off the air without being rendered.

    What they have stored stays until the service goes.
    """
    kept = _wanted(run)
    for key, entry in run.retire.items():
        problem = outcome.stop_for_good(run.host, entry["unit"]) or _remove_files(run.host, slug_of(key), entry, kept)
        if problem:
            run.retire_problems[key] = problem


def _remove_what_nobody_took(run: Run) -> None:
    """What was given up, and whoever was to get it could not be written: it leads back to nobody."""
    for path in sorted(run.passed - _wanted(run)):
        try:
            run.host.path(path).unlink(missing_ok=True)
        except OSError as error:
            run.warnings.append(f"cannot remove {path}: {error.strerror}")


def _create_users(run: Run, working: list[Plan]) -> None:
    new = [plan for plan in working if plan.new_user]
    problem = users.create(run.host, (plan.wanted["uid"] for plan in new))
    if not problem:
        return
    made = users.Accounts.of(run.host)
    for plan in new:
        if made.require(plan.wanted["uid"]):
            plan.error = problem


def _write(working: list[Plan], run: Run) -> None:
    """Stage all, then put each service's files into place together."""
    host = run.host
    sync_each = sum(len(plan.writes) for plan in working) <= files.SYNC_EACH
    for plan in working:
        path = ""
        try:
            for directory in plan.directories:
                path = directory.path
                files.make_directory(host, directory)
            for target, _text in plan.writes:
                path = target.path
                files.stage(host, target, sync_each)
        except OSError as error:
            plan.error = f"cannot write {path}: {error.strerror}; its files are as they were"
    faults = {plan.slug: plan.error for plan in working if plan.error}
    for plan in (plan for plan in working if plan.slug in faults):
        plan.error = plan.error or faults[plan.slug]
        for target, _text in plan.writes:
            files.unstage(host, target.path)
    if not sync_each:
        host.sync()
    host.checkpoint("staged")
    touched: set[str] = set()
    for plan in working:
        if not plan.error:
            touched |= _commit(plan, host)
            host.checkpoint(f"committed {plan.key}")
    try:
        files.sync_directories(host, touched)
    except OSError as error:
        run.warnings.append(f"cannot sync directories: {error.strerror}")


def _commit(plan: Plan, host: Host) -> set[str]:
    touched: list[tuple[str, files.Found]] = []
    try:
        for target, found in plan.writes:
            files.commit(host, target)
            touched.append((target.path, found))
        for path, found in plan.removals:
            host.path(path).unlink(missing_ok=True)
            touched.append((path, found))
    except OSError as error:
        plan.error = f"cannot replace its files: {error.strerror}; they are as they were"
        for target, _text in plan.writes:
            files.unstage(host, target.path)
        for path, found in touched:
            try:
                files.put_back(host, path, found)
            except OSError as second:
                plan.error = f"cannot replace its files: {error.strerror}, nor put back {path}: {second.strerror}"
    return {path for path, _old in touched}


def _firewall_failed(run: Run, problem: str) -> None:
    run.warnings.append(problem)
    for plan in run.live:
        if plan.runs and plan.wanted["ports"] and plan.changes:
            plan.error = problem


def _firewall_of_taken_back(run: Run) -> None:
    """Services that run with their previous configuration again keep its ports."""
    back = [plan for plan in run.plans if plan.rolled_back]
    before = set(run.pairs)
    for plan in back:
        run.pairs -= {(plan.wanted["uid"], port) for port in plan.wanted["ports"]}
    for plan in back:
        run.pairs |= {(plan.old["uid"], port) for port in plan.old["ports"]}
    if run.pairs != before and (problem := firewall.update(run.host, run.pairs)):
        run.warnings.append(problem)


def _purge(run: Run) -> None:
    """Remove what is left of services whose time of grace is over: the panel names them no more."""
    host, kept = run.host, _wanted(run)
    remaining = {plan.wanted["uid"] for plan in run.plans}
    remaining |= {entry["uid"] for key, entry in run.state["services"].items() if key not in run.purge}
    # Companions first: the service's own instance takes the data of all with it.
    for key in sorted(run.purge, key=lambda key: (slug_of(key), slug_of(key) == key)):
        slug, entry = slug_of(key), run.state["services"][key]
        problem = outcome.stop_for_good(host, entry["unit"])
        if not problem:
            problem = _remove_files(host, slug, entry, kept)
        if not problem and key == slug:
            problem = _remove_data(host, slug)
            known = users.name_of(entry["uid"]) in run.accounts.users
            if not problem and known and entry["uid"] not in remaining:
                problem = users.remove(host, entry["uid"])
        if problem:
            run.warnings.append(f"service {slug} is not removed completely, the next run goes on: {problem}")
            continue
        run.purged.append(key)


def _remove_files(host: Host, slug: str, entry: Mapping[str, Any], kept: set[str]) -> str:
    """``kept``: what another service has by now."""
    try:
        for path in entry["files"]:
            if path in kept:
                continue
            host.path(path).unlink(missing_ok=True)
            files.unstage(host, path)
        for path in entry["files"]:
            parent = host.path(path).parent
            if parent.name in (slug, f"{entry['unit']}.d") and parent.is_dir():
                parent.rmdir()
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def _remove_data(host: Host, slug: str) -> str:
    try:
        data = host.path(f"{SERVICES_DATA}/{slug}")
        if data.is_dir() and not data.is_symlink():
            shutil.rmtree(data)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def _remember(run: Run) -> None:
    services = outcome.entries(run)
    new = {"epoch": run.payload["epoch"], "generation": run.payload["generation"], "services": services}
    unchanged = all(run.state[key] == value for key, value in new.items())
    try:
        if not unchanged:
            state.save(run.host.state, new)
        run.host.checkpoint("state")
        run.host.journal.unlink(missing_ok=True)
    except OSError as error:
        message = f"applied, but cannot write {run.host.state}: {error.strerror}; the next run compares again"
        raise ApplyError(message, outcome.of(run)["services"]) from None
