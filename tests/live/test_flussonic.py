"""Channels of Flussonic Media Server on a node: roles common, certificates, flussonic and web, a double of the panel.

Flussonic is a double (tests/doubles/flussonic), since the real one may not be passed on; docs/engines.md says what that
leaves open. Encoders and players are real. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests roles: flussonic.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.flussonic import LICENCE, pack
from tests.doubles.panel import flussonic_channel as channel
from tests.live.hls import decode
from tests.live.node import NODE
from tests.live.test_check_mode import changes
from tests.live.video import STREAM, VideoNode, watched
from tests.nodes.fleet import Domain

pytestmark = [pytest.mark.live, pytest.mark.full]

FIRST = ("rock-tv", 200001)
SECOND = ("jazz-tv", 200002)
THIRD = ("third-tv", 200003)
INSTANCES = "/etc/streamfleet/instances/flussonic"


class Flussonic(VideoNode):
    """The node, and the package that its operator brought."""

    engine_role = "flussonic"
    entry = "index.m3u8"
    folders = True

    def __init__(self, folder: Path) -> None:
        self.package = folder / "flussonic_24.09_all.deb"
        self.checksum = pack(self.package)
        variables = {
            "streamfleet_flussonic_packages": [{"source": str(self.package), "checksum": self.checksum}],
            "streamfleet_flussonic_licence_key": LICENCE,
        }
        super().__init__(folder, variables)

    def url(self, slug: str, password: str | None = None, application: str = "static") -> str:
        """What an encoder is given."""
        password = f"publish-{slug}-secret" if password is None else password
        query = f"?password={password}" if password else ""
        return f"rtmp://{self.address}/{application}/{slug}{query}"

    def pid(self) -> str:
        """Flussonic's process."""
        return self.sh("systemctl show --property MainPID --value flussonic.service")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flussonic]:
    """A node with nothing on it, and the double of the panel, serving."""
    with Flussonic(Path(tmp_path_factory.mktemp("flussonic"))).started(Domain(STREAM, NODE)) as node:
        yield node


@pytest.fixture(scope="module")
def logs(bare: Flussonic) -> dict[str, str]:
    """Check, first and second run of the roles."""
    return bare.first_runs("-vvv")


@pytest.fixture(scope="module")
def node(bare: Flussonic, logs: dict[str, str]) -> Flussonic:
    """A node ready for channels."""
    bare.ca.write_text(bare.sh("cat /etc/streamfleet/ca/ca.pem"))
    return bare


@pytest.fixture
def two(node: Flussonic) -> Flussonic:
    """Two channels that encoders may publish to."""
    told = node.converge(channel(*FIRST), channel(*SECOND))
    assert {item["state"] for item in told.values()} == {"running"}, told
    return node


# The role


def test_the_roles_predict_what_they_change_and_change_it_once(bare: Flussonic, logs: dict[str, str]) -> None:
    predicted, made = changes(logs["check"]), changes(logs["first"])
    assert len([name for name, _host in made if name.startswith("flussonic")]) >= 5
    assert predicted == made, f"predicted only: {sorted(predicted - made)}; made only: {sorted(made - predicted)}"
    assert changes(logs["second"]) == set()
    # The licence is nowhere but in its file: in no output however loud, in no command.
    assert all(LICENCE not in log for log in logs.values())
    assert LICENCE not in bare.sh("ps axww; journalctl --no-pager")
    assert bare.sh("cat /etc/flussonic/license.txt") == LICENCE
    for file in (
        "/etc/flussonic/license.txt",
        "/etc/flussonic/flussonic.conf",
        "/etc/streamfleet/flussonic/api-password",
    ):
        assert "Permission denied" in bare.sh(f"runuser -u nobody -- cat {file} 2>&1", check=False)


def test_it_runs_as_its_own_user_in_a_sandbox_and_listens_where_it_should(node: Flussonic) -> None:
    assert node.sh(f"ps -o user:30= -p {node.pid()}") == "streamfleet-flussonic"
    for unit, most in (("flussonic", 3.0), ("streamfleet-flussonic-gate", 2.0)):
        exposure = node.sh(f"systemd-analyze security --no-pager {unit}.service | tail -1")
        assert float(exposure.partition("service:")[2].split()[0]) <= most, exposure
    listening = node.sh("ss -Hltn | awk '{print $4}'").split()
    assert "0.0.0.0:1935" in listening
    assert sorted(address for address in listening if address.endswith((":1939", ":1940"))) == [
        "127.0.0.1:1939",
        "127.0.0.1:1940",
    ]
    # What the package brings for a start is not what it runs with.
    assert "letmein" not in node.sh("cat /etc/flussonic/flussonic.conf")


