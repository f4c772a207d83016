"""The demo itself, step by step."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from streamfleet.http import Client

from demo import media, on_air
from demo.report import Report
from demo.stage import NODE, PANEL_HOST, ROOT, STREAM_HOST, DemoError, Stage, private

HERE = Path(__file__).resolve().parent
SLUGS = ("ada-fm", "ada-night", "lin-tv")
ENCODERS = ("ada-fm-mp3", "ada-fm-aac", "lin-tv")


def run(stage: Stage, report: Report) -> None:
    """Everything, in order. Raises DemoError when it cannot go on."""
    need_players()
    report.step("Starting the node")
    stage.start()
    report.step("Installing the platform on it (playbooks/install.yml)")
    first = stage.install()
    report.check("install.yml runs through", first.failed == first.unreachable == 0, f"{first.ok} tasks ok")
    stage.hand_over()
    report.step("Declaring a plan, a reseller, two customers, two stations and a channel (playbooks/apply.yml)")
    variables = ["-e", json.dumps({"apply_files": write_documents(stage), "apply_label": "demo"})]
    stage.playbook("playbooks/apply.yml", *variables, inventory=False)
    api = stage.api()
    took = wait_until_running(api)
    report.check("All services are running, no command typed", True, f"{took:.1f} s after apply.yml ended")
    report.step("Publishing and playing")
    publish(stage, api)
    play(stage, report)
    report.step("Filling a station's library (playbooks/media_folder.yml)")
    fill(stage)
    report.step("At one time: a DJ takes that station over, what must be refused is tried, everything is run again")
    at_once(
        lambda: take_over(stage, report, api),
        lambda: refuse(stage, report, api),
        lambda: again(stage, report, variables),
    )
    tell(stage, report, api)


def at_once(*parts: Callable[[], None]) -> None:
    """Run what waits for sound to pass side by side; raises what the first of them raised, after all have ended."""
    with ThreadPoolExecutor(len(parts)) as threads:
        running = [threads.submit(part) for part in parts]
    for part in running:
        part.result()


def need_players() -> None:
    """Raise DemoError, before anything is started, where encoder or player is missing."""
    missing = [name for name in ("ffmpeg", "curl") if not shutil.which(name)]
    if missing:
        raise DemoError(
            f"Not installed: {', '.join(missing)}. `make demo` installs them; or: apt-get install {' '.join(missing)}"
        )


def write_documents(stage: Stage) -> list[str]:
    """The demo's documents with generated passwords merged in (kept between runs), mode 0600."""
    written = []
    for name in ("document.yml", "closed_account.yml"):
        path = stage.state / name
        if not path.is_file():
            document = yaml.safe_load((HERE / name).read_text())
            for customer in document["customers"]:
                customer["password"] = secrets.token_urlsafe(12)
            private(path, yaml.safe_dump(document, sort_keys=False))
        written.append(str(path))
    return written


def wait_until_running(api: Client, slugs: tuple[str, ...] = SLUGS, seconds: float = 60) -> float:
    """Wait for the services; returns the seconds it took. Raises DemoError with their last states."""
    started = time.monotonic()
    states: dict[str, Any] = {}
    while time.monotonic() - started < seconds:
        states = {slug: api.request("GET", f"/media-services/{slug}/status").data for slug in slugs}
        if all(status["state"] == "running" for status in states.values()):
            return time.monotonic() - started
        if failed := [status for status in states.values() if status["state"] == "failed"]:
            raise DemoError(f"A service failed: {failed}")
        time.sleep(0.2)
    raise DemoError(f"Not running after {seconds:.0f} s: {states}")


def credentials(api: Client, slug: str) -> dict[str, str]:
    """The stream credentials of a service, by the audited endpoint."""
    found: dict[str, str] = api.request("GET", f"/media-services/{slug}/credentials").data["credentials"]
    return found


def publish(stage: Stage, api: Client) -> None:
    """Start the encoders: H.264 and AAC to the channel, MP3 and AAC to the station."""
    source = credentials(api, "ada-fm")["source_password"]
    port = api.request("GET", "/media-services/ada-fm").data["port"]
    for mount, audio_format in (("/stream", "mp3"), ("/mobile", "aac")):
        url = f"icecast://source:{source}@{STREAM_HOST}:{port}{mount}"
        on_air.start(stage, f"ada-fm-{audio_format}", media.audio_publisher(url, audio_format))
    key = credentials(api, "lin-tv")["stream_key"]
    on_air.start(stage, "lin-tv", media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}"))


