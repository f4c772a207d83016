"""A channel of the RTMP server goes to another node and back, while encoders and viewers of the former one are sent on.

Tests playbooks: transfer.yml. Tests roles: nginx_rtmp, web. The panel is a real one, on this machine.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import m3u8
import pytest

from demo.media import video_publisher
from tests.contract.panel_server import running_panel
from tests.live.hls import check_playlist, check_successor
from tests.live.test_transfer import Pair
from tests.nodes.fleet import Fleet, NodeSpec

pytestmark = [pytest.mark.live, pytest.mark.full]

NODES = ("n1", "n2")
ROLES = """\
---
- name: Prepare the nodes
  hosts: streamfleet_nodes
  become: true
  roles: [common, certificates, nginx_rtmp, web]
"""
#: Seconds in which a channel that was sent to is seen, on a machine with other things to do.
START = 90.0
RTMPS = 1936


def host(node: str) -> str:
    """The name of a node's streams."""
    return f"{node}.example.net"


class Video(Pair):
    """Two nodes with the RTMP server and the web server, and one channel."""

    def key(self) -> str:
        return str(self.get("/media-services/tv/credentials")["credentials"]["stream_key"])

    def url(self, node: str, key: str, *, tls: bool = False) -> str:
        """What an encoder is given."""
        scheme, port = ("rtmps", f":{RTMPS}") if tls else ("rtmp", "")
        return f"{scheme}://{self.address(node)}{port}/live/{key}"

    def ask(self, node: str, item: str = "index.m3u8", name: str | None = None) -> tuple[int, bytes]:
        """A viewer's request, under the name of the node's streams or another one."""
        asked = name or host(node)
        path = f"/hls/tv/{item}" if name is None else f"/{item}"
        done = subprocess.run(
            ["curl", "-sk", "-m", "10", "--resolve", f"{asked}:443:{self.address(node)}", "-w", "\n%{http_code}", f"https://{asked}{path}"],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body

    def seen(self, node: str, name: str | None = None, since: str = "") -> str:
        """The list of a viewer there, once there is one that goes on and is not ``since``."""
        deadline = time.monotonic() + START
        while True:
            status, body = self.ask(node, name=name)
            text = body.decode()
            if status == 200 and "EXTINF" in text and "#EXT-X-ENDLIST" not in text and text != since:
                return text
            assert time.monotonic() < deadline, f"{status} {text}\n{self.sh(node, 'journalctl -n 60 --no-pager')}"
            time.sleep(0.5)

    def refused(self, node: str, key: str, *, tls: bool = False) -> bool:
        """Whether an encoder is turned away at once."""
        begun = time.monotonic()
        done = subprocess.run(
            video_publisher(self.url(node, key, tls=tls), 8),
            stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode != 0 and time.monotonic() - begun < 6

    def events(self, node: str) -> list[str]:
        """What its RTMP server has told of encoders."""
        lines = self.sh(node, "journalctl -o cat -t streamfleet_rtmp").splitlines()
        return [json.loads(line)["event"] for line in lines]


class Encoder:
    """An encoder that connects again, to the address that it knows, as encoders do that lose their server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        #: When each began that was not turned away at once.
        self.begun: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.is_set():
            with subprocess.Popen(
                video_publisher(self._url, 3600), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as encoder:
                begun = time.monotonic()
                noted = False
                while encoder.poll() is None and not self._ended.wait(0.1):
                    if not noted and time.monotonic() - begun > 5:
                        self.begun.append(begun)
                        noted = True
                encoder.kill()
            self._ended.wait(0.5)

    def __enter__(self) -> Encoder:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join(30)


class Viewer:
    """A player: asks for the list every half second, and for each new segment; keeps what it saw."""

    def __init__(self, pair: Video, node: str) -> None:
        self._pair, self._node = pair, node
        self._ended = threading.Event()
        self.lists: list[tuple[float, str]] = []
        self.failed: list[tuple[float, int]] = []
        self.segments: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(0.5):
            status, body = self._pair.ask(self._node)
            now = time.monotonic()
            if status != 200:
                self.failed.append((now, status))
                continue
            text = body.decode()
            if not self.lists or self.lists[-1][1] != text:
                self.lists.append((now, text))
            for segment in m3u8.loads(text).segments:
                if segment.uri not in self.segments:
                    status, body = self._pair.ask(self._node, segment.uri)
                    self.segments[segment.uri] = len(body) if status == 200 else 0

    def lost(self) -> list[str]:
        """Segments that were in a list and could not be had."""
        return [name for name, size in self.segments.items() if not size]

    def __enter__(self) -> Viewer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join(30)


def names(text: str) -> set[str]:
    """Segments in a list."""
    return {segment.uri for segment in m3u8.loads(text).segments}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Video]:
    """Two nodes; on the first a channel, and on the second somebody else's."""
    folder = Path(tmp_path_factory.mktemp("video"))
    own = {
        name: {
            "streamfleet_certificates_authority_host": name,
            "streamfleet_certificates_names": [{"name": host(name)}],
            "streamfleet_stream_host": host(name),
            "streamfleet_web_stream_host": host(name),
            "streamfleet_web_default_host": host(name),
        }
        for name in NODES
    }
    (folder / "groups.json").write_text(json.dumps({"streamfleet_nodes": {"hosts": own}}))
    (folder / "roles.yml").write_text(ROLES)
    fleet = Fleet(f"video{os.getpid()}")
    try:
        fleet.up([NodeSpec(name) for name in NODES])
        with running_panel() as panel:
            it = Video(fleet, folder, panel)
            it.play(str(folder / "roles.yml"))
            nodes = [it.declared(name, engines=["nginx_rtmp"], stream_host=host(name)) for name in NODES]
            channel = {"engine": "nginx_rtmp"}
            document = {
                "nodes": nodes,
                "customers": [{"username": "ada"}, {"username": "bob"}],
                "media_services": [
                    {**channel, "slug": "tv", "customer": "ada", "node": "n1"},
                    {**channel, "slug": "bob-tv", "customer": "bob", "node": "n2"},
                ],
            }
            status, answer = panel.request("POST", "/apply", {"document": document})
            assert status == 200, answer
            it.play("playbooks/converge.yml")
            yield it
    finally:
        fleet.down()


def switched(pair: Video, *arguments: str) -> tuple[str, float]:
    """Run the transfer; its output, and when it began to hold the services."""
    command = pair.begun("transfer_to=n2", "transfer_confirm=yes", *arguments)
    root = Path(__file__).resolve().parents[2]
    running = subprocess.Popen(
        command, cwd=root, env=pair.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert running.stdout is not None
    lines, held = [], 0.0
    for line in running.stdout:
        lines.append(line)
        if line.startswith("TASK [Hold the services]") and not held:
            held = time.monotonic()
    output = "".join(lines)
    with (pair.folder / "said.log").open("a") as log:
        log.write(output)
    assert running.wait() == 0, output[-8000:]
    return output, held


def test_it_goes_while_it_is_seen_and_is_sent_on(pair: Video) -> None:
    said = pair.transfer("transfer_to=n2")
    assert "1 services from n1" in said
    assert "tv (ada, nginx_rtmp): no ports of its own" in said
    with Encoder(pair.url("n1", pair.key())) as encoder, Viewer(pair, "n1") as viewer:
        pair.seen("n1")
        time.sleep(10)
        output, held = switched(pair)
        assert "heard again: tv" in output
        before = [text for when, text in viewer.lists if when < held]
        # The copy is made: nobody has noticed.
        assert [when for when, _status in viewer.failed if viewer.lists[0][0] < when < held] == []
        assert len([begun for begun in encoder.begun if begun < held]) == 1
        assert len(before) >= 2
        for first, second in itertools.pairwise(before):
            check_successor(first, second, paced=False)
        time.sleep(15)
        after = [(when, text) for when, text in viewer.lists if when > held]
        of_the_other = set(pair.sh("n2", "ls /run/streamfleet/hls/tv").split())
        gap = next(when for when, text in after if names(text) & of_the_other) - held
        print(f"a new list {gap:.1f} seconds after the hold began; failed: {viewer.failed}")
        # Players that ask again are not told that it has ended.
        assert not any("#EXT-X-ENDLIST" in text for _when, text in viewer.lists)
        assert viewer.lost() == []
        check_playlist(after[-1][1])
        # By the one address and by the other it is the same stream, which n2 has packaged.
        (_one, here), (_two, there) = (pair.ask(node) for node in NODES)
        assert names(here.decode()) & names(there.decode())
        # The hop's refusals leave nothing; one that is being refused has its folder for a moment.
        looks = []
        for _look in range(2):
            looks.append(set(pair.sh("n1", "ls /run/streamfleet/hls").split()))
            time.sleep(0.4)
        assert looks[0] & looks[1] <= {"tv"}
        assert pair.sh("n2", "ls /run/streamfleet/hls").split() == ["tv"]
    assert pair.get("/media-services/tv")["node"] == "n2"
    assert "sent on" in pair.events("n1")
    assert "publishing" in pair.events("n2")
    # Nothing of the key is told to anybody.
    for node in NODES:
        assert pair.key() not in pair.sh(
            node,
            "journalctl -o cat; ls -R /run/streamfleet-rtmp /etc/streamfleet; cat /run/streamfleet-rtmp/live/*; true",
        )


def test_a_wrong_key_is_refused_at_both(pair: Video) -> None:
    for node in NODES:
        assert pair.refused(node, "wrong-" * 4)
        assert pair.refused(node, "tv")
    assert pair.refused("n1", "wrong-" * 4, tls=True)
    assert pair.events("n1")[-1] == "refused: no such key"


def test_by_the_former_address_and_the_new_one_encoders_are_seen(pair: Video) -> None:
    tenants = "tv.tenant.test"
    place = f"/etc/streamfleet/domains/{tenants}.json"
    content = json.dumps({"slug": "tv", "uid": 200001, "way": "hls"})
    pair.sh("n1", f"echo '{content}' >{place} && chgrp www-data {place} && chmod 640 {place}")
    before: set[str] = set()
    for node, tls in (("n2", False), ("n1", True), ("n2", True), ("n1", False)):
        with Encoder(pair.url(node, pair.key(), tls=tls)):
            there = pair.seen("n2")
            assert not names(there) & before
            for by in (pair.seen("n1"), pair.seen("n1", tenants)):
                assert names(by) & names(there), (node, tls)
            before |= names(pair.seen("n1", since=there))
            name = min(before & names(there))
            assert pair.ask("n1", name)[1] == pair.ask("n2", name)[1] != b""
        deadline = time.monotonic() + 30
        while "#EXT-X-ENDLIST" not in pair.ask("n2")[1].decode():
            assert time.monotonic() < deadline
            time.sleep(0.5)
    # By this name nothing else of that node is to be had.
    for item in ("../bob-tv/index.m3u8", "hls/bob-tv/index.m3u8", "index.html"):
        assert pair.ask("n1", item, tenants)[0] == 404, item
    pair.sh("n1", f"rm {place}")


@contextlib.contextmanager
def cut(pair: Video) -> Iterator[None]:
    """The former node gets no connection to the RTMP server of the other one."""
    chain = "add chain inet cut in { type filter hook input priority -300; }"
    rule = f"add rule inet cut in ip saddr {pair.address('n1')} tcp dport 1935 drop"
    pair.sh("n2", f"nft add table inet cut && nft '{chain}' && nft '{rule}'")
    try:
        yield
    finally:
        pair.sh("n2", "nft delete table inet cut")


def test_what_the_other_node_does_not_take_holds_nothing(pair: Video) -> None:
    with cut(pair):
        assert pair.refused("n1", pair.key())
        assert "dropped: not taken by the node that has it" in pair.events("n1")
    # A service that is suspended there is refused here.
    for suspended in (True, False):
        document = {"media_services": [{"slug": "tv", "suspended": suspended}]}
        status, answer = pair.panel.request("POST", "/apply", {"document": document})
        assert status == 200, answer
        pair.play("playbooks/converge.yml")
        if suspended:
            assert pair.refused("n1", pair.key())
            assert pair.refused("n2", pair.key())
    with Encoder(pair.url("n1", pair.key())):
        pair.seen("n2")


def test_it_goes_back_and_again_and_is_released(pair: Video) -> None:
    with Encoder(pair.url("n1", pair.key())) as encoder:
        pair.seen("n1")
        count = len(encoder.begun)
        assert "on n1 as before" in pair.transfer("transfer_undo=true")
        pair.seen("n1")
        time.sleep(6)
        assert len(encoder.begun) > count
        assert pair.sh("n1", "ls /run/streamfleet/hls/tv | grep -c ts$") != "0"
        assert pair.refused("n2", pair.key())
        assert pair.get("/transfers")["count"] == 0
        switched(pair)
        pair.seen("n1")
    pair.transfer("transfer_release=true")
    assert pair.refused("n1", pair.key())
    # Its last list from before is removed within a minute, as that of any channel that has ended.
    deadline = time.monotonic() + 60
    while pair.ask("n1")[0] != 404:
        assert time.monotonic() < deadline
        time.sleep(1)
    left = "find /etc/streamfleet/publish-keys /etc/streamfleet/routes /var/lib/streamfleet/transfer -mindepth 1"
    assert pair.sh("n1", left) == ""
    with Encoder(pair.url("n2", pair.key())):
        pair.seen("n2")
