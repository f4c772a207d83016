"""The staged collection says the same as the repository, under full names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from scripts import build_collection
from tests.unit.library_specs import argument_spec, module_names

ROOT = Path(__file__).resolve().parents[2]
FULL = build_collection.FULL


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("collection") / "streamfleet" / "core"
    build_collection.stage(ROOT, target)
    return target


def test_everything_is_there(staged: Path) -> None:
    for source, target in (
        ("library", "modules"),
        ("action_plugins", "action"),
        ("filter_plugins", "filter"),
        ("doc_fragments", "doc_fragments"),
        ("module_utils/streamfleet", "module_utils/streamfleet"),
    ):
        expected = {path.name for path in (ROOT / source).glob("*.py")}
        assert {path.name for path in (staged / "plugins" / target).glob("*.py")} == expected
    for folder in ("roles", "playbooks"):
        assert {path.name for path in (staged / folder).iterdir()} == {
            path.name
            for path in (ROOT / folder).iterdir()
            if not path.name.startswith((".", "__"))
            and str(path.relative_to(ROOT)) not in build_collection.OF_A_CHECKOUT
        }
    assert (staged / "engines.yml").read_text() == (ROOT / "engines.yml").read_text()


def test_the_action_group_is_every_module_that_connects(staged: Path) -> None:
    group = yaml.safe_load((staged / "meta" / "runtime.yml").read_text())["action_groups"]["core"]
    connecting = [name for name in module_names() if {"url", "token", "ca_path"} <= set(argument_spec(name))]
    assert [name for name in group if name in connecting] == connecting
    # The actions that are no modules connect from the controller.
    others = {
        "streamfleet_converge",
        "streamfleet_media_folder",
        "streamfleet_media_folder_info",
        "streamfleet_verify_engine",
    }
    assert set(group) - set(connecting) == others
    assert len(group) >= 11


def test_version_and_dependencies_come_from_one_place(staged: Path) -> None:
    meta = yaml.safe_load((staged / "galaxy.yml").read_text())
    assert f'version = "{meta["version"]}"' in (ROOT / "pyproject.toml").read_text()
    assert meta["dependencies"] == {}, "what is in the collection needs no other"
    used, in_staged = (
        {
            name
            for path in [*(root / "roles").rglob("*.yml"), *(root / "playbooks").rglob("*.yml")]
            for name in re.findall(r"\b((?:ansible\.(?!builtin)|community\.|awx\.)\w+)\.\w+(?=:|\()", path.read_text())
        }
        for root in (ROOT, staged)
    )
    assert in_staged == set()
    listed = {item["name"] for item in yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]}
    assert used == listed, "collections that are used and those of requirements.yml"


def test_a_collection_that_is_used_becomes_a_dependency(staged: Path, tmp_path: Path) -> None:
    shutil.copytree(staged, tmp_path / "more")
    (tmp_path / "more" / "playbooks" / "x.yml").write_text("- tasks:\n    - awx.awx.project:\n        name: x\n")
    assert build_collection.galaxy(ROOT, tmp_path / "more")["dependencies"] == {"awx.awx": "24.6.1"}


def test_no_short_name_is_left(staged: Path) -> None:
    """A short name would work only where somebody has set a search path for it."""
    names = build_collection.names_of(ROOT)
    modules = "|".join(names.modules)
    filters = "|".join(names.filters)
    assert names.filters
    short = re.compile(rf"^\s*(?:- )?(?:{modules}):(?:\s|$)|\|\s*(?:{filters})\b", re.MULTILINE)
    for path in [*staged.rglob("*.yml"), *(staged / "plugins").rglob("*.py")]:
        found = short.search(path.read_text())
        assert not found, f"{path.relative_to(staged)}: {found and found[0]!r}"
    for path in (staged / "plugins").rglob("*.py"):
        assert "ansible.module_utils.streamfleet" not in path.read_text(), path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  streamfleet_customer:\n", f"  {FULL}.streamfleet_customer:\n"),
        ("- streamfleet_customer_info:\n", f"- {FULL}.streamfleet_customer_info:\n"),
        ('x: "{{ a | streamfleet_answer(omit) }}"', f'x: "{{{{ a | {FULL}.streamfleet_answer(omit) }}}}"'),
        ("    - role: common\n", f"    - role: {FULL}.common\n"),
        ("import_role:\n    name: web\n", f"import_role:\n    name: {FULL}.web\n"),
        (
            "include_role:\n    tasks_from: x\n    name: web\n",
            f"include_role:\n    tasks_from: x\n    name: {FULL}.web\n",
        ),
        ("  name: web\n", "  name: web\n"),
        ("streamfleet_customer_name: x\n", "streamfleet_customer_name: x\n"),
    ],
)
def test_rewriting_of_playbooks(before: str, after: str) -> None:
    names = build_collection.Names(
        modules=["streamfleet_customer_info", "streamfleet_customer"],
        filters=["streamfleet_answer"],
        roles=["web", "common"],
        fragments=["streamfleet_engines", "streamfleet"],
    )
    assert build_collection.yaml_text(before, names) == after


def test_rewriting_of_modules() -> None:
    names = build_collection.names_of(ROOT)
    before = (
        "extends_documentation_fragment:\n  - streamfleet\n  - streamfleet.object\n  - streamfleet_engines\n"
        "See M(streamfleet_apply), O(streamfleet_apply#module:prune).\n"
        "from ansible.module_utils.streamfleet.http import Client\n"
    )
    after = (
        f"extends_documentation_fragment:\n  - {FULL}.streamfleet\n  - {FULL}.streamfleet.object\n"
        f"  - {FULL}.streamfleet_engines\n"
        f"See M({FULL}.streamfleet_apply), O({FULL}.streamfleet_apply#module:prune).\n"
        f"from {build_collection.UTILS}.http import Client\n"
    )
    assert build_collection.python_text(before, names) == after
