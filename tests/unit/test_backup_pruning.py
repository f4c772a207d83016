"""Pruning from elsewhere: what stays by the policy, and what a host that was taken over cannot have pruned."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamfleet_backup import __main__ as program
from streamfleet_backup import backup, pruning, restic
from streamfleet_backup.errors import BackupError
from streamfleet_backup.settings import Settings

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

    def prune(self, within: int = 0, dry_run: bool = False, accept: tuple[str, ...] = ()) -> dict[str, Any]:
        policy = pruning.Policy(KEEP, timedelta(days=within), accept)
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


def test_another_manifest_takes_no_backups_place(repository: Repository) -> None:
    name = repository.add(3 * DAY)
    (before,) = backup.complete(repository.restic)
    repository.add(timedelta(), of=name)
    repository.prune()
    assert backup.complete(repository.restic) == [before]


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
    assert json.loads(capsys.readouterr().out)["kept"] == 1
    assert len(repository.ids()) == 3
    assert program.main(words) == 0
    assert len(repository.ids()) == 1
    with pytest.raises(SystemExit):
        program.main([*words, "--keep-within", "-1"])


def test_elsewhere_ssh_is_the_operators_own(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tmp_path / "restic"
    shown.write_text('#!/bin/sh\necho "$*" >&2\nexit 1\n')
    shown.chmod(0o755)
    environment = {**repository.settings.environment, "RESTIC_REPOSITORY": "sftp:keeper@b.example:/x"}
    elsewhere = Settings("h1", (), None, {}, True, "", 0, environment, cache=tmp_path / "cache")
    for there in (False, True):
        monkeypatch.setattr(restic, "CONFIG", tmp_path / "config")
        if there:
            (tmp_path / "config").mkdir()
            (tmp_path / "config" / "ssh_key").touch()
        with pytest.raises(BackupError) as error:
            restic.Restic(elsewhere, str(shown)).unlock()
        assert ("sftp.command=" in str(error.value)) is there
