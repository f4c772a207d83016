"""Tenants' own names on a real node: certified by the host itself, heard and watched, and nobody else notices.

Pebble, lego, nginx, Icecast and the RTMP server are the real ones. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian
release.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from streamfleet.tls import pem

from demo.media import video_publisher
from tests.doubles.panel import rtmp_channel, station
from tests.live.acme import HOST, Pebble
from tests.live.hls import check_playlist, decode
from tests.live.node import NODE, password
from tests.live.streams import Listener, Source, on_air
from tests.live.test_acme import STREAM, Site, put_off
from tests.nodes.fleet import Domain

pytestmark = [pytest.mark.live, pytest.mark.full]

RADIO, TV, ASTRAY, NOBODYS = "radio.tenant.test", "tv.tenant.test", "astray.tenant.test", "nobodys.tenant.test"
#: Many of one service, and one among them that the directory refuses.
TWENTY, BAD = [f"n{number:02}.tenant.test" for number in range(1, 21)], "n00.tenant.test"
#: A reseller's for the panel, and where the panel would tell of it.
SHOP, PANEL_NAMES = "panel.shop.test", "/var/lib/streamfleet/panel-domains"
A, B, C = ("rock-fm", 200001, 8100), ("jazz-fm", 200002, 8101), ("rock-tv", 200003)
BASE = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles: [common, icecast, nginx_rtmp]
"""
WORKERS = "pgrep -P $(systemctl show nginx.service -p MainPID --value) | sort"


class Tenancy(Site):
    """The node with two stations and a channel, and what their tenants do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pebble = Pebble(self, folder, (BAD,))
        (folder / "base.yml").write_text(BASE)
        self.root = folder / "root.pem"

    def with_names(self, *radio: str, tv: tuple[str, ...] = (TV,), neighbours: tuple[str, ...] = ()) -> dict[str, Any]:
        """Converge with these names; what the panel is told."""
        return self.converge(
            station(*A, domains=sorted(radio)), station(*B, domains=sorted(neighbours)),
            rtmp_channel(*C, domains=sorted(tv)),
        )  # fmt: skip

    def fetch(self, url: str, trusted: bool = True) -> tuple[int, bytes]:
        """Status (0: closed without an answer) and body, as whoever trusts the directory's root gets them."""
        host = url.split("/")[2]
        done = subprocess.run(
            [
                "curl", "-s", "-m", "5", *(("--cacert", str(self.root)) if trusted else ("-k",)),
                "--resolve", f"{host}:443:{self.address}", "--resolve", f"{host}:80:{self.address}",
                "-w", "\n%{http_code}", url,
            ],
            capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=30,
        )  # fmt: skip
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body

    def wait_for(self, name: str, seconds: float = 60) -> None:
        """Until the name is served with its own certificate."""
        deadline = time.monotonic() + seconds
        while name not in pem.hosts(self.shown(name)):
            assert time.monotonic() < deadline, self.sh("journalctl -n 60 -o cat -u 'streamfleet-acme*'")
            time.sleep(0.3)

    def gone(self, name: str) -> str:
        """Wait until it is seen that the name has gone; what is kept of it."""
        left = f"/var/lib/streamfleet/certificates/left/{name}.csr"
        deadline = time.monotonic() + 20
        while not self.sh(f"ls {left}", check=False):
            assert time.monotonic() < deadline, self.sh("journalctl -n 60 -o cat -u 'streamfleet-acme*'")
            time.sleep(0.3)
        return left

    def domains(self) -> dict[str, Any]:
        """What the client knows of tenants' names."""
        found: dict[str, Any] = json.loads(self.sh("cat /var/lib/streamfleet/certificates/client/domains.json"))
        return found["names"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenancy]:
    """The node with its own certificate from the directory, and services without names."""
    site = Tenancy(Path(tmp_path_factory.mktemp("domains")))
    with site.started(*(Domain(name, NODE) for name in (HOST, STREAM))):
        site.pebble.install()
        site.pebble.start()
        site.root.write_text(site.pebble.root)
        for name in (STREAM, RADIO, TV, NOBODYS, SHOP):
            site.pebble.leads(name, site.address)
        site.pebble.leads(ASTRAY, "192.0.2.9")
        site.play(site.folder / "base.yml")
        site.extra = {
            "streamfleet_certificates_trusted": site.pebble.root,
            "streamfleet_web_stream_any_host": False,
            "_streamfleet_certificates_here": [{"name": STREAM, "source": "acme"}],
            # Its web server has the panel's part; the panel itself is down.
            "_streamfleet_panel_host_here": "panel.acme.test",
            "_streamfleet_default_host_here": STREAM,
        }
        site.certificates()
        site.with_names(tv=())
        yield site


@contextlib.contextmanager
def heard(site: Tenancy, host: str, path: str, port: int = 443) -> Iterator[Listener]:
    """Somebody who listens meanwhile, and loses nothing."""
    listener = Listener(site.address, port, host, path, str(site.root) if port == 443 else None)
    listener.start()
    assert listener.playing.wait(20), listener.heard
    yield listener
    found = listener.stop()
    assert (found.disconnects, found.lost_lines) == (0, 0), found
    assert found.longest_gap < 5, found


