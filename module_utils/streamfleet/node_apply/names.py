"""Host names of tenants' own: a file each, which the web server reads when it is asked for that name.

They follow what the panel says of a name, whatever becomes of the configuration of its service: one that is lost goes
though its service cannot be changed, one that has passed to another service is that one's though it runs as before, and
none comes back with a configuration that is taken back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from .. import domains
from . import files, users
from .errors import ServiceError
from .files import Target
from .holder import Holder
from .host import Host
from .run import Run


def plan(run: Run) -> None:
    """Find what differs, for services that are as wanted and for those that cannot be; sets the plans' ``error``."""
    holders: dict[str, Holder] = {}
    wanted: dict[str, Holder] = {}
    for one in (one for one in run.plans if not one.companion):
        try:
            holders[one.key] = Holder(one.key, _targets(one.slug, one.wanted, run.accounts))
        except ServiceError as error:
            # Nobody knows what its names are: they stay as they are, like all of it.
            one.refuse(str(error))
    for slug, told in run.payload.get("failed", {}).items():
        entry = run.state["services"].get(slug)
        # One that must go off the air is taken away with its names.
        if entry is None or "domains" not in told or "state" in told:
            continue
        with contextlib.suppress(ServiceError):
            holders[slug] = Holder(slug, _targets(slug, {**told, "uid": entry["uid"]}, run.accounts))
    for holder in holders.values():
        for target in list(holder.targets):
            if (first := wanted.setdefault(target.path, holder)) is not holder:
                holder.targets.remove(target)
                holder.error = f"file {target.path} belongs to service {first.key}"
    for holder in holders.values():
        _compare(run, holder, set(wanted))
    run.names = list(holders.values())


def _targets(slug: str, wanted: Mapping[str, Any], accounts: users.Accounts) -> list[Target]:
    """The files of a service's names. Raises ServiceError for what cannot be one."""
    names, way = wanted["domains"], wanted["way"]
    if not names:
        return []
    if way not in domains.WAYS.values():
        raise ServiceError(f"way {way!r} is none of {', '.join(domains.WAYS.values())}")
    owner, group = accounts.user("root"), accounts.group("www-data")
    content = domains.content(slug, wanted["uid"], way).encode()
    targets = []
    for name in names:
        if (why := domains.problem(name)) is not None:
            raise ServiceError(f"domain {name!r} {why}")
        targets.append(Target(domains.path_of(name), content, 0o640, owner, group))
    return targets


def _compare(run: Run, holder: Holder, wanted: set[str]) -> None:
    """``wanted``: by anybody. What another service gets is replaced by it, and removed by nobody."""
    known = set(run.state["services"].get(holder.key, {}).get("files", []))
    known |= set(run.journal["services"].get(holder.key, {}).get("files", []))
    try:
        for target in holder.targets:
            found = files.look(run.host, target.path)
            if not files.same(run.host, target, found):
                holder.writes.append((target, found))
        for path in sorted(path for path in known - wanted if domains.is_path(path)):
            found = files.look(run.host, path)
            if found.there:
                holder.removals.append((path, found))
    except ServiceError as error:
        holder.error = str(error)


def write(run: Run) -> None:
    """Bring the names to what is wanted. Of a service that is new and cannot be made, nothing is written."""
    fallen = {one.key for one in run.plans if one.error and not one.old}
    for holder in (holder for holder in run.names if holder.key in fallen):
        holder.targets, holder.writes = [], []
    working = [holder for holder in run.names if holder.changes]
    sync_each = sum(len(holder.writes) for holder in working) <= files.SYNC_EACH
    for holder in working:
        _each(run.host, holder, lambda target: files.stage(run.host, target, sync_each))
    if not sync_each:
        run.host.sync()
    for holder in working:
        _each(run.host, holder, lambda target: files.commit(run.host, target))
        for path, _found in holder.removals:
            try:
                run.host.path(path).unlink(missing_ok=True)
            except OSError as error:
                holder.error = f"cannot remove {path}: {error.strerror}"
    run.host.checkpoint("named")
    touched = {path for holder in working for path in holder.paths}
    try:
        files.sync_directories(run.host, touched)
    except OSError as error:
        run.warnings.append(f"cannot sync directories: {error.strerror}")


def _each(host: Host, holder: Holder, do: Callable[[Target], None]) -> None:
    """Do it with each file; one that cannot be is told, and is not tried further."""
    for item in list(holder.writes):
        try:
            do(item[0])
        except OSError as error:
            holder.error = f"cannot write {item[0].path}: {error.strerror}"
            holder.writes.remove(item)
            files.unstage(host, item[0].path)


def kept(host: Host, holder: Holder) -> list[str]:
    """The paths that it has in the end, or is still to give up."""
    left = {path for path, _found in holder.removals if host.path(path).exists()}
    return sorted({target.path for target in holder.targets} | left)