def test_what_cannot_be_installed_is_refused_before_anything_happens(node: Flussonic) -> None:
    other, text = node.folder / "other.deb", node.folder / "text.deb"
    text.write_text("<html>not found</html>")
    packages = {
        "arm": [{"source": str(other), "checksum": pack(other, architecture="s390x")}],
        "wrong": [{"source": str(node.package), "checksum": "0" * 64}],
        "url": [{"source": "http://example.net/x.deb", "checksum": "0" * 64}],
        "no digest": [{"source": str(node.package), "checksum": "sha256:1"}],
    }
    before = node.sh("ls -lR /opt/streamfleet/flussonic; dpkg-query -W flussonic")
    for variables, said in (
        ({"streamfleet_flussonic_licence_key": ""}, "streamfleet_flussonic_licence_key is empty"),
        ({"streamfleet_flussonic_packages": []}, "streamfleet_flussonic_packages is empty"),
        ({"streamfleet_flussonic_packages": packages["wrong"]}, f"its SHA-256 is {node.checksum}, and not {'0' * 64}"),
        ({"streamfleet_flussonic_packages": packages["no digest"]}, "a checksum is no SHA-256 of 64"),
        ({"streamfleet_flussonic_packages": packages["url"]}, "neither an absolute path on the controller nor a URL"),
        ({"streamfleet_flussonic_packages": packages["arm"]}, "it is for s390x, and this node is"),
    ):
        output = node.engine(variables, "--check", ok=False)
        assert said in " ".join(output.split()), output
        assert LICENCE not in output
    assert node.sh("ls -lR /opt/streamfleet/flussonic; dpkg-query -W flussonic") == before


