"""Backups and restores killed at any moment, with a full disk, with the repository cut off: the next run ends right.

Needs no node: restic, the files and the panel with its database are real; systemd and the server of a repository over
HTTP are doubles.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet_backup import database, files

from tests.doubles.rest_server import RestServerDouble
from tests.faults.conftest import ROUNDS

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "tests/faults/backup_driver.py"
UNIT = "streamfleet-panel.service"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class Site:
    """A host below one folder: media, keys and the panel's database, backed up by the role's own program."""

    def __init__(self, folder: Path, chance: random.Random, repository: str = "") -> None:
        self.folder, self.chance = folder, chance
        self.media, self.keys = folder / "media", folder / "etc" / "secrets.env"
        self.base = folder / "base" / "panel.sqlite3"
        for path in (self.media, self.keys.parent, self.base.parent, folder / "config", folder / "bin"):
            path.mkdir(parents=True)
        known = {
            "SECRET_KEY": "only-for-tests-" + "0" * 40,
            "FIELD_KEYS": KEY,
            "DATABASE_URL": f"sqlite:///{self.base}",
            "PUBLIC_URL": "https://panel.example.net",
            "RELEASE_DIR": str(ROOT),
            "SYSLOG": "",
        }
        lines = "".join(f"STREAMFLEET_PANEL_{name}='{value}'\n" for name, value in known.items())
        (folder / "panel.env").write_text(lines)
        self.keys.write_text(f"STREAMFLEET_PANEL_FIELD_KEYS='{KEY}'\n")
        program = folder / "bin" / "streamfleet-panel"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT / "panel"} exec {sys.executable} -m streamfleet_panel "$@"\n')
        program.chmod(0o755)
        # Where the virtual environment has it, and so which migrations are installed.
        packages = folder / "lib" / "python3.11" / "site-packages"
        packages.mkdir(parents=True)
        (packages / "streamfleet_panel").symlink_to(ROOT / "panel" / "streamfleet_panel")
        (folder / "units.json").write_text(json.dumps([UNIT]))
        parts = [
            {"role": "autodj", "paths": [str(self.media)]},
            {"role": "panel", "paths": [str(self.keys)], "units": [UNIT]},
        ]
        env = str(folder / "panel.env")
        own = {"settings": env, "secrets": env, "user": "root", "venv": str(folder), "units": [UNIT]}
        told = {"host": "h1", "parts": parts, "database": own, "keep": {}, "prune": False, "check_data": ""}
        (folder / "config" / "settings.json").write_text(json.dumps(told | {"upload_kbps": 0}))
        self.use(repository or str(folder / "repository"))
        self.panel = database.Panel(database.Database(Path(env), Path(env), "root", folder, (UNIT,)))
        self.panel.manage("migrate", "--noinput")
        for number in range(60):
            self.song(number)

    def use(self, repository: str) -> None:
        words = {"RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": "kept-elsewhere"}
        lines = "".join(f"{name}='{value}'\n" for name, value in words.items())
        (self.folder / "config" / "secrets.env").write_text(lines)

    def song(self, number: int, size: int = 100_000) -> Path:
        path = self.media / "200001" / f"album {number % 7}" / f"song {number}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.chance.randbytes(size))
        return path

    def begin(self, job: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "roles/backup/files")}
        return subprocess.Popen(
            [sys.executable, str(DRIVER), str(self.folder), job],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, job: str) -> dict[str, Any]:
        """Run a job to its good end; what it says."""
        process = self.begin(job)
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        told: dict[str, Any] = json.loads(output.splitlines()[-1])
        return told

    def refused(self, job: str) -> str:
        process = self.begin(job)
        errors = process.communicate(timeout=600)[1]
        assert process.returncode == 1, errors
        return errors

    def killed(self, job: str, seconds: float) -> bool:
        """Begin a job and kill it, and all that it has started, after so many seconds; whether it still worked."""
        process = self.begin(job)
        time.sleep(seconds)
        working = process.poll() is None
        if working:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return working

    def point(self, number: int, takes: float) -> float:
        """After how many of the seconds that a run takes it is killed: the rounds are spread over nearly all of it."""
        return 0.9 * takes * (number + self.chance.random()) / ROUNDS

    def restic(self, *arguments: str) -> str:
        words = {"RESTIC_REPOSITORY": str(self.folder / "repository"), "RESTIC_PASSWORD": "kept-elsewhere"}
        environment = {**os.environ, **words, "RESTIC_CACHE_DIR": str(self.folder / "cache")}
        done = subprocess.run(["restic", *arguments], env=environment, text=True, capture_output=True, check=True)
        return done.stdout

    def tree(self) -> list[tuple[Any, ...]]:
        hashes = files.Hashes(self.folder / "tree.sqlite3")
        found = [entry.same for entry in files.walk([str(self.media), str(self.keys)], hashes)]
        hashes.close()
        return found

    def rows(self) -> dict[str, Any]:
        """Tables of the database; of the one that says which it is, and of the counter, what a restore leaves alone."""
        dump = self.folder / f"dump-{time.monotonic_ns()}"
        dump.mkdir()
        found = database.objects(self.panel.dump(dump))
        shutil.rmtree(dump)
        return {name: table for name, table in found.items() if name not in ("panel_installation", "panel_counter")}

    def installation(self) -> tuple[str, int]:
        """Which one it is in the eyes of nodes, and what the next customer's uid is counted from."""
        base = sqlite3.connect(self.base)
        query = "SELECT epoch, value FROM panel_installation, panel_counter"
        ((epoch, counter),) = base.execute(query).fetchall()
        base.close()
        return str(epoch), int(counter)

    def running(self) -> list[str]:
        units: list[str] = json.loads((self.folder / "units.json").read_text())
        return units


