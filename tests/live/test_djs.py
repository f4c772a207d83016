"""DJs, for real, and by what is heard: one listener's one connection, a tone of its own for everybody who plays.

``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.panel import autodj, dj, playlist, schedule, station
from tests.live.node import NODE, counted
from tests.live.test_autodj import MEDIA, OTHER, RADIO, START, Studio
from tests.live.tones import Ears, Encoder, ShoutcastEncoder, decoded, longest_silence, recording, tone

pytestmark = [pytest.mark.live, pytest.mark.full]

PORT = 8150
SLOTS = 28150
UNITS = "streamfleet-autodj@rock-fm.service streamfleet-live@rock-fm.service"
LIVE = "streamfleet-live@rock-fm.service"
DATA = "/var/lib/streamfleet/services/rock-fm/live"

AUTODJ, LOW, HIGH, SHOUTCAST = 440, 880, 1320, 1760
ALL = (AUTODJ, LOW, HIGH, SHOUTCAST)
#: An encoder's start on a busy machine, the slot's buffer, Icecast's burst for what a listener hears.
SOON = 20.0

LOWER = dj("low", name="Anna Low", record=True, grace_seconds=0)
HIGHER = dj("high", priority=20, grace_seconds=0)


class Booth(Studio):
    """A station that DJs come to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.encoders: list[Encoder] = []

    def with_djs(self, *djs: dict[str, Any], **changes: Any) -> None:
        """Converge the station with these DJs (and more that changes), beside the other station."""
        settings = {**autodj(crossfade_seconds=2), "live_port": PORT}
        day = playlist("day", folder="day")
        wanted = station(*RADIO, settings=settings, playlists=[day], djs=list(djs), **changes)
        told = self.converge(wanted, station(*OTHER))
        assert {item["state"] for item in told.values()} == {"running"}, told

    def starts(self) -> str:
        """Which processes both units are, and how often they were started."""
        return self.sh(f"systemctl show -p NRestarts,ExecMainPID {UNITS}")

    def state(self) -> dict[str, Any]:
        """What the node says of its DJs."""
        data: dict[str, Any] = json.loads(self.sh(f"cat {DATA}/live.json"))
        return data

    def said(self) -> str:
        """The journal of the DJs' way in."""
        return self.sh(f"journalctl -u {LIVE} -o cat --no-pager")

    def await_title(self, title: str) -> None:
        """Wait until Icecast says that this is what the AutoDJ's hidden mount plays."""
        deadline, shown = time.monotonic() + SOON, ""
        while title not in shown:
            assert time.monotonic() < deadline, shown
            stats = ["curl", "-s", "-u", "admin:admin-rock-fm-secret", "http://127.0.0.1:8100/admin/stats"]
            shown = html.unescape(str(self.fleet.exec(NODE, stats).stdout))
            time.sleep(0.5)

    def encoder(self, username: str, frequency: int) -> Encoder:
        """A DJ's encoder."""
        it = Encoder(self.address, PORT, f"/{username}", f"secret-of-{username}", frequency, user=username)
        self.encoders.append(it)
        return it

    def silence(self) -> None:
        """Stop every encoder that a test has left, so that the next one begins with the AutoDJ."""
        while self.encoders:
            self.encoders.pop().sent_away(within=0.1)

    def asked(self, text: str) -> str:
        """The first line of the answer to what is sent to the DJs' port."""
        with socket.create_connection((self.address, PORT), timeout=10) as link:
            link.sendall(text.encode())
            return link.recv(1024).decode("latin-1").partition("\r\n")[0]


def source(username: str, password: str, mount: str = "", method: str = "PUT") -> str:
    """What an encoder asks."""
    login = base64.b64encode(f"{username}:{password}".encode()).decode()
    head = f"{method} {mount or '/' + username} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n"
    return f"{head}Content-Type: audio/mpeg\r\nExpect: 100-continue\r\n\r\n"


@pytest.fixture(scope="module")
def booth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booth]:
    """A node with two stations, one with an AutoDJ and a library of one tone."""
    with Booth(Path(tmp_path_factory.mktemp("djs"))).started() as it:
        it.play(it.folder / "roles.yml")
        it.with_djs(LOWER, HIGHER)
        for number in range(3):
            path = recording(it.folder / f"{number}.mp3", AUTODJ, 60)
            it.upload(path, f"day/{number}.mp3")
        yield it


