"""Stations that play by themselves: many at once, what one costs, how DJs take over, and a web server."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.documents import document
from bench.figures import Results, median_seconds
from bench.measure import applied, timed
from demo import media
from demo.stage import STREAM_HOST, Stage
from tests.live import tones

STARTED = 5
PREFIX = "radio"
FIRST = f"{PREFIX}-0"
IDLE = f"{PREFIX}-1"
#: Sends files as they are.
ECO = f"{PREFIX}-{STARTED - 1}"
LOW, HIGH = 660, 1320
ALL = (media.MUSIC, LOW, HIGH)
LISTENERS = 200
MARK = "/run/streamfleet-bench"

#: CPU seconds of a unit's processes so far, and their memory (PSS) in MB. What runs is counted by the scheduler, to the
#: nanosecond; children that have ended, by ticks.
USED = """\
import glob, json, os, sys
total = {}
for unit in sys.argv[1:]:
    pids, seconds, memory = [os.popen(f"systemctl show -p MainPID --value {unit}").read().strip()], 0.0, 0
    for pid in pids:
        pids += [c for f in glob.glob(f"/proc/{pid}/task/*/children") for c in open(f).read().split()]
        try:
            seconds += sum(int(open(f).read().split()[0]) / 1e9 for f in glob.glob(f"/proc/{pid}/task/*/schedstat"))
            ended = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[13:15]
            seconds += sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
            memory += int(open(f"/proc/{pid}/smaps_rollup").read().split("\\nPss:")[1].split()[0]) * 1024
        except (FileNotFoundError, ProcessLookupError):
            continue
    total[unit] = [seconds, memory / 1e6]
print(json.dumps(total))
"""


def measure(results: Results, stage: Stage, empty: float, size: int = 200) -> None:
    """All figures of this file, on a stage whose worker is stopped."""
    converge(results, stage, empty, size)
    ears = _playing(stage)
    try:
        cost(results, stage)
        take_over(results, stage, ears)
    finally:
        ears.stop()
    web_server(results, stage)
    results.notes.append(
        f"{size} stations with an AutoDJ, of which {STARTED} run; two have recordings of 30 s to play."
    )


def converge(results: Results, stage: Stage, empty: float, size: int) -> None:
    """``size`` stations with an AutoDJ: nothing changed, and one playlist changed."""
    whole: dict[str, list[dict[str, Any]]] = document(size, size, prefix=PREFIX)
    for number, service in enumerate(whole["media_services"]):
        autodj = {"class": "eco"} if service["slug"] == ECO else {}
        service.update({"autodj": autodj, "enabled": number < STARTED})
    whole["playlists"] = [{"media_service": f"{PREFIX}-{n}", "name": "all", "folder": "."} for n in range(size)]
    whole["djs"] = [
        {"media_service": FIRST, "username": "low", "grace_seconds": 0},
        {"media_service": FIRST, "username": "high", "priority": 20, "grace_seconds": 0},
    ]
    applied(stage, whole)
    first = timed(lambda: stage.playbook("playbooks/converge.yml"))
    results.add(f"converge, {size} new stations with AutoDJ ({STARTED} started), against an empty play", first, empty)
    again = median_seconds(lambda: stage.playbook("playbooks/converge.yml"))
    results.add(f"converge, nothing changed, {size} stations with AutoDJ, against an empty play", again, empty, 2.5)
    stage.on_node(["touch", MARK])
    applied(stage, {"playlists": [{"media_service": IDLE, "name": "all", "order": "sequential"}]})
    stage.playbook("playbooks/converge.yml")
    folders = ["/etc/streamfleet/instances", "/etc/streamfleet/routes"]
    written = stage.on_node(["find", *folders, "-type", "f", "-newer", MARK]).split()
    touched = {Path(path).stem if path.startswith(folders[1]) else path.split("/")[5] for path in written}
    if IDLE not in touched:
        raise RuntimeError(f"The changed playlist has not arrived; written were {written}")
    results.add("stations touched by a change of one playlist", len(touched), 1, 1, unit="stations")


def _playing(stage: Stage) -> tones.Ears:
    """Give two stations their music; the first has a listener who hears it."""
    music = stage.state / "music"
    music.mkdir(exist_ok=True)
    for name in ("one.mp3", "two.mp3"):
        subprocess.run(media.recording(music / name, media.MUSIC), check=True, timeout=60)
    for customer in (FIRST, ECO):
        variables = {"media_folder_customer": customer, "media_folder_src": str(music)}
        stage.playbook("playbooks/media_folder.yml", "-e", json.dumps(variables))
    _hearing(stage, ECO).stop()
    return _hearing(stage, FIRST)


def _hearing(stage: Stage, slug: str) -> tones.Ears:
    """A listener of a station, who hears its music by now."""
    port = stage.api().request("GET", f"/media-services/{slug}").data["port"]
    deadline = time.monotonic() + 120
    while True:
        ears = tones.Ears(stage.address, port, "/stream")
        with contextlib.suppress(AssertionError):
            ears.await_tone(media.MUSIC, ALL, within=30)
            return ears
        ears.stop()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{slug} does not play its music: journalctl -u streamfleet-autodj@{slug}")


def cost(results: Results, stage: Stage, seconds: float = 60) -> None:
    """Memory and processor time of an AutoDJ: idle, playing and encoding one mount, and of the eco class."""
    idle, full, eco = (f"streamfleet-autodj@{slug}.service" for slug in (IDLE, FIRST, ECO))
    used, before = _used(stage, idle, full, eco), time.monotonic()
    time.sleep(seconds)
    after, elapsed = _used(stage, idle, full, eco), time.monotonic() - before
    cores = {unit: (after[unit][0] - used[unit][0]) / elapsed for unit in after}
    for name, unit, size, core in (
        ("an AutoDJ that has no music", idle, 180, None),
        ("an AutoDJ that encodes one mount", full, None, 0.1),
        ("an AutoDJ of the eco class", eco, 40, 0.02),
    ):
        memory = f"memory of {name}, against {size or 180} MB"
        results.add(memory, after[unit][1], size or 180, 1 if size else None, unit="MB")
        busy = f"processor of {name}, against {core or 0.1} core"
        results.add(busy, cores[unit], core or 0.1, 1 if core else None, unit="core")


def take_over(results: Results, stage: Stage, ears: tones.Ears) -> None:
    """From the moment that a DJ's encoder is started, or killed, until the listener hears who is on the air then."""
    begun = time.monotonic()
    low = _encoder(stage, "low", LOW)
    ears.await_tone(LOW, ALL)
    time.sleep(2)
    came = time.monotonic()
    high = _encoder(stage, "high", HIGH)
    ears.await_tone(HIGH, ALL)
    time.sleep(2)
    gone = time.monotonic()
    high.stop()
    ears.await_tone(LOW, ALL)
    low.stop()
    ears.await_tone(media.MUSIC, ALL)
    for name, moment, frequency in (("a higher DJ is heard", came, HIGH), ("the lower one is heard again", gone, LOW)):
        took = ears.since_until(moment, frequency, ALL)
        if took is None:
            raise RuntimeError(f"{frequency} Hz is not in what the listener got")
        results.add(f"{name}, against 2 s", took, 2, 1)
    silence = tones.longest_silence(tones.decoded(ears.bytes_since(begun)))
    results.add("longest silence of DJs' coming and going, against 0.5 s", silence, 0.5, 1)


