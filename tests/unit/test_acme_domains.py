"""Certificates of tenants' own names: keys made by root, orders bounded and in nobody's way, and what a look costs."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from streamfleet import domains
from streamfleet.tls import acme, orders, pem
from streamfleet.tls.authority import Authority
from streamfleet.tls.certificates import Place
from streamfleet.tls.errors import TlsError
from streamfleet.tls.orders import Asked
from streamfleet.tls.shelf import Shelf, read
from streamfleet_acme import installer, keys, lego, tenants
from streamfleet_acme.keys import Keys
from streamfleet_acme.tenants import Tenants

from tests.doubles.lego import lego as double

OWN = "stream.example.net"
A, B, C = "a.example.com", "b.example.com", "c.example.com"
SETTINGS: dict[str, Any] = {
    "directory": "https://acme.example.net/directory", "directory_ca": False, "email": "ops@example.net", "eab": False,
    "challenge": "http-01", "http_port": 80, "resolvers": [], "addresses": [], "proxied": [], "fleet": [],
    "renew_days": 30,
    "orders": [], "own": [OWN], "domains_per_hour": 50,
}  # fmt: skip


class Lego(lego.Lego):
    """Lego's double in this very process: a program of its own for each name takes as long as all the rest."""

    def _run(self, command: Sequence[str]) -> None:
        arguments, words = sys.argv, io.StringIO()
        sys.argv = list(command)
        try:
            with contextlib.redirect_stderr(words):
                double.main()
        except SystemExit:
            raise lego.Refused(lego.said(words.getvalue())) from None
        finally:
            sys.argv = arguments


class Host:
    """A host's folders, lego's double with the authority of a directory, and an account there."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(folder / "etc", folder / "data")
        self.place = Place(folder / "tls", folder / "ca.pem", os.getgid(), 0)
        self.names, self.panel_names = folder / "domains", folder / "panel-domains"
        for path in (
            self.shelf.settings, self.shelf.own / "domains", self.shelf.issued, self.shelf.domains, self.shelf.left,
            self.shelf.marker("x").parent, self.place.directory, self.names, self.panel_names,
            self.shelf.own / "lego-domains",
        ):  # fmt: skip
            path.mkdir(parents=True)
        self.settings = dict(SETTINGS)
        self.double = folder / "directory"
        Authority(self.double, "Directory", 3650, ()).ensure()
        own = Authority(folder / "own", "Own", 3650, ())
        own.ensure()
        self.place.authority.write_text(own.text)
        account = lego.account(self.settings, self.shelf.own / "lego")
        account.parent.mkdir(parents=True)
        account.write_text("{}")
        (self.shelf.own / "lego-domains/accounts").symlink_to("../lego/accounts")
        #: Name → why it does not lead here.
        self.elsewhere: dict[str, str] = {}
        self.asked: list[str] = []
        self.unusable: str | None = None

    def have(self, *names: str, **of: int) -> list[str]:
        """Have just these names, as converge does, and root's part done; what that had to say.

        ``of``: beginning of a name → uid of its tenant.
        """
        for path in self.names.iterdir():
            path.unlink()
        for name in names:
            uid = next((uid for start, uid in of.items() if name.startswith(start)), 200001)
            (self.names / f"{name}.json").write_text(domains.content("rock-fm", uid, "listen"))
        return self.keys().make(time.time())

    def keys(self) -> Keys:
        return Keys(
            self.shelf, self.place, [self.names, self.panel_names], frozenset(self.settings["own"]), os.getgid()
        )

    def look(self, take: bool = True) -> dict[str, dict[str, Any]]:
        """One run of the client, then the installer's; what is known of names."""
        (self.shelf.settings / "settings.json").write_text(json.dumps(self.settings))
        self.asked = []

        def check(name: str) -> str | None:
            self.asked.append(name)
            return self.elsewhere.get(name)

        runs = Lego(self.shelf, self.settings, self.double, folder="lego-domains")
        Tenants(self.shelf, runs, self.settings, check, lambda: self.unusable).run()
        if take:
            assert installer.take(self.shelf, self.place) == []
        return self.known()["names"]  # type: ignore[no-any-return]

    def known(self) -> dict[str, Any]:
        return self.shelf.read_domains()

    def change(self, name: str, **entry: Any) -> None:
        """Have the client know something else of a name."""
        known = self.known()
        known["names"][name] |= entry
        self.shelf.write_domains(json.dumps(known))

    def later(self, **past: float) -> None:
        """Have orders of before be so old."""
        known = self.known()
        known["ordered"] = [(orders.text(datetime.now(UTC) - timedelta(**past)), uid) for _at, uid in known["ordered"]]
        self.shelf.write_domains(json.dumps(known))

    def served(self, name: str) -> x509.Certificate:
        return pem.read_certificate(self.place.directory / name / "fullchain.pem")

    def ordered(self) -> list[str]:
        """Names that the directory was asked for, in order."""
        path = self.double / "calls"
        calls = [json.loads(line)["argv"] for line in path.read_text().splitlines()] if path.exists() else []
        return [Path(argv[argv.index("--csr") + 1]).stem for argv in calls if "--csr" in argv]

    def revoked(self) -> list[str]:
        """Serial number and reason of what the directory was told to revoke."""
        path = self.double / "revoked"
        return path.read_text().splitlines() if path.exists() else []

    def order(self, **asked: Any) -> list[dict[str, Any]]:
        """What an operator's run does, as the module does it; its results."""
        look = acme.Look(self.shelf, self.settings, Asked(**asked))
        look.plan(datetime.now(UTC))
        look.lay_aside(self.place, os.getgid())
        look.ask(os.getgid())
        look.start(20, lambda _left: self.look() and self.look() and None)
        return look.results(self.place)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(tenants, "INSTALLED", 0.0)
    made = Host(tmp_path)
    monkeypatch.setenv("LEGO_DOUBLE", str(made.double))
    return made