def test_a_port_that_another_program_has_is_refused_with_the_variable(node: Flussonic) -> None:
    squatter = "import socket, time\ns = socket.create_server(('', 1945))\ntime.sleep(300)"
    node.fleet.exec(NODE, ["systemd-run", "--quiet", "--unit", "squatter", "python3", "-c", squatter])
    node.sh("for i in $(seq 100); do ss -Hltn 'sport = :1945' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    output = " ".join(node.engine({"streamfleet_flussonic_port": 1945}, ok=False).split())
    assert "1945 squatter.service" in output
    assert "Give Flussonic another with streamfleet_flussonic_port" in output
    node.sh("systemctl stop squatter")


# Channels


def test_a_channel_is_published_and_played_through_the_web_server(two: Flussonic, tmp_path: Path) -> None:
    with watched(two, "rock-tv") as seen:
        item, other = two.session("rock-tv"), two.session("rock-tv")
        assert item.partition("=")[2] not in ("undefined", other.partition("=")[2])
        time.sleep(5)
        frames, seconds = decode(seen[-1], lambda name: two.get("rock-tv", f"tracks-v1a1/{name}")[1], tmp_path)
        assert frames > 80
        assert seconds > 3
        two.check_served("rock-tv", item)
    # Nothing else comes through the web server: not the API, not the pages for administrators, not another channel.
    for path in ("x.ts", "../jazz-tv/index.m3u8", "../streamer/api/v3/streams", "../admin/index.m3u8", "%2e%2e/x.m3u8"):
        assert two.get("rock-tv", path)[0] in (400, 403, 404), path


def test_only_the_channels_own_password_publishes(two: Flussonic) -> None:
    for url in (
        two.url("rock-tv", "wrong-wrong-wrong"),
        two.url("rock-tv", ""),
        two.url("rock-tv", "publish-jazz-tv-secret"),
        two.url("nobody-tv", "publish-rock-tv-secret"),
        two.url("rock-tv", application="other"),
    ):
        two.refused(url)
    with watched(two, "rock-tv"):
        two.refused(two.url("rock-tv"))
        probe = ["ffprobe", "-v", "error", "-rw_timeout", "4000000", "-show_streams", two.url("rock-tv", "")]
        done = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
        assert "codec_name" not in done.stdout


def test_no_more_viewers_than_the_limit(two: Flussonic) -> None:
    two.converge(channel(*FIRST, limits={"max_listeners": 2}), channel(*SECOND))
    with two.publishing(two.url("rock-tv")):
        first = two.session("rock-tv")
        two.session("rock-tv")
        assert two.get("rock-tv")[0] == 403
        assert two.get("rock-tv", first)[0] == 200


def test_what_was_sent_is_kept_and_goes_with_the_channel(two: Flussonic, tmp_path: Path) -> None:
    kept = channel(*THIRD, settings={"dvr_hours": 1}, limits={"disk_quota_mb": 500})
    two.converge(channel(*FIRST), channel(*SECOND), kept)
    with two.publishing(two.url("third-tv")):
        two.session("third-tv")
        time.sleep(6)
    status, body = two.get("third-tv", "rewind-600.m3u8")
    assert status == 200
    # A player without a token asks for it again and again, and is one viewer all the time.
    token = re.search(rb"token=([0-9a-z]+)", body)
    assert token
    assert token[0] in two.get("third-tv", "rewind-600.m3u8")[1]
    frames, _seconds = decode(body.decode(), lambda name: two.get("third-tv", name)[1], tmp_path)
    assert frames > 80
    assert "third-tv" in two.sh("ls /var/lib/flussonic/dvr")
    two.converge(channel(*FIRST), channel(*SECOND), {**kept, "state": "deleted"})
    assert "third-tv" in two.sh("ls /var/lib/flussonic/dvr")
    two.converge(channel(*FIRST), channel(*SECOND))
    two.converge(channel(*FIRST, settings={"segment_seconds": 3}), channel(*SECOND))
    assert "third-tv" not in two.sh("ls /var/lib/flussonic/dvr")


# Changes


def test_nobody_notices_what_happens_to_another_channel(two: Flussonic) -> None:
    keep, pid = (channel(*FIRST), channel(*SECOND)), two.pid()
    with watched(two, "rock-tv"), two.publishing(two.url("jazz-tv")) as other:
        two.converge(*keep, channel(*THIRD))
        with two.publishing(two.url("third-tv")) as third:
            two.session("third-tv")
            # What is packaged changes: whoever publishes to it has to come back.
            two.converge(*keep, channel(*THIRD, settings={"segment_seconds": 3}))
            third.wait(10)
        two.converge(*keep, channel(*THIRD, state="suspended"))
        two.converge(*keep, channel(*THIRD, state="deleted"))
        two.converge(*keep)
        assert "ok=1    changed=0" in two.play("playbooks/converge.yml")
        two.engine({})
        assert other.poll() is None
    assert two.pid() == pid
    left = two.sh(f"ls {INSTANCES} /etc/streamfleet/routes /etc/systemd/system")
    assert "third" not in left
    assert two.sh("getent passwd sf200003", check=False) == ""


def test_a_new_password_counts_at_once_and_interrupts_nobody(two: Flussonic) -> None:
    with watched(two, "rock-tv"):
        told = two.converge(
            channel(*FIRST, name="Näw } name", credentials={"publish_password": "rotated-secret"}), channel(*SECOND)
        )
        assert told["rock-tv"]["state"] == "running"
    two.refused(two.url("rock-tv"))
    with two.publishing(two.url("rock-tv", "rotated-secret")):
        two.session("rock-tv")


def test_a_suspended_channel_neither_publishes_nor_plays(two: Flussonic) -> None:
    with watched(two, "jazz-tv"), two.publishing(two.url("rock-tv")) as encoder:
        item = two.session("rock-tv")
        told = two.converge(channel(*FIRST, state="suspended", reason="unpaid"), channel(*SECOND))
        assert (told["rock-tv"]["state"], told["rock-tv"]["message"]) == ("suspended", "unpaid")
        encoder.wait(10)
        assert two.get("rock-tv", item)[0] == 404
        two.refused(two.url("rock-tv"))
        # Not past the web server either.
        asked = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:1939/rock-tv/index.m3u8?token=x"
        assert two.sh(asked) == "404"
    # A restart of Flussonic does not bring it back, and brings back the others, with no panel to be asked.
    two.sh("systemctl restart flussonic.service")
    two.refused(two.url("rock-tv"))
    with two.publishing(two.url("jazz-tv")):
        two.session("jazz-tv")
    two.converge(channel(*FIRST), channel(*SECOND))
    with two.publishing(two.url("rock-tv")):
        two.session("rock-tv")


def test_a_channel_that_cannot_be_is_told_and_the_others_are_left_alone(two: Flussonic) -> None:
    with watched(two, "jazz-tv"):
        told = two.converge(
            channel(*FIRST, settings={"renditions": [{"height": 1, "video_kbps": 1000}]}),
            channel(*SECOND),
            channel(*THIRD, credentials={"publish_password": "a b"}),
            ok=False,
        )
    assert {slug: item["state"] for slug, item in told.items()} == {
        "rock-tv": "failed",
        "jazz-tv": "running",
        "third-tv": "failed",
    }
    assert "renditions[0].height: is not a whole number" in told["rock-tv"]["message"].replace(": 1 ", ": ")
    assert "a b" not in told["third-tv"]["message"]


def test_tenants_reach_neither_flussonics_files_nor_its_ports(two: Flussonic) -> None:
    for port in (1939, 1940):
        assert two.tenant(200001, "127.0.0.1", port) != "open"
    for path in (f"{INSTANCES}/jazz-tv/stream.json", "/etc/streamfleet/flussonic/api-password"):
        assert "Permission denied" in two.sh(f"runuser -u sf200001 -- cat {path} 2>&1", check=False)
    assert "ok=1    changed=0" in two.play("playbooks/converge.yml")


def test_self_check_is_content_and_then_names_the_cause(two: Flussonic) -> None:
    arguments = ["-e", json.dumps({"entry": "self_check", "roles_in_order": ["flussonic"]})]
    assert two.changed(two.play(two.folder / "tasks.yml", *arguments)) == 0
    two.sh("systemctl stop streamfleet-flussonic-gate.service")
    output = two.play(two.folder / "tasks.yml", *arguments, ok=False)
    assert "streamfleet-flussonic-gate.service does not answer" in output
    # A licence that has run out: Flussonic starts, and serves nothing.
    two.sh("cp -a /etc/flussonic/license.txt /root; echo x >/etc/flussonic/license.txt; systemctl restart flussonic")
    output = " ".join(two.play(two.folder / "tasks.yml", *arguments, ok=False).split())
    assert "Likely cause: the licence key has run out" in output
    assert "license_failure" in output
    two.sh("mv /root/license.txt /etc/flussonic/; systemctl stop flussonic")
    assert two.get("rock-tv")[0] == 503
    assert "flussonic.service is not running" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.engine({})
    # Channels that could not be while the licence had run out are back by themselves.
    units = "systemctl is-active streamfleet-flussonic@rock-tv.service streamfleet-flussonic@jazz-tv.service"
    deadline = time.monotonic() + 20
    while two.sh(f"{units}; true").split() != ["active", "active"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    two.play(two.folder / "tasks.yml", *arguments)


# Upgrade and end


def test_an_upgrade_waits_for_the_encoders(two: Flussonic) -> None:
    newer = two.folder / "newer.deb"
    variables = {"streamfleet_flussonic_packages": [{"source": str(newer), "checksum": pack(newer, "24.10")}]}
    pid = two.pid()
    with watched(two, "rock-tv"):
        predicted = changes(two.engine(variables, "--check"))
        output = two.engine(variables)
        assert changes(output) == predicted != set()
        assert "encoders are connected, so it goes on as it is" in " ".join(output.split())
        assert two.pid() == pid
    assert two.sh("dpkg-query -W -f '${Version}' flussonic") == "24.10"
    made = {name for name, _host in changes(two.engine(variables))}
    assert made == {"flussonic : Have Flussonic and its gate run, now and at boot"}
    assert two.pid() != pid
    assert changes(two.engine(variables)) == set()
    with two.publishing(two.url("rock-tv")):
        two.session("rock-tv")


def test_after_a_reboot_all_is_back_by_itself(two: Flussonic) -> None:
    two.fleet.reboot(NODE)
    end = time.monotonic() + 60
    while two.sh("systemctl is-active streamfleet-flussonic@rock-tv.service", check=False) != "active":
        assert time.monotonic() < end, two.sh("systemctl --failed --no-pager", check=False)
        time.sleep(0.5)
    with two.publishing(two.url("rock-tv")):
        two.session("rock-tv")


def test_uninstalling_leaves_nothing_behind(two: Flussonic) -> None:
    options = {
        "entry": "uninstall",
        "roles_in_order": ["web", "flussonic", "certificates", "common"],
        "streamfleet_common_uninstall_data": True,
    }
    arguments = ["-e", json.dumps(options)]
    assert two.changed(two.play(two.folder / "tasks.yml", *arguments)) > 0
    left = two.sh(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /var/log/journal -o -path /var/cache \\) -prune"
        " -o \\( -iname '*streamfleet*' -o -iname '*flussonic*' \\) -print",
    )
    assert left == ""
    assert two.sh("getent passwd | grep -E '^(sf2|streamfleet)'", check=False) == ""
    assert two.sh("systemctl list-units --all --no-legend '*streamfleet*' '*flussonic*'", check=False) == ""
    assert two.changed(two.play(two.folder / "tasks.yml", *arguments)) == 0