def web_server(results: Results, stage: Stage) -> None:
    """Listeners for each core: at Icecast's own port, and through the web server, by HTTP and HTTPS."""
    station, web = f"streamfleet-icecast@{FIRST}.service", "nginx.service"
    port = stage.api().request("GET", f"/media-services/{FIRST}").data["port"]
    spent = {}
    for name, number, path, tls in (
        ("direct", port, "/stream", False),
        ("http", 80, f"/listen/{FIRST}/stream", False),
        ("https", 443, f"/listen/{FIRST}/stream", True),
    ):
        with _listeners(stage, number, path, tls=tls) as listen:
            listen(4)
            before = _used(stage, station, web)
            listen(20)
            after = _used(stage, station, web)
        spent[name] = sum(after[unit][0] - before[unit][0] for unit in (station, web))
    for name, goal in (("http", 0.6), ("https", None)):
        results.add(
            f"listeners per core through the web server by {name.upper()}, against Icecast's own port",
            spent[name], spent["direct"], goal, better="higher",
        )  # fmt: skip
    results.notes.append(f"Of {LISTENERS} listeners at 128 kbit/s for 20 s; value and base are what they cost in CPU.")


@contextlib.contextmanager
def _listeners(stage: Stage, port: int, path: str, *, tls: bool) -> Iterator[Any]:
    """Listeners that read what they get; yields a function that lets them listen for so many seconds."""
    context = ssl.create_default_context(cafile=str(stage.ca)) if tls else None
    selector = selectors.DefaultSelector()
    with contextlib.ExitStack() as stack:
        stack.callback(selector.close)
        for _ in range(LISTENERS):
            link = stack.enter_context(socket.create_connection((stage.address, port), timeout=20))
            if context is not None:
                link = stack.enter_context(context.wrap_socket(link, server_hostname=STREAM_HOST))
            link.sendall(f"GET {path} HTTP/1.0\r\nHost: {STREAM_HOST}\r\nUser-Agent: bench\r\n\r\n".encode())
            answer = link.recv(15)
            if b" 200" not in answer:
                raise RuntimeError(f"{STREAM_HOST}:{port}{path} answered {answer!r}")
            link.setblocking(False)
            selector.register(link, selectors.EVENT_READ)

        def listen(seconds: float) -> None:
            # Now and then for all of them: listeners are elsewhere, and what they cost is not measured here.
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                for key, _events in selector.select(0):
                    with contextlib.suppress(ssl.SSLWantReadError):
                        if not key.fileobj.recv(65536):  # type: ignore[union-attr]
                            raise RuntimeError("A listener was disconnected")
                time.sleep(0.2)

        yield listen


def _encoder(stage: Stage, username: str, frequency: int) -> tones.Encoder:
    """A DJ's encoder, beginning to send."""
    api = stage.api()
    answer = api.request("GET", f"/media-services/{FIRST}/djs/{username}/credentials").data
    port = api.request("GET", f"/media-services/{FIRST}").data["live_port"]
    password = answer["credentials"]["password"]
    return tones.Encoder(stage.address, port, f"/{username}", password, frequency, user=username)


def _used(stage: Stage, *units: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads(stage.on_node(["python3", "-c", USED, *units]))
    return found