@pytest.fixture
def ears(booth: Booth) -> Iterator[Ears]:
    """A listener who hears the AutoDJ, and must never be disconnected, nor hear nothing."""
    booth.silence()
    booth.with_djs(LOWER, HIGHER)
    deadline = time.monotonic() + START
    while True:
        it = Ears(booth.address, RADIO[2], "/stream")
        time.sleep(1)
        if it.status == 200:
            break
        it.stop()
        assert time.monotonic() < deadline, booth.sh(f"journalctl -u {UNITS.split()[0]} --no-pager | tail -50")
    it.await_tone(AUTODJ, ALL, within=START)
    begun = time.monotonic()
    yield it
    booth.silence()
    assert not it.ended
    it.stop()
    assert longest_silence(decoded(it.bytes_since(begun))) <= 0.5


def test_the_highest_is_heard_and_then_whoever_is_left(booth: Booth, ears: Ears) -> None:
    """AutoDJ, a DJ, a higher one, the first again, the AutoDJ: one listener's one connection."""
    before, tracks = booth.starts(), len(booth.history())
    low = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    assert booth.state()["on_air"] == "low"
    asked = booth.sh(
        f"curl -s -u low:secret-of-low 'http://127.0.0.1:{PORT}/admin/metadata?mode=updinfo&mount=/low&song=A%20%C3%A9'"
    )
    assert asked == "ok"
    high = booth.encoder("high", HIGH)
    ears.await_tone(HIGH, ALL, within=SOON)
    assert [item["username"] for item in booth.state()["connected"]] == ["high", "low"]
    time.sleep(3)
    assert ears.hears(ALL) == HIGH
    stopped = time.monotonic()
    high.stop()
    ears.await_tone(LOW, ALL, within=SOON)
    time.sleep(2)
    took = ears.since_until(stopped, LOW, ALL)
    assert took is not None
    assert took <= 3.0
    booth.await_title("A é")
    low.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)
    assert booth.state() == {"on_air": None, "connected": []}
    lines = booth.history()[tracks:]
    shows = [(line["dj"], line["title"]) for line in lines if line["playlist"] == "live"]
    assert shows == [("low", "Anna Low"), ("low", "A é"), ("high", "high"), ("low", "A é")]
    # The track that was interrupted is not gone on with.
    assert lines[-1]["playlist"] == "day"
    assert booth.starts() == before


@pytest.mark.full
def test_a_switch_takes_two_seconds(booth: Booth, ears: Ears) -> None:
    """Counted from the moment at which the DJ is taken, in what the listener gets."""
    low = booth.encoder("low", LOW)
    while "low" not in [item["username"] for item in booth.state()["connected"]]:
        time.sleep(0.1)
    taken = time.monotonic()
    ears.await_tone(LOW, ALL, within=SOON)
    time.sleep(1)
    took = ears.since_until(taken, LOW, ALL)
    assert took is not None
    assert took <= 2.5
    low.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)


@pytest.mark.full
def test_a_dj_who_sends_silence_is_noticed(booth: Booth) -> None:
    """By what is heard, not by who is connected; and no longer when there is sound again."""
    booth.silence()
    booth.with_djs(LOWER, HIGHER)
    said = "/var/lib/streamfleet/services/rock-fm/autodj/silent"
    figures = "/var/lib/streamfleet/metrics/streamfleet.prom"
    began = time.time()
    booth.sh(f"test ! -e {said}")
    quiet = booth.encoder("low", 0)

    def told() -> str:
        return booth.sh(f"grep '^streamfleet_host_silent_seconds{{' {figures} || true").strip()

    deadline = time.monotonic() + 150
    while not told().startswith('streamfleet_host_silent_seconds{media_service="rock-fm"} '):
        assert time.monotonic() < deadline, booth.sh(f"ls -l {said} {figures} || true")
        time.sleep(2)
    assert 20 <= float(told().rpartition(" ")[2]) <= time.time() - began
    quiet.stop()
    deadline = time.monotonic() + 120
    while told():
        assert time.monotonic() < deadline, told()
        time.sleep(2)


@pytest.mark.full
def test_a_shoutcast_source_is_heard(booth: Booth, ears: Ears) -> None:
    encoder = ShoutcastEncoder(booth.address, PORT, "low:secret-of-low", SHOUTCAST)
    assert encoder.answer.startswith(b"OK2\r\n"), encoder.answer
    encoder.start()
    ears.await_tone(SHOUTCAST, ALL, within=SOON)
    assert booth.state()["connected"][0]["protocol"] == "shoutcast"
    encoder.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)


