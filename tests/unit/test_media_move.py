"""A move of the media libraries, step by step, on a double of mounts and rsync.

What a real node makes of it is shown by tests/live/test_move_media.py.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from streamfleet.libraries import LIBRARIES
from streamfleet.media_move import compare, copying, journal, storage
from streamfleet.media_move.errors import MoveError
from streamfleet.media_move.move import Move
from streamfleet.media_move.places import RUN, UNIT, UNIT_FILE
from streamfleet.media_move.storage import Mount

from tests.doubles.storage import SECOND, Killed, StorageDouble

DISK = "/srv/disk/libraries"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageDouble:
    """Two libraries, and a disk for them. Whether file systems keep attributes is not a matter of this machine's."""
    monkeypatch.setattr(os, "setxattr", lambda *_arguments: None)
    double = StorageDouble(tmp_path)
    double.put("200001/day/one.mp3", "one")
    double.put("200001/day/two.mp3", "two")
    double.put("200002/three.mp3", "three")
    return double


def test_what_would_lend_somebodys_power_holds_up_no_move(tmp_path: Path) -> None:
    """A customer may put it there; a copy has it not."""
    one, other = tmp_path / "one", tmp_path / "other"
    for root in (one, other):
        root.mkdir()
        (root / "song.mp3").write_text("song")
        os.utime(root / "song.mp3", (0, 0))
        (root / "song.mp3").chmod(0o755)
    (one / "song.mp3").chmod(0o4755)
    os.mkfifo(one / "pipe")
    assert compare.equal(one, other) == compare.Counts(1, 0, 4)
    assert compare.sample(one, other) == 1
    (other / "song.mp3").chmod(0o700)
    with pytest.raises(MoveError, match="the copy is not the same"):
        compare.equal(one, other)


def test_a_copy_writes_into_its_folder_alone(node: StorageDouble) -> None:
    move(node)
    units = [call for call in node.calls if call[0] == "systemd-run" and "rsync" in call]
    assert len(units) == 3
    for unit in units:
        assert {"--no-devices", "--no-specials", "--chmod=ug-s", "--property=ProtectSystem=strict"} <= set(unit)
        assert f"--property=ReadWritePaths=-{node.path(RUN)} -{node.path(DISK)}" in unit
    assert "--property=Type=oneshot" in units[-1]


def move(node: StorageDouble, killed_at: str = "") -> dict[str, object]:
    """From begin to switch, as the playbook does."""
    work = Move(node.host(killed_at))
    work.begun(DISK)
    while work.copied(5)["status"]["running"]:
        pass
    return work.switched()


def test_the_libraries_are_elsewhere_and_the_files_of_before_are_kept(node: StorageDouble) -> None:
    before = node.files()
    node.before = [lambda: None, lambda: node.put("200001/late.mp3", "late")]
    result = move(node)
    after = before | {"200001/late.mp3": "late"}
    assert node.files() == node.files(DISK) == after
    assert result["verified"]["files"] == 4
    assert result["verified"]["hashed"] == 4
    assert storage.noted(node.host()) == DISK
    assert UNIT in node.enabled
    # Two passes while all goes on; one while nobody writes.
    assert [word for word in node.log if word] == ["rsync", "rsync", "stop", "rsync", "start"]
    node.reboot()
    assert node.files() == after
    freed = Move(node.host()).released()["freed"]
    assert freed["files"] == 4
    assert node.files() == after
    assert node.journal() is None
    assert [path.name for path in node.path("/var/lib/streamfleet").iterdir() if path.name.startswith(".covered")] != []
    assert list(node.path("/var/lib/streamfleet/.covered0").iterdir()) == []


def test_it_goes_back_with_what_has_come_since(node: StorageDouble) -> None:
    move(node)
    node.put("200001/new.mp3", "new")
    node.path(f"{LIBRARIES}/200002/three.mp3").unlink()
    wanted = node.files()
    work = Move(node.host())
    assert work.turned()["back"]
    while work.copied(5)["status"]["running"]:
        pass
    work.undone()
    assert node.files() == wanted
    assert not node.path(LIBRARIES).is_symlink()
    assert not node.path(DISK).exists()
    assert not node.path(UNIT_FILE).exists()
    assert UNIT not in node.enabled
    assert node.active == {SECOND}
    assert node.journal() is None


