"""No file imports what imports it, not even for its types: each can be read and moved without the other."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["module_utils/streamfleet", "panel/streamfleet_panel"]


def _module(path: Path, root: Path) -> str:
    parts = (root.name, *path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.Module, package: str, modules: Container[str]) -> Iterator[str]:
    """What the file names: of ``from a import b`` the module ``a.b`` where there is one, else ``a``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base


def _graph(root: Path) -> dict[str, set[str]]:
    modules = {_module(path, root): path for path in root.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        names = _imported(ast.parse(path.read_text(encoding="utf-8")), package, modules)
        graph[name] = (set(names) & modules.keys()) - {name}
    return graph


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package):
    graph = _graph(ROOT / package)
    assert any(graph.values())
    assert _cycle(graph) == []


@pytest.mark.parametrize(
    "line", ["from . import one", "from pack.one import name", "import pack.one", "from .one import x"]
)
def test_a_cycle_is_seen(tmp_path, line):
    root = tmp_path / "pack"
    root.mkdir()
    for name, text in (("__init__", ""), ("one", "from .two import y"), ("two", f"if TYPE_CHECKING:\n    {line}")):
        (root / f"{name}.py").write_text(text)
    assert set(_cycle(_graph(root))) == {"pack.one", "pack.two"}
