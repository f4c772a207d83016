"""What a run of the panel's transfer leaves that fails, was killed or was meant for another host; what it may not do.

Tests modules: streamfleet_panel_transfer.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from streamfleet.node_apply.host import Finished, Host
from streamfleet.panel_transfer import coming, leaving, lock, looking, marks, pack, replacing
from streamfleet.panel_transfer import places as where
from streamfleet.panel_transfer.places import TransferError
from streamfleet.upgrade import databases, journal, places
from streamfleet.upgrade.errors import UpgradeError

from tests.unit.library_specs import argument_spec
from tests.unit.test_panel_transfer import RELEASE, ROOT, Double, carry, moved, state, to_last

SOCKET = "postgres://%2Fvar%2Frun%2Fpostgresql/streamfleet"
CA_KEY, WORKER_KEY = "/etc/streamfleet/ca/ca.key", "/etc/streamfleet/worker/id_ed25519"


def double(folder: Path) -> Double:
    made = Double(folder)
    made.file(f"{RELEASE}/VERSION", "0.5.0\n")
    return made


@pytest.fixture(name="old")
def former(tmp_path: Path) -> Double:
    made = double(tmp_path / "old")
    made.fill(["ada", "bob"])
    return made


@pytest.fixture(name="new")
def latter(tmp_path: Path) -> Double:
    return double(tmp_path / "new")


def files(found: Double, *folders: str) -> dict[str, tuple[int, str]]:
    """Mode and content of all files below these."""
    return {
        str(path.relative_to(found.root)): (path.stat().st_mode & 0o7777, path.read_text())
        for folder in folders
        for path in sorted(found.path(folder).rglob("*"))
        if path.is_file()
    }


def reason(found: Double) -> str:
    return str(json.loads(found.path(places.MAINTENANCE).read_text())["reason"])


# Another host than the one that it was begun with.
@pytest.mark.parametrize("parting", [False, True])
def test_it_does_not_go_on_here_when_it_was_on_its_way_to_another_host(old: Double, new: Double, parting: bool) -> None:
    to_last(old, new)
    if parting:
        leaving.parting(old.host, "r1")
    before = marks.read(old.host)
    with pytest.raises(TransferError, match="was on its way to panel2, and not to panel3"):
        leaving.back(old.host, "panel3")
    assert (marks.read(old.host), old.running) == (before, set())
    assert leaving.back(old.host, "panel2") is True
    assert old.running == set(places.UNITS)


def test_of_a_panel_that_has_gone_nobody_says_that_it_goes_on(old: Double, new: Double) -> None:
    moved(old, new)
    with pytest.raises(TransferError, match="the panel is on panel2, which cannot be reached: bring it back"):
        leaving.back(old.host, "panel2", alone=True)
    with pytest.raises(TransferError, match="has gone to panel2, and streamfleet_panel has panel3: correct the inv"):
        leaving.back(old.host, "panel3", alone=True)
    leaving.released(old.host, [])
    with pytest.raises(TransferError, match="the panel is on panel2, which cannot be reached"):
        leaving.back(old.host, "panel2", alone=True)


def test_what_a_killed_run_asks_for_too_late_is_refused(old: Double, new: Double) -> None:
    moved(old, new)
    with pytest.raises(TransferError, match="this host is gone in a transfer of the panel already"):
        leaving.held(old.host, "panel2", "r0")
    assert state(old) == "gone"
    leaving.held(new.host, "panel1", "r2")
    with pytest.raises(TransferError, match="this host is leaving in a transfer"):
        leaving.held(new.host, "panel3", "r0")
    assert marks.read(new.host)["run"] == "r2"
    # Again by the same run, as when it has not heard the answer.
    leaving.held(new.host, "panel1", "r2")
    with pytest.raises(TransferError, match="this run has not begun on this host"):
        coming.came_first(old.host, "r0")


# The lock.
def test_a_program_that_outlives_its_step_keeps_the_next_one_out(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    host = Host(tmp_path, own=False)
    with lock.locked(host) as locked:
        pid = int(locked.run(["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], "", 10.0).out)
    try:
        with pytest.raises(UpgradeError, match="A step of another transfer"), journal.locked(
            host, where.LOCK, 0.0, lock.BUSY
        ):  # fmt: skip
            raise AssertionError("two steps at once")
    finally:
        os.kill(pid, signal.SIGKILL)
    with lock.locked(host):
        pass


def test_who_has_waited_while_another_run_began_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    other = journal.locked(Host(tmp_path, own=False), where.LOCK)

    def until_it_has_begun(_seconds: float) -> None:
        marks.write(host, {"state": "leaving", "to": "panel2", "run": "r2"})
        other.__exit__(None, None, None)

    host = Host(tmp_path, own=False, sleep=until_it_has_begun)
    other.__enter__()
    with pytest.raises(TransferError, match="run r2 has begun meanwhile"), lock.locked(host):
        raise AssertionError("what it was asked for was for the run before")
    with lock.locked(host):
        pass


@pytest.mark.parametrize("at", ["restore", "tables"])
def test_a_run_that_was_ended_while_it_filled_starts_no_panel(
    old: Double, new: Double, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    to_last(old, new)
    module, name = (databases, "restore") if at == "restore" else (looking, "contents")
    real = getattr(module, name)

    def ended(*given: Any) -> Any:
        found = real(*given)
        marks.write(new.host, {**marks.read(new.host), "run": "r2"})
        return found

    monkeypatch.setattr(module, name, ended)
    with pytest.raises(TransferError, match="this run has not begun on this host, or another has ended it"):
        coming.filled(new.host, "r1", [])
    assert new.running == set()
    assert marks.held(new.host) == sorted(places.UNITS)


# Databases.
@pytest.mark.parametrize(
    "url",
    [
        "mysql://panel:secret@127.0.0.1:6033/fleet",
        "postgres://panel:secret@localhost:6432/fleet",
        "postgres://%2Fvar%2Frun%2Fpostgresql/other",
        "postgres://panel:secret@%2Fvar%2Frun%2Fpostgresql/streamfleet",
        f"{SOCKET}?hostaddr=192.0.2.7",
        "mysql://panel:secret@db.example.net/fleet",
    ],
)
def test_only_files_and_the_servers_of_our_own_making_go_along(old: Double, new: Double, url: str) -> None:
    said = databases.stays(databases.parse(url))
    assert "streamfleet_panel_database_url: the database is of kind" in said
    assert "secret" not in said
    to_last(old, new)
    # The new host's, by which the former one's tables would be dropped.
    new.file(places.PANEL_ENV, f"STREAMFLEET_PANEL_DATABASE_URL='{url}'\n")
    for step in (
        lambda: coming.filled(new.host, "r1", []),
        lambda: coming.prepared(new.host, "panel1", "r2"),
    ):
        with pytest.raises(TransferError, match="Move it by database_move"):
            step()
    assert marks.read(new.host)["run"] == "r1"
    assert coming.away(new.host) is True
    assert leaving.back(old.host, "panel2") is True
    old.file(places.PANEL_ENV, f"STREAMFLEET_PANEL_DATABASE_URL='{url}'\n")
    for step in (
        lambda: leaving.packed_first(old.host, []),
        lambda: leaving.held(old.host, "panel2", "r2"),
    ):
        with pytest.raises(TransferError, match="Move it by database_move"):
            step()
    assert (state(old), old.running) == ("", set(places.UNITS))
    # None of a server's programs was called: such a call is an error of the double's.
    assert not any(word in call for double in (old, new) for call in double.calls for word in ("psql", "mariadb"))


def test_the_release_is_told_whether_the_server_was_made_for_the_panel(old: Double, new: Double) -> None:
    assert databases.stays(databases.parse(SOCKET)) == databases.stays(databases.parse("sqlite:////a")) == ""
    to_last(old, new)
    coming.filled(new.host, "r1", [])
    old.file(places.PANEL_ENV, f"STREAMFLEET_PANEL_DATABASE_URL='{SOCKET}'\n")
    assert leaving.back(old.host, "panel2") is True
    leaving.held(old.host, "panel2", "r1")
    leaving.parting(old.host, "r1")
    # By then nothing else says so.
    old.path(places.PANEL_ENV).unlink()
    leaving.gone(old.host, "r1")
    assert looking.look(old.host, False)["own_server"] is True
    assert looking.look(new.host, False)["own_server"] is False


def test_another_version_than_there_is_refused(old: Double, new: Double) -> None:
    to_last(old, new)
    newer = RELEASE.replace("0.5.0", "0.6.0")
    new.path(places.CURRENT).unlink()
    new.path(places.CURRENT).symlink_to(newer)
    with pytest.raises(TransferError, match=r"the panel there is of version 0\.5\.0, and here of 0\.6\.0"):
        coming.filled(new.host, "r1", [])
    assert new.rows() == []


# What came to nothing.
def test_keys_that_came_go_and_what_was_in_their_place_is_back(old: Double, new: Double) -> None:
    for name in ("panel.example.net", "shop.example.com"):
        old.file(f"{where.TLS}/{name}/privkey.pem", f"old {name}")
    old.file(f"{where.PANEL_DOMAINS}/shop.example.com.json", "{}")
    old.file(f"{where.ACME}/acme.example/ann/account.json", "old")
    # Of an authority of its own, which install.yml had made there.
    new.file(CA_KEY, "its own")
    new.path(CA_KEY).chmod(0o600)
    new.file(f"{where.PANEL_DOMAINS}/stays.example.com.json", "{}")
    folders = ("/etc/streamfleet/ca", "/etc/streamfleet/worker", where.TLS, where.PANEL_DOMAINS, "/var/lib/streamfleet")
    before = files(new, *folders)
    for run in ("r1", "r2"):
        # The first one is killed.
        coming.prepared(new.host, "panel1", run)
        leaving.back(old.host, "panel2")
        leaving.packed_first(old.host, ["panel.example.net"])
        carry(old, new)
        coming.came_first(new.host, run)
        coming.came_first(new.host, run)
        assert new.path(CA_KEY).read_text() == "old"
        leaving.held(old.host, "panel2", run)
        leaving.packed_last(old.host, run)
        carry(old, new)
        coming.filled(new.host, run, [])
        assert new.path(f"{where.TLS}/shop.example.com/privkey.pem").exists()
        assert not new.path(f"{where.PANEL_DOMAINS}/stays.example.com.json").exists()
    assert coming.away(new.host) is True
    assert files(new, *folders) == before
    assert not new.path(f"{where.TLS}/panel.example.net").exists()
    assert not new.path(f"{where.ACME_CLIENT}").exists()
    assert not new.path(WORKER_KEY).exists()
    assert state(new) == ""


def test_who_is_killed_while_it_takes_back_takes_back_the_rest(
    old: Double, new: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    new.file(CA_KEY, "its own")
    to_last(old, new)
    for name in ("forget", "copy"):
        with monkeypatch.context() as patched:
            patched.setattr(replacing, name, killed)
            with pytest.raises(KeyboardInterrupt):
                coming.away(new.host)
        assert state(new) == "coming"
    assert coming.away(new.host) is True
    assert new.path(CA_KEY).read_text() == "its own"
    # A panel that has come is no part of what a later run takes back.
    leaving.back(old.host, "panel2")
    to_last(old, new)
    coming.filled(new.host, "r1", [])
    coming.here(new.host, "r1")
    assert replacing.came(new.host) == []


def killed(*_given: object) -> None:
    raise KeyboardInterrupt


def test_what_was_there_first_is_kept_and_no_copy_of_what_came(old: Double, new: Double) -> None:
    moved(old, new)
    new.fill(["carl"])
    for run in ("r2", "r3"):
        coming.prepared(old.host, "panel2", run)
        # Of before the first of these runs, and not what the first one had brought.
        kept = old.path(f"{where.BEFORE}/database.sqlite3")
        assert b"ada" in kept.read_bytes()
        assert b"carl" not in kept.read_bytes()
        leaving.back(new.host, "panel1")
        leaving.held(new.host, "panel1", run)
        leaving.packed_last(new.host, run)
        carry(new, old)
        coming.filled(old.host, run, [])
    leaving.parting(new.host, "r3")
    old.file(where.PACK, "of once")
    coming.here(old.host, "r3")
    leftover = (where.BEFORE, where.PACK, where.COME, where.REPLACED, where.CAME)
    assert not any(old.path(path).exists() for path in leftover)


def test_the_former_hosts_command_line_writes_only_where_the_panel_is(old: Double, new: Double) -> None:
    moved(old, new)
    assert reason(old) == "The panel is on panel2"
    coming.prepared(old.host, "panel2", "r2")
    # install.yml sets up the panel that comes back.
    assert not old.path(places.MAINTENANCE).exists()
    assert coming.away(old.host) is True
    assert reason(old) == "The panel is on panel2"
    assert leaving.released(old.host, [])
    assert not old.path(places.MAINTENANCE).exists()
    assert leaving.released(old.host, []) == []


def test_a_converge_that_is_under_way_can_still_tell_the_panel(old: Double) -> None:
    seen = []

    def run(argv: Any, stdin: str, timeout: float) -> Finished:
        if argv[:2] == ["systemctl", "stop"]:
            seen.append((old.path(places.MAINTENANCE).exists(), set(places.HELD) <= set(marks.held(old.host))))
        return old.run(argv, stdin, timeout)

    leaving.held(Host(old.root, run, own=False), "panel2", "r1")
    assert seen == [(False, True)]
    assert reason(old) == leaving.REASON


def test_the_release_leaves_customers_their_certificates(old: Double, new: Double) -> None:
    for name in ("panel.example.net", "shop.example.com", "mine.example.org"):
        old.file(f"{where.TLS}/{name}/privkey.pem", name)
        old.file(f"{where.PANEL_DOMAINS}/{name}.json", "{}")
    moved(old, new)
    # Since the move: a customer's by now.
    for name in ("shop.example.com", "panel.example.net"):
        old.file(f"{where.DOMAINS}/{name}.json", "{}")
    # The role's own uninstall has removed it before.
    shutil.rmtree(old.path(where.PANEL_DOMAINS))
    leaving.released(old.host, ["panel.example.net"])
    assert sorted(path.name for path in old.path(where.TLS).iterdir()) == ["panel.example.net", "shop.example.com"]


# ACME.
def test_what_the_directory_has_issued_comes_along_and_an_account_of_its_own_stays(old: Double, new: Double) -> None:
    account = f"{where.ACME}/acme.example/ann/account.json"
    for found in (old, new):
        found.file(account, found.root.name)
        found.file(where.ACME_STATE, found.root.name)
    old.file(f"{where.ACME}/acme.example/ann/keys/ann.key", "old")
    old.file(f"{where.ACME}/acme.example/bob/account.json", "old")
    for name in ("panel.example.net", "radio.example.org"):
        old.file(f"{where.ACME_HELD}/{name}.pem", name)
    old.path(f"{where.TLS}/panel.example.net").mkdir(parents=True)
    old.path(f"{where.ACME_CLIENT}/lego").chmod(0o700)
    leaving.packed_first(old.host, ["panel.example.net"])
    coming.prepared(new.host, "panel1", "r1")
    carry(old, new)
    first = coming.came_first(new.host, "r1")
    assert coming.came_first(new.host, "r1") == {"changed": []}
    assert f"{where.ACME}/acme.example/bob/account.json" in first["changed"]
    assert new.path(f"{where.ACME}/acme.example/bob/account.json").exists()
    assert new.path(account).read_text() == new.path(where.ACME_STATE).read_text() == "new"
    assert not new.path(f"{where.ACME}/acme.example/ann/keys").exists()
    assert [path.name for path in new.path(where.ACME_HELD).iterdir()] == ["panel.example.net.pem"]
    # The client's own user writes into both folders.
    assert new.path(f"{where.ACME_CLIENT}/lego").stat().st_mode & 0o7777 == 0o700
    with pytest.raises(TransferError, match="names: 'Panel'"):
        leaving.packed_first(old.host, ["Panel"])


def test_the_clients_state_comes_to_a_host_that_has_none(old: Double, new: Double) -> None:
    old.file(where.ACME_STATE, "old")
    coming.prepared(new.host, "panel1", "r1")
    for names, there in (([], False), (["panel.example.net"], True)):
        leaving.packed_first(old.host, names)
        carry(old, new)
        coming.came_first(new.host, "r1")
        assert new.path(where.ACME_STATE).exists() is there
    old.file(where.ACME_STATE, "older")
    leaving.packed_first(old.host, ["panel.example.net"])
    carry(old, new)
    assert coming.came_first(new.host, "r1") == {"changed": [where.ACME_STATE]}
    assert coming.away(new.host) is True
    assert not new.path(where.ACME_STATE).exists()


# The module, and who calls it.
def test_playbooks_give_each_step_what_it_needs() -> None:
    needed = {
        "run": {"held", "last", "parting", "gone", "prepared", "came", "filled", "here"},
        "other": {"held", "prepared", "back", "lost"},
    }
    text = (ROOT / "library/streamfleet_panel_transfer.py").read_text()
    scope: dict[str, Any] = {}
    exec(text[text.index("NEEDED = {") : text.index("\ndef needed")], scope)
    assert {name: set(steps) for name, steps in scope["NEEDED"].items()} == needed
    seen = set()
    for file in (ROOT / "playbooks").rglob("*.yml"):
        for task in tasks(yaml.safe_load(file.read_text())):
            given = task["streamfleet_panel_transfer"]
            seen.add(given["step"])
            lacking = [name for name, steps in needed.items() if given["step"] in steps and not given.get(name)]
            assert not lacking, (file.name, task["name"], lacking)
    assert seen >= needed["run"] | needed["other"]
    assert set(argument_spec("streamfleet_panel_transfer")["step"]["choices"]) >= seen


def tasks(found: Any) -> list[dict[str, Any]]:
    """All tasks of this module, in whatever blocks."""
    if isinstance(found, list):
        return [task for item in found for task in tasks(item)]
    if not isinstance(found, dict):
        return []
    here = [found] if "streamfleet_panel_transfer" in found else []
    return here + [task for value in found.values() if isinstance(value, list) for task in tasks(value)]


def test_a_folder_that_goes_alone_has_nothing_in_it(old: Double, new: Double) -> None:
    old.file("/a/b/c", "c")
    old.path(where.FOLDER).mkdir(parents=True, exist_ok=True)
    pack.write(old.host, where.PACK, ["/a/b/"], None, {})
    carry(old, new)
    assert pack.put(new.host, where.COME, lambda _path: True) == []
    assert new.path("/a/b").is_dir()
    assert list(new.path("/a/b").iterdir()) == []
