"""Mounts of one station, for real, and by what is heard: fallbacks there and back, several encoders, one encoder.

Who listens does so twice, on the station's own port and through the web server, over two connections that are never
made anew. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.panel import autodj, dj, playlist, station
from tests.live.node import NODE, password
from tests.live.test_autodj import MEDIA, RADIO, START, Studio
from tests.live.tones import Ears, Encoder, longest_silence, recording

pytestmark = [pytest.mark.live, pytest.mark.full]

SLUG, _, PORT = RADIO
LIVE_PORT = 8150
STREAM = "stream.example.net"
OWN = 440
FIRST, SECOND, THIRD = 880, 1320, 1760
ALL = (OWN, FIRST, SECOND, THIRD)
#: An encoder's start on a busy machine, and Icecast's burst for what a listener hears.
SOON = 20.0

ROLES = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles: [common, certificates, icecast, autodj, web]
"""


class Tower(Studio):
    """A node whose one station has several mounts, behind the web server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        variables = {
            "streamfleet_certificates_authority_host": NODE,
            "streamfleet_certificates_names": [{"name": STREAM}],
            "streamfleet_web_stream_host": STREAM,
            "streamfleet_web_default_host": STREAM,
        }
        groups = {"streamfleet_nodes": {"hosts": {NODE: {}}, "vars": variables}}
        (folder / "groups.json").write_text(json.dumps(groups))
        (folder / "roles.yml").write_text(ROLES)
        self.ca = folder / "ca.pem"

    def offer(self, *mounts: dict[str, Any], by_itself: bool = False, **changes: Any) -> None:
        """Converge the station with these mounts, with its AutoDJ and a DJ where it plays ``by_itself``."""
        settings: dict[str, Any] = {"mounts": list(mounts)}
        if by_itself:
            settings |= {**autodj(crossfade_seconds=0), "live_port": LIVE_PORT}
            changes |= {"playlists": [playlist("day", folder="day")], "djs": [dj("anna", grace_seconds=0)]}
        told = self.converge(station(*RADIO, settings=settings, **changes))
        assert told[SLUG]["state"] == "running", told

    def source(self, mount: str, frequency: int) -> Encoder:
        """An encoder of the station's own on one of its mounts."""
        return Encoder(self.address, PORT, mount, password(SLUG), frequency)

    def ears(self, mount: str) -> list[Ears]:
        """Who listens to a mount directly, and who does through the web server ("" for what the station plays)."""
        path = f"/listen/{SLUG}{mount}"
        through = Ears(self.address, 443, path, STREAM, str(self.ca))
        return [Ears(self.address, PORT, mount), through] if mount else [through]

    def sources(self) -> set[str]:
        """The mounts that something is sent to, hidden ones too."""
        listed = self.sh(f"curl -s -u admin:admin-{SLUG}-secret http://127.0.0.1:{PORT}/admin/listmounts")
        return set(re.findall(r'<source mount="([^"]+)"', listed))

    def encodings(self) -> int:
        """How many streams the AutoDJ sends to the station: each is one encoder that runs."""
        return int(self.sh(f"ss -Htnp state established dport = :{PORT} | grep -c liquidsoap; true"))


