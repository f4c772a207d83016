"""The RTMP server on a real node: who may publish, what viewers get, and who is left alone when others go.

Tests roles: nginx_rtmp.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import secrets
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.media import video_publisher
from tests.live.edge import HLS, PANEL, RTMPS, STREAM, Edge
from tests.live.hls import check_playlist, check_successor, decode
from tests.live.test_check_mode import changes
from tests.live.tls_scan import Server, scan_tls

pytestmark = pytest.mark.live

#: The task that starts, and restarts, the RTMP server.
RUN = "nginx_rtmp : Have memory for the segments and the RTMP server, now and at boot"


@pytest.fixture
def channel(edge: Edge) -> Iterator[tuple[str, str]]:
    """Slug and key of a channel of this test's own."""
    slug, key = f"tv-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    edge.grant(key, slug)
    yield slug, key
    edge.run(f"grep -l '\"{slug}\"' /etc/streamfleet/publish-keys/*.json | xargs -r rm")


def refused(edge: Edge, url: str, seconds: int = 4) -> bool:
    """Whether an encoder that would send for ``seconds`` seconds is turned away."""
    start = time.monotonic()
    done = subprocess.run(
        video_publisher(url, seconds), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode != 0 and time.monotonic() - start < seconds


def events(edge: Edge, slug: str) -> list[str]:
    """What the RTMP server wrote down about a channel."""
    log = edge.run("journalctl -o cat -t streamfleet_rtmp")
    return [line["event"] for line in map(json.loads, log.splitlines()) if line["slug"] == slug]


@contextlib.contextmanager
def watched(edge: Edge, slug: str) -> Iterator[list[str]]:
    """Every playlist that a viewer of the channel sees, one after another."""
    seen: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            with contextlib.suppress(OSError):
                text = edge.playlist(slug)
                if text and (not seen or seen[-1] != text):
                    seen.append(text)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join(15)


def processes(edge: Edge) -> str:
    """The RTMP server's processes: others after any reload or restart."""
    main = edge.run("systemctl show streamfleet-rtmp.service -p MainPID --value").strip()
    return main + edge.run(f"pgrep -P {main} | sort")


def test_a_stream_is_published_played_and_ended(edge: Edge, channel: tuple[str, str], tmp_path: Path) -> None:
    slug, key = channel
    with watched(edge, slug) as seen:
        with edge.publishing(key):
            live = edge.wait_for_playlist(slug, r"(?s)(EXTINF.*){2}", 40)
            assert "#EXT-X-ENDLIST" not in live
            time.sleep(9)
        ended = edge.wait_for_playlist(slug, "#EXT-X-ENDLIST", 10)
    assert len(seen) >= 3
    for text in seen:
        check_playlist(text)
    for before, after in itertools.pairwise(seen):
        check_successor(before, after)
    frames, seconds = decode(ended, lambda name: edge.ask(f"/hls/{slug}/{name}").body, tmp_path)
    assert frames > 200
    assert seconds > 8
    assert events(edge, slug) == ["publishing", "ended"]
    # Nothing of the key, anywhere that a viewer or a tenant could look.
    assert key not in edge.run(
        f"ls -R {HLS} /run/streamfleet-rtmp; journalctl -o cat -u streamfleet-rtmp -t streamfleet_rtmp; ps axww"
    )


def test_viewers_get_into_a_directory_that_the_module_has_made(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    edge.run(f"install -d -o streamfleet-rtmp -g www-data -m 0744 {HLS}/{slug}; touch {HLS}/{slug}/1.ts")
    with edge.publishing(key):
        deadline = time.monotonic() + 20
        # With a file that the module's cleaner does not know, it is not removed before its first segment.
        while "in-use" not in edge.run(f"ls {HLS}/{slug}").split():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        edge.wait_for_playlist(slug, "EXTINF")


@pytest.mark.full
def test_what_has_ended_is_cleaned_away(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    with edge.publishing(key):
        edge.wait_for_playlist(slug, "EXTINF")
    edge.wait_for_playlist(slug, "#EXT-X-ENDLIST", 10)
    deadline = time.monotonic() + 100
    while edge.run(f"ls {HLS}").split().count(slug):
        assert time.monotonic() < deadline, edge.run(f"ls -la {HLS}/{slug}")
        time.sleep(2)
    assert edge.playlist(slug) is None


def test_a_new_session_begins_anew(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    with edge.publishing(key):
        first = check_playlist(edge.wait_for_playlist(slug, "EXTINF"))
    edge.wait_for_playlist(slug, "#EXT-X-ENDLIST", 10)
    with edge.publishing(key) as again:
        time.sleep(1.5)
        assert edge.playlist(slug) is None, "the old list must not be taken for the new session's"
        text = edge.wait_for_playlist(slug, "EXTINF")
        assert again.poll() is None
    second = check_playlist(text)
    assert "#EXT-X-ENDLIST" not in text
    assert second.media_sequence == 0
    assert not {one.uri for one in first.segments} & {one.uri for one in second.segments}, "caches would mix the two"


@pytest.mark.parametrize(
    "key",
    ["wrong", "rock-tv", "../x", "a" * 200, "x?name=y", "%2e%2e", "x&name=y HTTP/1.1\r\nHost: x\r\n\r\nGET /", "é"],
)
def test_wrong_keys_are_refused(edge: Edge, key: str) -> None:
    assert refused(edge, f"rtmp://{edge.address}/live/{key}")
    assert edge.run(f"ls -A {HLS}/wrong {HLS}/rock-tv 2>/dev/null", check=False) == ""


@pytest.mark.full
def test_the_public_name_is_no_key_and_old_keys_end(edge: Edge, channel: tuple[str, str]) -> None:
    slug, _ = channel
    assert refused(edge, f"rtmp://{edge.address}/live/{slug}")
    old, over = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    edge.grant(over, slug, expires="2020-01-01T00:00:00Z")
    assert refused(edge, f"rtmp://{edge.address}/live/{over}")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 12))
    edge.grant(old, slug, expires=soon)
    with edge.publishing(old) as encoder:
        edge.wait_for_playlist(slug, "EXTINF", 11)
        encoder.wait(15)
    assert events(edge, slug)[-2:] == ["dropped: key revoked", "ended"]


def shown(edge: Edge, name: str | None) -> str:
    """SHA-256 of the certificate that an encoder gets by RTMPS which asks for ``name``."""
    with edge.connect(name, verify=False, port=RTMPS) as link:
        assert isinstance(link, ssl.SSLSocket)
        return hashlib.sha256(link.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.mark.full
def test_an_encoder_publishes_by_tls_while_the_certificate_is_renewed(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    before = edge.certificate(STREAM)
    listener = edge.run("systemctl show streamfleet-rtmps.service -p MainPID -p NRestarts --value")
    with watched(edge, slug) as seen, edge.publishing(key, tls=True) as encoder:
        edge.wait_for_playlist(slug, "EXTINF")
        assert shown(edge, STREAM) == before
        after = edge.certificate(STREAM)
        # At once, and for whoever verifies.
        assert shown(edge, STREAM) == after != before
        edge.connect(STREAM, port=RTMPS).close()
        # The watcher may not have come to this one when the encoder ends.
        last = edge.wait_for_playlist(slug, r"(?s)(EXTINF.*){4}", 40)
        assert encoder.poll() is None, encoder.stderr.read() if encoder.stderr else ""
    edge.wait_for_playlist(slug, "#EXT-X-ENDLIST", 10)
    for first, second in itertools.pairwise(seen):
        check_successor(first, second)
    # Not a byte lost: one session, and its segments together last as long as it did.
    assert events(edge, slug) == ["publishing", "ended"]
    named = {one.uri: one.duration for text in (*seen, last) for one in check_playlist(text).segments}
    ids = sorted(int(name.removesuffix(".ts")) for name in named)
    gaps = [(b - a) / 1000 - named[f"{a}.ts"] for a, b in itertools.pairwise(ids)]
    assert len(ids) >= 4
    assert max(map(abs, gaps)) < 0.7, gaps
    assert edge.run("systemctl show streamfleet-rtmps.service -p MainPID -p NRestarts --value") == listener
    assert key not in edge.run("journalctl -o cat -u streamfleet-rtmps -t streamfleet_rtmps")


@pytest.mark.full
def test_by_tls_names_get_their_certificates_and_wrong_keys_nothing(edge: Edge) -> None:
    tenant = "tv.tenant.test"
    own, tenants = edge.certificate(STREAM), edge.certificate(tenant)
    try:
        assert shown(edge, tenant) == tenants
        # The panel's key is none that this server may read.
        for name in (None, STREAM, PANEL, "nobody.test"):
            assert shown(edge, name) == own, name
    finally:
        edge.run(f"rm -r /etc/streamfleet/tls/{tenant}")
    since = edge.run("date +%s").strip()
    start = time.monotonic()
    done = subprocess.run(
        edge.publisher_by_tls("wrong-key-by-tls", 4),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert time.monotonic() - start < 4

    def told(tag: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in edge.run(f"journalctl -o cat -t {tag} -S @{since}").splitlines()]

    # The RTMP server knows loopback alone, which no ban is for; the listener knows the encoder.
    assert [(one["event"], one["address"]) for one in told("streamfleet_rtmp")] == [
        ("refused: no such key", "127.0.0.1")
    ]
    with socket.create_connection((edge.address, RTMPS), timeout=5) as link:
        here = link.getsockname()[0]
    assert {one["address"] for one in told("streamfleet_rtmps")} == {here}


@pytest.mark.full
def test_a_scanner_finds_no_deviation_of_rtmps_from_mozillas_intermediate_profile(edge: Edge, tmp_path: Path) -> None:
    found = scan_tls(Server(edge.address, RTMPS, STREAM), edge.ca.read_text(), "intermediate", tmp_path)
    assert found.deviations == [], found.offers
    assert {"tls_1_2", "tls_1_3"} < set(found.offers)


def test_nobody_plays_by_rtmp(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    with edge.publishing(key):
        edge.wait_for_playlist(slug, "EXTINF")
        for name in (slug, key):
            done = subprocess.run(
                ["ffprobe", "-v", "error", "-rw_timeout", "4000000", "-show_streams", f"rtmp://{edge.address}/live/{name}"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert "codec_name" not in done.stdout


def test_a_second_encoder_is_refused_and_the_first_goes_on(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    other = secrets.token_urlsafe(24)
    edge.grant(other, slug)
    with watched(edge, slug) as seen, edge.publishing(key) as first:
        edge.wait_for_playlist(slug, "EXTINF")
        for second in (key, other):
            assert refused(edge, f"rtmp://{edge.address}/live/{second}")
        time.sleep(8)
        assert first.poll() is None
    assert events(edge, slug).count("refused: already publishing") == 2
    assert len(seen) >= 3
    for before, after in itertools.pairwise(seen):
        check_successor(before, after)


@pytest.mark.full
def test_an_encoder_that_drops_is_back_at_once(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    with edge.publishing(key) as encoder:
        edge.wait_for_playlist(slug, "EXTINF")
        encoder.send_signal(signal.SIGKILL)
        encoder.wait(5)
        with edge.publishing(key) as again:
            time.sleep(2)
            assert again.poll() is None, again.stderr.read() if again.stderr else ""
            edge.wait_for_playlist(slug, r"MEDIA-SEQUENCE:0\n(?!.*ENDLIST)")


def test_an_encoder_that_hangs_gives_its_place_up(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    with edge.publishing(key) as encoder:
        edge.wait_for_playlist(slug, "EXTINF")
        encoder.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        while "ended" not in events(edge, slug):
            assert time.monotonic() - start < 25
            time.sleep(0.5)
        with edge.publishing(key) as again:
            time.sleep(3)
            assert again.poll() is None
        encoder.send_signal(signal.SIGCONT)


def test_a_revoked_key_takes_its_own_publisher_and_no_other(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    kept_slug, kept_key = f"{slug}-b", secrets.token_urlsafe(24)
    edge.grant(kept_key, kept_slug)
    main = processes(edge)
    with watched(edge, kept_slug) as seen, edge.publishing(kept_key) as kept, edge.publishing(key) as encoder:
        edge.wait_for_playlist(slug, "EXTINF")
        edge.revoke(key)
        start = time.monotonic()
        encoder.wait(10)
        assert time.monotonic() - start < 6
        edge.wait_for_playlist(slug, "#EXT-X-ENDLIST", 5)
        assert refused(edge, f"rtmp://{edge.address}/live/{key}")
        edge.grant(key, slug)
        with edge.publishing(key) as back:
            time.sleep(13)
            assert back.poll() is None, "unsuspended, it is back at once"
        assert kept.poll() is None
    assert events(edge, kept_slug)[0] == "publishing"
    assert "refused" not in " ".join(events(edge, kept_slug))
    # Not a byte lost: every segment follows the one before, and together they last as long as the encoder sent.
    for before, after in itertools.pairwise(seen):
        check_successor(before, after)
    named = {one.uri: one.duration for text in seen for one in check_playlist(text).segments}
    ids = sorted(int(name.removesuffix(".ts")) for name in named)
    gaps = [(b - a) / 1000 - named[f"{a}.ts"] for a, b in itertools.pairwise(ids)]
    assert len(ids) >= 4
    assert max(map(abs, gaps)) < 0.7, gaps
    now = processes(edge)
    assert now == main


@pytest.mark.full
def test_limits_of_bitrate_and_space_hold(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    edge.grant(key, slug, kbps=50)
    with edge.publishing(key) as encoder:
        encoder.wait(40)
    assert events(edge, slug)[-2:] == ["dropped: above the bitrate limit", "ended"]
    # For whoever tells the channel's owner.
    note = json.loads(edge.run(f"cat /run/streamfleet-rtmp/dropped-{slug}"))
    assert note["limit_kbps"] == 50
    assert note["kbps"] > 55
    assert abs(note["at"] / 1000 - time.time()) < 120


def test_the_packaging_hop_and_the_callbacks_are_closed(edge: Edge, channel: tuple[str, str]) -> None:
    slug, _ = channel
    edge.run("id hostile >/dev/null 2>&1 || useradd --system hostile")
    as_hostile = "runuser -u hostile -- "
    secret = edge.run("cat /etc/streamfleet/rtmp/secret").strip()
    assert len(secret) == 48
    for path in (
        "/etc/streamfleet/rtmp/nginx.conf",
        "/etc/streamfleet/rtmp/secret",
        "/etc/streamfleet/publish-keys",
        "/run/streamfleet-rtmp",
        HLS,
    ):
        assert "denied" in edge.run(f"{as_hostile} cat {path} 2>&1; {as_hostile} ls {path} 2>&1", check=False), path
    assert secret not in edge.run(f"{as_hostile} ps axww")
    script = f"""
import socket, struct, sys
def amf(*values):
    out = b""
    for value in values:
        if isinstance(value, str): out += b"\\x02" + struct.pack(">H", len(value)) + value.encode()
        elif value is None: out += b"\\x05"
        elif isinstance(value, dict):
            pairs = (struct.pack(">H", len(k)) + k.encode() + amf(v) for k, v in value.items())
            out += b"\\x03" + b"".join(pairs) + b"\\0\\0\\x09"
        else: out += b"\\0" + struct.pack(">d", value)
    return out
def message(body, stream=0):
    first, rest = body[:128], body[128:]
    out = b"\\x03\\0\\0\\0" + struct.pack(">I", len(body))[1:] + b"\\x14" + struct.pack("<I", stream) + first
    while rest:
        out, rest = out + b"\\xc3" + rest[:128], rest[128:]
    return out
link = socket.create_connection(("127.0.0.1", 1942), timeout=5)
link.sendall(b"\\x03" + bytes(1536)); got = b""
while len(got) < 3073: got += link.recv(4096)
link.sendall(got[1:1537])
app = sys.argv[1]
link.sendall(message(amf("connect", 1.0, {{"app": app, "tcUrl": "rtmp://127.0.0.1/" + app}})))
link.sendall(message(amf("createStream", 2.0, None)) + message(amf("publish", 3.0, None, {slug!r}, "live"), 1))
answer = b""
try:
    while True:
        piece = link.recv(4096)
        if not piece: break
        answer += piece
        if b"NetStream.Publish.Start" in answer: break
except OSError: pass
print("STARTED" if b"NetStream.Publish.Start" in answer else "REFUSED")
"""
    edge.run("cat >/run/hostile.py && chmod 644 /run/hostile.py", stdin=script)
    for app in ("live", "hls", "packaging", "", secret[:-1], secret + "x"):
        assert edge.run(f"{as_hostile} python3 /run/hostile.py '{app}'", check=False).strip() == "REFUSED", app
    # Even with the secret: only under the name of somebody who publishes, so no key can become a path.
    assert edge.run(f"python3 /run/hostile.py '{secret}'").strip() == "REFUSED"
    # The double does what a publisher does: with both it is let in, so the refusals above mean something.
    lease = f"/run/streamfleet-rtmp/live/{slug}"
    edge.run(f"echo '{{}}' >{lease} && chown streamfleet-rtmp {lease}")
    assert edge.run(f"python3 /run/hostile.py '{secret}'").strip() == "STARTED"
    edge.run(f"rm {lease}")
    for path in ("/", "/publish?name=x", f"/{secret[:-1]}/ended?name={slug}"):
        code = edge.run(f"{as_hostile} curl -s -o /dev/null -w '%{{http_code}}' 'http://127.0.0.1:1937{path}'")
        assert code == "404"
    edge.run("rm -f /run/hostile.py; userdel hostile")


def test_a_client_cannot_write_a_callback_of_its_own(edge: Edge, channel: tuple[str, str]) -> None:
    """The module appends a client's arguments as they are: a second request behind them reaches nothing."""
    slug, key = channel
    with edge.publishing(key) as encoder:
        edge.wait_for_playlist(slug, "EXTINF")
        smuggled = f"x? HTTP/1.1\r\nHost: a\r\n\r\nGET /ended?name={slug} HTTP/1.0\r\n\r\n"
        assert refused(edge, f"rtmp://{edge.address}/live/{smuggled}")
        time.sleep(2)
        assert "#EXT-X-ENDLIST" not in (edge.playlist(slug) or "")
        assert encoder.poll() is None


def test_the_unit_is_confined_and_comes_back(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    exposure = edge.run("systemd-analyze security --no-pager streamfleet-rtmp.service | tail -1", check=False)
    found = re.search(r"(\d+\.\d+)", exposure)
    assert found, exposure
    assert float(found[1]) <= 3.0, exposure
    assert edge.run("findmnt -no FSTYPE /run/streamfleet/hls").strip() == "tmpfs"
    with edge.publishing(key):
        edge.wait_for_playlist(slug, "EXTINF")
        edge.run("systemctl kill -s KILL --kill-who=all streamfleet-rtmp.service")
    deadline = time.monotonic() + 15
    while edge.run("systemctl is-active streamfleet-rtmp.service", check=False).strip() != "active":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    with edge.publishing(key) as again:
        edge.wait_for_playlist(slug, "EXTINF", 20)
        assert again.poll() is None


@pytest.mark.full
def test_a_change_of_the_host_waits_for_encoders(edge: Edge, channel: tuple[str, str]) -> None:
    slug, key = channel
    smaller = ("-e", "streamfleet_nginx_rtmp_hls_max_mib_per_service=1")
    with edge.publishing(key) as encoder:
        edge.wait_for_playlist(slug, "EXTINF")
        log = edge.playbook(["nginx_rtmp"], *smaller)
        assert "encoders are publishing" in log.replace("\n", " ")
        assert RUN not in {name for name, _ in changes(log)}
        assert encoder.poll() is None
        with pytest.raises(AssertionError, match="restart is due"):
            edge.playbook(["nginx_rtmp"], tasks_from="self_check")
    time.sleep(1)
    log = edge.playbook(["nginx_rtmp"], *smaller)
    assert {name for name, _ in changes(log)} == {RUN}
    # The limit holds now: 400 kbit/s fill it in about 20 s.
    with edge.publishing(key) as encoder:
        encoder.wait(60)
    assert events(edge, slug)[-2:] == ["dropped: segments take more space than a service may", "ended"]
    edge.playbook(["nginx_rtmp"])
    edge.playbook(["nginx_rtmp"], tasks_from="self_check")


@pytest.mark.full
def test_an_idle_connection_holds_no_place(edge: Edge) -> None:
    with socket.create_connection((edge.address, 1935), timeout=5) as link:
        link.settimeout(45)
        assert link.recv(1) == b"", "who does not shake hands is disconnected"
