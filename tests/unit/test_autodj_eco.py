"""The small AutoDJ: what it sends of a recording, what it refuses, in what time, and what it does without a server."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamfleet_autodj import eco, frames
from streamfleet_autodj.__main__ import Station

OPTIONS = {
    "mp3": ["-c:a", "libmp3lame", "-b:a", "64k"],
    "aac": ["-c:a", "aac", "-b:a", "64k", "-f", "adts"],
    "ogg": ["-c:a", "libvorbis", "-q:a", "0"],
    "opus": ["-c:a", "libopus", "-b:a", "48k"],
}


def recording(path: Path, kind: str, seconds: float = 4, *options: str) -> Path:
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", f"sine=frequency=500:duration={seconds}"]
    subprocess.run([*argv, *(options or OPTIONS[kind]), str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = Path(tmp_path_factory.mktemp("recordings"))
    return {kind: recording(folder / f"tone.{kind}", kind) for kind in OPTIONS}


def sent(path: Path, kind: str) -> tuple[bytes, float]:
    with path.open("rb") as file:
        found = list(frames.pieces(file, kind))
    return b"".join(piece for piece, _seconds in found), sum(seconds for _piece, seconds in found)


def seconds_of(data: bytes) -> float:
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-i", "-", "-f", "s16le", "-ar", "8000", "-ac", "1", "-"]
    return len(subprocess.run(argv, input=data, capture_output=True, check=True).stdout) / 16000


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_recording_is_sent_whole_and_its_time_is_true(recordings, kind):
    data, seconds = sent(recordings[kind], kind)
    assert seconds == pytest.approx(4, abs=0.2)
    assert seconds_of(data) == pytest.approx(4, abs=0.2)
    if kind in ("ogg", "opus"):
        assert data == recordings[kind].read_bytes()


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("other", OPTIONS)
def test_another_format_is_refused_whatever_it_is_called(recordings, kind, other):
    if kind == other:
        return
    with recordings[other].open("rb") as file, pytest.raises(frames.Unfit, match="is no"):
        frames.measure(file, kind)


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize(
    "content", [b"", b"not music at all", os.urandom(300_000), b"\xff" * 300_000, b"ID3\4\0\0\x7f\x7f\x7f\x7f"]
)
def test_what_is_no_music_is_refused(tmp_path, kind, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(frames.Unfit):
        frames.measure(file, kind)


@pytest.mark.parametrize("kind", ["mp3", "aac"])
def test_junk_around_and_between_frames_is_left_out(recordings, tmp_path, kind):
    clean, seconds = sent(recordings[kind], kind)
    raw = recordings[kind].read_bytes()
    path = tmp_path / "x"
    path.write_bytes(b"ID3\4\0\0\0\0\1\0" + b"\xff\xfb\x90\x00" * 32 + raw + b"TAG" + b"\xff" * 125)
    assert sent(path, kind) == (clean, seconds)
    half = len(raw) // 2
    path.write_bytes(raw[:half] + b"\0" * 3000 + raw[half:])
    assert sent(path, kind)[1] == pytest.approx(seconds, abs=0.1)


def test_a_cut_file_is_sent_up_to_its_last_whole_page(recordings, tmp_path):
    raw = recordings["ogg"].read_bytes()
    path = tmp_path / "x"
    path.write_bytes(raw[:-100])
    data, _seconds = sent(path, "ogg")
    assert raw.startswith(data)
    assert len(data) < len(raw) - 100


def test_an_ogg_file_with_something_beside_the_sound_is_refused(recordings, tmp_path):
    vorbis, opus = recordings["ogg"].read_bytes(), recordings["opus"].read_bytes()
    path = tmp_path / "x"
    path.write_bytes(vorbis + opus)
    with path.open("rb") as file, pytest.raises(frames.Unfit, match="something beside it"):
        frames.measure(file, "ogg")


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Station:
    folders = {name: tmp_path / name for name in ("settings", "data", "media", "index")}
    for folder in folders.values():
        folder.mkdir()
    write(tmp_path, format="mp3", bitrate_kbps=64)
    (folders["settings"] / "playlists.json").write_text("[]")
    monkeypatch.setenv("STREAMFLEET_AUTODJ_SETTINGS", str(folders["settings"]))
    monkeypatch.setenv("STREAMFLEET_AUTODJ_DATA", str(folders["data"]))
    return again(tmp_path)


def again(folder: Path) -> Station:
    return Station(folder / "settings", folder / "data")


def write(folder: Path, port: int = 1, **feed: object) -> None:
    settings = {
        "port": port,
        "password": "secret",
        "feeds": [{"mount": "/autodj", **feed}],
        "library": str(folder / "media"),
        "index": str(folder / "index"),
    }
    (folder / "settings" / "settings.json").write_text(json.dumps(settings))


def test_only_files_of_the_mounts_format_are_chosen_and_it_is_known_why(station, recordings, tmp_path):
    media = tmp_path / "media"
    for number in range(60):
        (media / f"a{number:02}.mp3").write_bytes(b"no music")
    (media / "loud.mp3").write_bytes(recording(tmp_path / "l.mp3", "mp3", 3, "-b:a", "192k").read_bytes())
    (media / "vorbis.ogg").write_bytes(recordings["ogg"].read_bytes())
    (media / "good.mp3").write_bytes(recordings["mp3"].read_bytes())
    for _turn in range(3):
        chosen = again(tmp_path).eco_next(1000.0)
        assert chosen is not None
        assert Path(chosen["file"]).resolve() == media / "good.mp3"
        assert chosen["title"] == "good"
    told = json.loads((tmp_path / "data" / "eco.json").read_text())["files"]
    assert told["good.mp3"][2] == ""
    assert told["loud.mp3"][2].startswith("has 19")
    assert told["loud.mp3"][2].endswith("kbit/s, more than the 64 of the mount")
    passed = json.loads((tmp_path / "data" / "passed_over.json").read_text())
    assert passed["count"] == 62
    # The first of them only.
    assert [item["path"] for item in passed["items"]] == [f"a{number:02}.mp3" for number in range(50)]
    for number in range(60):
        (media / f"a{number:02}.mp3").unlink()
    assert again(tmp_path).eco_next(1000.0) is not None
    passed = json.loads((tmp_path / "data" / "passed_over.json").read_text())
    assert passed == {
        "count": 2,
        "items": [
            {"path": "loud.mp3", "reason": told["loud.mp3"][2]},
            {"path": "vorbis.ogg", "reason": "is not called .mp3"},
        ],
    }
    # As a file that was bad is replaced by a good one, it is known at once.
    (media / "good.mp3").unlink()
    assert again(tmp_path).eco_next(1000.0) is None
    (media / "a00.mp3").write_bytes(recordings["mp3"].read_bytes())
    chosen = again(tmp_path).eco_next(1000.0)
    assert chosen is not None
    assert Path(chosen["file"]).resolve() == media / "a00.mp3"
    assert "good.mp3" not in json.loads((tmp_path / "data" / "eco.json").read_text())["files"]


def test_another_format_of_the_mounts_is_another_question(station, recordings, tmp_path):
    (tmp_path / "media" / "vorbis.ogg").write_bytes(recordings["ogg"].read_bytes())
    assert station.eco_next(1000.0) is None
    write(tmp_path, format="ogg", bitrate_kbps=128)
    assert again(tmp_path).eco_next(1000.0) is not None
    write(tmp_path, format="opus", bitrate_kbps=96)
    assert again(tmp_path).eco_next(1000.0) is None


def test_what_is_passed_over_fits_into_what_is_fetched(station, tmp_path):
    for number in range(40):
        (tmp_path / "media" / f"{number:02}{'ü' * 100}.ogg").write_bytes(b"x")
    (tmp_path / "media" / os.fsdecode(b"\xff.ogg")).write_bytes(b"x")
    assert station.eco_next(1000.0) is None
    path = tmp_path / "data" / "passed_over.json"
    passed = json.loads(path.read_text())
    assert passed["count"] == 41
    assert 30 < len(passed["items"]) < 40
    assert path.stat().st_size < 32768
    # What says nothing new is not written: the worker would fetch it.
    before = path.stat().st_ino
    assert again(tmp_path).eco_next(2000.0) is None
    assert path.stat().st_ino == before
    for file in (tmp_path / "media").iterdir():
        file.unlink()
    again(tmp_path).eco_next(3000.0)
    assert json.loads(path.read_text()) == {"count": 0, "items": []}


class Icecast:
    """A double of a server: takes a source with the right password, and titles; nothing else."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.got: list[bytes] = []
        self.titles: list[str] = []
        self.heads: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                link, _peer = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._client, args=(link,), daemon=True).start()

    def _client(self, link: socket.socket) -> None:
        with link:
            head = b""
            while b"\r\n\r\n" not in head:
                head += link.recv(1)
            text = head.decode()
            self.heads.append(text)
            if base64.b64encode(b"source:secret").decode() not in text:
                link.sendall(b"HTTP/1.0 401 Authentication Required\r\n\r\n")
            elif text.startswith("GET /admin/metadata?"):
                self.titles.append(text.split()[1])
                link.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            elif text.startswith("SOURCE /autodj HTTP/1.0\r\n") and "Content-Type: audio/mpeg\r\n" in text:
                link.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                while data := link.recv(65536):
                    self.got.append(data)
            else:
                link.sendall(b"HTTP/1.0 403 Forbidden\r\n\r\n")