class Audience:
    """Who listens to a mount, by both ways; from the first tone on, no silence and no disconnect."""

    def __init__(self, tower: Tower, mount: str) -> None:
        self.ears = tower.ears(mount)
        self._since: float | None = None

    def hears(self, frequency: int, within: float = SOON) -> None:
        """Wait until both hear this tone."""
        for ears in self.ears:
            ears.await_tone(frequency, ALL, within=within)
        self._since = self._since or time.monotonic()

    def still_hears(self, frequency: int) -> None:
        """Both hear this tone now, and have not just come from another."""
        assert [ears.hears(ALL) for ears in self.ears] == [frequency] * len(self.ears)

    def leave(self) -> None:
        """Stop listening; nobody was disconnected, and nothing was missing."""
        assert [ears.status for ears in self.ears] == [200] * len(self.ears)
        assert not any(ears.ended for ears in self.ears)
        for ears in self.ears:
            ears.stop()
            assert self._since is not None, "nothing was ever heard"
            assert longest_silence(ears.sound_since(self._since)) <= 0.5


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tower]:
    """A node with one station, and a library of one tone."""
    with Tower(Path(tmp_path_factory.mktemp("mounts"))).started() as node:
        node.play(node.folder / "roles.yml")
        node.ca.write_text(node.sh("cat /etc/streamfleet/ca/ca.pem"))
        node.offer({"name": "/stream"}, by_itself=True)
        for number in range(2):
            node.upload(recording(node.folder / f"{number}.mp3", OWN, 120), f"day/{number}.mp3")
        assert node.sh(f"ls {MEDIA}/day | wc -l") == "2"
        yield node


@pytest.fixture
def on_air() -> Iterator[contextlib.ExitStack]:
    """What is stopped at the end, whatever becomes of the test."""
    with contextlib.ExitStack() as stack:
        yield stack


def begun(stack: contextlib.ExitStack, encoder: Encoder) -> Encoder:
    """The encoder, which ends with the test if it has not before."""
    stack.callback(encoder.sent_away, within=0.1)
    return encoder


def status_of(ears: Ears) -> int | None:
    """What a listener was answered, who then goes."""
    ears.join(3)
    ears.stop()
    return ears.status


def listening(stack: contextlib.ExitStack, tower: Tower, mount: str, frequency: int, within: float = SOON) -> Audience:
    """Who listens to a mount, once they hear what it plays, until the end of the test."""
    deadline = time.monotonic() + within
    while True:
        audience = Audience(tower, mount)
        time.sleep(1)
        if all(ears.status == 200 for ears in audience.ears):
            break
        for ears in audience.ears:
            ears.stop()
        assert time.monotonic() < deadline, f"{mount}: {[ears.status for ears in audience.ears]}"
    stack.callback(lambda: [ears.stop() for ears in audience.ears])
    audience.hears(frequency, within)
    return audience


def test_a_lost_encoder_is_heard_again_when_it_returns_and_its_fallback_meanwhile(
    tower: Tower, on_air: contextlib.ExitStack
) -> None:
    tower.offer({"name": "/stream", "bitrate_kbps": 128, "fallback": "/backup"}, {"name": "/backup"})
    begun(on_air, tower.source("/backup", SECOND))
    main = begun(on_air, tower.source("/stream", FIRST))
    audience = listening(on_air, tower, "/stream", FIRST)
    for _ in range(2):
        main.stop()
        audience.hears(SECOND)
        # Also who comes while it is away hears the fallback, under the name of the mount.
        newcomers = listening(on_air, tower, "/stream", SECOND)
        main = begun(on_air, tower.source("/stream", FIRST))
        audience.hears(FIRST)
        newcomers.hears(FIRST)
        newcomers.leave()
    audience.still_hears(FIRST)
    audience.leave()


