"""All that the panel has, in another database: there and back, whatever kinds both are (`make panel-databases`)."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from streamfleet_panel import moving
from streamfleet_panel.models import Account, AuditLog, Installation, MediaService, Node
from streamfleet_panel.moving import TARGET, Move, MoveError

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any) -> Path:
    """A database of SQLite with the panel's tables, as a move makes them: made once, for it takes a second."""
    place = tmp_path_factory.mktemp("migrated") / "panel.sqlite3"
    with django_db_blocker.unblock():
        moving.connect(f"sqlite:///{place}")
        call_command("migrate", database=TARGET, interactive=False, verbosity=0)
        connections[TARGET].close()
        del connections[TARGET]
    return place


@pytest.fixture
def place(tmp_path: Path, migrated: Path, world: None) -> Iterator[str]:
    """The URL of another database, and a world in the panel's own."""
    Installation.current()
    shutil.copy(migrated, tmp_path / "other.sqlite3")
    yield f"sqlite:///{tmp_path}/other.sqlite3"
    connections[TARGET].close()
    del connections[TARGET]


@pytest.fixture
def other(place: str) -> None:
    """That database is known as TARGET."""
    moving.connect(place)


def digests(using: str) -> dict[str, moving.Table]:
    return {model._meta.db_table: moving._table(model, using) for model in moving._models()}


def test_everything_is_there_as_it_was(other: None) -> None:
    AuditLog.objects.create(action="test", kind="customer", key="Näw 📻", changes={"nested": [1, None, {"a": "ü"}]})
    before = digests("default")
    told = Move().run(replace=False)
    assert digests("default") == before == digests(TARGET) == told
    assert told["panel_account"].rows > 3
    assert Installation.objects.using(TARGET).get().epoch == Installation.current().epoch
    # Secrets are the same, by the same keys; times are not those of the copy.
    one, two = (MediaService.objects.using(name).order_by("pk").first() for name in ("default", TARGET))
    assert one is not None
    assert two is not None
    assert (one.credentials, one.created_at) == (two.credentials, two.created_at)


def test_back_again_over_what_has_grown_old(other: None) -> None:
    """Into whichever kind of server the tests use; numbers of rows go on from the highest that there was."""
    Move().run(replace=False)
    node = Node.objects.using(TARGET).order_by("pk").first()
    assert node is not None
    node.generation += 7
    node.save(using=TARGET)
    highest = max(Account.objects.using(TARGET).values_list("pk", flat=True))
    gone = Account(username="gone", email="gone@example.net", domain_token="z" * 32, uid=298001)
    gone.save(using=TARGET)
    assert gone.pk > highest
    Account.objects.using(TARGET).filter(pk=gone.pk).delete()
    back = Move(source=TARGET, target="default")
    with pytest.raises(MoveError, match=r"older copy of this installation.*database_move_replace=true"):
        back.run(replace=False)
    assert Node.objects.get(pk=node.pk).generation == node.generation - 7
    told = back.run(replace=True)
    assert told == digests("default") == digests(TARGET)
    assert Node.objects.get(pk=node.pk).generation == node.generation
    new = Account.objects.create(username="new", email="new@example.net", domain_token="y" * 32, uid=298002)
    assert new.pk > highest
    if connections["default"].vendor != "mysql":
        assert new.pk > gone.pk


def test_another_installation_is_left_alone(other: None) -> None:
    Move().run(replace=False)
    Installation.objects.using(TARGET).update(epoch="00000000-0000-4000-8000-000000000000")
    before = digests(TARGET)
    with pytest.raises(MoveError, match=r"accounts of another installation. Give an empty one"):
        Move().run(replace=True)
    assert digests(TARGET) == before


def test_all_or_nothing(other: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is lost on the way is noticed, and then there is nothing at all."""
    copy = Move._copy

    def lossy(self: Move, model: Any) -> None:
        copy(self, model)
        if model is Account:
            Account.objects.using(TARGET).filter(username="alice").update(name="Somebody else")

    monkeypatch.setattr(Move, "_copy", lossy)
    with pytest.raises(MoveError, match="table panel_account would not be the same"):
        Move().run(replace=False)
    monkeypatch.undo()
    assert not Account.objects.using(TARGET).exists()
    # The next one is not hindered by it.
    assert Move().run(replace=False)["panel_account"].rows == Account.objects.count()


def test_what_refers_to_nothing_is_refused(other: None, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Move._copy
    monkeypatch.setattr(Move, "_copy", lambda self, model: None if model is Node else copy(self, model))
    with pytest.raises((MoveError, Exception), match=r"(?i)nothing was copied|foreign key"):
        Move().run(replace=False)
    assert not Account.objects.using(TARGET).exists()


def test_the_command_reads_json_and_names_what_is_wrong(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(order: str) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(order))
        output = io.StringIO()
        call_command("move_database", stdout=output)
        return output.getvalue()

    told = json.loads(said(json.dumps({"to": place, "replace": False})))
    assert told["rows"] > 10
    assert told["tables"] == len(list(moving._models()))
    with pytest.raises(CommandError, match="not the JSON"):
        said("{}")
    with pytest.raises(CommandError, match="The URL of the new database is none"):
        said(json.dumps({"to": "ftp://x/y", "replace": False}))
    with pytest.raises(CommandError, match="older copy"):
        said(json.dumps({"to": place, "replace": False}))


def test_the_database_that_is_used_is_no_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "same.sqlite3"
    own = {**connections["default"].settings_dict, "ENGINE": "django.db.backends.sqlite3", "NAME": str(place)}
    monkeypatch.setattr(connections["default"], "settings_dict", own)
    with pytest.raises(MoveError, match="is the one that the panel uses"):
        moving.connect(f"sqlite:///{place}")
