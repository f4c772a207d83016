"""The panel's data copied into another database, of another kind too: all of it, or nothing.

Every table is read and written by Django, which knows how each kind of database stores a value, and compared afterwards
by what Django reads from both. That happens in one transaction of the target.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dj_database_url
from django.apps import apps
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import DatabaseError, connections, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import load_backend

from streamfleet_panel.databases import configured
from streamfleet_panel.models import Account, Installation

#: Name of the connection to the database that is written.
TARGET = "move_target"
#: Rows that are read, and written, at a time.
PIECE = 500


class MoveError(RuntimeError):
    """Says what is wrong with which table, and what to do. Nothing was changed, but for empty tables."""


@dataclass(frozen=True)
class Table:
    """What both databases hold of one: number of rows, and the sum of the rows' SHA-256."""

    rows: int
    digest: str


def connect(url: str) -> None:
    """Have the database of ``url`` be known as ``TARGET``. Raises MoveError where it is the panel's own, or none."""
    try:
        parsed = configured(dict(dj_database_url.parse(url, conn_max_age=0)))
    except (ValueError, KeyError):
        raise MoveError("The URL of the new database is none: use sqlite:, postgres: or mysql:") from None
    own = connections["default"].settings_dict
    if all(str(parsed.get(key, "")) == str(own.get(key, "")) for key in ("ENGINE", "NAME", "HOST", "PORT")):
        raise MoveError("The new database is the one that the panel uses")
    whole = connections.configure_settings({"default": dict(own), TARGET: parsed})
    connections[TARGET] = load_backend(whole[TARGET]["ENGINE"]).DatabaseWrapper(whole[TARGET], TARGET)


