"""Checkers of files before they land, with the standard library only."""

from __future__ import annotations

import json
from collections.abc import Callable
from xml.parsers import expat

from .errors import ServiceError


def xml(content: bytes) -> None:
    """Well-formed, and without a document type: so no entity can be declared, let alone expand."""
    parser = expat.ParserCreate()

    def refuse(*_args: object) -> None:
        raise ServiceError("XML: a document type declaration is not allowed")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ServiceError(f"XML: {error}") from None


def as_json(content: bytes) -> None:
    """JSON, in UTF-8."""
    try:
        json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, ValueError) as error:
        raise ServiceError(f"JSON: {error}") from None


CHECKERS: dict[str, Callable[[bytes], None]] = {"xml": xml, "json": as_json}


def check(name: str | None, path: str, content: bytes) -> None:
    """Check ``content`` with the checker ``name``. Raises ServiceError naming the file."""
    if name is None:
        return
    if name not in CHECKERS:
        raise ServiceError(f"{path}: unknown checker {name!r}")
    try:
        CHECKERS[name](content)
    except ServiceError as error:
        raise ServiceError(f"{path} is not valid: {error}") from None
