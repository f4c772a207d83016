"""Which host names a change of domain replaces, and what becomes of the variables of their hosts. Pure.

A host is ``{"name", "panel_host", "stream_host", "domain_target", "former_panel_hosts", "former_stream_hosts",
"former_domain_targets", "extra", "noted"}``: its name in the inventory; its host names, and the target of customers'
CNAMEs, empty where it has none of that kind; its former names, ``{"host", "until"}`` each, ``until`` a date; other
variables, whose text may hold a host name; what the last change has noted on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..tls.names import a_label
from .errors import DomainError

PANEL, STREAMS, TARGET = "panel", "streams", "target"
#: Kind of name → variable of the inventory that holds it, and the one with its former names.
VARIABLES = {
    PANEL: ("streamfleet_panel_host", "streamfleet_former_panel_hosts"),
    STREAMS: ("streamfleet_stream_host", "streamfleet_former_stream_hosts"),
    TARGET: ("streamfleet_panel_domain_target", "streamfleet_former_domain_targets"),
}
FIELDS = {
    PANEL: ("panel_host", "former_panel_hosts"),
    STREAMS: ("stream_host", "former_stream_hosts"),
    TARGET: ("domain_target", "former_domain_targets"),
}
_WORDS = {PANEL: "the panel", STREAMS: "the streams", TARGET: "the target of CNAMEs"}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")


@dataclass(frozen=True)
class Rename:
    """One name of one host. ``kind``: of ``VARIABLES``."""

    host: str
    kind: str
    old: str
    new: str


def checked(variable: str, value: str) -> str:
    """A host name, or all names below one (``.streams.example.net``). Raises DomainError."""
    plain = value.removeprefix(".")
    if "*" in value:
        raise DomainError(
            f"{variable}: {value!r} is a wildcard. Give one host name; or {value.replace('*', '', 1)!r}, which stands "
            "for every name of this inventory that ends with it"
        )
    if not value.isascii():
        label = a_label(value)
        said = f"write it {label}" if label else "write its A-label (xn--…), which your registrar shows"
        raise DomainError(f"{variable}: {value!r} is not as DNS has it; {said}")
    if not _HOST.fullmatch(plain) or len(plain) > 253:
        raise DomainError(
            f"{variable}: {value!r} is not a host name; use lower-case letters, digits, hyphens, and dots between, for "
            "example stream.example.net"
        )
    return value


def plan(
    hosts: Sequence[Mapping[str, Any]], old: str, new: str, until: str
) -> tuple[list[Rename], dict[str, dict[str, dict[str, Any]]]]:
    """What ``old`` → ``new`` renames, and by host the variables ``before`` and after it (``target``).

    ``until``: the last day on which old names are served. The inventory may say the new names already. Raises
    DomainError.
    """
    checked("domain_change_from", old)
    checked("domain_change_to", new)
    if old == new:
        raise DomainError(f"domain_change_to: {new!r} is what domain_change_from says, too; nothing would change")
    if old.startswith(".") != new.startswith("."):
        raise DomainError(
            f"domain_change_from ({old!r}) and domain_change_to ({new!r}) must both be a host name, or both begin with "
            "a dot, for all names below"
        )
    hosts = [_as_it_is(host) for host in hosts]
    renames = _renames(hosts, old, new)
    if not renames:
        known = sorted({host[field] for host in hosts for field, _former in FIELDS.values() if host[field]})
        raise DomainError(
            f"domain_change_from: no host of this inventory is called {old!r}. They are called "
            f"{', '.join(known) or 'nothing'}"
        )
    _free(hosts, renames)
    by_name = {host["name"]: host for host in hosts}
    variables: dict[str, dict[str, dict[str, Any]]] = {}
    for rename in renames:
        found = variables.setdefault(rename.host, {"before": {}, "target": {}})
        host = by_name[rename.host]
        before, target = _variables(host, rename, until, found)
        # What was done by an earlier run is nothing that this one could put back. A note of the name alone does not say
        # so: it may be of a change before the last one.
        noted = host.get("noted", {}).get(rename.kind, {})
        same = noted.get("host") == rename.new == host[FIELDS[rename.kind][0]]
        done = same and rename.old in noted.get("former", [])
        found["before"] |= target if done else before
        found["target"] |= target
    return renames, variables


def release(hosts: Iterable[Mapping[str, Any]], name: str) -> tuple[list[str], dict[str, dict[str, dict[str, Any]]]]:
    """Former names that are given up, and by host the variables before and after that.

    ``name``: one, or with a dot before it all below. Raises DomainError where it is none.
    """
    checked("domain_change_release", name)
    variables: dict[str, dict[str, dict[str, Any]]] = {}
    known: set[str] = set()
    for host in hosts:
        for kind, (name_of, former) in FIELDS.items():
            noted = host.get("noted", {}).get(kind, {}).get("kept", [])
            entries = [*host[former], *(entry for entry in noted if entry not in host[former])]
            # A variable of a group says them to hosts that are not called so. CNAMEs need no target of today.
            entries = entries if host[name_of] or kind == TARGET else []
            known |= {entry["host"] for entry in entries}
            kept = [entry for entry in entries if not _matches(entry["host"], name)]
            if len(kept) < len(entries):
                found = variables.setdefault(host["name"], {"before": {}, "target": {}})
                found["before"][VARIABLES[kind][1]] = list(entries)
                found["target"][VARIABLES[kind][1]] = kept
    if not variables:
        raise DomainError(
            f"domain_change_release: {name!r} is no former name of a host of this inventory. There are "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    return sorted(one for one in known if _matches(one, name)), variables


def holds(text: str, name: str) -> bool:
    """Whether the text has the host name in it, and not as a part of another."""
    return _whole(name).search(text) is not None


def replaced(text: str, old: str, new: str) -> str:
    """The text with the one host name in place of the other."""
    return _whole(old).sub(new, text)


def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9.-]){re.escape(name)}(?![A-Za-z0-9-]|\.[A-Za-z0-9])")


def _matches(name: str, pattern: str) -> bool:
    return bool(name) and (name.endswith(pattern) if pattern.startswith(".") else name == pattern)


def _swap(name: str, ending: str, other: str) -> str:
    return name.removesuffix(ending) + other


def _as_it_is(host: Mapping[str, Any]) -> Mapping[str, Any]:
    """The host as the last change has left it, where the inventory does not know of that yet."""
    found = dict(host)
    for kind, (field, former) in FIELDS.items():
        noted = host.get("noted", {}).get(kind)
        if noted and host[field] != noted["host"] and host[field] in noted["former"]:
            found |= {field: noted["host"], former: noted["kept"]}
            found["extra"] = {
                name: replaced(value, host[field], noted["host"]) for name, value in found.get("extra", {}).items()
            }
    return found


def _renames(hosts: Iterable[Mapping[str, Any]], old: str, new: str) -> list[Rename]:
    """Names that are to be replaced, else those that the inventory has replaced already."""
    still: list[Rename] = []
    noted: list[Rename] = []
    said: list[Rename] = []
    for host in hosts:
        for kind, (field, former) in FIELDS.items():
            name = host[field]
            if _matches(name, old):
                still.append(Rename(host["name"], kind, name, _swap(name, old, new)))
            elif _matches(name, new):
                rename = Rename(host["name"], kind, _swap(name, new, old), name)
                known = [entry["host"] for entry in host[former]]
                (noted if rename.old in known else said).append(rename)
    return still + noted if still or noted else said


def _free(hosts: Sequence[Mapping[str, Any]], renames: Sequence[Rename]) -> None:
    """Raise DomainError where a new name is another's already, or two become one.

    The target of CNAMEs is no name of a host: the streams may have the same one.
    """
    moved = {(rename.host, rename.kind): rename for rename in renames}
    taken: dict[str, str] = {}
    for host in hosts:
        for kind, (field, former) in FIELDS.items():
            if kind == TARGET:
                continue
            rename = moved.get((host["name"], kind))
            what = f"{_WORDS[kind]} of {host['name']}"
            names = [host[field]] if rename is None else []
            kept = [entry["host"] for entry in host[former] if rename is None or entry["host"] != rename.new]
            taken |= {name: what for name in [*names, *kept] if name}
    for rename in renames:
        what = f"{_WORDS[rename.kind]} of {rename.host}"
        other = taken.get(rename.new) if rename.kind != TARGET else None
        if other is not None:
            raise DomainError(
                f"domain_change_to: {rename.new!r} is the name of {other} already, or was it and is served still. Give "
                f"{what} a name of its own"
            )
        if len(rename.new) > 253:
            raise DomainError(f"domain_change_to: {rename.new!r} is longer than a host name may be")
        if rename.kind != TARGET:
            taken[rename.new] = what


def _variables(
    host: Mapping[str, Any], rename: Rename, until: str, found: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The host's variables before and after one rename; ``found``: those of its others."""
    variable, former = VARIABLES[rename.kind]
    entries = list(host[FIELDS[rename.kind][1]])
    others = [entry for entry in entries if entry["host"] not in (rename.old, rename.new)]
    kept = next((entry for entry in entries if entry["host"] == rename.old), {"host": rename.old, "until": until})
    back = [entry for entry in entries if entry["host"] == rename.new]
    before: dict[str, Any] = {variable: rename.old, former: back + others}
    target: dict[str, Any] = {variable: rename.new, former: [kept, *others]}
    for name, value in host.get("extra", {}).items():
        if isinstance(value, str) and (holds(value, rename.old) or holds(value, rename.new)):
            before[name] = replaced(found["before"].get(name, value), rename.new, rename.old)
            target[name] = replaced(found["target"].get(name, value), rename.old, rename.new)
    return before, target
