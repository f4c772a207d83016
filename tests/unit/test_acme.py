"""Orders from an ACME directory: when, how often after failures, by which command, and what of the answer counts."""

from __future__ import annotations

import dataclasses
import grp
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from streamfleet.tls import acme, certificates, csr, orders, pem
from streamfleet.tls.authority import Authority
from streamfleet.tls.certificates import Place
from streamfleet.tls.errors import TlsError
from streamfleet.tls.names import ACME, AUTHORITY, FILES, Names
from streamfleet.tls.orders import Asked, Held, Order
from streamfleet.tls.shelf import Shelf, read
from streamfleet_acme import directory, here, installer, lego
from streamfleet_acme.client import Client

from scripts import forked_ansible
from tests.doubles.acme_directory import AcmeDirectory

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
URL = "https://acme.example.net/directory"
SETTINGS: dict[str, Any] = {
    "directory": URL, "directory_ca": False, "email": "ops@example.net", "eab": False, "challenge": "http-01",
    "http_port": 80, "dns_provider": "exec", "dns_wait": True, "resolvers": [], "addresses": [], "proxied": [],
    "fleet": [],
    "renew_days": 30, "own": [],
}  # fmt: skip
ORDER = Order("a.example.net", ("a.example.net",), "key")
HELD = Held(frozenset({"a.example.net"}), "key", NOW - timedelta(days=10), NOW + timedelta(days=80))
OLD = dataclasses.replace(HELD, since=NOW - timedelta(days=70))
ENTRY = {"directory": URL}
NOTHING = Asked()


# When


@pytest.mark.parametrize(
    ("order", "held", "entry", "asked", "why"),
    [
        (ORDER, HELD, ENTRY, NOTHING, None),
        (ORDER, None, {}, NOTHING, "there is none yet"),
        (dataclasses.replace(ORDER, key=None), HELD, ENTRY, NOTHING, "there is none yet"),
        (ORDER, HELD, {"directory": "https://staging"}, NOTHING, "is of https://staging"),
        (ORDER, HELD, {}, NOTHING, "is of another directory"),
        (Order("a.example.net", ("a.example.net", "b.example.net"), "key"), HELD, ENTRY, NOTHING, "is for a.example"),
        (dataclasses.replace(ORDER, key="other"), HELD, ENTRY, NOTHING, "a new key"),
        (ORDER, HELD, ENTRY, Asked("1", renew=("a.example.net",)), "asked for"),
        (ORDER, HELD, ENTRY, Asked("1", revoke=("a.example.net",)), "asked for"),
        (ORDER, HELD, ENTRY, Asked("1", renew=("b.example.net",)), None),
        (ORDER, HELD, {**ENTRY, "renewed_for": "1"}, Asked("1", renew=("a.example.net",)), None),
        (ORDER, dataclasses.replace(OLD, until=NOW + timedelta(days=20)), ENTRY, NOTHING, "20 days are left"),
        (ORDER, dataclasses.replace(HELD, until=NOW - timedelta(days=2)), ENTRY, NOTHING, "0 days are left"),
    ],
)
def test_what_is_due(order: Order, held: Held | None, entry: dict[str, Any], asked: Asked, why: str | None) -> None:
    said = orders.wanted(order, held, entry, SETTINGS, asked, NOW)
    assert (said is None) if why is None else why in str(said)


def test_certificates_of_six_days_are_renewed_in_their_last_third_and_not_all_at_once() -> None:
    short = dataclasses.replace(HELD, since=NOW, until=NOW + timedelta(days=6))
    times = {orders.early(f"{n}.example.net", short, 30) for n in range(50)}
    assert len(times) > 20
    assert all(timedelta(days=1.7) < time <= timedelta(days=2) for time in times)
    assert all(timedelta(days=26) < orders.early(f"{n}.example.net", HELD, 30) <= timedelta(days=30) for n in range(50))


def _failures(count: int, error: str, here_: bool) -> list[timedelta]:
    entry: dict[str, Any] = {}
    waited = []
    for _n in range(count):
        entry = orders.failed(entry, error, here_, NOW, 0.0)
        until = orders.moment(entry["next_try"])
        assert until is not None
        waited.append(until - NOW)
    return waited


def test_failures_wait_longer_and_longer_up_to_a_day_or_an_hour_where_it_costs_the_directory_nothing() -> None:
    minutes = timedelta(minutes=1)
    assert [wait / minutes for wait in _failures(9, "no", False)] == [10, 20, 40, 80, 160, 320, 640, 1280, 1440]
    assert [wait / minutes for wait in _failures(5, "no", True)] == [10, 20, 40, 60, 60]
    once = orders.failed(orders.failed({}, "no", True, NOW, 0), "no", False, NOW, 0)
    assert once["failures"] == 1, "the directory has refused for the first time"
    assert orders.failed({}, "no", False, NOW, 1.0)["next_try"] == "2026-11-01T12:11:00Z"


