"""What a backup stores, how it is verified, and how it is put back: against a double of restic, over real files."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from streamfleet_backup import __main__ as program
from streamfleet_backup import (
    backup,
    database,
    files,
    journal,
    lock,
    loss,
    manifest,
    place,
    plan,
    restic,
    restore,
    settings,
    upgrading,
)
from streamfleet_backup.errors import BackupError, NoRepository
from streamfleet_backup.restic import Restic
from streamfleet_backup.settings import Part, Settings
from streamfleet_backup.status import Status, read

from tests.doubles.restic import ResticDouble


class UnitsDouble:
    """Remembers what was asked of systemd; refuses what it does not have, as that does.

    ``unknown``: units that are not on this host.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.unknown: set[str] = set()

    def active(self, names: Sequence[str]) -> list[str]:
        return self.known(names)

    def known(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name not in self.unknown]

    def act(self, verb: str, names: Sequence[str]) -> None:
        if strange := self.unknown & set(names):
            raise BackupError(f"systemctl {verb} failed: Unit {', '.join(strange)} not loaded.")
        if names:
            self.asked.append((verb, list(names)))


class Host:
    """A host with a library, a secret and a repository, all below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.media, self.secret = folder / "media", folder / "etc" / "secrets.env"
        (self.media / "200001" / "rock").mkdir(parents=True)
        self.song = self.media / "200001" / "rock" / "song.mp3"
        self.song.write_bytes(b"music" * 1000)
        (self.media / "200001" / "link").symlink_to("/etc/passwd")
        self.secret.parent.mkdir()
        self.secret.write_text("KEY='old'\n")
        self.restic: Any = ResticDouble(folder / "repository")
        self.units: Any = UnitsDouble()
        parts = (
            Part("autodj", (str(self.media),)),
            Part("panel", (str(self.secret),), ("panel.service",), ("nginx.service",)),
        )
        environment = {"RESTIC_REPOSITORY": "rest:https://me:secret@backup.example/me/", "RESTIC_PASSWORD": "x" * 12}
        own = {name: folder / name for name in ("data", "cache", "run", "release")}
        self.settings = Settings("h1", parts, None, {"daily": 7}, False, "", 0, environment, **own)

    def backup(self, **changes: Any) -> dict[str, Any]:
        chosen = dataclasses.replace(self.settings, **changes)
        return backup.run(chosen, Status(chosen.run, "backup"), self.restic)

    def restore(self, **request: Any) -> dict[str, Any]:
        asked = restore.Request(**request)
        return restore.run(self.settings, Status(self.settings.run, "restore"), asked, self.restic, self.units)

    def wipe(self) -> None:
        shutil.rmtree(self.media)
        shutil.rmtree(self.settings.data)

    def tree(self) -> list[tuple[Any, ...]]:
        hashes = files.Hashes(self.folder / "tree.sqlite3")
        found = [entry.same for entry in files.walk([str(self.media), str(self.secret)], hashes)]
        hashes.close()
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_was_stored_comes_back_to_the_last_byte_and_a_second_time_changes_nothing(host: Host) -> None:
    before = host.tree()
    made = host.backup()
    assert (made["files"], made["bytes"], made["changing"], made["warnings"]) == (2, 5000 + 10 + 11, 0, [])
    assert "secret" not in made["repository"]
    host.wipe()
    host.secret.write_text("KEY='new host'\n")
    shown = host.restore()
    assert (shown["done"], shown["missing"], shown["different"]) == (False, 5, 1)
    assert shown["conflicts"] == [str(host.secret)]
    assert host.secret.read_text() == "KEY='new host'\n"
    assert not host.media.exists()
    assert host.units.asked == []
    done = host.restore(confirm=True)
    assert (done["compared"], done["equal"], done["differing"]) == (6, 6, 0)
    assert host.tree() == before
    assert host.units.asked == [
        ("stop", ["panel.service"]),
        ("start", ["panel.service"]),
        ("reload", ["nginx.service"]),
    ]
    assert not list(host.folder.rglob(settings.SCRATCH))
    host.units.asked.clear()
    again = host.restore(confirm=True)
    assert (again["missing"], again["different"], again["equal"]) == (0, 0, 6)
    assert host.units.asked == []


def test_what_the_backup_before_had_and_is_gone_is_an_error_until_somebody_says_that_it_is_meant(host: Host) -> None:
    password = host.secret.with_name("admin_password")
    password.write_text("x")
    certificates = host.folder / "tls"
    certificates.mkdir()
    (certificates / "key.pem").write_text("x")
    panel = Part("panel", (str(password),), ("panel.service",), (), (str(password),))
    tls = Part("certificates", (str(certificates),), (), ("nginx.service",))
    host.settings = dataclasses.replace(host.settings, parts=(*host.settings.parts, panel, tls))
    host.backup()
    before = len(backup.complete(host.restic))
    host.secret.unlink()
    password.unlink()
    (certificates / "key.pem").unlink()
    with pytest.raises(BackupError, match=r"tls is empty, and had 1 files.*Nothing was stored") as caught:
        host.backup()
    assert f"{host.secret} is not there" in str(caught.value)
    assert "backup_accept_missing=yes" in str(caught.value)
    assert "admin_password" not in str(caught.value)
    assert len(backup.complete(host.restic)) == before
    made = backup.run(host.settings, Status(host.settings.run, "backup"), host.restic, accept_missing=True)
    assert sorted(warning.split(" is ")[1] for warning in made["warnings"]) == [
        "empty, and had 1 files",
        "not there",
        "not there",
    ]
    # Said once, it is known.
    assert host.backup()["warnings"] == []


def test_fewer_files_of_tenants_are_an_error_where_their_folder_is_another_one(host: Host) -> None:
    songs = [host.song.with_name(f"{number}.mp3") for number in range(loss.FEW)]
    for song in songs:
        song.write_text("x")
    host.backup()
    for song in songs:
        song.unlink()
    # Customers go, and take theirs with them: a warning, once.
    assert f"{host.media} has 1 files, and had 11" in host.backup()["warnings"][0]
    assert host.backup()["warnings"] == []
    # What stands there while its disk is not mounted.
    host.media.rename(host.folder / "disk")
    host.media.mkdir()
    with pytest.raises(BackupError, match=r"media is empty, and had 1 files; it is another folder or disk than before"):
        host.backup()
    host.media.rmdir()
    shutil.copytree(host.folder / "disk", host.media, symlinks=True)
    assert host.backup()["warnings"] == []
    host.media.rename(host.folder / "moved")
    with pytest.raises(BackupError, match=r"media is not there"):
        host.backup()


def test_a_disk_that_is_not_mounted_is_an_error_of_a_backup_and_of_a_restore(host: Host) -> None:
    host.backup()
    units = host.folder / "units"
    units.mkdir()
    name = loss._escaped(str(host.media)) + ".mount"
    (units / name).write_text("[Mount]\n")
    mountinfo = host.folder / "mountinfo"
    root = "26 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
    mountinfo.write_text(root)
    host.settings = dataclasses.replace(host.settings, mount_units=(units,), mountinfo=mountinfo)
    with pytest.raises(BackupError, match=r"no disk is mounted at .*media.*systemctl restart.*Nothing was stored"):
        host.backup()
    host.song.unlink()
    assert host.restore()["missing"] == 1
    with pytest.raises(BackupError, match=r"no disk is mounted at .*Nothing was changed"):
        host.restore(confirm=True)
    assert not host.song.exists()
    mountinfo.write_text(f"{root}90 26 254:16 / {host.media} rw,relatime shared:9 - ext4 /dev/vdb rw\n")
    host.restore(confirm=True)
    host.backup()


def test_units_of_mounts_are_named_as_systemd_names_them(tmp_path: Path) -> None:
    assert loss._escaped("/var/lib/streamfleet/media") == "var-lib-streamfleet-media"
    assert loss._escaped("/srv/a-b c") == "srv-a\\x2db\\x20c"
    (tmp_path / "mountinfo").write_text(r"26 1 254:1 / /srv/a\040b rw - ext4 /dev/vda1 rw")
    assert loss._mounted(tmp_path / "mountinfo") == {"/srv/a b"}


def test_the_panels_database_is_not_stored_without_the_key_of_its_credentials(
    host: Host, panel: database.Panel, tmp_path: Path
) -> None:
    lost = dataclasses.replace(panel._database, secrets=tmp_path / "lost.env")
    with pytest.raises(BackupError, match=r"lost\.env is not there.*Nothing was stored"):
        host.backup(database=lost)
    assert backup.complete(host.restic) == []


def test_an_upgrade_that_works_on_the_database_is_waited_for(
    host: Host, panel: database.Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "upgrade"
    folder.mkdir()
    note = folder / "journal.json"
    host.settings = dataclasses.replace(host.settings, database=panel._database, upgrade=folder)
    phases = iter(["snapshot", "open", "passed"])
    slept: list[float] = []

    def at(phase: str, touched: float) -> None:
        note.write_text(json.dumps({"phase": phase, "touched": touched}))

    def sleep(seconds: float) -> None:
        assert backup.complete(host.restic) == []
        slept.append(seconds)
        at(next(phases), time.time())

    monkeypatch.setattr(upgrading.time, "sleep", sleep)
    at("begun", time.time())
    host.backup()
    assert len(slept) == 3
    # One that has begun while it was dumped, and has gone back.
    dumped: list[Path] = []
    dump = database.Panel.dump

    def meanwhile(self: database.Panel, folder_of_dump: Path) -> Path:
        if not dumped:
            (folder / "last.json").write_text("{}")
        dumped.append(dump(self, folder_of_dump))
        return dumped[-1]

    note.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(database.Panel, "dump", meanwhile)
        host.backup()
    assert len(dumped) == 2
    # Nobody works on it any more; or it takes too long.
    known = len(backup.complete(host.restic))
    at("undoing", time.time() - upgrading.LEASE - 1)
    with pytest.raises(BackupError, match=r"phase undoing.*upgrade_take_over=yes.*Nothing was stored"):
        host.backup()
    monkeypatch.setattr(upgrading, "PATIENCE", -1)
    at("open", time.time())
    with pytest.raises(BackupError, match="phase open"):
        host.backup()
    assert (len(slept), len(backup.complete(host.restic))) == (3, known)


def test_migrations_of_a_backup_are_those_of_its_database(host: Host, panel: database.Panel) -> None:
    base = sqlite3.connect(panel.where.name)
    base.execute("CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT)")
    names = [("panel", "0042_new"), ("panel", "0001_initial"), ("auth", "0001_initial")]
    base.executemany("INSERT INTO django_migrations (app, name) VALUES (?, ?)", names)
    base.commit()
    base.close()
    host.settings = dataclasses.replace(host.settings, database=panel._database)
    host.backup()
    # The release that is installed knows none of them.
    with pytest.raises(BackupError, match=r"database is newer.*0001_initial, 0042_new"):
        host.restore()


def test_files_that_are_not_in_the_backup_stay(host: Host) -> None:
    host.backup()
    later = host.media / "200001" / "later.mp3"
    later.write_text("later")
    assert host.restore(confirm=True)["extra"] == 1
    assert later.read_text() == "later"


def test_a_file_that_changes_while_it_is_stored_is_named_and_promised_nothing(host: Host) -> None:
    def write_on(act: str) -> None:
        if act == "backup" and not host.restic.made:
            with host.song.open("ab") as stream:
                stream.write(b"more")

    host.restic.before = write_on
    assert host.backup()["changing"] == 1
    # As it has become since, it stays; where it is missing, it comes back as it was stored.
    host.song.write_text("something else")
    assert (host.restore(confirm=True)["kept"], host.song.read_text()) == (1, "something else")
    host.song.unlink()
    host.restore(confirm=True)
    assert host.song.read_bytes() == b"music" * 1000 + b"more"


def test_a_file_that_goes_while_it_is_stored_is_left_out(host: Host) -> None:
    host.restic.before = lambda act: host.song.unlink(missing_ok=True) if act == "backup" else None
    host.backup()
    assert host.restore()["same"] == 5


def test_what_the_repository_has_lost_is_found_when_it_is_written(host: Host) -> None:
    listing = host.restic.listing
    host.restic.listing = lambda snapshot: (n for n in listing(snapshot) if not n["path"].endswith("secrets.env"))
    with pytest.raises(BackupError, match=r"secrets\.env is missing.*The backup does not count"):
        host.backup()
    assert backup.complete(host.restic) == []
    with pytest.raises(BackupError, match="holds no complete backup of this host"):
        host.restore()


def test_a_folder_that_a_tenant_moves_away_while_it_is_stored_ends_no_backup(host: Host) -> None:
    away = host.folder / "away"

    def move(act: str) -> None:
        if act == "backup" and host.song.exists():
            host.song.parent.rename(away)

    host.restic.before = move
    changed = files.changed_since

    def late(entry: files.Entry) -> files.Entry | None:
        if away.exists():
            away.rename(host.song.parent)
        return changed(entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "changed_since", late)
        made = host.backup()
    assert "moved about while they were stored" in made["warnings"][0]
    assert "song.mp3 is missing" in made["warnings"][0]
    assert len(backup.complete(host.restic)) == 1


def test_names_that_are_no_utf8_and_look_alike_are_all_stored() -> None:
    def entry(name: bytes, size: int, sha256: str | None = "0") -> files.Entry:
        return files.Entry("/m/" + os.fsdecode(name), "file", 0o644, "root", "root", size, 0, sha256)

    entries = [entry(b"\xff", 1), entry(b"\xfe", 2), entry(b"\xe2\x82", 3), entry(b"\xfd", 9, None)]
    # restic writes a sign for each byte.
    nodes = [{"path": f"/m/{sign}", "size": size} for sign, size in
             (("\ufffd", 2), ("\ufffd", 7), ("\ufffd", 1), ("\ufffd\ufffd", 3))]  # fmt: skip
    assert manifest.stored(entries, nodes, ["/m"], ["/m"]) == (entries, [])
    with pytest.raises(BackupError, match="instead of 1"):
        manifest.stored(entries, [nodes[0], nodes[1], nodes[3]], ["/m"], ["/m"])
    found, moved = manifest.stored(entries[:1], [nodes[0]], ["/m"])
    assert (found[0].sha256, len(moved)) == (None, 1)


def test_a_damaged_file_is_not_put_back_and_all_others_are(host: Host) -> None:
    host.backup()
    (stored,) = host.restic.folder.rglob("song.mp3")
    good = stored.read_bytes()
    stored.write_bytes(b"x" * len(good))
    host.song.unlink()
    host.secret.write_text("KEY='new'\n")
    with pytest.raises(BackupError, match=r"among them .*song\.mp3: they are not what the manifest says"):
        host.restore(confirm=True)
    assert not host.song.exists()
    stored.write_bytes(good)
    host.units.asked.clear()
    host.restore(confirm=True)
    assert host.song.read_bytes() == good
    assert host.units.asked == []


def test_a_program_whose_files_are_damaged_stays_stopped_until_they_are_had(host: Host) -> None:
    host.backup()
    stored = next(host.restic.folder.rglob("secrets.env"))
    good = stored.read_bytes()
    stored.write_bytes(b"x" * len(good))
    host.secret.write_text("KEY='new'\n")
    with pytest.raises(BackupError, match=r"Stopped until the restore has ended: panel\.service"):
        host.restore(confirm=True)
    assert (host.secret.read_text(), host.units.asked) == ("KEY='new'\n", [("stop", ["panel.service"])])
    stored.write_bytes(good)
    host.restore(confirm=True)
    assert host.secret.read_text() == "KEY='old'\n"
    assert ("start", ["panel.service"]) in host.units.asked


def test_units_that_this_host_has_not_are_not_stopped(host: Host) -> None:
    acme = Part("certificates", (str(host.secret),), ("acme.timer",))
    host.settings = dataclasses.replace(host.settings, parts=(*host.settings.parts, acme))
    host.units.unknown = {"acme.timer"}
    host.backup()
    host.secret.write_text("KEY='new'\n")
    host.restore(confirm=True)
    assert host.secret.read_text() == "KEY='old'\n"
    assert host.units.asked[:2] == [("stop", ["panel.service"]), ("start", ["panel.service"])]


def test_systemd_is_asked_which_units_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"panel.service": "loaded", "acme.timer": "not-found", "away.service": "masked"}
    answers = " ".join(f"'{name}') echo {state};;" for name, state in states.items())
    double = tmp_path / "systemctl"
    # An empty line between the units, as systemctl has it.
    double.write_text(
        "#!/bin/sh\n"
        '[ "$1 $2 $3" = "show --property=LoadState --value" ] || { echo "Unknown operation." >&2; exit 1; }\n'
        f'shift 3\nfor name; do case "$name" in {answers} esac; echo; done\n'
    )
    double.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert restore.Units().known(list(states)) == ["panel.service", "away.service"]
    assert restore.Units().known([]) == []
    # It does not answer: nothing is taken for absent.
    double.write_text("#!/bin/sh\nexit 1\n")
    assert restore.Units().known(list(states)) == list(states)


def test_what_the_repository_still_has_is_put_back_when_some_of_it_has_gone(host: Host) -> None:
    other = host.song.with_name("other.mp3")
    other.write_bytes(b"other")
    host.backup()
    next(host.restic.folder.rglob("song.mp3")).unlink()
    host.song.unlink()
    other.unlink()
    fetch = host.restic.restore

    def half(*arguments: Any) -> None:
        fetch(*arguments)
        if str(arguments[1]).endswith(settings.SCRATCH):
            raise BackupError("the network is away")

    host.restic.restore = half
    with pytest.raises(BackupError, match=r"1 files of .* could not be fetched, .*song\.mp3: the network is away"):
        host.restore(confirm=True)
    assert other.read_bytes() == b"other"


def test_what_does_not_hold_has_no_manifest_and_is_no_backup(host: Host) -> None:
    def broken(act: str) -> None:
        if act == "check":
            raise BackupError("damaged")

    host.restic.before = broken
    with pytest.raises(BackupError, match="damaged"):
        host.backup()
    assert backup.complete(host.restic) == []


def test_an_interrupted_restore_is_gone_on_with(host: Host) -> None:
    host.backup()
    host.wipe()
    host.secret.write_text("KEY='new'\n")

    class Killed(BaseException):
        pass

    put = place.Place.put

    def killed(self: place.Place, entry: files.Entry) -> bool:
        if entry.path.endswith("song.mp3") and self.staged(entry).exists():
            raise Killed
        return put(self, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.Place, "put", killed)
        with pytest.raises(Killed):
            host.restore(confirm=True)
    # The secret was put back before; the panel was stopped for it, and nobody has started it.
    assert ("stop", ["panel.service"]) in host.units.asked
    assert ("start", ["panel.service"]) not in host.units.asked
    # Nor does the host, when it is restarted.
    held = host.settings.data / journal.HELD
    assert [path.name for path in held.iterdir()] == ["panel.service"]
    with pytest.raises(BackupError, match=r"has not ended\. Run restore\.yml again.*Nothing was stored"):
        host.backup()
    # Another host with the same name, or an older version, may have stored something meanwhile.
    host.restic.backup([str(host.secret)], [backup.DATA_TAG])
    late = host.restic.made[-1]["id"]
    host.restic.backup([str(host.secret)], [backup.MANIFEST_TAG, f"data:{late}"])
    fetched = host.restic.acts.count("restore")
    started: list[bool] = []
    host.units.act = lambda verb, names: started.append(held.exists()) if verb == "start" else None
    host.restore(confirm=True)
    # It can start by then.
    assert started == [False]
    # The manifest, and nothing else: the song lay there.
    assert host.restic.acts.count("restore") == fetched + 1
    assert host.song.read_bytes() == b"music" * 1000


def test_a_restore_that_fails_keeps_its_units_from_starting_and_one_that_stops_nothing_keeps_none(host: Host) -> None:
    host.backup()
    host.song.unlink()
    started: list[bool] = []
    host.units.act = lambda verb, _names: started.append(any((host.settings.data / journal.HELD).glob("*")))
    host.restore(confirm=True)
    assert not any(started)
    host.secret.write_text("KEY='new'\n")

    def fails(verb: str, _names: Sequence[str]) -> None:
        raise BackupError(f"systemctl {verb} failed")

    host.units.act = fails
    with pytest.raises(BackupError):
        host.restore(confirm=True)
    assert (host.settings.data / journal.HELD / "panel.service").is_file()


def test_the_panels_units_do_not_start_while_a_restore_has_not_ended() -> None:
    held = {unit for items in declared().values() for item in items if "database" in item for unit in item["units"]}
    assert len(held) == 3
    line = f"AssertPathExists=!{settings.DATA / journal.HELD}/%n"
    for unit in held:
        (template,) = ROOT.glob(f"roles/*/templates/{unit}.j2")
        head, _service, _rest = template.read_text().partition("[Service]")
        assert line in head.splitlines(), template
    # Those who look, and those who would start them, look at the same.
    doctor = (ROOT / "module_utils/streamfleet/doctor/units.py").read_text()
    assert f'HELD = "{settings.DATA / journal.HELD}"' in doctor
    for path in (
        "roles/panel/tasks/preflight.yml",
        "roles/panel/tasks/self_check.yml",
        "library/streamfleet_fleet_lock.py",
    ):
        assert f"{settings.DATA / journal.HELD}/streamfleet-panel.service" in (ROOT / path).read_text(), path
    command = (ROOT / "roles/panel/files/streamfleet_command/host.py").read_text()
    assert f'HELD = Path("{settings.DATA / journal.HELD}")' in command


def test_the_timer_stores_nothing_of_a_host_that_was_made_anew_until_somebody_has_decided(host: Host) -> None:
    def timer() -> dict[str, Any]:
        return backup.run(host.settings, Status(host.settings.run, "backup"), host.restic, by_hand=False)

    timer()
    timer()
    host.wipe()
    with pytest.raises(BackupError, match=r"this host has made none of them.*restore\.yml .*backup\.yml"):
        timer()
    host.restore()
    with pytest.raises(BackupError, match="Nothing was stored"):
        timer()
    host.restore(confirm=True)
    timer()
    shutil.rmtree(host.settings.data)
    host.backup()
    timer()


def test_no_link_of_a_tenant_leads_out_of_its_folder(host: Host, tmp_path: Path) -> None:
    host.backup()
    outside = tmp_path / "outside"
    outside.mkdir()
    host.song.unlink()
    host.song.parent.rmdir()
    host.song.parent.symlink_to(outside)
    # A tenant's link stops nobody's restore, and is named.
    done = host.restore(confirm=True)
    assert (done["done"], done["differing"], list(outside.iterdir())) == (True, 2, [])
    assert "rock cannot be put back (Not a directory)" in done["warnings"][0]
    assert "somebody has changed them" in done["warnings"][1]
    host.song.parent.unlink()
    done = host.restore(confirm=True)
    assert (done["differing"], done["warnings"], host.song.read_bytes()) == (0, [], b"music" * 1000)


def test_a_link_in_the_place_of_a_programs_own_file_is_replaced_and_a_folder_there_is_an_error(host: Host) -> None:
    host.backup()
    host.secret.unlink()
    host.secret.mkdir()
    with pytest.raises(BackupError, match=r"secrets\.env cannot be put back.*Stopped until the restore has ended"):
        host.restore(confirm=True)
    host.secret.rmdir()
    host.secret.symlink_to("/etc/passwd")
    host.restore(confirm=True)
    assert (host.secret.is_symlink(), host.secret.read_text()) == (False, "KEY='old'\n")


def test_a_tenant_who_moves_folders_while_they_are_put_back_stops_no_restore(host: Host) -> None:
    host.backup()
    host.wipe()
    host.secret.write_text("KEY='new'\n")
    put = place.Place.put

    def moved(self: place.Place, entry: files.Entry) -> bool:
        if entry.path == str(host.song) and self.staged(entry).exists():
            host.song.parent.rename(host.song.parent.with_name("pop"))
        return put(self, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.Place, "put", moved)
        done = host.restore(confirm=True)
    assert (done["done"], done["paths"]) == (True, [str(host.song)])
    assert "1 in" in done["warnings"][0]
    assert host.secret.read_text() == "KEY='old'\n"
    assert ("start", ["panel.service"]) in host.units.asked


def test_what_services_have_written_since_a_restore_stays_when_it_is_repeated(host: Host) -> None:
    host.backup()
    host.wipe()
    host.restore(confirm=True)
    host.song.write_text("a history that goes on")
    host.secret.write_text("KEY='damaged'\n")
    shown = host.restore()
    assert (shown["kept"], shown["conflicts"]) == (1, [str(host.secret)])
    done = host.restore(confirm=True)
    assert (done["kept"], done["differing"], done["warnings"]) == (1, 0, [])
    assert (host.song.read_text(), host.secret.read_text()) == ("a history that goes on", "KEY='old'\n")
    assert host.restore(again=True)["conflicts"] == [str(host.song)]
    host.restore(confirm=True, again=True)
    assert host.song.read_bytes() == b"music" * 1000
    # Another backup's files, or those of a restore that has not ended, are not what services have gone on from.
    host.song.write_text("new")
    (host.settings.data / "restoring.json").write_text("{}")
    assert host.restore()["conflicts"] == [str(host.song)]
    (host.settings.data / "restoring.json").unlink()
    host.backup()
    host.song.write_text("newer")
    assert host.restore()["conflicts"] == [str(host.song)]


def test_folders_that_are_too_deep_are_named_and_the_rest_is_stored(host: Host) -> None:
    deep = host.media / "200001"
    for _level in range(files.DEEPEST + 20):
        deep = deep / "d"
        deep.mkdir()
        (deep / "song").write_text("x")
    # As one makes it who goes into each folder: a path that is longer than the kernel takes.
    inside, long = os.open(host.media / "200001", os.O_RDONLY), "n" * 250
    for _level in range(18):
        os.mkdir(long, dir_fd=inside)
        inner = os.open(long, os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = inner
    os.close(inside)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    made = host.backup()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    (warning,) = made["warnings"]
    assert "2 were left out, since they lie more than 64 folders deep or have a path of more than 3900 bytes" in warning
    # 200001 and 63 more.
    assert made["files"] == 2 + files.DEEPEST - 2
    shown = host.restore()
    assert (shown["missing"], shown["different"], shown["extra"]) == (0, 0, 0)
    listed = [node["path"] for node in host.restic.listing(host.restic.made[0]["id"])]
    assert max(path.count("/d") for path in listed) == files.DEEPEST - 1
    assert max(map(len, listed)) <= files.LONGEST
    shutil.rmtree(host.media / "200001" / long)


def test_a_folder_that_is_swapped_while_it_is_read_leads_nowhere(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = host.folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    opened = os.open

    def swap(path: Any, flags: int, *arguments: Any, **more: Any) -> int:
        if path == "rock" and host.song.exists():
            shutil.rmtree(host.song.parent)
            host.song.parent.symlink_to(outside)
        return opened(path, flags, *arguments, **more)

    hashes = files.Hashes(host.folder / "h.sqlite3")
    monkeypatch.setattr(files.os, "open", swap)
    found = {entry.path for entry in files.walk([str(host.media)], hashes)}
    assert str(host.song.parent) in found
    assert not any("secret" in path for path in found)


def test_a_disk_that_is_too_small_is_said_before_anything_is_done(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.backup()
    host.wipe()
    monkeypatch.setattr(plan, "RESERVE", 1 << 60)
    with pytest.raises(BackupError, match=r"MB free; .* needed.*Nothing was changed"):
        host.restore(confirm=True)
    assert not host.media.exists()
    assert host.units.asked == []


def test_an_owner_who_is_not_here_is_said_before_anything_is_done(host: Host) -> None:
    entry = files.Entry(str(host.song), "file", 0o644, "nobody-here", "root", 1, 0, "0")
    with pytest.raises(BackupError, match=r"user nobody-here.*Run install\.yml first"):
        plan.owners_known(plan.Plan(missing=[entry]))


def test_another_repository_than_before_is_refused_and_one_that_has_gone_is_not_made_anew(host: Host) -> None:
    host.backup()
    (host.restic.folder / "config").write_text("f" * 64)
    with pytest.raises(BackupError, match="is another one than before"):
        host.backup()
    (host.restic.folder / "config").unlink()
    with pytest.raises(BackupError, match="It was there before"):
        host.backup()
    assert host.restic.acts.count("init") == 1


def test_a_clock_that_is_behind_forgets_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.backup()
    host.restic.made[0]["time"] = "2099-01-01T00:00:00.5Z"
    made = host.backup(prune=True)
    assert "later than this host's clock" in made["warnings"][0]
    assert "prune" not in host.restic.acts


def test_only_a_host_that_may_forgets_and_halves_go_with_their_other_half(host: Host) -> None:
    host.backup()
    assert {"forget", "prune"}.isdisjoint(host.restic.acts)
    host.restic.backup([str(host.secret)], [backup.DATA_TAG])
    first = host.restic.made[0]["id"]
    host.restic.made.pop(0)
    host.backup(prune=True)
    assert host.restic.acts[-1] == "prune"
    assert first not in {item["id"] for item in host.restic.made}
    assert len(host.restic.snapshots(backup.MANIFEST_TAG)) == len(host.restic.snapshots(backup.DATA_TAG)) == 1


def _false_manifest(host: Host, data: str, moment: str) -> str:
    """Of a host that was taken over; its id."""
    host.restic.backup([str(host.secret)], [backup.MANIFEST_TAG, f"data:{data}"])
    host.restic.made[-1]["time"] = moment
    host.restic.made.sort(key=lambda item: item["time"])
    return next(str(item["id"]) for item in host.restic.made if item["time"] == moment)


@pytest.mark.parametrize("moment", ["2000-01-01T00:00:00Z", "2026-06-01T00:00:00Z"])
def test_a_backup_with_a_false_manifest_is_refused_by_name_and_all_others_can_be_had(host: Host, moment: str) -> None:
    for _number in range(3):
        host.backup()
    first, second, third = backup.complete(host.restic)
    false = _false_manifest(host, third["id"], moment)
    assert backup.complete(host.restic) == [first, second]
    for asked in (third["id"][:8], third["id"]):
        with pytest.raises(BackupError, match=r"1 backups have more than one manifest.*restic forget ID") as error:
            host.restore(snapshot=asked, confirm=True)
        assert all(name[:8] in str(error.value) for name in (third["id"], third["manifest"], false))
    assert host.units.asked == []
    # The latest is the newest that is whole, and the other is told.
    for done in (host.restore(), host.restore(confirm=True)):
        assert (done["snapshot"], false[:8] in done["warnings"][0]) == (second["id"], True)
    # What is told of one backup has the others made, and none forgotten.
    made = {item["id"] for item in host.restic.made}
    told = host.backup(prune=True, keep={"daily": 1})
    assert (false[:8] in told["warnings"][0], "nothing is forgotten" in told["warnings"][0]) == (True, True)
    assert made < {item["id"] for item in host.restic.made}
    assert {"forget", "prune"}.isdisjoint(host.restic.acts)
    host.restic.forget(false)
    assert third in backup.complete(host.restic)
    assert host.backup(prune=True, keep={"daily": 1})["warnings"] == []


def test_one_with_two_manifests_is_no_half_that_is_forgotten(host: Host) -> None:
    host.backup()
    (only,) = backup.complete(host.restic)
    _false_manifest(host, only["id"][:8], "2000-01-01T00:00:00Z")
    backup.forget(host.restic, [])
    assert len(host.restic.made) == 3
    with pytest.raises(BackupError, match="more than one manifest"):
        host.restore()


def test_a_restore_whose_backup_has_gone_says_which_and_another_takes_its_place(host: Host) -> None:
    host.backup()
    host.backup()
    first, second = backup.complete(host.restic)
    journal.note(host.settings, snapshot=second["id"], units=["panel.service"])
    journal.hold(host.settings, ["panel.service"])
    host.restic.forget(second["id"], second["manifest"])
    with pytest.raises(
        BackupError, match=rf"restore of {second['id'][:8]} has begun .* not in the repository any more"
    ):
        host.restore(confirm=True)
    assert (host.settings.data / journal.HELD / "panel.service").exists()
    assert host.restore(confirm=True, snapshot=first["id"])["done"]
    assert ("start", ["panel.service"]) in host.units.asked
    assert not journal.exists(host.settings)
    assert not (host.settings.data / journal.HELD).exists()


def test_the_backup_is_chosen_by_its_id(host: Host) -> None:
    host.backup()
    host.backup()
    first, second = backup.complete(host.restic)
    assert restore.choose([first, second], "latest") == second
    assert restore.choose([first, second], first["id"][:8]) == first
    for wrong in ("", "ab", "zzzzzzzz"):
        with pytest.raises(BackupError, match="restore_snapshot is"):
            restore.choose([first, second], wrong)


def test_two_jobs_at_once_are_one_too_many(host: Host) -> None:
    Status(host.settings.run, "backup")
    with (
        lock.held(host.settings.run, "backup"),
        pytest.raises(BackupError, match=r"backup works on this host since .*, process \d+"),
        lock.held(host.settings.run, "restore"),
    ):
        pass


def test_every_command_that_the_doctor_names_is_one(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    named = re.findall(
        r"streamfleet-backup ([a-z]+[^.,;\"]*)", (ROOT / "module_utils/streamfleet/doctor/backup.py").read_text()
    )
    named += re.findall(r"streamfleet-backup ([a-z]+ --[a-z]+)", Path(restic.__file__).read_text())
    named += re.findall(r"streamfleet-backup ([a-z]+[- a-z]*)", (ROOT / "docs/backup.md").read_text())
    assert "unlock --all" in named
    for words in named:
        if words.split()[0] not in ("service", "timer"):
            program._parser().parse_args(words.split())
    # Not while something works on this host.
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(program, "load", lambda: host.settings)
    monkeypatch.setattr(Restic, "run", lambda _self, *arguments: asked.append(arguments))
    assert program.main(["unlock"]) == 0
    assert program.main(["unlock", "--all"]) == 0
    with lock.held(host.settings.run, "backup"):
        assert program.main(["unlock", "--all"]) == 1
    assert asked == [("unlock",), ("unlock", "--remove-all")]


def test_what_a_restore_is_asked_is_not_kept_since_it_may_hold_a_password(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "RUN", tmp_path)
    monkeypatch.setattr(program, "load", lambda: host.settings)
    (tmp_path / "restore.json").write_text(json.dumps(program.ORDER | {"repository": "rest:https://me:secret@b/"}))
    assert program._order()["repository"] == "rest:https://me:secret@b/"
    assert list(tmp_path.glob("restore.json")) == []
    with pytest.raises(BackupError, match="nobody has said what to restore"):
        program._order()
    # Nor where the job does not start.
    double = tmp_path / "bin" / "systemctl"
    double.parent.mkdir()
    double.write_text(
        '#!/bin/sh\n[ "$1" = show ] || exit 1\necho ActiveState=inactive; echo InvocationID=; echo Result=\n'
    )
    double.chmod(0o755)
    monkeypatch.setenv("PATH", f"{double.parent}:{os.environ['PATH']}")
    assert program.main(["begin", "restore", "--repository", "rest:https://me:secret@b/"]) == 1
    assert list(tmp_path.glob("restore.json")) == []


def test_another_repository_has_a_password_of_its_own(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"RESTIC_PASSWORD": "of-this-host", "AWS_ACCESS_KEY_ID": "key", **{"RESTIC_REPOSITORY": "/srv/audio9"}}
    mine = dataclasses.replace(host.settings, host="audio9", environment=own)
    monkeypatch.setattr(program, "load", lambda: mine)
    assert program._settings_of(dict(program.ORDER)) is mine
    order = {"host": "audio1", "repository": "/srv/audio1", "repository_password": "of-the-other"}
    other = program._settings_of(program.ORDER | order)
    changed = {"RESTIC_REPOSITORY": "/srv/audio1", "RESTIC_PASSWORD": "of-the-other"}
    assert (other.host, dict(other.environment)) == ("audio1", own | changed)
    # Of the same account, where nobody says otherwise.
    assert program._settings_of(order | {"repository_password": ""}).environment["RESTIC_PASSWORD"] == "of-this-host"
    # On no command line, which everybody on the host sees.
    with pytest.raises(SystemExit):
        program._parser().parse_args(["begin", "restore", "--repository-password", "x"])


def test_conflicts_that_are_not_named_are_counted(host: Host) -> None:
    for number in range(plan.SHOWN + 3):
        host.song.with_name(f"{number}.mp3").write_text("old")
    host.backup()
    assert (host.restore()["conflicts"], host.restore()["conflicts_more"]) == ([], 0)
    for number in range(plan.SHOWN + 3):
        host.song.with_name(f"{number}.mp3").write_text("new")
    shown = host.restore()
    assert (len(shown["conflicts"]), shown["conflicts_more"], shown["different"]) == (plan.SHOWN, 3, plan.SHOWN + 3)


def test_the_status_tells_how_far_it_is_and_how_it_ended(host: Host) -> None:
    status = Status(host.settings.run, "backup")
    status.phase("store", "3 files")
    assert (read(host.settings.run)["phase"], read(host.settings.run)["state"]) == ("store", "running")
    status.end("succeeded", "done", files=3)
    assert (read(host.settings.run)["result"], read(host.settings.run)["percent"]) == ({"files": 3}, 100)


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("Fatal: wrong password or no key found", "streamfleet_backup_password"),
        ("Fatal: unable to save snapshot: write /srv/x: no space left on device", "the disk is full"),
        ('Fatal: unable to open config file: Stat: Get "https://b/": dial tcp: connect: connection refused', "network"),
        ("unable to create lock in backend: repository is already locked by PID 7 on other", "-backup unlock --all"),
        ("Load(<data/5f4e>) returned error, retrying: ciphertext verification failed", "damaged or incomplete"),
        ("Fatal: unable to open config file: permission denied", "access is refused"),
        ("subprocess ssh: Permission denied (publickey).\nFatal: ssh command exited: status 255", "access is refused"),
        ("Fatal: unable to open config file: unexpected HTTP response (401): 401 Unauthorized", "access is refused"),
        ("Fatal: Stat: The request signature we calculated does not match the signature you gave", "access is refused"),
        ("Fatal: unable to open config file: AWS Access Key Id does not exist: InvalidAccess", "access is refused"),
        ("Save(<data/e4>): Write: connection lost\nFatal: ssh command exited: signal: killed", "the server is away"),
        ("Host key verification failed.\nFatal: ssh command exited: exit status 255", "its server is another"),
        ("Get config: x509: certificate signed by unknown authority", "certificate is not trusted"),
        ("x509: certificate has expired or is not yet valid: current time 2026 is after", "another name or time"),
        ("x509: certificate is valid for backup1.example, not 10.1.1.1", "another name or time"),
        ("x509: cannot validate certificate for 10.1.1.1 because it doesn't contain any IP SANs", "another name"),
        ('cannot parse root certificate from "/etc/ca.pem"\nmain.open\n\tcmd/global.go:703', "is no certificate (PEM)"),
        ("unable to read root certificate: open /etc/ca.pem: no such file or directory", "is no certificate (PEM)"),
        ("something new", "restic failed and says"),
        ("Odd: x\nmain.run\n\tcmd/main.go:27\nruntime.goexit\n\truntime/a.s:9", "restic failed and says: Odd: x"),
    ],
)  # fmt: skip
def test_what_restic_says_becomes_a_cause_and_a_fix(host: Host, said: str, meaning: str) -> None:
    fault = Restic(host.settings).fault(said)
    assert meaning in str(fault)
    assert "me:secret" not in str(fault)
    assert "main.run" not in str(fault)


def test_a_repository_that_is_not_there_is_none_that_is_damaged(host: Host) -> None:
    said = "Fatal: unable to open config file: stat /x/config: no such file or directory\nIs there a repository at …?"
    assert isinstance(Restic(host.settings).fault(said), NoRepository)
    away = 'Fatal: unable to open config file: Head "https://b/config": dial tcp: connect: connection refused'
    assert not isinstance(Restic(host.settings).fault(away), NoRepository)


@pytest.mark.parametrize(
    ("repository", "ends"),
    [
        ("sftp:me@store.example:/srv/x", ["-l me store.example -s sftp"]),
        ("sftp://me@store.example:2222//srv/x", ["-p 2222 -l me store.example -s sftp"]),
        ("/srv/x", []),
        ("rest:https://store.example/x", []),
    ],
)
def test_sftp_uses_the_key_that_was_given_and_checks_the_host(repository: str, ends: list[str]) -> None:
    options = restic.ssh_options({"RESTIC_REPOSITORY": repository})
    assert [option.endswith(end) for option, end in zip(options[1:], ends, strict=True)] == [True] * len(ends)
    assert not options or "StrictHostKeyChecking=yes" in options[1]


def test_patterns_mean_the_path_and_nothing_else() -> None:
    assert restic.escaped("/a/we[ir]d*?\\") == "/a/we\\[ir]d\\*\\?\\\\"


def test_backups_that_do_not_count_take_no_place_of_those_that_do(host: Host) -> None:
    for _day in range(3):
        host.backup()
    first, second, third = (item["id"] for item in backup.complete(host.restic))
    for item in host.restic.made:
        if item["id"] in (second, third):
            item["time"] = f"2026-01-05T0{1 + (item['id'] == third)}:00:00.5Z"
    assert backup.outdated(backup.complete(host.restic), {"daily": 7}) == [second]
    assert backup.outdated(backup.complete(host.restic), {"daily": 1, "monthly": 0}) == [first, second]
    assert backup.outdated(backup.complete(host.restic), {"daily": 0}) == []
    host.restic.backup([str(host.secret)], [backup.DATA_TAG])
    host.restic.made[-1]["time"] = "2026-01-05T23:00:00Z"
    backup.forget(host.restic, backup.outdated(backup.complete(host.restic), {"daily": 1}))
    assert [item["id"] for item in backup.complete(host.restic)] == [third]


def test_a_file_that_was_changed_and_given_its_old_time_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RACY", -1)
    path = tmp_path / "f"
    found = []
    for text in ("one", "two"):
        time.sleep(0.02)
        path.write_text(text)
        os.utime(path, (1, 1))
        hashes = files.Hashes(tmp_path / "h.sqlite3")
        found += list(files.walk([str(path)], hashes))
        hashes.close()
    assert found[0].sha256 != found[1].sha256
    changed = files.changed_since(found[0])
    assert changed is not None
    assert changed.sha256 is None
    assert "ctime" not in found[0].as_dict()


def test_hashes_are_remembered_by_inode_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RACY", -1)
    path = tmp_path / "f"
    path.write_text("one")
    os.utime(path, (1, 1))
    for _turn in range(2):
        hashes, counted = files.Hashes(tmp_path / "h.sqlite3"), files.Counted()
        assert [entry.kind for entry in files.walk([str(path)], hashes, counted=counted)] == ["file"]
        hashes.close()
    assert counted.hashed_bytes == 0
    (tmp_path / "h.sqlite3").write_text("no database at all, but a memory that was damaged" * 100)
    assert next(files.walk([str(path)], files.Hashes(tmp_path / "h.sqlite3"))).sha256


def test_sockets_and_pipes_are_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    counted = files.Counted()
    found = list(files.walk([str(tmp_path)], files.Hashes(tmp_path / ".h"), counted=counted))
    assert found[0].path == str(tmp_path)
    assert counted.skipped == 1


# The database ---------------------------------------------------------------------------------------------------------


def sqlite(path: Path, rows: int = 3) -> None:
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("CREATE TABLE panel_account (id INTEGER PRIMARY KEY, name TEXT)")
    base.executemany("INSERT INTO panel_account (name) VALUES (?)", [(f"n{n}",) for n in range(rows)])
    base.commit()
    base.close()


@pytest.fixture
def panel(tmp_path: Path) -> database.Panel:
    """A panel's database in SQLite, of this user."""
    (tmp_path / "panel.env").write_text(f"{database.URL}='sqlite:///{tmp_path}/panel.sqlite3'\n")
    sqlite(tmp_path / "panel.sqlite3")
    (tmp_path / "dump").mkdir()
    return database.Panel(settings.Database(tmp_path / "panel.env", tmp_path / "panel.env", "root", tmp_path, ()))


