"""The double of Wowza: it starts with what role and renderer write and with nothing else, and behaves as documented."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.engine import instances_of, load_renderer

from demo.media import video_publisher
from tests.doubles.panel import wowza_channel as channel
from tests.doubles.wowza import tree
from tests.doubles.wowza.configuration import Application, Wrong
from tests.doubles.wowza.transcoder import Template
from tests.ports import free_port, free_ports
from tests.unit.test_wowza_install import Installed, loaded

ROOT = Path(__file__).resolve().parents[2]
render = load_renderer(ROOT, "wowza")
NODE = {"node": "n1", "stream_host": "stream.example.net"}
APPLICATIONS = "/v2/servers/_defaultServer_/vhosts/_defaultVHost_/applications"


class Program(Installed):
    """The double with what it reads; its ports are free ones."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        for name, (_content, mode) in tree().items():
            (self.home / name).chmod(mode)
        (self.vhost / "applications").symlink_to("conf")
        self.rtmp, self.hls, self.rest, self.tv = free_ports(4)
        self.settings |= {"port": self.rtmp, "hls_port": self.hls, "rest_port": self.rest, "tv_port": self.tv}
        self.apply()

    def put(self, **changes: Any) -> None:
        """The files of a channel, in the node's places."""
        instance = instances_of(render(channel("rock-tv", 200001, **changes), NODE))[0]
        folder = self.vhost / "conf/rock-tv"
        folder.mkdir(exist_ok=True)
        for file in instance.files:
            if "/instances/" in file.path:
                (folder / file.path.rpartition("/")[2]).write_text(file.content)

    def refusal(self) -> str:
        """What it says when it does not start."""
        done = subprocess.run([self.home / "bin/startup.sh"], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 1, done.stdout
        return done.stderr

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """From the moment that it answers."""
        with subprocess.Popen([self.home / "bin/startup.sh"], stdout=subprocess.DEVNULL) as double:
            try:
                end = time.monotonic() + 20
                while True:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.rest), 1):
                        break
                    assert double.poll() is None
                    assert time.monotonic() < end
                    time.sleep(0.05)
                yield
            finally:
                double.terminate()

    def ask(
        self, path: str, method: str = "GET", password: str = "rest-secret", accept: str = "application/json"
    ) -> Any:
        """Status and body of a request to the REST interface."""
        login = base64.b64encode(f"streamfleet:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Accept": accept}
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest}{path}", headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def list(self, item: str = "playlist.m3u8", stream: str = "live") -> tuple[int, str]:
        """Status and body of a request for HLS."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.hls}/rock-tv/{stream}/{item}", timeout=20) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, ""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("Server.license", "DOUBLE", "STOLEN", "no valid license key"),
        (
            "Server.xml",
            "<IPAddress>127.0.0.1</IPAddress>",
            "<IPAddress>here</IPAddress>",
            "IPAddress: bad value 'here'",
        ),
        ("Server.xml", "<Enable>true</Enable>", "<Enable>yes</Enable>", "Enable: bad value 'yes'"),
        ("Server.xml", "<Enable>true</Enable>", "<Enable>true</Enable><More />", "unknown element More"),
        ("Server.xml", "<CommandInterface>", "<Port>1</Port><CommandInterface>", "unknown element Port"),
        ("Tune.xml", "<HeapSize>3G</HeapSize>", "<HeapSize>big</HeapSize>", "HeapSize: bad value 'big'"),
        ("Tune.xml", "<HeapSize>3G</HeapSize>", "", "HeapSize is missing"),
        ("VHosts.xml", "</VHost>", "</VHost>text", "a text where elements should be"),
    ],
)
def test_it_does_not_start_with_what_the_vendors_would_refuse(
    program: Program, name: str, old: str, new: str, said: str
) -> None:
    program.edit(name, old, new)
    assert said in program.refusal()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<AppType>Live</AppType>", "<AppType>Radio</AppType>", "AppType: bad value 'Radio'"),
        ("<StreamType>live</StreamType>", "<StreamType>fast</StreamType>", "StreamType: bad value 'fast'"),
        ("<Name>rock-tv</Name>", "<Name>jazz-tv</Name>", "Name is 'jazz-tv', and its folder 'rock-tv'"),
        ("<AutoAccept>true</AutoAccept>", "<AutoAccept>1</AutoAccept>", "AutoAccept: bad value '1'"),
        ("<AutoAccept>true</AutoAccept>", "<AutoAccept>true</AutoAccept>" * 2, "AutoAccept is there twice"),
        ("<PublishMethod>block", "<PublishMethod>maybe", "PublishMethod: bad value 'maybe'"),
        ("<Client>", "<Limit>5</Limit><Client>", "unknown element Limit"),
        ("<Type>Integer</Type>", "<Type>Number</Type>", "Type: bad value 'Number'"),
        ("<Value>2000</Value>", "<Value>two</Value>", "'two' is no Integer"),
        ("<Value>true</Value>", "<Value>yes</Value>", "'yes' is no Boolean"),
        ("securityPublishBlockDuplicateStreamNames", "securityPublishRequirePassword", "is there twice"),
        ("com.wowza.wms.security", "org.example.security", "Class: bad value"),
        ("cupertinostreamingpacketizer", "otherpacketizer", "LiveStreamPacketizers: bad value"),
        ("cupertinostreamingpacketizer", "dvrstreamingpacketizer", "nDVR needs dvrrecorder"),
    ],
)
def test_an_application_that_is_wrong_is_not_loaded(program: Program, old: str, new: str, said: str) -> None:
    program.put()
    path = program.vhost / "conf/rock-tv/Application.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(Wrong, match=said):
        Application(program.vhost, "rock-tv")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",dvrstreamingpacketizer", "", "nDVR needs dvrrecorder"),
        ("<Recorders>dvrrecorder</Recorders>", "<Recorders />", "nDVR needs dvrrecorder"),
        ("<Store>dvrfilestorage</Store>", "", "Store is missing"),
        ("<StreamType>live</StreamType>", "<StreamType>live-lowlatency</StreamType>", "streams of the type live"),
        ("<ArchiveStrategy>append", "<ArchiveStrategy>forget", "ArchiveStrategy: bad value"),
        ("<WindowDuration>3600", "<WindowDuration>ever", "WindowDuration: bad value"),
    ],
)
def test_an_ndvr_that_is_wrong_is_not_loaded(program: Program, old: str, new: str, said: str) -> None:
    program.put(settings={"dvr_hours": 1}, limits={"disk_quota_mb": 5})
    path = program.vhost / "conf/rock-tv/Application.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(Wrong, match=said):
        Application(program.vhost, "rock-tv")


def test_types_of_applications_and_of_streams_go_together(program: Program) -> None:
    program.put(service_type="on_demand")
    path = program.vhost / "conf/rock-tv/Application.xml"
    for old, new in (("<AppType>VOD", "<AppType>Live"), ("<StreamType>default", "<StreamType>live")):
        text = path.read_text()
        path.write_text(text.replace(old, new))
        with pytest.raises(Wrong, match="has no streams of the type"):
            Application(program.vhost, "rock-tv")
        path.write_text(text)


def test_a_film_is_cut_and_nothing_beside_it_is_played(program: Program, tmp_path: Path) -> None:
    program.put(service_type="on_demand")
    library, path = tmp_path / "library", program.vhost / "conf/rock-tv/Application.xml"
    path.write_text(path.read_text().replace("/run/streamfleet/wowzamedia/200001", str(library)))
    (library / "old").mkdir(parents=True)
    made = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=4"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", str(library / "old/one.mp4")]
    subprocess.run([*made, *coded], check=True, stdin=subprocess.DEVNULL)
    (library / "text.mp4").write_text("ffconcat version 1.0\nfile old/one.mp4\n")
    (tmp_path / "beside.mp4").write_bytes((library / "old/one.mp4").read_bytes())
    film = "_definst_/mp4:old/one.mp4"
    with program.running():
        status, text = program.list("playlist.m3u8", film)
        item = text.splitlines()[-1]
        assert status == 200
        text = program.list(item, film)[1]
        segments = [line for line in text.splitlines() if line.endswith(".ts")]
        assert (len(segments), "#EXT-X-ENDLIST" in text) == (2, True)
        assert all(program.list(name, film)[0] == 200 for name in segments)
        for wrong in ("old/two.mp4", "../beside.mp4", "old/../old/one.mp4", "/old/one.mp4", "old", "text.mp4", "x.txt"):
            assert program.list("playlist.m3u8", f"_definst_/mp4:{wrong}")[0] == 404, wrong


def application(program: Program, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What puts channels on the air, with the program's places."""
    helper = loaded("application")
    monkeypatch.setattr(helper, "PLACE", program.vhost.parent)
    monkeypatch.setattr(helper, "INSTANCES", program.vhost / "conf")
    monkeypatch.setattr(helper, "PATIENCE", 5)
    settings_ = {"rest_port": program.rest, "networks": ["127.0.0.0/8"]}
    (program.vhost.parent / "settings.json").write_text(json.dumps(settings_))
    (program.vhost.parent / "rest-password").write_text("rest-secret\n")
    look = socket.getaddrinfo

    def found(host: str, *arguments: Any, **named: Any) -> Any:
        return look("127.0.0.1" if host == "video.example.net" else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return helper


def relayed(program: Program, address: str, caster: str) -> None:
    """A channel that fetches this; the renderer would not let an address of this machine pass."""
    program.put(service_type="stream_relay", settings={"stream_address": "rtmp://video.example.net/a/b"})
    folder = program.vhost / "conf/rock-tv"
    (folder / "live.stream").write_text(f"{address}\n")
    # What the node judges: where the name leads is said above.
    named = address.replace("127.0.0.1", "video.example.net")
    (folder / "relay.json").write_text(json.dumps({"address": named, "caster": caster}))


@contextlib.contextmanager
def origin(folder: Path, *output: str) -> Iterator[None]:
    """Somebody else's channel, sent at the pace at which it is watched."""
    folder.mkdir()
    picture = ["-re", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-f", "lavfi", "-i", "sine=440"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"]
    command = ["ffmpeg", "-v", "error", *picture, *coded, *output]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL) as sent:
        try:
            yield
        finally:
            sent.kill()