def test_a_limit_of_the_directory_is_kept_for_as_long_as_it_says() -> None:
    limited = "urn:ietf:params:acme:error:rateLimited :: too many certificates"
    assert _failures(1, limited, False) == [timedelta(hours=1)]
    assert _failures(1, f"{limited}, retry after 2026-11-03 12:00:00 UTC: see", False) == [timedelta(days=2)]
    assert _failures(1, f"{limited}, retry after 2036-11-03T12:00:00Z", False) == [timedelta(days=8)]


def test_after_a_failure_it_is_waited_unless_something_is_different() -> None:
    entry = {
        **orders.failed({}, "no", False, NOW, 0), "fingerprint": orders.fingerprint(SETTINGS, ORDER), "tried_for": "1",
    }  # fmt: skip
    assert orders.waits(ORDER, entry, SETTINGS, NOTHING, NOW) == NOW + timedelta(minutes=10)
    assert orders.waits(ORDER, entry, SETTINGS, NOTHING, NOW + timedelta(minutes=10)) is None
    assert orders.waits(ORDER, entry, {**SETTINGS, "secrets": 7}, NOTHING, NOW) is None
    assert orders.waits(ORDER, entry, {**SETTINGS, "renew_days": 20}, NOTHING, NOW) is not None
    assert orders.waits(ORDER, entry, SETTINGS, Asked("2", renew=("a.example.net",)), NOW) is None
    assert orders.waits(ORDER, entry, SETTINGS, Asked("1", renew=("a.example.net",)), NOW) is not None, "it was tried"
    assert orders.waits(ORDER, entry, SETTINGS, Asked("2", retry=True), NOW) is not None, "the directory has said no"
    assert orders.waits(ORDER, {**entry, "here": True}, SETTINGS, Asked("2", retry=True), NOW) is None


def test_a_success_leaves_nothing_of_the_failures_before() -> None:
    entry = orders.issued({**orders.failed({}, "no", True, NOW, 0), "tried_for": "1"}, HELD, URL, NOW)
    assert entry == {
        "tried_for": "1", "directory": URL, "issued_at": "2026-11-01T12:00:00Z", "not_after": "2027-01-20T12:00:00Z",
    }  # fmt: skip


# A host


class Host:
    """A host's folders, its own authority, and lego's double with the authority of a directory."""

    def __init__(self, folder: Path, names: list[Names]) -> None:
        self.shelf = Shelf(folder / "etc", folder / "data")
        self.place = Place(folder / "tls", folder / "ca.pem", os.getgid(), 0)
        for path in (self.shelf.settings, self.shelf.own, self.shelf.issued, self.shelf.own / "held"):
            path.mkdir(parents=True, exist_ok=True)
        (self.shelf.own / "lego").mkdir()
        own = Authority(folder / "own", "Own", 3650, ())
        own.ensure()
        asked = [(name, certificates.request(self.place, name)) for name in names]
        certificates.install(self.place, names, own.sign(asked, 365), own.text)
        self.ca = Authority(folder / "directory", "Directory", 3650, ())
        self.ca.ensure()
        self.double = folder / "directory"
        self.names = names
        self.settings = {**SETTINGS, "orders": [{"name": one.name, "hosts": list(one.hosts)} for one in names]}
        self.write_settings()
        csr.prepare(self.shelf, self.place, names, os.getgid())
        self.checked: dict[str, str] = {}
        self.unusable: str | None = None
        self.take = True

    def write_settings(self) -> None:
        (self.shelf.settings / "settings.json").write_text(json.dumps(self.settings))

    def ask(self, **asked: Any) -> None:
        acme.Look(self.shelf, self.settings, Asked(**asked)).ask(os.getgid())

    def look(self, settings: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
        """One run of the client, with the installer beside it; the state."""
        settings = settings or self.shelf.read_settings()
        program = self.double / "lego"
        if not program.exists():
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/doubles/lego/lego.py "$@"\n')
            program.chmod(0o755)
        os.environ["LEGO_DOUBLE"] = str(self.double)
        runs = lego.Lego(self.shelf, settings, self.double, str(program))
        client = Client(self.shelf, runs, settings, lambda order: self.checked.get(order.name), lambda: self.unusable)
        ended = threading.Event()
        beside = threading.Thread(target=self._install, args=(ended,))
        beside.start()
        try:
            client.run()
        finally:
            ended.set()
            beside.join()
        return self.shelf.read_state()

    def _install(self, ended: threading.Event) -> None:
        while self.take and not ended.wait(0.05):
            installer.take(self.shelf, self.place)
        if self.take:
            installer.take(self.shelf, self.place)

    def served(self, name: str) -> x509.Certificate:
        return pem.read_certificate(self.place.directory / name / "fullchain.pem")

    def by_directory(self, name: str) -> bool:
        return pem.signed_by(self.served(name), pem.read_certificate(self.double / "ca.pem"))

    def calls(self) -> list[dict[str, Any]]:
        path = self.double / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def names(*given: str) -> list[Names]:
    return [Names.of({"name": name, "source": ACME}) for name in given]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, names("a.example.net", "bad.example.net", "c.example.net"))


