"""One customer, or one service, out of a backup's rows: alone, with the secrets kept, and through apply."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from streamfleet_panel.models import Account, AuditLog, Counter, Dj, MediaService, MediaUser, Playlist, Relay
from tests_support import apply_as

TABLES = (
    "account",
    "resellerplan",
    "node",
    "mediaservice",
    "mediauser",
    "playlist",
    "dj",
    "schedule",
    "relay",
    "domain",
)
Tables = dict[str, list[dict[str, Any]]]
MORE: dict[str, list[dict[str, Any]]] = {
    "customers": [{"username": "alice", "password": "what-alice-knows", "name": "Alice"}],
    "media_services": [{"slug": "rock", "autodj": {}}],
    "djs": [{"media_service": "rock", "username": "anna", "password": "password-anna"}],
    "schedules": [
        {"media_service": "rock", "name": "eve", "dj": "anna", "start": "20:00", "end": "22:00",
         "start_date": "2026-12-24"},
    ],
    "relays": [
        {"media_service": "rock", "name": "other", "direction": "out", "address": "icecast://other.example/live",
         "password": "password-of-other"},
    ],
    "domains": [{"media_service": "rock", "name": "radio.alice.example"}],
    "media_users": [{"customer": "alice", "name": "studio", "password": "password-of-studio"}],
}  # fmt: skip


@pytest.fixture
def tables(world: None) -> Tables:
    """Rows of the database as a backup of it has them, in which alice has everything."""
    apply_as(None, MORE, label="shop.yml", update_password="always")
    return rows()


def rows() -> Tables:
    found = {}
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT * FROM panel_{table}")
            names = [column[0] for column in cursor.description]
            # As JSON has them, on every database.
            found[f"panel_{table}"] = json.loads(
                json.dumps([dict(zip(names, row, strict=True)) for row in cursor.fetchall()], default=str)
            )
    return found


def lose(*usernames: str) -> None:
    """As the clock does when the grace period is over."""
    services = MediaService.objects.filter(customer__username__in=usernames)
    for model in (Playlist, Dj, Relay):
        model.objects.filter(media_service__in=services).delete()
    services.delete()
    Account.objects.filter(username__in=usernames).delete()


@pytest.fixture
def restore(monkeypatch: pytest.MonkeyPatch, tables: Tables) -> Callable[..., dict[str, Any]]:
    def call(*arguments: str, **order: Any) -> dict[str, Any]:
        whole = {"username": "", "slug": "", "node": "", "keys": [], "tables": tables} | order
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(whole)))
        output = io.StringIO()
        call_command("restore_customer", *arguments, stdout=output)
        told: dict[str, Any] = json.loads(output.getvalue())
        return told

    return call


def stable(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what changes with their being made anew."""
    passing = {"id", "created_at", "generation", "media_service_id", "customer_id", "checked_at", "next_check_at"}
    passing |= {"sought_since", "credentials_encrypted"}
    return sorted(({k: v for k, v in row.items() if k not in passing} for row in table), key=repr)


def test_a_lost_customer_comes_back_with_all_secrets_and_nobody_else_is_touched(
    restore: Callable[..., dict[str, Any]], tables: Tables
) -> None:
    before = {service.slug: service.credentials for service in MediaService.objects.all()}
    lose("alice")
    apply_as(None, {"customers": [{"username": "bob", "name": "Changed since"}]})
    others = {table: found for table, found in rows().items() if table != "panel_node"}
    shown = restore("--dry-run", username="alice")
    assert (shown["dry_run"], shown["summary"]["created"]) == (True, 10)
    assert not Account.objects.filter(username="alice").exists()
    assert "password-anna" not in json.dumps(shown)

    done = restore(username="alice")
    uid = next(row["uid"] for row in tables["panel_account"] if row["username"] == "alice")
    assert (done["summary"], done["uid"]) == (shown["summary"], uid)
    after = rows()
    for table in ("mediaservice", "mediauser", "playlist", "dj", "schedule", "relay", "domain"):
        assert stable(after[f"panel_{table}"]) == stable(tables[f"panel_{table}"]), table
    alice = Account.objects.get(username="alice")
    assert alice.check_password("what-alice-knows")
    assert (alice.uid, alice.label, alice.reseller.username) == (uid, "shop.yml", "shop")
    assert {service.slug: service.credentials for service in MediaService.objects.all()} == before
    assert Dj.objects.get(username="anna").password == "password-anna"
    assert Relay.objects.get(name="other").password == "password-of-other"
    for table, found in others.items():
        assert all(row in after[table] for row in found), table
    entries = AuditLog.objects.filter(actor_name="restore of a backup")
    assert {entry.kind for entry in entries} >= {"customer", "media_service", "dj", "relay", "domain", "media_user"}
    assert done["files"] == {
        "node1": {
            "only": [f"/var/lib/streamfleet/media/{uid}"],
            "missing": ["/var/lib/streamfleet/services/rock", "/var/lib/streamfleet/services/tv"],
        }
    }
    # Once more: nothing.
    assert restore(username="alice")["changed"] is False