# Root's part


def test_a_name_that_comes_gets_a_key_that_nobody_else_reads_and_a_request(host: Host) -> None:
    assert host.have(A) == []
    request = x509.load_pem_x509_csr(host.shelf.domain_request(A).read_bytes())
    folder = host.place.directory / A
    assert pem.hosts(request) == {A}
    assert pem.public(request) == pem.public(pem.read_key(folder / "next.pem"))
    assert folder.stat().st_mode & 0o7777 == 0o700
    assert (folder / "next.pem").stat().st_mode & 0o7777 == 0o600
    assert host.shelf.domain_request(A).stat().st_mode & 0o7777 == 0o640
    before = host.shelf.domain_request(A).stat().st_mtime_ns
    assert host.keys().make(time.time()) == []
    assert host.shelf.domain_request(A).stat().st_mtime_ns == before


def test_nothing_is_believed_of_what_lies_there(host: Host, tmp_path: Path) -> None:
    for name in ("..json", "...json", "A.example.com.json", "a.json", "192.0.2.1.json", "x.example.com", ".json"):
        (host.names / name).write_text("{}")
    (tmp_path / "away").mkdir()
    (host.place.directory / B).symlink_to(tmp_path / "away")
    (host.place.directory / C).mkdir()
    for name in (A, B, C, OWN):
        (host.names / f"{name}.json").write_text("{}")
    faults = host.keys().make(time.time())
    assert sorted(path.name for path in host.shelf.domains.iterdir()) == [f"{A}.csr"]
    assert [fault.partition(":")[0] for fault in faults] == [OWN, B, C]
    assert "is a name of this host's own" in faults[0]
    assert all("is there already, and is no tenant's" in fault for fault in faults[1:])
    assert list((tmp_path / "away").iterdir()) == []
    # Nor when they go: what is not its own stays.
    host.have()
    assert host.keys().make(time.time() + 30 * 86400) == []
    assert sorted(path.name for path in host.place.directory.iterdir()) == [B, C]