@dataclass(frozen=True)
class Move:
    """From one of Django's connections to another."""

    source: str = "default"
    target: str = TARGET

    def run(self, replace: bool) -> dict[str, Table]:
        """Copy everything; each table as both have it then. Raises MoveError.

        ``replace``: what is there of this same installation goes, as after a move the other way.
        """
        self._same_migrations()
        try:
            call_command("migrate", database=self.target, interactive=False, verbosity=0)
        except DatabaseError as error:
            raise MoveError(f"The new database does not take the panel's tables: {_words(error)}") from None
        tables = list(_models())
        target = connections[self.target]
        try:
            with transaction.atomic(self.source), transaction.atomic(self.target), target.constraint_checks_disabled():
                self._check_empty(replace)
                with target.cursor() as cursor:
                    for model in reversed(tables):
                        cursor.execute(f"DELETE FROM {target.ops.quote_name(model._meta.db_table)}")  # noqa: S608
                for model in tables:
                    self._copy(model)
                self._sequences(tables)
                target.check_constraints()
                return {model._meta.db_table: self._compared(model) for model in tables}
        except DatabaseError as error:
            raise MoveError(f"Nothing was copied: {_words(error)}") from None

    def _same_migrations(self) -> None:
        """Raise MoveError where the panel's own database has not had all migrations of this release, or others."""
        executor = MigrationExecutor(connections[self.source])
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise MoveError("The panel's database is not of this version. Run install.yml or upgrade.yml first")
        recorded = MigrationRecorder(connections[self.source]).applied_migrations()
        unknown = [
            key
            for key in recorded
            if key[0] in executor.loader.migrated_apps and key not in executor.loader.disk_migrations
        ]
        if unknown:
            raise MoveError(f"The panel's database is of a newer version: it has had {'.'.join(sorted(unknown)[0])}")

    def _check_empty(self, replace: bool) -> None:
        if not Account.objects.using(self.target).exists():
            return
        own = Installation.objects.using(self.source).first()
        there = Installation.objects.using(self.target).first()
        if own is None or there is None or own.epoch != there.epoch:
            raise MoveError("The new database holds the accounts of another installation. Give an empty one")
        if not replace:
            raise MoveError(
                "The new database holds an older copy of this installation. If that is to be replaced, add -e"
                " database_move_replace=true"
            )

    def _copy(self, model: type[models.Model]) -> None:
        fields = model._meta.local_concrete_fields
        manager = model._base_manager
        rows = manager.using(self.source).order_by("pk").iterator(chunk_size=PIECE)
        piece: list[models.Model] = []

        def write() -> None:
            # As bulk_create does it, but for times that are set when something is saved: raw leaves all as it is.
            if piece:
                target = manager.using(self.target)
                target._insert(piece, fields=fields, using=self.target, raw=True)  # type: ignore[attr-defined]
                piece.clear()

        # SQLite takes so many values in one statement.
        values = connections[self.target].features.max_query_params or PIECE * len(fields)
        most = max(1, min(PIECE, values // len(fields)))
        try:
            for row in rows:
                piece.append(row)
                if len(piece) >= most:
                    write()
            write()
        except (DatabaseError, ValueError) as error:
            raise MoveError(f"Nothing was copied: table {model._meta.db_table}: {_words(error)}") from None

    def _sequences(self, tables: list[type[models.Model]]) -> None:
        """Have new rows get numbers that no row has, or ever had, as far as the panel's database remembers."""
        target = connections[self.target]
        with target.cursor() as cursor:
            for statement in target.ops.sequence_reset_sql(no_style(), tables):
                cursor.execute(statement)
        keys = [(model._meta.db_table, model._meta.pk) for model in tables]
        known = self._highest([(name, str(key.column)) for name, key in keys if isinstance(key, models.AutoField)])
        with target.cursor() as cursor:
            for (name, column), highest in known.items():
                if target.vendor == "postgresql":
                    ask = "SELECT setval(pg_get_serial_sequence(%s, %s), %s)"
                    cursor.execute(ask, [target.ops.quote_name(name), column, highest])
                elif target.vendor == "sqlite":
                    cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [name])
                    cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [name, highest])
                # MariaDB's statement for it would end the transaction: there they go on from the highest that is there.

    def _highest(self, keys: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The highest number that a row of each table ever had, where the source tells it; by table and column."""
        source = connections[self.source]
        found: dict[tuple[str, str], int] = {}
        with source.cursor() as cursor:
            if source.vendor == "sqlite":
                cursor.execute("SELECT name, seq FROM sqlite_sequence")
                known = dict(cursor.fetchall())
                found = {key: known[key[0]] for key in keys if known.get(key[0])}
            elif source.vendor == "postgresql":
                for name, column in keys:
                    cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [source.ops.quote_name(name), column])
                    sequence = cursor.fetchone()[0]
                    cursor.execute(f"SELECT last_value FROM {sequence} WHERE is_called")  # noqa: S608
                    if row := cursor.fetchone():
                        found[name, column] = row[0]
        return found

    def _compared(self, model: type[models.Model]) -> Table:
        here, there = _table(model, self.source), _table(model, self.target)
        if here != there:
            raise MoveError(
                f"Nothing was copied: table {model._meta.db_table} would not be the same: {here.rows} rows and"
                f" {there.rows}, of digests {here.digest[:16]} and {there.digest[:16]}"
            )
        return here


def contents() -> dict[str, list[Any]]:
    """What the panel's own database holds of every table: number of rows, and the sum of their SHA-256."""
    found = {model._meta.db_table: _table(model, "default") for model in _models()}
    return {name: [table.rows, table.digest] for name, table in found.items()}


def _models() -> Iterator[type[models.Model]]:
    """A model of every table, once."""
    seen: set[str] = set()
    for model in apps.get_models(include_auto_created=True):
        meta = model._meta
        if meta.managed and not meta.proxy and meta.db_table not in seen:
            seen.add(meta.db_table)
            yield model


def _table(model: type[models.Model], using: str) -> Table:
    names = [field.attname for field in model._meta.local_concrete_fields]
    total = rows = 0
    for values in model._base_manager.using(using).order_by("pk").values_list(*names).iterator(chunk_size=PIECE):
        text = json.dumps(dict(zip(names, values, strict=True)), sort_keys=True, default=_plain)
        total += int.from_bytes(hashlib.sha256(text.encode()).digest())
        rows += 1
    return Table(rows, f"{total % 2**256:064x}")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