@pytest.fixture
def site(tmp_path: Path, chance: random.Random) -> Site:
    return Site(tmp_path, chance)


def test_a_backup_killed_at_any_moment_is_none_and_the_next_one_holds(site: Site) -> None:
    site.run("backup")
    site.song(999, 3_000_000)
    began = time.monotonic()
    site.run("backup")
    takes, kills = time.monotonic() - began, 0
    for number in range(ROUNDS):
        site.song(1000 + number, 3_000_000)
        kills += site.killed("backup", site.point(number, takes))
        site.run("backup")
        shown = site.run("look")
        assert (shown["missing"], shown["different"], shown["extra"], shown["database"]) == (0, 0, 0, "same")
        assert not (site.folder / "data" / "stage").exists()
    assert kills >= ROUNDS // 2
    site.restic("check", "--read-data")
    print(f"{kills} of {ROUNDS} were killed while they worked")


def test_a_restore_killed_at_any_moment_is_gone_on_with_to_the_end(site: Site) -> None:
    site.panel.manage("restored")
    site.run("backup")
    tree, rows = site.tree(), site.rows()
    stored, counter = site.installation()
    seen = {stored}
    takes, kills = 0.0, 0
    for number in range(-1, ROUNDS):
        for path in sorted((site.media / "200001").rglob("*.mp3")):
            if site.chance.random() < 0.5:
                path.unlink()
        site.keys.write_text("STREAMFLEET_PANEL_FIELD_KEYS='of a new host'\n")
        base = sqlite3.connect(site.base)
        base.execute(
            "INSERT INTO panel_resellerplan (name, created_at) VALUES (?, '2026-01-01 00:00:00')", [f"p{number}"]
        )
        base.execute("UPDATE panel_installation SET epoch = ?", [f"{number + 1:032x}"])
        base.commit()
        base.close()
        if number >= 0:
            kills += site.killed("restore", site.point(number, takes))
        began = time.monotonic()
        done = site.run("restore")
        # What follows a kill goes on with it, and takes less.
        takes = takes or time.monotonic() - began
        assert (done["differing"], done["equal"]) == (0, done["compared"])
        assert site.tree() == tree
        assert site.rows() == rows
        # Nodes refuse generations of an epoch that they know, and uids since the backup are somebody's.
        epoch, counted = site.installation()
        assert epoch not in seen
        assert counted == counter + 1000
        assert done["database"] in ("other", "restored")
        seen |= {epoch, f"{number + 1:032x}"}
        assert site.running() == [UNIT]
        assert not list(site.folder.rglob(".streamfleet-restore"))
        assert not (site.folder / "data" / "restoring.json").exists()
    assert kills >= ROUNDS // 2
    print(f"{kills} of {ROUNDS} were killed while they worked")


