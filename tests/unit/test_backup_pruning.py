"""Pruning from elsewhere: what stays by the policy, and what a host that was taken over cannot have pruned."""

from __future__ import annotations

import dataclasses
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamfleet_backup import __main__ as program
from streamfleet_backup import backup, pruning, restic
from streamfleet_backup.errors import BackupError
from streamfleet_backup.settings import Settings, load

from tests.doubles.restic import ResticDouble

KEEP = {"daily": 3, "weekly": 0, "monthly": 0}
DAY = timedelta(days=1)


class Repository:
    """Backups of h1, one a day, and whoever prunes them from elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.restic: Any = ResticDouble(folder / "repository")
        self.restic.init()
        self.now = datetime.now(UTC)
        environment = {"RESTIC_REPOSITORY": "rest:https://ops:secret@backup.example/h1/", "RESTIC_PASSWORD": "x" * 12}
        own = {name: folder / name for name in ("data", "cache")}
        self.settings = Settings("h1", (), None, {}, True, "", 0, environment, **own)

    def add(self, age: timedelta, of: str = "") -> str:
        """A complete backup of so long ago, or another manifest ``of`` one; the id of its data."""
        moment = (self.now - age).isoformat()
        name = of or secrets.token_hex(32)
        if not of:
            self.restic.made.append({"id": name, "time": moment, "tags": [backup.DATA_TAG]})
        tags = [backup.MANIFEST_TAG, f"data:{name}"]
        self.restic.made.append({"id": secrets.token_hex(32), "time": moment, "tags": tags})
        return name

    def prune(
        self, within: int = 0, dry_run: bool = False, accept: tuple[str, ...] = (), unseen: bool = True
    ) -> dict[str, Any]:
        policy = pruning.Policy(KEEP, timedelta(days=within), accept, unseen)
        return pruning.run(self.settings, policy, dry_run, self.restic)

    def ids(self) -> list[str]:
        return [item["id"] for item in backup.complete(self.restic)]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_backups_go_by_the_policy_with_their_manifests_and_recent_ones_all_stay(repository: Repository) -> None:
    names = [repository.add(days * DAY) for days in range(9, -1, -1)]
    shown = repository.prune(dry_run=True)
    assert (shown["backups"], shown["kept"], len(shown["forgotten"])) == (10, 3, 7)
    assert (repository.ids(), repository.restic.acts) == (names, ["init"])
    assert "secret" not in json.dumps(shown)
    assert repository.prune(within=5)["kept"] == 5
    assert repository.ids() == names[-5:]
    assert len(repository.restic.made) == 10
    assert repository.prune()["forgotten"] == [
        {"id": name[:8], "time": (repository.now - days * DAY).isoformat()}
        for name, days in zip(names[5:7], (4, 3), strict=True)
    ]
    assert (repository.ids(), len(repository.restic.made)) == (names[-3:], 6)
    assert repository.restic.acts[-1] == "prune"
    assert repository.prune()["forgotten"] == []


def test_halves_that_are_old_go_and_one_that_may_be_gone_on_with_stays(repository: Repository) -> None:
    repository.add(timedelta())
    for age in (3, 1):
        time = (repository.now - age * DAY).isoformat()
        repository.restic.made.append({"id": secrets.token_hex(32), "time": time, "tags": [backup.DATA_TAG]})
    young = repository.restic.made[-1]["id"]
    # As long as backups stay, so does one that somebody may work on.
    repository.prune(within=5)
    assert len(repository.restic.made) == 4
    repository.prune()
    assert young in {item["id"] for item in repository.restic.made}
    assert len(repository.restic.made) == 3


def test_a_backup_of_the_future_has_none_pruned_in_its_favour(repository: Repository) -> None:
    names = [repository.add(days * DAY) for days in range(9, -1, -1)]
    ahead = [repository.add(-days * DAY) for days in (400, 401, 402)]
    with pytest.raises(BackupError, match=r"6 snapshots are of the future: .*restic forget ID.*Nothing was removed"):
        repository.prune()
    assert repository.ids() == names + ahead
    assert {"forget", "prune"}.isdisjoint(repository.restic.acts)


def test_backups_that_have_come_since_and_say_they_are_older_have_none_pruned_in_their_favour(
    repository: Repository,
) -> None:
    for days in range(40, 20, -1):
        repository.add(days * DAY)
    repository.prune()
    kept = repository.ids()
    # A minute after each that there is, so that it would be the last one of that day.
    false = [repository.add(days * DAY - timedelta(minutes=1)) for days in (21, 22, 23)]
    with pytest.raises(BackupError, match=r"6 snapshots have come since the last pruning \(.* UTC\)") as error:
        repository.prune()
    assert set(repository.ids()) == {*kept, *false}
    # Whoever has looked decides.
    manifests = [item["id"][:12] for item in repository.restic.made if f"data:{item['id']}" and item["tags"][1:]]
    assert "--accept" in str(error.value)
    assert repository.prune(accept=(*(name[:12] for name in false), *manifests))["kept"] == 3


@pytest.mark.parametrize("age", [timedelta(), 9000 * DAY])
def test_another_manifest_takes_no_backups_place_whatever_its_time(repository: Repository, age: timedelta) -> None:
    good = [repository.add(days * DAY) for days in range(9, -1, -1)]
    made = {item["id"] for item in repository.restic.made}
    repository.add(age, of=good[4][:8])
    (false,) = (item["id"] for item in repository.restic.made if item["id"] not in made)
    named = next(item["id"] for item in repository.restic.made if f"data:{good[4]}" in item["tags"])
    for dry_run in (True, False):
        with pytest.raises(BackupError, match=r"restic forget ID\. Nothing was removed") as error:
            repository.prune(dry_run=dry_run)
        assert all(name[:8] in str(error.value) for name in (good[4], named, false))
    assert {item["id"] for item in repository.restic.made} == made | {false}
    # All others can be had, and the one again once somebody has looked.
    assert repository.ids() == [name for name in good if name != good[4]]
    repository.restic.forget(false)
    assert repository.ids() == good
    assert repository.prune()["kept"] == 3


def test_a_first_run_forgets_nothing_and_remembers_what_there_is(repository: Repository) -> None:
    for days in range(49, 39, -1):
        repository.add(days * DAY)
        # What was added before anybody has looked: newer on each day, so that it would take the place of the good one.
        repository.add(days * DAY - timedelta(minutes=1))
    repository.restic.made.append({"id": "a" * 64, "time": "2020-01-01T00:00:00Z", "tags": [backup.DATA_TAG]})
    before = list(repository.restic.made)
    shown = repository.prune(within=30, dry_run=True, unseen=False)
    assert (shown["kept"], shown["forgotten"], "first run" in shown["note"]) == (20, [], True)
    assert not repository.settings.data.exists()
    done = repository.prune(within=30, unseen=False)
    assert done == {**shown, "dry_run": False}
    assert (repository.restic.made, {"forget", "prune"} & set(repository.restic.acts)) == (before, set())
    later = repository.prune(within=30, unseen=False)
    assert (later["kept"], later["note"]) == (3, "")


@pytest.mark.parametrize(("days", "refused"), [(27, False), (29, True), (60, True)])
def test_a_pruning_too_long_ago_tells_nothing_of_what_has_come_since(
    repository: Repository, days: int, refused: bool
) -> None:
    good = [repository.add(age * DAY) for age in range(80, -1, -1)]
    repository.prune(within=30, unseen=False)
    (remembered,) = repository.settings.data.iterdir()
    told = json.loads(remembered.read_text())
    remembered.write_text(json.dumps(told | {"at": (repository.now - days * DAY).isoformat()}))
    if not refused:
        assert repository.prune(within=30, unseen=False)["forgotten"]
        return
    with pytest.raises(BackupError, match=r"--keep-within is 30 days.*--accept-unseen once.*Nothing was removed"):
        repository.prune(within=30, unseen=False)
    assert repository.ids() == good
    assert repository.prune(within=30)["forgotten"]
    assert repository.prune(within=30, unseen=False)["forgotten"] == []


def test_one_that_was_begun_before_a_pruning_may_end_after_it(repository: Repository) -> None:
    repository.add(timedelta())
    repository.prune()
    repository.add(timedelta(hours=20))
    assert repository.prune()["backups"] == 2


def test_what_cannot_be_meant_is_refused_and_nothing_removed(repository: Repository) -> None:
    with pytest.raises(BackupError, match="holds no complete backup of h1"):
        repository.prune()
    repository.add(timedelta())
    with pytest.raises(BackupError, match="are all 0"):
        pruning.run(repository.settings, pruning.Policy({"daily": 0}, DAY), False, repository.restic)
    repository.prune()
    (remembered,) = repository.settings.data.iterdir()
    assert remembered.stat().st_mode & 0o777 == 0o600
    remembered.write_text("{")
    with pytest.raises(BackupError, match="it says which backups there were at the last pruning"):
        repository.prune()


def test_the_log_in_is_that_of_the_environment_or_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "CONFIG", tmp_path)
    monkeypatch.setattr(pruning.os, "geteuid", lambda: 1000)
    given = {"RESTIC_PASSWORD_FILE": "/x", "AWS_ACCESS_KEY_ID": "a", "STREAMFLEET_TOKEN": "t", "PATH": "/bin"}
    made = pruning.settings_of("audio1", "s3:https://b.example/audio1", environment=given)
    assert dict(made.environment) == {
        "RESTIC_PASSWORD_FILE": "/x",
        "AWS_ACCESS_KEY_ID": "a",
        "RESTIC_REPOSITORY": "s3:https://b.example/audio1",
    }
    assert (made.host, made.data.is_relative_to(Path.home())) == ("audio1", True)
    kept = pruning.settings_of("audio1", "/srv/x", str(tmp_path / "kept"), given)
    assert (kept.data, kept.cache) == (tmp_path / "kept", tmp_path / "kept" / "cache")
    with pytest.raises(BackupError, match="password is not given"):
        pruning.settings_of("audio1", "/srv/x", environment={"PATH": "/bin"})
    with pytest.raises(BackupError, match="--host is not given"):
        pruning.settings_of("", "/srv/x", environment=given)
    with pytest.raises(BackupError, match="--repository is not given, and this is no host"):
        pruning.settings_of("", "", environment=given)
    (tmp_path / "settings.json").write_text("{}")
    own = Settings("h1", (), None, {}, False, "", 0, {"RESTIC_REPOSITORY": "/srv/own"})
    monkeypatch.setattr(pruning, "load", lambda: own)
    assert pruning.settings_of("", "", environment=given) is own
    with pytest.raises(BackupError, match="that of 'h1'"):
        pruning.settings_of("audio2", "", environment=given)


def test_the_command_says_what_it_did(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for days in (2, 1, 0):
        repository.add(days * DAY)
    monkeypatch.setattr(pruning, "settings_of", lambda *given: {("h1", "/srv/h1", ""): repository.settings}[given])
    monkeypatch.setattr(pruning, "Restic", lambda _settings: repository.restic)
    words = ["prune", "--host", "h1", "--repository", "/srv/h1", "--keep-daily", "1", "--keep-weekly", "0"]
    words += ["--keep-monthly", "0", "--keep-within", "0"]
    assert program.main([*words, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 3
    assert program.main([*words, "--dry-run", "--accept-unseen"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 1
    assert len(repository.ids()) == 3
    assert program.main([*words, "--accept-unseen"]) == 0
    assert len(repository.ids()) == 1
    assert program.main(words) == 1
    assert "--accept-unseen" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        program.main([*words, "--keep-within", "-1"])


@pytest.mark.parametrize("of_host", [False, True])
def test_elsewhere_ssh_is_the_operators_own_also_on_a_host_of_the_fleet(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, of_host: bool
) -> None:
    shown = tmp_path / "restic"
    shown.write_text('#!/bin/sh\necho "$*" >&2\nexit 1\n')
    shown.chmod(0o755)
    monkeypatch.setattr(restic, "CONFIG", tmp_path / "config")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "ssh_key").touch()
    address = "sftp:keeper@b.example:/x"
    if of_host:
        data = {"host": "h1", "parts": [], "database": None, "keep": {}, "prune": True, "check_data": ""}
        (tmp_path / "config" / "settings.json").write_text(json.dumps(data | {"upload_kbps": 0}))
        (tmp_path / "config" / "secrets.env").write_text(f"RESTIC_REPOSITORY='{address}'\n")
        chosen = dataclasses.replace(load(tmp_path / "config"), cache=tmp_path / "cache")
    else:
        chosen = pruning.settings_of("h1", address, str(tmp_path / "state"), {"RESTIC_PASSWORD": "x"})
    with pytest.raises(BackupError) as error:
        restic.Restic(chosen, str(shown)).unlock()
    assert ("sftp.command=" in str(error.value)) is of_host


class _Closed:
    """A folder of root's alone, for anybody else."""

    def __truediv__(self, _name: str) -> _Closed:
        return self

    def exists(self) -> bool:
        raise PermissionError(13, "Permission denied")

    is_file = exists


def test_whoever_may_not_look_into_a_hosts_settings_is_told_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restic, "CONFIG", _Closed())
    monkeypatch.setattr(pruning, "CONFIG", _Closed())
    given = {"RESTIC_PASSWORD": "x"}
    chosen = pruning.settings_of("h1", "/srv/x", str(tmp_path / "state"), given)
    restic.Restic(chosen, "true").unlock()
    with pytest.raises(BackupError, match=r"--repository is not given, and .* cannot be read \(Permission denied\)"):
        pruning.settings_of("", "", environment=given)
