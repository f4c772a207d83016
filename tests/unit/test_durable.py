"""A file is the old one or the new one, with nothing beside it, whatever goes wrong. Tests module_utils: durable."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from streamfleet import durable


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_is_written_has_its_mode_and_owner_whatever_was_there(tmp_path: Path) -> None:
    place = tmp_path / "journal.json"
    place.write_text("before")
    place.chmod(0o644)
    before = os.umask(0o077)
    try:
        durable.write(place, b"after", 0o640, (-1, os.getgid()))
        durable.write(tmp_path / "open", b"", 0o644)
    finally:
        os.umask(before)
    assert (place.read_text(), mode(place), mode(tmp_path / "open")) == ("after", 0o640, 0o644)
    assert names(tmp_path) == ["journal.json", "open"]


def test_json_is_sorted_and_ends_its_last_line(tmp_path: Path) -> None:
    durable.write_json(tmp_path / "it", {"b": 1, "a": [2]}, 0o600)
    text = (tmp_path / "it").read_text()
    assert (json.loads(text), text[-2:]) == ({"a": [2], "b": 1}, "}\n")
    assert text.index('"a"') < text.index('"b"')


@pytest.mark.parametrize("call", ["fsync", "fchmod", "fchown"])
def test_a_call_that_fails_leaves_the_file_of_before_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = tmp_path / "it"
    place.write_text("before")
    monkeypatch.setattr(durable.os, call, full)
    with pytest.raises(OSError, match="No space left"):
        durable.write(place, b"after", 0o600, (-1, -1))
    assert (place.read_text(), names(tmp_path)) == ("before", ["it"])


def test_who_writes_may_fail_in_the_middle(tmp_path: Path) -> None:
    def half() -> None:
        with durable.replacing(tmp_path / "it", 0o600) as stream:
            stream.write(b"half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert names(tmp_path) == []


def test_no_link_is_followed_and_what_a_killed_run_left_is_taken_away(tmp_path: Path) -> None:
    aim, place = tmp_path / "of another", tmp_path / "it"
    aim.write_text("another's")
    beside = tmp_path / f".it{durable.SUFFIX}"
    beside.symlink_to(aim)
    place.symlink_to(aim)
    durable.write(place, b"ours", 0o600)
    assert (place.is_symlink(), place.read_text(), aim.read_text()) == (False, "ours", "another's")
    assert names(tmp_path) == ["it", "of another"]


def test_nobody_else_reads_it_before_it_has_its_owner(tmp_path: Path) -> None:
    place = tmp_path / "it"
    with durable.replacing(place, 0o644) as stream:
        stream.write(b"secret")
        assert mode(tmp_path / f".it{durable.SUFFIX}") == 0o600
    assert mode(place) == 0o644
