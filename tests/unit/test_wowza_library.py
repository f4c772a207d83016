"""How Wowza is let into a media library, in which files come and go meanwhile, and how that is undone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import forked_ansible
from tests.unit.test_wowza_install import ROOT, loaded

UID = 65533
library = loaded("library")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of a library."""
    folder = tmp_path / "200001" / "films"
    (folder / "old").mkdir(parents=True)
    (folder / "first.mp4").touch(0o600)
    (folder / "old" / "second.mp4").touch(0o640)
    (folder.parent / "secret.mp4").touch()
    try:
        library.Rights(UID).give(str(folder / "first.mp4"), library.ACCESS, 4)
    except OSError:
        pytest.skip("this file system has no access control lists")
    (folder / "first.mp4").unlink()
    (folder / "first.mp4").touch(0o600)
    return folder


def rights(path: Path, kind: str = library.ACCESS) -> int:
    """What Wowza's user may do."""
    return next(bits for bits in range(7, -1, -1) if library.Rights(UID).has(str(path), kind, bits))


def grant(folder: Path, name: str = "films") -> None:
    library.grant(library.Rights(UID), folder.parent, name)


def test_all_of_the_folder_can_be_read_and_nothing_else(films: Path) -> None:
    (films / "link").symlink_to(films.parent / "secret.mp4")
    grant(films)
    assert rights(films.parent) == 1
    assert rights(films.parent / "secret.mp4") == 0
    assert [rights(films), rights(films, library.DEFAULT), rights(films / "old")] == [5, 5, 5]
    assert [rights(films / "first.mp4"), rights(films / "old" / "second.mp4")] == [4, 4]
    # What the mode says of others is as it was.
    entries = library._read(str(films / "first.mp4"), library.ACCESS)
    assert {tag: value for (tag, _), value in entries.items()} == {1: 6, 2: 4, 4: 0, 0x10: 4, 0x20: 0}
    (films / "new").mkdir()
    (films / "new" / "third.mp4").touch(0o640)
    assert rights(films / "new" / "third.mp4") == 4
    grant(films, "films/new")
    assert rights(films) == 5, "a right once given stays"


def test_what_is_moved_there_can_be_read_the_next_time(films: Path) -> None:
    grant(films)
    (films.parent / "secret.mp4").rename(films / "moved.mp4")
    (films / "first.mp4").chmod(0o600)
    assert [rights(films / "moved.mp4"), rights(films / "first.mp4")] == [0, 0]
    grant(films)
    assert [rights(films / "moved.mp4"), rights(films / "first.mp4")] == [4, 4]


def test_files_that_vanish_and_refuse_are_passed_over(
    films: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setxattr: Callable[..., None] = os.setxattr
    fault: type[OSError] = FileNotFoundError

    def meanwhile(path: str, *rest: Any, **more: Any) -> None:
        if path.endswith("first.mp4"):
            raise fault(path)
        setxattr(path, *rest, **more)

    monkeypatch.setattr(os, "setxattr", meanwhile)
    grant(films)
    assert rights(films / "old" / "second.mp4") == 4
    assert capsys.readouterr().err == ""
    fault = PermissionError
    grant(films)
    assert "first.mp4" in capsys.readouterr().err


def test_a_walk_that_takes_too_long_goes_on_the_next_time(
    films: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(library, "FIRST", -1.0)
    grant(films)
    assert [rights(films), rights(films, library.DEFAULT), rights(films / "first.mp4")] == [5, 5, 0]
    assert "the next start" in capsys.readouterr().err
    grant(films)
    assert rights(films / "first.mp4") == 4
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_given_is_a_fault(
    films: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = films.parent.parent / "wowzalibrary"
    (place / "ada-films").mkdir(parents=True)
    monkeypatch.setattr(library, "PLACE", place)
    monkeypatch.setattr(library, "USER", "root")
    monkeypatch.setattr(sys, "argv", ["library", "ada-films"])
    assert library.main() == 0
    wanted = place / "ada-films" / "library.json"
    wanted.write_text(f'{{"library": "{films.parent}", "folder": "films"}}')
    assert library.main() == 0
    wanted.write_text(f'{{"library": "{films.parent}", "folder": "link"}}')
    (films.parent / "link").symlink_to(films)
    assert library.main() == 1
    assert "cannot be let into" in capsys.readouterr().err


@pytest.mark.slow
def test_the_view_of_libraries_is_taken_away_whatever_is_left_of_it(tmp_path: Path) -> None:
    """Where it was never mounted, and again after half of it, and while files come and go."""
    tasks = yaml.safe_load((ROOT / "roles/wowza/tasks/uninstall.yml").read_text("utf-8"))
    named = [number for number, task in enumerate(tasks) if "libraries" in task["name"]]
    steps = tasks[named[0] : named[-1] + 1]
    tools = tmp_path / "tools"
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    text = yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "environment": path, "tasks": steps}])
    play = tmp_path / "play.yml"
    play.write_text(text.replace("/etc/systemd/system", str(tmp_path / "units")))
    for name, does in (("systemctl", "true"), ("setfacl", f"cat {tmp_path}/says >&2; test ! -s {tmp_path}/says")):
        tool = tools / name
        tools.mkdir(exist_ok=True)
        tool.write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/done\n{does}\n')
        tool.chmod(0o755)
    (tmp_path / "libraries").mkdir()
    names = {
        "_streamfleet_wowza_mount": "wowzamedia.mount", "_streamfleet_wowza_media": str(tmp_path / "media"),
        "_streamfleet_wowza_user": "streamfleet-wowza", "_streamfleet_wowza_libraries": str(tmp_path / "libraries"),
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
    }  # fmt: skip

    def run(says: str = "", *found: str) -> tuple[int, list[str]]:
        (tmp_path / "says").write_text(says)
        (tmp_path / "done").write_text("")
        extra = yaml.safe_dump({**names, "__streamfleet_wowza_found": {"stdout_lines": list(found)}})
        (tmp_path / "vars.yml").write_text(extra)
        done = forked_ansible.playbook(["-i", "localhost,", "-e", f"@{tmp_path}/vars.yml", str(play)])
        words = [line.split()[0] for line in (tmp_path / "done").read_text().splitlines()]
        return done.returncode, words

    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "wowzamedia.mount").touch()
    # The mount was never made.
    assert run("", "user") == (0, ["systemctl", "setfacl"])
    # A file has gone meanwhile.
    (tmp_path / "media").mkdir()
    assert run("setfacl: x/a.mp4: No such file or directory\n", "user") == (0, ["systemctl", "setfacl"])
    assert not (tmp_path / "media").exists()
    assert run("setfacl: x/a.mp4: Operation not permitted\n", "user")[0] != 0
    # What is still mounted is not emptied.
    (tmp_path / "media" / "200001").mkdir(parents=True)
    assert run("", "user")[0] != 0
    assert (tmp_path / "media" / "200001").exists()
    (tmp_path / "media" / "200001").rmdir()
    (tmp_path / "media").rmdir()
    (tmp_path / "units" / "wowzamedia.mount").unlink()
    assert run() == (0, [])