def test_names_of_resellers_are_certified_too_and_no_link_of_the_panels_is_followed(host: Host, tmp_path: Path) -> None:
    (host.panel_names / f"{A}.json").write_text('{"uid": 200007}')
    (tmp_path / "secret").write_text('{"uid": 200008}')
    (host.panel_names / f"{B}.json").symlink_to(tmp_path / "secret")
    assert host.have(C) == []
    assert sorted(path.name for path in host.shelf.domains.iterdir()) == [f"{A}.csr", f"{B}.csr", f"{C}.csr"]
    owners = host.shelf.read_owners()
    assert {name: owner.uid for name, owner in owners.items()} == {A: 200007, B: 0, C: 200001}
    # On a host without services, or without the panel, one of the folders is not there.
    for path in host.names.iterdir():
        path.unlink()
    host.names.rmdir()
    assert host.keys().make(time.time()) == []
    assert sorted(path.name for path in host.shelf.domains.iterdir()) == [f"{A}.csr", f"{B}.csr"]
    assert len(keys.changed([host.names, host.panel_names])) == 1


def test_a_name_that_goes_keeps_its_certificate_for_a_week(host: Host) -> None:
    host.have(A, B)
    host.look()
    certificate = host.served(A)
    host.have(B)
    assert not host.shelf.domain_request(A).exists()
    assert host.served(A) == certificate
    assert A in host.look()
    # It comes back, to another node's or to the same service.
    host.have(A, B)
    assert host.look()[A]["not_after"]
    assert (host.ordered(), host.asked) == ([A, B], []), "what it had is what it has"
    host.have(B)
    host.keys().make(time.time() + 6 * 86400)
    assert host.served(A) == certificate
    host.keys().make(time.time() + 8 * 86400)
    assert not (host.place.directory / A).exists()
    assert not host.shelf.marker(A).exists()
    assert list(host.shelf.left.iterdir()) == []
    assert host.served(B)
    host.have(A, B)
    host.look()
    assert host.ordered() == [A, B, A]
    assert host.served(A) != certificate


def test_a_name_that_becomes_the_operators_is_left_to_the_operator(host: Host) -> None:
    host.have(A)
    host.look()
    host.settings["own"] = [OWN, A]
    assert host.have(A) == [f"{A}: is a name of this host's own, and no tenant's"]
    host.keys().make(time.time() + 30 * 86400)
    assert host.served(A)
    assert host.look() == {} or "left" in host.look()[A]
    assert host.ordered() == [A]


def test_what_was_lost_is_made_anew(host: Host) -> None:
    host.have(A)
    host.look()
    for path in (host.place.directory / A).iterdir():
        path.unlink()
    (host.place.directory / A).rmdir()
    assert host.have(A) == []
    host.look()
    assert host.ordered() == [A, A]
    assert host.served(A)


# The client's


def test_good_and_bad_names_side_by_side(host: Host) -> None:
    host.have(A, "bad.example.com", C)
    host.elsewhere[C] = f"{C} leads to 192.0.2.9, which is not this host's"
    known = host.look()
    assert pem.signed_by(host.served(A), pem.read_certificate(host.double / "ca.pem"))
    folder = host.place.directory / A
    assert folder.stat().st_mode & 0o7777 == 0o750
    assert (folder / "privkey.pem").stat().st_mode & 0o7777 == 0o640
    assert not (folder / "next.pem").exists()
    assert host.ordered() == [A, "bad.example.com"]
    assert (known[C]["here"], known["bad.example.com"]["here"]) == (True, False)
    host.look()
    assert (host.asked, len(host.ordered())) == ([], 2), "what has failed waits, what is fine is not looked at"
    # The tenant takes it away and gives it again, having mended it: nobody has to wait.
    host.elsewhere.clear()
    host.have(A, "bad.example.com")
    host.have(A, "bad.example.com", C)
    known = host.look()
    assert "error" not in known[C]
    assert host.served(C)
    assert known[C].keys() == {
        "directory", "fingerprint", "issued_at", "key", "not_after", "renew_at", "request", "tried_at", "waiting",
    }  # fmt: skip
    assert "waiting" not in host.look()[C]


