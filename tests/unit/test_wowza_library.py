"""How Wowza is let into a media library, in which files come and go meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_wowza_install import loaded

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
