"""What the shared behaviour suite (tests/live/test_engines.py) must know of engines: one file for each, by its name.

Such a file has

- ``service(slug, number, **changes)``: a service of a node document; ``number`` gives it a uid and ports of its own
- ``variables(folder)``: variables of the engine's role; what an operator brings is written into ``folder``
- ``newer(folder)``: those of the next version of the program, or where there is none that a test can have, of another
  change of the host that is an upgrade to the role
- ``SETTING``: a change of a service's own settings, as ``changes``
- ``UNIT``: the unit whose process serves it
- ``LEFT``: patterns of names that must not be on a node from which the engine has gone
- ``RTMP_PORT``, where it is not the usual one, since all engines are on one node
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import yaml

ROOT = Path(__file__).resolve().parents[3]
LISTED: dict[str, list[str]] = yaml.safe_load((ROOT / "engines.yml").read_text())
NAMES = LISTED["engines"]


class Adapter(Protocol):
    """The names of such a file."""

    service: Callable[..., dict[str, Any]]
    variables: Callable[[Path], dict[str, Any]]
    newer: Callable[[Path], dict[str, Any]]
    SETTING: Mapping[str, Any]
    UNIT: str
    LEFT: tuple[str, ...]


def adapter(name: str) -> Adapter:
    """The adapter of an engine."""
    return cast(Adapter, importlib.import_module(f"{__name__}.{name}"))


def spec_of(name: str) -> dict[str, Any]:
    """What an engine says of itself."""
    return deepcopy(_read(name))


@cache
def _read(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((ROOT / "roles" / name / "engine" / "spec.yml").read_text())
    return spec
