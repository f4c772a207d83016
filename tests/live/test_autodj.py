"""An AutoDJ, for real, and by what is heard: one listener's one connection, a tone of its own for every recording.

``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.doubles.panel import autodj, playlist, schedule, station
from tests.live.chosen import PREDICTS, chosen
from tests.live.node import NODE, Node, changed_tasks, counted, password
from tests.live.streams import Source, on_air
from tests.live.tones import RATE, Ears, Encoder, decoded, heard_at, longest_silence, recording

pytestmark = pytest.mark.live

RADIO = ("rock-fm", 200001, 8100)
OTHER = ("jazz-fm", 200002, 8101)
UNIT = "streamfleet-autodj@rock-fm.service"
MEDIA = "/var/lib/streamfleet/media/200001"
INDEX = "/var/lib/streamfleet/media-index/200001"
DATA = "/var/lib/streamfleet/services/rock-fm/autodj"

#: Folder of the library → its tone in Hz.
TONES = {"day": 600, "night": 1000, "ids": 1900}
LIVE = 1400
SAFE = 440
ALL = (*TONES.values(), LIVE, SAFE)
TRACK_SECONDS = 12.0
#: A change is heard with the next track but one, and on a busy machine Liquidsoap needs its time to start.
SOON, START = 3 * TRACK_SECONDS + 10, 90.0

#: Seconds of processor that a unit's process and its children have taken, and the memory (PSS, MB) of the process.
SPENT = (
    'python3 -c \'import os,sys; pid = os.popen("systemctl show -p MainPID --value " + sys.argv[1]).read().strip();'
    ' f = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split();'
    ' m = open(f"/proc/{pid}/smaps_rollup").read().split("\\nPss:")[1].split()[0];'
    ' print(sum(map(int, f[11:15])) / os.sysconf("SC_CLK_TCK"), int(m) * 1024 / 1e6)\''
)

ROLES = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  gather_facts: false
  roles:
    - common
    - icecast
    - autodj
"""


