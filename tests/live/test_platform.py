"""The promises of the whole platform, held on a real node: panel, worker, web and engines together.

Tests playbooks: install.yml apply.yml converge.yml verify_engine.yml.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from streamfleet.errors import Unauthenticated
from streamfleet.http import Client

from demo import media
from demo.show import credentials, try_to_publish, wait_until_running
from demo.stage import NODE, PANEL_HOST, ROOT, STREAM_HOST, Stage
from tests.live import tones
from tests.live.streams import Listener, Source, on_air

pytestmark = pytest.mark.live


def apply(platform: Stage, document: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Apply a document through the API and return the answer."""
    body = {"document": document, "max_delete": 1000, **options}
    answer: dict[str, Any] = platform.api().request("POST", "/apply", body).data
    return answer


def station(customer: str, slug: str, **more: Any) -> dict[str, Any]:
    """A small Icecast station."""
    return {"slug": slug, "name": slug, "customer": customer, "engine": "icecast", **more}


def account(username: str, **more: Any) -> dict[str, Any]:
    return {"username": username, "name": username, "email": f"{username}@live.example", **more}


@pytest.fixture
def tenant(platform: Stage) -> str:
    """A customer of this test's own."""
    name = f"t{secrets.token_hex(4)}"
    apply(platform, {"customers": [account(name)]})
    return name


def running(platform: Stage, *slugs: str, seconds: float = 90) -> None:
    wait_until_running(platform.api(), slugs, seconds)