def awaited(program: Program, status: int, stream: str = "live.stream") -> str:
    """The list of a new viewer, or what else is awaited of the channel."""
    end = time.monotonic() + 30
    while (found := program.list(stream=stream))[0] != status:
        assert time.monotonic() < end, found
        time.sleep(0.3)
    return found[1]


def test_what_is_relayed_is_really_fetched_until_the_channel_goes_off(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = application(program, monkeypatch)
    web = free_port()
    relayed(program, f"http://127.0.0.1:{web}/list.m3u8", "applehls")
    hls = ["-f", "hls", "-hls_time", "1", "-hls_flags", "delete_segments", "list.m3u8"]
    server = ["python3", "-m", "http.server", "-b", "127.0.0.1", "-d", f"{tmp_path}/origin", f"{web}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with program.running(), origin(tmp_path / "origin", *hls), subprocess.Popen(server, **quiet) as served:
        try:
            helper.one("on", "rock-tv")
            item = awaited(program, 200).splitlines()[-1]
            text = program.list(item, "live.stream")[1]
            names = [line for line in text.splitlines() if line.endswith(".ts")]
            assert names
            with urllib.request.urlopen(f"http://127.0.0.1:{program.hls}/rock-tv/live.stream/{names[-1]}") as segment:
                (tmp_path / "one.ts").write_bytes(segment.read())
            probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0"]
            told = subprocess.run([*probe, f"{tmp_path}/one.ts"], capture_output=True, text=True, check=True).stdout
            assert {"h264,160", "aac"} <= set(told.split())
            # It is told of the stream again after a start of the program, and once is enough.
            with pytest.raises(helper.Refused, match="connected already"):
                helper.fetch(helper.Rest(), "rock-tv")
            for file in ("live.stream", "relay.json"):
                (program.vhost / "conf/rock-tv" / file).unlink()
            program.put(service_type="stream_relay", state="stopped")
            helper.one("off", "rock-tv")
            assert program.list(stream="live.stream")[0] == 404
        finally:
            served.kill()


def test_every_relay_is_fetched_again_after_a_start(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = application(program, monkeypatch)
    tried = units(helper, monkeypatch, "rock-tv", "jazz-tv")
    helper.everything()

    def slow(*_arguments: Any) -> None:
        raise AssertionError("names are not looked up here: each may take as long as its server likes")

    monkeypatch.setattr(helper, "judge", slow)
    source = free_port()
    relayed(program, f"rtmp://127.0.0.1:{source}/live/one", "liverepeater")
    (program.vhost / "conf/jazz-tv").mkdir()
    (program.vhost / "conf/jazz-tv/relay.json").write_text('{"address": "rtmp://127.0.0.1/live/one", "caster": "rtp"}')
    with (
        program.running(),
        origin(tmp_path / "origin", "-f", "flv", "-listen", "1", f"rtmp://127.0.0.1:{source}/live/one"),
    ):
        helper.everything()
        awaited(program, 200)
        # What is refused is left to its unit, which fails and says why.
        assert tried == ["jazz-tv"]
        # At boot the channel's unit may have been quicker.
        (program.vhost / "conf/jazz-tv/relay.json").unlink()
        helper.everything()
        assert (tried, program.list(stream="live.stream")[0]) == (["jazz-tv"], 200)


def units(helper: Any, monkeypatch: pytest.MonkeyPatch, *active: str) -> list[str]:
    """Have these channels on the air; returns those whose units are started anew."""
    tried: list[str] = []

    def systemctl(command: list[str], **_named: Any) -> Any:
        names = "".join(f"streamfleet-wowza@{slug}.service loaded active exited Channel\n" for slug in active)
        if command[1] == "list-units":
            return subprocess.CompletedProcess(command, 0, names, "")
        assert command[:3] == ["systemctl", "--no-block", "try-restart"]
        tried.append(command[3].removeprefix("streamfleet-wowza@").removesuffix(".service"))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(helper.subprocess, "run", systemctl)
    return tried


def channels(program: Program, helper: Any, monkeypatch: pytest.MonkeyPatch, *slugs: str) -> None:
    """Channels with a stream to fetch, of which a Wowza that answers has not been told."""
    for slug in slugs:
        (program.vhost / "conf" / slug).mkdir()
        (program.vhost / "conf" / slug / "relay.json").write_text("{}")
    monkeypatch.setattr(helper.Rest, "ask", lambda *_arguments: (404, {}))


def test_channels_that_their_units_put_on_the_air_are_left_to_these(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    helper = application(program, monkeypatch)
    told: list[str] = []
    monkeypatch.setattr(helper, "fetch", lambda _rest, slug, **_named: told.append(slug))
    monkeypatch.setattr(helper.Rest, "done", lambda *_arguments: None)
    channels(program, helper, monkeypatch, "air-tv", "busy-tv", "coming-tv")
    tried = units(helper, monkeypatch, "air-tv", "busy-tv")
    with helper.turn("busy-tv", 0) as mine:
        assert mine
        helper.everything()
        assert (told, tried) == (["air-tv"], [])
        # A unit waits for its turn, and says so; not for ever.
        monkeypatch.setattr(helper, "TURN_SECONDS", 0.3)
        begun = time.monotonic()
        helper.one("on", "busy-tv")
        assert time.monotonic() - begun >= 0.3
        said = capsys.readouterr().err
        assert "busy-tv: Wowza is being told of it by another process, for which this one waits" in said
        assert "busy-tv: the other process is still at it; this one goes on" in said
    helper.one("on", "busy-tv")
    assert (told, capsys.readouterr().err) == (["air-tv", "busy-tv", "busy-tv"], "")
    # A channel that is gone has nothing to lock.
    helper.one("off", "gone-tv")


def test_one_channel_that_is_slow_holds_up_no_other_and_is_started_anew_alone(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = application(program, monkeypatch)
    others = [f"tv-{number}" for number in range(20)]
    channels(program, helper, monkeypatch, "a-slow-tv", *others)
    tried = units(helper, monkeypatch, "a-slow-tv", *others)
    told: list[str] = []
    all_told = threading.Event()

    def fetch(_rest: Any, slug: str, **_named: Any) -> None:
        if slug == "a-slow-tv":
            assert all_told.wait(5), f"only {told} were told meanwhile"
            raise TimeoutError("timed out")
        told.append(slug)
        if len(told) == len(others):
            all_told.set()

    monkeypatch.setattr(helper, "fetch", fetch)
    helper.everything()
    assert (sorted(told), tried) == (sorted(others), ["a-slow-tv"])


def test_a_wowza_that_ends_meanwhile_has_no_channel_started_anew(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = application(program, monkeypatch)
    channels(program, helper, monkeypatch, "one-tv", "two-tv")
    tried = units(helper, monkeypatch, "one-tv", "two-tv")

    def gone(_rest: Any, _method: str, path: str, *_body: str) -> tuple[int, dict[str, object]]:
        if path:
            raise ConnectionRefusedError
        return 200, {}

    monkeypatch.setattr(helper.Rest, "ask", gone)
    helper.everything()
    assert tried == []


@pytest.mark.parametrize(
    ("address", "networks", "said"),
    [
        ("rtmp://video.example.net/live/one", [], "leads to an address that is not public"),
        ("rtmp://127.0.0.1/live/one", ["127.0.0.0/8"], "names 127.0.0.1"),
        ("gopher://video.example.net/", ["127.0.0.0/8"], "has the scheme gopher"),
    ],
)
def test_the_node_judges_an_address_again(
    program: Program, monkeypatch: pytest.MonkeyPatch, address: str, networks: list[str], said: str
) -> None:
    helper = application(program, monkeypatch)
    with pytest.raises(helper.guard.Refused) as raised:
        helper.judge(address, networks)
    assert said in raised.value.message
    assert "127.0.0.0" not in raised.value.message


@pytest.mark.slow
def test_renditions_are_smaller_pictures_of_the_same(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = application(program, monkeypatch)
    program.put(settings={"renditions": [{"height": 144, "video_kbps": 100}], "segment_seconds": 1})
    url = f"rtmp://rock-tv:publish-rock-tv-secret@127.0.0.1:{program.rtmp}/rock-tv/live"
    with program.running():
        with pytest.raises(helper.Refused, match="need Wowza's transcoder, which this node does not have"):
            helper.one("on", "rock-tv")
        place = program.vhost.parent / "settings.json"
        place.write_text(json.dumps({**json.loads(place.read_text()), "transcoder": True}))
        helper.one("on", "rock-tv")
        with subprocess.Popen(video_publisher(url, 60), stdin=subprocess.DEVNULL) as encoder:
            try:
                lists = awaited(program, 200, "ngrp:live_all").split()
                source, small = (item for item in lists if item.startswith("chunklist"))
                heights = []
                for item in (source, small):
                    text = program.list(item, "ngrp:live_all")[1]
                    name = next(line for line in text.splitlines() if line.endswith(".ts"))
                    address = f"http://127.0.0.1:{program.hls}/rock-tv/ngrp:live_all/{name}"
                    with urllib.request.urlopen(address, timeout=20) as segment:
                        (tmp_path / "one.ts").write_bytes(segment.read())
                    probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=height"]
                    shown = [*probe, "-of", "csv=p=0", f"{tmp_path}/one.ts"]
                    heights.append(
                        int(subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()[0])
                    )
                assert heights[1] == 144 != heights[0]
                # A second stream is let in, since its name begins alike, and is not encoded.
                with subprocess.Popen(video_publisher(f"{url}2", 60), stdin=subprocess.DEVNULL) as second:
                    try:
                        awaited(program, 200, "live2")
                        assert program.list(stream="ngrp:live2_all")[0] == 404
                    finally:
                        second.kill()
            finally:
                encoder.kill()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<Codec>H.264</Codec>", "<Codec>H.266</Codec>", "Codec: bad value 'H.266'"),
        ("<Height>480</Height>", "<Height>tall</Height>", "Height: bad value 'tall'"),
        ("<MemberName>480p", "<MemberName>481p", r"a group has no Encode \['481p'\]"),
        ("<Name>480p", "<Name>source", "Encode source is there twice"),
        ("<Deinterlace>false</Deinterlace>", "", "Deinterlace is missing"),
        ("<Encodes>", "<More /><Encodes>", "unknown element More"),
        ("fit-height", "somehow", "FitMode: bad value"),
    ],
)
def test_a_template_that_is_wrong_is_not_loaded(program: Program, old: str, new: str, said: str) -> None:
    program.put(settings={"renditions": [{"height": 480, "video_kbps": 1200}]})
    path = program.vhost / "conf/rock-tv/live.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(Wrong, match=said):
        Template(path)


def test_a_stream_file_and_its_mediacaster_must_go_together(program: Program) -> None:
    relayed(program, "rtmp://127.0.0.1:9/live/one", "liverepeater")
    place = f"{APPLICATIONS}/rock-tv/streamfiles"
    good = "connectAppName=rock-tv&appInstance=_definst_&mediaCasterType"
    with program.running():
        for path, status in (
            (f"{place}/live/actions/connect?{good}=rtp", 400),
            (f"{place}/live/actions/connect?{good}=magic", 400),
            (f"{place}/live/actions/connect?{good}=liverepeater&more=1", 400),
            (f"{place}/live/actions/connect", 400),
            (f"{place}/none/actions/connect?{good}=liverepeater", 404),
            (f"{place}/live/actions/connect?{good.replace('rock', 'jazz')}=liverepeater", 404),
            (f"{APPLICATIONS}/rock-tv/instances/_definst_/incomingstreams/live.stream/actions/disconnectStream", 404),
        ):
            assert program.ask(path, "PUT")[0] == status, path


def test_without_the_security_module_nothing_is_secured(program: Program) -> None:
    program.put(limits={"max_listeners": 1})
    path = program.vhost / "conf/rock-tv/Application.xml"
    path.write_text(path.read_text().replace("security.ModuleCoreSecurity", "module.ModuleFLVPlayback"))
    app = Application(program.vhost, "rock-tv")
    assert (app.password_needed, app.viewers) == (False, 0)


def test_the_rest_interface(program: Program) -> None:
    program.put()
    with program.running():
        assert program.ask(APPLICATIONS) == (
            200,
            {"serverName": "_defaultServer_", "applications": [{"id": "rock-tv"}]},
        )
        assert program.ask(APPLICATIONS, password="wrong")[0] == 401
        assert program.ask(APPLICATIONS, accept="text/html")[0] == 406
        assert program.ask(f"{APPLICATIONS}/none/actions/restart", "PUT")[0] == 404
        assert program.ask(f"{APPLICATIONS}/rock-tv/actions/explode", "PUT")[0] == 404
        assert program.ask(f"{APPLICATIONS}/rock-tv/actions/restart", "PUT") == (
            200,
            {"success": True, "message": "Application restarted"},
        )
        (program.vhost / "conf/rock-tv/Application.xml").write_text("<Root/>")
        status, said = program.ask(f"{APPLICATIONS}/rock-tv/actions/restart", "PUT")
        assert (status, said["success"]) == (500, False)
        assert "Application is missing" in said["message"]


def test_an_application_stays_as_it_was_loaded_until_it_is_restarted(program: Program) -> None:
    program.put()
    url = f"rtmp://rock-tv:publish-rock-tv-secret@127.0.0.1:{program.rtmp}/rock-tv/live"
    with program.running(), subprocess.Popen(video_publisher(url, 60), stdin=subprocess.DEVNULL) as encoder:
        try:
            end = time.monotonic() + 30
            while program.list()[0] != 200:
                assert time.monotonic() < end
                time.sleep(0.3)
            text = program.list(program.list()[1].splitlines()[-1])[1]
            assert text.startswith("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n")
            program.put(state="suspended")
            assert program.list()[0] == 200
            assert encoder.poll() is None
            assert program.ask(f"{APPLICATIONS}/rock-tv/actions/restart", "PUT")[0] == 200
            assert encoder.wait(10) != 0
            assert program.list()[0] == 404
        finally:
            encoder.kill()
