"""Everybody on the air: of every open engine, and of Shoutcast's double, counted encoders and listeners."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamfleet.behaviour import player
from streamfleet.behaviour.checks import Subject
from streamfleet.behaviour.counted import Audience, Listener, Viewer
from streamfleet.behaviour.panel_client import ApiPanelClient
from streamfleet.behaviour.route import Route
from streamfleet.client import Panel

from demo.stage import NODE, Stage
from demo.upgrade import FromTree
from tests.live.edge import rtmps_publisher
from tests.live.engines import icecast_kh, shoutcast2, spec_of
from tests.live.engines.stand import counting
from tests.live.upgrades import installed, on_node

ENGINES = ("icecast", "icecast_kh", "nginx_rtmp", "shoutcast2")
#: What must be the same process all the while: restarted, it would have hung up on somebody.
PROCESSES = (
    "systemctl show -p Id,MainPID,NRestarts nginx.service streamfleet-rtmp.service streamfleet-rtmps.service "
    + " ".join(f"'streamfleet-{name}@*'" for name in ENGINES if name != "nginx_rtmp")
)


@contextlib.contextmanager
def on_platform(folder: Path, *groups: str, **variables: Any) -> Iterator[FromTree]:
    """This tree on a node with the panel and these engines. ``groups``: further ones that the node is in."""
    with on_node(folder) as made:
        # Of a fleet that is kept the archives, too: made anew they would be others.
        if not (engines := made.state / "engines.json").exists():
            brought = {**icecast_kh.variables(made.state), **shoutcast2.variables(made.state), **variables}
            children: dict[str, object] = {name: {"hosts": {NODE: {}}} for name in (*ENGINES, *groups)}
            engines.write_text(json.dumps({**children, "all": {"vars": brought}}))
        made.more = (*made.more, "-i", str(engines))
        installed(made)
        yield made


def declared(stage: Stage, engine: str, slug: str = "") -> Subject:
    """A service of an engine on that node, which runs; by default the one that is called like the engine."""
    spec, panel = spec_of(engine), Panel(stage.api())
    client = ApiPanelClient(panel, "counted", spec, NODE, 180)
    slug = slug or f"counted-{engine.replace('_', '-')}"
    client.create(slug)
    return Subject(slug, spec, client, Route(stage.address, str(stage.ca)))


def audience(subject: Subject) -> Audience:
    """One more who listens or watches, by the address that is shown now."""
    url = subject.url
    return Viewer(subject.route, url) if player.is_hls(url) else Listener(subject.route, url)


@contextlib.contextmanager
def everybody(subjects: Mapping[str, Subject]) -> Iterator[dict[str, Audience]]:
    """An encoder of each, and who listens to it or watches it by every way there is; nobody loses anything."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Audience] = {}
        for name, subject in subjects.items():
            url, port = subject.url, subject.target().port
            found[f"{name} https"] = stack.enter_context(subject.counted())
            if subject.kind == "audio":
                plain = {
                    "http": url.replace("https:", "http:"),
                    "port": f"http://{urlsplit(url).hostname}:{port}/stream",
                }
                for way, address in plain.items():
                    found[f"{name} {way}"] = stack.enter_context(counting(Listener(subject.route, address)))
        yield found


@contextlib.contextmanager
def by_tls(subject: Subject) -> Iterator[Audience]:
    """An encoder of a channel by RTMPS, which verifies the name that is shown now, and a viewer; none is hung up on."""
    url, route = subject.url, subject.route
    address, ca, host = route.host(""), Path(str(route.ca_path)), str(urlsplit(url).hostname)
    command = rtmps_publisher(address, host, ca, subject.target().secret, 3600)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as encoder:
        try:
            deadline = time.monotonic() + 60
            while True:
                with route.get(url) as answer:
                    if answer.status == 200:
                        break
                assert time.monotonic() < deadline, (answer.status, encoder.poll())
                time.sleep(0.5)
            with counting(Viewer(route, url)) as viewer:
                yield viewer
            assert encoder.poll() is None, encoder.stderr.read() if encoder.stderr else ""
        finally:
            encoder.kill()


def pieces(air: Mapping[str, Audience]) -> dict[str, int]:
    """How many frames or segments each has got so far."""
    return {name: one.count.pieces for name, one in air.items()}


def nobody_has_lost_anything(air: Mapping[str, Audience], before: Mapping[str, int]) -> None:
    """All are there, and have got more since ``before``, as ``pieces`` has it; nothing was lost at any time."""
    for name, one in air.items():
        count = one.count
        assert one.is_alive(), f"{name}: {count}"
        assert (count.lost, count.faults) == (0, []), f"{name}: {count}"
        assert count.pieces > before[name], f"{name}: {count}"
        assert count.gap < one.longest_gap, f"{name}: {count}"
        print(f"{name}: {count.pieces - before[name]} frames or segments, none lost, {count.gap:.1f} s the longest gap")