def settled(platform: Stage, seconds: float = 120) -> None:
    """Wait until the node has applied the newest generation."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        node = platform.api().request("GET", "/nodes/demo1").data
        if node["observed_generation"] >= node["generation"]:
            return
        time.sleep(0.3)
    raise AssertionError(f"the node is behind after {seconds} s: {node}")


def web_reloads(platform: Stage) -> str:
    """What changes when the web nginx is reloaded or restarted: its processes."""
    return platform.on_node(["systemctl", "show", "nginx.service", "-p", "MainPID"]) + platform.on_node(
        ["sh", "-c", "pgrep -P $(systemctl show nginx.service -p MainPID --value) | sort"]
    )


def published(platform: Stage, slug: str) -> tuple[str, int, str]:
    """Address, port and source password of a station."""
    service = platform.api().request("GET", f"/media-services/{slug}").data
    return platform.address, service["port"], credentials(platform.api(), slug)["source_password"]


@pytest.mark.full
def test_fifty_other_services_come_change_and_go_unheard(platform: Stage, tenant: str) -> None:
    slug, channel = f"{tenant}-b", f"{tenant}-tv"
    video = {"slug": channel, "name": channel, "customer": tenant, "engine": "nginx_rtmp"}
    apply(platform, {"media_services": [station(tenant, slug), video]})
    running(platform, slug, channel)
    key = credentials(platform.api(), channel)["stream_key"]
    reloads = web_reloads(platform)
    encoder = subprocess.Popen(
        platform.inside(media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}", seconds=400)),
        cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        with on_air(Source(*published(platform, slug)[:2], "/stream", published(platform, slug)[2])) as source:
            proxied = Listener(platform.address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(platform.ca))
            direct = Listener(platform.address, published(platform, slug)[1], STREAM_HOST, "/stream")
            for listener in (proxied, direct):
                listener.start()
                assert listener.playing.wait(20), listener.heard
            others = [f"{tenant}-o{n}" for n in range(50)]
            apply(platform, {"media_services": [station(tenant, other) for other in others]})
            running(platform, *others)
            for field in ({"genre": "Changed"}, {"suspended": True, "suspend_reason": "test"}):
                apply(platform, {"media_services": [{"slug": other, **field} for other in others]})
                settled(platform)
            apply(platform, {"media_services": [{"slug": other, "state": "absent"} for other in others]})
            settled(platform)
            assert source.error is None
            assert source.is_alive()
            for heard in (proxied.stop(), direct.stop()):
                assert heard.disconnects == 0, heard
                assert heard.lost_lines == 0, heard
                assert heard.bytes > 100_000, heard
                assert heard.longest_gap < 5, heard
        assert encoder.poll() is None, encoder.stderr.read() if encoder.stderr else ""
    finally:
        encoder.terminate()
        encoder.wait(20)
    assert web_reloads(platform) == reloads


@pytest.mark.full
def test_customers_are_told_of_tls_and_publish_by_it(platform: Stage, tenant: str) -> None:
    channel = f"{tenant}-tls"
    video = {"slug": channel, "name": channel, "customer": tenant, "engine": "nginx_rtmp"}
    apply(platform, {"media_services": [video]})
    running(platform, channel)
    told = platform.api().request("GET", f"/media-services/{channel}/credentials").data["connection"]
    shown = {line["label"]: line["value"] for line in told}
    assert shown["Server with TLS"] == f"rtmps://{STREAM_HOST}:1936/live"
    verified = ("-tls_verify", "1", "-ca_file", str(platform.ca), "-verifyhost", STREAM_HOST)
    for key, well in ((shown["Stream key"], True), ("w" * 32, False)):
        *command, url = media.video_publisher(f"{shown['Server with TLS']}/{key}", seconds=3)
        done = platform.run_inside([*command, *verified, url])
        assert (done.returncode == 0) == well, done.stderr
        assert key not in platform.on_node(
            ["journalctl", "-o", "cat", "-t", "streamfleet_rtmps", "-t", "streamfleet_rtmp"]
        )


def test_five_hundred_changes_do_not_reload_the_web_server(platform: Stage, tenant: str) -> None:
    slug = f"{tenant}-b"
    churn = [f"{tenant}-c{n}" for n in range(5)]
    apply(platform, {"media_services": [station(tenant, one) for one in (slug, *churn)]})
    running(platform, slug, *churn)
    address, port, password = published(platform, slug)
    reloads = web_reloads(platform)
    with on_air(Source(address, port, "/stream", password)):
        listener = Listener(address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(platform.ca))
        listener.start()
        assert listener.playing.wait(20), listener.heard
        for number in range(100):
            change = {"description": f"change {number}"}
            apply(platform, {"media_services": [{"slug": one, **change} for one in churn]})
        settled(platform)
        heard = listener.stop()
    assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
    assert web_reloads(platform) == reloads


def test_everything_stays_on_the_air_while_the_panel_is_down(platform: Stage, tenant: str) -> None:
    slug, channel = f"{tenant}-b", f"{tenant}-tv"
    video = {"slug": channel, "name": channel, "customer": tenant, "engine": "nginx_rtmp"}
    apply(platform, {"media_services": [station(tenant, slug, max_listeners=2), video]})
    running(platform, slug, channel)
    address, port, password = published(platform, slug)
    key = credentials(platform.api(), channel)["stream_key"]
    units = ["streamfleet-panel.service", "streamfleet-panel-jobs.service", "streamfleet-worker.service"]
    with on_air(Source(address, port, "/stream", password)) as source:
        first = Listener(address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(platform.ca))
        first.start()
        assert first.playing.wait(20), first.heard
        platform.on_node(["systemctl", "stop", *units])
        try:
            assert try_to_publish(platform, key)
            assert not try_to_publish(platform, "w" * 32)
            second = Listener(address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(platform.ca))
            second.start()
            assert second.playing.wait(20), second.heard
            third = Listener(address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(platform.ca))
            third.start()
            assert third.answered.wait(20)
            assert third.heard.status >= 400, third.stop()
            assert second.stop().disconnects == 0
        finally:
            platform.on_node(["systemctl", "start", *units])
        heard = first.stop()
        assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
        assert source.error is None
    deadline = time.monotonic() + 60
    while json.loads(platform.run_inside(_health(platform)).stdout or "{}").get("status") != "ok":
        assert time.monotonic() < deadline, "the panel did not come back"
        time.sleep(0.5)


def _health(platform: Stage) -> list[str]:
    return [
        "curl",
        "--connect-to",
        f"::{NODE}:",
        "-s",
        "--cacert",
        str(platform.ca),
        f"https://{PANEL_HOST}/api/v1/health",
    ]


def verify(platform: Stage, engine: str) -> tuple[int, str]:
    """Failed tasks and output of playbooks/verify_engine.yml; nothing is left of what it has made."""
    log = platform.state / "verify_engine.log"
    log.unlink(missing_ok=True)
    answers = {"engine": engine, "verify_engine_node": NODE, "verify_engine_address": platform.address}
    recap = platform.playbook("playbooks/verify_engine.yml", "-e", json.dumps(answers), inventory=False, check=False)
    prefix = f"verify-{engine.replace('_', '-')}"
    for kind in ("customers", "media-services"):
        assert platform.api().request("GET", f"/{kind}?search={prefix}").data["items"] == []
    return recap.failed, log.read_text()


@pytest.mark.full
@pytest.mark.parametrize("engine", ["icecast", "nginx_rtmp"])
def test_an_operator_verifies_an_engine(platform: Stage, engine: str) -> None:
    failed, output = verify(platform, engine)
    assert failed == 0, output
    assert "ok    published and played" in output
    assert "ok    neighbour not interrupted" in output
    assert "FAIL" not in output
    settled(platform)


@pytest.mark.full
def test_a_broken_stream_fails_its_verification_with_the_reason(platform: Stage) -> None:
    # The web server may look up nobody's route.
    platform.on_node(["chmod", "0700", "/etc/streamfleet/routes"])
    try:
        failed, output = verify(platform, "icecast")
    finally:
        platform.on_node(["chmod", "0750", "/etc/streamfleet/routes"])
    assert failed == 1, output
    assert "1 of 4 checks of icecast are not ok" in output
    assert "440 Hz was not to be had at https://stream.demo.localhost/listen/" in output
    settled(platform)


def test_worker_and_two_hand_runs_exclude_each_other(platform: Stage, tenant: str) -> None:
    slugs = [f"{tenant}-{n}" for n in range(10)]
    apply(platform, {"media_services": [station(tenant, slug) for slug in slugs]})
    command = [
        *(str(ROOT / ".venv/bin/ansible-playbook"), "-i", "inventories/demo/hosts.yml"),
        *("-i", f".nodes/{platform.fleet}/inventory.yml", "playbooks/converge.yml"),
    ]
    runs = [
        subprocess.Popen(
            command, cwd=ROOT, env=platform.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=180)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    running(platform, *slugs)
    pids = platform.on_node(
        ["systemctl", "show", "-p", "NRestarts", "--value", *(f"streamfleet-icecast@{slug}.service" for slug in slugs)]
    )
    assert set(pids.split()) == {"0"}


def test_suspension_survives_a_document_that_does_not_name_it(platform: Stage, tenant: str) -> None:
    slug = f"{tenant}-b"
    document = {"media_services": [station(tenant, slug)]}
    apply(platform, document)
    running(platform, slug)
    api = platform.api()
    api.request("PUT", f"/media-services/{slug}", {"suspended": True, "suspend_reason": "unpaid"})
    assert not apply(platform, document)["changed"]
    settled(platform)
    status = api.request("GET", f"/media-services/{slug}/status").data
    assert status["state"] == "suspended"
    assert "unpaid" in status["message"]
    listener = Listener(platform.address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(platform.ca))
    listener.start()
    assert listener.answered.wait(20)
    assert listener.stop().status == 404


def test_a_deleted_service_is_restored_with_its_data(platform: Stage, tenant: str) -> None:
    slug = f"{tenant}-b"
    apply(platform, {"media_services": [station(tenant, slug, genre="Kept")]})
    running(platform, slug)
    address, port, password = published(platform, slug)
    keep = f"/var/lib/streamfleet/services/{slug}/kept"
    platform.on_node(["sh", "-c", f"mkdir -p $(dirname {keep}) && echo precious > {keep}"])
    api = platform.api()
    api.request("DELETE", f"/media-services/{slug}")
    settled(platform)
    unit = f"streamfleet-icecast@{slug}.service"
    states = platform.on_node(["sh", "-c", f"systemctl is-active {unit} || true"])
    assert states.strip() == "inactive"
    api.request("POST", f"/media-services/{slug}/restore")
    running(platform, slug)
    assert published(platform, slug) == (address, port, password)
    assert platform.on_node(["cat", keep]).strip() == "precious"
    with on_air(Source(address, port, "/stream", password)):
        pass


def test_a_lock_left_by_a_killed_run_does_not_block(platform: Stage, tenant: str) -> None:
    slug = f"{tenant}-b"
    hold = (
        "import fcntl, os, signal; f = open('/run/streamfleet/converge.lock', 'a+'); fcntl.flock(f, fcntl.LOCK_EX); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    platform.on_node(["sh", "-c", f'python3 -c "{hold}"; test $? -eq 137'])
    apply(platform, {"media_services": [station(tenant, slug)]})
    running(platform, slug, seconds=30)


def test_a_rebooted_node_brings_everything_back(platform: Stage, tenant: str) -> None:
    slug, channel = f"{tenant}-b", f"{tenant}-tv"
    video = {"slug": channel, "name": channel, "customer": tenant, "engine": "nginx_rtmp"}
    apply(platform, {"media_services": [station(tenant, slug), video]})
    running(platform, slug, channel)
    address, port, password = published(platform, slug)
    key = credentials(platform.api(), channel)["stream_key"]
    platform.reboot()
    deadline = time.monotonic() + 60
    while True:
        source = Source(address, port, "/stream", password)
        source.start()
        if source.accepted.wait(3) or time.monotonic() > deadline:
            break
    assert source.accepted.is_set(), source.error
    try:
        listener = Listener(address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(platform.ca))
        listener.start()
        assert listener.playing.wait(20), listener.heard
        assert listener.stop().disconnects == 0
    finally:
        source.stop()
    assert try_to_publish(platform, key)
    while json.loads(platform.run_inside(_health(platform)).stdout or "{}").get("status") != "ok":
        assert time.monotonic() < deadline, "the panel did not come back"
        time.sleep(0.5)
    failed = platform.on_node(["systemctl", "list-units", "--failed", "--plain", "--no-legend"])
    assert failed.strip() == "", platform.on_node(
        ["sh", "-c", "journalctl -b -o short-monotonic -u streamfleet-tenants; journalctl -b | head -60"]
    )


def test_what_a_station_plays_is_told_once(platform: Stage, tenant: str, tmp_path: Path) -> None:
    """From the node's file, through the worker, to the API; no line twice, though the node is asked again and again."""
    slug = f"{tenant}-played"
    for name, frequency in (("one.mp3", 500), ("two.mp3", 900)):
        tones.recording(tmp_path / name, frequency, 6)
    playlist = {"media_service": slug, "name": "all", "folder": "."}
    apply(platform, {"media_services": [station(tenant, slug, autodj={})], "playlists": [playlist]})
    running(platform, slug)
    variables = {"media_folder_customer": tenant, "media_folder_src": str(tmp_path)}
    platform.playbook("playbooks/media_folder.yml", "-e", json.dumps(variables))
    history = f"/var/lib/streamfleet/services/{slug}/autodj/history.jsonl"
    api = platform.api()

    def told() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = api.request("GET", f"/media-services/{slug}/played").data["items"]
        return items

    deadline = time.monotonic() + 240
    while len(told()) < 3:
        assert time.monotonic() < deadline, platform.on_node(["sh", "-c", f"cat {history}; journalctl -n 50"])
        time.sleep(2)
    lines = [json.loads(line) for line in platform.on_node(["cat", history]).splitlines()]
    known = told()
    written = [(line["time"], line["path"]) for line in lines]
    assert [(item["at"], item["path"]) for item in reversed(known)] == written[: len(known)]
    assert {item["path"] for item in known} <= {"one.mp3", "two.mp3"}
    assert {item["playlist"] for item in known} == {"all"}
    last = api.request("GET", f"/media-services/{slug}/air").data["last"]
    assert last in (known[0], told()[0])