def test_what_is_here_keeps_its_passwords_and_what_billing_has_decided(restore: Callable[..., dict[str, Any]]) -> None:
    changed = {
        "customers": [{"username": "alice", "name": "Somebody", "status": "disabled", "password": "a-new-one"}],
        "media_services": [
            {
                "slug": "rock",
                "name": "Other",
                "suspended": True,
                "max_listeners": 7,
                "source_password": "new-password-1",
            }
        ],
        "djs": [{"media_service": "rock", "username": "anna", "name": "X", "password": "new-password-2"}],
        "playlists": [
            {"media_service": "rock", "name": "day", "state": "absent"},
            {"media_service": "rock", "name": "new", "folder": "new"},
        ],
        "media_users": [{"customer": "alice", "name": "studio", "password": "new-password-3", "read_only": True}],
    }
    apply_as(None, changed, update_password="always")
    kept = MediaUser.objects.get(name="studio").password
    told = restore("--dry-run", username="alice")
    conflicts = {result["key"]: result["changes"] for result in told["results"] if result["action"] == "updated"}
    assert conflicts["alice"] == {"name": {"before": "Somebody", "after": "Alice"}}
    assert conflicts["rock"] == {"name": {"before": "Other", "after": "rock"}}
    restore(username="alice")
    alice, rock = Account.objects.get(username="alice"), MediaService.objects.get(slug="rock")
    assert (alice.name, alice.status, alice.check_password("a-new-one")) == ("Alice", "disabled", True)
    assert (rock.name, rock.suspended, rock.max_listeners) == ("rock", True, 7)
    assert rock.credentials["source_password"] == "new-password-1"
    anna = Dj.objects.get(username="anna")
    assert (anna.name, anna.password) == ("", "new-password-2")
    assert {playlist.name for playlist in rock.playlists.all()} == {"day", "jingles", "new"}
    studio = MediaUser.objects.get(name="studio")
    assert (studio.read_only, studio.password) == (False, kept)


def test_one_service_comes_back_and_its_customers_others_stay(
    restore: Callable[..., dict[str, Any]], tables: Tables
) -> None:
    MediaService.objects.filter(slug="rock").delete()
    apply_as(None, {"media_services": [{"slug": "tv", "name": "Changed since"}]})
    done = restore(slug="rock")
    uid = done["uid"]
    assert {result["key"] for result in done["results"]} == {
        "rock", "rock/day", "rock/jingles", "rock/anna", "rock/eve", "rock/other", "rock/radio.alice.example"
    }  # fmt: skip
    assert MediaService.objects.get(slug="tv").name == "Changed since"
    library = f"/var/lib/streamfleet/media/{uid}"
    # Of the library what its playlists name: other stations play from it, too.
    named = [f"{library}/{name}" for name in ("a.mp3", "b.mp3", "music/rock", "recordings/rock")]
    assert done["files"]["node1"] == {"only": named, "missing": ["/var/lib/streamfleet/services/rock"]}


def test_a_deleted_customer_in_grace_comes_back_as_he_is(restore: Callable[..., dict[str, Any]]) -> None:
    apply_as(None, {"customers": [{"username": "alice", "state": "absent"}]})
    restore(username="alice")
    assert Account.objects.get(username="alice").deleted_at is None
    assert not MediaService.objects.filter(customer__username="alice").exclude(deleted_at=None)


