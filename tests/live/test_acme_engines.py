"""Renewal with every open engine on the air: nobody is disconnected, nothing is lost, and everything shows the new one.

The directory is Pebble, which refuses some nonces. Icecast-KH is a double (tests/doubles), or the real program where
``STREAMFLEET_LIVE_ICECAST_KH`` names it; all else is real. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests playbooks: certificates.yml.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.behaviour.checks import Subject
from streamfleet.behaviour.counted import Audience
from streamfleet.behaviour.route import Route

from tests.doubles.panel import autodj, dj, media_user, playlist, station
from tests.live.acme import HOST
from tests.live.edge import RTMPS
from tests.live.engines import adapter, air, icecast_kh, spec_of
from tests.live.engines.stand import STREAM, PanelClient
from tests.live.node import NODE
from tests.live.test_acme import CLIENT, SECRET, Site, wait_for_another
from tests.live.test_autodj import RADIO, START, Studio
from tests.live.test_djs import ALL, AUTODJ, LOW, PORT, SOON, UNITS
from tests.live.tones import Ears, Encoder, decoded, longest_silence, recording
from tests.live.transfers import crypt, ftps
from tests.nodes.fleet import Domain

pytestmark = [pytest.mark.live, pytest.mark.full]

ENGINES = ("icecast", "icecast_kh", "nginx_rtmp")
#: A channel whose encoder comes by RTMPS.
BY_TLS = "nginx-rtmp-tls"
PLAY = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles: {roles}
"""
PROCESSES = f"{air.PROCESSES} streamfleet-file-transfer.service {UNITS}"


def slug_of(engine: str) -> str:
    return engine.replace("_", "-")


class OnTheAir(Site, Studio):
    """The node with every open engine, a station with an AutoDJ and a DJ, and FTP over TLS."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        groups: dict[str, Any] = {name: {"hosts": {NODE: {}}} for name in ("streamfleet_nodes", *ENGINES)}
        groups["all"] = {"vars": {**icecast_kh.variables(folder), "streamfleet_file_transfer_host": STREAM}}
        (folder / "groups.json").write_text(json.dumps(groups))
        self.root = folder / "root.pem"
        self.client = PanelClient(self)

    def roles(self, *names: str, **variables: Any) -> None:
        """Run roles on the node."""
        path = self.folder / "some-roles.yml"
        path.write_text(PLAY.format(roles=json.dumps(names)))
        self.play(path, "-e", json.dumps(variables))

    def want(self, *services: dict[str, Any]) -> None:
        """Ask for the services, and for somebody who may bring media."""
        super().want(*services)
        self.panel.documents[NODE]["media_users"] = [media_user("alice.studio", RADIO[1], crypt(SECRET))]

    def on_air(self) -> None:
        """Have a service of each engine, and the two more."""
        services = {slug_of(name): (name, adapter(name).service(slug_of(name), 1)) for name in ENGINES}
        services[BY_TLS] = ("nginx_rtmp", adapter("nginx_rtmp").service(BY_TLS, 2))
        settings = {**autodj(crossfade_seconds=2), "live_port": PORT}
        booth = station(
            *RADIO, settings=settings, playlists=[playlist("day", folder="day")], djs=[dj("low", grace_seconds=0)]
        )
        services[RADIO[0]] = ("icecast", booth)
        self.client.engines = {slug: name for slug, (name, _service) in services.items()}
        self.client.services = {slug: service for slug, (_name, service) in services.items()}
        self.client.converge()

    def served(self) -> dict[str, int]:
        """By who shows it, the certificate's number; FTP over TLS is waited for until it shows the web server's."""
        self.wait_for_ftps(STREAM)
        found = {"web": self.shown(STREAM), "rtmps": self.shown(STREAM, RTMPS)}
        return {name: certificate.serial_number for name, certificate in found.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnTheAir]:
    """The node with the directory's certificate, and all services declared."""
    site = OnTheAir(Path(tmp_path_factory.mktemp("on_the_air")))
    with site.started(*(Domain(name, NODE) for name in (HOST, STREAM))):
        site.pebble.install()
        site.pebble.start()
        site.root.write_text(site.pebble.root)
        site.pebble.leads(STREAM, site.address)
        site.roles("common", *ENGINES, "autodj")
        site.extra = {
            "streamfleet_certificates_trusted": site.pebble.root,
            "streamfleet_stream_host": STREAM,
            "_streamfleet_certificates_here": [{"name": STREAM, "source": "acme"}],
        }
        site.certificates()
        site.roles("nginx_rtmp", "file_transfer", streamfleet_stream_host=STREAM)
        site.on_air()
        for number in range(3):
            site.upload(recording(site.folder / f"{number}.mp3", AUTODJ, 60), f"day/{number}.mp3")
        yield site


