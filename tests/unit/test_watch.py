"""The watchdog of role common: what is hung twice in a row is restarted, and nothing else; its figures."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamfleet_watch import figures, host, hung, waiting
from streamfleet_watch.__main__ import GRACE, MOST, ROUND, STATE, Watch

UNIT = "streamfleet-icecast@rock-fm.service"
RTMP = "streamfleet-rtmp.service"


def put(root: Path, path: str, text: str = "") -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port where connections are taken, as the kernel does for a program that is stopped, and nothing is said."""
    monkeypatch.setattr(hung, "PATIENCE", 0.05)
    monkeypatch.setattr(hung, "LAST_PATIENCE", 0.1)
    # How late this machine is has its own test.
    monkeypatch.setattr(host, "LATE", 60.0)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as door:
        yield door.getsockname()[1]


@pytest.fixture
def root(tmp_path: Path, silent: int) -> Path:
    """A host with a station at the silent port."""
    put(tmp_path, "etc/streamfleet/routes/rock-fm.json", json.dumps({"port": silent}))
    wants = tmp_path / hung.WANTS
    wants.mkdir(parents=True)
    (wants / UNIT).symlink_to("/nowhere")
    for path in ("var/lib/streamfleet/watch", "var/lib/streamfleet/metrics", "proc"):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
    return tmp_path


class Systemd:
    """Notes what it is asked to do; ``running`` are the units that it says run."""

    def __init__(self, *running: str) -> None:
        self.running = list(running)
        self.did: list[str] = []
        self.fails = False

    def __call__(self, verb: str, *arguments: str) -> tuple[int, str]:
        if verb == "list-units":
            return 0, "".join(f"{name} loaded active running Some words\n" for name in self.running)
        self.did.append(" ".join((verb, *arguments)))
        return (1, "Job failed") if self.fails and verb == "restart" else (0, "")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_is_hung_twice_in_a_row_is_restarted_and_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systemd, clock = Systemd(UNIT), Clock()
    watch = Watch(root, systemd, clock)
    watch.round()
    assert systemd.did == [], "once may be a moment"
    clock.now += ROUND
    watch.round()
    assert systemd.did == [f"kill --signal=KILL -- {UNIT}", f"restart -- {UNIT}"]
    assert f"{UNIT} was hung: {hung.SILENT}, twice within 30 seconds. It was restarted" in capsys.readouterr().out
    line = json.loads((root / STATE).read_text())
    assert (line["service"], line["unit"], line["cause"]) == ("rock-fm", UNIT, hung.SILENT)
    assert (
        'streamfleet_host_hung_restarts_total{unit="streamfleet-icecast@rock-fm.service",media_service="rock-fm"} 1.000'
        in (root / "var/lib/streamfleet/metrics/streamfleet.prom").read_text()
    )
    # It is given time to come up.
    clock.now += ROUND
    watch.round()
    assert len(systemd.did) == 2


def test_one_that_is_hung_again_and_again_is_left_as_it_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systemd, clock = Systemd(UNIT), Clock()
    watch = Watch(root, systemd, clock)
    for _ in range(12):
        watch.round()
        clock.now += GRACE + 1
    assert systemd.did.count(f"restart -- {UNIT}") == MOST
    assert f"It was restarted {MOST} times within an hour, so it is left as it is" in capsys.readouterr().out


def test_who_answers_or_does_not_run_is_left_alone(root: Path, silent: int) -> None:
    systemd, clock = Systemd(), Clock()
    watch = Watch(root, systemd, clock)
    for _ in range(3):
        watch.round()
        clock.now += ROUND
    assert systemd.did == [], "it is not running, which is systemd's to mend"
    systemd.running = [UNIT]
    route = root / "etc/streamfleet/routes/rock-fm.json"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        route.write_text(json.dumps({"port": closed.getsockname()[1]}))
        for _ in range(3):
            watch.round()
            clock.now += ROUND
    assert systemd.did == [], "a port that refuses is no hung program"


