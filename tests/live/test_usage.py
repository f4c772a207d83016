"""What services use, measured on a real node, and limits that hold against an encoder that keeps to none.

Tests roles: sessions.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.stage import STREAM_HOST, DemoError, Stage
from tests.live.streams import Listener, Source, on_air
from tests.live.test_platform import apply, published, running, station, tenant
from tests.live.test_sessions import until

__all__ = ["tenant"]
pytestmark = pytest.mark.live


class Hostile(threading.Thread):
    """An encoder that sends ``kbps``, whatever it is told, and comes back as often as it is sent away."""

    def __init__(self, address: str, port: int, mount: str, password: str, kbps: int) -> None:
        super().__init__(daemon=True)
        login = base64.b64encode(f"source:{password}".encode()).decode()
        lines = (f"PUT {mount} HTTP/1.0", f"Authorization: Basic {login}", "Content-Type: audio/mpeg")
        self._head = "".join(f"{line}\r\n" for line in (*lines, ""))
        self._to, self._piece = (address, port), b"\xff" * (kbps * 125 // 4)
        self._ended = threading.Event()
        self.answers: list[str] = []
        #: How long each connection lasted.
        self.lasted: list[float] = []

    def run(self) -> None:
        while not self._ended.is_set():
            begun = time.monotonic()
            with contextlib.suppress(OSError), socket.create_connection(self._to, timeout=10) as link:
                link.sendall(self._head.encode())
                self.answers.append(link.recv(256).decode("latin-1").splitlines()[0])
                while not self._ended.is_set() and " 200 " in self.answers[-1]:
                    link.sendall(self._piece)
                    self._ended.wait(0.25)
            self.lasted.append(time.monotonic() - begun)
            self._ended.wait(2)

    def stop(self) -> None:
        self._ended.set()
        self.join(20)


@contextlib.contextmanager
def attacking(*encoders: Hostile) -> Iterator[None]:
    for encoder in encoders:
        encoder.start()
    try:
        yield
    finally:
        for encoder in encoders:
            encoder.stop()


@pytest.mark.full
def test_a_hostile_encoder_gets_no_further_than_its_limits(platform: Stage, tenant: str) -> None:
    slug, other = f"{tenant}-a", f"{tenant}-b"
    mounts = [{"name": name, "bitrate_kbps": 128} for name in ("/stream", "/good")]
    limits = {"max_bitrate_kbps": 160, "max_mounts": 2, "max_listeners": 5}
    apply(platform, {"media_services": [station(tenant, slug, mounts=mounts, **limits), station(tenant, other)]})
    running(platform, slug, other)
    address, port, word = published(platform, slug)

    def use() -> dict[str, Any]:
        found: dict[str, Any] = platform.api().request("GET", f"/media-services/{slug}/usage").data
        return found

    hostile = Hostile(address, port, "/stream", word, 800)
    # One more source than there are mounts, and one to a mount that is taken.
    more = [Hostile(address, port, mount, word, 64) for mount in ("/third", "/good", "/_relay-good")]
    listener = Listener(address, port, STREAM_HOST, "/good")
    neighbours = published(platform, other)
    theirs = Listener(neighbours[0], neighbours[1], STREAM_HOST, "/stream")
    with (
        on_air(Source(address, port, "/good", word)) as good,
        on_air(Source(neighbours[0], neighbours[1], "/stream", neighbours[2])) as neighbour,
        attacking(hostile, *more),
    ):
        for one in (listener, theirs):
            one.start()
            assert one.playing.wait(20)
        found = until(lambda: (told := use())["sources"] and len(told["sources"]) == 2 and told, 120)
        assert {item["mount"] for item in found["sources"]} == {"/stream", "/good"}
        dropped = until(lambda: use()["dropped_sources"], 180)[0]
        assert (dropped["mount"], dropped["limit_kbps"]) == ("/stream", 160)
        assert 640 < dropped["kbps"] < 960
        # It comes back, and has less time.
        until(lambda: len(hostile.lasted) >= 2, 120)
        assert 50 < hostile.lasted[0] < 120
        assert hostile.lasted[1] < hostile.lasted[0]
        until(lambda: len(use()["dropped_sources"]) >= 2)
        good_one = until(lambda: next((i for i in use()["sources"] if i["mount"] == "/good" and i["kbps"]), None), 90)
        assert 110 < good_one["kbps"] < 150
        assert use()["listeners"] == 1

        def now() -> list[dict[str, Any]]:
            path = f"/media-services/{slug}/listener-sessions?running=true"
            found: list[dict[str, Any]] = platform.api().request("GET", path).data["items"]
            return found

        (one_now,) = until(now, 90)
        assert (one_now["source"], one_now["mount"], one_now["agent"]) == ("direct", "/good", "counter")
        assert one_now["address"]
        assert one_now["ended_at"] is None
        for one in more:
            assert one.answers
            assert not [answer for answer in one.answers if " 200 " in answer], one.answers
        for source in (good, neighbour):
            assert source.error is None
    for one in (listener, theirs):
        one.stop()
        assert one.heard.lost_lines == 0
    # Right again, it stays; a busy machine's Icecast has the mount free again when it has noticed who left.
    with contextlib.ExitStack() as stack:

        def accepted() -> Source | None:
            with contextlib.suppress(AssertionError):
                return stack.enter_context(on_air(Source(address, port, "/stream", word)))
            return None

        right = until(accepted, 30)
        time.sleep(75)
        assert right.error is None


@pytest.mark.full
def test_use_of_disk_and_of_a_channel(platform: Stage, tenant: str) -> None:
    slug, channel = f"{tenant}-a", f"{tenant}-tv"
    video = {"slug": channel, "name": channel, "customer": tenant, "engine": "nginx_rtmp"}
    apply(platform, {"media_services": [station(tenant, slug), video]})
    running(platform, slug, channel)
    platform.on_node(
        ["sh", "-c", f"cd /var/lib/streamfleet/services/{slug} && head -c 3000000 /dev/zero >a && ln -s /usr b"]
    )

    def use(of: str) -> dict[str, Any]:
        found: dict[str, Any] = platform.api().request("GET", f"/media-services/{of}/usage").data
        return found

    until(lambda: use(channel)["reported_at"], 120)
    assert use(channel)["sources"] == []
    until(lambda: use(slug)["own_files_mb"] == 3, 400)
    assert use(slug)["library_mb"] == 0


def test_the_meter_can_write_nothing_and_read_no_keys(platform: Stage) -> None:
    pid = platform.on_node(["systemctl", "show", "streamfleet-usage", "-p", "MainPID", "--value"]).strip()
    assert platform.on_node(["stat", "-c", "%U", f"/proc/{pid}"]).strip() == "streamfleet-usage"
    status = platform.on_node(["cat", f"/proc/{pid}/status"])
    # CAP_DAC_READ_SEARCH, and CAP_DAC_OVERRIDE for want of it: no other.
    assert {line.split()[1][:-1] for line in status.splitlines() if line.startswith(("CapEff", "CapBnd"))} == {"0" * 15}
    with pytest.raises(DemoError, match="Read-only file system"):
        platform.on_node(["nsenter", "-t", pid, "-m", "touch", "/etc/streamfleet/routes/mine.json"])
    with pytest.raises(DemoError, match="No such file"):
        platform.on_node(["nsenter", "-t", pid, "-m", "stat", "/etc/shadow"])
    for path in ("/etc/streamfleet/tls", "/etc/streamfleet/publish-keys"):
        assert platform.on_node(["nsenter", "-t", pid, "-m", "stat", "-c", "%a", path]).strip() == "0", path
    # What only some hosts have.
    some = ["/var/lib/streamfleet/panel", "/var/lib/streamfleet/acme", "/var/lib/mysql", "/var/lib/postgresql"]
    words = ["sh", "-c", 'for path; do ! test -e "$path" || stat -c "%a %n" "$path"; done', "sh", *some]
    for line in platform.on_node(["nsenter", "-t", pid, "-m", *words]).splitlines():
        assert line.startswith("0 "), line


def test_the_meter_sees_of_run_its_own_and_the_rtmp_servers_folder(platform: Stage) -> None:
    def process() -> str:
        return platform.on_node(["systemctl", "show", "streamfleet-usage", "-p", "MainPID", "--value"]).strip()

    pid = process()
    found = set(platform.on_node(["nsenter", "-t", pid, "-m", "ls", "/run"]).split())
    # systemd's own, in which nothing is.
    assert found - {"systemd"} == {"streamfleet-usage", "streamfleet-rtmp"}
    assert platform.on_node(["nsenter", "-t", pid, "-m", "find", "/run/systemd", "-type", "s"]) == ""
    # Its folder is another one after that.
    platform.on_node(["systemctl", "restart", "streamfleet-rtmp"])
    until(lambda: process() not in ("0", pid), 30)
    assert platform.on_node(["nsenter", "-t", process(), "-m", "ls", "/run/streamfleet-rtmp/control.sock"])


def test_self_check_names_what_is_wrong(platform: Stage) -> None:
    platform.on_node(["systemctl", "stop", "streamfleet-usage"])
    try:
        with pytest.raises(DemoError, match=r"streamfleet-usage\.service is not running"):
            platform.playbook("playbooks/self_check.yml")
    finally:
        platform.on_node(["systemctl", "start", "streamfleet-usage"])


@pytest.mark.full
def test_a_second_run_changes_nothing(platform: Stage) -> None:
    assert platform.install("--tags", "sessions", "--check").changed == 0
    assert platform.install("--tags", "sessions").changed == 0
