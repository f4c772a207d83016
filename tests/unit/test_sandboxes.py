"""Every unit that the roles bring is sandboxed: systemd's own score of its exposure is 3.0 or less.

Of installed units tests/live/test_outside.py asks the same.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from streamfleet import tree_copy

ROOT = Path(__file__).resolve().parents[2]
HOST = {"mounts_propagate": True, "open_files": 1024, "open_files_most": 1048576, "memory_mb": 4096, "ipv6": True}
HOST |= {"cores": 4}
"""Facts of an ordinary host, as streamfleet_host_facts tells them."""
#: Tenths. Of 10.0, which is a service with no sandbox at all.
MOST = 30
UNITS = sorted(
    path
    for pattern in ("roles/*/templates/*.service.j2", "roles/*/files/*.service")
    for path in ROOT.glob(pattern)
    if path.name.startswith("streamfleet-")
)


class Blank(jinja2.Undefined):
    """What only a host knows: users' names, paths. None of it makes a sandbox."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __str__(self) -> str:
        return "x"

    __getitem__ = __call__ = __add__ = __radd__ = lambda self, *_args, **_options: self
    __floordiv__ = __mul__ = __int__ = lambda *_: 1


def rendered(path: Path) -> str:
    """The unit with the role's defaults."""
    role = path.parent.parent
    context: dict[str, Any] = {"ansible_facts": {"streamfleet_host": HOST}}
    for name in ("vars", "defaults"):
        file = role / name / "main.yml"
        context |= yaml.safe_load(file.read_text()) if file.is_file() else {}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([role / "templates", role / "files"]), undefined=Blank
    )
    environment.filters |= {name: lambda value, *_, **__: value for name in ("bool", "basename", "dirname")}
    environment.tests["match"] = lambda value, pattern: bool(re.match(pattern, str(value)))
    text = environment.get_template(path.name).render(context)
    # Variables are made of others.
    while "{{" in text or "{%" in text:
        text = environment.from_string(text).render(context)
    return text


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, str]]:
    """Unit → score, and what systemd-analyze says of it."""
    folder = tmp_path_factory.mktemp("units")
    found = {}
    for unit in UNITS:
        path = folder / unit.name.removesuffix(".j2")
        path.write_text(rendered(unit))
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        overall = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        assert overall, (unit, done.stdout, done.stderr)
        found[path.name] = (float(overall[1]), done.stdout)
    return found


@pytest.mark.parametrize("network", [True, False])
def test_exposure_of_copies_is_low(network: bool, tmp_path: Path) -> None:
    """Their units have no file: systemd-run makes them."""
    lines = tree_copy.properties(["/srv/tree"], network=network)
    unit = tmp_path / "copy.service"
    unit.write_text("\n".join(["[Service]", "ExecStart=/usr/bin/rsync", *lines, ""]))
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    overall = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said.stdout)
    assert overall, said
    assert float(overall[1]) * 10 <= MOST, said.stdout
    assert "nknown" not in said.stderr, "every property is one of systemd's"


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/*/*.path*")), ids=lambda path: path.name)
def test_what_a_path_starts_may_be_started_as_often_as_it_likes(path: Path) -> None:
    """One that comes to its limit ends the path unit, for good: nothing watches any more."""
    unit = path.with_name(path.name.replace(".path", ".service"))
    text = rendered(unit).partition("[Service]")[0]
    assert "\nStartLimitIntervalSec=0\n" in text, unit.name


def test_there_are_units() -> None:
    names = {path.name for path in UNITS}
    assert {"streamfleet-panel.service.j2", "streamfleet-tenants.service"} <= names


@pytest.mark.parametrize("name", [path.name.removesuffix(".j2") for path in UNITS])
def test_exposure_is_low(name: str, scores: dict[str, tuple[float, str]]) -> None:
    score, why = scores[name]
    assert score * 10 <= MOST, f"{name}: exposure {score}\n{why}"
