"""Certificates from an ACME directory on a real node: Pebble, lego, nginx, ProFTPD and Icecast are the real ones.

One node is its directory's, too. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests playbooks: certificates.yml.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.doubles.panel import media_user, station
from tests.live import visitors
from tests.live.acme import BLOCKED, DIRECTORY, DNS, HOOK, HOST, Pebble
from tests.live.node import NODE, Node, changed_tasks, password
from tests.live.streams import Listener, Source, on_air
from tests.live.transfers import crypt, ftps
from tests.nodes.fleet import Domain

pytestmark = pytest.mark.live

STREAM, OTHER, AWAY, GONE = (f"{name}.acme.test" for name in ("stream", "other", "away", "gone"))
SECRET = "correct horse"
#: Where the client keeps what it knows.
CLIENT = "/var/lib/streamfleet/certificates/client"
OWN = "O=Streamfleet,CN=Streamfleet CA"
ORDERED = "certificates : Have the certificates ordered that are due"
SLUG, UID, PORT = "rock-fm", 200001, 8100
BASE = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles: [common, icecast]
"""
TRANSFER = """\
---
- name: Let customers bring media
  hosts: streamfleet_nodes
  become: true
  roles:
    - role: file_transfer
      streamfleet_file_transfer_host: stream.acme.test
"""
#: Many of one host, and one among them that the directory refuses.
TWENTY, BAD = [f"n{number:02}.acme.test" for number in range(1, 21)], "n00.acme.test"
#: Of each path that is there, a line; patterns may be among them.
THERE = 'for path in {}; do if [ -e "$path" ] || [ -L "$path" ]; then echo "$path"; fi; done'
UNITS = "systemctl list-units --all --plain --no-legend 'streamfleet-acme*'"
#: More names than a node has by itself: what the playbook would wire.
NAMES = [
    {"name": GONE, "source": "acme"},
    {"name": BLOCKED, "source": "acme"},
    {"name": STREAM, "source": "acme"},
    {"name": AWAY, "source": "acme"},
    {"name": OTHER, "source": "acme", "alternatives": [f"www.{OTHER}"]},
]