def test_a_bad_name_among_good_ones_keeps_nobody_from_theirs(host: Host) -> None:
    key = (host.place.directory / "a.example.net/privkey.pem").read_bytes()
    host.checked["c.example.net"] = "c.example.net leads to 192.0.2.9, which is not this host's"
    state = host.look()
    assert [host.by_directory(name.name) for name in host.names] == [True, False, False]
    assert (host.place.directory / "a.example.net/privkey.pem").read_bytes() == key, "the key stays"
    assert state["bad.example.net"]["error"] == (
        "Could not obtain certificates: error: one or more domains had a problem: [bad.example.net] acme: "
        "error: 403 :: urn:ietf:params:acme:error:unauthorized :: Invalid response, url:"
    )
    assert (state["bad.example.net"]["here"], state["c.example.net"]["here"]) == (False, True)
    assert "error" not in state["a.example.net"]
    before = len(host.calls())
    host.look()
    assert len(host.calls()) == before, "what has failed waits, what is there is not ordered again"
    host.checked.clear()
    host.ask(id="1", retry=True)
    host.look()
    assert len(host.calls()) == before + 1, "only what was found here is tried again"
    assert host.by_directory("c.example.net")


def test_a_directory_that_is_down_is_asked_nothing_more(host: Host) -> None:
    host.unusable = "the directory cannot be reached: timed out"
    state = host.look()
    assert {entry["error"] for entry in state.values()} == {host.unusable}
    assert host.calls() == []
    assert not host.by_directory("a.example.net")
    host.unusable = None
    host.ask(id="1", retry=True)
    host.look()
    assert host.by_directory("a.example.net")


def test_what_an_installer_could_not_take_is_handed_on_again(host: Host) -> None:
    host.take = False
    host.look()
    for path in host.shelf.issued.iterdir():
        path.unlink()  # it was killed in between
    assert not host.by_directory("a.example.net")
    host.take = True
    before = len(host.calls())
    host.look()
    assert host.by_directory("a.example.net")
    assert len(host.calls()) == before, "no second order"


def put_over(host: Host, folder: Path) -> None:
    """What the role does where the names are the own authority's, for a while."""
    own = Authority(folder / "own", "Own", 3650, ())
    ours = [dataclasses.replace(one, source=AUTHORITY) for one in host.names]
    due = certificates.due(host.place, ours)
    asked = [(one, certificates.request(host.place, one)) for one in due]
    certificates.install(host.place, ours, own.sign(asked, 365), own.text)


def test_what_was_issued_is_put_back_where_the_own_authority_s_has_come_over_it(host: Host, tmp_path: Path) -> None:
    host.look()
    before = len(host.calls())
    put_over(host, tmp_path)
    assert not host.by_directory("a.example.net")
    # The client and the own authority are content with that.
    csr.prepare(host.shelf, host.place, host.names, os.getgid())
    host.look()
    assert certificates.due(host.place, host.names) == []
    assert not host.by_directory("a.example.net")
    look = acme.Look(host.shelf, host.shelf.read_settings(), Asked("1", retry=True))
    look.plan(datetime.now(UTC))
    look.uncover(host.place, datetime.now(UTC))
    assert (look.due, look.covered) == ([], ["a.example.net", "c.example.net"])
    assert not host.by_directory("a.example.net"), "nothing is done by looking"
    look.start(20, lambda _left: host.look() and None)
    assert look.put_back() == ["a.example.net", "c.example.net"]
    assert [host.by_directory(name.name) for name in host.names] == [True, False, True]
    assert len(host.calls()) == before, "no order is needed"
    look.uncover(host.place, datetime.now(UTC))
    assert look.covered == []


def test_what_may_not_be_put_back_is_not(host: Host, tmp_path: Path) -> None:
    host.look()
    put_over(host, tmp_path)

    def covered(now: datetime, **asked: Any) -> list[str]:
        look = acme.Look(host.shelf, host.shelf.read_settings(), Asked("1", **asked))
        look.uncover(host.place, now)
        return look.covered

    assert covered(datetime.now(UTC), revoke=("c.example.net",)) == ["a.example.net"], "a new one comes"
    assert covered(datetime.now(UTC) + timedelta(days=4000)) == [], "it has ended"
    host.settings["orders"][2]["hosts"].append("www.c.example.net")
    host.write_settings()
    assert covered(datetime.now(UTC)) == ["a.example.net"], "it is for other names"
    csr.new_key(host.place, host.names[0], host.shelf.request("a.example.net"), os.getgid())
    assert covered(datetime.now(UTC)) == [], "it gets another key"
    csr.prepare(host.shelf, host.place, host.names, os.getgid())
    host.settings["directory"] = "https://other.example.net/directory"
    host.write_settings()
    assert covered(datetime.now(UTC)) == [], "it is another directory's"


