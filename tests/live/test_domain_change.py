"""The panel and the streams get other names while everything is on the air; runs are killed, fail and are taken back.

Tests playbooks: domain_change.yml.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from demo import media
from demo.show import credentials, wait_until_running
from demo.stage import NODE, PANEL_HOST, ROOT, STREAM_HOST, Recap, Stage
from demo.viewer import Viewer
from tests.live.streams import Listener, Source, on_air
from tests.ports import free_port

pytestmark = pytest.mark.live

OLD, NEW = ".demo.localhost", ".show.localhost"
MOVE, UNDO = {"from": OLD, "to": NEW}, {"undo": True}
NEW_PANEL, NEW_STREAM = f"panel{NEW}", f"stream{NEW}"


@pytest.fixture(scope="module")
def site(platform: Stage) -> Iterator[Stage]:
    """The platform with a station and a channel, and names that lead to it and are not its own yet."""
    platform.known_as(NEW_PANEL, NEW_STREAM)
    document = {
        "customers": [{"username": "mover", "name": "mover", "email": "mover@live.example"}],
        "media_services": [
            {"slug": "move-fm", "name": "move-fm", "customer": "mover", "engine": "icecast"},
            {"slug": "move-tv", "name": "move-tv", "customer": "mover", "engine": "nginx_rtmp"},
        ],
    }
    platform.api().request("POST", "/apply", {"document": document})
    wait_until_running(platform.api(), ("move-fm", "move-tv"), 90)
    yield platform
    gone = {"customers": [{"username": "mover", "state": "absent"}]}
    platform.api().request("POST", "/apply", {"document": gone, "max_delete": 10})


def options(site: Stage, asked: Mapping[str, Any]) -> list[str]:
    return ["-e", json.dumps({**site.added, **{f"domain_change_{name}": value for name, value in asked.items()}})]


def change(site: Stage, asked: Mapping[str, Any], *more: str, ok: bool = True) -> tuple[Recap, str]:
    """Run the playbook; its totals and what it printed, in one line."""
    log = site.state / "domain_change.log"
    log.unlink(missing_ok=True)
    recap = site.playbook("playbooks/domain_change.yml", *options(site, asked), *more, check=ok)
    text = log.read_text()
    assert ok or recap.failed, text
    return recap, " ".join(text.split())


def there(site: Stage) -> str:
    """What a change of names writes, on the host and in the panel, by digest; but what the authority has signed."""
    folders = "/etc/streamfleet /etc/nginx/conf.d /etc/systemd/system"
    files = site.on_node(["sh", "-c", f"find {folders} -type f -not -path '*/ca/issued/*' | sort | xargs sha256sum"])
    return files + str(site.api().request("GET", f"/nodes/{NODE}").data["stream_host"])


def ask(site: Stage, host: str, path: str, method: str = "GET", headers: str = "") -> tuple[int, str]:
    """Status and Location of an answer over HTTPS, the certificate checked for the host."""
    context = ssl.create_default_context(cafile=str(site.ca))
    with (
        socket.create_connection((site.address, 443), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host) as link,
    ):
        link.sendall(f"{method} {path} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and (piece := link.recv(4096)):
            head += piece
    lines = head.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
    location = next((line[10:] for line in lines if line.lower().startswith("location: ")), "")
    return int(lines[0].split()[1]), location


def whole(site: Stage, panel: str, stream: str) -> bool:
    """Whether pages, API and streams are had by these names, following the panel where it leads."""
    try:
        status, location = ask(site, panel, "/login/")
        if status == 308:
            status, _location = ask(site, location.split("/")[2].partition(":")[0], "/login/")
        found = (status, ask(site, panel, "/api/v1/health")[0], ask(site, stream, "/listen/move-fm/stream")[0])
    except OSError:
        return False
    return found == (200, 200, 200)


def on_the_air(site: Stage, path: str) -> None:
    """Wait until it is answered."""
    deadline = time.monotonic() + 60
    while ask(site, STREAM_HOST, path)[0] != 200:
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.5)


@contextlib.contextmanager
def everybody(site: Stage) -> Iterator[None]:
    """Encoders and listeners of both engines by the old names; at the end nobody has lost anything."""
    api = site.api()
    port = api.request("GET", "/media-services/move-fm").data["port"]
    password, key = credentials(api, "move-fm")["source_password"], credentials(api, "move-tv")["stream_key"]
    with (
        subprocess.Popen(
            site.inside(media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}", seconds=3600)),
            cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as encoder,
        on_air(Source(site.address, port, "/stream", password)) as source,
    ):  # fmt: skip
        try:
            web = Listener(site.address, 443, STREAM_HOST, "/listen/move-fm/stream", str(site.ca))
            direct = Listener(site.address, port, STREAM_HOST, "/stream")
            for listener in (web, direct):
                listener.start()
                assert listener.playing.wait(20), listener.heard
            on_the_air(site, "/hls/move-tv/index.m3u8")
            viewer = Viewer(site, STREAM_HOST, "/hls/move-tv")
            viewer.start()
            yield
            viewer.stop()
            assert viewer.faults == []
            assert viewer.segments >= 5
            assert source.error is None
            assert source.is_alive()
            assert encoder.poll() is None
            for heard in (web.stop(), direct.stop()):
                assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
                assert heard.bytes > 100_000, heard
                assert heard.longest_gap < 5, heard
        finally:
            encoder.terminate()


def watched(
    site: Stage, asked: Mapping[str, Any], at: Callable[[str, int], bool], *, held: bool = False
) -> tuple[bool, str]:
    """Run the playbook; ``at`` is called as a task begins, with its name and how many times it has begun.

    ``held``: the run stands still meanwhile. Where ``at`` says so the run, and all that it has started here, is killed.
    Whether it was, and what it printed.
    """
    begun: Counter[str] = Counter()
    lines: list[str] = []
    with subprocess.Popen(
        site.command("playbooks/domain_change.yml", *options(site, asked)), cwd=ROOT, env=site.environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            lines.append(line)
            if found := re.match(r"TASK \[(.*)\] \**$", line):
                begun[found[1]] += 1
                if held:
                    os.killpg(process.pid, signal.SIGSTOP)
                if at(found[1], begun[found[1]]):
                    os.killpg(process.pid, signal.SIGKILL)
                    return True, "".join(lines)
                if held:
                    os.killpg(process.pid, signal.SIGCONT)
    return False, "".join(lines)


def killed(site: Stage, task: str, times: int) -> None:
    """Begin a run, and kill it when the task begins for the given time."""

    def at(name: str, time_: int) -> bool:
        if (name, time_) != (task, times):
            return False
        # So that the task may have begun on the host.
        time.sleep(0.3)
        return True

    was_killed, said = watched(site, MOVE, at)
    assert was_killed, said


@pytest.mark.full
def test_a_run_that_was_killed_is_taken_back_with_everybody_on_the_air(site: Stage) -> None:
    before = there(site)
    with everybody(site):
        killed(site, "web : Ask the web server as a client would", 2)
        assert whole(site, PANEL_HOST, STREAM_HOST)
        assert whole(site, NEW_PANEL, NEW_STREAM)
        assert ask(site, PANEL_HOST, "/login/?a=1") == (308, f"https://{NEW_PANEL}/login/?a=1")
        change(site, UNDO)
        assert whole(site, PANEL_HOST, STREAM_HOST)
    assert there(site) == before


@pytest.mark.full
def test_names_change_and_change_back_and_installing_changes_nothing(site: Stage, tmp_path: Path) -> None:
    before = there(site)
    _recap, check = change(site, MOVE, "--check", "--diff")
    assert there(site) == before
    assert f"+streamfleet_stream_host: {NEW_STREAM}" in check
    with everybody(site):
        killed(site, "Tell the panel of the streams' names", 1)
        # The same again finishes it.
        _recap, said = change(site, MOVE)
        for panel, stream in ((PANEL_HOST, STREAM_HOST), (NEW_PANEL, NEW_STREAM)):
            assert whole(site, panel, stream)
        assert site.api().request("GET", f"/nodes/{NODE}").data["stream_host"] == NEW_STREAM
        login = f"Authorization: Bearer {site.variables()['STREAMFLEET_TOKEN']}\r\n"
        assert ask(site, PANEL_HOST, f"/api/v1/nodes/{NODE}", headers=login) == (200, "")
        # The inventory of before is refused; with what was printed it is what the host is.
        log = site.state / "install.log"
        log.unlink(missing_ok=True)
        assert site.playbook("playbooks/install.yml", "-e", json.dumps(site.added), check=False).failed
        assert f"the streams were moved to {NEW_STREAM} on 20" in " ".join(log.read_text().split())
        shutil.copytree(ROOT / "inventories" / "demo", tmp_path / "inventories" / "demo")
        patch(site, tmp_path, said)
        site.hosts = str(tmp_path / "inventories" / "demo" / "hosts.yml")
        try:
            assert site.install().changed == 0
            recap, said = change(site, MOVE)
            assert recap.changed == 0
            assert "Nothing: it says so already." in said
            _recap, said = change(site, {"from": NEW, "to": OLD})
            patch(site, tmp_path, said)
            change(site, {"release": NEW})
        finally:
            site.hosts = "inventories/demo/hosts.yml"
        assert whole(site, PANEL_HOST, STREAM_HOST)
    assert there(site) == before


def patch(site: Stage, folder: Path, said: str) -> None:
    """Apply the diff that the run has printed to a copy of the inventory."""
    assert "For patch -p1" in said
    printed = re.search(
        r'"msg": (\[\s+"For patch -p1.*?\n    \])', (site.state / "domain_change.log").read_text(), re.DOTALL
    )
    assert printed
    lines = json.loads(printed[1])[1:]
    subprocess.run(["patch", "-p1"], cwd=folder, input="\n".join(lines) + "\n", text=True, check=True)


@pytest.mark.full
def test_a_step_that_fails_puts_everything_back(site: Stage) -> None:
    before = there(site)
    mine = "/etc/nginx/conf.d/aaa.conf"
    server = (
        f"server {{ listen 443 ssl http2; server_name {NEW_PANEL}; return 404; "
        f"ssl_certificate /etc/streamfleet/tls/{PANEL_HOST}/fullchain.pem; "
        f"ssl_certificate_key /etc/streamfleet/tls/{PANEL_HOST}/privkey.pem; }}"
    )
    site.on_node(["sh", "-c", f"cat >{mine}"], stdin=server)
    try:
        with everybody(site):
            _recap, said = change(site, MOVE, ok=False)
            assert "Hostname mismatch" in said
            assert "All is as it was before." in said
            assert whole(site, PANEL_HOST, STREAM_HOST)
    finally:
        site.on_node(["sh", "-c", f"rm {mine} && systemctl reload nginx.service"])
    assert there(site) == before


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (STREAM_HOST, STREAM_HOST, "nothing would change"),
        (STREAM_HOST, PANEL_HOST, "is the name of the panel of demo1 already"),
        (STREAM_HOST, "nowhere.demo.invalid", "nowhere.demo.invalid does not resolve"),
        (STREAM_HOST, "*.show.localhost", "is a wildcard"),
        (STREAM_HOST, "strömen.show.localhost", "is not as DNS has it"),
    ],
)
def test_bad_names_are_refused_before_anything_is_touched(site: Stage, old: str, new: str, said: str) -> None:
    before = there(site)
    _recap, output = change(site, {"from": old, "to": new}, ok=False)
    assert said in output
    assert there(site) == before
    assert "journal" not in site.on_node(["sh", "-c", "grep -l changing /var/lib/streamfleet/domain_change/* || true"])


@pytest.mark.full
def test_two_operators_do_not_work_at_once(site: Stage) -> None:
    before = there(site)
    said: dict[str, str] = {}

    def at(name: str, times: int) -> bool:
        if (name, times) != ("Note the step", 1):
            return False
        said["change"] = change(site, MOVE, ok=False)[1]
        asked = {"move_media": {"move_media_to": "/srv/media"}, "uninstall": {"streamfleet_uninstall_confirm": "yes"}}
        for playbook in ("install", "certificates", "upgrade", *asked):
            log = site.state / f"{playbook}.log"
            log.unlink(missing_ok=True)
            given = json.dumps({**site.added, **asked.get(playbook, {})})
            # A node alone knows of it, too: the lock is on the panel's host.
            assert site.playbook(f"playbooks/{playbook}.yml", "-e", given, check=False).failed
            said[playbook] = " ".join(log.read_text().split())
        return True

    assert watched(site, MOVE, at, held=True)[0]
    for playbook, text in said.items():
        assert " works on this fleet with domain_change.yml since 20" in text, (playbook, text)
        assert "Wait for its end" in text
        assert "changed=0" in text
    # The run is dead: whoever is next here waits for nobody, and is told what it has left.
    log = site.state / "install.log"
    log.unlink()
    assert site.playbook("playbooks/install.yml", "-e", json.dumps(site.added), check=False).failed
    assert f"A change of names from {OLD} to {NEW}, begun at 20" in " ".join(log.read_text().split())
    change(site, UNDO)
    assert there(site) == before
    assert site.on_node(["cat", "/run/streamfleet/fleet.lock"]) == ""


@pytest.mark.full
def test_the_panel_s_host_must_be_reached(site: Stage, tmp_path: Path) -> None:
    nowhere = tmp_path / "panel.yml"
    host = {"ansible_host": "127.0.0.1", "ansible_port": free_port(), "ansible_connection": "ssh"}
    # An inventory in which another host, that is down, is the panel's, and this one a node.
    groups = {"streamfleet_panel": {"hosts": {"away1": host}}, "streamfleet_nodes": {"hosts": {NODE: {}}}}
    groups["icecast"] = {"hosts": {NODE: {}}}
    nowhere.write_text(json.dumps({"all": {"children": groups}}))
    known = site.hosts
    site.hosts = str(nowhere)
    names = {"streamfleet_panel_host": PANEL_HOST, "streamfleet_stream_host": STREAM_HOST}
    before = there(site)
    try:
        for playbook in ("install", "certificates"):
            log = site.state / f"{playbook}.log"
            log.unlink(missing_ok=True)
            recap = site.playbook(
                f"playbooks/{playbook}.yml", "--limit", NODE, "-e", json.dumps(names | site.added), check=False
            )
            assert recap.failed
            assert recap.changed == 0
            assert "away1, the panel's host, cannot be reached" in " ".join(log.read_text().split())
    finally:
        site.hosts = known
    assert there(site) == before
