"""The demo itself, step by step."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from streamfleet.errors import Error
from streamfleet.http import Client

from demo import media, on_air
from demo.report import Report
from demo.stage import (
    FLEET,
    NODE,
    PANEL_HOST,
    ROOT,
    STATE,
    STREAM_HOST,
    DemoError,
    Ports,
    inside,
    nodes,
    on_node,
    playbook,
)

HERE = Path(__file__).resolve().parent
CA = STATE / "ca.pem"
SLUGS = ("ada-fm", "lin-tv")


def run(report: Report) -> None:
    """Everything, in order. Raises DemoError when it cannot go on."""
    ports = Ports.choose()
    report.step("Starting the node")
    start_node(ports)
    report.step("Installing the platform on it (playbooks/install.yml)")
    first = playbook("install")
    report.check("install.yml runs through", first.failed == first.unreachable == 0, f"{first.ok} tasks ok")
    environment = hand_over(ports)
    api = Client(environment["STREAMFLEET_URL"], environment["STREAMFLEET_TOKEN"], environment["STREAMFLEET_CA"])
    report.step("Declaring a plan, a reseller, two customers, a station and a channel (playbooks/apply.yml)")
    document = write_documents()
    playbook(
        "apply", "-e", json.dumps({"apply_files": document, "apply_label": "demo"}), env=environment, inventory=False
    )
    took = wait_until_running(api)
    report.check("Both services are running, no command typed", True, f"{took:.1f} s after apply.yml ended")
    report.step("Publishing and playing")
    publish(api)
    play(report)
    report.step("Trying what must be refused")
    refuse(report, api)
    report.step("Running everything a second time")
    again(report, environment, document)
    tell(report, ports)


def start_node(ports: Ports) -> None:
    """One node with the panel and both engines, published on the loopback address only."""
    published = {443: ports.https, 80: ports.http, 1935: ports.rtmp, 8100: ports.audio}
    arguments = [word for inner, outer in published.items() for word in ("--publish", f"{NODE}:{outer}:{inner}")]
    domains = ["--domain", f"{PANEL_HOST}={NODE}", "--domain", f"{STREAM_HOST}={NODE}"]
    nodes("up", "--fleet", FLEET, "--node", NODE, *domains, *arguments)


def hand_over(ports: Ports) -> dict[str, str]:
    """Fetch the CA and a token over SSH, write .demo/env, return its variables."""
    CA.write_text(on_node(["cat", "/etc/streamfleet/ca/ca.pem"]))
    path = STATE / "env"
    if path.is_file():
        known = dict(re.findall(r"^export (\w+)='([^']*)'$", path.read_text(), re.M))
        if known.get("STREAMFLEET_TOKEN"):
            return known
    printed = on_node(["streamfleet-panel", "issue_token", "--name", f"demo-{secrets.token_hex(3)}",
                       "--scope", "account", "--account", "admin"])  # fmt: skip
    token = json.loads(printed)["token"]
    values = {
        "STREAMFLEET_URL": f"https://127.0.0.1:{ports.https}",
        "STREAMFLEET_TOKEN": token,
        "STREAMFLEET_CA": str(CA),
    }
    _private(path, "".join(f"export {name}='{value}'\n" for name, value in values.items()))
    _private(STATE / "admin_password", on_node(["cat", "/etc/streamfleet/panel/admin_password"]))
    return values


def _private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def write_documents() -> list[str]:
    """The demo's documents with generated passwords merged in (kept between runs), mode 0600."""
    written = []
    for name in ("document.yml", "closed_account.yml"):
        path = STATE / name
        if not path.is_file():
            document = yaml.safe_load((HERE / name).read_text())
            for customer in document["customers"]:
                customer["password"] = secrets.token_urlsafe(12)
            _private(path, yaml.safe_dump(document, sort_keys=False))
        written.append(str(path))
    return written


def wait_until_running(api: Client, seconds: float = 60) -> float:
    """Wait for both services; returns the seconds it took. Raises DemoError with their last states."""
    started = time.monotonic()
    states: dict[str, Any] = {}
    while time.monotonic() - started < seconds:
        states = {slug: api.request("GET", f"/media-services/{slug}/status").data for slug in SLUGS}
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


def publish(api: Client) -> None:
    """Start the encoders: H.264 and AAC to the channel, MP3 and AAC to the station."""
    source = credentials(api, "ada-fm")["source_password"]
    port = api.request("GET", "/media-services/ada-fm").data["port"]
    on_air.start("ada-fm-mp3", media.audio_publisher(f"icecast://source:{source}@{STREAM_HOST}:{port}/stream", "mp3"))
    on_air.start("ada-fm-aac", media.audio_publisher(f"icecast://source:{source}@{STREAM_HOST}:{port}/mobile", "aac"))
    key = credentials(api, "lin-tv")["stream_key"]
    on_air.start("lin-tv", media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}"))


def play(report: Report) -> None:
    """Play everything as a listener would: over HTTPS, decoded."""
    hls = f"https://{STREAM_HOST}/hls/lin-tv/index.m3u8"
    status, size = fetch_when_there(hls)
    report.check(
        "The channel's playlist over HTTPS, certificate checked", status == 200 and size > 0, f"{status}, {size} bytes"
    )
    video = decode(hls)
    report.check("The channel plays: frames decoded", video.frames >= 50, video.frames)
    report.check("The channel plays: seconds of sound", video.seconds >= 3, f"{video.seconds:.1f} s")
    for mount, name in (("/stream", "MP3"), ("/mobile", "AAC")):
        url = f"https://{STREAM_HOST}/listen/ada-fm{mount}"
        fetch_when_there(url, seconds=2)
        sound = decode(url)
        report.check(f"The station plays {name}: seconds decoded", sound.seconds >= 3, f"{sound.seconds:.1f} s")