class Studio(Node):
    """A node whose one station has an AutoDJ."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "roles.yml").write_text(ROLES)

    def upload(self, path: Path, name: str, uid: int = 200001) -> None:
        """Put a file into a customer's media library."""
        target = f"/var/lib/streamfleet/media/{uid}/{name}"
        text = base64.b64encode(path.read_bytes()).decode()
        self.fleet.exec(NODE, ["mkdir", "-p", target.rpartition("/")[0]])
        self.fleet.exec(NODE, ["sh", "-c", 'base64 -d > "$1"', "sh", target], stdin=text)
        self.fleet.exec(NODE, ["chown", "-R", f"{uid}:{uid}", f"/var/lib/streamfleet/media/{uid}"])

    def history(self) -> list[dict[str, Any]]:
        """What has been played, oldest first."""
        return [json.loads(line) for line in self.sh(f"cat {DATA}/history.jsonl 2>/dev/null; true").splitlines()]

    def queue(self) -> dict[str, str]:
        """What is told of the queue: state, or why something was refused, by path."""
        text = self.sh(f"cat {DATA}/queue.json 2>/dev/null || echo '{{\"items\": []}}'")
        paths = json.loads(self.sh("cat /etc/streamfleet/instances/autodj/rock-fm/queue.json"))["items"]
        told = {item["id"]: item["message"] or item["state"] for item in json.loads(text)["items"]}
        return {item["path"]: told.get(item["id"], "") for item in paths}

    def until_told(self, **states: str) -> None:
        """Wait until this is told; names are of files in the folder ids."""
        wanted = {f"ids/{name}.mp3": state for name, state in states.items()}
        deadline = time.monotonic() + 3 * TRACK_SECONDS
        while not wanted.items() <= self.queue().items():
            assert time.monotonic() < deadline, (self.queue(), self.sh(f"journalctl -u {UNIT} -o cat | tail -30"))
            time.sleep(0.5)

    def radio(self, *playlists: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The station with its AutoDJ on, and these playlists."""
        settings = {**autodj(crossfade_seconds=2), **changes.pop("settings", {})}
        return station(*RADIO, settings=settings, playlists=list(playlists), **changes)

    def show(self, *playlists: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Converge the station with its AutoDJ on, beside the other station; what the panel was told of both."""
        told = self.converge(self.radio(*playlists, **changes), station(*OTHER))
        assert {item["state"] for item in told.values()} == {"running"}, told
        return told


DAY, NIGHT = playlist("day", folder="day"), playlist("night", folder="night")
LONG, LONG_SECONDS = playlist("long", folder="long"), 150.0


def queued(number: int, path: str) -> dict[str, str]:
    """An entry of a queue as a node document has it."""
    return {"id": f"{number:032x}", "path": path}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A node with nothing on it, and the double, serving."""
    with Studio(Path(tmp_path_factory.mktemp("autodj"))).started() as node:
        yield node


@pytest.fixture(scope="module")
def logs(bare: Studio, request: pytest.FixtureRequest) -> dict[str, str]:
    """The roles' first run; check and second, too, where they are compared."""
    return bare.first_runs(compared=chosen(request, "test_autodj", PREDICTS))


@pytest.fixture(scope="module")
def studio(bare: Studio, logs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Two stations on the air, one with an AutoDJ and a library of tones."""
    del logs
    bare.show()
    folder = Path(tmp_path_factory.mktemp("tones"))
    for name, frequency in TONES.items():
        for number, suffix in enumerate(("mp3", "ogg", "flac")):
            path = recording(folder / f"{name}{number}.{suffix}", frequency, TRACK_SECONDS)
            bare.upload(path, f"{name}/{number}.{suffix}")
    return bare


@pytest.fixture
def ears(studio: Studio) -> Iterator[Ears]:
    """A listener of the station who hears its AutoDJ by day, and must never be disconnected."""
    studio.show(DAY)
    deadline = time.monotonic() + START
    while True:
        it = Ears(studio.address, RADIO[2], "/stream")
        time.sleep(1)
        if it.status == 200:
            break
        it.stop()
        assert time.monotonic() < deadline, studio.sh(f"journalctl -u {UNIT} --no-pager | tail -50")
    it.await_tone(TONES["day"], ALL, within=START)
    yield it
    assert not it.ended
    it.stop()


@pytest.mark.full
def test_roles_predict_what_they_change_and_change_it_once(bare: Studio, logs: dict[str, str]) -> None:
    assert changed_tasks(logs["check"]) == changed_tasks(logs["first"]) != []
    assert bare.changed(logs["second"]) == 0


@pytest.mark.full
def test_switching_it_on_disturbs_nobody(studio: Studio) -> None:
    """Neither the listeners of another station, nor those of the station itself, who hear a live source."""
    studio.converge(station(*RADIO), station(*OTHER))
    assert studio.sh(f"systemctl is-active {UNIT}", check=False) == "inactive"
    with counted(studio, *RADIO[::2]), counted(studio, *OTHER[::2]):
        studio.show(DAY)
        deadline = time.monotonic() + START
        while "Connection setup was successful" not in studio.sh(f"journalctl -u {UNIT} -o cat --no-pager -n 200"):
            assert time.monotonic() < deadline, studio.sh(f"journalctl -u {UNIT} -o cat --no-pager | tail -50")
            time.sleep(1)
        # And off again, and on.
        studio.converge(station(*RADIO), station(*OTHER))
        assert studio.sh(f"ls {DATA}/state.json") != ""
        studio.show(DAY)


def test_what_is_played_changes_under_one_connection(studio: Studio, ears: Ears) -> None:
    """AutoDJ, another playlist, a live source, the AutoDJ again: the listener stays connected throughout."""
    starts = studio.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}")
    told = studio.show(NIGHT)
    assert told["rock-fm"]["state"] == "running"
    ears.await_tone(TONES["night"], ALL, within=SOON)
    encoder = Encoder(studio.address, RADIO[2], "/stream", password("rock-fm"), LIVE)
    # At once: the encoder's own start and what Icecast keeps for a listener are all that it takes.
    assert ears.await_tone(LIVE, ALL, within=20) < 20
    time.sleep(5)
    assert ears.hears(ALL) == LIVE
    encoder.stop()
    ears.await_tone(TONES["night"], ALL, within=20)
    studio.show(DAY)
    ears.await_tone(TONES["day"], ALL, within=SOON)
    # Playlists are data: the AutoDJ is the same process as before.
    assert studio.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}") == starts


def test_the_calendar_is_heard_on_its_day_by_the_stations_clock(studio: Studio, ears: Ears) -> None:
    """An entry for this hour of today, and of yesterday: heard, and heard no more. The process stays the same."""
    starts = studio.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}")
    # Fourteen hours ahead of UTC: for most of the day it is tomorrow there.
    there = {"settings": autodj(crossfade_seconds=2, timezone="Pacific/Kiritimati")}
    begun = datetime.now(ZoneInfo("Pacific/Kiritimati")) - timedelta(minutes=1)
    hour = {"start": f"{begun:%H:%M}", "end": f"{begun + timedelta(hours=1):%H:%M}"}
    evening = playlist("evening", type="scheduled", folder="night")

    def entry(days: int) -> dict[str, Any]:
        day = (begun + timedelta(days=days)).date().isoformat()
        return schedule("tonight", playlist="evening", **hour, start_date=day, end_date=day)

    # Without a time a scheduled playlist is never played.
    studio.show(DAY, evening, **there)
    time.sleep(2 * TRACK_SECONDS)
    assert ears.hears(ALL) == TONES["day"]
    studio.show(DAY, evening, schedules=[entry(0)], **there)
    ears.await_tone(TONES["night"], ALL, within=SOON)
    studio.show(DAY, evening, schedules=[entry(-1)], **there)
    ears.await_tone(TONES["day"], ALL, within=SOON)
    assert studio.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}") == starts


@pytest.mark.full
def test_the_schedule_the_jingles_and_the_history(studio: Studio, ears: Ears) -> None:
    now = studio.sh("date -u +%H:%M")
    minutes = int(now[:2]) * 60 + int(now[3:])
    window = {"days": None, "start": now, "end": f"{(minutes + 59) % 1440 // 60:02}:{(minutes + 59) % 60:02}"}
    scheduled = playlist("evening", type="scheduled", folder="night", active=[window])
    jingle = playlist("ids", type="jingle", folder="ids", every_tracks=1)
    before = len(studio.history())
    studio.show(DAY, scheduled, jingle)
    ears.await_tone(TONES["night"], ALL, within=SOON)
    ears.await_tone(TONES["ids"], ALL, within=SOON)
    ears.await_tone(TONES["night"], ALL, within=SOON)
    lines = studio.history()[before:]
    assert {line["playlist"] for line in lines} >= {"evening", "ids"}
    assert all(line["path"].startswith(("day/", "night/", "ids/")) for line in lines)
    assert all(set(line) == {"time", "playlist", "path", "title", "artist"} for line in lines)


def test_no_track_stops_it(studio: Studio, ears: Ears, tmp_path: Path) -> None:
    """Neither one that is none, nor one that cannot be read, nor a name that looks like a command."""
    for name, content in (("junk.mp3", b"not music at all"), ("list.mp3", b"#EXTM3U\nhttp://127.0.0.1:8101/stream\n")):
        (tmp_path / name).write_bytes(content)
        studio.upload(tmp_path / name, f"odd/{name}")
    (tmp_path / "empty.mp3").touch()
    studio.upload(tmp_path / "empty.mp3", "odd/empty.mp3")
    hostile = """a,b="c":d#{1+1} $(touch pwned) `id`; 'x' {{ 7*7 }} 📻"""
    tone = recording(tmp_path / "tone.mp3", TONES["night"], TRACK_SECONDS)
    studio.upload(tone, f"odd/{hostile}.mp3")
    studio.upload(tone, "odd/mine.mp3")
    studio.sh(f"chmod 000 {MEDIA}/odd/mine.mp3; ln -s /etc/shadow {MEDIA}/odd/link.mp3")
    before = len(studio.history())
    studio.show(playlist("odd", folder="odd"))
    ears.await_tone(TONES["night"], ALL, within=SOON)
    time.sleep(TRACK_SECONDS)
    assert ears.hears(ALL) == TONES["night"]
    stats = studio.sh("curl -s -u admin:admin-rock-fm-secret http://127.0.0.1:8100/admin/stats")
    assert "$(touch pwned)" in stats
    paths = {line["path"] for line in studio.history()[before:] if line["playlist"] == "odd"}
    assert paths == {f"odd/{hostile}.mp3"}
    assert studio.sh(f"find / -xdev -name pwned -not -path '/proc/*' 2>/dev/null; rm -r {MEDIA}/odd") == ""


@pytest.mark.full
def test_a_station_without_music_is_heard_all_the_same(studio: Studio, ears: Ears) -> None:
    studio.sh(f"mv {MEDIA} {MEDIA}.aside && install -d -o 200001 -g 200001 -m 0750 {MEDIA}")
    try:
        ears.await_tone(SAFE, ALL, within=SOON + 15)
        before = time.monotonic()
        time.sleep(3)
        assert len(ears.bytes_since(before)) > 16000
    finally:
        studio.sh(f"rmdir {MEDIA} && mv {MEDIA}.aside {MEDIA}")
    ears.await_tone(TONES["day"], ALL, within=SOON)


@pytest.mark.full
def test_it_measures_its_library_once(studio: Studio, ears: Ears) -> None:
    deadline = time.monotonic() + 120
    while True:
        index = json.loads(studio.sh(f"cat {INDEX}/index.json 2>/dev/null || echo '{{}}'"))
        if len([path for path in index if path.startswith(tuple(TONES))]) == 3 * len(TONES):
            break
        assert time.monotonic() < deadline, index
        time.sleep(2)
    entry = index["day/0.mp3"]
    assert entry["seconds"] == pytest.approx(TRACK_SECONDS, abs=0.3)
    assert -30 < entry["lufs"] < -10
    stamp = studio.sh(f"stat -c %Y.%s {INDEX}/index.json")
    count = len(studio.history())
    while len(studio.history()) < count + 2:
        assert time.monotonic() < deadline + SOON
        time.sleep(1)
    assert studio.sh(f"stat -c %Y.%s {INDEX}/index.json") == stamp
    assert ears.hears(ALL) is not None


def test_it_runs_as_its_tenant_in_a_sandbox(studio: Studio, ears: Ears) -> None:
    del ears
    assert studio.sh("ps -o user:20= -C liquidsoap") == "sf200001"
    exposure = studio.sh(f"systemd-analyze security --no-pager {UNIT} | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 3.0
    assert studio.sh(f"stat -c %U:%a {MEDIA} {DATA}") == "sf200001:750\nsf200001:750"
    for path in ("/var/lib/streamfleet/media/200001", "/etc/streamfleet/instances/autodj/rock-fm/settings.json"):
        assert "Permission denied" in studio.sh(f"runuser -u sf200002 -- ls -l {path}/. 2>&1; true")
        assert "Permission denied" in studio.sh(f"runuser -u sf200002 -- cat {path} 2>&1; true")
    status = studio.sh("curl -s http://127.0.0.1:8100/status-json.xsl")
    assert "autodj" not in status
    # Its mounts are for itself: a broadcaster's password opens none.
    source = Source(studio.address, 8100, "/autodj-mp3-128", password("rock-fm"))
    source.start()
    source.join(5)
    assert " 401 " in source.answer or " 403 " in source.answer, source.answer
    with on_air(Source(studio.address, 8101, "/stream", password("jazz-fm"))):
        pass


@pytest.mark.full
def test_mounts_of_other_encodings_come_and_go_under_a_listener(studio: Studio, ears: Ears) -> None:
    """Three mounts play one programme, and whoever hears the first notices nothing."""
    process = studio.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}")
    first = {"name": "/stream", "format": "mp3", "bitrate_kbps": 128}
    more = [{"name": "/low", "format": "aac", "bitrate_kbps": 48}, {"name": "/opus", "format": "opus"}]
    with counted(studio, *OTHER[::2]):
        studio.show(DAY, settings={"mounts": [first, *more]})
        for mount, codec in (("/low", "aac"), ("/opus", "opus")):
            url = f"http://{studio.address}:{RADIO[2]}{mount}"
            assert heard_at(url, ALL, within=SOON) == TONES["day"]
            shown = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url]
            assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split() == [codec]
        assert ears.hears(ALL) == TONES["day"]
        studio.show(DAY, settings={"mounts": [first]})
        assert "changed=0" in studio.play("playbooks/converge.yml")
        time.sleep(5)
        assert ears.hears(ALL) == TONES["day"]
    assert studio.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}") == process
    assert studio.sh("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8100/opus") == "404"


