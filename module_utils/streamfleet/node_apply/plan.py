"""What is to be done for each instance: found by comparing, before anything is touched.

A service has an instance of its engine's and may have companions beside it. The state file knows them by their keys:
the slug, and ``<slug>+<companion>``.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import domains
from . import files, users, validate
from .errors import ServiceError
from .files import Directory, Found, Target
from .host import Host
from .units import Unit

UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/streamfleet-instances.target.wants"

#: Groups that a unit may run in beside its tenant's own.
OWN_GROUP = re.compile(r"streamfleet-[a-z-]{1,20}")

#: What says nothing of an instance's own configuration.
_BESIDE = frozenset({"generation", "state", "reason", "domains", "way"})

#: The stronger action wins when a run that was killed had begun another one.
STRENGTH = {"none": 0, "reload": 1, "restart": 2}


@dataclass
class Plan:
    """One instance: what is wanted, what differs, what happens to its unit, and how it ended."""

    key: str
    wanted: Mapping[str, Any]
    old: Mapping[str, Any]
    targets: list[Target] = field(default_factory=list)
    writes: list[tuple[Target, Found]] = field(default_factory=list)
    removals: list[tuple[str, Found]] = field(default_factory=list)
    directories: list[Directory] = field(default_factory=list)
    action: str = "none"
    was_on: bool = False
    needs_daemon_reload: bool = False
    new_user: bool = False
    error: str = ""
    rolled_back: bool = False
    done: list[str] = field(default_factory=list)

    @property
    def slug(self) -> str:
        """The service that it is an instance of."""
        return slug_of(self.key)

    @property
    def companion(self) -> str:
        """The companion's name; empty for the engine's own instance."""
        return self.key.partition("+")[2]

    @property
    def unit(self) -> str | None:
        """Its unit, if its engine has one per service."""
        unit: str | None = self.wanted["unit"]
        return unit

    @property
    def runs(self) -> bool:
        """Whether it shall be on the air."""
        return bool(self.wanted["state"] == "running")

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.writes or self.removals or self.directories or self.action != "none" or self.new_user)

    def refuse(self, why: str) -> None:
        """Leave the instance as it is."""
        self.error = why
        self.targets, self.writes, self.removals, self.directories, self.action = [], [], [], [], "none"

    @property
    def moves(self) -> bool:
        """Whether it gives up a port: then it stops before any other starts, for that may be where another moves to."""
        return set(self.old.get("listen", [])) != set(self.wanted.get("listen", []))

    @property
    def paths(self) -> list[str]:
        """Every path that it has now or is about to have."""
        return sorted({target.path for target in self.targets} | {path for path, _why in self.removals})


def slug_of(key: str) -> str:
    """The slug of the service that an instance belongs to: no slug has a plus sign."""
    return key.partition("+")[0]


def make(
    host: Host,
    wanted: Mapping[str, Any],
    old: Mapping[str, Any],
    begun: Mapping[str, Any] | None,
    accounts: users.Accounts,
    loaded: Mapping[str, Unit],
) -> Plan:
    """Compare one instance with the node. Never raises: a fault is in the plan's ``error``, and nothing is done.

    :param old: its entry in the state file, empty if it is new.
    :param begun: its entry in the journal of a run that was killed, if there is one.
    """
    plan = Plan(wanted["key"], wanted, old)
    try:
        if old and old["engine"] != wanted["engine"]:
            raise ServiceError(f"its engine is {old['engine']} on this node and cannot become {wanted['engine']}")
        if _refused_before(plan, loaded):
            raise ServiceError(str(old["refused"]["message"]))
        _files(host, plan, begun, accounts)
        if plan.unit:
            plan.action = _action(plan, begun, loaded.get(plan.unit))
    except ServiceError as error:
        plan.refuse(str(error))
    return plan


def _files(host: Host, plan: Plan, begun: Mapping[str, Any] | None, accounts: users.Accounts) -> None:
    own_group = users.name_of(plan.wanted["uid"])
    if plan.unit or any(own_group in (file["group"], file["owner"]) for file in plan.wanted["files"]):
        plan.new_user = accounts.require(plan.wanted["uid"])
    plan.targets = [_target(file, accounts) for file in plan.wanted["files"]]
    if plan.unit:
        if plan.wanted.get("group"):
            accounts.group(plan.wanted["group"])
        plan.targets += _unit_targets(plan, plan.unit)
    paths = {target.path for target in plan.targets}
    if len(paths) != len(plan.targets):
        raise ServiceError("its engine rendered two files with one path")
    for target in plan.targets:
        found = files.look(host, target.path)
        if not files.same(host, target, found):
            validate.check(target.validate, target.path, target.content)
            plan.writes.append((target, found))
    plan.directories = [
        directory
        for path in plan.wanted["directories"]
        if not files.is_made(host, directory := files.checked_directory(path, plan.wanted["uid"]))
    ]
    known = set(plan.old.get("files", [])) | set((begun or {}).get("files", []))
    # Host names follow rules of their own (names.py).
    for path in sorted(path for path in known - paths if not domains.is_path(path)):
        found = files.look(host, path)
        if found.there:
            plan.removals.append((path, found))


def _target(file: Mapping[str, Any], accounts: users.Accounts) -> Target:
    return Target(
        path=files.checked_path(file["path"]),
        content=file["content"].encode("utf-8"),
        mode=int(file["mode"], 8),
        uid=accounts.user(file["owner"]),
        gid=accounts.group(file["group"]),
        kind=file["kind"],
        validate=file["validate"],
        mask=file.get("mask"),
    )


def _unit_targets(plan: Plan, unit: str) -> list[Target]:
    """The drop-in with the instance's user, read when it first loads; and, while it shall run, its start at boot."""
    if "/" in unit or "@" not in unit:
        raise ServiceError(f"unit {unit!r} is not an instance of a template")
    name = users.name_of(plan.wanted["uid"])
    group = plan.wanted.get("group")
    if group and not OWN_GROUP.fullmatch(group):
        raise ServiceError(f"group {group!r} is not one of Streamfleet's")
    groups = f"Group={group}\nSupplementaryGroups={name}\n" if group else f"Group={name}\n"
    content = f"# Written by Streamfleet for {plan.slug}.\n[Service]\nUser={name}\n{groups}"
    targets = [Target(f"{UNITS}/{unit}.d/10-user.conf", content.encode(), 0o644)]
    if plan.runs:
        template = f"{unit.partition('@')[0]}@{posixpath.splitext(unit)[1]}"
        targets.append(Target(f"{WANTS}/{unit}", link=f"../{template}"))
    return targets