def test_every_unit_of_ours_is_sandboxed(platform: Stage) -> None:
    """Systemd's own score of exposure is 3.0 at most, of templates too."""
    script = (
        "for unit in /etc/systemd/system/streamfleet-*.service; do "
        "systemd-analyze security --offline=true --no-pager $unit | grep Overall; done"
    )
    scores = dict(re.findall(r"for (\S+): ([0-9.]+)", platform.on_node(["sh", "-c", script])))
    assert {"streamfleet-panel.service", "streamfleet-worker.service", "streamfleet-tenants.service"} <= set(scores)
    assert {name: score for name, score in scores.items() if float(score) > 3.0} == {}


def test_what_the_audit_log_has_is_in_the_journal_and_so_are_refused_logins(platform: Stage, tenant: str) -> None:
    told = platform.on_node(["journalctl", "-t", "streamfleet-audit", "-o", "cat", "-u", "streamfleet-panel.service"])
    events = [event for line in told.splitlines() if (event := json.loads(line))["event"] == "audit"]
    mine = [
        event for event in events if (event["kind"], event["key"], event["action"]) == ("customer", tenant, "created")
    ]
    assert len(mine) == 1
    assert mine[0]["actor"] == "admin"
    wrong = Client(platform.variables()["STREAMFLEET_URL"], "sft_wrong", platform.variables()["STREAMFLEET_CA"])
    with pytest.raises(Unauthenticated):
        wrong.request("GET", "/whoami")
    refused = ["journalctl", "-t", "streamfleet-login", "-o", "cat", "-u", "streamfleet-panel.service"]
    assert json.loads(platform.on_node(refused).splitlines()[-1])["event"] == "login_refused"
