"""What of a folder is brought into a media library: by the real rsync, into a folder of this machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from streamfleet import media_folder
from streamfleet.errors import BadOption
from streamfleet_autodj import library

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