def test_what_does_not_lead_here_waits_longer_and_longer_up_to_hours(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants.random, "random", lambda: 0.0)
    host.have(A)
    host.elsewhere[A] = "it leads elsewhere"
    waited = []
    for _turn in range(8):
        entry = host.look()[A]
        until, tried = orders.moment(entry["next_try"]), orders.moment(entry["tried_at"])
        assert until is not None
        assert tried is not None
        waited.append(round((until - tried) / timedelta(minutes=1)))
        host.change(A, next_try="2026-01-01T00:00:00Z")
    assert waited == [10, 20, 40, 80, 160, 320, 360, 360]
    assert host.ordered() == []


def test_so_many_in_an_hour_and_no_more(host: Host) -> None:
    names = [f"n{n}.example.com" for n in range(5)]
    host.settings["domains_per_hour"] = 2
    host.have(*names)
    host.look()
    assert host.ordered() == names[:2]
    assert host.known()["error"] == ""
    host.look()
    assert len(host.ordered()) == 2
    host.later(minutes=61)
    host.look()
    assert host.ordered() == names[:4]
    host.settings["domains_per_hour"] = 0
    host.later(minutes=61)
    host.look()
    assert len(host.ordered()) == 4
    assert host.asked == []


def test_who_is_about_to_lose_theirs_comes_first_and_who_is_new_last(host: Host) -> None:
    host.have(A, B, C)
    host.look()
    soon = orders.text(datetime.now(UTC) + timedelta(days=3))
    later = orders.text(datetime.now(UTC) + timedelta(days=20))
    host.change(A, renew_at="2026-01-01T00:00:00Z", not_after=later)
    host.change(C, renew_at="2026-01-01T00:00:00Z", not_after=soon)
    host.have(A, B, C, "z.example.com")
    host.look()
    assert host.ordered()[3:] == [C, A, "z.example.com"]


def test_one_tenant_uses_up_no_hour(host: Host) -> None:
    many, few = [f"m{n:02}.example.com" for n in range(21)], [f"f{n}.example.com" for n in range(3)]
    host.settings["domains_per_hour"] = 25
    # The one with many comes first, and alone.
    host.have(*many[:8], m=200001)
    host.look()
    assert len(host.ordered()) == 8
    host.have(*many, *few, m=200001, f=200002)
    host.look()
    assert host.ordered()[8:11] == few, "who has had more than a fifth lets the others go first"
    assert len(host.ordered()) == 20 + 3, "then there is nobody else; a fifth is left to who comes"
    assert len(set(host.ordered()) & set(many)) == 20
    late = [f"l{n}.example.com" for n in range(5)]
    host.have(*many, *few, *late, m=200001, f=200002, l=200003)
    host.look()
    assert host.ordered()[23:] == late[:2], "no more than all in an hour"
    host.later(minutes=61)
    host.look()
    assert set(host.ordered()) == {*many, *few, *late}


def test_of_several_who_wait_each_has_a_fifth_and_their_turn(host: Host) -> None:
    letters = "abcdef"
    names = [f"{letter}{n:02}.example.com" for letter in letters for n in range(6)]
    host.settings["domains_per_hour"] = 25
    host.have(*names, **{letter: 200001 + n for n, letter in enumerate(letters)})
    host.look()
    ordered = [name[0] for name in host.ordered()]
    assert ordered[:12] == list(letters * 2), "by turns"
    assert {letter: ordered.count(letter) for letter in letters} == {
        "a": 5, "b": 4, "c": 4, "d": 4, "e": 4, "f": 4,
    }  # fmt: skip