def fetch_when_there(url: str, seconds: int = 5, patience: float = 30) -> tuple[int, int]:
    """GET ``url`` until it answers 200, for at most ``patience`` seconds; returns status and bytes of the last try."""
    deadline = time.monotonic() + patience
    while True:
        status, size = fetch(url, seconds)
        if status == 200 or time.monotonic() > deadline:
            return status, size
        time.sleep(0.5)


def fetch(url: str, seconds: int = 5) -> tuple[int, int]:
    """GET ``url`` for at most ``seconds``; returns status (0: no answer) and bytes."""
    done = inside(media.curl(url, str(CA), seconds=seconds), timeout=seconds + 20)
    status, size = [*done.stdout.split(), "0", "0"][:2]
    return int(status), int(size)


def decode(url: str) -> media.Decoded:
    """Decode five seconds of ``url``."""
    return media.decoded(inside(media.player(url, str(CA)), timeout=60))


def refuse(report: Report, api: Client) -> None:
    """A wrong key, a disabled customer's key, one listener too many."""
    wrong = try_to_publish("k" * 32)
    report.check("A wrong key is refused", not wrong, "published" if wrong else "refused")
    closed = try_to_publish(credentials(api, "closed-tv")["stream_key"])
    report.check("A disabled customer's key is refused", not closed, "published" if closed else "refused")
    url = f"https://{STREAM_HOST}/listen/ada-fm/stream"
    listen = [sys.executable, "-m", "tests.nodes", "run", "--fleet", FLEET, "--"]
    listen += media.curl(url, str(CA), seconds=8)
    crowd = [subprocess.Popen(listen, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    time.sleep(3)
    status, _ = fetch(url, seconds=3)
    answers = [listener.communicate(timeout=40)[0].split() for listener in crowd]
    full = [answer[0] for answer in answers if answer]
    report.check("Three listeners, the plan's number, are let in", full == ["200"] * 3, ", ".join(full))
    report.check("The fourth is refused", status >= 400, status)


def try_to_publish(key: str) -> bool:
    """True when an encoder with ``key`` gets a second of video accepted."""
    done = inside(media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}", seconds=3), timeout=40)
    return done.returncode == 0


def again(report: Report, environment: dict[str, str], document: list[str]) -> None:
    """Run every playbook once more: nothing may change."""
    variables = json.dumps({"apply_files": document, "apply_label": "demo"})
    for name, recap in (
        ("install.yml", playbook("install")),
        ("apply.yml", playbook("apply", "-e", variables, env=environment, inventory=False)),
        ("converge.yml", playbook("converge", env=environment)),
    ):
        quiet = recap.changed == recap.failed == recap.unreachable == 0 and recap.ok > 0
        report.check(f"{name} again changes nothing", quiet, f"{recap.ok} ok, {recap.changed} changed")
    alive = [name for name in ("ada-fm-mp3", "ada-fm-aac", "lin-tv") if on_air.running(name)]
    report.check("The encoders stayed on the air through it", len(alive) == 3, ", ".join(alive))


def tell(report: Report, ports: Ports) -> None:
    """Print what is on the air and how to go on by hand."""
    try:
        key = credentials(Client(*_env()), "lin-tv")["stream_key"]
    except Error as error:
        raise DemoError(str(error)) from error
    https, http = ports.https, ports.http
    print(
        f"""
On the air (this machine only; ports are published on 127.0.0.1)

  Panel      https://{PANEL_HOST}:{https}/    log in as admin, the password is in .demo/admin_password
  Customers  ada, lin, northwind (reseller)    their passwords are in .demo/document.yml
  Radio      https://{STREAM_HOST}:{https}/listen/ada-fm/stream    (also http, port {http})
             https://{STREAM_HOST}:{https}/listen/ada-fm/mobile
  Video      https://{STREAM_HOST}:{https}/hls/lin-tv/index.m3u8

  OBS        Service: Custom    Server: rtmp://{STREAM_HOST}:{ports.rtmp}/live    Stream key: {key}
             (the demo's own encoder holds that channel; declare another one for OBS, as in demo/document.yml)

  Trust      The demo has a CA of its own: .demo/ca.pem. Import it as an authority in the browser, or give it to
             the client: curl --cacert .demo/ca.pem …
             Browsers resolve *.localhost to this machine by themselves.

  By hand    . .demo/env    then e.g.  ansible-playbook playbooks/apply.yml -e apply_files=.demo/document.yml
             make demo-clean removes everything.
"""
    )
    print(f"{len(report.checks)} checks, {sum(not entry['ok'] for entry in report.checks)} failed: .demo/report.json")


def _env() -> tuple[str, str, str]:
    known = dict(re.findall(r"^export (\w+)='([^']*)'$", (STATE / "env").read_text(), re.M))
    return known["STREAMFLEET_URL"], known["STREAMFLEET_TOKEN"], known["STREAMFLEET_CA"]
