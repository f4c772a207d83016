"""The guard of addresses that tenants give: what may be declared, and what may be connected to."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
import yaml
from streamfleet import guard

ROOT = Path(__file__).resolve().parents[2]
IN = ("http", "https")
OUT = ("icecast", "icecasts")


def test_good_addresses_are_taken_apart() -> None:
    cases = {
        "http://radio.example.net:8000/stream": ("http", "radio.example.net", 8000, "/stream"),
        "HTTPS://Radio.Example.Net./a/b;x?q=1@2": ("https", "radio.example.net", 443, "/a/b;x?q=1@2"),
        "http://8.8.8.8": ("http", "8.8.8.8", 80, "/"),
        "http://8.8.8.8?sid=1": ("http", "8.8.8.8", 80, "/?sid=1"),
        "http://[2A00:1450::1]:8080/x": ("http", "2a00:1450::1", 8080, "/x"),
        "http://xn--rdio-0na.example": ("http", "xn--rdio-0na.example", 80, "/"),
    }
    for url, parts in cases.items():
        place = guard.place_of(url, IN)
        assert (place.scheme, place.host, place.port, place.path) == parts, url
    place = guard.place_of("icecasts://[2a00:1450::1]/live", OUT)
    assert (place.port, place.encrypted, place.authority) == (443, True, "[2a00:1450::1]")
    assert guard.place_of("icecast://a.example/live", OUT).authority == "a.example"
    assert guard.place_of("http://a.example:8000", IN).authority == "a.example:8000"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is not an address with a scheme and a host"),
        ("radio.example.net/stream", "is not an address with a scheme and a host"),
        ("file:///etc/passwd", "has the scheme file"),
        ("file:/etc/passwd", "is not an address"),
        ("gopher://radio.example.net/", "has the scheme gopher"),
        ("icecast://radio.example.net/", "has the scheme icecast"),
        ("http://user:pass@radio.example.net/", "holds a user name or password"),
        ("http://8.8.8.8@127.0.0.1/", "holds a user name or password"),
        ("http:///stream", "has a host that is no name"),
        ("http://radio.example.net:/", "has no host that is a name or an address"),
        ("http://radio.example.net:99999/", "names port 99999"),
        ("http://radio.example.net:22/", "names port 22"),
        ("http://radio.example.net:8000/a b", "holds a character"),
        ("http://radio.example.net/a\nHost: x", "holds a character"),
        ("http://radio.example.net/a#b", "holds a character"),
        ("http://radio.example.net\\x/", "has a host that is no name"),
        ("http://radio.example.net\n/", "has a host that is no name"),
        ("http://rádio.example/", "has a host that is no name"),
        ("http://radio..example/", "has a host that is no name"),
        (f"http://radio.example.net/{'a' * 276}", "has 301 characters, at most 255 fit"),
        ("http://localhost/", "names localhost, which is not on the public Internet"),
        ("http://a.localhost./", "names a.localhost, which is not on the public Internet"),
        ("http://metadata.google.internal/", "is not on the public Internet"),
        ("http://intranet/", "has a host that is no full name"),
        ("http://127.0.0.1:8100/", "names 127.0.0.1, which is not on the public Internet"),
        ("http://127.1/", "has a host that is no IPv4 address"),
        ("http://0x7f000001/", "has a host that is no IPv4 address"),
        ("http://2130706433/", "has a host that is no IPv4 address"),
        ("http://0177.0.0.1/", "has a host that is no IPv4 address"),
        ("http://[::1]/", "names ::1"),
        ("http://[::ffff:8.8.8.8]/", "is not on the public Internet"),
        ("http://[fe80::1%25eth0]/", "is not on the public Internet"),
        ("http://[1.2.3.4]/", "has a host that is no IPv6 address"),
    ],
)
def test_bad_addresses_are_refused_in_words(url: str, message: str) -> None:
    with pytest.raises(guard.Refused) as refused:
        guard.place_of(url, IN)
    assert message in refused.value.message
    assert refused.value.fix


NOT_PUBLIC = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8"),
    *("192.168.0.1", "198.18.0.1", "203.0.113.1", "224.0.1.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public_is_refused_also_beside_what_is(address: str) -> None:
    assert not guard.is_public(ipaddress.ip_address(address))
    for found in ([address], ["8.8.8.8", address], [address, "2a00:1450::1"]):
        with pytest.raises(guard.Refused, match="leads to an address that is not public") as refused:
            guard.vetted(found)
        # Tenants are not told what a name of the inside stands for; operators are.
        assert address not in refused.value.message
        assert f"leads to {ipaddress.ip_address(address)}," in refused.value.detail


def test_public_ones_pass_once_each_and_a_name_without_any_is_refused() -> None:
    assert guard.vetted(["8.8.8.8", "2a00:1450::1", "8.8.8.8"]) == ["8.8.8.8", "2a00:1450::1"]
    assert guard.vetted(["::ffff:8.8.8.8"]) == ["::ffff:8.8.8.8"]
    with pytest.raises(guard.Refused, match="has no address"):
        guard.vetted([])


def test_an_operator_can_open_networks_and_only_these() -> None:
    opened = guard.networks_of(["10.9.0.0/16", "fd00:9::/32"])
    assert guard.vetted(["10.9.1.1", "fd00:9::1", "8.8.8.8"], opened) == ["10.9.1.1", "fd00:9::1", "8.8.8.8"]
    for address in ("10.8.1.1", "127.0.0.1", "fd00:8::1", "::ffff:10.8.1.1"):
        with pytest.raises(guard.Refused):
            guard.vetted([address], opened)


def test_no_tenant_reaches_what_the_guard_refuses_by_another_way() -> None:
    """The firewall around tenants takes every network that is private, so that it stands where the guard fails."""
    common = yaml.safe_load((ROOT / "roles/common/vars/main.yml").read_text())
    closed = guard.networks_of(
        [*common["_streamfleet_common_private_ipv4"], *common["_streamfleet_common_private_ipv6"]]
    )
    for text in NOT_PUBLIC:
        address = ipaddress.ip_address(text)
        reserved = text in ("203.0.113.1", "2001:db8::1", "100::1", "2001::1")  # routed nowhere
        assert reserved or any(address.version == net.version and address in net for net in closed), text


def test_there_is_one_guard() -> None:
    """Panel and node link to it: what they ship is this file's text."""
    ours = (ROOT / "module_utils/streamfleet/guard.py").resolve()
    for other in (
        "panel/streamfleet_panel/guard.py",
        "roles/relay/files/streamfleet_relay/guard.py",
        "roles/wowza/files/guard.py",
    ):
        assert (ROOT / other).is_symlink()
        assert (ROOT / other).resolve() == ours
