"""The own authority and a host's certificates, held to what OpenSSL says of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from streamfleet.tls import pem
from streamfleet.tls.authority import Authority
from streamfleet.tls.certificates import Place, due, install, request
from streamfleet.tls.errors import TlsError
from streamfleet.tls.names import Names

STREAM = Names.of({"name": "stream.example.net", "addresses": ["192.0.2.10", "::1"]})
PANEL = Names.of({"name": "panel.example.net", "alternatives": ["*.panel.example.net", "localhost"]})


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "ca", "Example", 3650, ())
    assert made.ensure()
    return made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tls", tmp_path / "host-ca.pem", os.getgid(), 60)


def run(authority: Authority, place: Place, *wanted: Names, days: int = 365) -> list[str]:
    """What the role does: names of those that were signed."""
    asked = [(names, request(place, names)) for names in due(place, wanted)]
    install(place, wanted, authority.sign(asked, days), authority.text)
    return [names.name for names, _ in asked]


def openssl(place: Place, names: Names, *options: str) -> subprocess.CompletedProcess[str]:
    chain = place.directory / names.name / "fullchain.pem"
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(place.authority), *options]
    return subprocess.run([*command, str(chain)], capture_output=True, text=True, check=False)


def test_clients_accept_what_is_signed_for_its_names_only(authority: Authority, place: Place) -> None:
    assert run(authority, place, STREAM, PANEL) == [STREAM.name, PANEL.name]
    for names, options in (
        (STREAM, ["-verify_hostname", "stream.example.net"]),
        (STREAM, ["-verify_ip", "192.0.2.10"]),
        (STREAM, ["-verify_ip", "::1"]),
        (PANEL, ["-verify_hostname", "a.panel.example.net"]),
        (PANEL, ["-verify_hostname", "localhost"]),
    ):
        assert openssl(place, names, *options).returncode == 0, openssl(place, names, *options).stderr
    assert "hostname mismatch" in openssl(place, STREAM, "-verify_hostname", "panel.example.net").stderr
    key = place.directory / STREAM.name / "privkey.pem"
    assert key.stat().st_mode & 0o777 == 0o640
    assert (place.directory / STREAM.name).stat().st_mode & 0o777 == 0o750
    assert (authority.folder / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_second_run_asks_for_nothing(authority: Authority, place: Place) -> None:
    run(authority, place, STREAM)
    assert not authority.ensure()
    assert run(authority, place, STREAM) == []
    assert install(place, [STREAM], {}, authority.text) == []


def test_what_is_due(authority: Authority, place: Place, tmp_path: Path) -> None:
    run(authority, place, STREAM)
    folder = place.directory / STREAM.name
    key = (folder / "privkey.pem").read_bytes()
    more = Names.of({"name": STREAM.name, "addresses": ["192.0.2.11"]})
    assert due(place, [more]) == [more]  # other names
    (folder / "privkey.pem").chmod(0o644)
    assert due(place, [STREAM]) == [STREAM]  # a key that anybody can read
    assert run(authority, place, STREAM) == [STREAM.name]
    assert (folder / "privkey.pem").read_bytes() == key, "the key is kept"
    (folder / "privkey.pem").write_bytes(pem.new_key()[1])
    assert run(authority, place, STREAM) == [STREAM.name]  # another key
    assert run(authority, place, STREAM, days=30) == []
    (folder / "names").unlink()
    assert run(authority, place, STREAM, days=30) == [STREAM.name]
    assert run(authority, place, STREAM) == [STREAM.name]  # about to expire
    assert run(authority, place, STREAM) == []
    (folder / "fullchain.pem").write_text("no certificate")
    assert run(authority, place, STREAM) == [STREAM.name]
    (folder / "privkey.pem").write_text("no key")
    assert run(authority, place, STREAM) == [STREAM.name]
    other = Authority(tmp_path / "other", "Example", 3650, ())
    other.ensure()
    install(place, [], {}, other.text)
    assert run(other, place, STREAM) == [STREAM.name]  # of the same name, but another authority
    assert openssl(place, STREAM).returncode == 0


def test_another_kind_of_key_comes_with_the_next_certificate(authority: Authority, place: Place) -> None:
    run(authority, place, STREAM)
    folder = place.directory / STREAM.name
    for kind in ("rsa2048", "ec384", "ec256"):
        other = Place(place.directory, place.authority, place.group, 60, kind)
        old = (folder / "privkey.pem").read_bytes()
        asked = [(names, request(other, names)) for names in due(other, [STREAM])]
        assert (folder / "privkey.pem").read_bytes() == old, "the old pair is used until the new one is whole"
        install(other, [STREAM], authority.sign(asked, 365), authority.text)
        assert pem.kind(pem.read_key(folder / "privkey.pem")) == kind
        assert due(other, [STREAM]) == []
        assert openssl(place, STREAM).returncode == 0
        assert not (folder / "next.pem").exists()


def test_the_authority_keeps_its_key(authority: Authority) -> None:
    key = (authority.folder / "ca.key").read_bytes()
    (authority.folder / "ca.pem").unlink()
    assert authority.ensure()
    assert (authority.folder / "ca.key").read_bytes() == key
    (authority.folder / "ca.key").chmod(0o644)
    assert authority.ensure()
    assert (authority.folder / "ca.key").stat().st_mode & 0o777 == 0o600
    (authority.folder / "ca.key").unlink()
    with pytest.raises(TlsError, match=r"ca.key is missing, but its certificate is there. Put the key back"):
        authority.ensure()
    (authority.folder / "ca.key").write_text("broken")
    with pytest.raises(TlsError, match="is not a private key that can be read"):
        authority.ensure()
    assert (authority.folder / "ca.key").read_text() == "broken"


def test_the_authority_may_be_bound_to_domains(tmp_path: Path, place: Place) -> None:
    bound = Authority(tmp_path / "bound", "Example", 3650, ("example.net",))
    bound.ensure()
    foreign = Names.of({"name": "stream.example.org"})
    run(bound, place, STREAM, foreign)
    assert openssl(place, STREAM).returncode == 0
    assert "permitted subtree violation" in openssl(place, foreign).stderr


def test_names_come_from_the_inventory_not_from_the_request(authority: Authority, place: Place) -> None:
    csr = request(place, PANEL)
    signed = authority.sign([(STREAM, csr)], 30)[STREAM.name]
    assert b"panel.example.net" not in pem.x509.load_pem_x509_certificate(signed.encode()).tbs_certificate_bytes
    with pytest.raises(TlsError, match=r"the request for stream.example.net cannot be read"):
        authority.sign([(STREAM, "nonsense")], 30)


def test_what_only_the_host_itself_uses_lasts_as_long_as_the_authority(authority: Authority, place: Place) -> None:
    local = Names.of({"name": "localhost"})
    run(authority, place, STREAM, local, days=30)
    left = {
        names: pem.days_left(pem.read_certificate(place.directory / names.name / "fullchain.pem"))
        for names in (STREAM, local)
    }
    assert 29 < left[STREAM] <= 30
    assert authority.days - 2 < left[local] <= authority.days
    assert openssl(place, local).returncode == 0


def test_a_name_that_is_too_long_for_a_common_name(authority: Authority, place: Place) -> None:
    long = Names.of({"name": ".".join(["a" * 60, "b" * 60, "example.net"])})
    run(authority, place, long)
    done = openssl(place, long, "-verify_hostname", long.name)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"name": "../etc"}, "'../etc' is not a host name"),
        ({"name": "*.example.net"}, "is not a host name"),
        ({"name": "UPPER.example.net"}, "use lower-case letters"),
        (
            {"name": "müller.example.net"},
            "'müller.example.net' is not as DNS has it; write it xn--mller-kva.example.net",
        ),
        ({"name": "straße.example.net"}, "write it as an A-label"),
        ({"name": "a.example.net", "alternatives": ["-b.example.net"]}, "'-b.example.net' is not a host name"),
        ({"name": "a.example.net", "addresses": ["192.0.2.300"]}, "'192.0.2.300' is not an IP address"),
    ],
)
def test_names_that_cannot_be_used(item: dict[str, object], message: str) -> None:
    with pytest.raises(TlsError, match=message.replace("*", r"\*")):
        Names.of(item)
