"""Stage this repository as the collection streamfleet.core, build its tarball, and run ansible-test sanity on it.

The repository keeps the simple layout (library/, roles/, playbooks/); a collection wants other places and full names.
So the same files are copied to build/ansible_collections/streamfleet/core and every name of ours in them is made a
full one. Nothing else is changed.

    scripts/build_collection.py            stage and build
    scripts/build_collection.py --sanity   and run ansible-test sanity there
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE, NAME = "streamfleet", "core"
FULL = f"{NAMESPACE}.{NAME}"
BUILD = Path("build")
STAGE = BUILD / "ansible_collections" / NAMESPACE / NAME
UTILS = f"ansible_collections.{FULL}.plugins.module_utils.streamfleet"

#: What cannot pass: (file, sanity test, reason). Everything else must, and an entry that is not needed fails too.
IGNORES = (("roles/nginx_rtmp/files/state", "shebang", "a program that the role installs, no module"),)

#: ansible-test keeps its environments below the home directory; ours, so that nobody's own is touched.
TEST_HOME = Path(".cache") / "ansible-test"
#: ansible-test would download get-pip.py from a host of its makers to put pip into its environments. Python brings a
#: pip that can do it, from whatever package index this machine is set to.
GET_PIP = """\
import ensurepip, os, runpy, sys
kept = dict(os.environ)  # ensurepip turns pip's settings off
ensurepip.bootstrap()
os.environ.clear()
os.environ.update(kept)
sys.argv = ["pip", "install", *[word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""

IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
#: Playbooks that are for a checkout: the objects of AWX are files of the project that AWX fetches (awx/).
OF_A_CHECKOUT = ("playbooks/awx.yml", "playbooks/vars/awx.yml")


@dataclass(frozen=True)
class Names:
    """What this repository calls its own, longest first so that no name is taken for the beginning of another."""

    modules: list[str]
    filters: list[str]
    roles: list[str]
    fragments: list[str]


def names_of(root: Path) -> Names:
    """Names of modules, filters, roles and documentation fragments of the repository at ``root``."""

    def stems(folder: str) -> list[str]:
        return sorted((path.stem for path in (root / folder).glob("*.py")), key=len, reverse=True)

    filters = re.findall(r'"(streamfleet_\w+)": streamfleet_', (root / "filter_plugins/streamfleet.py").read_text())
    return Names(
        modules=stems("library"),
        filters=sorted(filters, key=len, reverse=True),
        roles=sorted((path.parent.parent.name for path in (root / "roles").glob("*/meta/main.yml")), reverse=True),
        fragments=stems("doc_fragments"),
    )


# Rewriting ------------------------------------------------------------------------------------------------------------


def python_text(text: str, names: Names) -> str:
    """A Python file with imports, documentation and examples that use full names."""
    text = re.sub(r"\bansible\.module_utils\.streamfleet\b", UTILS, text)
    text = re.sub(r"^from streamfleet\b", f"from {UTILS}", text, flags=re.MULTILINE)
    modules = "|".join(names.modules)
    text = re.sub(rf"\b(M|O|RV)\(({modules})(?=[)#])", rf"\1({FULL}.\2", text)
    text = re.sub(rf'(module_name=")({modules})"', rf'\1{FULL}.\2"', text)
    text = re.sub(rf"^(\s*- module: )({modules})$", rf"\1{FULL}.\2", text, flags=re.MULTILINE)
    fragments = "|".join(names.fragments)
    text = re.sub(rf"^(  - )({fragments})((?:\.\w+)?)$", rf"\1{FULL}.\2\3", text, flags=re.MULTILINE)
    return yaml_text(text, names)


def yaml_text(text: str, names: Names) -> str:
    """A playbook or task file (or the examples in a module) that uses full names."""
    modules = "|".join(names.modules)
    text = re.sub(rf"^(\s*(?:- )?)({modules}):(?=\s|$)", rf"\1{FULL}.\2:", text, flags=re.MULTILINE)
    filters = "|".join(names.filters)
    text = re.sub(rf"(\|\s*)({filters})\b", rf"\1{FULL}.\2", text)
    roles = "|".join(names.roles)
    # role: x, - role: x, and name: x right below include_role or import_role
    text = re.sub(rf"^(\s*(?:- )?role: )({roles})$", rf"\1{FULL}.\2", text, flags=re.MULTILINE)
    return re.sub(
        rf"((?:include|import)_role:\n(?:\s+\w+: .*\n)*?\s+name: )({roles})$", rf"\1{FULL}.\2", text, flags=re.MULTILINE
    )


# Staging --------------------------------------------------------------------------------------------------------------


def stage(root: Path, target: Path) -> None:
    """Make ``target`` anew: the collection of the repository at ``root``."""
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    names = names_of(root)
    plugins = target / "plugins"
    for source, name in (
        ("library", "modules"),
        ("module_utils", "module_utils"),
        ("action_plugins", "action"),
        ("filter_plugins", "filter"),
        ("doc_fragments", "doc_fragments"),
    ):
        shutil.copytree(root / source, plugins / name, ignore=IGNORED)
    for folder in ("roles", "playbooks"):
        shutil.copytree(root / folder, target / folder, ignore=IGNORED)
    for path in OF_A_CHECKOUT:
        (target / path).unlink()
    for file in ("engines.yml", "LICENSE", "README.md"):
        shutil.copy(root / file, target / file)
    rewrite(plugins.rglob("*.py"), lambda text: python_text(text, names))
    rewrite(
        [*(target / "roles").rglob("*.yml"), *(target / "playbooks").rglob("*.yml")],
        lambda text: yaml_text(text, names),
    )
    # A collection may import nothing from here, so ansible-test wants it empty.
    for init in (plugins / "module_utils").rglob("__init__.py"):
        init.write_text("")
    (target / "galaxy.yml").write_text(as_yaml(galaxy(root, target)))
    (target / "meta").mkdir()
    (target / "meta" / "runtime.yml").write_text(as_yaml(runtime(root)))
    (target / "tests" / "sanity").mkdir(parents=True)
    ignores = "".join(f"{path} {test} # {reason}\n" for path, test, reason in IGNORES)
    (target / "tests" / "sanity" / f"ignore-{core_version()}.txt").write_text(ignores)
    (target / "tests" / "config.yml").write_text(as_yaml({"modules": {"python_requires": ">=3.11"}}))


def rewrite(paths: Iterable[Path], change: Callable[[str], str]) -> None:
    """Replace the text of each file by what ``change`` makes of it; the mode stays."""
    for path in paths:
        text = path.read_text()
        changed = change(text)
        if changed != text:
            path.write_text(changed)


def core_version() -> str:
    """Series of the ansible-core that is installed: ansible-test reads the ignores of its own."""
    return ".".join(importlib.metadata.version("ansible-core").split(".")[:2])


def as_yaml(data: Any) -> str:
    """``data`` as a YAML document."""
    return "---\n" + yaml.safe_dump(data, sort_keys=False, width=120)


def galaxy(root: Path, target: Path) -> dict[str, Any]:
    """galaxy.yml: what pyproject.toml and requirements.yml say already; of the latter, what ``target`` uses."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    required = root / "requirements.yml"
    listed = yaml.safe_load(required.read_text())["collections"] if required.is_file() else []
    staged = "\n".join(path.read_text() for name in ("roles", "playbooks") for path in (target / name).rglob("*.yml"))
    needed = [item for item in listed if re.search(rf"^\s*(?:- )?{re.escape(item['name'])}\.", staged, re.MULTILINE)]
    return {
        "namespace": NAMESPACE,
        "name": NAME,
        "version": project["version"],
        "readme": "README.md",
        "authors": ["Streamfleet"],
        "description": project["description"],
        "license": ["GPL-3.0-or-later"],
        "tags": ["streaming", "radio", "video", "icecast", "rtmp"],
        "dependencies": {item["name"]: item.get("version", "*") for item in needed},
        "build_ignore": [".gitignore", "tests/output"],
    }


def runtime(root: Path) -> dict[str, Any]:
    """meta/runtime.yml: the modules that take the connection options are the action group ``core``.

    With it ``module_defaults: {group/streamfleet.core.core: {url: …, token: …}}`` sets them once.
    """
    talking = sorted(
        path.stem
        for path in (root / "library").glob("*.py")
        if re.search(r"^  - streamfleet$", path.read_text(), re.MULTILINE)
    )
    return {"requires_ansible": ">=2.19.0", "action_groups": {"core": talking}}


# Building and testing -------------------------------------------------------------------------------------------------


def build(stage_dir: Path, output: Path) -> Path:
    """Build the tarball into ``output``; returns its path."""
    run(["ansible-galaxy", "collection", "build", "--force", "--output-path", str(output)], stage_dir)
    meta = yaml.safe_load((stage_dir / "galaxy.yml").read_text())
    return output / f"{NAMESPACE}-{NAME}-{meta['version']}.tar.gz"


def sanity(stage_dir: Path) -> None:
    """Run all of ansible-test sanity, each test in an environment of its own."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    # ansible-test asks git which files there are, and build/ is ignored by the repository that it would find.
    (stage_dir / ".gitignore").write_text("tests/output/\n")
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=stage_dir, check=True)
    home = ROOT / TEST_HOME
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in pip_versions():
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)
    (home / ".config" / "pip").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "pip" / "pip.conf").write_text(pip_settings())
    command = ["ansible-test", "sanity", "--python", python, "--color", "no"]
    run(command, stage_dir, HOME=str(home))


