"""What a field is, and the checks that most fields share: text, number, choice, time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from streamfleet_panel.apply.problems import Problem, shown

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MOST_32 = 2**31 - 1
MOST_MB = 2**53 - 1


class Bad(ValueError):
    """A value that cannot be taken: what is wrong, and how to put it right.

    ``below``: where in the value, as a path (``[3].start``), and ``part`` what stands there.
    """

    def __init__(self, message: str, fix: str, below: str = "", part: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.below = below
        self.part = part

    def problem(self, path: str, value: Any, *, secret: bool = False) -> Problem:
        """The fault of the field at ``path``, which was given as ``value``; a secret is not repeated."""
        given = self.part if self.below else value
        return Problem(f"{path}{self.below}", None if secret else shown(given), self.message, self.fix)


@dataclass(frozen=True)
class Field:
    """One field. ``check`` returns the value as it is stored, or raises Bad. ``fixed``: not to be changed later.

    ``none`` is what null is stored as, where a field may be null; ``column`` where it is stored, if not by its name.
    """

    name: str
    check: Callable[[Any], Any]
    schema: Mapping[str, Any]
    description: str
    nullable: bool = False
    none: Any = None
    column: str = ""
    secret: bool = False
    fixed: bool = False
    # Not a column of its own: handled by name (references, passwords).
    special: bool = False
    examples: tuple[Any, ...] = field(default=())

    def clean(self, value: Any) -> Any:
        """``value`` as it is stored. Raises Bad."""
        if value is None:
            if self.nullable:
                return self.none
            raise Bad("may not be null", "Give a value, or leave the field out to keep what it is.")
        return self.check(value)


def one_line(most: int, pattern: str | None = None, fix: str = "", least: int = 1) -> Callable[[Any], str]:
    """A check for a text of one line of at most ``most`` characters."""
    compiled = re.compile(pattern) if pattern else None

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Bad(f"must be a text, is {kind_of(value)}", "Put it in quotes.")
        if len(value) > most:
            raise Bad(f"has {len(value)} characters, at most {most} fit", f"Shorten it to {most} characters.")
        if len(value) < least or not value.strip():
            raise Bad("is empty", "Give a text, or null for none, or leave the field out.")
        if CONTROL.search(value):
            raise Bad("contains a control character or a line break", "Remove it; other characters are all welcome.")
        if compiled is not None and not compiled.fullmatch(value):
            raise Bad("has a form that is not accepted", fix or f"It must match {pattern}.")
        return value

    return check


def text(name: str, description: str, most: int, pattern: str | None = None, fix: str = "", **more: Any) -> Field:
    """A text of one line."""
    schema: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": most}
    if pattern:
        schema["pattern"] = pattern
    return Field(name, one_line(most, pattern, fix), schema, description, **more)


def integer(name: str, description: str, least: int = 0, most: int = MOST_32, fix: str = "", **more: Any) -> Field:
    """A whole number; true and false are none."""

    def check(value: Any) -> int:
        if type(value) is not int:
            raise Bad(f"must be a whole number, is {kind_of(value)}", "Write it without quotes, e.g. 100.")
        if not least <= value <= most:
            raise Bad(f"must be between {least} and {most}", fix or f"Use a number from {least} to {most}.")
        return value

    return Field(name, check, {"type": "integer", "minimum": least, "maximum": most}, description, **more)


def limit(name: str, description: str, most: int = MOST_32) -> Field:
    """A limit: a whole number, or null for unlimited."""
    return integer(name, f"{description} null = unlimited.", 0, most, "Use null for unlimited.", nullable=True)


def boolean(name: str, description: str, **more: Any) -> Field:
    """true or false."""

    def check(value: Any) -> bool:
        if type(value) is not bool:
            raise Bad(f"must be true or false, is {kind_of(value)}", "Write true or false without quotes.")
        return value

    return Field(name, check, {"type": "boolean"}, description, **more)


def choice(name: str, description: str, choices: tuple[str, ...], **more: Any) -> Field:
    """One of a few words."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Bad(f"must be one of {', '.join(choices)}", f"Use {' or '.join(choices)}.")
        return value

    return Field(name, check, {"type": "string", "enum": list(choices)}, description, **more)


def items(value: Any, what: str, most: int, fix: str) -> list[Any]:
    """``value`` as a list that is neither empty nor longer than ``most``. Raises Bad; ``fix`` is for one too long."""
    if not isinstance(value, list):
        raise Bad(f"must be a list, is {kind_of(value)}", f"Write {what} as a list, one item each.")
    if not value:
        raise Bad("is empty", "Name at least one, or give null for none.")
    if len(value) > most:
        raise Bad(f"has {len(value)} items, at most {most} fit", fix)
    return value


def timestamp_of(value: Any) -> datetime:
    """An RFC 3339 time with its offset, as UTC. Raises Bad."""
    fix = "Write it as 2026-12-31T23:59:00Z."
    if not isinstance(value, str) or len(value) > 40:
        raise Bad(f"must be an RFC 3339 time, is {kind_of(value)}", fix)
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is None:
            raise Bad("lacks its offset from UTC", fix)
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, Bad):
            raise
        raise Bad("is not an RFC 3339 time", fix) from None


def kind_of(value: Any) -> str:
    """The JSON type of ``value``, for messages."""
    if value is None:
        return "null"
    names = {bool: "true/false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def table(*fields: Field) -> dict[str, Field]:
    """Fields by their names."""
    return {item.name: item for item in fields}
