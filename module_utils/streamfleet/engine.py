"""The engine contract: how an engine's data and renderer are found, and what a renderer returns.

An engine lives in ``roles/<name>/engine/`` (``spec.yml`` and ``render.py``); ``engines.yml`` at the root of a release
lists the names. So does a companion: a second instance of the services of some engines. See docs/contracts.md.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: States in which a service's web addresses lead somewhere: it is on the air, or another node has it by now.
REACHED = frozenset({"running", "moved"})


class SpecError(ValueError):
    """What an engine or a companion says of itself cannot be used."""


class RenderError(ValueError):
    """A service cannot be rendered. Names the field and the value, never a secret."""

    def __init__(self, field_name: str, value: object, message: str) -> None:
        super().__init__(f"{field_name}: {message}")
        self.field = field_name
        self.value = value
        self.message = message


@dataclass(frozen=True)
class File:
    """One file of an instance.

    ``mode`` is octal as text; ``validate`` names a checker of the node module; ``mask`` is a regular expression whose
    every match is blanked in diffs, on both sides, so that a secret that is being replaced is not shown either. Files
    of the kind ``key`` are never shown at all.
    """

    path: str
    content: str
    mode: str = "0640"
    owner: str = "root"
    group: str = "root"
    kind: str = "config"
    validate: str | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Instance:
    """What a service is on its node: its files, its unit and the loopback ports its processes may reach.

    ``ports`` are loopback TCP ports that the tenant's processes may connect to; ``listen`` are TCP ports that the unit
    opens: it counts as running once they listen. ``directories`` are the tenant's own, made where they are missing and
    never removed. ``companion`` says that it is not the engine's own instance of the service.

    ``domains`` are host names of the tenant's own that lead to the service, ``way`` how the web server serves it there:
    no renderer sets them.
    """

    slug: str
    engine: str
    uid: int
    generation: int
    state: str
    unit: str | None = None
    files: list[File] = field(default_factory=list)
    restart: int = 0
    ports: list[int] = field(default_factory=list)
    listen: list[int] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    directories: list[str] = field(default_factory=list)
    companion: bool = False
    # A group of the engine's, in which its unit runs beside the tenant's own: what a rule of the firewall knows it by.
    group: str | None = None
    domains: list[str] = field(default_factory=list)
    way: str = ""

    @property
    def key(self) -> str:
        """What the node knows it by: no two instances have the same."""
        return f"{self.slug}+{self.engine}" if self.companion else self.slug

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {"key": self.key, **asdict(self)}


def companions_of(
    engines: Mapping[str, Mapping[str, Any]], companions: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Engine → names of its companions, in their order. Both arguments are specs by name, as their ``spec.yml`` says.

    Raises SpecError for a companion of an engine that does not exist.
    """
    found: dict[str, list[str]] = {name: [] for name in engines}
    for name, spec in companions.items():
        for engine in spec["companion_of"]:
            if engine not in found:
                raise SpecError(f"{name}: companion_of: {engine!r} is not an engine ({', '.join(engines)})")
            found[engine].append(name)
    return found


def with_companions(
    engines: Mapping[str, Mapping[str, Any]], companions: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The engines' specs, each with the fields, credentials and objects of its companions, which it names, too.

    Raises SpecError for a field or credential that is declared twice, and for a port that is no field.
    """
    made: dict[str, dict[str, Any]] = {}
    for engine, names in companions_of(engines, companions).items():
        spec: dict[str, Any] = {**engines[engine], "companions": names, "objects": []}
        for group in ("fields", "credentials"):
            spec[group] = dict(spec.get(group) or {})
            for name in names:
                declared = companions[name].get(group) or {}
                twice = sorted(set(declared) & set(spec[group]))
                if twice:
                    raise SpecError(f"{name}: {group}.{twice[0]}: {engine} or another companion declares it already")
                spec[group].update(declared)
        for name in names:
            port = companions[name].get("port")
            if port is not None and port not in (companions[name].get("fields") or {}):
                raise SpecError(f"{name}: port: {port!r} is not one of its fields")
            spec["objects"] += [kind for kind in companions[name].get("objects") or [] if kind not in spec["objects"]]
        made[engine] = spec
    return made


#: What ``render`` is: an engine's returns its instance of the service, a companion's a list of its instances.
Renderer = Callable[[Mapping[str, Any], Mapping[str, Any]], "Instance | list[Instance]"]


def instances_of(rendered: Instance | list[Instance]) -> list[Instance]:
    """All instances that a ``render`` has returned."""
    return rendered if isinstance(rendered, list) else [rendered]


def load_renderer(release: Path, name: str) -> Renderer:
    """Import ``render`` of the engine ``name`` out of the release at ``release``.

    Raises FileNotFoundError where the engine brings no renderer.
    """
    path = release / "roles" / name / "engine" / "render.py"
    if not path.is_file():
        raise FileNotFoundError(path)
    spec = importlib.util.spec_from_file_location(f"streamfleet_engine_{name}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    # A renderer says `from streamfleet.engine import …`. Under Ansible this very module has another name: give it both.
    sys.modules.setdefault("streamfleet.engine", sys.modules[__name__])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    renderer: Renderer = module.render
    return renderer