def configured(site: Site, **changes: Any) -> None:
    """The role's settings, changed."""
    path = site.folder / "config" / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def at_phase(site: Site, process: subprocess.Popen[str], phase: str) -> None:
    """Wait until a job that works has come to a phase."""
    deadline, path = time.monotonic() + 300, site.folder / "run" / "status.json"
    while f'"phase": "{phase}"' not in path.read_text():
        assert process.poll() is None, f"it ended before {phase}: {process.communicate()[1]}"
        assert time.monotonic() < deadline, f"it does not come to {phase}"
        time.sleep(0.002)


def pruned(site: Site, *arguments: str) -> subprocess.Popen[str]:
    """The program, asked as on a machine that is none of the fleet."""
    command = [sys.executable, "-m", "streamfleet_backup", "prune", "--host", "h1"]
    command += ["--repository", str(site.folder / "repository"), "--state", str(site.folder / "operator")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "roles/backup/files"), "RESTIC_PASSWORD": "kept-elsewhere"}
    return subprocess.Popen(
        [*command, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def holds_one_backup(site: Site) -> None:
    """The newest, whole, with its manifest, and nothing of those before it."""
    snapshots = json.loads(site.restic("snapshots", "--json", "--no-lock"))
    assert sorted(item["tags"][0] for item in snapshots) == ["streamfleet", "streamfleet-manifest"]
    shown = site.run("look")
    assert (shown["missing"], shown["different"], shown["extra"], shown["database"]) == (0, 0, 0, "same")


@pytest.mark.full
def test_a_host_that_may_prune_keeps_what_it_is_to_and_a_kill_in_the_middle_costs_no_backup(site: Site) -> None:
    site.run("backup")
    configured(site, keep={"daily": 1}, prune=True)
    site.song(998, 4_000_000)
    process = site.begin("backup")
    at_phase(site, process, "prune")
    began = time.monotonic()
    errors = process.communicate(timeout=600)[1]
    assert process.returncode == 0, errors
    takes, kills = time.monotonic() - began, 0
    holds_one_backup(site)
    before = size = 0
    for number in range(ROUNDS):
        before = size
        # Whose place the next one takes.
        for path in site.media.rglob("song 1[0-9][0-9][0-9].mp3"):
            path.unlink()
        site.song(1000 + number, 4_000_000)
        process = site.begin("backup")
        at_phase(site, process, "prune")
        time.sleep(site.point(number, takes))
        if process.poll() is None:
            kills += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        # What is there is whole, whatever of the old ones is there, too.
        shown = site.run("look")
        assert (shown["missing"], shown["different"], shown["database"]) == (0, 0, "same")
        site.run("backup")
        holds_one_backup(site)
        size = sum(path.stat().st_size for path in (site.folder / "repository" / "data").rglob("*") if path.is_file())
        # What was forgotten is gone from the disk: else each round would add a song.
        assert before == 0 or size < before + 3_000_000
    assert kills >= ROUNDS // 2
    site.restic("check", "--read-data")
    print(f"{kills} of {ROUNDS} were killed while they pruned")


@pytest.mark.full
def test_whoever_prunes_from_elsewhere_is_killed_and_the_next_run_ends_it(site: Site) -> None:
    site.run("backup")
    keep = ["--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", "--accept-unseen", "--keep-within", "0"]
    takes, kills = 0.0, 0
    for number in range(-1, ROUNDS):
        for path in site.media.rglob("song 1[0-9][0-9][0-9].mp3"):
            path.unlink()
        site.song(1001 + number, 4_000_000)
        site.run("backup")
        if number >= 0:
            process = pruned(site, *keep)
            time.sleep(site.point(number, takes))
            if process.poll() is None:
                kills += 1
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            assert site.run("look")["missing"] == 0
        began = time.monotonic()
        process = pruned(site, *keep)
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        takes = takes or time.monotonic() - began
        assert json.loads(output)["kept"] == 1
        holds_one_backup(site)
    assert kills >= ROUNDS // 2
    site.restic("check", "--read-data")
    print(f"{kills} of {ROUNDS} were killed while they pruned")


@pytest.mark.full
def test_backups_that_a_host_gives_a_false_time_have_no_good_one_pruned(site: Site) -> None:
    site.run("backup")
    site.song(998)
    site.run("backup")
    keep = ["--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", "--accept-unseen", "--keep-within", "0"]
    good = {item["id"] for item in json.loads(site.restic("snapshots", "--json"))}
    # Recent ones stay, whatever the policy would let go.
    process = pruned(site, *keep[:-1], "30")
    output, errors = process.communicate(timeout=600)
    assert (process.returncode, json.loads(output)["kept"]) == (0, 2), errors
    empty = site.folder / "empty"
    empty.mkdir()
    for moment, said in (
        ("2099-01-01 00:00:00", "are of the future"),
        ("2020-01-01 00:00:00", "have come since the last"),
    ):
        add = ["backup", str(empty), "--host", "h1", "--time", moment, "--json"]
        made = json.loads(site.restic(*add, "--tag", "streamfleet").splitlines()[-1])["snapshot_id"]
        site.restic(*add, "--tag", "streamfleet-manifest", "--tag", f"data:{made}")
        process = pruned(site, *keep)
        errors = process.communicate(timeout=600)[1]
        assert (process.returncode, said in errors, made[:8] in errors) == (1, True, True), errors
        assert good <= {item["id"] for item in json.loads(site.restic("snapshots", "--json"))}
        false = {item["id"] for item in json.loads(site.restic("snapshots", "--json"))} - good
        assert len(false) == 2
        site.restic("forget", *false)
    process = pruned(site, *keep)
    output, errors = process.communicate(timeout=600)
    assert (process.returncode, json.loads(output)["kept"]) == (0, 1), errors
    holds_one_backup(site)


def test_a_piece_that_has_been_damaged_is_found_by_reading_it_again(site: Site) -> None:
    site.run("backup")
    packs = [path for path in (site.folder / "repository" / "data").rglob("*") if path.is_file()]
    pack = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    # In the middle, as of a disk that rots: neither the size nor the head at its end says so.
    place = len(content) // 3
    content[place : place + 4096] = bytes(value ^ 0xFF for value in content[place : place + 4096])
    pack.chmod(0o600)
    pack.write_bytes(content)
    # By its structure all is well.
    assert site.run("backup")["files"] == 60 + 1
    configured(site, check_data="100%")
    known = len(json.loads(site.restic("snapshots", "--json", "--no-lock")))
    errors = site.refused("backup")
    assert "damaged or incomplete" in errors, errors
    assert pack.name[:8] in errors, errors
    # What does not hold has no manifest, and so is no backup.
    tags = [item["tags"][0] for item in json.loads(site.restic("snapshots", "--json", "--no-lock"))]
    assert (len(tags), tags.count("streamfleet-manifest")) == (known + 1, known // 2)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A disk of its own, mounted at a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_ends_a_backup_with_its_cause_and_the_next_one_goes_on(site: Site) -> None:
    disk = site.folder / "disk"
    with small_disk(disk, 3):
        site.use(str(disk / "repository"))
        assert "the disk is full. Make room there" in site.refused("backup")
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        made = site.run("backup")
        assert made["files"] == 61
        shown = site.run("look")
        assert (shown["missing"], shown["different"], shown["database"]) == (0, 0, "same")


def lose_media(site: Site) -> None:
    """The library is gone; the folder is there."""
    shutil.rmtree(site.media / "200001")


def put_to_sleep_at_its_files(site: Site, process: subprocess.Popen[str]) -> None:
    """Stop a restore where it has begun to fetch files, and has not ended."""
    deadline, folder = time.monotonic() + 120, site.media / ".streamfleet-restore"
    while not folder.exists():
        assert process.poll() is None, f"it ended before it fetched files: {process.communicate()[1]}"
        assert time.monotonic() < deadline, "it does not begin to fetch files"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGSTOP)
    assert process.poll() is None, f"it ended before it was stopped: {process.communicate()[1]}"


def test_a_disk_that_is_too_small_or_fills_up_ends_a_restore_and_the_same_command_goes_on(site: Site) -> None:
    site.run("backup")
    tree, rows = site.tree(), site.rows()
    lose_media(site)
    with small_disk(site.media, 3):
        refused = site.refused("restore")
        assert "Make room" in refused, refused
        assert list(site.media.iterdir()) == []
        assert site.running() == [UNIT]
        subprocess.run(["mount", "-o", "remount,size=120m", str(site.media)], check=True)
        process = site.begin("restore")
        put_to_sleep_at_its_files(site, process)
        filler = site.media / "of a tenant"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            for _ in range(200):
                stream.write(bytes(1_000_000))
        os.killpg(process.pid, signal.SIGCONT)
        errors = process.communicate(timeout=600)[1]
        assert process.returncode == 1, errors
        assert f"the disk of {site.media} is full" in errors, errors
        assert "Run the restore again" in errors, errors
        filler.unlink()
        done = site.run("restore")
        assert (done["differing"], done["equal"]) == (0, done["compared"])
        assert (site.tree(), site.rows(), site.running()) == (tree, rows, [UNIT])
        assert not (site.media / ".streamfleet-restore").exists()


def test_a_disk_that_is_too_small_for_the_database_ends_a_restore_before_anything_is_done(site: Site) -> None:
    site.run("backup")
    stored = site.rows()
    base = site.base.read_bytes()
    with small_disk(site.base.parent, 8):
        site.base.write_bytes(base)
        changed = sqlite3.connect(site.base)
        changed.execute("INSERT INTO panel_resellerplan (name, created_at) VALUES ('p', '2026-01-01 00:00:00')")
        changed.commit()
        changed.close()
        rows = site.rows()
        assert rows != stored
        refused = site.refused("restore")
        assert f"{site.base.parent} has" in refused, refused
        assert "Nothing was changed" in refused, refused
        assert (site.rows(), site.running()) == (rows, [UNIT])
        assert not list(site.base.parent.glob("*.restored*"))
        subprocess.run(["mount", "-o", "remount,size=200m", str(site.base.parent)], check=True)
        assert site.run("restore")["database"] == "other"
        assert (site.rows(), site.running()) == (stored, [UNIT])


def test_a_server_that_is_away_in_the_middle_of_a_restore_is_waited_for(tmp_path: Path, chance: random.Random) -> None:
    with RestServerDouble() as server:
        site = Site(tmp_path / "host", chance, server.url)
        site.run("backup")
        tree, rows = site.tree(), site.rows()
        for killed in (False, True):
            lose_media(site)
            process = site.begin("restore")
            put_to_sleep_at_its_files(site, process)
            # From the first content that is asked for nothing is answered any more.
            server.cut_at = "data/"
            os.killpg(process.pid, signal.SIGCONT)
            deadline = time.monotonic() + 120
            while server.cut is None and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(3)
            assert process.poll() is None
            assert site.tree() != tree
            if killed:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
            server.cut = None
            if killed:
                site.run("restore")
            else:
                errors = process.communicate(timeout=600)[1]
                assert process.returncode == 0, errors
            assert (site.tree(), site.rows(), site.running()) == (tree, rows, [UNIT])
            assert not (site.media / ".streamfleet-restore").exists()


def test_a_server_that_goes_away_ends_a_backup_and_the_next_one_sends_the_rest(
    tmp_path: Path, chance: random.Random
) -> None:
    with RestServerDouble() as server:
        site = Site(tmp_path / "host", chance, server.url)
        server.cut = 2_000_000
        # restic tries again for a quarter of an hour: the test does not wait for that.
        process = site.begin("backup")
        deadline = time.monotonic() + 120
        while server.came <= server.cut and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None
        time.sleep(2)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        server.cut, before = None, server.came
        assert site.run("backup")["files"] == 61
        assert server.came - before < 6_100_000 + 500_000
        assert site.run("look")["missing"] == 0


@pytest.mark.full
def test_a_host_may_add_to_a_server_that_takes_nothing_away_and_cannot_prune_there(
    tmp_path: Path, chance: random.Random
) -> None:
    with RestServerDouble(append_only=True) as server:
        site = Site(tmp_path / "host", chance, server.url)
        site.run("backup")
        site.song(99)
        site.run("backup")
        assert server.refused == []
        configured(site, keep={"daily": 1}, prune=True)
        before = dict(server.blobs)
        assert "access is refused" in site.refused("backup")
        assert {command for command, _name in server.refused} == {"DELETE"}
        # What was there is there.
        assert before.items() <= server.blobs.items()
        shown = site.run("look")
        assert (shown["missing"], shown["different"]) == (0, 0)
