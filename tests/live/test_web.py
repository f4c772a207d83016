"""The web server on a real node: what listeners and browsers get, whatever an engine says, and without one reload.

Tests roles: web.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.doubles import ENGINE, PANEL
from tests.live.edge import HLS, STREAM, Edge
from tests.live.edge import PANEL as PANEL_HOST
from tests.live.streams import Listener
from tests.live.test_check_mode import changes
from tests.live.tls_scan import Server, scan_tls

pytestmark = pytest.mark.live

#: The task that starts, reloads and restarts the web server.
RUN = "web : Have the web server run, with what is configured, now and at boot"

PORT = 18100


@pytest.fixture(scope="module")
def web(edge: Edge) -> Iterator[Edge]:
    """The node with doubles of an engine and of the panel behind its web server."""
    for name, source, argument in (
        ("engine", ENGINE, str(PORT)),
        ("panel", PANEL, "/run/streamfleet-panel/panel.sock"),
    ):
        edge.run(f"cat >/run/double-{name}.py", stdin=source)
        edge.run(f"systemd-run --quiet --unit double-{name} python3 /run/double-{name}.py {argument}")
    edge.route("double", PORT, ["/stream", "/html", "/full", "/login", "/moved"])
    deadline = time.monotonic() + 10
    while "200" not in edge.run(
        f"curl -s -m 1 -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{PORT}/stream", check=False
    ):
        assert time.monotonic() < deadline
    yield edge
    edge.run("systemctl stop double-engine double-panel; rm -rf /run/streamfleet-panel /run/double-*", check=False)


def asked(edge: Edge) -> str:
    """The head of the last request that the engine got, and forget all."""
    return edge.run("cat /run/double-engine.log; : >/run/double-engine.log")


def workers(edge: Edge) -> str:
    """The web server's processes: others after any reload or restart."""
    return edge.run("pgrep -P $(systemctl show nginx.service -p MainPID --value) | sort")


# The role itself


@pytest.mark.full
def test_check_mode_predicts_the_first_run(edge: Edge) -> None:
    predicted, made = changes(edge.logs["check"]), changes(edge.logs["first"])
    assert len(made) >= 6
    assert predicted == made, f"predicted only: {sorted(predicted - made)}; made only: {sorted(made - predicted)}"


@pytest.mark.full
def test_a_second_run_changes_nothing(edge: Edge) -> None:
    before = workers(edge)
    assert changes(edge.logs["second"]) == set()
    assert changes(edge.playbook(["web", "nginx_rtmp"], "--check")) == set()
    assert workers(edge) == before