def test_names_that_fail_take_no_other_tenants_turn(host: Host) -> None:
    bad, good = [f"b{n:02}.example.com" for n in range(20)], [f"g{n}.example.com" for n in range(4)]
    host.elsewhere = dict.fromkeys(bad, "it leads elsewhere")
    host.have(*bad, *good, b=200001, g=200002)
    host.look()
    assert host.ordered() == good
    assert [name for name in host.asked[:8] if name in good] == good
    # Nor when all of them are tried again, though they have waited longest, and even if they had certificates.
    soon = orders.text(datetime.now(UTC) + timedelta(days=3))
    for name in bad:
        host.change(name, next_try="2026-01-01T00:00:00Z", tried_at="2026-01-01T00:00:00Z", not_after=soon,
                    renew_at="2026-01-01T00:00:00Z")  # fmt: skip
    for name in good:
        host.change(name, renew_at="2026-01-01T00:00:00Z")
    host.look()
    assert set(host.asked[:4]) == set(good)
    assert host.ordered() == good * 2


def test_what_the_directory_refuses_counts_for_whose_it_is(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = [f"bad{n}.example.com" for n in range(7)], [f"g{n}.example.com" for n in range(7)]
    host.settings["domains_per_hour"] = 10
    obtain = lego.Lego.obtain
    tried: list[str] = []

    def refuse(self: lego.Lego, request: Path) -> bytes:
        tried.append(request.stem)
        if request.stem in bad:
            raise lego.Refused("acme: error: 403 :: urn:ietf:params:acme:error:unauthorized")
        return obtain(self, request)

    monkeypatch.setattr(lego.Lego, "obtain", refuse)
    host.have(*bad, *good, bad=200001, g=200002)
    host.look()
    assert [name in bad for name in tried].count(True) == 5
    assert host.ordered() == good[:5]
    assert {uid for _at, uid in host.known()["ordered"]} == {200001, 200002}


def test_whose_a_name_is_the_client_reads_and_root_alone_writes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.have(A, B, a=200001, b=200002)
    assert host.shelf.owners.stat().st_mode & 0o7777 == 0o640
    assert {name: owner.uid for name, owner in host.shelf.read_owners().items()} == {A: 200001, B: 200002}
    opened: list[str] = []
    monkeypatch.setattr(keys, "read", lambda path, *most: opened.append(path.name) or read(path, *most))
    assert host.keys().make(time.time()) == []
    assert opened == [], "what is known is not read again"
    # It passes to another tenant's service: the same name, another file.
    path = host.names / f"{A}.json"
    path.write_text(domains.content("jazz-fm", 200003, "listen"))
    os.utime(path, ns=(1, 1))
    assert host.keys().make(time.time()) == []
    assert opened == [path.name]
    assert host.shelf.read_owners()[A].uid == 200003
    for text in ("", "[]", "{}", '{"uid": "200001"}', '{"uid": true}', '{"uid": 0}', '{"uid": 300000}', "x" * 5000):
        path.write_text(text)
        assert host.keys().make(time.time()) == []
        assert host.shelf.read_owners()[A].uid == 0, "of what says nothing that can be, nobody knows whose it is"
    host.look()
    assert host.served(A)
    for text in ("", "[]", '{"names": []}', '{"names": {"a": 1}}'):
        host.shelf.owners.write_text(text)
        assert host.shelf.read_owners() == {}
    host.have(B)
    assert list(host.shelf.read_owners()) == [B]


def test_orders_of_which_only_the_time_is_known_count_all_the_same(host: Host) -> None:
    now = orders.text(datetime.now(UTC))
    host.shelf.write_domains(json.dumps({"names": {}, "ordered": [now, now], "error": ""}))
    assert host.known()["ordered"] == [(now, 0), (now, 0)]
    host.settings["domains_per_hour"] = 3
    host.have(A, B)
    host.look()
    assert len(host.ordered()) == 1


def test_a_limit_of_the_directory_ends_the_look(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.have(A, B, C)
    asked = []

    def refuse(_self: lego.Lego, request: Path) -> bytes:
        asked.append(request.stem)
        raise lego.Refused("acme: error: 429 :: urn:ietf:params:acme:error:rateLimited :: too many new orders")

    monkeypatch.setattr(lego.Lego, "obtain", refuse)
    known = host.look()
    assert asked == [A]
    assert list(known) == [A]


@pytest.mark.parametrize(
    "text",
    [
        'too many certificates (50) already issued for "example.com" in the last 168h0m0s',
        "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
        'too many failed authorizations (5) for "a.example.com" in the last 1h0m0s',
    ],
)
def test_a_limit_of_one_name_or_domain_is_no_other_ones(host: Host, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    host.have(A, B, C)
    asked = []

    def refuse(_self: lego.Lego, request: Path) -> bytes:
        asked.append(request.stem)
        raise lego.Refused(f"acme: error: 429 :: urn:ietf:params:acme:error:rateLimited :: {text}")

    monkeypatch.setattr(lego.Lego, "obtain", refuse)
    host.look()
    assert asked == [A, B, C]


def test_what_the_directory_refused_waits_though_it_goes_and_comes_back(host: Host) -> None:
    host.have("bad.example.com")
    host.look()
    host.have()
    host.have("bad.example.com")
    host.look()
    assert host.ordered() == ["bad.example.com"]


def test_a_kill_while_a_folder_is_made_keeps_nobody_from_a_certificate(host: Host) -> None:
    (host.place.directory / f".{A}.new").mkdir()
    assert host.have(A) == []
    host.look()
    assert host.served(A)
    assert not (host.place.directory / f".{A}.new").exists()


def test_the_hosts_own_come_first_and_a_directory_that_is_down_costs_nobody_a_wait(host: Host) -> None:
    host.have(A)
    host.unusable = "the directory cannot be reached"
    assert host.look() == {}
    assert host.known()["error"] == host.unusable
    host.unusable = None
    lego.account(host.settings, host.shelf.own / "lego").unlink()
    assert host.look() == {}
    assert "the host's own names come first" in host.known()["error"]
    assert (host.asked, host.ordered()) == ([], [])


def test_a_fault_of_one_is_no_other_ones(host: Host) -> None:
    host.have(A, B, C)
    host.shelf.domain_request(A).write_text("nothing")
    host.elsewhere = _Faulty({})  # type: ignore[assignment]
    known = host.look()
    assert known[A]["error"] == "this host: its request cannot be read"
    assert known[B]["error"] == "this host: ValueError: nobody expected that"
    assert host.ordered() == [C]


class _Faulty(dict[str, str]):
    def get(self, name: str, _default: Any = None) -> Any:
        if name == B:
            raise ValueError("nobody expected that")
        return None


def test_what_got_lost_on_its_way_is_handed_on_again(host: Host) -> None:
    host.have(A, B)
    host.look(take=False)
    (host.shelf.issued / f"{A}.pem").unlink()
    (host.shelf.issued / f"{B}.pem").unlink()
    (host.shelf.own / f"domains/{B}.pem").unlink()
    host.look()
    assert host.served(A)
    assert host.ordered() == [A, B, B], "of which a copy is there is not ordered again"
    assert host.served(B)
    host.look()
    assert list((host.shelf.own / "domains").iterdir()) == []


def test_a_name_that_comes_during_a_look_does_not_wait_for_its_end(host: Host) -> None:
    names = [f"n{n:02}.example.com" for n in range(3 * tenants.AT_ONCE)]
    host.elsewhere = dict.fromkeys(names, "it leads elsewhere")
    host.have(*names)

    class Coming(dict[str, str]):
        def get(self, name: str, _default: Any = None) -> Any:
            if name == names[0]:
                host.have(*names, A)
            return host_elsewhere.get(name)

    host_elsewhere, host.elsewhere = host.elsewhere, Coming()
    host.look()
    assert host.ordered() == [A]
    assert host.asked.index(A) <= 2 * tenants.AT_ONCE


def test_a_change_of_directory_orders_all_anew(host: Host) -> None:
    host.have(A)
    host.look()
    first = host.served(A).serial_number
    host.settings["directory"] = "https://other.example.net/directory"
    assert host.look()[A]["directory"] == SETTINGS["directory"], "the host's own names come first"
    account = lego.account(host.settings, host.shelf.own / "lego")
    account.parent.mkdir(parents=True)
    account.write_text("{}")
    host.look()
    assert host.served(A).serial_number != first


def test_the_installer_takes_for_tenants_what_root_has_made_a_request_for(host: Host) -> None:
    host.have(A)
    host.look(take=False)
    chain = (host.shelf.issued / f"{A}.pem").read_bytes()
    for name in (B, OWN, "..", "x"):
        (host.shelf.issued / f"{name}.pem").write_bytes(chain)
    faults = installer.take(host.shelf, host.place)
    assert len(faults) == 4
    assert all("it was never ordered" in fault for fault in faults)
    assert host.served(A)
    host.have(A, B)
    (host.shelf.issued / f"{B}.pem").write_bytes(chain)
    assert f"it is for {A}, not for {B}" in installer.take(host.shelf, host.place)[0]
    assert host.shelf.placed() == {}, "that of the host's own names does not grow"


def test_names_that_are_fine_cost_nothing_but_a_listing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{n}.example.com" for n in range(500)]
    entry = {
        "directory": SETTINGS["directory"], "renew_at": "2999-01-01T00:00:00Z", "not_after": "2999-02-01T00:00:00Z",
        "key": "x", "fingerprint": "x",
    }  # fmt: skip
    known: dict[str, Any] = {"names": {}, "ordered": [], "error": ""}
    for name in names:
        path = host.shelf.domain_request(name)
        path.touch()
        known["names"][name] = {**entry, "request": path.stat().st_mtime_ns}
    host.shelf.write_domains(json.dumps(known))
    before = (host.shelf.own / "domains.json").stat().st_mtime_ns
    opened: list[Any] = []
    monkeypatch.setattr(tenants, "read", lambda path: opened.append(path))
    host.look()
    assert (opened, host.asked, host.ordered()) == ([], [], [])
    assert (host.shelf.own / "domains.json").stat().st_mtime_ns == before, "nothing is written where nothing is new"


def test_failures_of_thousands_are_not_written_one_by_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{n}.example.com" for n in range(200)]
    for name in names:
        host.shelf.domain_request(name).write_text("x")
    written: list[str] = []
    monkeypatch.setattr(Shelf, "write_domains", lambda _self, text: written.append(text))
    host.look(take=False)
    assert len(written) <= 2
    assert len(json.loads(written[-1])["names"]) == 200


def test_what_is_told(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.have(A, C)
    host.elsewhere[C] = f"{C} leads to 192.0.2.9"
    host.look()
    host.look()
    capsys.readouterr()
    assert tenants.tell(host.shelf) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: told[name] for name in ("names", "served", "failing", "error")} == {
        "names": 2, "served": 1, "failing": 1, "error": "",
    }  # fmt: skip
    assert told["told"][0].startswith(f"{C}: {C} leads to 192.0.2.9 (again 20")


def test_state_that_cannot_be_read_is_none(host: Host) -> None:
    host.have(A)
    for text in ("", "[]", "{}", '{"names": 1, "ordered": [], "error": ""}', '{"names": {"a": 1}}'):
        host.shelf.write_domains(text)
        assert host.shelf.read_domains() == {"names": {}, "ordered": [], "error": ""}
    host.look()
    assert host.served(A)


def test_keys_of_another_kind_are_for_names_that_come(host: Host) -> None:
    host.have(A)
    host.place = dataclasses.replace(host.place, key="ec384")
    host.have(A, B)
    kinds = [pem.kind(pem.read_key(host.place.directory / name / "next.pem")) for name in (A, B)]
    assert kinds == ["ec256", "ec384"]


def test_both_keep_what_has_gone_for_the_same_time() -> None:
    assert timedelta(seconds=keys.GRACE) == tenants.GRACE


def test_a_name_that_comes_while_the_installer_is_waited_for_has_its_turn(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.have(A)
    settle = Tenants._settle

    def come(self: Tenants, *, again: bool = False) -> bool:
        if host.ordered() == [A]:
            host.have(A, B)
        return settle(self, again=again)

    monkeypatch.setattr(Tenants, "_settle", come)
    host.look()
    assert host.ordered() == [A, B]


# What an operator asks for


def test_an_operator_has_a_name_renewed_whatever_its_tenant_has_had(host: Host) -> None:
    names = [f"m{n}.example.com" for n in range(6)]
    host.settings["domains_per_hour"] = 6
    host.have(*names, A)
    host.look()
    assert host.ordered() == [A, *names[:4]], "its share of the hour is used up"
    before, bystander = host.served(names[2]), host.served(names[3])
    found = host.order(id="1", renew=(names[2],))
    assert [(item["name"], item["in_place"], item["issued"], item["error"]) for item in found] == [
        (names[2], True, True, "")
    ]
    assert host.served(names[2]).serial_number != before.serial_number
    assert pem.public(host.served(names[2])) == pem.public(before), "for the key that it has"
    assert host.served(names[3]) == bystander
    count = len(host.ordered())
    host.look()
    assert len(host.ordered()) == count, "once"


def test_an_operator_has_a_name_replaced_with_a_new_key_and_revoked(host: Host) -> None:
    host.have(A, B)
    host.look()
    host.look()
    before = host.served(A)
    found = host.order(id="1", revoke=(A,), reason=1)
    assert [(item["in_place"], item["issued"], item["revoked"]) for item in found] == [(True, True, True)]
    assert pem.public(host.served(A)) != pem.public(before)
    assert host.revoked() == [f"{before.serial_number} 1"]
    assert host.ordered() == [A, B, A]
    host.look()
    assert len(host.revoked()) == 1
    # Once more: it is the one of now that goes.
    second = host.served(A)
    assert host.order(id="2", revoke=(A,))[0]["revoked"]
    assert host.revoked()[1:] == [f"{second.serial_number} 0"]


def test_what_cannot_be_replaced_is_revoked_when_it_can_or_when_that_is_wanted(host: Host) -> None:
    host.have(A, B)
    host.look()
    host.look()
    before = {name: host.served(name) for name in (A, B)}
    host.elsewhere = dict.fromkeys((A, B), "it leads elsewhere")
    found = host.order(id="1", revoke=(A,))
    assert (found[0]["revoked"], found[0]["error"]) == (False, "it leads elsewhere")
    assert f"{A} is not revoked: it is not replaced yet: it leads elsewhere" in acme.undone(
        found[0], Asked("1", revoke=(A,))
    )
    assert host.served(A) == before[A]
    assert host.revoked() == []
    found = host.order(id="2", revoke=(B,), unreplaced=True)
    assert host.revoked() == [f"{before[B].serial_number} 0"]
    # The tenant has mended it; nobody asks again.
    host.elsewhere.clear()
    host.change(A, next_try="2026-01-01T00:00:00Z")
    host.look()
    host.look()
    assert host.revoked()[1:] == [f"{before[A].serial_number} 0"]
    assert host.served(A) != before[A]


def test_an_operator_who_asks_for_a_name_that_is_none_is_told(host: Host) -> None:
    host.have(A)
    (host.shelf.own / "held").mkdir()
    for asked, message in (
        (Asked("1", renew=(A, C)), f"renew: {C} is no certificate of this host's from an ACME directory"),
        (Asked("1", renew=("../x",)), "renew: ../x is no certificate"),
        (Asked("1", revoke=(A,)), f"revoke: {A} has no certificate of the directory's that could be revoked"),
    ):
        with pytest.raises(TlsError, match=message):
            acme.Look(host.shelf, host.settings, asked).plan(datetime.now(UTC))
    host.look()
    host.settings["own"] = [OWN, A]
    with pytest.raises(TlsError, match="is no certificate"):
        acme.Look(host.shelf, host.settings, Asked("1", renew=(A,))).plan(datetime.now(UTC))