@pytest.mark.full
def test_the_eco_class_sends_files_as_they_are(studio: Studio, ears: Ears) -> None:
    """Only MP3s of a library of three formats, one after the other; nothing is encoded, and little is needed for it."""
    ears.stop()
    settings = {**autodj(), "mounts": [{"name": "/stream", "format": "mp3", "bitrate_kbps": 320}]}
    settings["autodj"]["class"] = "eco"
    with counted(studio, *OTHER[::2]):
        told = studio.show(DAY, settings=settings)
    assert told["rock-fm"]["state"] == "running"
    # Until then the other class has played.
    count = len(studio.history())
    assert "changed=0" in studio.play("playbooks/converge.yml")
    assert studio.sh("pgrep -u 200001 -x liquidsoap", check=False) == ""
    deadline = time.monotonic() + START
    while len(studio.history()) <= count:
        assert time.monotonic() < deadline, studio.sh(f"journalctl -u {UNIT} -o cat --no-pager | tail -30")
        time.sleep(1)
    it = Ears(studio.address, RADIO[2], "/stream")
    it.await_tone(TONES["day"], ALL, within=SOON)
    begun = time.monotonic()
    before = float(studio.sh(f"{SPENT} {UNIT}").split()[0])
    time.sleep(3 * TRACK_SECONDS)
    seconds, megabytes = map(float, studio.sh(f"{SPENT} {UNIT}").split())
    assert it.hears(ALL) == TONES["day"]
    assert not it.ended
    heard, passed = it.bytes_since(begun), time.monotonic() - begun
    assert longest_silence(decoded(heard)) < 0.5
    # In real time, neither faster nor slower.
    assert len(decoded(heard)) / RATE == pytest.approx(passed, rel=0.15)
    paths = {line["path"] for line in studio.history()[count:]}
    assert paths == {"day/0.mp3"}
    assert megabytes <= 40
    # What it passes over, and why, as the worker gets it.
    asked = "echo '{\"cursors\": {}}' | python3 -I /usr/lib/streamfleet/collect.py"
    told = dict(json.loads(studio.sh(asked).splitlines()[-1])["feeds"]["passed_over"]["items"])["rock-fm"]
    assert told["count"] == len(told["items"]) >= 2 * len(TONES)
    assert {"path": "day/1.ogg", "reason": "is not called .mp3"} in told["items"]
    print(f"eco: {megabytes:.1f} MB, {(seconds - before) / (3 * TRACK_SECONDS):.4f} core")
    # Another folder, in its turn; and a live source is above it.
    studio.show(NIGHT, settings=settings)
    it.await_tone(TONES["night"], ALL, within=SOON)
    encoder = Encoder(studio.address, RADIO[2], "/stream", password("rock-fm"), LIVE)
    it.await_tone(LIVE, ALL, within=20)
    encoder.stop()
    it.await_tone(TONES["night"], ALL, within=20)
    assert not it.ended
    it.stop()
    studio.show(DAY)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["full", "eco"])