def test_a_broken_configuration_never_lands(edge: Edge) -> None:
    before = edge.run("cat /etc/nginx/conf.d/streamfleet.conf; ls -A /etc/nginx")
    with pytest.raises(AssertionError, match=r"streamfleet.conf would not be valid, so it was left as it was"):
        edge.playbook(
            ["web"],
            "-e",
            json.dumps(
                {"streamfleet_web_hls_segment_max_age": 3601, "streamfleet_web_panel_socket": "/run/" + "x" * 200}
            ),
        )
    assert edge.run("cat /etc/nginx/conf.d/streamfleet.conf; ls -A /etc/nginx") == before


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"streamfleet_web_panel_host": STREAM}, "login"),
        ({"streamfleet_web_stream_host": "a;b"}, "a;b is not a host name"),
        ({"streamfleet_web_panel_alt_names": ["x{}"]}, "streamfleet_web_panel_alt_names"),
        ({"streamfleet_web_worker_shutdown_timeout": "1h; include /x"}, "streamfleet_web_worker_shutdown_timeout"),
        ({"streamfleet_web_stream_host": "", "streamfleet_web_panel_host": ""}, "both empty"),
        ({"streamfleet_web_snippets": [{"name": "../x", "place": "http", "content": ""}]}, r"\.\./x is no name"),
        ({"streamfleet_web_snippets": [{"name": "x", "place": "http", "content": ""}] * 2}, "two have the same name"),
    ],
)
def test_bad_input_is_named(edge: Edge, variables: dict[str, object], named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        edge.playbook(["web"], "--check", "-e", json.dumps(variables))


def test_self_check_passes_and_names_causes(web: Edge) -> None:
    web.playbook(["web", "nginx_rtmp"], tasks_from="self_check")
    folder = f"/etc/streamfleet/tls/{STREAM}"
    web.run(f"chmod 600 {folder}/privkey.pem; chgrp root {folder}/privkey.pem; systemctl stop double-panel")
    try:
        with pytest.raises(AssertionError, match="no TLS handshake") as failed:
            web.playbook(["web"], tasks_from="self_check")
        assert "journalctl -u streamfleet-panel.service" in str(failed.value)
    finally:
        web.run(f"chgrp www-data {folder}/privkey.pem; chmod 640 {folder}/privkey.pem")
        web.run(
            "systemd-run --quiet --unit double-panel python3 /run/double-panel.py /run/streamfleet-panel/panel.sock"
        )
        time.sleep(1)


# Streams


def test_a_listener_gets_the_stream_and_its_metadata(web: Edge) -> None:
    for path in ("/listen/double/stream", "/listen/double", "/listen/double/"):
        answer = web.ask(path, headers={"Icy-MetaData": "1"}, body_limit=50_000)
        assert answer.status == 200, path
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.headers["icy-name"] == "Double"
        assert answer.headers["icy-metaint"] == "16000"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "transfer-encoding" not in answer.headers, "hardware radios know no chunks"
        assert b"0000001\n" in answer.body


def test_what_an_engine_says_of_itself_is_not_believed(web: Edge) -> None:
    answer = web.ask("/listen/double/html", body_limit=2000)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "\n" not in answer.headers["content-security-policy"], "the engine's own policy must not stand beside ours"
    assert answer.headers["access-control-allow-origin"] == "*"
    for name in ("set-cookie", "refresh", "link", "service-worker-allowed", "location"):
        assert name not in answer.headers


def test_the_engine_gets_no_cookie_and_the_true_address(web: Edge) -> None:
    asked(web)
    headers = {
        "Cookie": "sessionid=secret", "X-Forwarded-For": "8.8.8.8", "Authorization": "Basic bGlzdGVuZXI6cHc=",
        "Range": "bytes=0-1", "Forwarded": "for=8.8.8.8", "X-Admin": "1",
    }  # fmt: skip
    assert web.ask("/listen/double/stream?a=b", headers=headers, body_limit=2000).status == 200
    seen = asked(web)
    assert "GET /stream HTTP/1.0" in seen
    assert "Basic bGlzdGVuZXI6cHc=" in seen
    for absent in ("secret", "8.8.8.8", "bytes=0-1", "X-Admin"):
        assert absent not in seen
    own = web.run("ip -4 route show default | awk '{print $3}'").strip()
    assert f"X-Forwarded-For: {own}" in seen


def test_an_engine_is_asked_with_what_its_route_says_and_nothing_of_the_listener(web: Edge) -> None:
    route = {"port": PORT, "mounts": ["/stream"], "default": "/stream"}
    for query in ("_ic2=1", "a=b c", "a=b&c=d", "a=b HTTP/1.0", "a", "", None, 1, ["_ic2=1"]):
        web.write("/etc/streamfleet/routes/asks.json", json.dumps({**route, "query": query}), "www-data")
        asked(web)
        answer = web.ask("/listen/asks?x=y", body_limit=2000)
        seen = asked(web)
        if query == "_ic2=1":
            assert "GET /stream?_ic2=1 HTTP/1.0" in seen
        else:
            assert (answer.status, seen) == (404, ""), query


def test_errors_of_an_engine_are_told_in_our_words(web: Edge) -> None:
    full = web.ask("/listen/double/full")
    assert (full.status, full.headers["content-type"]) == (403, "text/plain")
    assert b"Too many" not in full.body
    login = web.ask("/listen/double/login")
    assert login.status == 401
    assert login.headers["www-authenticate"].startswith("Basic ")
    assert web.ask("/listen/double/login", headers={"Authorization": "Basic YTpi"}, body_limit=2000).status == 200
    moved = web.ask("/listen/double/moved")
    assert moved.status == 404
    assert "location" not in moved.headers
    web.route("nobody", PORT + 1, ["/stream"])
    assert web.ask("/listen/nobody/stream").status == 503


def test_a_name_of_a_tenants_own_leads_to_its_service_alone(web: Edge) -> None:
    before = workers(web)
    listener = Listener(web.address, 443, STREAM, "/listen/double/stream", str(web.ca))
    listener.start()
    assert listener.playing.wait(10)
    radio, tv, off = "radio.tenant.test", "tv.tenant.test", "off.tenant.test"
    web.route("neighbour", PORT, ["/stream", "/html"])
    web.run(
        f"mkdir -p {HLS}/own {HLS}/neighbour && echo '#EXTM3U' | tee {HLS}/own/index.m3u8 {HLS}/neighbour/index.m3u8"
    )
    web.run(f"echo x >{HLS}/own/1.ts; chmod -R a+rX {HLS}/own {HLS}/neighbour")
    own = web.certificate(radio)
    for name, slug, way in ((radio, "double", "listen"), (tv, "own", "hls"), (off, "never-on-the-air", "listen")):
        web.domain(name, slug, way)
    # As whoever has a name of one service could try to reach another's, and what a name's own file may not say.
    web.domain(STREAM, "neighbour", "listen")
    web.domain(PANEL_HOST, "neighbour", "listen")
    assert shown(web, radio) == own
    for host in (radio, "Radio.Tenant.TEST", f"{radio}:443", f"{radio}."):
        heard = web.ask("/", host, verify=False, body_limit=2000)
        assert (heard.status, heard.headers["icy-name"]) == (200, "Double"), host
        assert heard.headers["access-control-allow-origin"] == "*"
    for path in ("/stream", "/listen/double", "/listen/double/stream"):
        for tls in (True, False):
            assert web.ask(path, radio, tls=tls, body_limit=2000).headers["content-type"] == "audio/mpeg", path
    assert web.ask("/full", radio).status == 403
    for path in ("/index.m3u8", "/hls/own/index.m3u8"):
        assert web.ask(path, tv, verify=False).headers["content-type"] == "application/vnd.apple.mpegurl", path
        moved = web.ask(f"{path}?a=b", tv, tls=False)
        assert (moved.status, moved.headers["location"]) == (308, f"https://{tv}{path}?a=b")
    assert web.ask("/1.ts", tv, verify=False).body == b"x\n"
    asked(web)
    for host, path in (
        (radio, "/listen/neighbour/stream"), (radio, "/listen/neighbour"), (radio, "/hls/own/index.m3u8"),
        (radio, "/x"), (radio, "/stream/x"), (radio, "/index.m3u8"), (tv, "/hls/neighbour/index.m3u8"),
        (tv, "/listen/double"), (tv, "/"), (tv, "/neighbour/index.m3u8"), (tv, "/hls/own/../neighbour/index.m3u8"),
        (off, "/"), (off, "/listen/double/stream"),
    ):  # fmt: skip
        assert web.ask(path, host, verify=False).status == 404, (host, path)
    assert asked(web) == "", "the engine was asked"
    assert web.ask("/", STREAM).status == 404, "a name of the installation's own is nobody else's"
    assert web.ask("/x", PANEL_HOST).status == 200
    for method in ("POST", "SOURCE"):
        assert web.ask("/stream", radio, method=method).status == 405
    web.write("/etc/streamfleet/domains/broken.tenant.test.json", "{", "www-data")
    assert web.ask("/", "broken.tenant.test", verify=False).status == 404
    web.run(f"rm /etc/streamfleet/domains/{radio}.json")
    assert web.ask("/stream", radio).status == 404
    lines = [json.loads(line) for line in web.run("cat /var/log/nginx/streamfleet-streams.log").splitlines()]
    assert {(line["slug"], line["item"]) for line in lines if line["host"] == radio and line["status"] == 200} == {
        ("double", ""), ("double", "/stream"),
    }  # fmt: skip
    heard_all = listener.stop()
    assert (heard_all.disconnects, heard_all.lost_lines) == (0, 0)
    assert workers(web) == before, "the web server was reloaded"


@pytest.mark.parametrize(
    "path",
    [
        "/listen/double/admin.cgi", "/listen/double/status-json.xsl", "/listen/double/admin/stats",
        "/listen/double/../x",
        "/listen/../double/stream", "/listen/..%2f..%2fetc%2fpasswd/stream", "/listen/%2e%2e/stream", "/listen//stream",
        "/listen/double%00/stream", "/listen/DOUBLE/stream", "/listen/double/%2e%2e", "/listen/double/stream/../admin",
        "/listen/", "/listen/-x/stream", "/listen/" + "a" * 64 + "/stream", "/listen/double/stream%0d%0aX: y",
        "/listen/broken/stream", "/listen/far/stream", "/hls/../../etc/passwd", "/hls/%2e%2e/index.m3u8",
        "/hls/double/..%2f..%2f..%2fetc%2fpasswd", "/hls/double/~end.m3u8", "/hls/double/index.m3u8.bak",
        "/hls/double/",
        "/hls/link/index.m3u8", "/", "/index.html", "/login/", "/api/v1/health", "/admin/", "/status", "/nginx_status",
        "/.well-known/acme-challenge/x",
    ],
)  # fmt: skip
def test_everything_else_is_not_there(web: Edge, path: str) -> None:
    web.write("/etc/streamfleet/routes/broken.json", "{", "www-data")
    web.write(
        "/etc/streamfleet/routes/far.json",
        '{"port": "80@evil", "mounts": ["/stream"], "default": "/stream"}',
        "www-data",
    )
    web.run(f"mkdir -p {HLS}/link && ln -sf /etc/passwd {HLS}/link/index.m3u8")
    asked(web)
    answer = web.ask(path)
    assert answer.status in (400, 403, 404), answer
    assert b"root:" not in answer.body
    assert "set-cookie" not in answer.headers
    assert asked(web) == "", "the engine was asked"


def test_only_reading_is_allowed(web: Edge) -> None:
    for method in ("POST", "PUT", "DELETE", "SOURCE", "PATCH"):
        assert web.ask("/listen/double/stream", method=method).status == 405, method
    head = web.ask("/listen/double/stream", method="HEAD", seconds=5)
    assert (head.status, head.body) == (200, b"")
    options = web.ask("/listen/double/stream", method="OPTIONS", headers={"Origin": "https://x.example"})
    assert options.status == 204
    assert "GET" in options.headers["access-control-allow-methods"]


def test_segments_and_playlists_have_their_headers(web: Edge) -> None:
    web.run(f"mkdir -p {HLS}/head && cd {HLS}/head && echo '#EXTM3U' >index.m3u8 && echo x >1.ts && chmod -R a+rX .")
    playlist = web.ask("/hls/head/index.m3u8")
    assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert playlist.headers["cache-control"] == "public, max-age=1"
    segment = web.ask("/hls/head/1.ts", headers={"Range": "bytes=0-0"})
    assert (segment.status, segment.body) == (206, b"x")
    assert segment.headers["content-type"] == "video/mp2t"
    assert "immutable" in segment.headers["cache-control"]
    missing = web.ask("/hls/head/2.ts")
    assert missing.status == 404
    assert missing.headers["cache-control"] == "no-store", "a cached 404 keeps a stream dark"
    for answer in (playlist, segment, missing):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers


def test_plain_http_keeps_audio_and_moves_the_rest(web: Edge) -> None:
    assert web.ask("/listen/double/stream", tls=False, body_limit=2000).status == 200
    moved = web.ask("/hls/double/index.m3u8?x=1", tls=False)
    assert (moved.status, moved.headers["location"]) == (308, f"https://{STREAM}/hls/double/index.m3u8?x=1")
    panel = web.ask("/a?b=c", PANEL_HOST, tls=False)
    assert (panel.status, panel.headers["location"]) == (308, f"https://{PANEL_HOST}/a?b=c")
    challenges = "/var/lib/streamfleet/acme/.well-known/acme-challenge"
    web.run(f"mkdir -p {challenges} && echo ok >{challenges}/token")
    for host in (STREAM, PANEL_HOST, "radio.customer.test"):
        assert web.ask("/.well-known/acme-challenge/token", host, tls=False).body == b"ok\n"
    web.run("rm -r /var/lib/streamfleet/acme/.well-known")


# The panel


def test_the_panel_sees_who_asks(web: Edge) -> None:
    headers = {
        "X-Forwarded-For": "8.8.8.8",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Real-IP": "8.8.8.8",
    }
    answer = web.ask("/x?y=z", PANEL_HOST, headers=headers)
    text = answer.body.decode()
    own = web.run("ip -4 route show default | awk '{print $3}'").strip()
    assert "GET /x?y=z HTTP/1.1" in text
    assert f"Host: {PANEL_HOST}\n" in text
    assert f"X-Forwarded-For: {own}\n" in text
    assert "X-Forwarded-Proto: https\n" in text
    assert f"X-Forwarded-Host: {PANEL_HOST}\n" in text
    assert "8.8.8.8" not in text
    assert "evil" not in text
    assert answer.headers["set-cookie"].startswith("sessionid=panel")
    assert answer.headers["strict-transport-security"] == "max-age=63072000"
    assert answer.headers["x-frame-options"] == "DENY"


def test_the_panel_answers_by_address_and_to_no_unknown_name(web: Edge) -> None:
    with web.connect(None, verify=False) as link:
        link.sendall(f"GET / HTTP/1.0\r\nHost: {web.address}\r\n\r\n".encode())
        assert b"200 OK" in link.recv(4096)
    other = web.ask("/login/", "other.example", verify=False)
    assert other.status == 404
    assert "set-cookie" not in other.headers


@pytest.mark.full
def test_a_resellers_own_name_leads_to_the_panel_without_a_reload(web: Edge) -> None:
    before, name = workers(web), "panel.reseller.test"
    file = f"/var/lib/streamfleet/panel-domains/{name}.json"
    web.run("install -d -m 755 /var/lib/streamfleet/panel-domains")
    web.certificate(name)
    assert web.ask("/login/", name).status == 404
    web.run(f"echo '{{}}' >{file}; chmod 644 {file}")
    answer = web.ask("/a/%2e%2F?b=c%20d", name, headers={"X-Forwarded-Host": "evil.example"})
    assert answer.status == 200
    assert "GET /a/%2e%2F?b=c%20d HTTP/1.1" in answer.body.decode()
    assert f"Host: {name}\n" in answer.body.decode()
    assert "evil" not in answer.body.decode()
    assert answer.headers["strict-transport-security"] == "max-age=63072000"
    assert "x-frame-options" in answer.headers
    for path in ("/listen/double/stream", "/hls/double/index.m3u8", "/streamfleet-white-label"):
        assert f"GET {path} " in web.ask(path, name).body.decode(), path
    curl = (
        f"curl -sk -m 60 --resolve {name}:443:127.0.0.1 -X POST -H Expect: --data-binary @- https://{name}/api/v1/apply"
    )
    for size, status in ((1_000_000, "200"), (33 * 1024 * 1024 + 1, "413")):
        *said, code = web.run(f"head -c {size} /dev/zero | {curl} -w '\\n%{{http_code}}'").splitlines()
        assert code == status, said
    moved = web.ask("/a?b=c", name, tls=False)
    assert (moved.status, moved.headers["location"]) == (308, f"https://{name}/a?b=c")
    challenges = "/var/lib/streamfleet/acme/.well-known/acme-challenge"
    web.run(f"mkdir -p {challenges} && echo ok >{challenges}/token")
    assert web.ask("/.well-known/acme-challenge/token", name, tls=False).body == b"ok\n"
    web.run("rm -r /var/lib/streamfleet/acme/.well-known")
    # Under other names that place is nowhere, and nothing is said of the panel.
    other = web.ask("/streamfleet-white-label", "other.example", verify=False)
    assert (other.status, other.headers.get("strict-transport-security")) == (404, None)
    web.run(f"rm {file}")
    assert web.ask("/login/", name).status == 404
    assert workers(web) == before


def test_a_body_too_large_and_a_panel_that_is_down_are_errors_of_the_api(web: Edge) -> None:
    url = f"https://{PANEL_HOST}/api/v1/apply"
    curl = f"curl -sk -m 60 --resolve {PANEL_HOST}:443:127.0.0.1 -X POST -H Expect: --data-binary @-"
    script = f"head -c %d /dev/zero | {curl} -w '\\n%%{{http_code}}' {url}"
    assert web.run(script % (33 * 1024 * 1024)).splitlines()[-1] == "200"
    *body, status = web.run(script % (33 * 1024 * 1024 + 1), check=False).splitlines()
    assert status == "413"
    assert json.loads("\n".join(body))["error"]["code"] == "too_large"
    web.run("systemctl stop double-panel")
    try:
        down = web.ask("/api/v1/health", PANEL_HOST)
        assert (down.status, json.loads(down.body)["error"]["code"]) == (503, "unavailable")
        assert web.ask("/listen/double/stream", body_limit=2000).status == 200
    finally:
        web.run(
            "systemd-run --quiet --unit double-panel python3 /run/double-panel.py /run/streamfleet-panel/panel.sock"
        )
        time.sleep(1)


# TLS


def shown(edge: Edge, host: str | None) -> str:
    """SHA-256 of the certificate that a client who asks for ``host`` is shown."""
    import hashlib

    with edge.connect(host, verify=False) as link:
        return hashlib.sha256(link.getpeercert(True) or b"").hexdigest()


def test_certificates_come_and_change_without_a_reload(web: Edge) -> None:
    before = workers(web)
    listener = Listener(web.address, 443, STREAM, "/listen/double/stream", str(web.ca))
    listener.start()
    assert listener.playing.wait(10)
    default = shown(web, None)
    assert shown(web, "radio.customer.test") == default
    own = web.certificate("radio.customer.test")
    assert shown(web, "radio.customer.test") == own
    renewed = web.certificate("radio.customer.test")
    assert renewed != own
    assert shown(web, "radio.customer.test") == renewed
    assert web.ask("/listen/double/stream", "radio.customer.test", body_limit=2000).status == 200
    web.run("rm -r /etc/streamfleet/tls/radio.customer.test")
    assert shown(web, "radio.customer.test") == default
    assert shown(web, "a" * 60 + ".example") == default
    heard = listener.stop()
    assert (heard.disconnects, heard.lost_lines) == (0, 0)
    assert workers(web) == before


def test_tls_is_modern(web: Edge) -> None:
    context = ssl.create_default_context(cafile=str(web.ca))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((web.address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=PANEL_HOST) as link,
    ):
        assert link.version() == "TLSv1.3"
        assert link.selected_alpn_protocol() == "h2"
    old = web.run("echo | openssl s_client -connect 127.0.0.1:443 -tls1_1 -cipher 'ALL@SECLEVEL=0' 2>&1", check=False)
    assert "Cipher is (NONE)" in old or "alert" in old


def test_a_scanner_finds_no_deviation_from_mozillas_intermediate_profile(web: Edge, tmp_path: Path) -> None:
    found = scan_tls(Server(web.address, 443, PANEL_HOST, hsts=True), web.ca.read_text(), "intermediate", tmp_path)
    assert found.deviations == [], found.offers
    assert {"tls_1_2", "tls_1_3"} < set(found.offers)


# Long listeners


def test_a_reload_of_the_host_interrupts_no_listener(web: Edge) -> None:
    before = workers(web)
    listener = Listener(web.address, 80, STREAM, "/listen/double/stream")
    listener.start()
    assert listener.playing.wait(10)
    log = web.playbook(["web"], "-e", "streamfleet_web_hls_segment_max_age=3599")
    assert {name for name, _ in changes(log)} == {
        "web : Put the web server's scripts, configuration and unit settings in place",
        RUN,
    }
    web.run("logrotate -f /etc/logrotate.d/nginx")
    time.sleep(3)
    assert RUN in {name for name, _ in changes(web.playbook(["web"]))}
    heard = listener.stop()
    assert workers(web) != before
    assert (heard.disconnects, heard.lost_lines) == (0, 0)
    assert heard.bytes > 100_000
    deadline = time.monotonic() + 10
    ours: list[dict[str, object]] = []
    while time.monotonic() < deadline and not ours:
        time.sleep(0.5)
        text = web.run("cat /var/log/nginx/streamfleet-streams.log /var/log/nginx/streamfleet-streams.log.1")
        lines = [json.loads(line) for line in text.splitlines()]
        ours = [line for line in lines if line["agent"] == "counter" and line["scheme"] == "http"]
    line = ours[-1]
    assert line["slug"] == "double"
    assert int(str(line["bytes"])) >= heard.bytes * 0.9
    assert float(str(line["seconds"])) > 3


def test_a_log_that_grows_large_is_rotated_before_the_day_ends(web: Edge) -> None:
    assert web.run("systemctl is-enabled streamfleet-web-logs.timer").strip() == "enabled"
    log, before = "/var/log/nginx/streamfleet-streams.log", workers(web)
    web.run(f"truncate -s 300M {log}; systemctl start streamfleet-web-logs.service")
    assert int(web.run(f"stat -c %s {log}.1")) >= 300 * 1024**2
    assert web.run(f"stat -c '%U %a' {log}").strip() == "www-data 640"
    deadline = time.monotonic() + 10
    while int(web.run(f"stat -c %s {log}")) == 0:
        assert time.monotonic() < deadline, "nginx goes on writing to the old file"
        assert web.ask("/listen/double/stream", body_limit=2000).status == 200
        time.sleep(0.2)
    assert workers(web) == before
    # One that is small is left.
    web.run("systemctl start streamfleet-web-logs.service")
    assert int(web.run(f"stat -c %s {log}.1")) >= 300 * 1024**2
    web.run(f"rm {log}.1")


def test_a_run_that_was_killed_before_the_reload_is_finished_by_the_next(web: Edge) -> None:
    before = workers(web)
    # What such a run leaves: the new file in its place, and nginx not told.
    web.run("sed -i 's/max-age=3600,/max-age=3598,/; s/ 3600s;/ 3598s;/' /etc/nginx/conf.d/streamfleet.conf")
    assert web.run("/usr/lib/streamfleet/web/state").strip() == "stale"
    log = web.playbook(["web"], "-e", "streamfleet_web_hls_segment_max_age=3598")
    assert {name for name, _ in changes(log)} == {RUN}
    assert web.run("/usr/lib/streamfleet/web/state").strip() == "fresh"
    assert workers(web) != before
    web.playbook(["web"])


def test_both_servers_speak_ipv6(web: Edge) -> None:
    asked = f"curl -sk -m 5 -o /dev/null -w '%{{http_code}}' -H 'Host: {STREAM}'"
    assert web.run(f"{asked} 'https://[::1]/'") == "404"
    assert web.run(f"{asked} 'http://[::1]/hls/x/index.m3u8'") == "308"
    web.run("python3 -c \"import socket; socket.create_connection(('::1', 1935), 5)\"")


def test_where_only_known_names_are_served_others_are_closed(web: Edge) -> None:
    only = json.dumps({"streamfleet_web_stream_any_host": False, "streamfleet_web_audio_on_http": False})
    try:
        web.playbook(["web"], "-e", only)
        assert web.ask("/listen/double/stream", body_limit=2000).status == 200
        assert web.ask("/x", PANEL_HOST).status == 200
        for tls in (True, False):
            assert web.ask("/listen/double/stream", "other.example", tls=tls, verify=False).status == 0
        web.domain("radio.tenant.test", "double", "listen")
        assert web.ask("/", "radio.tenant.test", verify=False, body_limit=2000).status == 200
        assert web.ask("/stream", "radio.tenant.test", tls=False).status == 308
        challenges = "/var/lib/streamfleet/acme/.well-known/acme-challenge"
        web.run(f"mkdir -p {challenges} && echo ok >{challenges}/token")
        for host in ("other.example", "radio.tenant.test"):
            assert web.ask("/.well-known/acme-challenge/token", host, tls=False).body == b"ok\n"
        assert web.ask("/listen/double/stream", tls=False).status == 308
    finally:
        web.playbook(["web"])
