"""Documents: reading them from files, merging them, and keeping their secrets out of sight.

Whether a document is *right* is for the panel to say, in one place. Here only what cannot be sent is refused: files
that cannot be read, and shapes that cannot be merged. Importable without Ansible; YAML needs PyYAML, JSON needs
nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from . import errors
from .client import COLLECTIONS

MASK = "********"

#: Names of fields that hold a secret, whatever the engine: login passwords and stream credentials.
_SECRET = re.compile(r"(?:^|_)(?:password|passwd|secret|token|stream_key|authhash|premium_user_id|premium_licence_id)$")

SUFFIXES = (".yml", ".yaml", ".json")

LISTS = tuple(COLLECTIONS.values())


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return bool(_SECRET.search(name))


def masked(data: Any) -> Any:
    """A copy of ``data`` with the value of every secret field replaced. None stays: that there is none is no secret."""
    if isinstance(data, Mapping):
        return {
            key: MASK if isinstance(key, str) and is_secret(key) and value is not None else masked(value)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [masked(value) for value in data]
    return data


class Sources:
    """Where the objects of a merged document came from, to name the file in the errors of the panel."""

    def __init__(self) -> None:
        self._starts: dict[str, list[tuple[int, str]]] = {}

    def add(self, collection: str, start: int, name: str) -> None:
        """Objects of ``collection`` from index ``start`` on came from ``name``. Must be called in rising order."""
        self._starts.setdefault(collection, []).append((start, name))

    def locate(self, path: str) -> str:
        """``customers[12].email`` of the merged document as ``staff.yml: customers[2].email``."""
        match = re.match(r"([a-z_]+)\[(\d+)\](.*)$", path, re.DOTALL)
        if not match:
            return path
        collection, index, rest = match[1], int(match[2]), match[3]
        for start, name in reversed(self._starts.get(collection, [])):
            if index >= start:
                return f"{name}: {collection}[{index - start}]{rest}"
        return path


def merge(documents: Iterable[tuple[str, Any]]) -> tuple[dict[str, list[Any]], Sources]:
    """One document of several, each with a name for messages (empty for an inline one). Lists are appended in order.

    Raises :class:`errors.Invalid` listing everything that is not a mapping of known lists of mappings.
    """
    merged: dict[str, list[Any]] = {}
    sources = Sources()
    faults: list[errors.FieldError] = []
    for name, document in documents:
        prefix = f"{name}: " if name else ""
        if document is None:  # an empty file
            continue
        if not isinstance(document, Mapping):
            faults.append(_not_a(f"{prefix}document", "mapping", document, f"Use one with {_listed(LISTS)}."))
            continue
        for collection, objects in document.items():
            if collection not in LISTS:
                fix = f"Use one of {_listed(LISTS)}."
                faults.append(errors.FieldError(f"{prefix}{collection}", "is not a list of a document", None, fix))
            elif objects is None:
                continue
            elif not isinstance(objects, list):
                faults.append(_not_a(f"{prefix}{collection}", "list", objects, "Start each object with a dash."))
            else:
                faults += [
                    _not_a(f"{prefix}{collection}[{index}]", "mapping", item, "Write field: value pairs.")
                    for index, item in enumerate(objects)
                    if not isinstance(item, Mapping)
                ]
                target = merged.setdefault(collection, [])
                if name:
                    sources.add(collection, len(target), name)
                target.extend(objects)
    if faults:
        raise errors.Invalid("The document is not one that the panel knows.", code="invalid_document", errors=faults)
    return merged, sources


def read_files(paths: Iterable[str]) -> list[tuple[str, Any]]:
    """(name, content) of every file; a directory stands for the files of these SUFFIXES in it, sorted by name."""
    found: list[Path] = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
            if not inside:
                raise errors.BadOption(f"files: directory {given!r} holds no file that ends in {_listed(SUFFIXES)}.")
            found += inside
        else:
            found.append(path)
    return [(str(path), _read(path)) for path in found]


def _read(path: Path) -> Any:
    if path.suffix not in SUFFIXES:
        raise errors.BadOption(f"files: {str(path)!r} must end in {_listed(SUFFIXES)}.")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise errors.BadOption(
            f"files: {str(path)!r} does not exist on the host where the module runs (delegate_to: localhost runs it on"
            " the controller)."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise errors.BadOption(f"files: {str(path)!r} cannot be read: {reason}.") from None
    if text.startswith("$ANSIBLE_VAULT;"):
        raise errors.BadOption(
            f"files: {str(path)!r} is encrypted by Ansible Vault, which modules cannot open. Load it with"
            " ansible.builtin.include_vars and give the document as document."
        )
    return _parse_json(path, text) if path.suffix == ".json" else _parse_yaml(path, text)


def _parse_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_pairs)
    except json.JSONDecodeError as error:
        raise errors.BadOption(f"files: {path}:{error.lineno}:{error.colno}: not JSON: {error.msg}.") from None
    except _DuplicateKeyError as error:
        raise errors.BadOption(f"files: {path}: key {str(error)!r} is given twice in one object.") from None


def _parse_yaml(path: Path, text: str) -> Any:
    try:
        import yaml  # only YAML files need it
    except ImportError:
        raise errors.BadOption(
            f"files: {str(path)!r} is YAML, and the Python library PyYAML (python3-yaml) is not on the host where the"
            " module runs. Install it there, run with delegate_to: localhost, or give JSON."
        ) from None
    try:
        return yaml.load(text, _yaml_loader())  # noqa: S506  (a subclass of the safe loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise errors.BadOption(f"files: {where}: not YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError:
        raise errors.BadOption(f"files: {path}: not YAML.") from None


def _yaml_loader() -> Any:
    """The safe loader, in C where there is one (ten times as fast), that refuses a key given twice."""
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc, valid-type]
        # Dates and times are texts in a document, as JSON has them, whether or not they stand in quotes.
        yaml_implicit_resolvers: ClassVar[Any] = {
            first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
            for first, known in base.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _value in node.value:
                if key.tag == "tag:yaml.org,2002:str":
                    if key.value in seen:
                        problem = f"key {key.value!r} is given twice"
                        raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Loader


class _DuplicateKeyError(ValueError):
    pass


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return data


def _not_a(path: str, wanted: str, value: Any, fix: str) -> errors.FieldError:
    # The value may be anything, a secret too: only its type is named.
    return errors.FieldError(path, f"must be a {wanted}, not {type(value).__name__}", None, fix)


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
