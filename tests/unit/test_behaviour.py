"""Parts of the checks of engines: where encoders go, what a list of HLS says, and which losses a viewer of it notices.

That the checks find what is wrong with an engine is in tests/contract/test_verify_engine.py, with encoders and players.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time

import pytest
import yaml
from streamfleet.behaviour import counted, player
from streamfleet.behaviour.encoder import command, publishing
from streamfleet.behaviour.route import Route
from streamfleet.behaviour.target import target_of
from streamfleet.errors import BadOption, Misbehaved

from tests.live.engines import NAMES, ROOT, spec_of

URL = "https://stream.example.net/hls/rock-tv/index.m3u8"
DETAILS = {
    "icecast": {"Server": "s.example", "Port": "8100", "Mount": "/stream", "User": "source", "Password": "secret-1"},
    "shoutcast2": {"Server": "s.example", "Port": "8100", "Password": "secret-1"},
    "nginx_rtmp": {"Server": "rtmp://s.example/live", "Stream key": "secret-1"},
    "flussonic": {"Server": "rtmp://s.example/static", "Stream key": "rock-tv?password=secret-1"},
    "wowza": {"Server": "rtmp://s.example/rock-tv", "Stream key": "live", "User": "rock-tv", "Password": "secret-1"},
}


@pytest.mark.parametrize(
    ("engine", "url"),
    [
        ("icecast", "icecast://source:secret-1@s.example:8100/stream"),
        ("shoutcast2", "shoutcast://:secret-1@s.example:8100"),
        ("nginx_rtmp", "rtmp://s.example:1935/live/secret-1"),
        ("flussonic", "rtmp://s.example:1935/static/rock-tv?password=secret-1"),
        ("wowza", "rtmp://rock-tv:secret-1@s.example:1935/rock-tv/live"),
    ],
)
def test_an_encoder_goes_where_the_connection_details_say(engine: str, url: str) -> None:
    target = target_of(spec_of(engine), DETAILS[engine])
    assert target.url == url
    assert target.at("2001:db8::1").url == url.replace("s.example", "[2001:db8::1]")
    assert "secret-1" not in target.hide(f"{target.url}: Input/output error")
    wrong = target_of(spec_of(engine), DETAILS[engine], "another")
    assert wrong.url == url.replace("secret-1", "another")


@pytest.mark.parametrize("engine", ["icecast", "shoutcast2"])
def test_no_command_shows_a_password_of_a_station(engine: str) -> None:
    """Every user of the machine sees commands. What ffmpeg makes is sent by this process, which logs in itself."""
    assert not any("secret-1" in word for word in command(target_of(spec_of(engine), DETAILS[engine]), "audio", 440))


def test_a_station_gets_what_ffmpeg_makes() -> None:
    """A real encoder, and a server that lets in whoever has the password, as Icecast does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        details = {**DETAILS["icecast"], "Server": "127.0.0.1", "Port": str(server.getsockname()[1])}
        got: list[bytes] = []

        def icecast() -> None:
            link, _address = server.accept()
            with link:
                got.append(link.recv(4096))
                link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                link.settimeout(20)
                got.append(link.recv(4096, socket.MSG_WAITALL))

        thread = threading.Thread(target=icecast, daemon=True)
        thread.start()
        with publishing(target_of(spec_of("icecast"), details), "audio", 440) as encoder:
            thread.join(20)
            assert b"Authorization: Basic c291cmNlOnNlY3JldC0x\r\n" in got[0]
            assert got[1][:1] == b"\xff"  # the sync word of a frame of MP3
            assert encoder.sent_away(10)


@pytest.mark.parametrize("engine", NAMES)
def test_every_engine_says_how_it_is_published_to(engine: str) -> None:
    spec = spec_of(engine)
    labels = {
        entry["label"]: "rtmp://x"
        if entry["label"] == "Server"
        else str(entry["value"]).format(slug="s", credential="1")
        if "credential" in entry and "value" in entry
        else "1"
        for entry in spec["connection"]
    }
    if not str(spec["publish"]["url"]).startswith("{Server}"):
        labels["Server"] = "x"
    assert target_of(spec, labels).secret == "1"


def test_what_a_spec_lacks_is_named() -> None:
    spec = {"name": "other", "connection": [{"label": "Password", "credential": "password"}]}
    with pytest.raises(BadOption, match=r"engine: 'other' does not say how it is published to"):
        target_of(spec, {"Password": "x"})
    with pytest.raises(BadOption, match=r"publish.url of 'other': 'Srever' is no label"):
        target_of({**spec, "publish": {"url": "rtmp://{Srever}/live"}}, {"Password": "x"})
    with pytest.raises(BadOption, match=r"publish.url of 'other': 'srt' is none of icecast, shoutcast, rtmp"):
        target_of({**spec, "publish": {"url": "srt://{Password}"}}, {"Password": "x"})


