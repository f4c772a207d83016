"""A plan: what a document would change, gathered object by object; nothing here writes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from django.db.models import Model
from django.utils import timezone

from streamfleet_panel.access import Actor, may, words_of, writable
from streamfleet_panel.apply.checks import Bad, Field
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.ports import Ports
from streamfleet_panel.apply.problems import Problem, shown
from streamfleet_panel.apply.world import World
from streamfleet_panel.models import Account, MediaService, MediaUser, Node
from streamfleet_panel.secrets import MASK
from streamfleet_panel.times import rfc3339


@dataclass(frozen=True)
class Options:
    """How a document is to be applied; see docs/contracts.md."""

    dry_run: bool = False
    label: str | None = None
    prune: bool = False
    max_delete: int = 10
    update_password: Literal["on_create", "always"] = "on_create"  # noqa: S105
    return_objects: bool = False


@dataclass(slots=True)
class Result:
    """What happens to one object. ``changes``: field → before and after, secrets masked."""

    kind: str
    key: str
    path: str
    action: str
    changes: dict[str, dict[str, Any]]
    obj: Any = None
    owner: Account | None = None
    pruned: bool = False


@dataclass(slots=True)
class Growth:
    """By how many of something a service grows; ``path`` is the entry that adds the last."""

    service: MediaService
    path: str = ""
    by: int = 0


def plain(value: Any) -> Any:
    """``value`` as JSON shows it."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


def _change(spec: Field, before: Any, after: Any) -> dict[str, Any]:
    return dict(SECRET_CHANGE) if spec.secret else {"before": before, "after": plain(after)}


