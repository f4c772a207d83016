"""A document's structure: which objects it names, under which keys.

Values of fields are judged later, beside what is stored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from streamfleet_panel.apply.fields import COLLECTIONS, KEYS, KINDS, Bad, kind_of
from streamfleet_panel.apply.problems import ApiError, Problem, shown

MOST_OBJECTS = 100_000
MOST_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class Entry:
    """One object of a document.

    ``fields`` are as given, without key and state; ``index`` counts over the whole document.
    """

    kind: str
    key: str
    path: str
    index: int
    absent: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


def parse_json(body: bytes) -> Any:
    """A request's body as data. Raises ApiError: not JSON, NaN, nested too deep."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        message = f"The body is not JSON: {shown(str(error))}"
        raise ApiError(
            "invalid_document", message, [Problem("", None, message, "Send UTF-8 JSON with an object at the top.")]
        ) from None


def parse(document: Any) -> tuple[list[Entry], list[Problem]]:
    """The objects of ``document`` in its order, and what is wrong with its structure.

    Raises ApiError ``too_large`` before looking at any object.
    """
    if not isinstance(document, dict):
        problem = Problem(
            "document", shown(document), f"must be a mapping, is {kind_of(document)}", f"Use {', '.join(COLLECTIONS)}."
        )
        return [], [problem]
    count = sum(len(items) for items in document.values() if isinstance(items, list))
    if count > MOST_OBJECTS:
        message = f"The document has {count} objects, at most {MOST_OBJECTS} fit"
        raise ApiError("too_large", message, [Problem("document", count, message, "Split it into several documents.")])
    entries: list[Entry] = []
    problems: list[Problem] = []
    for collection, items in document.items():
        kind = COLLECTIONS.get(collection)
        if kind is None:
            problems.append(
                Problem(str(shown(collection)), None, "is not a kind of object", f"Use {', '.join(COLLECTIONS)}.")
            )
        elif items is not None and not isinstance(items, list):
            problems.append(
                Problem(
                    collection, shown(items), f"must be a list, is {kind_of(items)}", "Begin each object with a dash."
                )
            )
        else:
            _collection(kind, collection, items or [], entries, problems)
    return entries, problems


def _collection(kind: str, collection: str, items: list[Any], entries: list[Entry], problems: list[Problem]) -> None:
    key_name = KEYS[kind]
    key_field = KINDS[kind][key_name]
    seen: dict[str, str] = {}
    for position, item in enumerate(items):
        path = f"{collection}[{position}]"
        if not isinstance(item, dict):
            problems.append(Problem(path, shown(item), f"must be a mapping, is {kind_of(item)}", f"Give {key_name}: …"))
            continue
        if key_name not in item:
            problems.append(Problem(f"{path}.{key_name}", None, "is missing", "Every object needs it: it is the key."))
            problems.extend(_values(kind, path, item))
            continue
        try:
            key = key_field.clean(item[key_name])
        except Bad as error:
            problems.append(Problem(f"{path}.{key_name}", shown(item[key_name]), error.message, error.fix))
            problems.extend(_values(kind, path, item))
            continue
        if key in seen:
            problems.append(
                Problem(f"{path}.{key_name}", key, f"is the key of {seen[key]} already", "Name each object once.")
            )
            continue
        seen[key] = path
        state = item.get("state", "present")
        if state not in ("present", "absent"):
            problems.append(
                Problem(f"{path}.state", shown(state), "must be present or absent", "Use present or absent.")
            )
            continue
        fields = {name: value for name, value in item.items() if name not in (key_name, "state")}
        entries.append(Entry(kind, key, path, len(entries), state == "absent", fields))


def _values(kind: str, path: str, item: dict[str, Any]) -> list[Problem]:
    """Faults of values that can be told without the object's key, so that they are listed along with it."""
    problems = []
    for name, value in item.items():
        spec = KINDS[kind].get(name)
        if spec is None or name == KEYS[kind]:
            continue
        try:
            spec.clean(value)
        except Bad as error:
            problems.append(Problem(f"{path}.{name}", None if spec.secret else shown(value), error.message, error.fix))
    return problems