def media_list(first: int, *names: str, more: str = "") -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-MEDIA-SEQUENCE:{first}", "#EXT-X-TARGETDURATION:2"]
    return "\n".join([*lines, *(line for name in names for line in ("#EXTINF:2.000,", name)), more, ""])


def test_a_list_is_read() -> None:
    found = player.list_of(media_list(7, "7.ts", "8.ts"))
    assert (found.first, found.segments, found.target, found.ended) == (7, ["7.ts", "8.ts"], 2.0, False)
    assert player.list_of(media_list(7, "7.ts", more="#EXT-X-ENDLIST")).ended
    for text in ("", "<html>", "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:x\n"):
        with pytest.raises(Misbehaved):
            player.list_of(text)


def viewer(monkeypatch: pytest.MonkeyPatch, *lists: str | int) -> counted.Count:
    """What a viewer notices who gets these lists, one after another; a number is a status without a list."""
    given = itertools.chain(lists, itertools.repeat(lists[-1]))
    asked: list[object] = []

    def fetch(_route: Route, _url: str, *_more: object) -> player.Fetched:
        asked.append(item := next(given))
        return player.Fetched(item) if isinstance(item, int) else player.Fetched(200, "", item.encode())

    monkeypatch.setattr(player, "fetch", fetch)
    monkeypatch.setattr(player, "media_list", lambda _route, url: url)
    viewer = counted.Viewer(Route(), URL)
    # No waiting between two looks.
    monkeypatch.setattr(viewer._over, "wait", lambda _seconds: None)
    viewer.start()
    deadline = time.monotonic() + 10
    while len(asked) <= len(lists) and viewer.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    return viewer.stop()


@pytest.mark.parametrize(
    ("lists", "fault"),
    [
        (
            [media_list(1, "1.ts", "2.ts"), media_list(2, "2.ts", "x.ts"), media_list(2, "2.ts", "3.ts")],
            "segment 3 was",
        ),
        ([media_list(1, "1.ts"), media_list(1, "1.ts", more="#EXT-X-ENDLIST")], "the stream has ended"),
        ([media_list(1, "1.ts"), 404], "answers 404"),
    ],
)
def test_a_viewer_notices_a_fault(monkeypatch: pytest.MonkeyPatch, lists: list[str | int], fault: str) -> None:
    assert fault in "".join(viewer(monkeypatch, *lists).faults)


def test_a_viewer_counts_segments_and_those_that_never_came(monkeypatch: pytest.MonkeyPatch) -> None:
    good = viewer(
        monkeypatch, media_list(1, "1.ts", "2.ts"), media_list(2, "2.ts", "3.ts"), media_list(4, "4.ts", "5.ts")
    )
    assert (good.faults, good.lost, good.pieces) == ([], 0, 4)
    bad = viewer(monkeypatch, media_list(1, "1.ts", "2.ts"), media_list(5, "5.ts", "6.ts"))
    assert (bad.faults, bad.lost) == ([], 2)


def test_a_listener_of_frames_notices_what_is_missing() -> None:
    listener = counted.Listener(Route(), "http://127.0.0.1/")
    frames = [counted.frame(number) for number in range(20)]
    rest, expected = listener._frames(b"in the middle" + b"".join(frames[:5]), -1)
    rest, expected = listener._frames(rest + b"".join(frames[5:10]), expected)
    assert listener.count.lost == 0
    rest, expected = listener._frames(rest + b"".join(frames[12:20]), expected)
    assert listener.count.lost == 2
    listener._frames(rest + b"garbage" + b"".join(counted.frame(number) for number in range(20, 24)), expected)
    assert listener.count.lost == 3


def test_the_playbook_and_its_module_have_the_same_options() -> None:
    play = yaml.safe_load((ROOT / "playbooks" / "verify_engine.yml").read_text())[0]
    block = next(task["block"] for task in play["tasks"] if "block" in task)
    task = block[0]["streamfleet_verify_engine"]
    documentation = (ROOT / "library" / "streamfleet_verify_engine.py").read_text().split('r"""')[1].partition('"""')[0]
    assert set(task) == set(yaml.safe_load(documentation)["options"])
    assert set(play["vars"]["__streamfleet_verify_engine_options"]) == set(task) - {"engine", "customer"} | {"prefix"}