def test_names_come_are_certified_and_lead_to_their_service_alone(site: Tenancy) -> None:
    workers = site.sh(WORKERS)
    with contextlib.ExitStack() as stack:
        for slug, _uid, port in (A, B):
            stack.enter_context(on_air(Source(site.address, port, "/stream", password(slug))))
        stack.enter_context(heard(site, STREAM, "/listen/jazz-fm/stream"))
        assert site.fetch(f"https://{RADIO}/", trusted=False) == (0, b"")
        told = site.with_names(RADIO, ASTRAY)
        assert {item["state"] for item in told.values()} == {"running"}
        # Neither Ansible nor the timer is waited for.
        site.wait_for(RADIO, 45)
        site.wait_for(TV, 45)
        with heard(site, RADIO, "/"), heard(site, RADIO, "/stream"), heard(site, RADIO, "/stream", 80):
            time.sleep(2)
        for path in ("/listen/jazz-fm/stream", "/listen/jazz-fm", "/hls/rock-tv/index.m3u8", "/status-json.xsl"):
            assert site.fetch(f"https://{RADIO}{path}")[0] == 404, path
        url = f"rtmp://{site.address}/live/key-of-rock-tv-200003"
        with subprocess.Popen(video_publisher(url, 60), stdin=subprocess.DEVNULL) as encoder:
            stack.callback(encoder.kill)
            deadline = time.monotonic() + 40
            while (found := site.fetch(f"https://{TV}/index.m3u8"))[0] != 200 or found[1].count(b"EXTINF") < 2:
                assert time.monotonic() < deadline, found
                time.sleep(0.5)
            playlist = check_playlist(found[1].decode())
            assert playlist.segments
            frames, sound = decode(found[1].decode(), lambda item: site.fetch(f"https://{TV}/{item}")[1], site.folder)
            assert frames > 25
            assert sound > 1
            assert site.fetch(f"https://{TV}/hls/rock-tv/index.m3u8")[0] == 200
            assert site.fetch(f"https://{TV}/listen/rock-fm")[0] == 404
            assert site.fetch(f"http://{TV}/index.m3u8")[0] == 308
            encoder.kill()
        # One that leads elsewhere: nobody is asked for it, and it is shown the host's own.
        assert STREAM in pem.hosts(site.shown(ASTRAY))
        assert f"{ASTRAY} leads to 192.0.2.9, which is not this host's" in site.domains()[ASTRAY]["error"]
        assert site.domains()[ASTRAY]["here"] is True
        assert site.fetch(f"https://{NOBODYS}/", trusted=False) == (0, b"")
    assert site.sh(WORKERS) == workers, "the web server was reloaded"
    said = site.self_check()
    assert "2 of 3 host names of tenants have their certificate, 1 have failed" in said
    assert f"{ASTRAY}: {ASTRAY} leads to 192.0.2.9" in said


def test_it_is_certified_once_it_leads_here_and_who_takes_it_away_and_gives_it_again_waits_for_nothing(
    site: Tenancy,
) -> None:
    site.pebble.leads(ASTRAY, site.address)
    site.with_names(RADIO)
    site.gone(ASTRAY)
    site.with_names(RADIO, ASTRAY)
    site.wait_for(ASTRAY, 45)
    assert "error" not in site.domains()[ASTRAY]


def test_a_name_that_goes_is_closed_and_comes_back_with_what_it_had(site: Tenancy) -> None:
    before = site.shown(RADIO)
    site.with_names(ASTRAY)
    assert site.fetch(f"https://{RADIO}/") == (0, b"")
    assert site.shown(RADIO) == before
    # It passes to a neighbour, as the panel may say.
    site.with_names(ASTRAY, neighbours=(RADIO,))
    with on_air(Source(site.address, B[2], "/stream", password(B[0]))), heard(site, RADIO, "/"):
        time.sleep(1)
    time.sleep(3)
    assert site.shown(RADIO) == before, "nothing was ordered for it"
    # Long after it went for good.
    site.with_names(ASTRAY)
    left = site.gone(RADIO)
    site.sh(f"touch -d '8 days ago' {left}; systemctl start streamfleet-acme-keys")
    assert STREAM in pem.hosts(site.shown(RADIO))
    assert site.sh("ls /etc/streamfleet/tls") == "\n".join(sorted([ASTRAY, STREAM, TV]))


def test_an_operator_has_a_name_of_a_tenants_renewed_and_another_revoked(site: Tenancy) -> None:
    before, other = site.shown(TV), site.shown(ASTRAY)
    said = " ".join(site.certificates("-e", f"certificates_renew=x.tenant.test,{TV}", ok=False).split())
    assert "certificates_renew and certificates_revoke name x.tenant.test, which no host of this run has" in said
    assert site.shown(TV) == before
    site.certificates("-e", f"certificates_renew={TV}")
    assert site.shown(TV) != before
    assert pem.public(site.shown(TV)) == pem.public(before)
    assert site.pebble.status(before)["Status"] == "Valid"
    site.certificates("-e", f"certificates_revoke={ASTRAY}", "-e", "certificates_revoke_reason=key_compromise")
    assert pem.public(site.shown(ASTRAY)) != pem.public(other)
    found = site.pebble.status(other)
    assert (found["Status"], found["Reason"]) == ("Revoked", 1)
    assert site.pebble.status(site.shown(ASTRAY))["Status"] == "Valid"