def test_a_look_that_is_too_late_for_what_is_put_back_is_followed_by_another(host: Host, tmp_path: Path) -> None:
    host.look()
    put_over(host, tmp_path)
    looks = iter([lambda: None, host.look])
    look = acme.Look(host.shelf, host.shelf.read_settings(), NOTHING)
    look.uncover(host.place, datetime.now(UTC))
    look.start(20, lambda _left: next(looks)() and None)
    assert host.by_directory("a.example.net")


def test_modes_of_what_was_issued_are_put_right_and_nothing_else_is_done(host: Host) -> None:
    host.look()
    folder = host.place.directory / "a.example.net"
    served = host.served("a.example.net")
    folder.chmod(0o755)
    (folder / "privkey.pem").chmod(0o644)
    assert certificates.due(host.place, host.names) == [], "the own authority's does not come over it"
    paths = [str(folder), str(folder / "privkey.pem")]
    assert certificates.put_right(host.place, host.names, write=False) == paths
    assert folder.stat().st_mode & 0o7777 == 0o755
    own = host.place.authority.read_text()
    assert certificates.install(host.place, host.names, {}, own) == paths
    assert (folder.stat().st_mode & 0o7777, (folder / "privkey.pem").stat().st_mode & 0o7777) == (0o750, 0o640)
    assert host.served("a.example.net") == served
    assert certificates.install(host.place, host.names, {}, own) == []


def test_the_module_foretells_what_is_put_back_and_takes_all_beside_other_names(host: Host, tmp_path: Path) -> None:
    host.look()
    put_over(host, tmp_path)
    customer = "radio.customer.example"
    host.shelf.domains.mkdir()
    host.shelf.domain_request(customer).write_text("")
    group = grp.getgrgid(os.getgid()).gr_name
    given = {
        "state": "ordered", "settings": host.settings, "directory": str(host.place.directory), "group": group,
        "authority": str(host.place.authority), "client_settings": str(host.shelf.settings),
        "client_data": str(host.shelf.data), "client_group": group,
    }  # fmt: skip
    tasks = [
        {"streamfleet_acme": {**given, "renew": renew}, "register": f"said{number}"}
        for number, renew in enumerate(([], ["all", customer]))
    ]
    keep = {
        "ansible.builtin.copy": {"content": "{{ [said0, said1] | to_json }}", "dest": str(tmp_path / "said.json")},
        "check_mode": False,
    }
    (play := tmp_path / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [*tasks, keep]}])
    )
    done = forked_ansible.playbook(
        ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "--check", str(play)]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    nothing, every = json.loads((tmp_path / "said.json").read_text())
    assert (nothing["changed"], nothing["put_back"]) == (True, ["a.example.net", "c.example.net"])
    assert [item["name"] for item in every["due"]] == [*(name.name for name in host.names), customer]


@pytest.mark.slow
def test_revoked_is_what_has_been_replaced_with_another_key(host: Host) -> None:
    host.look()
    old, key = host.served("a.example.net"), (host.place.directory / "a.example.net/privkey.pem").read_bytes()
    host.ask(id="1", revoke=("a.example.net",), reason=1)
    csr.new_key(host.place, host.names[0], host.shelf.request(host.names[0].name), os.getgid())
    state = host.look()
    assert (host.double / "revoked").read_text() == f"{old.serial_number} 1\n"
    assert state["a.example.net"]["revoked_for"] == "1"
    assert (host.place.directory / "a.example.net/privkey.pem").read_bytes() != key
    assert pem.public(host.served("a.example.net")) == pem.public(
        pem.read_key(host.place.directory / "a.example.net/privkey.pem")
    )
    assert not (host.place.directory / "a.example.net/next.pem").exists()
    host.look()
    assert len((host.double / "revoked").read_text().splitlines()) == 1
    assert csr.prepare(host.shelf, host.place, host.names, os.getgid()) == []


def test_what_cannot_be_replaced_is_revoked_later_or_if_that_is_wanted(host: Host) -> None:
    host.look()
    old = host.served("a.example.net")
    host.ask(id="1", revoke=("a.example.net",), reason=4)
    csr.new_key(host.place, host.names[0], host.shelf.request(host.names[0].name), os.getgid())
    host.checked["a.example.net"] = "it leads elsewhere"
    state = host.look()
    assert state["a.example.net"]["revoke_error"] == "it is not replaced yet: it leads elsewhere"
    assert not (host.double / "revoked").exists()
    assert host.served("a.example.net") == old
    # Something else is asked for in between; what is not done yet is not forgotten.
    host.checked.clear()
    host.ask(id="2", retry=True)
    host.look()
    assert (host.double / "revoked").read_text() == f"{old.serial_number} 4\n"
    new = host.served("a.example.net")
    host.ask(id="3", revoke=("a.example.net",), unreplaced=True)
    csr.new_key(host.place, host.names[0], host.shelf.request(host.names[0].name), os.getgid())
    host.checked["a.example.net"] = "it leads elsewhere"
    host.look()
    assert (host.double / "revoked").read_text().splitlines()[1] == f"{new.serial_number} 0"