def test_a_copy_that_is_not_switched_is_taken_back(node: StorageDouble) -> None:
    before = node.files()
    work = Move(node.host())
    work.begun(DISK)
    work.copied(5)
    assert not work.turned()["back"]
    work.undone()
    assert node.files() == before
    assert not node.path(DISK).exists()
    assert node.journal() is None


@pytest.mark.parametrize("at", ["copied", "covered"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_run_that_is_killed_while_it_switches_is_finished_by_the_next(
    node: StorageDouble, at: str, restart: bool
) -> None:
    before = node.files()
    with pytest.raises(Killed):
        move(node, killed_at=at)
    assert node.active == set()
    if restart:
        node.reboot()
    elif at == "covered":
        # By then it is written to the new folder.
        node.put("200001/late.mp3", "late")
        before |= {"200001/late.mp3": "late"}
    move(node)
    assert node.files() == node.files(DISK) == before
    assert node.active == {SECOND}
    assert node.journal()["phase"] == "switched"


@pytest.mark.parametrize("at", ["copied back", "uncovered"])
def test_a_run_that_is_killed_while_it_goes_back_is_finished_by_the_next(node: StorageDouble, at: str) -> None:
    move(node)
    node.put("200001/new.mp3", "new")
    wanted = node.files()
    work = Move(node.host(at))
    work.turned()
    work.copied(5)
    with pytest.raises(Killed):
        work.undone()
    assert node.active == set()
    again = Move(node.host())
    if again.turned()["back"]:
        again.copied(5)
    again.undone()
    assert node.files() == wanted
    assert node.active == {SECOND}
    assert not node.path(DISK).exists()


def test_nothing_is_removed_while_the_new_disk_is_not_there(node: StorageDouble) -> None:
    move(node)
    node.put("200001/new.mp3", "new")
    node.enabled.clear()
    node.reboot()
    work = Move(node.host())
    with pytest.raises(MoveError, match=r"is not what is seen.*restart var-lib"):
        work.undone()
    with pytest.raises(MoveError, match="is not what is seen"):
        work.released()
    assert node.files(DISK)["200001/new.mp3"] == "new"


def test_what_fails_leaves_the_libraries_where_they_were(node: StorageDouble) -> None:
    before = node.files()
    work = Move(node.host())
    work.begun(DISK)
    node.codes = [11]
    with pytest.raises(MoveError, match=r"rsync ended with 11 and says: rsync: .receiver. write failed"):
        work.copied(5)
    # Files that went meanwhile are no failure; something that ends it each time is.
    node.codes = [24, 0]
    work.copied(5)
    node.codes = [11]
    with pytest.raises(MoveError, match="what has changed since the copy cannot be copied"):
        work.switched()
    assert node.active == {SECOND}
    assert node.files() == before
    assert storage.noted(node.host()) == LIBRARIES
    node.path(DISK).joinpath("200002/three.mp3").write_text("other")
    node.codes = [0]
    move(node)
    assert node.files(DISK) == before


def test_a_copy_that_is_ended_each_time_is_not_begun_for_ever(node: StorageDouble) -> None:
    work = Move(node.host())
    work.begun(DISK)
    node.codes = [-9] * 10
    with pytest.raises(MoveError, match="again and again"):
        work.copied(5)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("srv/disk", "absolute path"),
        ("/srv", "at least two parts"),
        ("/srv/disk/a b", "letters, digits"),
        ("/srv/disk/../x", "letters, digits"),
        ("/var/lib/streamfleet/media/new", "inside the other"),
        ("/var/lib", "inside the other"),
        ("/run/media/new", "not for data"),
        ("/var/lib/streamfleet/other", "not for data"),
        ("/srv/none/new", "there is no /srv/none"),
        ("/srv/link/new", "is a link"),
        ("/srv/disk/full", "something in it"),
    ],
)
def test_folders_are_refused_before_anything_is_done(node: StorageDouble, folder: str, message: str) -> None:
    node.path("/srv/link").symlink_to(node.path("/srv/disk"))
    node.put("file", folder="/srv/disk/full")
    with pytest.raises(MoveError, match=message):
        Move(node.host()).begun(folder)
    assert node.journal() is None
    assert [call[0] for call in node.calls] == []