def test_one_of_several_encoders_is_lost_and_the_others_are_not_heard_elsewhere(
    tower: Tower, on_air: contextlib.ExitStack
) -> None:
    """Three mounts with an encoder each; the last fallback is the AutoDJ."""
    tower.offer(
        {"name": "/stream", "bitrate_kbps": 128, "fallback": "/backup"},
        {"name": "/backup", "bitrate_kbps": 128},
        {"name": "/low", "bitrate_kbps": 64},
        by_itself=True,
    )
    deadline = time.monotonic() + START
    while not {"/autodj-mp3-128", "/autodj-mp3-64"} <= tower.sources():
        assert time.monotonic() < deadline, tower.sources()
        time.sleep(1)
    main, backup, low = (
        begun(on_air, tower.source(mount, frequency))
        for mount, frequency in (("/stream", FIRST), ("/backup", SECOND), ("/low", THIRD))
    )
    of_main = listening(on_air, tower, "/stream", FIRST)
    of_backup = listening(on_air, tower, "/backup", SECOND)
    of_low = listening(on_air, tower, "/low", THIRD)
    main.stop()
    of_main.hears(SECOND)
    of_backup.still_hears(SECOND)
    backup.stop()
    of_main.hears(OWN)
    of_backup.hears(OWN)
    of_low.still_hears(THIRD)
    backup = begun(on_air, tower.source("/backup", SECOND))
    of_main.hears(SECOND)
    of_backup.hears(SECOND)
    main = begun(on_air, tower.source("/stream", FIRST))
    of_main.hears(FIRST)
    of_low.still_hears(THIRD)
    low.stop()
    of_low.hears(OWN)
    of_main.still_hears(FIRST)
    for audience in (of_main, of_backup, of_low):
        audience.leave()


def test_one_source_is_heard_on_every_mount_and_encoded_once_for_each_format(
    tower: Tower, on_air: contextlib.ExitStack
) -> None:
    """A DJ's one encoder, and the AutoDJ before and after, on three mounts of two formats."""
    tower.offer(
        {"name": "/stream", "format": "mp3", "bitrate_kbps": 128},
        {"name": "/same", "format": "mp3", "bitrate_kbps": 128},
        {"name": "/low", "format": "aac", "bitrate_kbps": 48},
        by_itself=True,
    )
    audiences = [listening(on_air, tower, mount, OWN, START) for mount in ("/stream", "/same", "/low")]
    anna = begun(on_air, Encoder(tower.address, LIVE_PORT, "/anna", "secret-of-anna", FIRST, user="anna"))
    for audience in audiences:
        audience.hears(FIRST)
    assert tower.sources() == {"/autodj-mp3-128", "/autodj-aac-48"}
    assert tower.encodings() == 2
    anna.stop()
    for audience in audiences:
        audience.hears(OWN)
        audience.leave()


def test_the_default_mount_is_what_players_open_and_changes_for_those_who_come(
    tower: Tower, on_air: contextlib.ExitStack
) -> None:
    first, second = {"name": "/stream"}, {"name": "/other", "bitrate_kbps": 96}
    tower.offer(first, second)
    begun(on_air, tower.source("/stream", FIRST))
    begun(on_air, tower.source("/other", SECOND))
    before = listening(on_air, tower, "", FIRST)
    tower.offer(first, {**second, "default": True})
    after = listening(on_air, tower, "", SECOND)
    before.still_hears(FIRST)
    before.leave()
    after.leave()


def test_who_finds_a_mount_full_gets_its_fallback_where_that_is_wanted(
    tower: Tower, on_air: contextlib.ExitStack
) -> None:
    full = {"name": "/stream", "max_listeners": 2, "fallback": "/backup"}
    tower.offer(full, {"name": "/backup"})
    begun(on_air, tower.source("/stream", FIRST))
    begun(on_air, tower.source("/backup", SECOND))
    audience = listening(on_air, tower, "/stream", FIRST)
    refused = tower.ears("/stream")
    for ears in refused:
        ears.join(10)
    assert [(ears.status, ears.ended) for ears in refused] == [(403, True), (403, True)]
    tower.offer({**full, "fallback_when_full": True}, {"name": "/backup"})
    others = listening(on_air, tower, "/stream", SECOND)
    audience.still_hears(FIRST)
    # Whoever was let in there is counted there.
    tower.offer({**full, "fallback_when_full": True}, {"name": "/backup"}, limits={"max_listeners": 2})
    # Icecast takes new limits up when it comes to it.
    deadline = time.monotonic() + 60
    while {status_of(ears) for ears in tower.ears("/backup")} != {403}:
        assert time.monotonic() < deadline, "two more were let in"
    audience.leave()
    others.leave()
