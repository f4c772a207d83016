"""Sessions of listeners on a real node, from the client's socket to the panel: who, from where, how long, how much.

Tests roles: sessions.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from demo.stage import ROOT, STREAM_HOST, DemoError, Stage
from tests.live.streams import Source, on_air
from tests.live.test_platform import apply, published, running, station, tenant

__all__ = ["tenant"]
pytestmark = pytest.mark.live

LIE = "198.51.100.66"


class Player(threading.Thread):
    """A player that lies about its address, and counts what it gets until the stream ends."""

    def __init__(self, address: tuple[str, int], path: str, agent: str, ca: str | None = None) -> None:
        super().__init__(daemon=True)
        self.address = ""
        self.head = self.body = 0
        self.playing = threading.Event()
        self.agent = agent
        self._to, self._path, self._ca = address, path, ca

    def run(self) -> None:
        link: socket.socket = socket.create_connection(self._to, timeout=60)
        self.address = link.getsockname()[0]
        if self._ca is not None:
            context = ssl.create_default_context(cafile=self._ca)
            link = context.wrap_socket(link, server_hostname=STREAM_HOST)
        lies = f"X-Forwarded-For: {LIE}\r\nX-Real-IP: {LIE}\r\nForwarded: for={LIE}\r\n"
        request = f"GET {self._path} HTTP/1.0\r\nHost: {STREAM_HOST}\r\nUser-Agent: {self.agent}\r\n{lies}\r\n"
        with link:
            link.sendall(request.encode())
            data = b""
            while b"\r\n\r\n" not in data:
                piece = link.recv(4096)
                assert piece, data
                data += piece
            assert b" 200 " in data.splitlines()[0], data
            self.head = data.index(b"\r\n\r\n") + 4
            self.body = len(data) - self.head
            self.playing.set()
            while piece := link.recv(65536):
                self.body += len(piece)


def until(check: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(1)
    return found


def addresses(platform: Stage) -> list[str]:
    """The node's addresses, IPv4 and, where the network has it, IPv6."""
    state = json.loads((ROOT / ".nodes" / platform.fleet / "state.json").read_text())
    (node,) = state["nodes"].values()
    return [node["address"], *([node["address6"]] if node.get("address6") else [])]


@pytest.mark.full
def test_sessions_and_the_limit_of_transfer(platform: Stage, tenant: str) -> None:
    slug, other = f"{tenant}-a", f"{tenant}-b"
    apply(platform, {"media_services": [station(tenant, slug), station(tenant, other)]})
    running(platform, slug, other)
    address, port, word = published(platform, slug)

    def service() -> dict[str, Any]:
        found: dict[str, Any] = platform.api().request("GET", f"/media-services/{slug}").data
        return found

    def sessions() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            platform.api().request("GET", f"/media-services/{slug}/listener-sessions").data["items"]
        )
        return found

    ca = str(platform.ca)
    players = []
    for number, host in enumerate(addresses(platform)):
        players += [
            Player((host, port), "/stream", f"direct/{number}"),
            Player((host, 443), f"/listen/{slug}/stream", f"web/{number}", ca),
        ]
    begun = time.time()
    with on_air(Source(address, port, "/stream", word)):
        for player in players:
            player.start()
            assert player.playing.wait(20)
        # It grows while they listen: no session has ended yet.
        until(lambda: service()["transferred_mb"] >= 1)
        assert sessions() == []
        # Whatever happens to the recorder, nothing is lost and nothing counts twice.
        platform.on_node(["systemctl", "kill", "--signal=KILL", "streamfleet-sessions"])
    for player in players:
        player.join(30)
        assert not player.is_alive()
    seconds = time.time() - begun
    until(lambda: len(sessions()) >= len(players))
    told = {item["agent"]: item for item in sessions()}
    assert set(told) == {player.agent for player in players}, "and nobody from 127.0.0.1"
    for player in players:
        item = told[player.agent]
        assert item["source"] == player.agent.partition("/")[0]
        assert (item["mount"], item["address"]) == ("/stream", player.address)
        assert item["bytes"] == player.body + (player.head if item["source"] == "direct" else 0)
        assert seconds - 10 < item["seconds"] < seconds + 3
    carried = sum(player.body + player.head for player in players)
    whole = service()["transferred_mb"]
    assert carried // 2**20 - 1 <= whole <= carried * 1.1 // 2**20 + 1

    with on_air(Source(address, port, "/stream", word)):
        player = Player((address, port), "/stream", "cut")
        player.start()
        assert player.playing.wait(20)
        apply(platform, {"media_services": [{"slug": slug, "monthly_transfer_mb": 1}]})
        until(lambda: service()["status"]["state"] == "over_quota", 60)
        player.join(20)
        assert not player.is_alive(), "who listens is sent away"
    assert "used up" in service()["status"]["message"]
    with pytest.raises(OSError):
        socket.create_connection((address, port), timeout=5)
    assert platform.api().request("GET", f"/media-services/{other}").data["status"]["state"] == "running"
    # A document that does not name the limit does not lift it; one that raises it does.
    apply(platform, {"media_services": [{"slug": slug, "suspended": False, "name": "again"}]})
    time.sleep(8)
    assert service()["over_quota"]
    apply(platform, {"media_services": [{"slug": slug, "monthly_transfer_mb": 1000}]})
    running(platform, slug)
    with on_air(Source(address, port, "/stream", word)):
        time.sleep(1)


