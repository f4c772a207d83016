"""What Wowza alone does, on a node: roles common, certificates, wowza and web, a double of the panel.

What every engine does is in test_engines.py, all that `make live` runs of it.

Wowza is a double (tests/doubles/wowza), since the real one may not be passed on; docs/engines.md says what that leaves
open. Encoders and players are real. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests roles: wowza.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shlex
import struct
import subprocess
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.doubles.panel import wowza_channel as channel
from tests.doubles.remote_radio import Radio
from tests.doubles.video.media import LISTED
from tests.doubles.wowza import LICENCE, pack
from tests.live.hls import decode
from tests.live.node import NODE
from tests.live.test_check_mode import changes
from tests.live.test_relays import gateway_to
from tests.live.tones import RATE, recording, tone
from tests.live.video import STREAM, VideoNode, watched
from tests.nodes.fleet import Domain

pytestmark = [pytest.mark.live, pytest.mark.full]

FIRST = ("rock-tv", 200001)
SECOND = ("jazz-tv", 200002)
THIRD = ("third-tv", 200003)
HOME = "/usr/local/WowzaStreamingEngine"
INSTANCES = "/etc/streamfleet/instances/wowza"


class Wowza(VideoNode):
    """The node, and the installer that its operator brought."""

    engine_role = "wowza"

    def __init__(self, folder: Path) -> None:
        self.installer = folder / "WowzaStreamingEngine-4.9.0-linux-x64-installer.run"
        self.checksum = pack(self.installer)
        variables = {
            "streamfleet_wowza_source": str(self.installer),
            "streamfleet_wowza_checksum": self.checksum,
            "streamfleet_wowza_licence_key": LICENCE,
            "streamfleet_wowza_accept_eula": True,
            "streamfleet_wowza_heap": "256M",
        }
        super().__init__(folder, variables)

    def url(self, slug: str, password: str | None = None, stream: str = "live", application: str | None = None) -> str:
        """What an encoder is given."""
        password = f"publish-{slug}-secret" if password is None else password
        login = f"{slug}:{password}@" if password else ""
        return f"rtmp://{login}{self.address}/{application or slug}/{stream}"

    def tenant_sh(self, uid: int, command: str) -> str:
        """What a customer's own user does in the library."""
        return self.sh(f"cd /var/lib/streamfleet/media/{uid} && runuser -u sf{uid} -- sh -c {shlex.quote(command)}")

    def put_film(self, uid: int, path: str, folder: Path) -> None:
        """A film of six seconds in a customer's library, as an upload leaves it: the customer's own."""
        film = folder / "film.mp4"
        if not film.exists():
            made = [
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=320x180:rate=25:duration=6",
                "-f",
                "lavfi",
                "-i",
                "sine=duration=6",
            ]
            coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac"]
            subprocess.run(["ffmpeg", "-v", "error", *made, *coded, str(film)], check=True, stdin=subprocess.DEVNULL)
        self.put_bytes(uid, path, film.read_bytes())

    def put_bytes(self, uid: int, path: str, content: bytes) -> None:
        """A file in a customer's library, the customer's own."""
        self.tenant_sh(uid, f"umask 027; mkdir -p {Path(path).parent}")
        data = base64.b64encode(content).decode()
        target = f"/var/lib/streamfleet/media/{uid}/{path}"
        write = ["runuser", "-u", f"sf{uid}", "--", "sh", "-c", 'umask 027; base64 -d > "$1"', "sh", target]
        self.fleet.exec(NODE, write, stdin=data)

    def pid(self) -> str:
        """Wowza's process."""
        return self.sh("systemctl show --property MainPID --value streamfleet-wowza.service")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wowza]:
    """A node with nothing on it, and the double of the panel, serving."""
    with Wowza(Path(tmp_path_factory.mktemp("wowza"))).started(Domain(STREAM, NODE)) as node:
        yield node


@pytest.fixture(scope="module")
def log(bare: Wowza) -> str:
    """What the roles say at their loudest."""
    return bare.play(bare.folder / "roles.yml", "--diff", "-vvv")


@pytest.fixture(scope="module")
def node(bare: Wowza, log: str) -> Wowza:
    """A node ready for channels."""
    bare.ca.write_text(bare.sh("cat /etc/streamfleet/ca/ca.pem"))
    return bare


@pytest.fixture
def two(node: Wowza) -> Wowza:
    """Two channels that encoders may publish to."""
    told = node.converge(channel(*FIRST), channel(*SECOND))
    assert {item["state"] for item in told.values()} == {"running"}, told
    return node


# The role


def test_the_licence_is_nowhere_but_in_its_files(bare: Wowza, log: str) -> None:
    assert LICENCE not in log
    assert LICENCE not in bare.sh("ps axww; journalctl --no-pager")
    assert bare.sh(f"cat {HOME}/conf/Server.license") == LICENCE
    for file in (f"{HOME}/conf/Server.license", "/etc/streamfleet/wowza/licence", f"{HOME}/conf/admin.password"):
        assert "Permission denied" in bare.sh(f"runuser -u nobody -- cat {file} 2>&1", check=False)


