"""The steps of an upgrade over a real directory tree and a real SQLite database; systemd and the panel are doubles.

The doubles refuse what the real ones would: a panel answers only while its unit runs, a command line only where its
environment lies, and a database is copied by SQLite itself.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from streamfleet import since_boot
from streamfleet.node_apply.host import Finished, Host
from streamfleet.upgrade import databases, draining, journal, panel, places, steps, versions
from streamfleet.upgrade.errors import UpgradeError

OLD = ("/opt/streamfleet/releases/0.1.0-0123456789abcdef", "/opt/streamfleet/venvs/0.1.0-0123456789abcdef")
NEW = ("/opt/streamfleet/releases/0.2.0-0123456789abcdef", "/opt/streamfleet/venvs/0.2.0-0123456789abcdef")
TOKEN = "sft_abcdefgh_" + "x" * 43
WORKER = "sft_ijklmnop_" + "y" * 43


class PanelDouble:
    """systemd, the panel at its socket and its command line, over the tree ``root``."""

    def __init__(self, root: Path, able: bool) -> None:
        self.root = root
        self.running = set(places.UNITS)
        self.calls: list[str] = []
        self.refuse = ""
        #: Migrations that the database has had, and the new release has not.
        self.unknown: list[str] = []
        #: The environment that the processes have loaded.
        self.loaded = NEW[1].rpartition("/")[2]
        for path in (*OLD, *NEW):
            (root / path[1:]).mkdir(parents=True)
            (root / path[1:] / ".complete").touch()
        for venv in (OLD[1], NEW[1])[0 if able else 1 :]:
            module = root / venv[1:] / "lib/python3.11/site-packages/streamfleet_panel/maintenance.py"
            module.parent.mkdir(parents=True)
            module.touch()
        self.switch(*OLD)
        self.file(places.PANEL_ENV, "STREAMFLEET_PANEL_DATABASE_URL='sqlite:////var/lib/panel.sqlite3'\n")
        self.file("/etc/systemd/system/streamfleet-panel.service", "old unit\n")
        for path, token in zip(places.TOKENS, (TOKEN, WORKER), strict=True):
            self.file(path, f"{token}\n")
        self.file("/var/lib/panel.sqlite3", "")
        (root / "run").mkdir()
        with self.database() as link:
            link.executescript(
                "PRAGMA journal_mode=WAL; CREATE TABLE panel_node (name TEXT, generation INTEGER);"
                "INSERT INTO panel_node VALUES ('node1', 7); CREATE TABLE panel_account (username TEXT);"
                "INSERT INTO panel_account VALUES ('ada'), ('lin');"
            )

    def host(self) -> Host:
        return Host(root=self.root, run=self.run, own=False, sleep=lambda _s: None, clock=iter(range(10**6)).__next__)

    def file(self, path: str, text: str) -> None:
        place = self.root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def switch(self, release: str, venv: str) -> None:
        """What the role panel does last."""
        for path, target in ((places.CURRENT, release), (places.VENV, venv)):
            place = self.root / path[1:]
            place.unlink(missing_ok=True)
            place.symlink_to(target)

    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.root / "var/lib/panel.sqlite3")

    def rows(self, question: str) -> list[Any]:
        return self.database().execute(question).fetchall()

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        line = " ".join(argv)
        self.calls.append(line)
        if self.refuse and re.search(self.refuse, line):
            return Finished(1, err=f"{self.refuse}: refused")
        if argv[0] == "systemctl":
            return self._systemctl(list(argv[1:]))
        if argv[0] == "curl":
            return self._ask(argv[-1], stdin)
        if argv[0] == "env":
            return self._command(list(argv))
        done = subprocess.run(list(argv), input=stdin, capture_output=True, text=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    def _systemctl(self, words: list[str]) -> Finished:
        if words[0] == "stop":
            self.running -= set(words[1:])
        elif words[0] == "start":
            self.running |= set(words[1:])
        return Finished(0)

    def _ask(self, url: str, stdin: str) -> Finished:
        if places.PANEL not in self.running:
            return Finished(7, err="curl: (7) Couldn't connect to server")
        if TOKEN not in stdin:
            return Finished(0, "{}\n401")
        if url.endswith("/whoami"):
            version = versions.version_of(str((self.root / places.CURRENT[1:]).readlink()))
            told = {"version": version} if version == "0.1.0" else {"version": version, "environment": self.loaded}
            return Finished(0, json.dumps(told) + "\n200")
        return Finished(0, json.dumps({"count": self.rows("SELECT count(*) FROM panel_account")[0][0]}) + "\n200")

    def _command(self, argv: list[str]) -> Finished:
        venv = argv[1].partition("=")[2]
        assert (self.root / venv[1:]).is_dir()
        words = argv[4:]
        if words[0] == "check_ready":
            return Finished(0, "{}")
        code = words[-1]
        if "MigrationExecutor" in code:
            return Finished(0, json.dumps({"pending": ["panel.0004_more"], "unknown": self.unknown}))
        if "panel_node" in code:
            return Finished(0, json.dumps(dict(self.rows("SELECT name, generation FROM panel_node"))))
        if "generation__lte" in code:
            known = json.loads(re.search(r"json\.loads\('(.*?)'\)", code)[1])  # type: ignore[index]
            with self.database() as link:
                for name, seen in known.items():
                    link.execute(
                        "UPDATE panel_node SET generation = ? WHERE name = ? AND generation <= ?",
                        (seen + 1, name, seen),
                    )
            return Finished(0, "[1]")
        return Finished(0, json.dumps({"Account": self.rows("SELECT count(*) FROM panel_account")[0][0]}))


@pytest.fixture(params=[True, False], ids=["read-only", "stopped"])
def double(request: pytest.FixtureRequest, tmp_path: Path) -> PanelDouble:
    return PanelDouble(tmp_path, request.param)


def begun(host: Host, run: str = "r1") -> dict[str, Any]:
    """An upgrade up to where all is saved."""
    steps.claim(host, run, "a test", *NEW)
    return steps.begin(host, run)


def upgraded(double: PanelDouble, run: str = "r1") -> Host:
    """An upgrade up to where the role panel has migrated, switched and started."""
    host = double.host()
    begun(host, run)
    with double.database() as link:
        link.executescript("CREATE TABLE panel_more (x); DELETE FROM panel_node WHERE name = 'gone';")
    double.file("/etc/systemd/system/streamfleet-panel.service", "new unit\n")
    double.file("/usr/lib/streamfleet/panel/new.py", "")
    double.switch(*NEW)
    double.running.add(places.PANEL)
    return host


def maintenance(double: PanelDouble) -> dict[str, Any] | None:
    place = double.root / places.MAINTENANCE[1:]
    return json.loads(place.read_text()) if place.exists() else None


def test_a_look_says_what_would_be_done_and_touches_nothing(double: PanelDouble) -> None:
    plan = steps.look(double.host(), *NEW)
    assert (plan["from"]["version"], plan["to"]["version"]) == ("0.1.0", "0.2.0")
    assert (plan["changes"], plan["migrations"], plan["begun"]) == (True, ["panel.0004_more"], None)
    assert plan["database"] == "sqlite"
    assert not [call for call in double.calls if call.startswith("systemctl")]
    assert not steps.look(double.host(), *OLD)["changes"]
    (double.root / NEW[0][1:] / ".complete").unlink()
    assert steps.look(double.host(), *NEW)["migrations"] is None


def test_a_downgrade_is_refused_with_the_reason(double: PanelDouble) -> None:
    double.switch(*NEW)
    with pytest.raises(UpgradeError, match=r"has 0\.2\.0, and 0\.1\.0 is older.*at least 0\.2\.0"):
        steps.look(double.host(), *OLD)


@pytest.mark.parametrize(("state", "refused"), [("changing", True), ("stuck", True), ("done", False)])
def test_names_and_release_are_not_changed_at_once(double: PanelDouble, state: str, refused: bool) -> None:
    double.file(places.NAMES, json.dumps({"state": state}))
    if refused:
        with pytest.raises(UpgradeError, match="change of host names"):
            begun(double.host())
        assert maintenance(double) is None
    else:
        begun(double.host())
    assert (double.root / places.JOURNAL[1:]).exists() is not refused


def test_a_database_that_is_ahead_of_the_release_is_refused(double: PanelDouble) -> None:
    double.unknown = ["panel.0099_later"]
    with pytest.raises(UpgradeError, match=r"does not know \(panel\.0099_later\)"):
        steps.look(double.host(), *NEW)


def test_it_is_held_and_read_only_until_the_gate_then_open_to_the_probe_then_to_all(double: PanelDouble) -> None:
    able = steps.look(double.host(), *NEW)["read_only"]
    host = double.host()
    begun(host)
    assert double.running == ({places.PANEL} if able else set())
    held = maintenance(double)
    assert held == {
        "reason": "The panel is being upgraded from 0.1.0 to 0.2.0", "admit": [], "hold": ["worker", "jobs"],
    }  # fmt: skip
    double.switch(*NEW)
    double.running.add(places.PANEL)
    found = steps.open_gate(host, "r1")
    assert found["counts"] == {"Account": 2}
    assert maintenance(double) == {**held, "admit": ["abcdefgh", "ijklmnop"], "hold": ["jobs"]}
    steps.finish(host, "r1")
    assert maintenance(double) is None
    assert double.running == set(places.UNITS)
    assert journal.read(host) is None
    assert not steps.look(host, *NEW)["changes"]


def test_what_is_undone_is_as_before(double: PanelDouble) -> None:
    host = upgraded(double)
    steps.open_gate(host, "r1")
    with double.database() as link:
        link.execute("UPDATE panel_node SET generation = 9")
        link.execute("INSERT INTO panel_account VALUES ('probe')")
    assert steps.undo(host, "r1") == {"undone": True, "restored": True, "version": "0.1.0"}
    assert double.rows("SELECT username FROM panel_account") == [("ada",), ("lin",)]
    assert double.rows("SELECT name FROM sqlite_master WHERE name = 'panel_more'") == []
    # Above what its nodes have been given meanwhile, so that they take what comes.
    assert double.rows("SELECT generation FROM panel_node") == [(10,)]
    assert steps.installed(host)["release"] == OLD[0]
    assert (double.root / "etc/systemd/system/streamfleet-panel.service").read_text() == "old unit\n"
    assert not (double.root / "usr/lib/streamfleet/panel/new.py").exists()
    assert double.running == set(places.UNITS)
    assert maintenance(double) is None
    assert journal.read(host) is None
    assert steps.look(host, *NEW)["changes"]


@pytest.mark.parametrize("where", ["systemctl stop", "tar --create", "shell"])
def test_where_nothing_can_be_saved_nothing_is_changed(double: PanelDouble, where: str) -> None:
    double.refuse = where
    with pytest.raises(UpgradeError, match="Nothing was changed: "):
        begun(double.host())
    assert double.running == set(places.UNITS)
    assert maintenance(double) is None
    assert journal.read(double.host()) is None
    # What the playbook does then, which does not know how far the step has come.
    assert steps.undo(double.host(), "r1") == {"undone": True, "restored": False, "version": "0.1.0"}


def test_who_has_claimed_it_keeps_others_away_and_has_changed_nothing(double: PanelDouble) -> None:
    host = double.host()
    steps.claim(host, "r1", "a test", *NEW)
    assert double.calls == []
    assert maintenance(double) is None
    with pytest.raises(UpgradeError, match=r"under way already: 0\.1\.0 to 0\.2\.0, begun by a test at .*, claimed"):
        steps.claim(host, "r2", "another", *NEW)
    with pytest.raises(UpgradeError, match="that of another run"):
        steps.begin(host, "r2")
    assert steps.undo(host, "r1") == {"undone": True, "restored": False, "version": "0.1.0"}
    assert double.calls == []
    with pytest.raises(UpgradeError, match="No upgrade was begun"):
        steps.begin(host, "r1")
    begun(host, "r2")
    with pytest.raises(UpgradeError, match="cannot begin: it is snapshot already"):
        steps.begin(host, "r2")


def test_without_room_for_the_way_back_nothing_is_changed(double: PanelDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _offset: int, size: int) -> None:
        assert size >= steps.RESERVE
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full)
        with pytest.raises(UpgradeError, match=r"Nothing was changed: .*No space left on device"):
            begun(double.host())
    assert double.running == set(places.UNITS)
    assert journal.read(double.host()) is None
    host = upgraded(double)
    saved = journal.of_run(host, "r1")["snapshot"]
    reserve = double.root / saved[1:] / places.RESERVE
    assert reserve.stat().st_size >= steps.RESERVE

    def needs_room(*_arguments: Any) -> None:
        assert not reserve.exists()

    monkeypatch.setattr(databases, "restore", needs_room)
    assert steps.undo(host, "r1")["restored"]


def test_a_node_that_was_set_draining_is_known_until_it_is_given_back(double: PanelDouble) -> None:
    host = double.host()
    draining.note(host, "r1", ["n1", "edge.example"])
    assert steps.look(host, *NEW)["draining"] == ["edge.example", "n1"]
    # An upgrade of the panel in between takes nothing of it away.
    upgraded(double)
    steps.open_gate(host, "r1")
    steps.finish(host, "r1")
    assert draining.noted(host) == ["edge.example", "n1"]
    draining.forget(host, ["n1", "n2"])
    assert draining.noted(host) == ["edge.example"]
    for bad in ("../../etc/x", "", "N1", "a/b", "-a"):
        with pytest.raises(UpgradeError, match="is no name of a node"):
            draining.note(host, "r1", ["n3", bad])
    assert draining.noted(host) == ["edge.example"]


@pytest.mark.parametrize("where", ["tar --extract", "daemon-reload", "generation__lte", "systemctl start", "curl"])
def test_an_undoing_that_was_cut_off_is_ended_by_the_next(double: PanelDouble, where: str) -> None:
    host = upgraded(double)
    double.refuse = where
    with pytest.raises(UpgradeError):
        steps.undo(host, "r1")
    held = maintenance(double)
    assert held is not None
    assert held["admit"] == []
    double.refuse = ""
    assert steps.undo(host, "r1")["undone"]
    assert double.rows("SELECT count(*) FROM panel_account") == [(2,)]
    assert double.running == set(places.UNITS)
    assert maintenance(double) is None


def test_a_run_killed_before_anything_was_saved_is_undone_without_a_snapshot(double: PanelDouble) -> None:
    host = double.host()
    double.refuse = "tar --create"
    original = steps._release
    steps._release = lambda *_a: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            begun(host)
    finally:
        steps._release = original
    double.refuse = ""
    found = steps.look(host, *NEW)["begun"]
    assert (found["run"], found["fresh"]) == ("r1", True)
    assert steps.undo(host, "r1") == {"undone": True, "restored": False, "version": "0.1.0"}
    assert double.running == set(places.UNITS)


def test_a_gate_that_was_passed_is_finished_and_not_undone(double: PanelDouble) -> None:
    host = upgraded(double)
    steps.open_gate(host, "r1")
    double.refuse = "systemctl start"
    with pytest.raises(UpgradeError):
        steps.finish(host, "r1")
    double.refuse = ""
    assert steps.undo(host, "r1") == {"undone": False, "restored": False, "version": "0.2.0"}
    assert double.rows("SELECT count(*) FROM sqlite_master WHERE name = 'panel_more'") == [(1,)]
    assert maintenance(double) is None


def test_two_upgrades_exclude_each_other(double: PanelDouble) -> None:
    host = upgraded(double)
    with pytest.raises(UpgradeError, match=r"under way already: 0\.1\.0 to 0\.2\.0, begun by a test at"):
        steps.claim(host, "r2", "another", *NEW)
    for step in (steps.open_gate, steps.finish, steps.undo):
        with pytest.raises(UpgradeError, match="that of another run"):
            step(host, "r2")
    with journal.locked(host), pytest.raises(UpgradeError, match="A step of another upgrade"):
        steps.open_gate(host, "r1")
    with pytest.raises(UpgradeError, match="the gate was not passed"):
        steps.finish(host, "r1")


def test_what_still_changes_the_database_is_waited_for_before_it_is_put_back(double: PanelDouble) -> None:
    host = upgraded(double)
    with journal.locked(host, places.SET_UP_LOCK):
        with pytest.raises(UpgradeError, match=r"still being changed, by a run that was killed \(set_up\.py\)"):
            steps.undo(host, "r1")
        assert steps.installed(host)["release"] == NEW[0]
        assert double.rows("SELECT count(*) FROM sqlite_master WHERE name = 'panel_more'") == [(1,)]
    assert steps.undo(host, "r1")["restored"]


def test_the_gate_misses_objects_and_wrong_versions(double: PanelDouble) -> None:
    host = upgraded(double)
    with double.database() as link:
        link.execute("DELETE FROM panel_account WHERE username = 'ada'")
    with pytest.raises(UpgradeError, match=r"missing after the upgrade \(Account: 1 of 2\)"):
        steps.open_gate(host, "r1")
    double.loaded = "0.2.0-fedcba9876543210"
    with pytest.raises(UpgradeError, match=r"does not answer as version 0\.2\.0, but with 200 .*fedcba9876543210"):
        steps.open_gate(host, "r1")
    double.switch(*OLD)
    with pytest.raises(UpgradeError, match=r"does not answer as version 0\.2\.0, but with 200"):
        steps.open_gate(host, "r1")


def test_a_run_is_given_up_after_its_lease(double: PanelDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    host = upgraded(double)
    found = journal.read(host)
    assert found is not None
    assert journal.is_fresh(found)
    begun = since_boot.now()
    later = since_boot.Moment(begun.boot, begun.seconds + journal.LEASE + 1)
    monkeypatch.setattr(since_boot, "now", lambda: later)
    assert not journal.is_fresh(found)


def test_a_run_that_takes_long_says_so_and_hears_that_another_has_undone_it(
    double: PanelDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = upgraded(double)
    begun = since_boot.now()
    later = since_boot.Moment(begun.boot, begun.seconds + journal.LEASE + 1)
    monkeypatch.setattr(since_boot, "now", lambda: later)
    steps.renew(host, "r1")
    assert journal.is_fresh(journal.read(host) or {})
    with pytest.raises(UpgradeError, match="that of another run"):
        steps.renew(host, "r2")
    steps.undo(host, "r1")
    with pytest.raises(UpgradeError, match="or another run has ended it"):
        steps.renew(host, "r1")


@pytest.mark.parametrize("jump", [-400 * 86400, 400 * 86400])
def test_a_clock_that_jumps_gives_nobody_up(double: PanelDouble, monkeypatch: pytest.MonkeyPatch, jump: int) -> None:
    host = upgraded(double)
    found = journal.read(host)
    assert found is not None
    here = time.time()
    monkeypatch.setattr(time, "time", lambda: here + jump)
    assert journal.is_fresh(found)
    # It goes on to its end, too.
    steps.open_gate(host, "r1")
    steps.finish(host, "r1")
    assert journal.read(host) is None
    # Of another boot nothing is known but the clock's time.
    monkeypatch.setattr(since_boot, "now", lambda: since_boot.Moment("another", 5.0))
    assert not journal.is_fresh(found)
    monkeypatch.setattr(time, "time", lambda: here)
    assert journal.is_fresh(found)


def test_versions_are_ordered_as_they_are_released() -> None:
    ordered = ["0.1.0", "0.2.0-dev0", "0.2.0-dev1", "0.2.0rc1", "0.2.0", "0.10.0"]
    assert sorted(sorted(ordered), key=versions.order) == ordered
    assert sorted(ordered) != ordered
    assert versions.version_of(NEW[0]) == "0.2.0"
    assert versions.version_of("/x/0.2.0-dev0-0123456789abcdef") == "0.2.0-dev0"
    for bad in ("/opt/streamfleet/releases/mine", "0.2.0"):
        with pytest.raises(UpgradeError, match="is not called as a release is"):
            versions.version_of(bad)
    with pytest.raises(UpgradeError, match="'two' is no version"):
        versions.order("two")


def test_databases_are_told_by_their_url_which_is_never_shown() -> None:
    assert databases.parse("sqlite:////var/lib/a%20b.sqlite3") == databases.Database("sqlite", "/var/lib/a b.sqlite3")
    socket = databases.parse("postgres://%2Fvar%2Frun%2Fpostgresql/streamfleet")
    assert (socket.kind, socket.host, socket.name) == ("postgresql", "/var/run/postgresql", "streamfleet")
    away = databases.parse("mysql://panel:p%40ss@db.example.net:3307/fleet")
    assert (away.kind, away.host, away.port, away.user, away.password, away.name) == (
        *("mariadb", "db.example.net", 3307, "panel", "p@ss", "fleet"),
    )
    for bad in ("oracle://u:secret@h/x", "mysql://u:secret@h:port/x"):
        with pytest.raises(UpgradeError) as caught:
            databases.parse(bad)
        assert "secret" not in str(caught.value)


@dataclass
class Server:
    """A database server's programs: what they were called with, and what they say."""

    told: str = ""
    code: int = 0
    calls: list[list[str]] = field(default_factory=list)

    def host(self, root: Path) -> Host:
        return Host(root=root, run=self.run, own=False)

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        # After the shell's script and the file.
        self.calls.append(list(argv[5:]))
        return Finished(self.code, self.told, "no answer" if self.code else "")


