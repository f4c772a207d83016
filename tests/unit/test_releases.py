"""Releases: what the changelog names can be had again, and what is under way is called otherwise."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from scripts import release_tree

ROOT = Path(__file__).resolve().parents[2]


def test_every_release_of_the_changelog_is_to_be_had_and_no_other():
    told = yaml.safe_load((ROOT / "changelogs/changelog.yaml").read_text())["releases"]
    assert set(release_tree.releases()) == set(told)


@pytest.mark.parametrize("version", release_tree.releases())
def test_a_release_is_built_again_from_its_own_tree(version: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    release_tree.unpack(version, tree)
    command = [sys.executable, "scripts/build_release.py", "--cache", str(tmp_path / "built")]
    built = subprocess.run(command, cwd=tree, text=True, capture_output=True, check=False)
    assert built.returncode == 0, built.stderr
    assert [path.name.startswith(f"{version}-") for path in (tmp_path / "built").glob("*.tar.gz")] == [True]
    assert "make demo" in (tree / "README.md").read_text()


def test_what_cannot_be_had_is_named_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tree"
    with pytest.raises(release_tree.NoSuchRelease, match=r"'9\.9\.9' is no release. Use one of 0\.1\.0"):
        release_tree.unpack("9.9.9", folder)
    with pytest.raises(release_tree.NoSuchRelease, match="is there already"):
        release_tree.unpack("0.1.0", tmp_path)
    monkeypatch.setattr(release_tree, "releases", lambda: {"0.1.0": "0" * 40})
    with pytest.raises(release_tree.NoSuchRelease, match="git fetch --unshallow"):
        release_tree.unpack("0.1.0", folder)
    assert not folder.exists()


def test_what_is_under_way_has_one_version_above_every_release():
    versions = {
        tomllib.loads((ROOT / path).read_text())["project"]["version"]
        for path in ("pyproject.toml", "panel/pyproject.toml")
    }
    (version,) = versions
    assert f'__version__ = "{version}"\n' in (ROOT / "panel/streamfleet_panel/__init__.py").read_text()
    assert Version(version) > max(map(Version, release_tree.releases()))