@dataclass
class Plan:
    """Everything that one document would do, and everything that is wrong with it."""

    actor: Actor
    options: Options
    world: World
    now: datetime = field(default_factory=timezone.now)
    results: list[Result] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    created: dict[type[Model], list[Any]] = field(default_factory=dict)
    # Changed objects with the columns that changed; ids are identities, since new objects have no key yet.
    updated: dict[type[Model], dict[int, tuple[Any, set[str]]]] = field(default_factory=dict)
    removed: dict[type[Model], list[Any]] = field(default_factory=dict)
    # Nodes whose document changes, and services whose part of it changes.
    touched_nodes: dict[int, Node] = field(default_factory=dict)
    touched_services: dict[int, MediaService] = field(default_factory=dict)
    # Accounts in whose services the state may have changed (disabled, enabled), with their customers where resellers.
    flipped: list[Account] = field(default_factory=list)
    # What limit checks look at: entry paths by service, resellers by reason.
    limit_services: dict[int, tuple[MediaService, str]] = field(default_factory=dict)
    limit_resellers: dict[int, tuple[Account, str]] = field(default_factory=dict)
    # Passwords: path → (whose, plain text); new ones are set whatever was there, others compared first.
    passwords: dict[str, tuple[Account | MediaUser, str]] = field(default_factory=dict)
    new_passwords: set[str] = field(default_factory=set)
    welcome: list[Account] = field(default_factory=list)
    # Accounts that go, each with the path that says so ("" = pruned), and the services that go with them.
    deleted_accounts: list[tuple[Account, str]] = field(default_factory=list)
    cascaded: list[Result] = field(default_factory=list)
    # Services whose credentials change, for those that no two services may share.
    rekeyed: dict[int, tuple[MediaService, str]] = field(default_factory=dict)
    # By service and what it is (a kind of object, or files).
    growth: dict[tuple[int, str], Growth] = field(default_factory=dict)
    ports: Ports = field(default_factory=Ports)
    # Services that lack ports: path and changes of the entry.
    portless: dict[int, tuple[MediaService, str, dict[str, Any]]] = field(default_factory=dict)
    # Customers whose log-ins for media change; and those who get more (or fewer): customer, path, by how many.
    media_owners: dict[int, Account] = field(default_factory=dict)
    media_growth: dict[int, tuple[Account, str, int]] = field(default_factory=dict)
    # Mounts that are deleted by themselves: slug and name → path of the entry.
    mounts_gone: dict[tuple[str, str], str] = field(default_factory=dict)
    by_path: dict[str, Result] = field(default_factory=dict)

    # --- recording ---

    def problem(self, path: str, value: Any, message: str, fix: str = "", *, forbidden: bool = False) -> None:
        """Note a fault; planning goes on, so that all are listed."""
        self.problems.append(Problem(path, shown(value), message, fix, forbidden))

    def create(self, obj: Model) -> None:
        """Note a new object."""
        self.created.setdefault(type(obj), []).append(obj)

    def update(self, obj: Model, columns: Iterable[str]) -> None:
        """Note changed columns of a stored object (or of one that this plan creates: nothing to note)."""
        if obj.pk is None:
            return
        self.updated.setdefault(type(obj), {}).setdefault(id(obj), (obj, set()))[1].update(columns)

    def remove(self, obj: Model) -> None:
        """Note an object to delete for good."""
        self.removed.setdefault(type(obj), []).append(obj)

    def grow(self, service: MediaService, what: str, by: int, path: str) -> None:
        """Note that the service gets so many more (or fewer) of something that is counted at the end."""
        growth = self.growth.setdefault((id(service), what), Growth(service))
        growth.by += by
        if by > 0:
            growth.path = path

    def touch(self, service: MediaService) -> None:
        """The service's part of its node's document changes."""
        self.touched_services[id(service)] = service
        self.touched_nodes[id(service.node)] = service.node

    def touch_node(self, node: Node) -> None:
        """The node's document changes (its own part)."""
        self.touched_nodes[id(node)] = node

    # --- judging ---

    def permitted(self, entry: Entry, action: str) -> bool:
        """Whether the actor may do ``action`` to objects of the entry's kind; notes the refusal."""
        if may(self.actor, action, entry.kind):
            return True
        self.problem(
            entry.path,
            entry.key,
            f"a {self.actor.role} may not {action} a {words_of(entry.kind)}",
            "Ask an administrator, or use a token of an account that may.",
            forbidden=True,
        )
        return False

    def unknown(self, entry: Entry, name: str, known: Iterable[str]) -> None:
        """Note a field that does not exist."""
        candidates = [*known, "state"]
        near = difflib.get_close_matches(str(name)[:60], candidates, 1)
        fix = f"Did you mean {near[0]}?" if near else f"Known fields: {', '.join(candidates)}."
        self.problem(f"{entry.path}.{shown(str(name))}", None, "is not a field of this kind of object", fix)

    def fields(
        self,
        entry: Entry,
        obj: Any,
        table: Mapping[str, Field],
        *,
        creating: bool,
        own: bool = False,
        skip: Callable[[str], bool] = lambda name: False,
    ) -> dict[str, dict[str, Any]]:
        """Set the plain fields that the entry names on ``obj``; returns the changes.

        A field that says what is stored already passes unseen, whoever names it: so what was read can be sent back.
        """
        changes: dict[str, dict[str, Any]] = {}
        allowed = writable(self.actor, entry.kind, own=own)
        for name, value in entry.fields.items():
            spec = table.get(name)
            if spec is None:
                if not skip(name):
                    self.unknown(entry, name, table)
                continue
            if spec.special:
                continue
            current = getattr(obj, name)
            if not creating and current == value and type(current) is type(value):
                continue
            try:
                clean = spec.clean(value)
            except Bad as error:
                self.problems.append(error.problem(f"{entry.path}.{name}", value, secret=spec.secret))
                continue
            if current == clean and type(current) is type(clean):
                if creating and clean is not None:
                    changes[name] = _change(spec, None, clean)
                continue
            if spec.fixed and not creating:
                self.fixed(entry, name, current, value)
                continue
            if allowed is not None and name not in allowed:
                self.not_yours(entry, name, value)
                continue
            before = None if creating else plain(current)
            setattr(obj, name, clean)
            if before != plain(clean):
                changes[name] = _change(spec, before, clean)
        return changes

    def fixed(self, entry: Entry, name: str, current: Any, value: Any) -> None:
        """Note a change of what cannot change."""
        self.problem(
            f"{entry.path}.{name}",
            value,
            f"is fixed after creation: it is {current}",
            f"Leave {name} out or say {current}; for another {name}, create another {words_of(entry.kind)}.",
        )

    def not_yours(self, entry: Entry, name: str, value: Any) -> None:
        """Note a field that the actor may not set."""
        self.problem(
            f"{entry.path}.{name}",
            value,
            f"may not be set by a {self.actor.role}",
            "Leave it out.",
            forbidden=True,
        )

    def reference(self, entry: Entry, name: str) -> tuple[bool, str | None]:
        """(named, value) of a field that refers to another object; notes a value that is no text."""
        if name not in entry.fields:
            return False, None
        value = entry.fields[name]
        if value is not None and not isinstance(value, str):
            self.problem(f"{entry.path}.{name}", value, "must be a name in quotes", "Write the name of the object.")
            return False, None
        return True, value

    def labelled(self, obj: Any, changes: dict[str, dict[str, Any]]) -> None:
        """Make the object the document's own, where the document has a label.

        The last document that names it owns it.
        """
        label = self.options.label
        if label is not None and obj.label != label:
            changes["label"] = {"before": obj.label, "after": label}
            obj.label = label

    def finish(
        self, entry: Entry, obj: Any, changes: dict[str, dict[str, Any]], action: str, owner: Account | None
    ) -> None:
        """Record the entry's outcome; ``action`` "updated" becomes "unchanged" where nothing changed."""
        if action == "updated" and not changes:
            action = "unchanged"
        result = Result(entry.kind, entry.key, entry.path, action, changes, obj, owner)
        self.results.append(result)
        self.by_path[entry.path] = result


SECRET_CHANGE = {"before": MASK, "after": MASK}
DELETED = {"state": {"before": "present", "after": "absent"}}
RESTORED = {"state": {"before": "absent", "after": "present"}}