@pytest.mark.slow
def test_a_change_of_directory_of_names_or_of_the_kind_of_keys_orders_anew(host: Host) -> None:
    host.look()
    first = host.served("a.example.net").serial_number
    host.settings["directory"] = "https://other.example.net/directory"
    host.write_settings()
    host.look()
    assert host.served("a.example.net").serial_number != first
    host.settings["orders"][0]["hosts"] = ["a.example.net", "www.a.example.net"]
    host.write_settings()
    host.names[0] = Names.of({"name": "a.example.net", "alternatives": ["www.a.example.net"], "source": ACME})
    assert len(csr.prepare(host.shelf, host.place, host.names, os.getgid())) == 1
    host.look()
    assert pem.hosts(host.served("a.example.net")) == {"a.example.net", "www.a.example.net"}
    host.place = dataclasses.replace(host.place, key="rsa2048")
    csr.prepare(host.shelf, host.place, host.names, os.getgid())
    assert pem.kind(pem.read_key(host.place.directory / "a.example.net/privkey.pem")) == "ec256", "until it is issued"
    host.look()
    assert pem.kind(pem.read_key(host.place.directory / "a.example.net/privkey.pem")) == "rsa2048"
    assert csr.prepare(host.shelf, host.place, host.names, os.getgid()) == []
    assert certificates.due(host.place, host.names[:1]) == [], "the own authority leaves it alone"
    csr.prepare(host.shelf, host.place, host.names[:1], os.getgid())
    assert [path.name for path in (host.shelf.settings / "requests").iterdir()] == ["a.example.net.csr"]


def test_the_installer_believes_nothing(host: Host) -> None:
    other = Host(host.double / "elsewhere", names("a.example.net"))
    other.look()
    foreign = (other.place.directory / "a.example.net/fullchain.pem").read_bytes()
    own = host.served("a.example.net")
    (host.shelf.issued / "a.example.net.pem").write_bytes(foreign)
    (host.shelf.issued / "panel.example.net.pem").write_bytes(foreign)
    (host.shelf.issued / "c.example.net.pem").symlink_to(host.place.directory / "a.example.net/privkey.pem")
    (host.shelf.issued / "bad.example.net.pem").write_text("nothing")
    faults = installer.take(host.shelf, host.place)
    assert [fault.split(" is not put in place: ")[0] for fault in faults] == [
        "'a.example.net.pem'", "'bad.example.net.pem'", "'c.example.net.pem'", "'panel.example.net.pem'",
    ]  # fmt: skip
    assert "is for another key" in faults[0]
    assert "it was never ordered" in faults[3]
    assert list(host.shelf.issued.iterdir()) == []
    assert host.served("a.example.net") == own
    # Of the right key, for other names: what was ordered before has become something else.
    host.look()
    host.settings["orders"][0]["hosts"].append("www.a.example.net")
    host.write_settings()
    (host.shelf.issued / "a.example.net.pem").write_bytes(read(host.shelf.own / "held/a.example.net.pem"))
    assert "not for a.example.net, www.a.example.net" in installer.take(host.shelf, host.place)[0]


def test_the_module_says_what_is_due_and_what_came_of_it(host: Host) -> None:
    look = acme.Look(host.shelf, host.shelf.read_settings(), Asked("1", retry=True))
    look.plan(datetime.now(UTC))
    assert look.due == [{"name": one.name, "reason": "there is none yet"} for one in host.names]
    look.ask(os.getgid())
    look.start(20, lambda _left: host.look() and None)
    found = look.results(host.place)
    assert [(item["in_place"], item["issued"], bool(item["error"])) for item in found] == [
        (True, True, False), (False, False, True), (True, True, False),
    ]  # fmt: skip
    refused = acme.sentence(found[1])
    assert "bad.example.net: no certificate of the directory's is in place yet: Could not obtain" in refused
    assert refused.endswith(f"again at {found[1]['next_try']}; before that where certificates_renew names it.")
    again = acme.Look(host.shelf, host.shelf.read_settings(), Asked("2", retry=True))
    again.plan(datetime.now(UTC))
    assert again.due == []
    host.checked["c.example.net"] = "it leads elsewhere"
    (host.shelf.own / "held/c.example.net.pem").unlink()
    host.look()
    again.plan(datetime.now(UTC))
    assert [item["name"] for item in again.due] == ["c.example.net"]
    assert again.doubtful == {"c.example.net"}, "check mode does not foretell that it succeeds"
    astray = again.results(host.place)[2]
    assert acme.sentence(astray).endswith(
        f"it leads elsewhere. It is tried again at {astray['next_try']}, and by each run."
    )
    forced = acme.Look(host.shelf, host.shelf.read_settings(), Asked("3", renew=("bad.example.net",)))
    forced.plan(datetime.now(UTC))
    forced.ask(os.getgid())
    forced.start(20, lambda _left: host.look() and None)
    assert "bad.example.net is not renewed: Could not" in acme.undone(forced.results(host.place)[1], forced.asked)