def test_it_runs_as_its_own_user_in_a_sandbox_and_listens_where_it_should(node: Wowza) -> None:
    assert node.sh(f"ps -o user:30= -p {node.pid()}") == "streamfleet-wowza"
    exposure = node.sh("systemd-analyze security --no-pager streamfleet-wowza.service | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 3.0
    cores = int(node.sh("nproc"))
    assert f"CPUQuota={85 * cores}%" in node.sh("systemctl cat streamfleet-wowza.service").splitlines()
    listening = node.sh("ss -Hltn | awk '{print $4}'").split()
    assert "0.0.0.0:1935" in listening
    assert "127.0.0.1:1938" in listening
    assert [address for address in listening if address.endswith(":8087")] == ["127.0.0.1:8087"]
    assert node.sh("systemctl is-active WowzaStreamingEngine.service; true") != "active"
    assert node.sh("systemctl is-enabled WowzaStreamingEngine.service; true") == "disabled"
    # What the operator has set there is still there.
    assert "<Name>operatorsOwn</Name>" in node.sh(f"cat {HOME}/conf/Server.xml")
    assert "<HeapSize>256M</HeapSize>" in node.sh(f"cat {HOME}/conf/Tune.xml")


def test_what_cannot_be_installed_is_refused_before_anything_happens(node: Wowza) -> None:
    other = node.folder / "other.run"
    other.write_bytes(b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack("<HH", 2, 243) + bytes(44))
    checksum = subprocess.run(["sha256sum", str(other)], capture_output=True, text=True, check=True).stdout.split()[0]
    before = node.sh(f"ls -lR /opt/streamfleet/wowza; readlink {HOME}")
    for variables, said in (
        ({"streamfleet_wowza_accept_eula": False}, "streamfleet_wowza_accept_eula is false"),
        ({"streamfleet_wowza_licence_key": ""}, "streamfleet_wowza_licence_key is empty"),
        ({"streamfleet_wowza_checksum": ""}, "is no SHA-256 of 64"),
        ({"streamfleet_wowza_checksum": "0" * 64}, f"its SHA-256 is {node.checksum}, and not {'0' * 64}"),
        (
            {"streamfleet_wowza_source": "http://example.net/x.run"},
            "neither an absolute path on the controller nor a URL",
        ),
        (
            {"streamfleet_wowza_source": str(other), "streamfleet_wowza_checksum": checksum},
            "it is for machine 243 with 64 bits, and this node is",
        ),
    ):
        output = node.engine(variables, "--check", ok=False)
        assert said in " ".join(output.split()), output
        assert LICENCE not in output
    assert node.sh(f"ls -lR /opt/streamfleet/wowza; readlink {HOME}") == before


def test_a_port_that_another_program_has_is_refused_with_the_variable(node: Wowza) -> None:
    squatter = "import socket, time\ns = socket.create_server(('', 1945))\ntime.sleep(300)"
    node.fleet.exec(NODE, ["systemd-run", "--quiet", "--unit", "squatter", "python3", "-c", squatter])
    node.sh("for i in $(seq 100); do ss -Hltn 'sport = :1945' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    output = " ".join(node.engine({"streamfleet_wowza_port": 1945}, ok=False).split())
    assert "1945 squatter.service" in output
    assert "Give Wowza another with streamfleet_wowza_port" in output
    node.sh("systemctl stop squatter")


# Channels


def test_a_channel_is_published_and_played_through_the_web_server(two: Wowza, tmp_path: Path) -> None:
    with watched(two, "rock-tv") as seen:
        item = two.session("rock-tv")
        time.sleep(5)
        frames, seconds = decode(seen[-1], lambda name: two.get("rock-tv", name)[1], tmp_path)
        assert frames > 80
        assert seconds > 3
        two.check_served("rock-tv", item)
    # Nothing else comes through the web server.
    for path in ("chunklist_w0.m3u8", "x.ts", "../jazz-tv/playlist.m3u8", "live/playlist.m3u8"):
        assert two.get("rock-tv", path)[0] in (403, 404), path


def test_films_of_the_library_are_played_on_demand(two: Wowza, tmp_path: Path) -> None:
    # The double cuts films with it.
    two.sh("command -v ffmpeg || apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null")
    own = {"service_type": "on_demand", "settings": {"media_folder": "films"}}
    film, others = channel(*THIRD, **own), channel("other-films", 200004, **own)
    pid = two.pid()
    with watched(two, "rock-tv"):
        told = two.converge(channel(*FIRST), channel(*SECOND), film, others)
        assert {item["state"] for item in told.values()} == {"running"}, told
        two.put_film(200003, "films/first.film.mp4", tmp_path)
        two.put_film(200003, "private/second.mp4", tmp_path)
        two.put_film(200004, "films/hers.mp4", tmp_path)
        for name in ("../hers.mp4", "private.mp4"):
            two.tenant_sh(200003, f"ln -s /var/lib/streamfleet/media/200004/films/hers.mp4 films/{Path(name).name}")
        two.tenant_sh(200003, "ln -s ../private films/linked")
        status, body = two.get("third-tv", "first.film.mp4/playlist.m3u8")
        assert status == 200, body
        item = body.decode().splitlines()[-1]
        text = two.get("third-tv", f"first.film.mp4/{item}")[1]
        assert b"#EXT-X-ENDLIST" in text
        frames, seconds = decode(text.decode(), lambda name: two.get("third-tv", f"first.film.mp4/{name}")[1], tmp_path)
        assert (frames, round(seconds)) == (150, 6)
        # Nothing but the folder's own films: no link, no other folder, no climbing, no other customer's.
        assert two.get("other-films", "hers.mp4/playlist.m3u8")[0] == 200
        for path in ("hers.mp4", "private.mp4", "linked/second.mp4", "second.mp4", "../private/second.mp4", "none.mp4"):
            assert two.get("third-tv", f"{path}/playlist.m3u8")[0] in (403, 404), path
        refused = (
            "first.film.mp4/publish.password",
            "first.film.mp4",
            "live/playlist.m3u8",
            ".first.film.mp4/playlist.m3u8",
        )
        for path in refused:
            assert two.get("third-tv", path)[0] in (403, 404), path
    assert two.pid() == pid
    # Wowza's user reads what is for it, and writes nothing; the two customers read nothing of each other.
    media = "/var/lib/streamfleet/media"
    seen = two.sh(
        f"runuser -u streamfleet-wowza -- head -c 12 {media}/200003/films/first.film.mp4 | tail -c 8", check=False
    )
    assert "ftyp" in seen
    for user, path in (
        ("streamfleet-wowza", f"{media}/200003/private/second.mp4"),
        ("streamfleet-wowza", f"{media}/200003"),
        ("sf200004", f"{media}/200003/films/first.film.mp4"),
    ):
        assert "Permission denied" in two.sh(f"runuser -u {user} -- ls {path}/ 2>&1", check=False), (user, path)
    touched = two.sh(f"runuser -u streamfleet-wowza -- touch {media}/200003/films/new.mp4 2>&1", check=False)
    assert "Permission denied" in touched
    assert two.sh("findmnt -n -o OPTIONS /run/streamfleet/wowzamedia").startswith("ro,nosuid,nodev,noexec")
    # A second run changes nothing; off the air nothing is played.
    keep = channel(*FIRST), channel(*SECOND)
    two.converge(*keep, film, others)
    assert "changed=0" in two.play("playbooks/converge.yml")
    two.converge(*keep, {**film, "state": "suspended"}, others)
    assert two.get("third-tv", "first.film.mp4/playlist.m3u8")[0] == 404
    assert two.get("other-films", "hers.mp4/playlist.m3u8")[0] == 200
    two.converge(*keep, {**film, "state": "deleted"}, {**others, "state": "deleted"})
    two.converge(*keep)
    assert "third" not in two.sh(f"ls {INSTANCES} {INSTANCES}library")


def test_what_is_published_is_recorded_for_its_customer(two: Wowza, tmp_path: Path) -> None:
    # The double writes MP4 with it.
    two.sh("command -v ffmpeg || apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null")
    folder, pid = "/var/lib/streamfleet/media/200001/recordings/rock-tv", two.pid()
    films = {"service_type": "on_demand", "settings": {"media_folder": "recordings/rock-tv"}}
    archive = channel("rock-films", 200001, **films)
    with watched(two, "rock-tv"):
        # Nobody notices that it is recorded from now on.
        limit = {"limits": {"disk_quota_mb": 50}}
        told = two.converge(channel(*FIRST, settings={"record_minutes": 1}, **limit), channel(*SECOND), archive)
        assert {item["state"] for item in told.values()} == {"running"}, told
        end = time.monotonic() + 120
        while not (names := two.sh(f"ls {folder} 2>/dev/null", check=False).split()):
            assert time.monotonic() < end, two.sh("journalctl -u streamfleet-wowza-recordings -o cat | tail -20")
            time.sleep(2)
        assert "changed=0" in two.play("playbooks/converge.yml")
    assert two.pid() == pid
    # It is the customer's own file, whole, and plays.
    assert two.sh(f"stat -c '%U %a' {folder}/{names[0]}") == "sf200001 640"
    assert "Permission denied" in two.sh(f"runuser -u sf200002 -- cat {folder}/{names[0]} 2>&1", check=False)
    probe = f"ffprobe -v error -show_entries stream=codec_name:format=duration -of csv=p=0 {folder}/{names[0]}"
    told_of = two.sh(probe).split()
    assert {"h264", "aac"} <= set(told_of)
    assert 50 < float(told_of[-1]) < 70
    status, body = two.get("rock-films", f"{names[0]}/playlist.m3u8")
    assert status == 200, body
    # At its limit nothing more is recorded, and the channel goes on.
    two.converge(channel(*FIRST, settings={"record_minutes": 1}, limits={"disk_quota_mb": 0}), channel(*SECOND))
    with two.publishing(two.url("rock-tv")):
        two.session("rock-tv")
        full = "journalctl -u streamfleet-wowza-recordings -o cat | grep -q reached"
        two.sh(f"for i in $(seq 60); do {full} && exit 0; sleep 0.5; done; exit 1")
    exposure = two.sh("systemd-analyze security --no-pager streamfleet-wowza-recordings.service | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 4.0
    two.converge(channel(*FIRST), channel(*SECOND))
    assert names[0] in two.sh(f"ls {folder}")


def heights_of(node: Wowza, slug: str, folder: Path) -> list[int]:
    """Lines of the pictures that players may choose from."""
    heights = []
    for item in (line for line in node.get(slug)[1].decode().split() if line.startswith("chunklist")):
        name = next(line for line in node.get(slug, item)[1].decode().split() if line.endswith(".ts"))
        (folder / "one.ts").write_bytes(node.get(slug, name)[1])
        probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=height"]
        shown = [*probe, "-of", "csv=p=0", f"{folder}/one.ts"]
        heights.append(int(subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()[0]))
    return heights


def recorded(node: Wowza, uid: int, slug: str, seconds: float = 120) -> str:
    """The first recording that its customer has."""
    folder = f"/var/lib/streamfleet/media/{uid}/recordings/{slug}"
    end = time.monotonic() + seconds
    while not (names := node.sh(f"ls {folder} 2>/dev/null", check=False).split()):
        assert time.monotonic() < end, node.sh("journalctl -u streamfleet-wowza-recordings -o cat | tail -20")
        time.sleep(2)
    assert node.sh(f"stat -c '%U %a' {folder}/{names[0]}") == f"sf{uid} 640"
    return f"{folder}/{names[0]}"


def watched_again(node: Wowza, slug: str, seconds: float = 60) -> str:
    """The playlist of what was sent, as soon as it has more segments than any that is live."""
    end = time.monotonic() + seconds
    while True:
        status, body = node.get(slug, "dvr.m3u8")
        assert status == 200, body
        text = node.get(slug, body.decode().split()[-1])[1].decode()
        if sum(line.endswith(".ts") for line in text.split()) > LISTED:
            return text
        assert time.monotonic() < end, text
        time.sleep(2)


def test_what_was_sent_is_watched_again_and_pictures_are_made_smaller(two: Wowza, tmp_path: Path) -> None:
    # The double encodes with it.
    two.sh("command -v ffmpeg || apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null")
    pid = two.pid()
    kept = channel(*FIRST, settings={"dvr_hours": 1}, limits={"disk_quota_mb": 500})
    small = channel(*SECOND, settings={"renditions": [{"height": 144, "video_kbps": 200}]})
    told = two.converge(kept, small, ok=False)
    assert (told["rock-tv"]["state"], told["jazz-tv"]["state"]) == ("running", "failed")
    assert "renditions need Wowza's transcoder" in told["jazz-tv"]["message"]
    with watched(two, "rock-tv"):
        two.engine({"streamfleet_wowza_transcoder": True})
        told = two.converge(kept, small)
        assert {item["state"] for item in told.values()} == {"running"}, told
        with two.publishing(two.url("jazz-tv")):
            two.session("jazz-tv", 40)
            heights = heights_of(two, "jazz-tv", tmp_path)
            assert heights[1] == 144 != heights[0]
        text = watched_again(two, "rock-tv")
        frames, _seconds = decode(text, lambda name: two.get("rock-tv", name)[1], tmp_path)
        assert frames > 200
        assert two.get("jazz-tv", "dvr.m3u8")[0] == 404
        assert "changed=0" in two.play("playbooks/converge.yml")
    # What there is stays while nobody publishes, and while it is off the air; off or purged, it goes.
    assert two.get("rock-tv", "dvr.m3u8")[0] == 200
    two.converge({**kept, "state": "stopped"}, channel(*SECOND))
    assert two.get("rock-tv", "dvr.m3u8")[0] == 404
    assert "rock-tv" in two.sh("ls /var/lib/streamfleet-wowza/dvr/200001")
    # Not in five minutes, as it is: nobody waits for that here. What follows puts the program right again.
    helper = "/usr/lib/streamfleet/wowza/recordings.py"
    two.sh(
        f"sed -i 's/^MISSING_SECONDS = .*/MISSING_SECONDS = 5.0/' {helper}; grep -q '^MISSING_SECONDS = 5.0$' {helper}"
    )
    two.sh("systemctl restart streamfleet-wowza-recordings.service")
    two.converge(channel(*FIRST), channel(*SECOND))
    two.sh("for i in $(seq 60); do ls /var/lib/streamfleet-wowza/dvr | grep -q . || exit 0; sleep 0.5; done; exit 1")
    two.engine({})
    assert two.pid() == pid


def test_what_is_elsewhere_is_relayed_and_nothing_of_the_inside(two: Wowza, tmp_path: Path) -> None:
    # The double fetches with it.
    two.sh("command -v ffmpeg || apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null")
    gateway = gateway_to(two.address)
    two.sh(f"printf '%s\\n' '{gateway} elsewhere.example' '127.0.0.1 inside.example' >> /etc/hosts")
    two.engine({"streamfleet_wowza_allowed_networks": [f"{gateway}/32"], "streamfleet_wowza_resolvers": [gateway]})
    keep, pid = (channel(*FIRST), channel(*SECOND)), two.pid()

    def relay(address: str, **changes: object) -> dict[str, object]:
        return channel(*THIRD, service_type="stream_relay", settings={"stream_address": address}, **changes)

    radio = Radio(recording(tmp_path / "radio.mp3", 880, 30, "-b:a", "128k").read_bytes())
    with elsewhere(tmp_path / "elsewhere") as port, radio.serving("0.0.0.0"), watched(two, "rock-tv"):
        sound = channel(
            "radio-tv",
            200005,
            service_type="shoutcast_relay",
            settings={"radio_address": f"http://elsewhere.example:{radio.port}/live", "record_minutes": 1},
            limits={"disk_quota_mb": 50},
        )
        told = two.converge(*keep, relay(f"http://elsewhere.example:{port}/list.m3u8"), sound)
        assert {item["state"] for item in told.values()} == {"running"}, told
        item = two.session("third-tv", 40)
        time.sleep(4)
        text = two.get("third-tv", item)[1].decode()
        frames, seconds = decode(text, lambda name: two.get("third-tv", name)[1], tmp_path)
        assert frames > 40
        assert seconds > 1
        two.check_served("third-tv", item)
        heard = two.get("radio-tv", two.session("radio-tv", 40))[1].decode().split()
        data = b"".join(two.get("radio-tv", name)[1] for name in heard if name.endswith(".ts"))
        samples = array("h")
        plain = ["ffmpeg", "-v", "error", "-i", "-", "-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"]
        pressed = subprocess.run(plain, input=data, capture_output=True, check=True).stdout
        samples.frombytes(pressed[: len(pressed) // 2 * 2])
        assert tone(samples, (440, 880, 1320)) == 880
        # Nobody publishes to it, and a second run changes nothing.
        two.refused(two.url("third-tv"))
        two.refused(two.url("third-tv", ""))
        assert "changed=0" in two.play("playbooks/converge.yml")
        # A list leads Wowza to wherever it says: not to the inside.
        before = counted_drops(two)
        (tmp_path / "elsewhere/trap.m3u8").write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:8087/v2/one.ts\n"
        )
        told = two.converge(*keep, relay(f"http://elsewhere.example:{port}/trap.m3u8"), sound)
        assert told["third-tv"]["state"] == "running", told
        end = time.monotonic() + 20
        while counted_drops(two) == before:
            assert time.monotonic() < end, "Wowza has tried nothing"
            time.sleep(0.5)
        assert two.get("third-tv")[0] == 404
        # A name of the inside fails its channel, and no other; what it stands for is not told.
        told = two.converge(*keep, relay("http://inside.example:8087/list.m3u8"), sound, ok=False)
        assert told["third-tv"]["state"] == "failed"
        assert "leads to an address that is not public" in told["third-tv"]["message"]
        assert "127.0.0.1" not in told["third-tv"]["message"]
        two.converge(*keep, relay(f"http://elsewhere.example:{port}/list.m3u8"), sound)
        two.session("third-tv", 40)
        two.converge(*keep, relay(f"http://elsewhere.example:{port}/list.m3u8", state="suspended"), sound)
        assert two.get("third-tv")[0] == 404
        two.converge(*keep, relay(f"http://elsewhere.example:{port}/list.m3u8"), sound)
        # What is taken over is its customer's, as all recordings are.
        file = recorded(two, 200005, "radio-tv")
        probe = f"ffprobe -v error -show_entries stream=codec_name:format=duration -of csv=p=0 {file}"
        codec, length = two.sh(probe).split()
        assert (codec, 50 < float(length) < 70) == ("mp3", True)
        assert two.pid() == pid
    with elsewhere(tmp_path / "again") as port, radio.serving("0.0.0.0"):
        two.converge(*keep, relay(f"http://elsewhere.example:{port}/list.m3u8"), sound)
        # Wowza forgets what it fetches; nobody converges, and both are on the air again.
        two.sh("systemctl restart streamfleet-wowza.service")
        for slug in ("third-tv", "radio-tv"):
            two.session(slug, 60)
        # As at boot, where channels and the unit of all relays begin at once: each stream is fetched once.
        channels = " ".join(
            f"streamfleet-wowza@{slug}.service" for slug in ("third-tv", "radio-tv", "rock-tv", "jazz-tv")
        )
        said = "journalctl -u streamfleet-wowza -o cat --grep '/live.stream connected' | sort | uniq -c"
        two.sh(f"systemctl stop {channels} streamfleet-wowza.service; journalctl --rotate --vacuum-time=1s -q")
        two.sh(f"systemctl start streamfleet-wowza.service {channels}")
        for slug in ("third-tv", "radio-tv"):
            two.session(slug, 60)
        two.sh("while systemctl is-active streamfleet-wowza-relays.service | grep -q activating; do sleep 0.2; done")
        assert [line.split()[0] for line in two.sh(said).splitlines()] == ["1", "1"], two.sh(said)
        # One whose stream is refused is started anew, and it alone.
        began = "systemctl show -p InactiveExitTimestampMonotonic --value streamfleet-wowza@radio-tv.service"
        before = two.sh(began)
        two.sh(f"sed -i s/applehls/rtp/ {INSTANCES}/third-tv/relay.json; systemctl restart streamfleet-wowza.service")
        two.session("radio-tv", 60)
        failed = "systemctl is-failed -q streamfleet-wowza@third-tv.service"
        two.sh(f"for n in $(seq 60); do {failed} && exit; sleep 1; done; false")
        assert two.sh(began) == before
        exposure = two.sh("systemd-analyze security --no-pager streamfleet-wowza-relays.service | tail -1")
        assert float(exposure.partition("service:")[2].split()[0]) <= 2.0, exposure
    two.converge(*keep)


def tone_film(path: Path, frequency: int, colour: str) -> bytes:
    """A recording of five seconds: one colour and one tone."""
    made = ["-f", "lavfi", "-i", f"color={colour}:size=320x180:rate=25", "-f", "lavfi", "-i", f"sine={frequency}"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-t", "5"]
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *made, *coded, "-f", "mp4", str(path)]
    subprocess.run(command, check=True)
    return path.read_bytes()


class Viewer(threading.Thread):
    """One session through the web server: the tone and the colour of every segment, in their order."""

    tones = {440: "red", 880: "green", 1320: "blue"}

    def __init__(self, node: Wowza, slug: str) -> None:
        super().__init__(daemon=True)
        self._node, self._slug, self._item = node, slug, node.session(slug, 40)
        self.seen: list[tuple[int | None, str]] = []
        self.numbers: list[int] = []
        self.ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            status, body = self._node.get(self._slug, self._item)
            assert status == 200, body
            for name in (line for line in body.decode().split() if line.endswith(".ts")):
                number = int(name.rpartition("_")[2][:-3])
                if number not in self.numbers:
                    self.numbers.append(number)
                    self.seen.append(self.look(self._node.get(self._slug, name)[1]))

    def look(self, data: bytes) -> tuple[int | None, str]:
        """The tone of a segment's last second, and the colour of its last picture."""
        plain = ["ffmpeg", "-v", "error", "-i", "-", "-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"]
        samples = array("h")
        pressed = subprocess.run(plain, input=data, capture_output=True, check=True).stdout
        samples.frombytes(pressed[: len(pressed) // 2 * 2])
        pixel = ["-vf", "scale=1:1", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
        shown = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", "-", *pixel], input=data, capture_output=True, check=True
        )
        parts = dict(zip(("red", "green", "blue"), shown.stdout[-3:], strict=True))
        return tone(samples[-RATE:], self.tones), max(parts, key=lambda name: parts[name])

    def sees(self, frequency: int, within: float = 60) -> None:
        self.awaits(lambda: (frequency, self.tones[frequency]) in self.seen[-2:], f"{frequency}", within)

    def awaits(self, seen: Callable[[], bool], what: str, within: float = 60) -> None:
        end = time.monotonic() + within
        while not seen():
            assert time.monotonic() < end, f"{what} was not seen, but {self.seen}"
            assert self.is_alive()
            time.sleep(0.3)

    def stop(self) -> None:
        """It missed nothing, and was never thrown out."""
        self.ended.set()
        self.join(20)
        assert self.numbers == list(range(self.numbers[0], self.numbers[0] + len(self.numbers)))


def test_a_channel_plays_by_itself_and_makes_room_for_a_broadcaster(two: Wowza, tmp_path: Path) -> None:
    pid, keep = two.pid(), (channel(*FIRST), channel(*SECOND))
    playlists = [
        {"name": "all", "enabled": True, "type": "rotation", "folder": ".", "files": None, "order": "sequential"}
        | {"weight": 1, "active": None, "every_tracks": None, "every_minutes": None}
    ]
    own = {"service_type": "tv_station", "settings": {"timezone": "UTC"}, "playlists": playlists, "schedules": []}
    unit = "streamfleet-wowza-tv@third-tv.service"
    # Recordings of tests before this one.
    two.sh("rm -rf /var/lib/streamfleet/media/200003/*")
    with watched(two, "rock-tv"):
        told = two.converge(*keep, channel(*THIRD, **own))
        assert {item["state"] for item in told.values()} == {"running"}, told
        # With nothing to play there is a picture all the same.
        viewer = Viewer(two, "third-tv")
        two.put_bytes(200003, "bad.mp4", b"#EXTM3U\n/etc/passwd\n")
        two.put_bytes(200003, "one.mp4", tone_film(tmp_path / "one.mp4", 440, "red"))
        two.put_bytes(200003, "two ' {}.mp4", tone_film(tmp_path / "two.mp4", 880, "0x00ff00"))
        for frequency in (440, 880, 440):
            viewer.sees(frequency)
        # Others can neither publish in its place, nor without its password.
        assert "authfailed" in two.refused(two.url("third-tv", "wrong-wrong-wrong"))
        two.refused(two.url("third-tv", stream="air"))
        made = ["-re", "-f", "lavfi", "-i", "color=blue:size=320x180:rate=25", "-f", "lavfi", "-i", "sine=1320"]
        coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"]
        sent = ["ffmpeg", "-nostdin", "-v", "error", *made, *coded, "-f", "flv", two.url("third-tv")]
        with subprocess.Popen(sent) as broadcaster:
            try:
                viewer.sees(1320)
            finally:
                broadcaster.kill()
        viewer.sees(440)
        viewer.sees(880)
        # What is played is changed, and the password, and nobody notices.
        listed = [{**playlists[0], "folder": None, "files": ["one.mp4"]}]
        other = {"credentials": {"publish_password": "rotated-secret"}}
        two.converge(*keep, channel(*THIRD, **{**own, "playlists": listed}, **other))
        # More of them in a row than the one recording has.
        viewer.awaits(lambda: [item[0] for item in viewer.seen[-6:]] == [440] * 6, "one recording alone")
        viewer.stop()
        assert "changed=0" in two.play("playbooks/converge.yml")
    assert two.pid() == pid
    log = two.sh(f"journalctl -u {unit} -o cat --no-pager")
    assert "'bad.mp4' is left out: it is no MP4 or MOV file" in log
    # As the worker gets it.
    asked = "echo '{\"cursors\": {}}' | python3 -I /usr/lib/streamfleet/collect.py"
    left_out = dict(json.loads(two.sh(asked).splitlines()[-1])["feeds"]["tv_passed_over"]["items"])["third-tv"]
    assert left_out == {"count": 1, "items": [{"path": "bad.mp4", "reason": "it is no MP4 or MOV file"}]}
    assert "live takes over\nthe programme goes on" in log
    data = "/var/lib/streamfleet/services/third-tv/tv"
    played = [json.loads(line)["path"] for line in two.sh(f"cat {data}/history.jsonl").splitlines()]
    # The second recording may have come when the next was chosen already.
    assert (played[0], "two ' {}.mp4" in played) == ("one.mp4", True)
    # As its customer's user, in a sandbox, and the password is in no command.
    assert two.sh(f"ps -o user:30= -p $(systemctl show --property MainPID --value {unit})") == "sf200003"
    exposure = two.sh(f"systemd-analyze security --no-pager {unit} | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 3.0
    assert "third-tv-secret" not in two.sh("ps axww; cat /proc/*/cmdline | tr '\\0' ' '", check=False)
    assert "rotated-secret" not in two.sh("ps axww; cat /proc/*/cmdline | tr '\\0' ' '", check=False)
    for user in ("sf200001", "streamfleet-wowza", "nobody"):
        secret = f"runuser -u {user} -- cat /etc/streamfleet/instances/tv/third-tv/publish.json 2>&1"
        assert "Permission denied" in two.sh(secret, check=False), user
    assert two.tenant(200001, "127.0.0.1", 1941) != "open"
    # It comes back by itself, with the password of now.
    two.sh("systemctl restart streamfleet-wowza.service")
    two.session("third-tv", 60)
    two.converge(*keep, channel(*THIRD, **own, state="suspended"))
    assert two.get("third-tv")[0] == 404
    assert two.sh(f"systemctl is-active {unit}; true") == "inactive"
    two.converge(*keep, channel(*THIRD, **own, state="deleted"))
    two.converge(*keep)
    assert "third" not in two.sh("ls /etc/streamfleet/instances/tv /etc/systemd/system /etc/streamfleet/routes")


def test_what_plays_by_itself_is_kept_and_made_smaller_and_its_broadcaster_recorded(two: Wowza, tmp_path: Path) -> None:
    pid, keep = two.pid(), (channel(*FIRST), channel(*SECOND))
    playlists = [
        {"name": "films", "enabled": True, "type": "rotation", "folder": "films", "files": None, "order": "sequential"}
        | {"weight": 1, "active": None, "every_tracks": None, "every_minutes": None}
    ]
    own = {"service_type": "tv_station", "playlists": playlists, "schedules": [], "limits": {"disk_quota_mb": 500}}
    kept = {"timezone": "UTC", "record_minutes": 10, "dvr_hours": 1}
    small = {**kept, "dvr_hours": None, "renditions": [{"height": 144, "video_kbps": 200}]}
    two.sh("rm -rf /var/lib/streamfleet/media/200003/*")
    with watched(two, "rock-tv"):
        told = two.converge(*keep, channel(*THIRD, settings=kept, **own))
        assert {item["state"] for item in told.values()} == {"running"}, told
        two.put_bytes(200003, "films/one.mp4", tone_film(tmp_path / "one.mp4", 440, "red"))
        viewer = Viewer(two, "third-tv")
        viewer.sees(440)
        made = ["-re", "-f", "lavfi", "-i", "color=blue:size=320x180:rate=25", "-f", "lavfi", "-i", "sine=1320"]
        coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"]
        sent = ["ffmpeg", "-nostdin", "-v", "error", *made, *coded, "-f", "flv", two.url("third-tv")]
        with subprocess.Popen(sent) as broadcaster:
            try:
                viewer.sees(1320)
            finally:
                broadcaster.kill()
        # What viewers saw can be watched again, from the begin to what they see now.
        item, kept_tones = two.get("third-tv", "dvr.m3u8")[1].decode().split()[-1], dict[str, int | None]()

        def again() -> list[int]:
            for name in (line for line in two.get("third-tv", item)[1].decode().split() if line.endswith(".ts")):
                if name not in kept_tones:
                    kept_tones[name] = viewer.look(two.get("third-tv", name)[1])[0]
            return [found for found, _same in itertools.groupby(kept_tones.values()) if found]

        viewer.awaits(lambda: again()[-3:] == [440, 1320, 440], "the programme, the broadcaster and the programme")
        viewer.stop()
        # Nothing but the broadcaster was recorded.
        file = recorded(two, 200003, "third-tv")
        film = base64.b64decode(two.sh(f"base64 -w0 {file}"))
        (tmp_path / "film.mp4").write_bytes(film)
        cut = ["ffmpeg", "-v", "error", "-i", f"{tmp_path}/film.mp4", "-c", "copy", "-f", "mpegts", "-"]
        assert viewer.look(subprocess.run(cut, capture_output=True, check=True).stdout) == (1320, "blue")
        assert "changed=0" in two.play("playbooks/converge.yml")
        # Smaller pictures need the transcoder, and are of what viewers see.
        told = two.converge(*keep, channel(*THIRD, settings=small, **own), ok=False)
        assert "renditions need Wowza's transcoder" in told["third-tv"]["message"]
        two.engine({"streamfleet_wowza_transcoder": True})
        told = two.converge(*keep, channel(*THIRD, settings=small, **own))
        assert {item["state"] for item in told.values()} == {"running"}, told
        two.session("third-tv", 40)
        assert heights_of(two, "third-tv", tmp_path) == [180, 144]
        assert two.get("third-tv", "dvr.m3u8")[0] == 404
        assert "changed=0" in two.play("playbooks/converge.yml")
    two.engine({})
    two.converge(*keep)
    assert two.pid() == pid


@contextlib.contextmanager
def elsewhere(folder: Path) -> Iterator[int]:
    """Somebody else's channel by HLS, on a port of this machine."""
    folder.mkdir()
    picture = ["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=440"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"]
    hls = ["-f", "hls", "-hls_time", "1", "-hls_flags", "delete_segments", "list.m3u8"]
    handler = partial(QuietFiles, directory=str(folder))
    server = ThreadingHTTPServer(("0.0.0.0", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    sent = subprocess.Popen(["ffmpeg", "-v", "error", *picture, *coded, *hls], cwd=folder, stdin=subprocess.DEVNULL)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        sent.kill()
        sent.wait()
        server.shutdown()
        server.server_close()


class QuietFiles(SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


def counted_drops(node: Wowza) -> str:
    """What the firewall around tenants has dropped."""
    return node.sh("nft list chain inet streamfleet_tenants tenant | grep -o 'packets [0-9]*' | tr '\\n' ' '")


def test_only_the_channels_own_password_publishes_and_only_its_stream(two: Wowza) -> None:
    assert "authfailed" in two.refused(two.url("rock-tv", "wrong-wrong-wrong"))
    assert "need auth" in two.refused(two.url("rock-tv", ""))
    assert "authfailed" in two.refused(two.url("jazz-tv", application="rock-tv"))
    two.refused(two.url("rock-tv", stream="other"))
    two.refused(two.url("rock-tv", application="nobody"))
    with watched(two, "rock-tv"):
        two.refused(two.url("rock-tv"))
        for way in (f"rtmp://{two.address}/rock-tv/live", two.url("rock-tv")):
            probe = ["ffprobe", "-v", "error", "-rw_timeout", "4000000", "-show_streams", way]
            done = subprocess.run(
                probe, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
            )
            assert "codec_name" not in done.stdout


def test_no_more_viewers_than_the_limit(two: Wowza) -> None:
    two.converge(channel(*FIRST, limits={"max_listeners": 2}), channel(*SECOND))
    with two.publishing(two.url("rock-tv")):
        first = two.session("rock-tv")
        two.session("rock-tv")
        assert two.get("rock-tv")[0] == 403
        assert two.get("rock-tv", first)[0] == 200


# Changes


def test_nobody_notices_what_happens_to_another_channel(two: Wowza) -> None:
    keep, pid = (channel(*FIRST), channel(*SECOND)), two.pid()
    with watched(two, "rock-tv"), two.publishing(two.url("jazz-tv")) as other:
        two.converge(*keep, channel(*THIRD))
        with two.publishing(two.url("third-tv")) as third:
            two.session("third-tv")
            # Its file is read again: whoever publishes to it has to come back.
            two.converge(*keep, channel(*THIRD, settings={"segment_seconds": 3}))
            third.wait(10)
        two.converge(*keep, channel(*THIRD, state="suspended"))
        two.converge(*keep, channel(*THIRD, state="deleted"))
        two.converge(*keep)
        two.engine({})
        assert other.poll() is None
    assert two.pid() == pid
    left = two.sh(f"ls {INSTANCES} /etc/streamfleet/routes /etc/systemd/system")
    assert "third" not in left
    assert two.sh("getent passwd sf200003", check=False) == ""


def test_a_new_password_counts_at_once_and_interrupts_nobody(two: Wowza) -> None:
    with watched(two, "rock-tv"):
        told = two.converge(
            channel(*FIRST, name="Näw ]]> name", credentials={"publish_password": "rotated-secret"}), channel(*SECOND)
        )
        assert told["rock-tv"]["state"] == "running"
    assert "authfailed" in two.refused(two.url("rock-tv"))
    with two.publishing(two.url("rock-tv", "rotated-secret")):
        two.session("rock-tv")


def test_a_suspended_channel_neither_publishes_nor_plays(two: Wowza) -> None:
    with watched(two, "jazz-tv"), two.publishing(two.url("rock-tv")) as encoder:
        item = two.session("rock-tv")
        told = two.converge(channel(*FIRST, state="suspended", reason="unpaid"), channel(*SECOND))
        assert (told["rock-tv"]["state"], told["rock-tv"]["message"]) == ("suspended", "unpaid")
        encoder.wait(10)
        assert two.get("rock-tv", item)[0] == 404
        assert "not to be had" in two.refused(two.url("rock-tv"))
        # Not past the web server either.
        asked = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:1938/rock-tv/live/playlist.m3u8"
        assert two.sh(asked) == "404"
    # A restart of Wowza does not bring it back.
    two.sh("systemctl restart streamfleet-wowza.service")
    two.sh("for i in $(seq 100); do ss -Hltn 'sport = :8087' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    two.refused(two.url("rock-tv"))
    two.converge(channel(*FIRST), channel(*SECOND))
    with two.publishing(two.url("rock-tv")):
        two.session("rock-tv")


def test_a_channel_that_cannot_be_is_told_and_the_others_are_left_alone(two: Wowza) -> None:
    with watched(two, "jazz-tv"):
        told = two.converge(
            channel(*FIRST, limits={"max_listeners": 0}),
            channel(*SECOND),
            channel(*THIRD, credentials={"publish_password": "a b"}),
            ok=False,
        )
    assert {slug: item["state"] for slug, item in told.items()} == {
        "rock-tv": "failed",
        "jazz-tv": "running",
        "third-tv": "failed",
    }
    assert "max_listeners: 0 means unlimited to Wowza" in told["rock-tv"]["message"]
    assert "a b" not in told["third-tv"]["message"]


def test_tenants_reach_neither_wowzas_files_nor_its_ports(two: Wowza) -> None:
    for port in (1938, 8087):
        assert two.tenant(200001, "127.0.0.1", port) != "open"
    for path in (f"{INSTANCES}/jazz-tv/publish.password", "/etc/streamfleet/wowza/rest-password"):
        assert "Permission denied" in two.sh(f"runuser -u sf200001 -- cat {path} 2>&1", check=False)
    assert "ok=1    changed=0" in two.play("playbooks/converge.yml")


def test_self_check_is_content_and_then_names_the_cause(two: Wowza) -> None:
    arguments = ["-e", json.dumps({"entry": "self_check", "roles_in_order": ["wowza"]})]
    assert two.changed(two.play(two.folder / "tasks.yml", *arguments)) == 0
    two.sh("systemctl stop run-streamfleet-wowzamedia.mount")
    assert "libraries are not mounted for Wowza" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.sh("systemctl start run-streamfleet-wowzamedia.mount")
    two.sh("systemctl stop streamfleet-wowza.service")
    assert two.get("rock-tv")[0] == 503
    assert "streamfleet-wowza.service is not running" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.engine({})
    two.play(two.folder / "tasks.yml", *arguments)


# Upgrade and end


def test_an_upgrade_waits_for_the_encoders(two: Wowza) -> None:
    newer = two.folder / "newer.run"
    variables = {"streamfleet_wowza_source": str(newer), "streamfleet_wowza_checksum": pack(newer, "4.9.1")}
    pid = two.pid()
    with watched(two, "rock-tv"):
        predicted = changes(two.engine(variables, "--check"))
        output = two.engine(variables)
        assert changes(output) == predicted != set()
        assert "encoders are connected, so it goes on as it is" in output
        assert two.pid() == pid
    assert two.sh(f"readlink {HOME}") == "WowzaStreamingEngine-4.9.1"
    assert {name for name, _host in changes(two.engine(variables))} == {"wowza : Have Wowza run, now and at boot"}
    assert two.pid() != pid
    assert changes(two.engine(variables)) == set()
    with two.publishing(two.url("rock-tv")):
        two.session("rock-tv")