def test_once_hung_and_once_well_is_well(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd, clock = Systemd(UNIT), Clock()
    looks = iter([{UNIT: ("rock-fm", hung.SILENT)}, {}, {UNIT: ("rock-fm", hung.SILENT)}, {}])
    monkeypatch.setattr(hung, "look", lambda *_: next(looks))
    watch = Watch(root, systemd, clock)
    for _ in range(4):
        watch.round()
        clock.now += ROUND
    assert systemd.did == []


def stations(root: Path, silent: int, *slugs: str) -> list[str]:
    """More stations at the silent port; all units."""
    for slug in slugs:
        put(root, f"etc/streamfleet/routes/{slug}.json", json.dumps({"port": silent}))
        (root / hung.WANTS / f"streamfleet-icecast@{slug}.service").symlink_to("/nowhere")
    return [UNIT, *(f"streamfleet-icecast@{slug}.service" for slug in slugs)]


def rounds(watch: Watch, clock: Clock, count: int) -> None:
    for _ in range(count):
        watch.round()
        clock.now += ROUND


def test_when_all_are_silent_at_once_nobody_is_thrown_off(
    root: Path, silent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    units = stations(root, silent, "jazz-fm", "news-fm")
    systemd, clock = Systemd(*units), Clock()
    watch = Watch(root, systemd, clock)
    rounds(watch, clock, 4)
    assert systemd.did == []
    assert "3 of its units did so at once. It is left as it is" in capsys.readouterr().out
    left = f'streamfleet_host_hung_left{{unit="{UNIT}",media_service="rock-fm"}} 1.000'
    assert left in (root / "var/lib/streamfleet/metrics/streamfleet.prom").read_text()
    # What was silent while the host was slow is no suspicion.
    systemd.running = [UNIT]
    rounds(watch, clock, 1)
    assert systemd.did == []
    rounds(watch, clock, 1)
    assert [line for line in systemd.did if line.startswith("restart")] == [f"restart -- {UNIT}"]
    assert "streamfleet_host_hung_left{" not in (root / "var/lib/streamfleet/metrics/streamfleet.prom").read_text()


@pytest.mark.parametrize(("name", "percent"), [("memory", 45), ("io", 80)])
def test_while_nothing_goes_on_on_the_host_nobody_is_thrown_off(
    root: Path, name: str, percent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    some = "some avg10=99.00 avg60=99.00 avg300=99.00 total=1\n"
    pressure = put(root, f"proc/pressure/{name}", f"{some}full avg10={percent}.00 avg60=0.00 avg300=0.00 total=1\n")
    systemd, clock = Systemd(UNIT), Clock()
    watch = Watch(root, systemd, clock)
    rounds(watch, clock, 4)
    assert systemd.did == []
    assert f"for want of {name} nothing went on for {percent} percent" in capsys.readouterr().out
    pressure.write_text(f"{some}full avg10=1.00 avg60=0.00 avg300=0.00 total=1\n")
    rounds(watch, clock, 2)
    assert f"restart -- {UNIT}" in systemd.did


def test_while_the_watchdog_itself_comes_late_nobody_is_thrown_off(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Late(host.Lateness):
        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            self.worst = 4.0

    monkeypatch.setattr(host, "LATE", 2.0)
    systemd, clock = Systemd(UNIT), Clock()
    watch = Watch(root, systemd, clock, Late)
    rounds(watch, clock, 3)
    assert systemd.did == []
    assert "a program of its own came 4.0 seconds late" in capsys.readouterr().out


def test_lateness_is_measured() -> None:
    with host.Lateness() as lateness:
        time.sleep(0.3)
    first = lateness.worst
    assert first < 60
    held = threading.Event()
    with host.Lateness() as lateness:
        wait = lateness._ended.wait
        lateness._ended.wait = lambda seconds: held.wait(0.5) or wait(seconds)  # type: ignore[method-assign, assignment]
        time.sleep(0.8)
    assert lateness.worst > 0.4


def test_a_slow_host_hides_no_signal(root: Path, silent: int) -> None:
    units = stations(root, silent, "jazz-fm", "news-fm", "talk-fm")
    put(root, "proc/5/stat", "5 (icecast2) T 1")
    put(root, "proc/5/cgroup", f"0::/system.slice/x.slice/{UNIT}\n")
    systemd, clock = Systemd(*units), Clock()
    rounds(Watch(root, systemd, clock), clock, 2)
    assert systemd.did == [f"kill --signal=KILL -- {UNIT}", f"restart -- {UNIT}"]


def test_who_answers_at_the_third_time_is_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float | None] = []

    def look(_root: Path, _running: object, patience: float | None = None, _only: object = None) -> object:
        looks.append(patience)
        return {} if patience == hung.LAST_PATIENCE else {UNIT: ("rock-fm", hung.SILENT)}

    monkeypatch.setattr(hung, "look", look)
    systemd, clock = Systemd(UNIT), Clock()
    rounds(Watch(root, systemd, clock), clock, 3)
    assert looks == [None, None, 0.1, None, 0.1]
    assert systemd.did == []


class Crowd:
    """A port whose queue somebody keeps full; ``takes``: whether the program goes on taking connections."""

    def __init__(self, *, takes: bool) -> None:
        self.door = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port = self.door.getsockname()[1]
        self._takes, self._ended = takes, threading.Event()
        self._links: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(6)]
        if takes:
            self._threads.append(threading.Thread(target=self._take, daemon=True))

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(waiting.at(Path("/"), self.port)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self.door.close()
        for thread in self._threads:
            thread.join(5)
        for link in self._links:
            link.close()

    def _send(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                self._links.append(socket.create_connection(("127.0.0.1", self.port), timeout=0.2))

    def _take(self) -> None:
        while not self._ended.wait(0.05):
            with contextlib.suppress(OSError):
                self._links.append(self.door.accept()[0])


@pytest.mark.parametrize("takes", [True, False])
def test_a_queue_that_moves_is_told_apart_from_one_that_stands(tmp_path: Path, takes: bool) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/net").symlink_to("/proc/net")
    with Crowd(takes=takes) as crowd:
        one = hung.Asked(UNIT, "rock-fm", crowd.port, lambda _port, _patience: hung.FULL)
        assert hung._cause(tmp_path, one, 1.5) == (hung.FULL if takes else hung.STUCK)


def test_a_connection_that_is_not_to_be_had_is_a_full_queue() -> None:
    with Crowd(takes=False) as crowd:
        assert hung.answers_http("/")(crowd.port, 0.3) == hung.FULL


def test_a_full_queue_is_told_and_nobody_is_thrown_off(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hung, "_cause", lambda *_: hung.FULL)
    systemd, clock = Systemd(UNIT), Clock()
    rounds(Watch(root, systemd, clock), clock, 3)
    assert systemd.did == []
    assert "see who connects to it" in capsys.readouterr().out


def test_queues_that_are_kept_full_keep_nobody_from_being_restarted(
    root: Path, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = stations(root, silent, "jazz-fm", "news-fm", "talk-fm")
    monkeypatch.setattr(hung, "_cause", lambda _root, one, _patience: hung.SILENT if one.unit == UNIT else hung.FULL)
    systemd, clock = Systemd(*units), Clock()
    rounds(Watch(root, systemd, clock), clock, 2)
    assert systemd.did == [f"kill --signal=KILL -- {UNIT}", f"restart -- {UNIT}"]


def test_a_queue_that_stands_is_restarted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hung, "_cause", lambda *_: hung.STUCK)
    systemd, clock = Systemd(UNIT), Clock()
    rounds(Watch(root, systemd, clock), clock, 2)
    assert f"restart -- {UNIT}" in systemd.did


def test_a_restart_that_fails_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systemd, clock = Systemd(UNIT), Clock()
    systemd.fails = True
    watch = Watch(root, systemd, clock)
    watch.round()
    watch.round()
    assert "It could not be restarted: Job failed" in capsys.readouterr().out
    assert not (root / STATE).exists()


def test_processes_that_a_signal_holds(root: Path) -> None:
    place = "0::/system.slice/system-streamfleet\\x2d{0}.slice/streamfleet-{0}@rock-fm.service\n"
    for pid, state, engine in ((5, "T", "autodj"), (6, "S", "relay"), (7, "t", "live")):
        put(root, f"proc/{pid}/stat", f"{pid} (liquidsoap (x)) {state} 1")
        put(root, f"proc/{pid}/cgroup", place.format(engine))
    put(root, "proc/8/stat", "8 (bash) T 1")
    put(root, "proc/8/cgroup", "0::/system.slice/ssh.service\n")
    put(root, "proc/9/stat", "9 (nginx) T 1")
    put(root, "proc/9/cgroup", f"0::/system.slice/{RTMP}\n")
    assert dict(hung.held(root)) == {"streamfleet-autodj@rock-fm.service": "rock-fm", RTMP: ""}
    assert hung.look(root, {})[RTMP] == ("", hung.HELD)


def test_the_rtmp_server_is_asked_at_the_port_of_encoders(root: Path) -> None:
    servers = (
        "http {\n server {\n listen 127.0.0.1:1937;\n }\n}\n",
        "rtmp {\n    server {\n        listen 1935;\n    }\n",
    )
    text = "".join(servers) + " server {\n listen 127.0.0.1:1942;\n}\n}\n"
    put(root, "etc/streamfleet/rtmp/nginx.conf", text)
    found = [one for one in hung.asked(root, {RTMP: "running"}) if one.unit == RTMP]
    assert [(one.port, one.service) for one in found] == [(1935, "")]


def test_the_list_of_restarts_begins_anew_when_it_is_long(root: Path) -> None:
    put(root, STATE, "x" * (300 << 10))
    watch = Watch(root, Systemd(UNIT), Clock())
    watch.round()
    watch.round()
    assert len((root / STATE).read_text().splitlines()) == 1
    assert (root / "var/lib/streamfleet/watch/restarts.1.jsonl").stat().st_size == 300 << 10


def samples(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}


def test_figures_of_a_host(tmp_path: Path) -> None:
    folder = tmp_path / figures.TLS / "stream.example.net"
    folder.mkdir(parents=True)
    tenant = put(tmp_path, f"{figures.TLS}/radio.tenant.test/fullchain.pem", "x")
    (tenant.parent / "tenant").touch()
    key = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    command = f"{key} -subj /CN=x -days 9 -keyout k -out fullchain.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    put(tmp_path, figures.BACKUP_SETTINGS, '{"rehearsed": true}')
    os.utime(put(tmp_path, figures.BACKUP_LAST, "{}"), (5000, 5000))
    now = datetime.now(UTC).timestamp()
    for slug, since, age in (("tv", now - 500, 200), ("new", now - 20, None), ("off", None, 900)):
        if since:
            put(
                tmp_path,
                f"{figures.LIVE}/{slug}",
                json.dumps({"client": "1", "since": since * 1000, "seen": now * 1000}),
            )
        if age:
            os.utime(put(tmp_path, f"{figures.HLS}/{slug}/index.m3u8"), (now - age, now - age))
    put(tmp_path, f"{figures.LIVE}/broken", "{")
    put(tmp_path, figures.REHEARSAL, json.dumps({"ended": "2026-11-28T02:00:00Z", "succeeded": False}))
    device = f"{os.major(tmp_path.stat().st_dev)}:{os.minor(tmp_path.stat().st_dev)}"
    put(tmp_path, "proc/self/mountinfo", f"20 1 {device} / / ro,relatime shared:1 - ext4 /dev/x rw,errors=remount-ro\n")
    text = figures.Figures(tmp_path).text({})
    found = samples(text)
    ends = found['streamfleet_host_certificate_not_after_timestamp_seconds{host="stream.example.net"}']
    assert abs(ends - now - 9 * 86400) < 60
    assert not [name for name in found if "radio.tenant.test" in name]
    assert found["streamfleet_host_backup_configured"] == 1
    assert found["streamfleet_host_backup_timestamp_seconds"] == 5000
    assert found["streamfleet_host_rehearsal_timestamp_seconds"] == 1795831200
    assert found["streamfleet_host_rehearsal_succeeded"] == 0
    assert found["streamfleet_host_rehearsal_configured"] == 1
    # Written by an earlier release, or by nobody.
    for settings, configured in (('{"rehearsed": false}', 0), ("{}", None), ("{", None), ("[]", None)):
        put(tmp_path, figures.BACKUP_SETTINGS, settings)
        other = samples(figures.Figures(tmp_path).text({}))
        assert other.get("streamfleet_host_rehearsal_configured") == configured, settings
        assert other["streamfleet_host_backup_configured"] == 1
    for broken in ("{", '{"ended": "yesterday", "succeeded": true}', '["x"]', '{"succeeded": true}'):
        put(tmp_path, figures.REHEARSAL, broken)
        assert "rehearsal" not in figures.Figures(tmp_path).text({}), broken
    assert abs(found['streamfleet_host_hls_age_seconds{media_service="tv"}'] - 200) < 5
    assert abs(found['streamfleet_host_hls_age_seconds{media_service="new"}'] - 20) < 5
    assert not [name for name in found if '"off"' in name or '"broken"' in name]
    assert found['streamfleet_host_disk_read_only{mountpoint="/"}'] == 0, "read-only to the unit, not to the host"
    put(tmp_path, "proc/self/mountinfo", f"20 1 {device} / / rw - ext4 /dev/x ro,x\n")
    assert samples(figures.Figures(tmp_path).text({}))['streamfleet_host_disk_read_only{mountpoint="/"}'] == 1
    assert 0 < found['streamfleet_host_disk_used_ratio{mountpoint="/"}'] <= 1
    assert abs(found["streamfleet_host_watch_timestamp_seconds"] - now) < 60
    assert "streamfleet_host_hung_restarts_total" not in text, "nothing was"


def test_silence_is_told_while_it_lasts_and_only_by_a_file(tmp_path: Path) -> None:
    now = time.time()
    began = f"{now - 90:.0f}"
    said = {
        name: put(tmp_path, f"var/lib/streamfleet/services/{name}/autodj/silent", text)
        for name, text in {"now": began, "ended": began, "broken": "", "words": "x" * 99}.items()
    }
    os.utime(said["ended"], (now - 60, now - 60))
    link, pipe = (tmp_path / f"var/lib/streamfleet/services/{name}/autodj/silent" for name in ("link", "pipe"))
    for path in (link, pipe):
        path.parent.mkdir(parents=True)
    link.symlink_to(said["now"])
    os.mkfifo(pipe)
    found = {name: value for name, value in samples(figures.Figures(tmp_path).text({})).items() if "silent" in name}
    (value,) = found.values()
    assert list(found) == ['streamfleet_host_silent_seconds{media_service="now"}']
    assert abs(value - 90) < 5


def test_a_file_of_figures_is_whole_and_for_everybody(tmp_path: Path) -> None:
    figures.write(tmp_path / "streamfleet.prom", "one\n")
    figures.write(tmp_path / "streamfleet.prom", "two\n")
    assert [path.name for path in tmp_path.iterdir()] == ["streamfleet.prom"]
    assert (tmp_path / "streamfleet.prom").stat().st_mode & 0o777 == 0o644