def test_asking_for_names_that_are_none_is_refused(host: Host) -> None:
    for asked, message in (
        (Asked("1", renew=("x.example.net",)), "renew: x.example.net is no certificate of this host's"),
        (Asked("1", revoke=("x.example.net",)), "revoke: x.example.net is no certificate"),
        (Asked("1", revoke=("a.example.net",)), "a.example.net has no certificate of the directory's that could be"),
    ):
        with pytest.raises(TlsError, match=message):
            acme.Look(host.shelf, host.shelf.read_settings(), asked).plan(NOW)


def test_state_that_cannot_be_read_is_none(host: Host) -> None:
    for text in ("", "[]", "{}", '{"names": []}', '{"names": {"a.example.net": 1}}'):
        (host.shelf.own / "state.json").write_text(text)
        assert host.shelf.read_state() == {}
    host.look()
    assert host.by_directory("a.example.net")


# lego


def test_command_lines(host: Host) -> None:
    host.settings.update(
        directory_ca=True, challenge="dns-01", dns_provider="rfc2136", resolvers=["192.0.2.1", "2001:db8::1"]
    )
    host.write_settings()
    host.look()
    assert host.calls()[0]["argv"] == [
        "--server", URL, "--email", "ops@example.net", "--accept-tos", "--path", str(host.shelf.own / "lego"),
        "--http-timeout", "30", "--cert.timeout", "90", "--dns", "rfc2136", "--dns.resolvers", "192.0.2.1:53",
        "--dns.resolvers", "[2001:db8::1]:53", "--csr", str(host.shelf.request("a.example.net")), "run",
    ]  # fmt: skip
    assert host.calls()[0]["environment"] == ["LEGO_CA_CERTIFICATES"]
    assert host.by_directory("a.example.net")


def test_what_an_account_is_bound_with_is_told_to_the_directory_alone(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "c2VjcmV0LW9mLWN1c3RvbWVyLTE3LXRoYXQtaXMtbG9uZw"
    (host.double / "bound").touch()
    monkeypatch.setenv("STREAMFLEET_EAB_KEY_ID", "kid-1")
    monkeypatch.setenv("STREAMFLEET_EAB_HMAC", key[::-1])
    with AcmeDirectory({"kid-1": key}).serving(tmp_path / "bound") as server:
        (host.shelf.settings / "directory-ca.pem").write_bytes(server.ca.read_bytes())
        host.settings.update(eab=True, directory_ca=True, directory=server.url)
        host.write_settings()
        assert "the account is refused: 403" in host.look()["a.example.net"]["error"]
        assert host.calls() == []
        monkeypatch.setenv("STREAMFLEET_EAB_HMAC", key)
        # With the file that it comes from: once that is corrected nobody waits.
        (host.shelf.settings / "secrets.env").write_text("")
        host.look()
        assert host.by_directory("a.example.net")
        assert len(server.accounts) == 1
        old = host.served("a.example.net")
        host.ask(id="2", revoke=("a.example.net",))
        csr.new_key(host.place, host.names[0], host.shelf.request("a.example.net"), os.getgid())
        host.look()
        assert (host.double / "revoked").read_text() == f"{old.serial_number} 0\n"
    for call in host.calls():
        assert "--eab" in call["argv"], "else lego does nothing there"
        assert call["environment"] == ["LEGO_CA_CERTIFICATES"]
        assert key not in str(call)


def test_what_lego_says_is_kept_short_and_plain() -> None:
    assert lego.said("2026/01/01 10:00:00 [INFO] all is well\n2026/01/01 10:00:01 no\x1b[31m\n  way\n") == "no[31m way"
    assert lego.said("Saved key to x\n2026/01/01 10:00:00 Could not obtain certificates:\n\terror: y\n") == (
        "Could not obtain certificates: error: y"
    )
    assert len(lego.said("x" * 5000)) == lego.MOST


def test_lego_that_does_not_come_to_an_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    program = host.double / "lego"
    program.write_text("#!/bin/sh\nsleep 30\n")
    program.chmod(0o755)
    monkeypatch.setattr(lego, "SECONDS", 0.2)
    state = host.look()
    assert "has not come to an end" in state["a.example.net"]["error"]


# The directory


ANSWERS: dict[str, tuple[int, str]] = {
    "/good": (200, '{"newOrder": "https://x/order"}'),
    "/bound": (200, '{"newOrder": "https://x/order", "meta": {"externalAccountRequired": true}}'),
    "/page": (200, "<html>"),
    "/list": (200, "[]"),
    "/other": (200, '{"hello": 1}'),
    "/plain": (200, '{"newOrder": "http://x/order"}'),
    "/down": (503, ""),
    "/moved": (301, ""),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server of ``ANSWERS`` over TLS: its address, and its authority's certificate."""
    folder = tmp_path_factory.mktemp("directory")
    authority = Authority(folder / "ca", "Directory", 30, ())
    authority.ensure()
    me = Names.of({"name": "localhost", "addresses": ["127.0.0.1"]})
    place = Place(folder / "tls", folder / "ca.pem", os.getgid(), 0)
    certificates.install(place, [me], authority.sign([(me, certificates.request(place, me))], 30), authority.text)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = ANSWERS[self.path]
            self.send_response(code)
            self.send_header("Location", "/good")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "tls/localhost/fullchain.pem", folder / "tls/localhost/privkey.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}", folder / "ca.pem"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "settings", "said"),
    [
        ("/good", {}, None),
        ("/bound", {"eab": True}, None),
        ("/bound", {}, "set streamfleet_certificates_acme_eab_key_id"),
        ("/page", {}, "is not an ACME directory"),
        ("/list", {}, "is not an ACME directory"),
        ("/other", {}, "names no newOrder"),
        ("/plain", {}, "its newOrder is not https"),
        ("/down", {}, "answers with 503"),
        ("/moved", {}, "answers with 301"),
        ("/good", {"directory_ca": False}, "cannot be reached: "),
    ],
)
def test_a_directory(served: tuple[str, Path], path: str, settings: dict[str, Any], said: str | None) -> None:
    url, authority = served
    found = directory.fault({"directory": url + path, "directory_ca": True, **settings}, authority)
    assert (found is None) if said is None else said in str(found)