@pytest.fixture
def server() -> Iterator[Icecast]:
    it = Icecast()
    yield it
    it.listening.close()


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.slow
def test_tracks_follow_each_other_in_real_time(station, recordings, tmp_path, server, monkeypatch):
    monkeypatch.setattr(eco, "PATIENCE", 60.0)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(eco.__file__).parents[1])]))
    (tmp_path / "media" / "good.mp3").write_bytes(recordings["mp3"].read_bytes())
    write(tmp_path, port=server.port, format="mp3", bitrate_kbps=64)
    clock = Clock()
    player = eco.Player(tmp_path / "settings", clock.sleep, clock)
    for _track in range(3):
        player._one()
    # Twelve seconds of sound, of which three may be ahead.
    assert clock.now - 1000 == pytest.approx(3 * 4 - eco.AHEAD, abs=1)
    history = [json.loads(line) for line in (tmp_path / "data" / "history.jsonl").read_text().splitlines()]
    assert [line["path"] for line in history] == ["good.mp3"] * 3
    assert server.titles[0] == "/admin/metadata?mode=updinfo&mount=%2Fautodj&charset=UTF-8&song=good"
    assert player._server is not None
    player._server.close()


def test_without_a_track_the_safe_tone_is_sent(station, recordings, tmp_path, server, monkeypatch):
    monkeypatch.setattr(eco, "PATIENCE", 60.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(eco.__file__).parents[1]))
    monkeypatch.setattr(eco, "SAFE", tmp_path)
    (tmp_path / "safe.mp3").write_bytes(recordings["mp3"].read_bytes())
    (tmp_path / "media" / "bad.mp3").write_bytes(b"no music")
    write(tmp_path, port=server.port, format="mp3", bitrate_kbps=64)
    clock = Clock()
    player = eco.Player(tmp_path / "settings", clock.sleep, clock)
    player._one()
    assert player._sent == pytest.approx(4, abs=0.2)
    assert not (tmp_path / "data" / "history.jsonl").exists()