def play(stage: Stage, report: Report) -> None:
    """Play everything as a listener would: over HTTPS, decoded."""
    hls = f"https://{STREAM_HOST}/hls/lin-tv/index.m3u8"
    mounts = {"MP3": "/stream", "AAC": "/mobile"}
    urls = [hls, *(f"https://{STREAM_HOST}/listen/ada-fm{mount}" for mount in mounts.values())]
    # Each waits for what is sent in its own time, so all listen at once.
    with ThreadPoolExecutor() as listeners:
        (status, size), *_ = listeners.map(lambda url: fetch_when_there(stage, url, seconds=2), urls)
        video, *sounds = listeners.map(lambda url: decode(stage, url), urls)
    good = status == 200 and size > 0
    report.check("The channel's playlist over HTTPS, certificate checked", good, f"{status}, {size} bytes")
    report.check("The channel plays: frames decoded", video.frames >= 50, video.frames)
    report.check("The channel plays: seconds of sound", video.seconds >= 3, f"{video.seconds:.1f} s")
    for name, sound in zip(mounts, sounds, strict=True):
        report.check(f"The station plays {name}: seconds decoded", sound.seconds >= 3, f"{sound.seconds:.1f} s")


def fetch_when_there(stage: Stage, url: str, seconds: int = 5, patience: float = 30) -> tuple[int, int]:
    """GET ``url`` until it answers 200, for at most ``patience`` seconds; returns status and bytes of the last try."""
    deadline = time.monotonic() + patience
    while True:
        status, size = fetch(stage, url, seconds)
        if status == 200 or time.monotonic() > deadline:
            return status, size
        time.sleep(0.5)


def fetch(stage: Stage, url: str, seconds: int = 5) -> tuple[int, int]:
    """GET ``url`` for at most ``seconds``; returns status (0: no answer) and bytes."""
    done = stage.run_inside(media.curl(url, str(stage.ca), NODE, seconds=seconds), timeout=seconds + 20)
    status, size = [*done.stdout.split(), "0", "0"][:2]
    return int(status), int(size)


def decode(stage: Stage, url: str) -> media.Decoded:
    """Decode five seconds of ``url``."""
    return media.decoded(stage.run_inside(media.player(url, str(stage.ca)), timeout=60))