def test_what_is_queued_follows_what_plays_and_once(studio: Studio, ears: Ears, tmp_path: Path, kind: str) -> None:
    """By what a listener hears, under one connection; a player that is killed plays on with the rest."""
    settings = autodj(crossfade_seconds=2)
    if kind == "eco":
        settings["autodj"]["class"] = kind
        settings["mounts"] = [{"name": "/stream", "format": "mp3", "bitrate_kbps": 320}]
    for name in ("one", "two", "three"):
        studio.upload(recording(tmp_path / f"{name}.mp3", TONES["ids"], TRACK_SECONDS), f"ids/{name}.mp3")
    (tmp_path / "junk.mp3").write_bytes(b"not music at all")
    studio.upload(tmp_path / "junk.mp3", "ids/junk.mp3")
    studio.upload(recording(tmp_path / "long.mp3", TONES["night"], LONG_SECONDS), "long/0.mp3")
    ears.stop()
    # The station remembers what it has played, and how often it has skipped.
    number, skipped = (10, 0) if kind == "full" else (20, 1)

    def show(*playlists: dict[str, Any], **changes: Any) -> int:
        """Lines of the history when it was said."""
        studio.show(*playlists, settings=settings, **{"skip": skipped, **changes})
        return len(studio.history())

    def played(since: int) -> list[str]:
        return [line["path"] for line in studio.history()[since:]]

    show(DAY)
    deadline = time.monotonic() + START
    while (it := Ears(studio.address, RADIO[2], "/stream")) and (time.sleep(1) or it.status != 200):
        it.stop()
        assert time.monotonic() < deadline, studio.sh(f"journalctl -u {UNIT} -o cat --no-pager | tail -30")
    it.await_tone(TONES["day"], ALL, within=START)
    process = studio.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}")
    first = [queued(number, "ids/one.mp3"), queued(number + 1, "ids/none.mp3"), queued(number + 2, "ids/junk.mp3")]
    begun = show(DAY, queue=first)
    assert "changed=0" in studio.play("playbooks/converge.yml")
    it.await_tone(TONES["ids"], ALL, within=SOON)
    studio.until_told(one="played", none="is not in the media library")
    assert studio.queue()["ids/junk.mp3"] not in ("", "waiting", "played")
    it.await_tone(TONES["day"], ALL, within=SOON)
    # Of what plays when it arrives, and at most one more that was about to begin.
    assert "ids/one.mp3" in played(begun)[:2]
    # Skipping goes on with the queue, long before the track ends.
    show(LONG, queue=first)
    it.await_tone(TONES["night"], ALL, within=SOON)
    more = [*first, queued(number + 3, "ids/two.mp3")]
    show(LONG, queue=more)
    studio.until_told(two="waiting")
    before = show(LONG, queue=more, skip=skipped + 1)
    assert it.await_tone(TONES["ids"], ALL, within=30) < 30
    studio.until_told(two="played")
    assert played(before)[:1] == ["ids/two.mp3"] or studio.history()[before - 1]["path"] == "ids/two.mp3"
    it.await_tone(TONES["night"], ALL, within=SOON)
    # Nothing of this has restarted anything.
    assert studio.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}") == process
    assert not it.ended
    it.stop()
    # Killed with one that is ready: it is played by the next process, and nothing else again.
    more = [*more, queued(number + 4, "ids/three.mp3")]
    show(LONG, queue=more, skip=skipped + 1)
    studio.until_told(three="waiting")
    studio.sh(f"systemctl kill -s KILL {UNIT}")
    deadline = time.monotonic() + START
    while studio.queue()["ids/three.mp3"] != "played":
        assert time.monotonic() < deadline, (studio.queue(), studio.sh(f"journalctl -u {UNIT} -o cat | tail -30"))
        time.sleep(1)
    time.sleep(TRACK_SECONDS + 5)
    paths = played(begun)
    assert [paths.count(f"ids/{name}.mp3") for name in ("one", "two", "three")] == [1, 1, 1], paths
    studio.sh(f"rm -r {MEDIA}/long {MEDIA}/ids/junk.mp3 {MEDIA}/ids/one.mp3 {MEDIA}/ids/two.mp3 {MEDIA}/ids/three.mp3")
    studio.show(DAY)
    # What plays is longer than the next test waits.
    studio.sh(f"systemctl restart {UNIT}")