def pip_settings() -> str:
    """How this machine's pip is set (index, certificates, …), from files and environment, as one pip.conf.

    ansible-test passes neither the environment nor this home directory on.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True, timeout=60
    )
    found = dict(re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", done.stdout, re.MULTILINE))
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in sorted(found.items()))]) + "\n"


def pip_versions() -> set[str]:
    """Versions of pip that this ansible-test puts into its environments."""
    found = importlib.util.find_spec("ansible_test")
    if found is None or found.submodule_search_locations is None:
        raise SystemExit("ansible-test is not installed; it comes with ansible-core")
    source = Path(found.submodule_search_locations[0]) / "_internal" / "python_requirements.py"
    return set(re.findall(r"pip='([0-9.]+)'", source.read_text()))


def run(command: list[str], folder: Path, **environment: str) -> None:
    """Run a program of the environment that this script runs in. Ends this script if it fails."""
    bin_dir = Path(sys.executable).parent
    env = {
        **os.environ,
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(ROOT / ".ansible"),
        # ansible-test insists on UTF-8 and would rather have this one.
        "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8"),
        **environment,
    }
    env.pop("ANSIBLE_CONFIG", None)  # the collection must work without the repository's
    done = subprocess.run([str(bin_dir / command[0]), *command[1:]], cwd=folder, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sanity", action="store_true", help="run ansible-test sanity on what was staged")
    arguments = parser.parse_args()
    stage(ROOT, ROOT / STAGE)
    tarball = build(ROOT / STAGE, ROOT / BUILD)
    print(f"Built {tarball.relative_to(ROOT)}")
    if arguments.sanity:
        sanity(ROOT / STAGE)


if __name__ == "__main__":
    main()
