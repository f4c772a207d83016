"""A customer's own name on an installed platform: claimed, proved by DNS, and heard and watched under it.

The panel's jobs unit asks DNS out of its sandbox, by the host's own resolv.conf. The name server is a double; panel,
worker, web server and engines are the real ones.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from streamfleet.errors import Error
from streamfleet.http import Client

from demo import media
from demo.show import credentials
from demo.stage import ROOT, Stage
from tests.live.hls import check_playlist
from tests.live.streams import Listener, Source, on_air
from tests.live.test_platform import apply, published, running, settled, station, tenant, web_reloads

__all__ = ["tenant"]

pytestmark = pytest.mark.live

UNIT, PROGRAM, RECORDS = "test-name-server", "/run/test-name-server.py", "/run/test-name-server.json"
Records = dict[str, dict[str, list[str]]]


class Names:
    """The node's only name server, and what it knows."""

    def __init__(self, platform: Stage) -> None:
        self._platform = platform

    def know(self, records: Records) -> None:
        """Have it know these, and nothing else. It looks ten times a second."""
        self._platform.on_node(["sh", "-c", f"cat >{RECORDS}.new && mv {RECORDS}.new {RECORDS}"], json.dumps(records))
        time.sleep(0.3)

    def start(self) -> None:
        """Begin to answer."""
        command = ["systemd-run", "-q", f"--unit={UNIT}", "/opt/streamfleet/venv/bin/python", PROGRAM, "53", RECORDS]
        self._platform.on_node(command)

    def stop(self) -> None:
        """Answer no more."""
        self._platform.on_node(["sh", "-c", f"systemctl stop {UNIT}.service; systemctl reset-failed {UNIT}.service; :"])


@pytest.fixture
def names(platform: Stage) -> Iterator[Names]:
    """The name server, which knows nothing yet; afterwards the node asks whom it asked before."""
    platform.on_node(["sh", "-c", f"cat >{PROGRAM}"], (ROOT / "tests/doubles/name_server.py").read_text())
    names = Names(platform)
    names.know({})
    names.start()
    # In its place: it is mounted there.
    platform.on_node(
        ["sh", "-c", "cp /etc/resolv.conf /run/resolv.before; echo nameserver 127.0.0.1 >/etc/resolv.conf"]
    )
    try:
        yield names
    finally:
        platform.on_node(["sh", "-c", "cat /run/resolv.before >/etc/resolv.conf"])
        names.stop()


def customers(platform: Stage, username: str) -> Client:
    """The API as the customer has it."""
    token = platform.api().request("POST", "/tokens", {"name": "domains", "account": username}).data["token"]
    known = platform.variables()
    return Client(known["STREAMFLEET_URL"], token, known["STREAMFLEET_CA"])


def until(read: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 30) -> Any:
    """What is read as soon as it is as wanted."""
    deadline = time.monotonic() + seconds
    while not wanted(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


def fetch(platform: Stage, url: str) -> tuple[int, str]:
    """Status (0: closed without an answer) and body; the certificate is none of this test's business."""
    host = url.split("/")[2]
    to = [word for port in (80, 443) for word in ("--resolve", f"{host}:{port}:{platform.address}")]
    done = subprocess.run(
        ["curl", "-sk", "-m", "5", *to, "-w", "\n%{http_code}", url],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=30,
    )  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def asked(own: Client, slug: str, name: str) -> bool:
    """Ask for a look at the name; whether it is to come. Somebody may ask once a minute."""
    try:
        return own.request("POST", f"/media-services/{slug}/domains/{name}/check").status == 202
    except Error as error:
        if "try again in a minute" not in str(error):
            raise
        time.sleep(1)
        return False


def claim(own: Client, slug: str, name: str) -> tuple[Callable[[], dict[str, Any]], Records]:
    """Add the name as the customer does, and wait until nothing was found; how to read it, and the record it wants."""
    made = own.request("PUT", f"/media-services/{slug}/domains/{name}", {}).data["object"]

    def read() -> dict[str, Any]:
        found: dict[str, Any] = own.request("GET", f"/media-services/{slug}/domains/{name}").data
        return found

    seen = until(read, lambda found: found["checked_at"] is not None)
    assert (seen["status"], seen["message"].partition(" at ")[0]) == ("pending", "There is no record")
    txt = made["proof"]["txt"]
    return read, {txt["name"]: {"TXT": [txt["value"]]}}


def test_a_customer_proves_a_name_and_is_heard_under_it(platform: Stage, tenant: str, names: Names) -> None:
    slug, name = f"{tenant}-fm", f"radio.{tenant}.example"
    apply(platform, {"media_services": [station(tenant, slug)]})
    running(platform, slug)
    own = customers(platform, tenant)
    reloads = web_reloads(platform)
    read, record = claim(own, slug, name)
    assert fetch(platform, f"http://{name}/")[0] == 404
    names.know(record)
    assert asked(own, slug, name)
    until(read, lambda found: found["status"] == "verified")
    settled(platform, 30)
    with on_air(Source(*published(platform, slug)[:2], "/stream", published(platform, slug)[2])):
        listener = Listener(platform.address, 80, name, "/")
        listener.start()
        assert listener.playing.wait(15), listener.heard
        time.sleep(1)
        heard = listener.stop()
    assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
    assert f"https://{name}/stream" in own.request("GET", f"/media-services/{slug}").data["listen_urls"]
    assert web_reloads(platform) == reloads


@pytest.mark.full
def test_a_name_is_watched_stays_while_dns_fails_and_goes_when_it_is_deleted(
    platform: Stage, tenant: str, names: Names
) -> None:
    slug, other, name = f"{tenant}-tv", f"{tenant}-fm", f"tv.{tenant}.example"
    channel = {"slug": slug, "name": slug, "customer": tenant, "engine": "nginx_rtmp"}
    apply(platform, {"media_services": [channel, station(tenant, other)]})
    running(platform, slug, other)
    own = customers(platform, tenant)
    read, record = claim(own, slug, name)
    names.know(record)
    assert asked(own, slug, name)
    until(read, lambda found: found["status"] == "verified")
    settled(platform, 30)
    key = credentials(platform.api(), slug)["stream_key"]
    command = media.video_publisher(f"rtmp://{platform.address}/live/{key}", 60)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as encoder:
        try:
            found = until(
                lambda: fetch(platform, f"https://{name}/index.m3u8"),
                lambda found: found[0] == 200 and found[1].count("EXTINF") > 1,
                45,
            )
            assert check_playlist(found[1]).segments
            assert fetch(platform, f"https://{name}/listen/{other}")[0] == 404, "it leads to its service alone"
        finally:
            encoder.kill()
    # Name servers that do not answer prove nothing.
    names.stop()
    before = read()["checked_at"]
    until(lambda: asked(own, slug, name), bool, 75)
    seen = until(read, lambda found: found["checked_at"] != before, 40)
    assert (seen["status"], "did not answer" in seen["message"]) == ("verified", True)
    own.request("DELETE", f"/media-services/{slug}/domains/{name}")
    settled(platform, 30)
    assert fetch(platform, f"https://{name}/index.m3u8")[0] == 404