def test_a_server_is_spoken_to_by_the_same_tls_as_the_panel_does(tmp_path: Path) -> None:
    """Without it a password would be given to whoever answers, and a server that insists would not answer."""
    server = Server()
    url = (
        "postgres://p:secret@db.example.net/fleet?sslmode=verify-full&sslrootcert=/etc/d%27b/ca.pem&sslpassword=hidden"
    )
    database = databases.parse(url)
    databases.save(server.host(tmp_path), database, "/snapshot")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/database.dump").touch()
    databases.restore(server.host(tmp_path), database, "/snapshot")
    assert [call[0] for call in server.calls] == ["pg_dump", "psql", "pg_restore"]
    where = r"--dbname=dbname='fleet' sslmode='verify-full' sslrootcert='/etc/d\'b/ca.pem'"
    assert all(where in call for call in server.calls)
    assert "hidden" not in str(server.calls)
    server.calls.clear()
    database = databases.parse("mysql://p:secret@db.example.net/fleet?ssl-ca=/etc/ca.pem&ssl_cert=/c&ssl_key=/k")
    databases.save(server.host(tmp_path), database, "/snapshot")
    databases.restore(server.host(tmp_path), database, "/snapshot")
    words = ["--ssl", "--ssl-ca=/etc/ca.pem", "--ssl-cert=/c", "--ssl-key=/k", "--ssl-verify-server-cert"]
    assert len(server.calls) == 3
    assert all([word for word in call if word.startswith("--ssl")] == words for call in server.calls)
    server.calls.clear()
    for plain in ("postgres://%2Frun%2Fpostgresql/fleet", "mysql://p@%2Frun%2Fmysqld%2Fmysqld.sock/fleet?ssl-ca=/x"):
        databases.save(server.host(tmp_path), databases.parse(plain), "/snapshot")
    assert "--dbname=fleet" in server.calls[0]
    assert "ssl" not in str(server.calls)


@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
def test_a_server_is_asked_how_large_its_database_is(scheme: str, tmp_path: Path) -> None:
    server = Server(told=f"{300 * 2**20}\n")
    database = databases.parse(f"{scheme}://p:secret@db.example.net/fleet")
    assert databases.size_mb(server.host(tmp_path), database) == 301
    # Its own way back takes room there, and not here.
    assert steps._room(server.host(tmp_path), database, True) == {"database_mb": 301, "back_mb": 0}
    here = databases.parse(f"{scheme}://p:secret@localhost/fleet")
    assert steps._room(server.host(tmp_path), here, True)["back_mb"] == 301
    with pytest.raises(UpgradeError, match="does not say how large"):
        databases.size_mb(Server(told="").host(tmp_path), database)
    gone = Server(code=2).host(tmp_path)
    with pytest.raises(UpgradeError, match="no answer"):
        steps._room(gone, database, True)
    # What was begun can be undone without it.
    assert steps._room(gone, database, False)["database_mb"] == 0


def test_a_panel_that_does_not_answer_is_said_with_its_last_words(double: PanelDouble) -> None:
    double.running.clear()
    assert panel.get(double.host(), "/api/v1/health") == (0, "curl: (7) Couldn't connect to server")