def test_a_directory_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    found = directory.fault({"directory": f"https://127.0.0.1:{port}/dir"}, Path("none"))
    assert found == f"the directory https://127.0.0.1:{port}/dir cannot be reached: [Errno 111] Connection refused"


# Whether a name leads here


def own_address() -> str:
    """One of this machine's that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        try:
            link.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(link.getsockname()[0])


def test_which_addresses_are_this_hosts() -> None:
    assert here.is_here(own_address())
    for address in ("127.0.0.1", "::1", "0.0.0.0", "192.0.2.1", "224.0.0.1", "169.254.1.1", "fe80::1", "2001:db8::1"):
        assert not here.is_here(address), address


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, int, Path, dict[str, bool]]]:
    """A web server for challenges: address, port, its folder, and whether it answers right."""
    (tmp_path / ".well-known/acme-challenge").mkdir(parents=True)
    right = {"it": True}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = tmp_path / self.path.lstrip("/")
            found = right["it"] and self.headers["Host"] == "a.example.net" and path.is_file()
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(path.read_bytes() if found else b"")

        def log_message(self, *_arguments: object) -> None: ...

    address = own_address()
    with HTTPServer((address, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield address, server.server_port, tmp_path, right
        server.shutdown()


def test_where_a_name_leads(web: tuple[str, int, Path, dict[str, bool]]) -> None:
    address, port, folder, right = web
    table: dict[str, list[str]] = {"a.example.net": [address], "far.example.net": [address, "2001:db8::7"]}

    def resolve(host: str) -> list[str]:
        if host not in table:
            raise here.Unresolved("DNS has no such name")
        return table[host]

    def fault(*hosts: str, **settings: Any) -> str | None:
        return here.fault(hosts, {**SETTINGS, "http_port": port, **settings}, folder, resolve)

    assert fault("a.example.net") is None
    assert list((folder / ".well-known/acme-challenge").iterdir()) == []
    assert "gone.example.net does not resolve: DNS has no such name" in str(fault("a.example.net", "gone.example.net"))
    assert "far.example.net leads to 2001:db8::7, which is not this host's" in str(fault("far.example.net"))
    assert fault("gone.example.net", "far.example.net", proxied=["gone.example.net", "far.example.net"]) is None
    table["nat.example.net"] = ["203.0.113.9"]
    assert fault("nat.example.net", addresses=["203.0.113.9"]) is None
    right["it"] = False
    assert f"the web server at {address} port {port} answers with 404" in str(fault("a.example.net"))
    assert "says" in str(here.fault(["a.example.net"], {**SETTINGS, "http_port": 1}, folder, resolve))


def test_a_name_that_other_hosts_of_the_fleet_share(web: tuple[str, int, Path, dict[str, bool]]) -> None:
    address, port, folder, _right = web
    six = "2001:db8::7"
    table = {
        "a.example.net": [address, "192.0.2.7", six], "away.example.net": [six], "node2.example.net": ["192.0.2.7"],
        "strange.example.net": [address, six, "2001:db8::8"],
    }  # fmt: skip

    def resolve(host: str) -> list[str]:
        if host not in table:
            raise here.Unresolved("DNS has no such name")
        return table[host]

    def fault(host: str, *fleet: str, shared: bool = False) -> str:
        settings = {**SETTINGS, "http_port": port, "fleet": fleet}
        return str(here.fault([host], settings, folder, resolve, shared=shared))

    # As an address in another spelling, and as a name; one that DNS does not know is nobody's.
    fleet = ("2001:DB8:0::7", "node2.example.net", "node3")
    said = fault("a.example.net", *fleet)
    assert said.startswith(f"a.example.net leads here and to 192.0.2.7, {six}, which is another host of this fleet.")
    assert said.endswith("proved by DNS: streamfleet_certificates_acme_challenge: dns-01")
    assert "acme_addresses" not in said
    # Proved by DNS it may be shared; this host answers for itself alone.
    assert fault("a.example.net", *fleet, shared=True) == "None"
    for shared in (False, True):
        said = fault("away.example.net", *fleet, shared=shared)
        assert said.startswith(f"away.example.net leads to {six}, which is another host of this fleet. Change its")
        said = fault("strange.example.net", *fleet, shared=shared)
        assert said.startswith("strange.example.net leads to 2001:db8::8, which is not this host's. Change its")
    assert fault("a.example.net", "node3").startswith(f"a.example.net leads to 192.0.2.7, {six}, which is not this")


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
    ],
)
def test_places_of_resolvers(server: str, found: tuple[str, int]) -> None:
    assert here.place(server) == found


# The operator's own


@pytest.fixture
def bring(host: Host, tmp_path: Path) -> Callable[..., list[str]]:
    place = dataclasses.replace(host.place, directory=tmp_path / "brought")

    def bring(name: str, certificate: str, key: str) -> list[str]:
        wanted = Names.of({"name": name, "source": FILES})
        pair = {"certificate": certificate, "key": key}
        return certificates.bring(place, wanted, *certificates.brought(place, wanted, pair))

    return bring


def test_what_the_operator_brings(host: Host, bring: Callable[..., list[str]], tmp_path: Path) -> None:
    folder = host.place.directory / "a.example.net"
    chain, key = (folder / "fullchain.pem").read_text(), (folder / "privkey.pem").read_text()
    other = (host.place.directory / "c.example.net/privkey.pem").read_text()
    expired = host.ca.sign([(host.names[0], certificates.request(host.place, host.names[0]))], 0)["a.example.net"]
    encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----"
    for given, message in (
        (("a.example.net", chain, ""), "key is empty"),
        (("a.example.net", "", key), "certificate is empty"),
        (("a.example.net", key, key), "certificate: it holds no certificate"),
        (("a.example.net", chain, chain), "key is not a private key"),
        (("a.example.net", chain, encrypted), "key is"),
        (("a.example.net", chain, other), "the certificate is not for this key"),
        (("b.example.net", chain, key), "the certificate is for a.example.net, not for b.example.net"),
        (("a.example.net", expired, key), "the certificate is valid from .* to .* UTC, not now"),
    ):
        with pytest.raises(TlsError, match=f"streamfleet_certificates_files: {given[0]}: {message}"):
            bring(*given)
    assert not (tmp_path / "brought").exists()
    assert len(bring("a.example.net", chain, key)) == 3
    assert bring("a.example.net", chain, key) == []
    placed = tmp_path / "brought/a.example.net"
    assert ((placed / "privkey.pem").stat().st_mode & 0o7777, placed.stat().st_mode & 0o7777) == (0o640, 0o750)


def made(key: Any, *, bits: hashes.HashAlgorithm | None, features: bool = False) -> tuple[str, str]:
    """A certificate for a.example.net that its own key has signed, and the key (PEM)."""
    name, now = x509.Name([]), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example.net")]), critical=True)
    )  # fmt: skip
    if features:
        builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    chain = builder.sign(key, bits).public_bytes(serialization.Encoding.PEM)
    return chain.decode(), key.private_bytes(serialization.Encoding.PEM, pkcs8, plain).decode()


def test_what_browsers_would_not_take_is_refused(bring: Callable[..., list[str]], tmp_path: Path) -> None:
    curve, sha256 = ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    for key, options, message in (
        (rsa.generate_private_key(65537, 1024), {"bits": sha256}, "its RSA key has 1024 bits; have one made with 2048"),
        (ec.generate_private_key(ec.SECP521R1()), {"bits": sha256}, "its key is neither an RSA key nor one on the"),
        (ec.generate_private_key(ec.SECP256K1()), {"bits": sha256}, "its key is neither an RSA key nor one on the"),
        (ed25519.Ed25519PrivateKey.generate(), {"bits": None}, "its key is neither an RSA key nor one on the curve"),
        (curve, {"bits": hashes.SHA224()}, "it is signed with SHA224; have it issued with SHA-256 or better"),
        (curve, {"bits": sha256, "features": True}, r"it demands an OCSP staple \(must-staple\)"),
    ):  # fmt: skip
        with pytest.raises(TlsError, match=f"streamfleet_certificates_files: a.example.net: certificate: {message}"):
            bring("a.example.net", *made(key, **options))
    assert not (tmp_path / "brought").exists()
    for key in (curve, ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        assert len(bring("a.example.net", *made(key, bits=sha256))) == 3


def test_the_client_has_the_files_that_the_module_has() -> None:
    for name in ("pem", "errors", "names", "certificates", "orders", "shelf"):
        link = ROOT / "roles/certificates/files/streamfleet_acme" / f"{name}.py"
        assert link.resolve() == ROOT / "module_utils/streamfleet/tls" / f"{name}.py"