def test_a_viewer_of_hls_is_one_session(platform: Stage, tenant: str) -> None:
    slug = f"{tenant}-tv"
    channel = {"slug": slug, "name": slug, "customer": tenant, "engine": "nginx_rtmp"}
    apply(platform, {"media_services": [channel]})
    running(platform, slug)
    names = ["live.m3u8", "1.ts", "2.ts", "3.ts"]
    folder = f"/run/streamfleet/hls/{slug}"
    write = f"for name in {' '.join(names)}; do head -c 50000 /dev/zero >$name; done"
    platform.on_node(["sh", "-c", f"mkdir -p {folder} && cd {folder} && {write} && chmod -R a+rX {folder}"])
    viewers = []
    for name in names:
        for number, host in enumerate(addresses(platform)):
            viewer = Player((host, 443), f"/hls/{slug}/{name}", f"viewer/{number}", str(platform.ca))
            viewer.start()
            viewer.join(30)
            assert viewer.body == 50_000
            viewers.append(viewer)
        time.sleep(1)

    def sessions() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            platform.api().request("GET", f"/media-services/{slug}/listener-sessions").data["items"]
        )
        return found

    until(lambda: len(sessions()) >= len(addresses(platform)), 180)
    assert sorted((item["source"], item["address"], item["bytes"]) for item in sessions()) == sorted(
        {("hls", viewer.address, 4 * 50_000) for viewer in viewers}
    )
    assert all(3 <= item["seconds"] < 30 for item in sessions())


def test_the_recorder_can_touch_nothing(platform: Stage) -> None:
    pid = platform.on_node(["systemctl", "show", "streamfleet-sessions", "-p", "MainPID", "--value"]).strip()
    assert platform.on_node(["stat", "-c", "%U", f"/proc/{pid}"]).strip() == "streamfleet-sessions"
    status = platform.on_node(["cat", f"/proc/{pid}/status"])
    assert "CapEff:\t0000000000000000" in status
    # What its group could read, in its own view of the files.
    look = ["nsenter", "-t", pid, "-m", "-S", "33", "-G", "33", "ls"]
    assert platform.on_node([*look, "/etc/streamfleet/routes"]) is not None
    for path in ("/etc/streamfleet/tls", "/etc/streamfleet/instances"):
        with pytest.raises(DemoError, match="Permission denied"):
            platform.on_node([*look, path])


def test_self_check_names_what_is_wrong(platform: Stage) -> None:
    platform.on_node(["systemctl", "stop", "streamfleet-sessions"])
    try:
        with pytest.raises(DemoError, match=r"streamfleet-sessions\.service is not running"):
            platform.playbook("playbooks/self_check.yml")
    finally:
        platform.on_node(["systemctl", "start", "streamfleet-sessions"])


@pytest.mark.full
def test_a_second_run_changes_nothing(platform: Stage) -> None:
    before = platform.on_node(["systemctl", "show", "streamfleet-sessions", "-p", "MainPID"])
    assert platform.install("--tags", "sessions", "--check").changed == 0
    assert platform.install("--tags", "sessions").changed == 0
    assert platform.on_node(["systemctl", "show", "streamfleet-sessions", "-p", "MainPID"]) == before
