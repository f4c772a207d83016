"""Encoders and viewers of an engine that packages by itself, through the web server of its node."""

from __future__ import annotations

import abc
import contextlib
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.media import video_publisher
from tests.live.hls import check_playlist, check_successor
from tests.live.node import NODE, Node

STREAM = "stream.example.net"
ROLES = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles:
    - common
    - certificates
    - {engine}
    - web
"""
ONE_ROLE = """\
---
- name: Install the engine
  hosts: streamfleet_nodes
  become: true
  roles: [{engine}]
"""


class VideoNode(Node, abc.ABC):
    """A node with one such engine. Each kind says what encoders are given."""

    engine_role = ""
    #: What a viewer opens first.
    entry = "playlist.m3u8"
    #: Whether its segments lie in folders.
    folders = False

    def __init__(self, folder: Path, variables: dict[str, Any]) -> None:
        super().__init__(folder)
        self.ca = folder / "ca.pem"
        web = {
            "streamfleet_certificates_authority_host": NODE,
            "streamfleet_certificates_names": [{"name": STREAM}],
            "streamfleet_web_stream_host": STREAM,
            "streamfleet_web_default_host": STREAM,
        }
        groups = {"streamfleet_nodes": {"hosts": {NODE: {}}, "vars": {**web, **variables}}}
        (folder / "groups.json").write_text(json.dumps(groups))
        (folder / "roles.yml").write_text(ROLES.format(engine=self.engine_role))
        (folder / "engine.yml").write_text(ONE_ROLE.format(engine=self.engine_role))

    @abc.abstractmethod
    def url(self, slug: str, password: str | None = None) -> str:
        """What an encoder is given."""

    def engine(self, variables: dict[str, Any], *arguments: str, ok: bool = True) -> str:
        """Run the engine's role alone, with other variables."""
        return self.play(self.folder / "engine.yml", "-e", json.dumps(variables), *arguments, ok=ok)

    def get(self, slug: str, item: str | None = None, headers: bool = False) -> tuple[int, bytes]:
        """Status and body (or head) of a request for HLS, through the web server."""
        command = ["curl", "-s", "-m", "10", "--cacert", str(self.ca), "--resolve", f"{STREAM}:443:{self.address}"]
        command += ["-D", "-", "-o", "/dev/null"] if headers else ["-w", "\n%{http_code}"]
        done = subprocess.run(
            [*command, f"https://{STREAM}/hls/{slug}/{item or self.entry}"],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if headers:
            return int(done.stdout.split()[1]), done.stdout
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body

    def session(self, slug: str, seconds: float = 20) -> str:
        """A new viewer's list, once there is one."""
        end = time.monotonic() + seconds
        while True:
            status, body = self.get(slug)
            if status == 200:
                return next(line for line in body.decode().splitlines() if line and not line.startswith("#"))
            assert time.monotonic() < end, f"{slug}: {status} {body!r}"
            time.sleep(0.5)

    def check_served(self, slug: str, item: str) -> None:
        """A list is sent as it should be, and a real player plays the address that listeners are given."""
        status, head = self.get(slug, item, headers=True)
        text = head.decode().lower()
        assert (status, "content-type: application/vnd.apple.mpegurl" in text) == (200, True), text
        assert "access-control-allow-origin: *" in text
        assert "nosniff" in text
        assert "double" not in text
        probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", "-i"]
        played = subprocess.run(
            self.fleet.run_command([*probe, f"https://{STREAM}/hls/{slug}/{self.entry}"]),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert set(played.stdout.replace(",", " ").split()) >= {"h264", "aac"}, played.stderr

    @contextlib.contextmanager
    def publishing(self, url: str) -> Iterator[subprocess.Popen[str]]:
        """An ffmpeg that publishes, stopped at the end."""
        command = video_publisher(url, 300)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as encoder:
            try:
                yield encoder
            finally:
                encoder.kill()

    def refused(self, url: str) -> str:
        """What an encoder says that is turned away."""
        command = video_publisher(url, 8)
        start = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode != 0, url
        assert time.monotonic() - start < 7, url
        return done.stderr


@contextlib.contextmanager
def watched(node: VideoNode, slug: str) -> Iterator[list[str]]:
    """Every list that one viewer sees, one after another; no segment is lost, and the encoder is there at the end."""
    with node.publishing(node.url(slug)) as encoder:
        item = node.session(slug)
        seen: list[str] = []
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.7):
                status, body = node.get(slug, item)
                text = body.decode() if status == 200 else f"{status}"
                if not seen or seen[-1] != text:
                    seen.append(text)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield seen
            time.sleep(3)
        finally:
            ended.set()
            thread.join(15)
        assert encoder.poll() is None
    assert len(seen) >= 2
    numbers: set[int] = set()
    for text in seen:
        parsed = check_playlist(text, node.folders)
        first = parsed.media_sequence or 0
        numbers |= set(range(first, first + len(parsed.segments)))
    for before, after in itertools.pairwise(seen):
        check_successor(before, after, node.folders)
    assert numbers == set(range(min(numbers), max(numbers) + 1)), "a gap"
