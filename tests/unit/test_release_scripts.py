"""The wheelhouse and the release bundle: what is in them, and that the same sources give the same bytes.

Tests roles: panel worker.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wheelhouse = script("scripts/build_wheelhouse.py")
release = script("scripts/build_release.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small repository with all that the scripts read."""
    root = tmp_path / "repository"
    for name in ("panel/streamfleet_panel", "requirements", "playbooks", "library", "roles/icecast/engine"):
        (root / name).mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (root / "panel/pyproject.toml").write_text("[project]\n")
    (root / "panel/streamfleet_panel/a.py").write_text("a = 1\n")
    (root / "requirements/panel.lock").write_text(
        "one==1.0 \\\n    --hash=sha256:11\n"
        "two==1.0 ; python_full_version < '3.12' \\\n    --hash=sha256:22\n"
        "two==2.0 ; python_full_version >= '3.12' \\\n    --hash=sha256:33\n"
        "windows==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:44\n"
    )
    (root / "requirements/dev.lock").write_text("pip==26.0 \\\n    --hash=sha256:55 \\\n    --hash=sha256:66\nzed==1\n")
    for name in ("engines.yml", "LICENSE", "playbooks/converge.yml", "library/x.py", "roles/icecast/engine/spec.yml"):
        (root / name).write_text(f"# {name}\n")
    return root


@pytest.mark.parametrize(("python", "kept", "left"), [("3.11", "1.0", "22"), ("3.13", "2.0", "33")])
def test_the_lock_is_read_for_the_nodes_python_not_for_ours(root: Path, python: str, kept: str, left: str) -> None:
    lines = wheelhouse.locked(root, python, "x86_64")
    assert f"two=={kept} \\\n    --hash=sha256:{left}\n" in lines
    assert lines.count("two==") == 1
    assert "windows" not in lines
    assert ";" not in lines


def test_pip_comes_from_the_lock(root: Path) -> None:
    assert wheelhouse.pinned_pip(root) == "pip==26.0 \\\n    --hash=sha256:55 \\\n    --hash=sha256:66\n"
    (root / "requirements/dev.lock").write_text("zed==1\n")
    with pytest.raises(wheelhouse.WheelhouseError, match="make lock"):
        wheelhouse.pinned_pip(root)


def test_the_key_changes_with_what_the_wheelhouse_is_made_of(root: Path) -> None:
    def key(python: str = "3.11", arch: str = "x86_64") -> str:
        return wheelhouse.key_of(root, python, arch)

    first = key()
    cache = root / "panel/streamfleet_panel/__pycache__"
    cache.mkdir()
    (cache / "a.pyc").write_text("x")
    (root / "README.md").write_text("x")
    assert key() == first
    keys = {first, key("3.13"), key(arch="aarch64")}
    (root / "panel/streamfleet_panel/a.py").write_text("a = 2\n")
    keys.add(key())
    with (root / "requirements/panel.lock").open("a") as lock:
        lock.write("three==1.0 \\\n    --hash=sha256:77\n")
    keys.add(key())
    assert len(keys) == 5


def test_requirements_pin_every_wheel_but_pip(tmp_path: Path) -> None:
    (tmp_path / "django_axes-8.0-py3-none-any.whl").write_bytes(b"wheel")
    (tmp_path / "pip-26.0-py3-none-any.whl").write_bytes(b"pip")
    digest = hashlib.sha256(b"wheel").hexdigest()
    assert wheelhouse.requirements(tmp_path) == f"django-axes==8.0 --hash=sha256:{digest}\n"


def test_a_failed_build_leaves_nothing_in_the_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise wheelhouse.WheelhouseError("no index")

    monkeypatch.setattr(wheelhouse, "download", broken)
    cache = tmp_path / "cache"
    with pytest.raises(wheelhouse.WheelhouseError):
        wheelhouse.build(root, cache, "3.11", "x86_64")
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_a_wheelhouse_is_built_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(_root: Path, into: Path, *_args: object) -> None:
        calls.append("download")
        (into / "pip-26.0-py3-none-any.whl").write_bytes(b"pip")

    def make(_root: Path, into: Path) -> None:
        calls.append("build")
        (into / "streamfleet_panel-1.2.3-py3-none-any.whl").write_bytes(b"panel")

    monkeypatch.setattr(wheelhouse, "download", fetch)
    monkeypatch.setattr(wheelhouse, "build_panel", make)
    first = wheelhouse.build(root, tmp_path / "cache", "3.11", "x86_64")
    assert wheelhouse.build(root, tmp_path / "cache", "3.11", "x86_64") == first
    assert calls == ["download", "build"]
    with tarfile.open(first) as archive:
        assert set(archive.getnames()) >= {"VERSION", "requirements.txt", "wheels/pip-26.0-py3-none-any.whl"}
    # A changed panel: its wheel is made anew, its dependencies are not fetched again.
    (root / "panel/streamfleet_panel/a.py").write_text("a = 3\n")
    assert wheelhouse.build(root, tmp_path / "cache", "3.11", "x86_64") != first
    assert calls == ["download", "build", "build"]


def test_a_release_is_the_same_bytes_wherever_it_is_built(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(root, other)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    (other / "library/__pycache__").mkdir()
    (other / "library/__pycache__/x.pyc").write_text("x")
    (other / "inventories").mkdir()
    (other / "inventories/secret.yml").write_text("x")
    assert release.archive(root) == release.archive(other)
    assert release.name_of(root) == release.name_of(other)
    (other / "library/x.py").write_text("y\n")
    assert release.name_of(root) != release.name_of(other)


def test_a_release_has_what_worker_and_panel_read_and_no_inventory() -> None:
    with tarfile.open(fileobj=io.BytesIO(release.archive(ROOT))) as bundle:
        names = set(bundle.getnames())
        config = bundle.extractfile("ansible.cfg")
        assert config
        assert b"host_key_checking = true" in config.read()
    assert {"VERSION", "engines.yml", "playbooks/converge.yml", "action_plugins/streamfleet_converge.py"} <= names
    assert "roles/icecast/engine/spec.yml" in names
    assert not [name for name in names if name.startswith(("inventories", "panel", "tests")) or "group_vars" in name]
    assert not [name for name in names if name.endswith(".pyc")]


def test_a_release_lacks_nothing_silently(root: Path) -> None:
    (root / "engines.yml").unlink()
    with pytest.raises(FileNotFoundError):
        release.name_of(root)


def test_installing_a_release_replaces_what_an_interrupted_run_left(root: Path, tmp_path: Path) -> None:
    archive = tmp_path / "release.tar.gz"
    archive.write_bytes(release.archive(root))
    target = tmp_path / "opt" / "releases" / "1.2.3-abc"
    target.mkdir(parents=True)
    (target / "half").write_text("x")
    program = ROOT / "roles/panel/files/install_release.py"
    subprocess.run([sys.executable, str(program), str(archive), str(target)], check=True)
    assert (target / ".complete").exists()
    assert not (target / "half").exists()
    assert (target / "playbooks/converge.yml").exists()
    assert not archive.exists()
    assert [path.name for path in target.parent.iterdir()] == ["1.2.3-abc"]


def test_both_scripts_say_what_they_would_build_without_writing(tmp_path: Path) -> None:
    for name, option in (("build_wheelhouse.py", "--key-only"), ("build_release.py", "--name-only")):
        command = [sys.executable, str(ROOT / "scripts" / name), option, "--cache", str(tmp_path / "cache")]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert answer["path"].startswith(str(tmp_path))
    assert not (tmp_path / "cache").exists()