class Site(Node):
    """A node with a station, and the directory that issues its certificates."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        groups = {name: {"hosts": {NODE: {}}} for name in ("streamfleet_nodes", "icecast")}
        (folder / "groups.json").write_text(json.dumps(groups))
        (folder / "base.yml").write_text(BASE)
        (folder / "transfer.yml").write_text(TRANSFER)
        self.pebble = Pebble(self, folder, (BLOCKED, BAD))
        self.extra: dict[str, Any] = {}
        #: What the first run with the directory has said.
        self.first = ""

    def certificates(self, *arguments: str, ok: bool = True, **more: Any) -> str:
        """playbooks/certificates.yml; its output."""
        variables = {
            "streamfleet_stream_host": STREAM,
            "streamfleet_certificates_authority_host": NODE,
            "streamfleet_certificates_source": "acme",
            "streamfleet_certificates_acme_directory": DIRECTORY,
            "streamfleet_certificates_acme_directory_ca": self.pebble.ca,
            "streamfleet_certificates_acme_email": "ops@acme.test",
            "streamfleet_certificates_acme_terms_agreed": True,
            "streamfleet_certificates_acme_resolvers": [DNS],
            "_streamfleet_certificates_here": NAMES,
            **self.extra,
            **more,
        }
        path = self.folder / "variables.json"
        path.write_text(json.dumps(variables))
        return self.play("playbooks/certificates.yml", "-e", f"@{path}", *arguments, ok=ok)

    def refused(self, command: str) -> str:
        """What a command says that must fail."""
        done = self.fleet.exec(NODE, ["sh", "-c", f"{command} 2>&1"], check=False)
        assert done.returncode != 0, done.stdout
        return str(done.stdout).strip()

    def self_check(self, ok: bool = True) -> str:
        """The role's own; its output in one line."""
        variables = json.loads((self.folder / "variables.json").read_text())
        variables |= {"roles_in_order": ["certificates"], "entry": "self_check"}
        variables["streamfleet_certificates_names"] = variables["_streamfleet_certificates_here"]
        path = self.folder / "check.json"
        path.write_text(json.dumps(variables))
        return " ".join(self.play(self.folder / "tasks.yml", "-e", f"@{path}", ok=ok).split())

    def state(self, name: str) -> dict[str, Any]:
        """What the client knows of a name."""
        text = self.sh(f"cat {CLIENT}/state.json")
        found: dict[str, Any] = json.loads(text)["names"].get(name, {})
        return found

    def shown(self, name: str, port: int = 443) -> x509.Certificate:
        """The certificate that a new connection is shown for the name."""
        return visitors.shown(self.address, name, port)

    def wait_for_ftps(self, name: str = STREAM) -> None:
        """Until FTP over TLS shows what the web server shows, with all that leads from it to the directory's root."""
        deadline = time.monotonic() + 60
        while True:
            client = ftps(self.address, self.pebble.root, "alice.studio", SECRET)
            found = client.sock.getpeercert(binary_form=True)  # type: ignore[union-attr]
            client.close()
            assert found
            if x509.load_der_x509_certificate(found) == self.shown(name):
                return
            assert time.monotonic() < deadline, "FTP over TLS shows the old one"
            time.sleep(0.5)

    def trusted(self, name: str, directory: Pebble | None = None) -> bool:
        """Whether who trusts the directory's root, and nobody else, takes what the name is served with."""
        context = ssl.create_default_context(cadata=(directory or self.pebble).root)
        try:
            with (
                socket.create_connection((self.address, 443), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname=name),
            ):
                return True
        except ssl.SSLCertVerificationError:
            return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The node with nothing of certificates on it, and the directory down."""
    site = Site(Path(tmp_path_factory.mktemp("acme")))
    with site.started(*(Domain(name, NODE) for name in (HOST, STREAM, OTHER, AWAY))):
        site.pebble.install()
        for name in (STREAM, OTHER, f"www.{OTHER}", BLOCKED):
            site.pebble.leads(name, site.address)
        site.pebble.leads(AWAY, site.address, "192.0.2.9")
        site.play(site.folder / "base.yml")
        yield site


@pytest.fixture(scope="module")
def issued(site: Site) -> Site:
    """The node once the directory is up, and has been asked for good and bad names."""
    site.pebble.start()
    site.extra["streamfleet_certificates_trusted"] = site.pebble.root
    site.first = " ".join(site.certificates().split())
    return site


@pytest.mark.full
def test_a_fresh_node_comes_up_while_the_directory_is_down(site: Site) -> None:
    check = site.certificates("--check")
    assert f"{STREAM}: there is none yet" in check
    assert site.sh(THERE.format("/etc/streamfleet /etc/streamfleet/acme")) == "/etc/streamfleet"
    output = site.certificates(streamfleet_certificates_acme_wait_seconds=60)
    assert "cannot be reached" in output.replace("\n", " ")
    # Check mode cannot know that nothing comes of the order.
    assert [task for task in changed_tasks(check) if task != ORDERED] == changed_tasks(output)
    assert site.shown(STREAM).issuer.rfc4514_string() == OWN
    assert site.state(STREAM)["here"] is True
    assert site.state(STREAM)["next_try"]
    said = site.self_check(ok=False)
    assert f"{GONE} cannot be ordered: the directory {DIRECTORY} cannot be reached" in said


def test_first_issue_with_bad_names_among_good_ones(issued: Site) -> None:
    for name in (STREAM, OTHER):
        assert issued.trusted(name), name
    assert f"{AWAY} leads to 192.0.2.9, which is not this host's" in issued.first
    assert f"{GONE} does not resolve: it has neither A nor AAAA records" in issued.first
    assert "rejectedIdentifier" in issued.state(BLOCKED)["error"]
    assert issued.state(BLOCKED)["here"] is False
    again = issued.certificates()
    assert issued.changed(again) == 0, changed_tasks(again)
    assert issued.changed(issued.certificates("--check")) == 0
    # One is corrected: nobody has to wait for a next try that was put off here. The others are given up.
    issued.pebble.leads(AWAY, issued.address)
    issued.extra["_streamfleet_certificates_here"] = [NAMES[2], NAMES[3], NAMES[4]]
    assert ORDERED in changed_tasks(issued.certificates())
    assert issued.trusted(AWAY)
    kept = issued.sh("ls /etc/streamfleet/acme/requests").split()
    assert kept == [f"{name}.csr" for name in (AWAY, OTHER, STREAM)]
    assert "failed=0" in issued.self_check()


@pytest.mark.full
def test_a_bad_name_among_twenty_good_ones_backs_off_and_blocks_nobody(issued: Site) -> None:
    for name in (*TWENTY, BAD):
        issued.pebble.leads(name, issued.address)
    # The bad one is the first in the order of the settings, and of the alphabet.
    names = [*({"name": name, "source": "acme"} for name in (BAD, *TWENTY)), *NAMES[2:]]
    began = time.time()
    said = " ".join(
        issued.certificates(
            _streamfleet_certificates_here=names, streamfleet_certificates_acme_wait_seconds=420
        ).split()
    )
    assert [name for name in TWENTY if not issued.trusted(name)] == []
    assert f"{BAD}: " in said
    assert not issued.trusted(BAD)
    assert "badNonce" not in json.dumps([issued.state(name) for name in TWENTY])
    refused = issued.state(BAD)
    assert "rejectedIdentifier" in refused["error"]
    assert 10 <= put_off(refused) <= 13
    # Until then it is asked for no more, while another is renewed.
    unit = "systemctl start streamfleet-acme.service"
    tried, last = f"journalctl -o cat -u streamfleet-acme -S @{began:.0f} | grep -c '^{BAD}: ordered'", TWENTY[-1]
    assert issued.sh(tried) == "1"
    shown = issued.shown(last)
    issued.sh(f"rm {CLIENT}/held/{last}.pem; {unit}")
    wait_for_another(issued, last, shown)
    assert issued.sh(tried) == "1"
    # Then it is, and waits for longer; the good ones are as they were.
    serials = [issued.shown(name).serial_number for name in TWENTY]
    issued.sh(f"sed -i 's/{refused['next_try']}/2020-01-01T00:00:00Z/' {CLIENT}/state.json; {unit}")
    assert issued.sh(tried) == "2"
    assert 20 <= put_off(issued.state(BAD)) <= 24
    assert [issued.shown(name).serial_number for name in TWENTY] == serials


def put_off(entry: dict[str, Any]) -> float:
    """Minutes from the last try of a name until the next one."""
    return (datetime.fromisoformat(entry["next_try"]) - datetime.fromisoformat(entry["tried_at"])).total_seconds() / 60


def wait_for_another(site: Site, name: str, old: x509.Certificate) -> x509.Certificate:
    """What the web server shows for the name once it is not the old one."""
    deadline = time.monotonic() + 60
    while (found := site.shown(name)) == old:
        assert time.monotonic() < deadline, site.sh("journalctl -n 50 -u 'streamfleet-acme*'")
        time.sleep(0.3)
    return found


def test_the_client_is_let_do_nothing_else(issued: Site) -> None:
    for unit in ("streamfleet-acme.service", "streamfleet-acme-install.service"):
        exposure = issued.sh(f"systemd-analyze security --no-pager {unit} | tail -1")
        assert float(exposure.partition("service:")[2].split()[0]) <= 3.0, exposure
    user = "runuser -u streamfleet-acme --"
    # What it may do it can do: what is refused below is refused for the path's sake.
    assert "BEGIN CERTIFICATE REQUEST" in issued.sh(f"{user} cat /etc/streamfleet/acme/requests/{STREAM}.csr")
    issued.sh(f"{user} touch /var/lib/streamfleet/certificates/client/x")
    issued.sh("rm /var/lib/streamfleet/certificates/client/x")
    for path in (f"/etc/streamfleet/tls/{STREAM}/privkey.pem", "/etc/streamfleet/acme/secrets.env"):
        assert issued.sh(THERE.format(path)) == path
        assert issued.refused(f"{user} cat {path}") == f"cat: {path}: Permission denied"
    for folder in ("/etc/streamfleet/acme", "/var/lib/streamfleet/acme", "/var/lib/streamfleet/certificates"):
        assert issued.refused(f"{user} touch {folder}/x") == f"touch: cannot touch '{folder}/x': Permission denied"
    # What it lays where challenges are is not followed.
    challenges = "/var/lib/streamfleet/acme/.well-known/acme-challenge"
    asked = f"curl -s -o /dev/null -w %{{http_code}} http://{STREAM}/.well-known/acme-challenge"
    issued.sh(f"{user} ln -s /etc/streamfleet/tls/{STREAM}/privkey.pem {challenges}/stolen")
    issued.sh(f"{user} sh -c 'echo x >{challenges}/true'")
    said = issued.sh(f"{asked}/stolen; echo; {asked}/true").split()
    issued.sh(f"rm {challenges}/stolen {challenges}/true")
    assert said[0] in ("403", "404")
    assert said[1] == "200"
    assert "streamfleet-acme.timer" in issued.sh("systemctl list-timers --no-pager")
    assert "streamfleet-acme.timer" in issued.sh(UNITS)


def test_renewal_is_seen_by_who_comes_and_not_by_who_is_there(issued: Site) -> None:
    site = issued
    site.play(site.folder / "transfer.yml")
    site.want(station(SLUG, UID, PORT))
    site.panel.documents[NODE]["media_users"] = [media_user("alice.studio", UID, crypt(SECRET))]
    site.play("playbooks/converge.yml")
    root = site.folder / "root.pem"
    root.write_text(site.pebble.root)
    source = Source(site.address, PORT, "/stream", password(SLUG))
    with on_air(source):
        listener = Listener(site.address, 443, STREAM, f"/listen/{SLUG}/stream", str(root))
        listener.start()
        assert listener.playing.wait(20), listener.heard
        transfer = ftps(site.address, site.pebble.root, "alice.studio", SECRET)
        old, nginx = site.shown(STREAM), site.sh("systemctl show -P MainPID nginx")
        check = site.certificates("--check", "-e", f"certificates_renew={STREAM}")
        assert f"{STREAM}: it was asked for" in check
        assert f"{OTHER}: " not in check
        assert site.shown(STREAM) == old
        site.certificates("-e", f"certificates_renew={STREAM}")
        new = site.shown(STREAM)
        assert new.serial_number != old.serial_number
        assert new.public_key() == old.public_key(), "one file changes, so no handshake finds a key that does not fit"
        # By itself, as the timer does it: nobody but the host is needed.
        held = f"{CLIENT}/held/{STREAM}.pem"
        site.sh(f"rm {held}; systemctl start streamfleet-acme.service")
        wait_for_another(site, STREAM, new)
        site.wait_for_ftps()
        transfer.voidcmd("NOOP")
        transfer.close()
        assert site.sh("systemctl show -P MainPID nginx") == nginx
        assert source.error is None
        time.sleep(0.5)
        heard = listener.stop()
    assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
    assert heard.longest_gap < 5, heard


@pytest.mark.full
def test_revocation(issued: Site) -> None:
    site = issued
    old = site.shown(STREAM)
    assert site.pebble.status(old)["Status"] == "Valid"
    wrong = site.certificates("-e", "certificates_revoke=no.acme.test", ok=False)
    assert "certificates_revoke name no.acme.test, which no host of this run" in " ".join(wrong.split())
    arguments = ("-e", f"certificates_revoke={STREAM}", "-e", "certificates_revoke_reason=key_compromise")
    site.pebble.leads(STREAM, "192.0.2.9")
    failed = " ".join(site.certificates(*arguments, ok=False).split())
    assert f"{STREAM} is not revoked: it is not replaced yet: {STREAM} leads to 192.0.2.9" in failed
    assert site.shown(STREAM) == old
    assert site.pebble.status(old)["Status"] == "Valid"
    site.pebble.leads(STREAM, site.address)
    site.certificates()
    deadline = time.monotonic() + 60
    while site.pebble.status(old)["Status"] == "Valid":
        assert time.monotonic() < deadline, site.sh("journalctl -n 50 -u 'streamfleet-acme*'")
        time.sleep(0.5)
    assert site.pebble.status(old)["Status"] == "Revoked"
    assert site.pebble.status(old)["Reason"] == 1
    assert site.shown(STREAM).public_key() != old.public_key()
    assert site.trusted(STREAM)


@pytest.mark.full
def test_back_to_the_own_authority_nothing_goes_on_ordering(issued: Site) -> None:
    names = [{"name": STREAM, "source": "authority"}]
    issued.certificates(_streamfleet_certificates_here=names)
    assert issued.shown(STREAM).issuer.rfc4514_string() == OWN
    assert not [line for line in issued.sh(UNITS).splitlines() if "not-found" not in line]
    assert issued.changed(issued.certificates(_streamfleet_certificates_here=names)) == 0
    # And forth: what the directory had issued is there still, and nothing is ordered for it.
    said = issued.certificates()
    assert f"{STREAM}: issued before, put in place again" in said
    assert issued.trusted(STREAM)
    assert issued.changed(issued.certificates()) == 0


@pytest.mark.full
def test_a_wildcard_is_proved_by_dns_with_keys_of_another_kind(issued: Site) -> None:
    issued.certificates(
        _streamfleet_certificates_here=[{**NAMES[2], "alternatives": [f"*.{STREAM}"]}],
        streamfleet_certificates_acme_challenge="dns-01",
        streamfleet_certificates_acme_dns_hook=HOOK,
        streamfleet_certificates_acme_dns_wait=False,
        streamfleet_certificates_key_type="rsa2048",
    )
    assert "error" not in issued.state(STREAM), issued.state(STREAM)
    assert issued.trusted(STREAM)
    shown = issued.shown(STREAM)
    assert isinstance(shown.public_key(), rsa.RSAPublicKey)
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert f"*.{STREAM}" in names.get_values_for_type(x509.DNSName)


@pytest.mark.full
def test_uninstalled_nothing_is_left(issued: Site) -> None:
    for _turn in range(2):
        said = issued.play(
            issued.folder / "tasks.yml", "-e", '{"roles_in_order": ["certificates"], "entry": "uninstall"}'
        )
    assert issued.changed(said) == 0
    left = (
        "/etc/systemd/system/*acme* /var/lib/streamfleet/*acme* /var/lib/streamfleet/certificates "
        "/usr/lib/streamfleet/acme /etc/streamfleet/acme /etc/streamfleet/tls"
    )
    assert not issued.sh(THERE.format(left))
    assert issued.sh("getent passwd streamfleet-acme || echo none") == "none"
