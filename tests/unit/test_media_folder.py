"""What of a folder is brought into a media library: by the real rsync, into a folder of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet import media_folder, media_listing
from streamfleet.errors import BadOption, Error
from streamfleet.http import Client
from streamfleet_autodj import library

from tests.unit.fake_server import Reply, serving

# A double of sudo, which runs what follows for one user name only, and takes nothing but what is said here.
SUDO = """\
#!/bin/sh
[ "$1 $2 $3 $4" = "-n -u sf200001 --" ] || { echo "sudo: unknown user $3" >&2; exit 1; }
shift 4
exec "$@"
"""
ROOT = Path(__file__).resolve().parents[2]
SHELL = "sh -c 'shift; exec sh -c \"$*\"' sh"


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    for path, content in {
        "a.mp3": "one",
        "Jazz/B.FLAC": "two",
        "Jazz/odd $(id) 'x' \"y\" #é📻.ogg": "three",
        "notes.txt": "no music",
        "archive/cover.jpg": "no music either",
        ".hidden.mp3": "hidden",
        ".git/c.mp3": "hidden",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    (folder / "link.mp3").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the library is to be, and a PATH on which sudo is the double."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sudo").write_text(SUDO)
    (tmp_path / "bin" / "sudo").chmod(0o755)
    (tmp_path / "library").mkdir()
    return tmp_path / "library"


def bring(src: Path, place: Path, user: str = "sf200001", **options: bool) -> list[tuple[str, str]]:
    chosen = {"delete": False, "dry_run": False, **options}
    argv = media_folder.command(src, f"localhost:{place}/new/day", user, SHELL, **chosen)
    path = f"{place.parent / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(argv, text=True, capture_output=True, check=False, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    changes = [media_folder.change_of(line) for line in done.stdout.splitlines()]
    return [(change.action, change.path) for change in changes if change]


def there(place: Path) -> set[str]:
    return {str(path.relative_to(place / "new/day")) for path in place.rglob("*") if path.is_file()}


def test_the_formats_are_those_of_the_autodj() -> None:
    assert media_folder.SUFFIXES == library.SUFFIXES


def test_videos_are_those_that_the_web_server_plays(tmp_path: Path) -> None:
    script = (ROOT / "roles/web/files/streams.js").read_text()
    played = re.search(r"const FILE = .*\\\.\(\?:(mp4[a-z0-9|]*)\)", script)
    assert played
    assert tuple(f".{suffix}" for suffix in played[1].split("|")) == media_folder.VIDEOS
    (tmp_path / "one.mp4").write_bytes(b"film")
    assert media_folder.scan(tmp_path).media == {"one.mp4": 4}


def test_what_can_be_played_is_told_from_the_rest(src: Path) -> None:
    found = media_folder.scan(src)
    assert found.media == {"a.mp3": 3, "Jazz/B.FLAC": 3, "Jazz/odd $(id) 'x' \"y\" #é📻.ogg": 5}
    assert found.ignored == [".hidden.mp3", "archive/cover.jpg", "link.mp3", "notes.txt", "up"]


def test_only_what_differs_is_sent(src: Path, place: Path) -> None:
    all_of_it = {("send", path) for path in media_folder.scan(src).media}
    assert set(bring(src, place, dry_run=True)) == all_of_it
    assert not (place / "new").exists()
    assert set(bring(src, place)) == all_of_it
    assert there(place) == set(media_folder.scan(src).media)
    assert (place / "new/day/Jazz/B.FLAC").read_text() == "two"
    assert {oct(path.stat().st_mode & 0o777) for path in place.rglob("*") if path.is_file()} == {"0o640"}
    assert bring(src, place) == []
    (src / "a.mp3").write_text("four")
    assert bring(src, place) == [("send", "a.mp3")]


def test_deleting_is_for_what_could_be_played_only(src: Path, place: Path) -> None:
    bring(src, place)
    for name in ("old.mp3", "kept.txt", ".streamfleet-partial.mp3"):
        (place / "new/day" / name).write_text("x")
    assert bring(src, place) == []
    assert bring(src, place, delete=True) == [("delete", "old.mp3")]
    assert {"kept.txt", ".streamfleet-partial.mp3"} <= there(place)


def test_a_name_with_a_line_break_stays_one_line(src: Path, place: Path) -> None:
    (src / "two\nlines.mp3").write_text("x")
    assert ("send", "two\\#012lines.mp3") in bring(src, place)
    assert "two\nlines.mp3" in there(place)


@pytest.mark.parametrize(
    "dest", ["", "/", "/etc", "../x", "a/../b", "a//b", "a/", "./a", ".hidden", "a/.b", "a\nb", "a" * 501]
)
def test_folders_outside_a_library_are_refused(dest: str) -> None:
    with pytest.raises(BadOption, match="dest: "):
        media_folder.destination(dest)


def test_folders_of_a_library_are_taken() -> None:
    for dest in (".", "day", "day/jazz & blues", "é/📻"):
        assert media_folder.destination(dest) == dest


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_text("x")
    for src in (tmp_path / "missing", tmp_path / "a.mp3"):
        with pytest.raises(BadOption, match="is no folder on the controller"):
            media_folder.scan(src)


def looked(library: Path, place: Path, folder: str = ".", limit: int = 100, most: int = 1000) -> media_listing.Listing:
    """What the command finds; sudo is the double."""
    path = f"{place.parent / 'bin'}:{os.environ['PATH']}"
    script = media_listing.command(str(library), folder, limit, "sf200001", most)
    done = subprocess.run(
        ["sh", "-c", script], text=True, capture_output=True, check=False, env={**os.environ, "PATH": path}
    )
    return media_listing.listing_of(done.returncode, done.stdout, done.stderr, folder, "n1")


def test_a_library_is_counted_and_listed(src: Path, place: Path) -> None:
    (src / os.fsdecode(b"odd\xff.mp3")).write_text("x")
    found = looked(src, place)
    sizes = {item["path"]: item["bytes"] for item in found.files}
    assert sizes == {path.replace("\udcff", "\ufffd"): size for path, size in media_folder.scan(src).media.items()}
    assert (found.count, found.bytes, found.ignored, found.complete) == (4, 12, 5, True)
    assert looked(src, place, limit=2).files == found.files[:2]
    assert looked(src, place, limit=0).count == 4
    assert looked(src, place, "Jazz").files == [item for item in found.files if item["path"].startswith("Jazz/")]
    entries = 12
    assert looked(src, place, most=entries).complete
    for most in range(entries):
        cut = looked(src, place, most=most)
        assert not cut.complete
        assert cut.count + cut.ignored <= most + 1
    with pytest.raises(Error, match="does not know the customer's system user"):
        media_listing.listing_of(1, "", "sudo: unknown user sf200001", ".", "n1")
    with pytest.raises(Error, match="sudo without a password"):
        media_listing.listing_of(1, "", "sudo: a password is required", ".", "n1")


@pytest.mark.parametrize("folder", ["none", "up", "a.mp3", "../src/up"])
def test_what_is_no_folder_of_a_library_is_not_looked_into(src: Path, place: Path, folder: str) -> None:
    with pytest.raises(BadOption, match="folder: "):
        looked(src, place, folder)


def test_the_quota_is_what_the_panel_says() -> None:
    items = [{"node": "n1", "disk_quota_mb": 150}, {"node": "n2", "disk_quota_mb": None}]
    with serving(lambda _request: Reply(data={"items": items})) as server:
        client = Client(server.url, "sft_x")
        assert media_listing.quota_of(client, "alice", "n1") == 150
        assert media_listing.quota_of(client, "alice", "n2") is None
        assert media_listing.quota_of(client, "alice", "n3") == 0
    assert {request.path for request in server.requests} == {"/api/v1/customers/alice/libraries"}


class Passing:
    """What os.scandir finds, and what happens meanwhile."""

    def __init__(self, entries: Any, happens: Callable[[os.DirEntry[str]], None]) -> None:
        self.entries = entries
        self.happens = happens

    def __enter__(self) -> Passing:
        return self

    def __exit__(self, *_error: object) -> None:
        self.entries.close()

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        for entry in self.entries:
            self.happens(entry)
            yield entry


def inside(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], library: Path, limit: int = 100
) -> dict[str, Any]:
    """What the program says, run in this process."""
    argv = ["-c", str(library), ".", str(limit), "1000000", *media_folder.PLAYABLE]
    monkeypatch.setattr(sys, "argv", argv)
    exec(media_listing.PROGRAM, {})
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_is_brought_is_what_is_counted(src: Path, place: Path) -> None:
    """Films, too: one list says what belongs into a library."""
    before = looked(src, place)
    (src / "film.mp4").write_bytes(b"12345")
    found = looked(src, place)
    assert (found.count, found.bytes, found.ignored) == (before.count + 1, before.bytes + 5, before.ignored)
    assert "film.mp4" in media_folder.scan(src).media


def test_what_goes_away_meanwhile_is_left_out(
    src: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inside(monkeypatch, capsys, src)
    scandir = os.scandir

    def happens(entry: os.DirEntry[str]) -> None:
        if entry.name == "a.mp3":
            Path(entry.path).unlink()
        if entry.name == "Jazz":
            Path(entry.path).rename(src.parent / "gone")

    monkeypatch.setattr(os, "scandir", lambda path: Passing(scandir(path), happens))
    after = inside(monkeypatch, capsys, src)
    assert (before["count"], after["count"], after["files"]) == (3, 0, [])
    assert (after["ignored"], after["complete"]) == (before["ignored"], True)


def test_many_long_paths_take_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "library"
    deep = library.joinpath(*["x" * 240] * 7)
    deep.mkdir(parents=True)
    for number in range(2000):
        (deep / f"{number:04}").mkdir()
        (deep / f"{number:04}.mp3").touch()
    longer = deep / "0000" / ("y" * 240) / ("y" * 240)
    longer.mkdir(parents=True)
    (longer / "far.mp3").touch()
    tracemalloc.start()
    try:
        found = inside(monkeypatch, capsys, library, limit=3)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert [Path(path).name for path, *_rest in found["files"]] == ["0000.mp3", "0001.mp3", "0002.mp3"]
    # The folder with too long a path is one thing that was not looked into.
    assert (found["count"], found["ignored"], found["complete"]) == (2000, 1, True)


def test_more_folders_than_are_remembered_are_said_to_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        media_listing,
        "PROGRAM",
        media_listing.PROGRAM.replace("most_folders, longest = 50000", "most_folders, longest = 5"),
    )
    library = tmp_path / "library"
    for name in "hgfedcba":
        (library / name / "below").mkdir(parents=True)
        (library / name / "below" / "x.mp3").touch()
    found = inside(monkeypatch, capsys, library)
    assert [path for path, *_rest in found["files"]] == [f"{name}/below/x.mp3" for name in "abcde"]
    assert not found["complete"]


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ('rsync: [receiver] write failed on "x": No space left on device (28)', "the disk of n1 is full"),
        ("sudo: unknown user sf200001", "the customer has no media service there"),
        ("sudo: a password is required", "sudo without a password"),
        ("sudo: rsync: command not found", "n1 has no rsync"),
        ("ssh: connect to host 192.0.2.1 port 22: Connection refused", "Connection refused"),
    ],
)
def test_failures_say_what_to_do(said: str, named: str) -> None:
    lines = [f"{said}\n", "rsync error: unexplained error (code 255) at io.c(228) [sender=3.2.7]\n"]
    assert named in media_folder.failure(12, lines, "n1", "sf200001")


def test_a_user_that_is_not_there_is_told(src: Path, place: Path) -> None:
    with pytest.raises(AssertionError, match="unknown user sf200009"):
        bring(src, place, user="sf200009")