def test_a_database_in_use_is_copied_as_it_is_at_one_moment_and_comes_back(
    panel: database.Panel, tmp_path: Path
) -> None:
    busy = sqlite3.connect(panel.where.name, isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    busy.execute("INSERT INTO panel_account (name) VALUES ('not yet')")
    dumped = panel.dump(tmp_path / "dump")
    busy.execute("COMMIT")
    busy.close()
    known = database.objects(dumped)
    assert known["panel_account"]["count"] == 3
    panel.load(dumped)
    (tmp_path / "again").mkdir()
    assert database.objects(panel.dump(tmp_path / "again")) == known
    assert Path(panel.where.name).stat().st_mode & 0o777 == 0o660


def test_a_damaged_dump_takes_nobodys_place(panel: database.Panel, tmp_path: Path) -> None:
    dumped = panel.dump(tmp_path / "dump")
    dumped.write_bytes(dumped.read_bytes()[:5000])
    before = Path(panel.where.name).read_bytes()
    with pytest.raises(BackupError, match="panel's database"):
        panel.load(dumped)
    assert Path(panel.where.name).read_bytes() == before
    with pytest.raises(BackupError, match=r"panel here uses sqlite\. Set streamfleet_panel_database_url"):
        panel.load(dumped.rename(dumped.with_suffix(".postgresql")))


def test_the_backup_of_a_newer_version_is_refused(panel: database.Panel, host: Host, tmp_path: Path) -> None:
    chosen = dataclasses.replace(host.settings, database=panel._database)
    summary = {"release": {"name": "0.9.0-abc", "version": "0.9.0"}}
    with pytest.raises(BackupError, match=r"0\.9\.0-abc, whose database is newer.*0042_new"):
        restore.versions(chosen, summary, {"migrations": ["0042_new"]})


EPOCH = "6b1f0a52-9d57-4f0c-8a9b-0c1d2e3f4a5b"


def test_how_the_database_here_is_seen_before_it_is_believed(panel: database.Panel, host: Host, tmp_path: Path) -> None:
    chosen = dataclasses.replace(host.settings, database=panel._database)
    stored = {"objects": database.objects(panel.dump(tmp_path / "dump"))}
    path = Path(panel.where.name)

    def state() -> str:
        shutil.rmtree(tmp_path / "look", ignore_errors=True)
        (tmp_path / "look").mkdir()
        found = restore._database(chosen, "abc", stored, False, tmp_path / "look")
        assert ("reason" in found) == (found["database"] == "unreadable")
        return str(found["database"])

    assert state() == "same"
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE panel_installation (id INTEGER, epoch TEXT)")
    base.execute("INSERT INTO panel_installation VALUES (1, ?)", (EPOCH.replace("-", ""),))
    base.commit()
    base.close()
    chosen.data.mkdir()
    (chosen.data / "restored.json").write_text(json.dumps({"snapshot": "abc", "epoch": EPOCH}))
    assert state() == "restored"
    (chosen.data / "restored.json").write_text(json.dumps({"snapshot": "abc", "epoch": EPOCH[::-1]}))
    assert state() == "other"
    (chosen.data / "restored.json").write_text(json.dumps({"snapshot": "abc", "epoch": EPOCH}))
    path.write_bytes(b"no database, and yet somebody's only one" * 200)
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    assert state() == "unreadable"
    path.write_bytes(b"")
    assert state() == "empty"
    path.unlink()
    assert state() == "empty"


def test_the_database_that_was_here_is_kept_as_it_is(
    panel: database.Panel, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = dataclasses.replace(host.settings, database=panel._database)
    chosen.data.mkdir()
    dumped = panel.dump(tmp_path / "dump")
    path = Path(panel.where.name)
    path.write_bytes(b"damaged")
    monkeypatch.setattr(database.Panel, "manage", lambda *asked: json.dumps({"epoch": EPOCH}))
    stored = {"objects": database.objects(dumped)}
    kept = restore._load(chosen, dumped, "abc", stored, tmp_path, keep=True)
    (file,) = kept
    assert Path(file).read_bytes() == b"damaged"
    assert file.startswith(f"{path}.before-")
    assert json.loads((chosen.data / "restored.json").read_text())["epoch"] == EPOCH


class Killed(BaseException):
    """The process ends where it is."""


class Installation:
    """A panel's database with an epoch and a counter, and its commands as far as they change these."""

    def __init__(self, base: Path) -> None:
        self.base, self.asked = base, []  # type: tuple[Path, list[str]]
        self.change("CREATE TABLE panel_installation (id INTEGER, epoch TEXT)")
        self.change("CREATE TABLE panel_counter (id INTEGER, value INTEGER)")
        self.change("INSERT INTO panel_installation VALUES (1, ?)", EPOCH.replace("-", ""))
        self.change("INSERT INTO panel_counter VALUES (1, 200005)")

    def change(self, statement: str, *values: Any) -> None:
        base = sqlite3.connect(self.base)
        base.execute(statement, values)
        base.commit()
        base.close()

    def told(self) -> tuple[str, int]:
        base = sqlite3.connect(self.base)
        found = base.execute("SELECT epoch, value FROM panel_installation, panel_counter").fetchone()
        base.close()
        return found  # type: ignore[no-any-return]

    def manage(self, _panel: database.Panel, *asked: str, stdin: str = "") -> str:
        assert asked in (("migrate", "--noinput"), ("restored",)), asked
        assert not stdin
        self.asked.append(asked[0])
        if asked[0] == "migrate":
            return ""
        epoch = str(uuid.uuid4())
        self.change("UPDATE panel_installation SET epoch = ?", epoch.replace("-", ""))
        self.change("UPDATE panel_counter SET value = value + 1000")
        return json.dumps({"epoch": epoch})


@pytest.fixture
def installation(panel: database.Panel, host: Host, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """The host has a panel, too, whose database has been backed up and has gone on since."""
    made = Installation(Path(panel.where.name))
    monkeypatch.setattr(database.Panel, "manage", lambda panel, *asked, **more: made.manage(panel, *asked, **more))
    # What is kept bears the time; on a host two runs take longer than a second.
    seconds = iter(range(60))
    monkeypatch.setattr(restore, "stamp", lambda: f"2026-11-28T02:00:{next(seconds):02d}Z")
    host.settings = dataclasses.replace(host.settings, database=panel._database)
    host.backup()
    made.change("UPDATE panel_counter SET value = 200009")
    return made


@pytest.mark.parametrize("after", ["load", "migrate", "restored"])
def test_a_restore_that_is_killed_once_the_database_is_loaded_makes_it_another_one_when_it_goes_on(
    host: Host, installation: Installation, after: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if after == "load":
            load = database.Panel.load

            def killed_load(panel: database.Panel, dump: Path) -> None:
                load(panel, dump)
                raise Killed

            patch.setattr(database.Panel, "load", killed_load)
        else:

            def killed(panel: database.Panel, *asked: str, **more: Any) -> str:
                installation.manage(panel, *asked, **more)
                if asked[0] == after:
                    raise Killed
                return ""

            patch.setattr(database.Panel, "manage", killed)
        with pytest.raises(Killed):
            host.restore(confirm=True)
    if after == "load":
        assert installation.told() == (EPOCH.replace("-", ""), 200005)
        with pytest.raises(BackupError, match=r"has not ended.*run streamfleet-panel restored, remove"):
            host.backup()
    # What is told is what restore.yml has the nodes converged for.
    shown = host.restore()
    assert shown["database"] == "other"
    done = host.restore(confirm=True)
    assert done["database"] == "other"
    assert str(host.folder / "panel.sqlite3.before-") in done["database_kept"]
    epoch, counter = installation.told()
    assert (epoch != EPOCH.replace("-", ""), counter) == (True, 201005)
    assert installation.asked[-2:] == ["migrate", "restored"]
    assert not (host.settings.data / journal.FILE).exists()
    # Whoever repeats it takes nothing of what it has become.
    assert host.restore(confirm=True)["database"] == "restored"
    assert installation.told() == (epoch, counter)


def test_a_disk_that_is_too_small_for_the_database_is_said_before_anything_is_done(
    host: Host, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path(installation.base).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(plan, "RESERVE", 1 << 60)
        shown = host.restore()
        assert (shown["missing"], shown["different"], shown["database"]) == (0, 0, "other")
        with pytest.raises(BackupError, match=r"MB free; .* needed.*Nothing was changed"):
            host.restore(confirm=True)
    assert (host.units.asked, Path(installation.base).read_bytes()) == ([], before)
    host.restore(confirm=True)


@pytest.mark.parametrize(
    ("url", "needed"),
    [
        ("sqlite:////srv/base/panel.sqlite3", {"data": 1000, "/srv/base": 2000}),
        ("postgres://%2Frun%2Fpostgresql/streamfleet", {"data": 1700, "tmp": 1000}),
        ("mysql://me:p@db/x", {"data": 1700, "tmp": 1000}),
    ],
)
def test_what_room_the_database_needs(
    host: Host, tmp_path: Path, url: str, needed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "panel.env").write_text(f"{database.URL}='{url}'\n")
    own = settings.Database(tmp_path / "panel.env", tmp_path / "panel.env", "root", tmp_path, ())
    chosen = dataclasses.replace(host.settings, database=own)
    (tmp_path / "here").mkdir()
    (tmp_path / "dump").write_bytes(bytes(1000))
    (tmp_path / "here" / "panel.any").write_bytes(bytes(700))
    found = restore.room_of_database(chosen, tmp_path / "dump", tmp_path, keep=True)
    assert found == {name if name.startswith("/") else str(tmp_path / name): size for name, size in needed.items()}


def test_the_nodes_of_a_panel_that_was_put_back_by_a_run_before_are_converged_too() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/restore.yml").read_text())
    (converged,) = [play for play in plays if play.get("name") == "Have the nodes converged"]
    conditions = " and ".join(f"({each})" for each in converged["tasks"][0]["when"])
    language = jinja2.Environment(autoescape=True).compile_expression(conditions)
    for known, wanted in (("other", True), ("empty", True), ("restored", True), ("same", False), ("elsewhere", False)):
        ended = {"status": {"result": {"done": True, "database": known}}}
        assert bool(language(__streamfleet_backup_ended=ended)) is wanted, known


POSTGRESQL = b"""--
CREATE SCHEMA public;
COPY public.panel_account (id, name) FROM stdin;
1\tada
2\tbob
\\.

COPY public."Odd" (id) FROM stdin;
\\.

--
-- PostgreSQL database dump complete
--
"""
MARIADB = b"""CREATE TABLE `panel_account` (
  `id` int
);
INSERT INTO `panel_account` VALUES (2,'bob');
INSERT INTO `panel_account` VALUES (1,'ada');
-- Dump completed
"""


def test_rows_of_dumps_are_counted_and_their_order_does_not_count(tmp_path: Path) -> None:
    dump = tmp_path / "panel.postgresql"
    dump.write_bytes(POSTGRESQL)
    first = database.objects(dump)
    assert {name: table["count"] for name, table in first.items()} == {"panel_account": 2, "Odd": 0}
    dump.write_bytes(POSTGRESQL.replace(b"1\tada\n2\tbob\n", b"2\tbob\n1\tada\n"))
    assert database.objects(dump) == first
    assert database.ended(dump)
    dump.write_bytes(POSTGRESQL.replace(b"ada", b"eve"))
    assert database.objects(dump)["panel_account"]["digest"] != first["panel_account"]["digest"]
    other = tmp_path / "panel.mariadb"
    other.write_bytes(MARIADB)
    assert database.objects(other)["panel_account"]["count"] == 2
    other.write_bytes(MARIADB[:-20])
    assert not database.ended(other)
    other.write_bytes(b"")
    with pytest.raises(BackupError, match="no database of a panel"):
        database.objects(other)


@pytest.mark.parametrize(
    ("url", "kind", "name", "host", "port"),
    [
        ("sqlite:////var/lib/x.sqlite3", "sqlite", "/var/lib/x.sqlite3", "", ""),
        ("postgres://%2Fvar%2Frun%2Fpostgresql/streamfleet", "postgresql", "streamfleet", "/var/run/postgresql", ""),
        ("postgres://me:p%40s@db.example:5433/x?sslmode=require", "postgresql", "x", "db.example", "5433"),
        ("mysql://me:p@[::1]:3307/x", "mariadb", "x", "::1", "3307"),
    ],
)
def test_urls_of_databases_are_read(url: str, kind: str, name: str, host: str, port: str) -> None:
    found = database.where(url)
    assert (found.kind, found.name, found.host, found.port) == (kind, name, host, port)
    assert "@" not in found.host


def test_a_database_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(BackupError, match="begins with 'oracle'"):
        database.where("oracle://x/y")


# Settings -------------------------------------------------------------------------------------------------------------


def test_settings_are_read_as_the_role_writes_them_and_what_lies_in_another_root_is_stored_once(tmp_path: Path) -> None:
    told = {
        "host": "h1", "database": {}, "keep": {}, "prune": False, "check_data": "", "upload_kbps": 0,
        "parts": [{"role": "a", "paths": ["/x", "/x/y"], "units": [], "reload": []}, {"role": "b", "paths": ["/x"]}],
    }  # fmt: skip
    (tmp_path / "settings.json").write_text(json.dumps(told))
    (tmp_path / "secrets.env").write_text("# c\nRESTIC_PASSWORD='it'\\''s'\nRESTIC_REPOSITORY='/srv/b'\n")
    found = settings.load(tmp_path)
    assert (found.roots, found.environment["RESTIC_PASSWORD"], found.repository) == (["/x"], "it's", "/srv/b")
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(BackupError, match=r"settings\.json cannot be read.*Run install\.yml"):
        settings.load(tmp_path)


def test_a_manifest_of_a_newer_schema_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    manifest.write(tmp_path, {"schema": 2}, [])
    with pytest.raises(BackupError, match="made by a newer one"):
        manifest.read(tmp_path)
    (tmp_path / manifest.SUMMARY).write_text("{")
    with pytest.raises(BackupError, match="the backup is damaged"):
        manifest.read(tmp_path)


# What roles declare ---------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]
#: Made anew by an installation, and known to nobody else: the secrets of programs that talk to each other on one host.
MADE_ANEW = {"flussonic", "nginx_rtmp", "wowza"}


def declared() -> dict[str, list[dict[str, Any]]]:
    """Role → what it says that a backup keeps."""
    found = {}
    for path in ROOT.glob("roles/*/vars/main.yml"):
        role = path.parents[1].name
        found[role] = yaml.safe_load(path.read_text()).get(f"_streamfleet_{role}_backup") or []
    return {role: items for role, items in found.items() if items}


def test_paths_are_literal_since_they_are_read_from_outside_the_role() -> None:
    assert {"panel", "worker", "certificates", "file_transfer"} <= set(declared())
    for role, items in declared().items():
        for item in items:
            assert set(item) <= {"paths", "units", "reload", "optional", "database"}, role
            assert {*item.get("optional", ())} <= {*item["paths"]}, role
            assert all(path.startswith("/") and "{" not in path for path in item["paths"]), role


def test_secrets_that_are_made_on_a_host_are_in_its_backup() -> None:
    for path in ROOT.glob("roles/*/vars/main.yml"):
        role = path.parents[1].name
        said = yaml.safe_load(path.read_text())
        files = [item for value in said.values() if isinstance(value, list) for item in value if isinstance(item, dict)]
        made = {Path(item["path"]).name for item in files if "<secret" in item.get("generate", "")}
        kept = {Path(each).name for item in declared().get(role, []) for each in item["paths"]}
        assert made <= kept or role in MADE_ANEW, f"roles/{role}: {made - kept} would be lost with the host"


@pytest.mark.parametrize(
    ("ended", "installed"),
    [
        ({}, False),
        ({"__streamfleet_backup_ended": {"skipped": True}}, False),
        ({"__streamfleet_backup_ended": {"status": {"result": {"done": False}}}}, False),
        ({"__streamfleet_backup_ended": {"status": {"result": {"done": True}}}}, True),
    ],
)
def test_only_a_host_that_was_restored_is_installed_whatever_was_answered(
    ended: dict[str, Any], installed: bool
) -> None:
    plays = yaml.safe_load((ROOT / "playbooks/restore.yml").read_text())
    (imported,) = [play for play in plays if play.get("ansible.builtin.import_playbook") == "install.yml"]
    language = jinja2.Environment(undefined=jinja2.ChainableUndefined, autoescape=True)
    found = language.compile_expression(imported["when"])(restore_confirm="no", ansible_check_mode=False, **ended)
    assert bool(found) is installed


def test_nothing_is_put_back_over_an_upgrade_or_a_change_of_names_that_has_not_ended() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/restore.yml").read_text())
    names = [play.get("name") for play in plays]
    tasks = plays[names.index("Have the fleet for this run")]["tasks"]
    (task,) = [one for one in tasks if one.get("ansible.builtin.import_tasks") == "tasks/fleet_at_rest.yml"]
    # A panel that is lost says nothing of either, and what is gone on with is no hindrance to itself.
    goes_on = task["vars"].pop("__streamfleet_restore_goes_on")
    assert task["vars"] == {"__streamfleet_lock_optional": True}
    known = {"_streamfleet_panel_inventory_name": "panel1"}
    for hosts, answer in ((["panel1", "audio1"], "True"), (["audio1"], "False")):
        rendered = (
            jinja2.Environment(autoescape=True).from_string(goes_on).render(ansible_play_hosts_all=hosts, **known)
        )
        assert rendered == answer
    assert names.index("Have the fleet for this run") < names.index("Put back what nodes had")
    tasks = yaml.safe_load((ROOT / "playbooks/tasks/fleet_at_rest.yml").read_text())
    (check,) = [task for task in tasks if "ansible.builtin.assert" in task]
    language = jinja2.Environment(undefined=jinja2.ChainableUndefined, autoescape=True)
    language.filters["bool"] = lambda value: value in (True, "True")
    for lock_told, held in (
        ({}, []),
        ({"upgrade": False, "domain_change": None}, []),
        ({"upgrade": True, "domain_change": None}, ["no upgrade is under way"]),
        ({"upgrade": False, "domain_change": {"from": "a"}}, ["no change of names is unfinished"]),
        ({"upgrade": False, "domain_change": None, "restore": True}, ["no restore of the panel is under way"]),
    ):
        said = {
            item["name"]: language.from_string(item["that"]).render(__streamfleet_lock=lock_told)
            for item in check["loop"]
        }
        assert [name for name, that in said.items() if that != "True"] == held


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [("", True), ("yes", True), ("no", True), (True, True), (False, True), ("Audio1", True), ("audio2", False)],
)
def test_a_yes_for_a_host_that_is_not_of_the_run_is_refused(answer: Any, accepted: bool) -> None:
    plays = yaml.safe_load((ROOT / "playbooks/restore.yml").read_text())
    (check,) = [task for task in plays[0]["tasks"] if task["name"] == "Check whom the yes is for"]
    language = jinja2.Environment(autoescape=True)
    language.filters["intersect"] = lambda one, other: [item for item in one if item in other]
    condition = language.compile_expression(check["ansible.builtin.assert"]["that"])
    said = {"ansible_play_hosts_all": ["audio1", "web1"], "groups": {"backup": ["audio1", "audio2"]}}
    assert condition(restore_confirm=answer, **said) is accepted


def test_the_order_of_a_restore_is_on_no_command_line_and_in_no_log() -> None:
    tasks = yaml.safe_load((ROOT / "roles/backup/tasks/restore.yml").read_text())
    (begin,) = [task for task in tasks if "ansible.builtin.command" in task]
    assert "repository" not in str(begin["ansible.builtin.command"]["argv"])
    assert begin["no_log"] is True
    order = {name: "x" if isinstance(value, str) else value for name, value in program.ORDER.items()}
    order["confirm"] = True
    language = jinja2.Environment(autoescape=False)
    language.filters |= {"to_json": json.dumps, "bool": bool}
    asked = {f"streamfleet_backup_restore_{name}": value for name, value in order.items()}
    asked["streamfleet_backup_restore_service"] = asked.pop("streamfleet_backup_restore_slug")
    said = language.from_string(begin["ansible.builtin.command"]["stdin"]).render(ansible_check_mode=False, **asked)
    assert json.loads(said) == order
    assert program._read_order(json.dumps(order)) == order
    for wrong in ("", "[]", '{"confirm": "secret"}', '{"secret": "x"}'):
        with pytest.raises(BackupError, match="must be a JSON object") as caught:
            program._read_order(wrong)
        assert "secret" not in str(caught.value)


def test_a_file_that_became_a_pipe_stops_no_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    found = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(place.stat, "S_ISREG", lambda _mode: True)
    name, group = str(found.st_uid), str(found.st_gid)
    place.Place(str(tmp_path), True, ".s").owner(files.Entry(str(path), "file", 0o600, name, group, 1, 0, "0"))
