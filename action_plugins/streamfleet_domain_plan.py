"""What a change of host names means, for hosts and for the files of the inventory. Writes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet.domain_change import inventory, names
from streamfleet.domain_change.errors import DomainError

#: A file of an inventory is not larger; what is, is data.
LARGEST = 1 << 20
FOLDERS = ("group_vars", "host_vars")


class ActionModule(ActionBase):
    """Decides with what it is given, and reads the inventory's files."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the module's documentation says; ``failed`` with what is wrong with the names."""
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec={
                "hosts": {"type": "list", "elements": "dict", "required": True},
                "from": {"type": "str"},
                "to": {"type": "str"},
                "release": {"type": "str"},
                "last_day": {"type": "str", "default": ""},
                "sources": {"type": "list", "elements": "str", "default": []},
            },
            required_one_of=[("from", "release")],
            mutually_exclusive=[("from", "release")],
            required_together=[("from", "to")],
        )
        playbooks = Path(str((task_vars or {}).get("playbook_dir", ".")))
        files = dict(read(options["sources"], playbooks))
        try:
            if options["release"]:
                gone, variables = names.release(options["hosts"], options["release"])
                after = {path: (text, inventory.released(text, gone)) for path, text in files.items()}
                return _result_of([], variables, after, [])
            renames, variables = names.plan(options["hosts"], options["from"], options["to"], options["last_day"])
        except DomainError as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        untils = {
            entry["host"]: entry["until"]
            for one in variables.values()
            for name, value in one["target"].items()
            if name.startswith("streamfleet_former_")
            for entry in value
        }
        said: set[names.Rename] = set()
        changed = {}
        for path, text in files.items():
            new, found = inventory.edited(text, renames, untils)
            changed[path] = (text, new)
            said |= found
        return _result_of(renames, variables, changed, missing(renames, said, untils))


def missing(renames: Iterable[names.Rename], said: set[names.Rename], untils: dict[str, str]) -> list[str]:
    """What to write by hand: of renames that no file has, but for those whose variable stands for several hosts."""
    known = {(rename.kind, rename.old) for rename in said}
    return [inventory.by_hand(one, untils[one.old]) for one in renames if (one.kind, one.old) not in known]


def read(sources: Iterable[str], playbooks: Path) -> Iterator[tuple[Path, str]]:
    """The inventory's files that can be edited: where each really is, as ``patch`` follows no links, and its text."""
    seen = set()
    for path in _paths(sources, playbooks):
        real = path.resolve()
        if real in seen or path.suffix not in ("", ".yml", ".yaml") or os.access(path, os.X_OK):
            continue
        seen.add(real)
        try:
            if real.stat().st_size > LARGEST:
                continue
            text = real.read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if not text.startswith("$ANSIBLE_VAULT"):
            yield real, text


def above(files: Iterable[Path]) -> Path:
    """Where a diff of these is applied: the working directory if all are below it, else the deepest folder that has
    all. ``patch`` refuses paths that are whole or lead upwards."""
    here, folders = Path.cwd().resolve(), [file.parent for file in files]
    if all(folder.is_relative_to(here) for folder in folders):
        return here
    return Path(os.path.commonpath(folders))


def _paths(sources: Iterable[str], playbooks: Path) -> Iterator[Path]:
    folders = [playbooks]
    for source in sources:
        path = Path(source)
        if path.is_dir():
            folders.append(path)
            yield from sorted(entry for entry in path.iterdir() if entry.is_file())
        elif path.is_file():
            folders.append(path.parent)
            yield path
    for folder in folders:
        for name in FOLDERS:
            yield from sorted(entry for entry in (folder / name).rglob("*") if entry.is_file())


def _result_of(
    renames: Iterable[names.Rename],
    variables: dict[str, Any],
    files: Mapping[Path, tuple[str, str]],
    by_hand: list[str],
) -> dict[str, Any]:
    changed = {path: pair for path, pair in files.items() if pair[0] != pair[1]}
    folder = above(changed)
    return {
        "changed": False,
        "renames": [{"host": one.host, "kind": one.kind, "old": one.old, "new": one.new} for one in renames],
        "variables": variables,
        "patch": inventory.difference({str(path.relative_to(folder)): pair for path, pair in changed.items()}),
        "folder": str(folder) if changed else "",
        "by_hand": by_hand,
    }
