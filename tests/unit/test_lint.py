"""What ansible-lint leaves out is nothing that it could say anything about; what the collection forbids shows early."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts import lint_ansible

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = yaml.safe_load((ROOT / ".ansible-lint.yml").read_text())["exclude_paths"]
#: What is not ours, is built, or is held by the tools that read it.
OTHERS = {
    ".venv/",
    ".cache/",
    ".nodes/",
    ".demo/",
    ".ansible/",
    "build/",
    "changelogs/",
    "molecule/*/molecule.yml",
    ".github/",
}


@pytest.mark.parametrize("pattern", [pattern for pattern in LEFT_OUT if pattern not in OTHERS])
def test_no_yaml_is_left_out(pattern: str) -> None:
    folder = ROOT / pattern.removesuffix("*")
    assert any(path.is_file() for path in folder.rglob("*")), "is not there: take it out of .ansible-lint.yml"
    # A pattern without a slash inside would leave out folders of that name anywhere, such as roles/panel.
    assert "/" in pattern.rstrip("/")
    assert [path for path in folder.rglob("*") if path.suffix in (".yml", ".yaml")] == []


def test_its_syntax_checks_refuse_what_the_program_refuses(tmp_path: Path) -> None:
    playbook = tmp_path / "broken.yml"
    playbook.write_text("- hosts: localhost\n  tasks:\n    - ansible.builtin.no_such_module: {}\n")
    done = lint_ansible.run(["ansible-playbook", "--syntax-check", "-vv", str(playbook)], env=dict(os.environ))
    assert done.returncode == 4
    assert "no_such_module" in done.stderr
    playbook.write_text("- hosts: localhost\n  tasks: []\n")
    done = lint_ansible.run(["ansible-playbook", "--syntax-check", "-vv", str(playbook)], env=dict(os.environ))
    assert done.returncode == 0
    assert f"playbook: {playbook}" in done.stdout


def test_other_programs_are_run_as_they_are() -> None:
    done = lint_ansible.run(["sh", "-c", "echo $0 $OWN"], env={"OWN": "x"}, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "sh x\n")


@pytest.mark.parametrize("folder", ["action_plugins", "filter_plugins", "library", "module_utils"])
def test_no_name_that_the_collections_checks_forbid(folder: str) -> None:
    """``_`` as a variable: found here in a second, and by ansible-test in minutes."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == "_" and isinstance(node.ctx, ast.Store)
    ]
    assert found == []


def test_nothing_needs_a_later_python_than_debian_has() -> None:
    """Debian 12 has Python 3.11.2, in which extractall() knows no filter; the tools take every 3.11 for one."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("demo", "library", "module_utils", "panel", "roles", "scripts", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "extractall"
        and any(word.arg == "filter" for word in node.keywords)
    ]
    assert found == []


def scalars(found: object) -> list[str]:
    """All text in what YAML has read."""
    if isinstance(found, dict):
        found = [*found.keys(), *found.values()]
    if isinstance(found, list):
        return [text for item in found for text in scalars(item)]
    return [found] if isinstance(found, str) else []


def halved(text: str) -> list[str]:
    """Expressions of a template in which a line's end is two characters, or a group's number stands for itself."""
    wrong = r"(~|join\()\s*'\\n'|'[^']*\\\\\d[^']*'\)"
    return [found for found in re.findall(r"{{.+?}}", text, re.DOTALL) if re.search(wrong, found)]


def test_a_lines_end_in_an_expression_is_one() -> None:
    """Between braces Ansible takes ``\\n`` for a backslash and an n; in statements it is a line's end."""
    assert halved(yaml.safe_load("x: >-\n  {{ [a, 'b' ~ '\\n'] }}")["x"])
    assert not halved(yaml.safe_load("x: \"{{ a | join('\\n') }}\"")["x"])
    assert not halved("{%- set x = a ~ '\\n' -%}{{ x }}")
    assert halved(yaml.safe_load("x: >-\n  {{ a | regex_replace('^(.*)$', '\\\\1.json') }}")["x"])
    assert not halved(yaml.safe_load("x: >-\n  {{ a | regex_replace('^(.*)$', '\\1.json') }}")["x"])
    assert not halved(yaml.safe_load("x: \"{{ a | regex_replace('^(.*)$', '\\\\1.json') }}\"")["x"])
    files = [path for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*.yml")]
    assert len(files) > 100
    texts = {path: text for path in files if re.search(r"\\n'|\\\\\d", text := path.read_text())}
    wrong = [
        (path.name, part)
        for path, text in texts.items()
        for document in yaml.safe_load_all(text)
        for item in scalars(document)
        for part in halved(item)
    ]
    assert wrong == []


def switches() -> set[str]:
    """Every option of a role that is yes or no."""
    return {
        name
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
        for spec in yaml.safe_load(path.read_text())["argument_specs"].values()
        for name, option in (spec.get("options") or {}).items()
        if option.get("type") == "bool"
    }


def unread(text: str, names: set[str]) -> list[str]:
    """Where ``text`` of a play or a template decides by one of ``names`` as it came."""
    word = "|".join(sorted(names))
    before = r"(?:\b(?:if|elif|not|and|or|when:|that:)|\[|,|\(|^ *-)[ \"{]*"
    decides = rf"{before}\b(?:{word})\b|\b(?:{word})\b +(?:if|else|and|or)\b"
    read = rf"\b(?:{word})\b(?: *\| *default\([^)]*\))? *\| *bool\b"
    plain = re.sub(
        read, "yes_or_no", re.sub(r"(?m)^ *#.*|^ *(?:fail_msg|message|description): (?:[>|].*(?:\n +.*)*|.*)", "", text)
    )
    return re.findall(decides, plain, re.MULTILINE)


def test_a_switch_is_read_before_anything_is_decided_by_it() -> None:
    """With ``-e option=false`` it is text, and text is true: data would be removed that shall stay."""
    names = switches()
    assert len(names) > 20
    name = "streamfleet_common_uninstall_data"
    decided = (
        f"when: {name}\n",
        f"  - {name}\n",
        f'x: "{{{{ [1] if {name} else [] }}}}"',
        f"{{% if not {name} %}}",
        f"[{name} | default(false)]",
    )
    for wrong in decided:
        assert unread(wrong, names), wrong
    for right in (
        f"when: {name} | bool\n",
        f"if {name} | default(false) | bool else",
        f"# when: {name}\n",
        f"  {name}: true\n",
    ):
        assert not unread(right, names), right
    files = [
        path
        for folder in ("roles", "playbooks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".yml", ".j2") and not {"meta", "engine", "files"} & set(path.parts)
    ]
    assert len(files) > 100
    assert [(path.name, part) for path in files for part in unread(path.read_text(), names)] == []