@pytest.mark.full
def test_recordings_hold_what_was_sent(booth: Booth, ears: Ears) -> None:
    """Of who is recorded; nothing of who is not."""
    for username, frequency in (("high", HIGH), ("low", LOW)):
        encoder = booth.encoder(username, frequency)
        ears.await_tone(frequency, ALL, within=SOON)
        time.sleep(4)
        encoder.stop()
        ears.await_tone(AUTODJ, ALL, within=SOON)
    names = booth.sh(f"ls -t {DATA} | grep ^low-").splitlines()
    raw = booth.sh(f"base64 -w0 {DATA}/{names[0]}")
    samples = decoded(base64.b64decode(raw))
    assert tone(samples[8000:32000], ALL) == LOW
    assert not booth.sh(f"ls {DATA} | grep ^high-; true")


def test_who_may_not_is_sent_away_and_nothing_is_told(booth: Booth, ears: Ears) -> None:
    assert " 401 " in booth.asked(source("low", "wrong-password-1"))
    assert " 401 " in booth.asked(source("nobody", "secret-of-low", method="SOURCE"))
    assert " 404 " in booth.asked(source("low", "secret-of-low", mount="/high"))
    assert booth.asked("low:wrong-password-2\r\n") == "invalid password"
    assert " 431 " in booth.asked("PUT /low HTTP/1.1\r\n" + "X-A: " + "a" * 9000)
    assert " 404 " in booth.asked("GET / HTTP/1.1\r\n\r\n")
    for number in range(7):
        booth.asked(source("low", f"wrong-password-{number}"))
    assert " 429 " in booth.asked(source("low", "secret-of-low"))
    said = booth.said()
    assert "401 There is no DJ with this user name and password." in said
    assert "wrong-password" not in said
    assert "secret-of" not in said
    assert ears.hears(ALL) == AUTODJ
    # A minute later it is over.
    time.sleep(61)
    low = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    low.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)


@pytest.mark.full
def test_djs_come_and_go_by_data_alone(booth: Booth, ears: Ears) -> None:
    """One is added, one is kicked, one is deleted: who is on the air hears nothing of it."""
    before = booth.starts()
    low, high = booth.encoder("low", LOW), booth.encoder("high", HIGH)
    ears.await_tone(HIGH, ALL, within=SOON)
    with counted(booth, *OTHER[::2]):
        booth.with_djs(LOWER, HIGHER, dj("added"))
        assert ears.hears(ALL) == HIGH
        booth.with_djs(LOWER, {**HIGHER, "kick": 1}, dj("added"))
        assert high.sent_away()
        ears.await_tone(LOW, ALL, within=SOON)
        added = booth.encoder("added", SHOUTCAST)
        time.sleep(5)
        # Of equal ones who came first.
        assert ears.hears(ALL) == LOW
        booth.with_djs(HIGHER, dj("added"))
        assert low.sent_away()
        ears.await_tone(SHOUTCAST, ALL, within=SOON)
        booth.with_djs(HIGHER, dj("added", enabled=False))
        assert added.sent_away()
        ears.await_tone(AUTODJ, ALL, within=SOON)
    assert booth.starts() == before
    assert "changed=0" in booth.play("playbooks/converge.yml")


@pytest.mark.full
def test_its_hours_end_a_show(booth: Booth, ears: Ears) -> None:
    seconds = int(booth.sh("date -u +%S"))
    now = int(booth.sh("date -u +%s"))
    # Time enough to begin: the next minute, or the one after it.
    end = time.gmtime(now - seconds + (60 if seconds < 20 else 120))
    window = {"days": None, "start": "00:00" if end.tm_hour else "23:00", "end": f"{end.tm_hour:02}:{end.tm_min:02}"}
    booth.with_djs(dj("low", scheduled_only=True, active=[window]))
    low = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    assert low.sent_away(within=130)
    assert "low is gone: its time is over" in booth.said()
    ears.await_tone(AUTODJ, ALL, within=SOON)
    assert " 403 " in booth.asked(source("low", "secret-of-low"))


def test_the_calendar_lets_a_show_in_and_ends_it(booth: Booth, ears: Ears) -> None:
    before = booth.starts()
    low = dj("low", scheduled_only=True, grace_seconds=0)
    # All day, in two entries: whatever the clock says, one of them is on.
    halves = [("00:00", "12:00"), ("12:00", "00:00")]
    day = [schedule(f"half{number}", dj="low", start=a, end=b) for number, (a, b) in enumerate(halves)]
    booth.with_djs(low, schedules=[{**item, "enabled": False} for item in day])
    assert " 403 " in booth.asked(source("low", "secret-of-low"))
    booth.with_djs(low, schedules=day)
    encoder = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    booth.with_djs(low, schedules=[{**item, "end_date": "2026-01-01"} for item in day])
    assert encoder.sent_away()
    assert "low is gone: its time is over" in booth.said()
    ears.await_tone(AUTODJ, ALL, within=SOON)
    assert booth.starts() == before