@contextlib.contextmanager
def in_the_booth(site: OnTheAir) -> Iterator[None]:
    """A DJ who is on the air instead of the AutoDJ, and one listener, who hears that and nothing else, then the AutoDJ.

    None of it is numbered, for the station's own programs make the sound anew: what is counted is silence.
    """
    deadline = time.monotonic() + START
    while True:
        ears = Ears(site.address, 443, f"/listen/{RADIO[0]}/stream", STREAM, str(site.root))
        time.sleep(1)
        if ears.status == 200:
            break
        ears.stop()
        assert time.monotonic() < deadline, site.sh(f"journalctl -u {UNITS.split()[0]} --no-pager | tail -30")
    ears.await_tone(AUTODJ, ALL, within=START)
    low = Encoder(site.address, PORT, "/low", "secret-of-low", LOW, user="low")
    try:
        ears.await_tone(LOW, ALL, within=SOON)
        begun = time.monotonic()
        yield
        assert ears.hears(ALL) == LOW
        low.stop()
        ears.await_tone(AUTODJ, ALL, within=SOON)
        assert not ears.ended
        assert longest_silence(decoded(ears.bytes_since(begun))) <= 0.5
    finally:
        low.sent_away(within=0.1)
        ears.stop()


@contextlib.contextmanager
def everybody(site: OnTheAir) -> Iterator[dict[str, Audience]]:
    """Encoders and those who listen and watch, of every engine and by every way there is; nobody loses anything."""
    route = Route(site.address, str(site.root))
    subjects = {name: Subject(slug_of(name), spec_of(name), site.client, route) for name in ENGINES}
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(air.everybody(subjects))
        channel = Subject(BY_TLS, spec_of("nginx_rtmp"), site.client, route)
        found["nginx_rtmp by rtmps"] = stack.enter_context(air.by_tls(channel))
        stack.enter_context(in_the_booth(site))
        session = ftps(site.address, site.pebble.root, "alice.studio", SECRET)
        stack.callback(session.close)
        yield found
        session.voidcmd("NOOP")


def renewed(site: OnTheAir) -> None:
    site.certificates("-e", f"certificates_renew={STREAM}")


def renewed_by_itself(site: OnTheAir) -> None:
    """As the timer does it, once there is none that is held to last."""
    site.sh(f"rm {CLIENT}/held/{STREAM}.pem; systemctl start streamfleet-acme.service")


def revoked(site: OnTheAir) -> None:
    """With a new key."""
    site.certificates("-e", f"certificates_revoke={STREAM}", "-e", "certificates_revoke_reason=superseded")


def test_everybody_is_on_the_air_through_renewals_and_all_servers_show_each(site: OnTheAir) -> None:
    ways: dict[Callable[[OnTheAir], None], bool] = {renewed: True, renewed_by_itself: True, revoked: False}
    with everybody(site) as found:
        before = site.sh(PROCESSES)
        for renew, same_key in ways.items():
            here, old = air.pieces(found), site.shown(STREAM)
            renew(site)
            new = wait_for_another(site, STREAM, old)
            assert (new.public_key() == old.public_key()) is same_key
            assert site.served() == {"web": new.serial_number, "rtmps": new.serial_number}
            assert site.trusted(STREAM)
            # Who comes now is shown it, and stays as long as all others.
            time.sleep(5)
            print(f"{renew.__name__}:")
            air.nobody_has_lost_anything(found, here)
        assert site.pebble.status(old)["Status"] == "Revoked"
        assert site.sh(PROCESSES) == before