def _action(plan: Plan, begun: Mapping[str, Any] | None, unit: Unit | None) -> str:
    """What happens to the unit: the engine's change matrix, spoken through its fingerprints."""
    dropin_changed = any(target.path.endswith(".d/10-user.conf") for target, _text in plan.writes)
    plan.needs_daemon_reload = dropin_changed and unit is not None
    plan.was_on = unit is not None and unit.on
    if not plan.runs:
        return "none" if unit is None or unit.off else "stop"
    if unit is None or unit.off:
        return "start"
    action = _by_fingerprints(plan) if plan.old else ("restart" if plan.writes else "none")
    if dropin_changed:
        action = "restart"
    if begun and STRENGTH.get(begun["action"], 0) > STRENGTH[action]:
        action = begun["action"]
    # One that is between two of systemd's attempts is not running, whatever it tries with: try now, and hear why not.
    return action if unit.on else "restart"


def _by_fingerprints(plan: Plan) -> str:
    before, after = plan.old.get("fingerprints", {}), plan.wanted["fingerprints"]
    if plan.old.get("restart", 0) != plan.wanted["restart"] or before.get("restart") != after.get("restart"):
        return "restart"
    return "reload" if before.get("reload") != after.get("reload") else "none"


def configuration(wanted: Mapping[str, Any]) -> str:
    """Digest of all that an instance is made of. Whether it is on the air and what its names are does not count."""
    counted = {key: value for key, value in wanted.items() if key not in _BESIDE}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()


def _refused_before(plan: Plan, loaded: Mapping[str, Unit]) -> bool:
    """Whether just this was tried and taken back: trying again at every converge would cut it off each time."""
    refused = plan.old.get("refused")
    if not refused or not plan.runs or not plan.unit:
        return False
    unit = loaded.get(plan.unit)
    # The generation rises for other reasons, too, such as a host name that is proved.
    same_wish = refused.get("configuration") == configuration(plan.wanted)
    return bool(same_wish and unit is not None and unit.on)