def answers(monkeypatch: pytest.MonkeyPatch, **scripts: str) -> list[str]:
    """Let the chooser be these scripts of a shell; a list of what was asked."""
    asked: list[str] = []

    def ask(*words: str) -> subprocess.Popen[str]:
        asked.append(words[0])
        return subprocess.Popen(["sh", "-c", scripts[words[0].replace("-", "_")]], stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(eco, "_ask", ask)
    return asked


@pytest.fixture
def player(station, recordings, tmp_path, server, monkeypatch):
    monkeypatch.setattr(eco, "SAFE", tmp_path)
    (tmp_path / "safe.mp3").write_bytes(recordings["mp3"].read_bytes())
    write(tmp_path, port=server.port, format="mp3", bitrate_kbps=64)
    clock = Clock()
    it = eco.Player(tmp_path / "settings", clock.sleep, clock)
    yield it
    if it._choosing is not None:
        it._choosing.kill()
        it._choosing.communicate()


@pytest.mark.parametrize(
    "fault", ["exit 1", "echo no-json", 'echo \'{"file": "/nowhere", "number": 1, "title": null}\'']
)
def test_a_chooser_that_fails_is_heard_as_the_safe_tone(player, monkeypatch, fault, capsys):
    """A full disk, say: others' tenants may cause it, and nobody's station falls silent for it."""
    answers(monkeypatch, eco_next=fault)
    for turn in range(1, 4):
        player._one()
        assert player._sent == pytest.approx(4 * turn, abs=0.5)
    assert capsys.readouterr().out.count("cho") == 1


def test_what_cannot_be_written_down_is_played_all_the_same(player, recordings, monkeypatch):
    chosen = json.dumps({"file": str(recordings["mp3"]), "number": 7, "title": None})
    answers(monkeypatch, eco_next=f"echo '{chosen}'", started="exit 1")
    player._one()
    assert player._sent == pytest.approx(4, abs=0.2)


def test_while_the_chooser_takes_long_the_safe_tone_is_sent_and_its_answer_counts_in_the_end(
    player, recordings, tmp_path, monkeypatch
):
    monkeypatch.setattr(eco, "PATIENCE_AT_FIRST", 0.1)
    monkeypatch.setattr(eco, "PATIENCE", 0.1)
    chosen = json.dumps({"file": str(recordings["mp3"]), "number": 7, "title": None})
    wait = f"n=0; until [ -e {tmp_path}/ready ] || [ $n = 600 ]; do sleep 0.05; n=$((n+1)); done; echo '{chosen}'"
    asked = answers(monkeypatch, eco_next=wait, started="true")
    for _turn in range(3):
        player._one()
    assert asked == ["eco-next"]
    (tmp_path / "ready").touch()
    assert player._choosing.wait(10) == 0
    (tmp_path / "ready").unlink()
    player._one()
    assert asked == ["eco-next", "started", "eco-next"]
    # One that never answers is ended, and another one is asked.
    monkeypatch.setattr(eco, "CHOOSING_SECONDS", 0.0)
    stuck = player._choosing
    for _turn in range(2):
        player._one()
    assert stuck.poll() == -9


def test_a_server_that_refuses_or_is_not_there_is_said(server):
    for port, password, said in ((server.port, "wrong", "401"), (1, "secret", "refused")):
        with pytest.raises(eco.Gone, match=said):
            eco.Server(port, password, "/autodj", "mp3").send(b"x")


def test_a_title_cannot_break_out_of_its_request(server):
    eco.Server(server.port, "secret", "/autodj", "mp3").title("a & b\r\nX: y HTTP/1.0 #é")
    written = "a+%26+b%0D%0AX%3A+y+HTTP%2F1.0+%23%C3%A9"
    first = server.heads[0].split("\r\n")[0]
    assert first == f"GET /admin/metadata?mode=updinfo&mount=%2Fautodj&charset=UTF-8&song={written} HTTP/1.0"


def wish(tmp_path: Path, items: list[str], skip: int = 0) -> None:
    (tmp_path / "settings" / "queue.json").write_text(json.dumps({"skip": skip, "items": items}))


def test_a_queue_that_changes_has_what_comes_next_chosen_once_more(player, recordings, tmp_path, monkeypatch):
    """While a track plays, and each change once."""
    chosen = json.dumps({"file": str(recordings["mp3"]), "number": 7, "title": None})
    instead = json.dumps({"file": str(recordings["mp3"]), "number": 8, "title": None})
    asked = answers(monkeypatch, eco_next=f"echo '{chosen}'", eco_again=f"echo '{instead}'", started="true")
    wish(tmp_path, ["a"])
    begun = player._begun

    def and_then(*what):
        begun(*what)
        player._choosing.wait(10)
        wish(tmp_path, ["b"])

    monkeypatch.setattr(player, "_begun", and_then)
    player._one()
    assert asked == ["eco-next", "started", "eco-next", "eco-again"]
    monkeypatch.setattr(player, "_begun", begun)
    player._one()
    assert player._number == 8
    assert asked.count("eco-again") == 1


def test_while_not_all_of_the_queue_was_looked_at_it_is_asked_again(player, recordings, tmp_path, monkeypatch):
    """At each look until it was, though the queue does not change."""
    chosen = {"file": str(recordings["mp3"]), "number": 7, "title": None}
    some, all_ = json.dumps({**chosen, "more": True}), json.dumps({**chosen, "more": False})
    asked = answers(monkeypatch, eco_next=f"echo '{some}'", eco_again=f"echo '{some}'", started="true")
    begin = player._begin_asking

    def and_wait(word):
        if asked.count("eco-again") == 1:
            more = answers(monkeypatch, eco_again=f"echo '{all_}'")
            begin(word)
            asked.extend(more)
        else:
            begin(word)
        player._choosing.wait(10)

    monkeypatch.setattr(player, "_begin_asking", and_wait)
    wish(tmp_path, ["a"])
    monkeypatch.setattr(eco, "LOOK_SECONDS", 0.0)
    player._one()
    assert asked == ["eco-next", "started", "eco-next", "eco-again", "eco-again"]


def test_a_queue_that_is_the_same_is_not_read_again(tmp_path, monkeypatch):
    (tmp_path / "settings").mkdir()
    wish(tmp_path, ["a"], skip=2)
    wishes = eco.Wishes(tmp_path / "settings" / "queue.json")
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or path.read_text().encode())
    for _ in range(5):
        wishes.look()
    assert (wishes.items, wishes.skips, len(read)) == (["a"], 2, 1)
    (tmp_path / "new").write_text(json.dumps({"skip": 3, "items": ["b"]}))
    (tmp_path / "new").replace(tmp_path / "settings" / "queue.json")
    for _ in range(5):
        wishes.look()
    assert (wishes.items, wishes.skips, len(read)) == (["b"], 3, 2)


