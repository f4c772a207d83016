"""A document's structure: which objects it names, under which keys.

Values of fields are judged later, beside what is stored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from streamfleet_panel.apply.checks import Bad, kind_of
from streamfleet_panel.apply.fields import COLLECTIONS, KEYS, KINDS, key_text
from streamfleet_panel.apply.problems import ApiError, Problem, shown

MOST_OBJECTS = 100_000
MOST_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class Entry:
    """One object of a document.

    ``parts`` are the values of the key's fields, ``key`` is all of them in one text; ``fields`` are as given, without
    key and state; ``index`` counts over the whole document.
    """

    kind: str
    key: str
    path: str
    index: int
    parts: tuple[str, ...]
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
    key_names = KEYS[kind]
    apart = {*key_names, "state"}
    seen: dict[str, str] = {}
    for position, item in enumerate(items):
        path = f"{collection}[{position}]"
        if not isinstance(item, dict):
            fix = f"Give {key_names[0]}: …"
            problems.append(Problem(path, shown(item), f"must be a mapping, is {kind_of(item)}", fix))
            continue
        parts, faults = _key(kind, path, item)
        if faults:
            problems += faults
            problems.extend(_values(kind, path, item))
            continue
        key = key_text(parts)
        if key in seen:
            where = f"{path}.{key_names[-1]}"
            problems.append(Problem(where, key, f"is the key of {seen[key]} already", "Name each object once."))
            continue
        seen[key] = path
        state = item.get("state", "present")
        if state not in ("present", "absent"):
            problems.append(
                Problem(f"{path}.state", shown(state), "must be present or absent", "Use present or absent.")
            )
            continue
        fields = {name: value for name, value in item.items() if name not in apart}
        entries.append(Entry(kind, key, path, len(entries), parts, state == "absent", fields))


def _key(kind: str, path: str, item: dict[str, Any]) -> tuple[tuple[str, ...], list[Problem]]:
    """The values of the key's fields, in their order, and what is wrong with them."""
    parts: list[str] = []
    problems: list[Problem] = []
    for name in KEYS[kind]:
        where = f"{path}.{name}"
        if name not in item:
            problems.append(Problem(where, None, "is missing", "Every object needs it: it is the key."))
            continue
        try:
            parts.append(KINDS[kind][name].clean(item[name]))
        except Bad as error:
            problems.append(error.problem(where, item[name]))
    return tuple(parts), problems


def _values(kind: str, path: str, item: dict[str, Any]) -> list[Problem]:
    """Faults of values that can be told without the object's key, so that they are listed along with it."""
    problems = []
    for name, value in item.items():
        spec = KINDS[kind].get(name)
        if spec is None or name in KEYS[kind]:
            continue
        try:
            spec.clean(value)
        except Bad as error:
            problems.append(error.problem(f"{path}.{name}", value, secret=spec.secret))
    return problems