@pytest.mark.full
def test_self_checks_are_content_and_then_name_the_cause(studio: Studio, ears: Ears) -> None:
    arguments = ["-e", json.dumps({"entry": "self_check", "roles_in_order": ["common", "icecast", "autodj"]})]
    assert studio.changed(studio.play(studio.folder / "tasks.yml", *arguments)) == 0
    ears.stop()
    studio.sh(f"systemctl stop {UNIT}")
    output = studio.play(studio.folder / "tasks.yml", *arguments, ok=False)
    assert "the AutoDJ does not run of rock-fm" in " ".join(output.split())
    studio.show(DAY)


@pytest.mark.full
def test_after_being_killed_and_after_a_reboot_it_plays_again(studio: Studio, ears: Ears) -> None:
    ears.stop()
    before = studio.sh(f"cat {DATA}/state.json")
    studio.sh(f"systemctl kill -s KILL {UNIT}")
    count = len(studio.history())
    deadline = time.monotonic() + START
    while len(studio.history()) < count + 1:
        assert time.monotonic() < deadline, studio.sh(f"journalctl -u {UNIT} -o cat --no-pager | tail -30")
        time.sleep(1)
    after = studio.sh(f"cat {DATA}/state.json")
    assert json.loads(after)["state"]["count"] > json.loads(before)["state"]["count"]
    studio.fleet.reboot(NODE)
    count, deadline = len(studio.history()), time.monotonic() + 2 * START
    while len(studio.history()) < count + 1:
        assert time.monotonic() < deadline, studio.sh(f"journalctl -u {UNIT} -o cat --no-pager | tail -30")
        time.sleep(1)
    listener = Ears(studio.address, RADIO[2], "/stream")
    listener.await_tone(TONES["day"], ALL, within=SOON)
    listener.stop()
    assert "changed=0" in studio.play("playbooks/converge.yml")


@pytest.mark.full
def test_uninstalling_leaves_nothing_behind(studio: Studio) -> None:
    options = {
        "entry": "uninstall",
        "roles_in_order": ["autodj", "icecast", "common"],
        "streamfleet_autodj_uninstall_data": True,
        "streamfleet_icecast_uninstall_data": True,
        "streamfleet_common_uninstall_data": True,
    }
    arguments = ["-e", json.dumps(options)]
    assert studio.changed(studio.play(studio.folder / "tasks.yml", *arguments)) > 0
    left = studio.sh(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /var/log -o -path /var/cache \\) -prune"
        " -o \\( -name '*streamfleet*' -o -name '*icecast*' -o -name 'liquidsoap' \\) -print",
    )
    assert left == ""
    assert (
        studio.sh("getent passwd | grep -E '^(sf2|streamfleet|liquidsoap)'; getent group liquidsoap", check=False) == ""
    )
    assert studio.sh("systemctl list-units --all --no-legend '*streamfleet*'", check=False) == ""
    assert studio.changed(studio.play(studio.folder / "tasks.yml", *arguments)) == 0