@pytest.mark.parametrize("changes", [False, True])
def test_what_is_taken_out_while_the_server_is_away_is_not_sent(player, recordings, tmp_path, monkeypatch, changes):
    chosen = json.dumps({"file": str(recordings["mp3"]), "number": 7, "title": None})
    instead = json.dumps({"file": str(recordings["mp3"]), "number": 8, "title": None})
    asked = answers(monkeypatch, eco_next=f"echo '{chosen}'", eco_again=f"echo '{instead}'", started="true")
    there = eco.Server.send

    def away(_self: eco.Server, _data: bytes) -> None:
        raise eco.Gone("away")

    monkeypatch.setattr(eco.Server, "send", away)
    wish(tmp_path, ["a"])
    with pytest.raises(eco.Gone):
        player._one()
    if changes:
        wish(tmp_path, [])
    monkeypatch.setattr(eco.Server, "send", there)
    player._one()
    assert player._number == (8 if changes else 7)
    assert asked[:2] == ["eco-next", "eco-again" if changes else "started"]


def test_a_track_is_skipped_once_and_only_when_that_is_asked_while_it_plays(player, recordings, tmp_path, monkeypatch):
    chosen = json.dumps({"file": str(recordings["mp3"]), "number": 7, "title": None})
    answers(monkeypatch, eco_next=f"echo '{chosen}'", started="true")
    # Asked before this player began.
    wish(tmp_path, [], skip=3)
    player._skips = eco.Player(tmp_path / "settings")._skips
    player._one()
    whole = player._sent
    assert whole == pytest.approx(4, abs=0.2)
    wish(tmp_path, [], skip=4)
    player._one()
    assert player._sent - whole < 3
    before = player._sent
    # A file that cannot be read says nothing.
    (tmp_path / "settings" / "queue.json").write_text("{")
    player._one()
    wish(tmp_path, [], skip=4)
    player._one()
    assert player._sent - before == pytest.approx(8, abs=0.4)


def test_what_was_chosen_and_has_not_begun_is_played_when_the_server_is_back(player, recordings, monkeypatch):
    chosen = json.dumps({"file": str(recordings["mp3"]), "number": 7, "title": None})
    asked = answers(monkeypatch, eco_next=f"echo '{chosen}'", started="true")
    there = eco.Server.send

    def away(_self: eco.Server, _data: bytes) -> None:
        raise eco.Gone("away")

    monkeypatch.setattr(eco.Server, "send", away)
    for _ in range(2):
        with pytest.raises(eco.Gone):
            player._one()
    assert asked == ["eco-next"]
    monkeypatch.setattr(eco.Server, "send", there)
    player._one()
    assert asked == ["eco-next", "started", "eco-next"]
    # What has begun is not begun again.
    monkeypatch.setattr(eco.Server, "send", away)
    with pytest.raises(eco.Gone):
        player._one()
    assert player._held is None