def refuse(stage: Stage, report: Report, api: Client) -> None:
    """A wrong key, a disabled customer's key, one listener too many."""
    keys = ["k" * 32, credentials(api, "closed-tv")["stream_key"]]
    with ThreadPoolExecutor() as encoders:
        wrong, closed = encoders.map(lambda key: try_to_publish(stage, key), keys)
    report.check("A wrong key is refused", not wrong, "published" if wrong else "refused")
    report.check("A disabled customer's key is refused", not closed, "published" if closed else "refused")
    url = f"https://{STREAM_HOST}/listen/ada-fm/stream"
    listen = stage.inside(media.curl(url, str(stage.ca), NODE, seconds=8))
    crowd = [subprocess.Popen(listen, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    time.sleep(3)
    status, _ = fetch(stage, url, seconds=3)
    answers = [listener.communicate(timeout=40)[0].split() for listener in crowd]
    full = [answer[0] for answer in answers if answer]
    report.check("Three listeners, the station's limit, are let in", full == ["200"] * 3, ", ".join(full))
    report.check("The fourth is refused", status >= 400, status)


def library(stage: Stage) -> list[str]:
    """What playbooks/media_folder.yml is given: ada's music, two recordings of one tone."""
    night = stage.state / "music" / "night"
    night.mkdir(parents=True, exist_ok=True)
    for name in ("one.mp3", "two.mp3"):
        if not (night / name).is_file():
            subprocess.run(media.recording(night / name, media.MUSIC), check=True, timeout=60)
    return ["-e", json.dumps({"media_folder_customer": "ada", "media_folder_src": str(night.parent)})]


def fill(stage: Stage) -> None:
    """Bring ada's music to the node."""
    stage.playbook("playbooks/media_folder.yml", *library(stage))


def take_over(stage: Stage, report: Report, api: Client) -> None:
    """One listener, one connection: the station's music, a DJ, the music again."""
    url = f"https://{STREAM_HOST}/listen/ada-night/stream"
    heard = stage.state / "heard.mp3"
    heard.unlink(missing_ok=True)
    deadline = time.monotonic() + 120
    # The station plays its safe tone until it has found its music, and the track after that.
    while media.MUSIC not in (tones := listened(stage, url, heard, seconds=4)):
        if time.monotonic() > deadline:
            raise DemoError(
                f"ada-night does not play its music but {tones}: journalctl -u streamfleet-autodj@ada-night"
            )
    report.check("A station plays by itself", True, f"{media.MUSIC} Hz")
    answer = api.request("GET", "/media-services/ada-night/djs/mara/credentials").data
    login = {entry["label"]: entry["value"] for entry in answer["connection"]}
    server = f"{login['Username']}:{login['Password']}@{login['Server']}:{login['Port']}{login['Mount']}"
    dj = media.audio_publisher(f"icecast://{server}", "mp3", seconds=8)
    with subprocess.Popen(
        stage.inside(media.curl(url, str(stage.ca), NODE, seconds=25, output=str(heard))),
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as listener:  # fmt: skip
        time.sleep(6)
        stage.run_inside(dj, timeout=60)
        heard_of = listener.communicate(timeout=60)[0]
    tones = media.tones(heard)
    good = tones == [media.MUSIC, media.LIVE, media.MUSIC]
    detail = f"{' → '.join(f'{tone} Hz' for tone in tones)}, status and bytes {heard_of}"
    report.check("A DJ takes it over and leaves, over one connection of a listener", good, detail)


def listened(stage: Stage, url: str, path: Path, seconds: int) -> list[int]:
    """The tones that a listener hears in so many seconds, in order."""
    stage.run_inside(media.curl(url, str(stage.ca), NODE, seconds=seconds, output=str(path)), timeout=seconds + 20)
    return media.tones(path)


def try_to_publish(stage: Stage, key: str) -> bool:
    """True when an encoder with ``key`` gets three seconds of video accepted."""
    command = media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}", seconds=3)
    return stage.run_inside(command, timeout=40).returncode == 0


def again(stage: Stage, report: Report, variables: list[str]) -> None:
    """Run every playbook once more: nothing may change."""
    for name, recap in (
        ("install.yml", stage.install()),
        ("apply.yml", stage.playbook("playbooks/apply.yml", *variables, inventory=False)),
        ("media_folder.yml", stage.playbook("playbooks/media_folder.yml", *library(stage))),
        ("converge.yml", stage.playbook("playbooks/converge.yml")),
    ):
        quiet = recap.changed == recap.failed == recap.unreachable == 0 and recap.ok > 0
        report.check(f"{name} again changes nothing", quiet, f"{recap.ok} ok, {recap.changed} changed")
    alive = [name for name in ENCODERS if on_air.running(stage, name)]
    report.check("The encoders stayed on the air through it", len(alive) == len(ENCODERS), ", ".join(alive))


def tell(stage: Stage, report: Report, api: Client) -> None:
    """Print what is on the air and how to go on by hand."""
    key = credentials(api, "lin-tv")["stream_key"]
    https, http, rtmp = stage.ports.https, stage.ports.http, stage.ports.rtmp
    print(
        f"""
On the air (this machine only; ports are published on 127.0.0.1)

  Panel      https://{PANEL_HOST}:{https}/    log in as admin, the password is in .demo/admin_password
  Customers  ada, lin, northwind (reseller)    their passwords are in .demo/document.yml
  Radio      https://{STREAM_HOST}:{https}/listen/ada-fm/stream    (also http, port {http})
             https://{STREAM_HOST}:{https}/listen/ada-fm/mobile
             https://{STREAM_HOST}:{https}/listen/ada-night/stream    (plays by itself, until a DJ comes)
  Video      https://{STREAM_HOST}:{https}/hls/lin-tv/index.m3u8

  OBS        Service: Custom    Server: rtmp://{STREAM_HOST}:{rtmp}/live    Stream key: {key}
             (the demo's own encoder holds that channel; declare another one for OBS, as in demo/document.yml)

  Trust      The demo has a CA of its own: .demo/ca.pem. Import it as an authority in the browser, or give it to
             the client: curl --cacert .demo/ca.pem …
             Browsers resolve *.localhost to this machine by themselves.

  By hand    . .demo/env    then e.g.  ansible-playbook playbooks/apply.yml -e apply_files=.demo/document.yml
             make demo-clean removes everything.
"""
    )
    print(f"{len(report.checks)} checks, {sum(not entry['ok'] for entry in report.checks)} failed: .demo/report.json")