def test_ports_that_others_have_taken_are_given_anew_and_another_node_takes_its_services(
    restore: Callable[..., dict[str, Any]], tables: Tables
) -> None:
    port = MediaService.objects.get(slug="rock").port
    lose("alice")
    apply_as(None, {"media_services": [{"slug": "eve-fm", "port": port}]})
    node = {"name": "node9", "address": "192.0.2.19", "engines": ["icecast", "nginx_rtmp"]}
    apply_as(None, {"nodes": [node | {"port_range_start": 8100, "port_range_end": 8299}]})
    shown = restore("--dry-run", username="alice")
    (rock,) = [result for result in shown["results"] if result["key"] == "rock"]
    assert rock["changes"]["port"]["after"] != port
    done = restore(username="alice", node="node9")
    assert list(done["files"]) == ["node9"]
    assert MediaService.objects.get(slug="rock").port == port


def test_secrets_are_read_with_the_keys_of_the_backup(restore: Callable[..., dict[str, Any]], settings: Any) -> None:
    before, old = MediaService.objects.get(slug="rock").credentials, list(settings.FIELD_KEYS)
    lose("alice")
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CommandError, match="STREAMFLEET_PANEL_FIELD_KEYS lacks the key"):
        restore(username="alice")
    assert not Account.objects.filter(username="alice").exists()
    restore(username="alice", keys=old)
    assert MediaService.objects.get(slug="rock").credentials == before


def test_rows_of_an_older_version_and_of_texts_are_read(restore: Callable[..., dict[str, Any]], tables: Tables) -> None:
    """PostgreSQL's dumps are texts, booleans are t and f; an older version has fewer columns."""
    lose("alice")
    for found in tables.values():
        for row in found:
            for name, value in row.items():
                if name in ("enabled", "suspended", "api_access", "record", "read_only", "djs_first"):
                    row[name] = "t" if value else "f"
                elif value is not None:
                    row[name] = str(value)
    for row in tables["panel_mediaservice"]:
        del row["max_domains"]
    done = restore(username="alice")
    assert done["summary"]["created"] == 10
    rock = MediaService.objects.get(slug="rock")
    assert (rock.enabled, rock.suspended, rock.max_listeners, rock.max_domains) == (True, False, 100, 5)


def test_limits_hold_for_what_is_restored(restore: Callable[..., dict[str, Any]]) -> None:
    lose("alice")
    apply_as(None, {"reseller_plans": [{"name": "gold", "max_media_services": 2}]})
    with pytest.raises(CommandError, match="max_media_services"):
        restore(username="alice")
    assert not Account.objects.filter(username="alice").exists()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"username": "nobody"}, "the backup has no customer nobody"),
        ({"slug": "nothing"}, "the backup has no media service nothing"),
        ({"username": "root"}, "is an administrator"),
        ({"username": "alice", "node": "node7"}, "the node node7, on which .* is not here"),
    ],
)
def test_what_cannot_be_put_back_is_said_and_nothing_is_done(
    restore: Callable[..., dict[str, Any]], order: dict[str, Any], message: str
) -> None:
    lose("alice")
    before = rows()
    with pytest.raises(CommandError, match=message):
        restore(**order)
    assert rows() == before


def test_the_service_of_a_customer_who_is_not_here_is_refused(restore: Callable[..., dict[str, Any]]) -> None:
    lose("alice")
    with pytest.raises(CommandError, match="alice, whose service rock is, is not here"):
        restore(slug="rock")


def test_another_customer_with_the_name_or_the_uid_is_no_match(restore: Callable[..., dict[str, Any]]) -> None:
    uid = Account.objects.get(username="alice").uid
    lose("alice")
    apply_as(None, {"customers": [{"username": "alice", "reseller": "shop"}]})
    with pytest.raises(CommandError, match=f"had {uid} in the backup"):
        restore(username="alice")
    Account.objects.filter(username="alice").delete()
    Account.objects.filter(username="carol").update(uid=uid)
    with pytest.raises(CommandError, match="is that of carol here"):
        restore(username="alice")


def test_uids_go_on_above_one_that_was_put_back(restore: Callable[..., dict[str, Any]]) -> None:
    """As on a panel whose database was put back from a still older backup."""
    uid = Account.objects.get(username="alice").uid
    lose("alice", "carol", "eve")
    lose("rival", "bob")
    Counter.objects.filter(name="uid").update(value=uid - 1)
    restore(username="alice")
    assert (Account.objects.get(username="alice").uid, Counter.objects.get(name="uid").value) == (uid, uid + 1)


def test_what_is_no_order_is_refused(monkeypatch: pytest.MonkeyPatch, world: None) -> None:
    for text in ("", "[]", "{}"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        with pytest.raises(CommandError, match="is not the JSON"):
            call_command("restore_customer")
