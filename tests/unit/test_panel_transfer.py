"""The transfer of the panel over two real directory trees and SQLite databases; systemd, SSH and the panel are doubles.

On hosts: tests/live/test_panel_transfer.py. Tests modules: streamfleet_panel_transfer.
"""

from __future__ import annotations

import json
import pwd
import sqlite3
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from streamfleet.node_apply.host import Finished, Host
from streamfleet.panel_transfer import coming, leaving, looking, marks, pack, way
from streamfleet.panel_transfer import places as where
from streamfleet.panel_transfer.places import TransferError
from streamfleet.upgrade import databases, places

ROOT = Path(__file__).resolve().parents[2]
RELEASE, VENV = "/opt/streamfleet/releases/0.5.0-0123456789abcdef", "/opt/streamfleet/venvs/0.5.0-fedcba9876543210"
TOKEN = "sft_abcdefgh_" + "x" * 43
NODE = {
    "name": "n1",
    "address": "192.0.2.7",
    "ssh_port": 22,
    "ssh_user": "streamfleet-converge",
    "host_key": "ssh-ed25519 AAAA",
}


class Double:
    """systemd, ssh and a panel over the tree ``root``. Held units do not start, as the real ones do not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: set[str] = set()
        self.enabled: set[str] = set()
        self.reaches = True
        self.calls: list[str] = []
        for path in (RELEASE, VENV):
            self.path(path).mkdir(parents=True)
        self.path(places.CURRENT).symlink_to(RELEASE)
        self.path(places.VENV).symlink_to(VENV)
        self.file(
            places.PANEL_ENV, "STREAMFLEET_PANEL_DATABASE_URL='sqlite:////var/lib/streamfleet/panel/panel.sqlite3'\n"
        )
        for unit in places.UNITS:
            self.file(f"/etc/systemd/system/{unit}", "")
        for folder in ("/run", "/var/lib/streamfleet/panel", "/etc/streamfleet/domains"):
            self.path(folder).mkdir(parents=True, exist_ok=True)

    @property
    def host(self) -> Host:
        return Host(self.root, self.run, own=False, sleep=lambda _seconds: None)

    def path(self, absolute: str) -> Path:
        return self.root / absolute.lstrip("/")

    def file(self, path: str, text: str) -> None:
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    @property
    def database(self) -> Path:
        return self.path("/var/lib/streamfleet/panel/panel.sqlite3")

    def fill(self, names: Sequence[str]) -> None:
        """A panel with these customers, and secrets of its own."""
        self.database.parent.mkdir(parents=True, exist_ok=True)
        link = sqlite3.connect(self.database)
        link.execute("CREATE TABLE IF NOT EXISTS customer (name TEXT)")
        link.executemany("INSERT INTO customer VALUES (?)", [(name,) for name in names])
        link.commit()
        link.close()
        self.database.chmod(0o660)
        for path in where.SECRETS:
            self.file(path, f"{TOKEN} of {self.root.name}\n")
        self.file("/etc/streamfleet/ca/ca.key", self.root.name)
        self.file("/etc/streamfleet/worker/id_ed25519", self.root.name)
        self.running, self.enabled = set(places.UNITS), set(places.UNITS)

    def rows(self) -> list[str]:
        if not self.database.exists() or not self.database.stat().st_size:
            return []
        link = sqlite3.connect(self.database)
        found = [name for (name,) in link.execute("SELECT name FROM customer ORDER BY rowid")]
        link.close()
        return found

    def run(self, argv: Sequence[str], stdin: str, _timeout: float) -> Finished:
        words = " ".join(argv)
        self.calls.append(words)
        if argv[0] == "systemctl":
            return self.systemctl(list(argv[1:]))
        if places.COMMAND in argv:
            if argv[-1] == "restored" and self.database.stat().st_mode & 0o777 != 0o660:
                return Finished(1, err="attempt to write a readonly database")
            if "contents()" in words:
                return Finished(0, json.dumps({"customer": [len(self.rows()), repr(self.rows())]}))
            asked = {**looking.NOTHING, "customers": len(self.rows()), "nodes": [NODE] if self.rows() else []}
            return Finished(0, json.dumps({**asked, "installation": "e"}))
        if argv[0] == "curl":
            assert TOKEN not in words
            if places.PANEL not in self.running:
                return Finished(7)
            answer = {"version": "0.5.0", "count": 1}
            return Finished(0, f"{json.dumps(answer)}\n200")
        if argv[0] == "ssh":
            return Finished(0 if self.reaches else 255)
        raise AssertionError(words)

    def systemctl(self, words: list[str]) -> Finished:
        verb, units = words[0], {word for word in words[1:] if not word.startswith("--")}
        if verb == "start":
            if units & set(marks.held(self.host)):
                return Finished(1, err="Assertion failed on job")
            self.running |= units
        elif verb == "enable":
            self.enabled |= units
        elif verb in ("stop", "disable"):
            self.running -= units
            if verb == "disable":
                self.enabled -= units
        else:
            raise AssertionError(words)
        return Finished(0)


@pytest.fixture
def old(tmp_path: Path) -> Double:
    double = Double(tmp_path / "old")
    double.file(f"{RELEASE}/VERSION", "0.5.0\n")
    double.fill(["ada", "bob"])
    return double


@pytest.fixture
def new(tmp_path: Path) -> Double:
    double = Double(tmp_path / "new")
    double.file(f"{RELEASE}/VERSION", "0.5.0\n")
    return double


def carry(old: Double, new: Double) -> None:
    """What fetch does, without a network."""
    new.path(where.FOLDER).mkdir(parents=True, exist_ok=True)
    new.path(where.COME).write_bytes(old.path(where.PACK).read_bytes())


def to_last(old: Double, new: Double, run: str = "r1") -> None:
    """All up to the moment before what came is put in place."""
    coming.prepared(new.host, "panel1", run)
    leaving.packed_first(old.host, [])
    carry(old, new)
    coming.came_first(new.host, run)
    # What install.yml makes there.
    new.enabled |= set(places.UNITS)
    new.database.touch()
    new.database.chmod(0o660)
    leaving.held(old.host, "panel2", run)
    assert old.running == {places.PANEL}
    leaving.packed_last(old.host, run)
    carry(old, new)


def moved(old: Double, new: Double, run: str = "r1") -> None:
    to_last(old, new, run)
    told = coming.filled(new.host, run, ["n1"])
    assert told["rows"] == len(old.rows())
    leaving.parting(old.host, run)
    coming.here(new.host, run)
    leaving.gone(old.host, run)


def state(double: Double) -> str:
    return str(marks.read(double.host).get("state", ""))


def test_it_is_there_as_it_was_here_and_here_nothing_starts_any_more(old: Double, new: Double) -> None:
    moved(old, new)
    assert new.rows() == ["ada", "bob"]
    assert (state(old), state(new)) == ("gone", "here")
    assert (new.running, new.enabled) == (set(places.UNITS), set(places.UNITS))
    assert (old.running, old.enabled) == (set(), set())
    assert marks.held(old.host) == sorted(places.UNITS)
    for path in (*where.SECRETS, "/etc/streamfleet/ca/ca.key", "/etc/streamfleet/worker/id_ed25519"):
        assert new.path(path).read_text() == old.path(path).read_text()
    # The command line of the former one says where the panel is, and writes nothing.
    assert json.loads(old.path(places.MAINTENANCE).read_text())["reason"] == "The panel is on panel2"
    assert not new.path(places.MAINTENANCE).exists()
    for double in (old, new):
        assert not double.path(where.PACK).exists()
        assert not double.path(where.COME).exists()
    # A repetition of a run that was killed behind the switch changes nothing.
    coming.here(new.host, "r1")
    leaving.gone(old.host, "r1")
    assert (state(old), state(new)) == ("gone", "here")


def test_no_two_workers_at_any_step(old: Double, new: Double) -> None:
    """Whatever starts by itself, at each step, on either host: what is enabled and not held."""
    steps = [
        lambda: leaving.held(old.host, "panel2", "r1"),
        lambda: leaving.packed_last(old.host, "r1"),
        lambda: carry(old, new),
        lambda: coming.filled(new.host, "r1", []),
        lambda: leaving.parting(old.host, "r1"),
        lambda: coming.here(new.host, "r1"),
        lambda: leaving.gone(old.host, "r1"),
    ]
    coming.prepared(new.host, "panel1", "r1")
    # install.yml starts the panel that has nothing.
    new.fill([])
    for step in steps:
        step()
        with_nodes = [double for double in (old, new) if double.rows()]
        able = [double for double in with_nodes if worker_starts(double)]
        assert len(able) <= 1, step


def worker_starts(double: Double) -> bool:
    worker = places.HELD[0]
    return worker in double.running or (worker in double.enabled and worker not in marks.held(double.host))


@pytest.mark.parametrize("after", ["held", "last", "filled", "parting"])
def test_what_came_to_nothing_is_put_back_and_away(old: Double, new: Double, after: str) -> None:
    coming.prepared(new.host, "panel1", "r1")
    leaving.held(old.host, "panel2", "r1")
    if after != "held":
        leaving.packed_last(old.host, "r1")
        carry(old, new)
    if after in ("filled", "parting"):
        coming.filled(new.host, "r1", [])
        assert new.running == {places.PANEL}
        assert new.path(places.MAINTENANCE).exists()
    if after == "parting":
        leaving.parting(old.host, "r1")
        # Nobody knows whether it has come, where the new host cannot be asked.
        with pytest.raises(TransferError, match="it may have come to panel2, which cannot be asked"):
            leaving.back(old.host, "panel2", alone=True)
        assert places.HELD[0] not in old.running
    assert coming.away(new.host) is True
    assert leaving.back(old.host, "panel2") is True
    assert (state(old), state(new)) == ("", "")
    assert old.running == old.enabled == set(places.UNITS)
    assert new.running == new.enabled == set()
    assert (old.rows(), new.rows()) == (["ada", "bob"], [])
    assert not any(new.path(path).exists() for path in where.SECRETS)
    assert not old.path(places.MAINTENANCE).exists()
    assert (coming.away(new.host), leaving.back(old.host, "panel2")) == (False, False)


def test_a_copy_that_is_not_whole_or_reaches_no_node_is_refused(old: Double, new: Double) -> None:
    to_last(old, new)
    new.reaches = False
    with pytest.raises(TransferError, match="the worker does not reach n1 from here"):
        coming.filled(new.host, "r1", ["n1"])
    assert places.HELD[0] not in new.running
    # Of a node that was not reached before, nobody asks.
    coming.filled(new.host, "r1", [])
    with tarfile.open(new.path(where.COME)) as archive:
        told = pack.told(new.host, where.COME)
        assert archive.getnames()[0] == pack.LIST
    place = new.path(f"{where.FOLDER}/wrong")
    place.mkdir()
    databases.save(old.host, databases.database_of(old.host), "/var/lib/streamfleet/panel")
    (place / "database.sqlite3").write_bytes(old.path("/var/lib/streamfleet/panel/database.sqlite3").read_bytes())
    told["contents"]["customer"][1] = "another"
    pack.write(new.host, where.COME, [], place, told)
    with pytest.raises(TransferError, match="these tables are not as they were sent: customer"):
        coming.filled(new.host, "r1", [])


def test_the_way_back_takes_what_has_come_since_and_never_the_other_way_round(old: Double, new: Double) -> None:
    moved(old, new)
    new.fill(["carl"])
    # The copy of once goes nowhere: by no step, under no name.
    with pytest.raises(TransferError, match="this run has not begun on this host"):
        leaving.packed_last(old.host, "r2")
    with pytest.raises(TransferError, match="this host is here in a transfer"):
        coming.prepared(new.host, "panel1", "r2")
    with pytest.raises(TransferError, match="has gone to panel2"):
        coming.prepared(old.host, "panel3", "r2")

    coming.prepared(old.host, "panel2", "r2")
    assert old.rows() == []
    assert old.path(f"{where.BEFORE}/database.sqlite3").exists()
    leaving.held(new.host, "panel1", "r2")
    leaving.packed_last(new.host, "r2")
    carry(new, old)
    coming.filled(old.host, "r2", [])
    coming.here(old.host, "r2")
    leaving.gone(new.host, "r2")
    assert old.rows() == ["ada", "bob", "carl"]
    assert (state(old), state(new)) == ("here", "gone")
    assert new.running == set()


def test_a_way_back_that_fails_leaves_the_copy_of_once_held(old: Double, new: Double) -> None:
    moved(old, new)
    coming.prepared(old.host, "panel2", "r2")
    assert coming.away(old.host) is True
    assert marks.read(old.host)["state"] == "gone"
    assert marks.held(old.host) == sorted(places.UNITS)


def test_a_host_with_a_panel_of_its_own_is_left_alone(new: Double) -> None:
    new.fill(["stranger"])
    with pytest.raises(TransferError, match="this host has a panel with 1 customers, 0 services and 1 nodes"):
        coming.prepared(new.host, "panel1", "r1")
    assert (new.running, new.rows()) == (set(places.UNITS), ["stranger"])


def test_a_step_of_another_run_is_refused(old: Double, new: Double) -> None:
    coming.prepared(new.host, "panel1", "r1")
    leaving.held(old.host, "panel2", "r1")
    for step in (
        lambda: leaving.packed_last(old.host, "r9"),
        lambda: leaving.gone(old.host, "r9"),
        lambda: coming.here(new.host, "r9"),
    ):
        with pytest.raises(TransferError, match="this run has not begun on this host"):
            step()
    assert (state(old), state(new)) == ("leaving", "coming")


def test_certificates_of_customers_are_not_written_over(old: Double, new: Double) -> None:
    for name in ("panel.example.net", "shop.example.com", "radio.example.org"):
        old.file(f"{where.TLS}/{name}/privkey.pem", f"old {name}")
    old.file(f"{where.PANEL_DOMAINS}/shop.example.com.json", "{}")
    new.file(f"{where.PANEL_DOMAINS}/gone.example.com.json", "{}")
    # A customer's, on the new host.
    new.file("/etc/streamfleet/domains/shop.example.com.json", "{}")
    new.file(f"{where.TLS}/shop.example.com/privkey.pem", "a customer's")
    coming.prepared(new.host, "panel1", "r1")
    leaving.packed_first(old.host, ["panel.example.net"])
    carry(old, new)
    coming.came_first(new.host, "r1")
    leaving.held(old.host, "panel2", "r1")
    leaving.packed_last(old.host, "r1")
    carry(old, new)
    coming.filled(new.host, "r1", [])
    assert new.path(f"{where.TLS}/panel.example.net/privkey.pem").read_text() == "old panel.example.net"
    assert new.path(f"{where.TLS}/shop.example.com/privkey.pem").read_text() == "a customer's"
    assert not new.path(f"{where.TLS}/radio.example.org").exists()
    assert [path.name for path in new.path(where.PANEL_DOMAINS).iterdir()] == ["shop.example.com.json"]


def test_the_former_host_keeps_no_key_when_it_is_released(old: Double, new: Double) -> None:
    with pytest.raises(TransferError, match="the panel has not gone from this host"):
        leaving.released(old.host, [])
    moved(old, new)
    old.file(f"{where.TLS}/panel.example.net/privkey.pem", "key")
    old.file(f"{where.TLS}/radio.example.org/privkey.pem", "a customer's")
    assert leaving.released(old.host, ["panel.example.net"])
    assert state(old) == "released"
    keys = (*where.SECRETS, *where.CA_KEYS, f"{where.TLS}/panel.example.net")
    assert not any(old.path(path).exists() for path in keys)
    assert old.path(f"{where.TLS}/radio.example.org/privkey.pem").exists()
    assert leaving.released(old.host, ["panel.example.net"]) == []


@pytest.mark.parametrize(
    ("key", "said"), [("ssh-rsa AAAA", "public_key"), ('ssh-ed25519 AAAA" command="x', "public_key")]
)
def test_only_a_key_is_let_in(old: Double, key: str, said: str) -> None:
    with pytest.raises(TransferError, match=said):
        way.allow(old.host, key, [])


def test_the_key_opens_one_file_and_is_taken_away(old: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    # Debian's own, for the user that install.yml makes.
    monkeypatch.setattr(way, "USER", "nobody")
    keys = f"{pwd.getpwnam('nobody').pw_dir}/.ssh/authorized_keys"
    old.file(keys, "ssh-ed25519 AAAA of the worker\n")
    public = f"ssh-ed25519 {'A' * 68}"
    way.allow(old.host, public, ["192.0.2.9"])
    (_worker, line) = old.path(keys).read_text().splitlines()
    assert line.startswith('restrict,from="192.0.2.9",expiry-time="')
    assert f'command="sudo -n /usr/bin/cat {where.PACK}" {public} {way.MARK}' in line
    assert way.forbid(old.host) is True
    assert old.path(keys).read_text() == "ssh-ed25519 AAAA of the worker\n"
    assert way.forbid(old.host) is False


def test_a_mark_that_makes_no_sense_is_an_error(old: Double) -> None:
    for text in ("", "[]", '{"state": "moved"}'):
        old.file(where.MARK, text)
        with pytest.raises(TransferError, match="look at the disk"):
            marks.read(old.host)


@pytest.mark.parametrize(
    "unit",
    [
        "panel/templates/streamfleet-panel",
        "panel/templates/streamfleet-panel-jobs",
        "worker/templates/streamfleet-worker",
    ],
)
def test_units_look_at_the_same_place(unit: str) -> None:
    text = (ROOT / "roles" / f"{unit}.service.j2").read_text()
    assert f"AssertPathExists=!{where.HELD}/%n" in text


def test_the_guard_comes_with_the_lock_and_only_the_transfer_goes_round_it() -> None:
    name = "Check that the panel is where the inventory says"
    (guard,) = [task for task in _tasks("fleet_lock.yml") if task["name"] == name]
    assert "not (__streamfleet_panel_transfers | default(false))" in guard["when"]
    files = (ROOT / "playbooks").rglob("*.yml")
    users = [path.name for path in files if "__streamfleet_panel_transfers:" in path.read_text()]
    assert users == ["panel_transfer_first.yml"]
    names = [task["name"] for task in _tasks("fleet_at_rest.yml")]
    assert names[0] == "Have the fleet for this run"


def _tasks(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load((ROOT / "playbooks/tasks" / name).read_text()))