def test_a_host_that_has_no_libraries_yet_is_told_how_they_begin_elsewhere(node: StorageDouble) -> None:
    shutil.rmtree(node.path(LIBRARIES))
    with pytest.raises(MoveError, match=f"has no media libraries yet: .* streamfleet_common_media_path: {DISK}"):
        Move(node.host()).planned(DISK)


def test_a_disk_that_is_too_small_is_refused(node: StorageDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(node.root)
    small = os.statvfs_result((*real[:4], 1024, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: small)
    with pytest.raises(MoveError, match=r"[0-9]+ MB are free there, and 256 are needed"):
        Move(node.host()).planned(DISK)


def test_what_was_written_to_the_old_folder_after_the_switch_is_not_removed(node: StorageDouble) -> None:
    move(node)
    time.sleep(0.02)
    node.put("200001/stray.mp3", "stray", "/var/lib/streamfleet/.covered0")
    with pytest.raises(MoveError, match=r"200001/stray.mp3 was written after the switch.*Nothing is removed"):
        Move(node.host()).released()
    node.path("/var/lib/streamfleet/.covered0/200001/stray.mp3").unlink()
    assert Move(node.host()).released()["changed"]


def test_a_second_move_waits_until_the_first_is_released(node: StorageDouble) -> None:
    before = node.files()
    move(node)
    work = Move(node.host())
    with pytest.raises(MoveError, match="move_media_release=true"):
        work.begun("/srv/disk/other")
    work.released()
    with pytest.raises(MoveError, match="Give another folder of the disk"):
        work.begun(LIBRARIES)
    work.begun("/srv/disk/other")
    work.copied(5)
    work.switched()
    assert node.files("/srv/disk/other") == before == node.files(DISK)
    node.put("200001/new.mp3", "new")
    assert work.turned()["back"]
    work.copied(5)
    work.undone()
    assert storage.noted(node.host()) == DISK
    assert node.files() == node.files(DISK) == before | {"200001/new.mp3": "new"}
    with pytest.raises(MoveError, match="no move is under way"):
        work.released()


def test_a_mount_of_the_operators_own_is_not_covered(node: StorageDouble) -> None:
    node.path(DISK).mkdir()
    node.run(["mount", "--bind", DISK, LIBRARIES], "", 1)
    with pytest.raises(MoveError, match="is a mount already"):
        Move(node.host()).planned("/srv/disk/other")


def test_two_runs_do_not_work_at_once(node: StorageDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.1)
    with (
        Move(node.host()).journal.locked(),
        pytest.raises(MoveError, match="another run"),
        Move(node.host()).journal.locked(),
    ):
        pass
    with Move(node.host()).journal.locked():
        pass


def test_check_mode_changes_nothing(node: StorageDouble) -> None:
    work = Move(node.host(), check=True)
    assert work.begun(DISK)["changed"]
    assert node.journal() is None
    assert not node.path(DISK).exists()
    assert node.calls == []


def test_a_host_begins_where_its_inventory_says_and_refuses_to_change_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "setxattr", lambda *_arguments: None)
    node = StorageDouble(tmp_path)
    assert Move(node.host(), check=True).placed(DISK)["changed"]
    assert not node.path(DISK).exists()
    assert Move(node.host()).placed(DISK)["changed"]
    node.put("200001/one.mp3")
    assert not Move(node.host()).placed(DISK)["changed"]
    with pytest.raises(MoveError, match=r"there are libraries in /srv/disk/libraries. Move them by move_media.yml"):
        Move(node.host()).placed("/srv/disk/other")
    # Without its disk it is not begun anew on another.
    node.path(DISK).rename(node.path("/srv/away"))
    node.enabled.clear()
    node.reboot()
    with pytest.raises(MoveError, match="Mount its disk"):
        Move(node.host()).placed(DISK)


@pytest.mark.parametrize("data", [False, True])
def test_it_is_taken_away_with_the_data_or_without(node: StorageDouble, data: bool) -> None:
    assert not Move(node.host()).removed(data)["changed"]
    move(node)
    assert Move(node.host()).removed(data)["changed"]
    assert not node.path(LIBRARIES).is_symlink()
    assert node.path(DISK).exists() != data
    assert not node.path(UNIT_FILE).exists()
    assert node.journal() is None


def mount(number: int, parent: int, point: str, *options: str, root: str = "/", device: str = "8:1") -> Mount:
    return Mount(number, parent, device, root, point, ("rw", *options) if "ro" not in options else options, "ext4")


NEW = {"root": "/libraries", "device": "8:2"}


def test_who_could_only_read_is_made_to_read_only() -> None:
    ours = [mount(1, 0, "/"), mount(9, 1, LIBRARIES, "nodev", "nosuid", **NEW)]
    strict = [mount(1, 0, "/", "ro"), mount(9, 1, LIBRARIES, **NEW)]
    assert storage.too_free(strict, ours) == [(LIBRARIES, ("ro", "nosuid", "nodev"))]
    writing = [mount(1, 0, "/", "ro"), mount(2, 1, LIBRARIES), mount(9, 2, LIBRARIES, **NEW)]
    assert storage.too_free(writing, ours) == [(LIBRARIES, ("nosuid", "nodev"))]
    # What covers the place there, as InaccessiblePaths does, is not touched.
    closed = [mount(1, 0, "/", "ro"), mount(9, 1, LIBRARIES, **NEW), mount(3, 9, LIBRARIES, "ro", device="0:5")]
    assert storage.too_free(closed, ours) == []
    above = [mount(1, 0, "/"), mount(2, 1, "/var/lib/streamfleet", "ro", device="0:5"), mount(9, 1, LIBRARIES, **NEW)]
    assert storage.too_free(above, ours) == []
    root = [mount(1, 0, "/"), mount(9, 1, LIBRARIES, **NEW), mount(2, 1, "/", device="0:5")]
    assert storage.too_free(root, ours) == []
    open_there = [mount(1, 0, "/"), mount(2, 1, "/var/lib/streamfleet"), mount(9, 2, LIBRARIES, **NEW)]
    assert storage.too_free(open_there, ours) == [(LIBRARIES, ("nosuid", "nodev"))]
    wowza = [mount(1, 0, "/"), mount(4, 1, storage.ALSO, "ro", "nosymfollow"), mount(9, 4, storage.ALSO, **NEW)]
    assert storage.too_free(wowza, ours) == [(storage.ALSO, ("ro", "nosuid", "nodev", "nosymfollow"))]
    done = [mount(1, 0, "/", "ro"), mount(9, 1, LIBRARIES, "ro", "nosuid", "nodev", **NEW)]
    assert storage.too_free(done, ours) == []
    assert storage.too_free(strict, [mount(1, 0, "/")]) == []


def test_copies_are_compared_to_the_last_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a/file").write_text("same")
        os.utime(tmp_path / name / "a/file", ns=(1, 1))
        (tmp_path / name / "lost+found").mkdir(exist_ok=name == "one")
    one, two = tmp_path / "one", tmp_path / "two"
    assert compare.equal(one, two) == compare.Counts(1, 1, 4)
    assert compare.sample(one, two) == 1
    (two / "a/file").write_text("some")
    os.utime(two / "a/file", ns=(1, 1))
    with pytest.raises(MoveError, match="has another content"):
        compare.sample(one, two)
    os.utime(two / "a/file", ns=(2, 2))
    with pytest.raises(MoveError, match="'a/file' is"):
        compare.equal(one, two)
    # Of another time: copied again anyhow.
    assert compare.sample(one, two) == 0
    (two / "a/file").unlink()
    with pytest.raises(MoveError, match="'a/file' is there, and in the copy '' comes next"):
        compare.equal(one, two)
    (one / "a/file").unlink()
    (two / "b").touch()
    with pytest.raises(MoveError, match="'b' is in the copy only"):
        compare.equal(one, two)


def test_progress_is_read_from_what_rsync_says(tmp_path: Path) -> None:
    node = StorageDouble(tmp_path)
    place = node.path(storage.RUN)
    place.mkdir(parents=True)
    said = "\r     32,768   0%    0.00kB/s    0:00:00\r 52,428,800  41%   12.5MB/s    0:00:06 (xfr#3, to-chk=1/9)"
    (place / "progress").write_text(said)
    assert copying.progress(node.host()) == (41.0, "52,428,800 bytes, 12.5MB/s")