@pytest.mark.full
def test_the_air_is_kept_for_who_drops_out(booth: Booth, ears: Ears) -> None:
    booth.with_djs(dj("low", grace_seconds=30), dj("high"))
    low = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    high = booth.encoder("high", HIGH)
    time.sleep(4)
    low.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)
    time.sleep(5)
    assert ears.hears(ALL) == AUTODJ
    low = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    low.stop()
    ears.await_tone(HIGH, ALL, within=50)
    high.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)


@pytest.mark.full
def test_what_is_no_music_takes_nobody_off_the_air(booth: Booth, ears: Ears) -> None:
    before = booth.starts()
    for junk in (b"\0" * 65536, b"<html>" * 10000, os.urandom(65536), b"OggS" * 16384):
        with socket.create_connection((booth.address, PORT), timeout=10) as link:
            link.sendall(source("low", "secret-of-low").encode())
            assert link.recv(1024).startswith(b"HTTP/1.1 100 ")
            # It may be sent away before all is sent.
            with contextlib.suppress(OSError):
                link.sendall(junk)
            time.sleep(2)
        time.sleep(1)
    ears.await_tone(AUTODJ, ALL, within=SOON)
    low = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    low.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)
    assert booth.starts() == before


def test_it_runs_as_its_tenant_and_its_slots_are_its_own(booth: Booth, ears: Ears) -> None:
    del ears
    assert booth.sh(f"ps -o user:20= -p $(systemctl show -p MainPID --value {LIVE})") == "sf200001"
    exposure = booth.sh(f"systemd-analyze security --no-pager {LIVE} | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 3.0
    assert booth.sh("stat -c %U:%G:%a /etc/streamfleet/instances/live/rock-fm/djs.json") == "root:sf200001:640"
    assert booth.tenant(200001, "127.0.0.1", SLOTS) == "open"
    assert booth.tenant(200002, "127.0.0.1", SLOTS) != "open"
    with pytest.raises(OSError):
        socket.create_connection((booth.address, SLOTS), timeout=3)


@pytest.mark.full
def test_after_being_killed_it_takes_djs_again(booth: Booth, ears: Ears) -> None:
    low = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    booth.sh(f"systemctl kill -s KILL {LIVE}")
    assert low.sent_away()
    ears.await_tone(AUTODJ, ALL, within=SOON)
    deadline = time.monotonic() + START
    while booth.sh(f"ss -ltn sport = :{PORT} | grep -c LISTEN; true") == "0":
        assert time.monotonic() < deadline, booth.said()
        time.sleep(0.5)
    low = booth.encoder("low", LOW)
    ears.await_tone(LOW, ALL, within=SOON)
    low.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)


@pytest.mark.full
def test_self_checks_are_content_and_then_name_the_cause(booth: Booth, ears: Ears) -> None:
    arguments = ["-e", json.dumps({"entry": "self_check", "roles_in_order": ["common", "icecast", "autodj"]})]
    assert booth.changed(booth.play(booth.folder / "tasks.yml", *arguments)) == 0
    booth.sh(f"systemctl stop {LIVE}")
    assert ears.hears(ALL) == AUTODJ
    output = booth.play(booth.folder / "tasks.yml", *arguments, ok=False)
    assert "DJs cannot connect to rock-fm" in " ".join(output.split())
    booth.with_djs(LOWER)


@pytest.mark.full
def test_uninstalling_leaves_nothing_behind(booth: Booth) -> None:
    options = {
        "entry": "uninstall",
        "roles_in_order": ["autodj"],
        "streamfleet_autodj_uninstall_data": True,
    }
    arguments = ["-e", json.dumps(options)]
    assert booth.changed(booth.play(booth.folder / "tasks.yml", *arguments)) > 0
    paths = f"{DATA} {MEDIA} /etc/streamfleet/instances/live /etc/systemd/system/*live@*"
    assert booth.sh(f"ls -d {paths} 2>/dev/null; true") == ""
    assert booth.sh("systemctl list-units --all --no-legend '*streamfleet*live*'", check=False) == ""
    assert booth.changed(booth.play(booth.folder / "tasks.yml", *arguments)) == 0
