"""The part of the AutoDJs' script that follows a station's queue, run by Liquidsoap itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "roles" / "autodj" / "files" / "station.liq"
#: Between these lines.
BEGIN, END = "# What the station's owner wants to hear next.", "# What a station plays that has nothing to play"
#: What the part needs of the rest of the script: a track that is always ready, and counted skips.
BEFORE = """
settings.log.stdout.set(true)
settings.log.file.set(false)
station = {live = (null() : {port: int, password: string, folder: string}?)}
autodj = "sh ./chooser"
chosen = request.dynamic(id="tracks", prefetch=1, {request.create("annotate:liq_x=\\"y\\":sound.wav")})
tracks = source.on_track(chosen, fun (_) -> ignore(process.read("echo track >>tracks")))
output.dummy(fallible=true, tracks)
"""
#: A double of the program that chooses: says what the test wrote, and counts how often it was asked.
CHOOSER = 'echo "$1" >>asked\ncat answer\n'

pytestmark = pytest.mark.skipif(shutil.which("liquidsoap") is None, reason="needs liquidsoap")


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the part of the script runs."""
    # Not below a folder of root's own: Liquidsoap refuses to be root.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = SCRIPT.read_text()
        part = text[text.index(BEGIN) : text.index(END)]
        (folder / "part.liq").write_text(BEFORE + part)
        (folder / "chooser").write_text(CHOOSER)
        (folder / "answer").write_text("done\n\n")
        (folder / "queue.json").write_text(json.dumps({"skip": 4, "items": []}))
        argv = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=300", "-ar", "44100", "-ac", "2"]
        subprocess.run([*argv, str(folder / "sound.wav")], check=True)
        user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        if user:
            for path in (folder, *folder.iterdir()):
                os.chown(path, 65534, 65534)
        with (folder / "said").open("w") as said:
            process = subprocess.Popen(
                ["liquidsoap", "part.liq"],
                cwd=folder,
                stdout=said,
                stderr=said,
                env={"PATH": os.environ["PATH"], "HOME": name},
                **user,
            )
        try:
            until(lambda: lines(folder, "tracks") == 1)
            yield folder
        finally:
            process.kill()
            process.wait()


def lines(folder: Path, name: str) -> int:
    path = folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def wish(folder: Path, number: int, skip: int = 4) -> None:
    new = folder / "new"
    new.write_text(json.dumps({"skip": skip, "items": [{"id": f"{number:032x}", "path": "a.mp3"}]}))
    new.chmod(0o644)
    new.replace(folder / "queue.json")


def test_it_asks_until_all_of_the_queue_was_looked_at_and_skips_once(folder: Path) -> None:
    (folder / "answer").write_text("more\n\n")
    wish(folder, 1)
    until(lambda: lines(folder, "asked") >= 3)
    (folder / "answer").write_text("done\n\n")
    time.sleep(2)
    asked = lines(folder, "asked")
    time.sleep(3)
    assert lines(folder, "asked") == asked, "it is asked once more although all was looked at"
    assert lines(folder, "tracks") == 1
    # A program that fails says nothing: it is asked when the queue changes again.
    (folder / "answer").write_text("")
    wish(folder, 2)
    until(lambda: lines(folder, "asked") == asked + 1)
    time.sleep(3)
    assert lines(folder, "asked") == asked + 1
    (folder / "answer").write_text("done\n\n")
    wish(folder, 2, skip=5)
    until(lambda: lines(folder, "tracks") == 2)
    time.sleep(3)
    assert lines(folder, "tracks") == 2
    # What comes instead plays after that.
    (folder / "answer").write_text('done\nannotate:instead="yes":sound.wav\n')
    wish(folder, 3, skip=5)
    until(lambda: lines(folder, "asked") == asked + 3)
    assert "Cannot follow the queue" not in (folder / "said").read_text()


def test_a_queue_is_parsed_only_where_it_has_changed(folder: Path) -> None:
    """A text that is no JSON fails once; so the same failure of another text is said again."""

    def complaints() -> int:
        return (folder / "said").read_text().count("Cannot follow the queue")

    for number in (1, 2):
        new = folder / "new"
        new.write_text("{" * number)
        new.replace(folder / "queue.json")
        until(lambda number=number: complaints() == number)
        time.sleep(3)
        assert complaints() == number
    wish(folder, 4, skip=9)
    until(lambda: lines(folder, "tracks") == 2)