def test_a_resellers_name_is_certified_renewed_and_leads_to_the_panel_alone(site: Tenancy) -> None:
    workers = site.sh(WORKERS)
    assert site.fetch(f"https://{SHOP}/login/", trusted=False) == (0, b"")
    file = f"{PANEL_NAMES}/{SHOP}.json"
    site.sh(f"""install -d -m 755 {PANEL_NAMES} && echo '{{"uid": 200009}}' >{file}""")
    site.wait_for(SHOP, 45)
    for path in ("/login/", "/listen/jazz-fm/stream", "/hls/rock-tv/index.m3u8"):
        status, body = site.fetch(f"https://{SHOP}{path}")
        assert (status, b"The panel is starting or stopped" in body) == (503, True), path
        assert site.fetch(f"http://{SHOP}{path}")[0] == 308
    assert site.sh(WORKERS) == workers, "the web server was reloaded"
    before = site.shown(SHOP)
    site.certificates("-e", f"certificates_renew={SHOP}")
    assert site.shown(SHOP) != before
    owners = json.loads(site.sh("cat /var/lib/streamfleet/certificates/owners.json"))["names"]
    assert owners[SHOP][0] == 200009
    site.sh(f"rm {file}")
    site.gone(SHOP)
    assert site.fetch(f"https://{SHOP}/login/", trusted=False) == (0, b"")


def test_who_sees_to_it_is_let_do_nothing_else(site: Tenancy) -> None:
    for unit in ("streamfleet-acme-keys.service", "streamfleet-acme-domains.service"):
        exposure = site.sh(f"systemd-analyze security --no-pager {unit} | tail -1")
        assert float(exposure.partition("service:")[2].split()[0]) <= 3.0, exposure
    user = "runuser -u streamfleet-acme --"
    assert "BEGIN CERTIFICATE REQUEST" in site.sh(f"{user} cat /var/lib/streamfleet/certificates/domains/{TV}.csr")
    for path in (f"/etc/streamfleet/tls/{TV}/privkey.pem", f"/etc/streamfleet/domains/{TV}.json"):
        assert site.sh(f"ls {path}") == path
        assert site.refused(f"{user} cat {path}") == f"cat: {path}: Permission denied"
    for folder in ("domains", "left", "placed"):
        place = f"/var/lib/streamfleet/certificates/{folder}"
        assert "Permission denied" in site.refused(f"{user} touch {place}/x")
    key = site.sh(f"stat -c '%U %G %a' /etc/streamfleet/tls/{TV}/privkey.pem")
    assert key == "root www-data 640"
    assert isinstance(site.shown(TV), x509.Certificate)


def test_a_bad_domain_among_twenty_good_ones_backs_off_and_blocks_nobody(site: Tenancy) -> None:
    for name in (*TWENTY, BAD):
        site.pebble.leads(name, site.address)
    began = time.time()
    # The bad one is the first of the alphabet, and alone there for long enough to be the first that is tried.
    site.with_names(RADIO, BAD)
    deadline = time.monotonic() + 60
    while "error" not in site.domains().get(BAD, {}):
        assert time.monotonic() < deadline, site.domains()
        time.sleep(0.5)
    refused = site.domains()[BAD]
    assert "rejectedIdentifier" in refused["error"]
    assert refused["here"] is False
    assert 10 <= put_off(refused) <= 13
    site.wait_for(RADIO)
    with on_air(Source(site.address, A[2], "/stream", password(A[0]))), heard(site, RADIO, "/"):
        site.with_names(RADIO, BAD, *TWENTY)
        for name in TWENTY:
            site.wait_for(name, 240)
        with heard(site, TWENTY[-1], "/"):
            time.sleep(1)
    assert [name for name in TWENTY if site.domains()[name].get("error")] == []
    assert STREAM in pem.hosts(site.shown(BAD)), "it is shown the host's own"
    # It was not asked for again with any of them.
    assert site.domains()[BAD] == refused
    asked = f"journalctl -o cat -u streamfleet-acme-domains -S @{began:.0f} | grep -c '^{BAD}: ordered'"
    assert site.sh(asked) == "1"


def test_a_second_run_changes_nothing_and_uninstalled_nothing_is_left(site: Tenancy) -> None:
    assert site.changed(site.certificates()) == 0
    site.play(site.folder / "tasks.yml", "-e", '{"roles_in_order": ["certificates"], "entry": "uninstall"}')
    left = "/etc/systemd/system/*acme* /etc/systemd/system/*.wants/*acme* /var/lib/streamfleet/certificates"
    assert not site.sh(f"ls -d {left} /etc/streamfleet/tls 2>/dev/null", check=False)
    assert not [
        line for line in site.sh("systemctl list-units --all --plain --no-legend 'streamfleet-acme*'").splitlines()
        if "not-found" not in line
    ]  # fmt: skip
