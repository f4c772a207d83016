"""Rows of a dump with the names of their columns, whichever database it was made of."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import BackupError

Row = dict[str, Any]

#: What the panel needs to make a customer again: tables of few columns that name others are read whole.
ACCOUNTS, SERVICES = "panel_account", "panel_mediaservice"
WHOLE = ("panel_node", "panel_resellerplan")
OF_CUSTOMER, OF_SERVICE = (
    ("panel_mediauser",),
    ("panel_playlist", "panel_dj", "panel_schedule", "panel_relay", "panel_domain"),
)


def of_customer(dump: Path, username: str = "", slug: str = "") -> dict[str, list[Row]]:
    """Table → rows of one customer and of his services, or of one service; and accounts that he belongs to.

    What the backup's version did not have is not there. Raises BackupError where the dump cannot be read.
    """
    found: dict[str, list[Row]] = {}
    for table, row in read(dump, {ACCOUNTS, SERVICES, *WHOLE}):
        found.setdefault(table, []).append(row)
    accounts, services = found.get(ACCOUNTS, []), found.get(SERVICES, [])
    if slug:
        services = [row for row in services if row["slug"] == slug]
        owners = {str(row["customer_id"]) for row in services}
    else:
        owners = {str(row["id"]) for row in accounts if row["username"] == username}
        services = [row for row in services if str(row["customer_id"]) in owners]
    mine = [row for row in accounts if str(row["id"]) in owners]
    above = {str(row["reseller_id"]) for row in mine}
    found[ACCOUNTS] = mine + [row for row in accounts if str(row["id"]) in above - owners]
    found[SERVICES] = services
    ids = {str(row["id"]) for row in services}
    for table, row in read(dump, {*OF_CUSTOMER, *OF_SERVICE}):
        key, wanted = ("customer_id", owners) if table in OF_CUSTOMER else ("media_service_id", ids)
        if str(row[key]) in wanted:
            found.setdefault(table, []).append(row)
    return found


def read(dump: Path, tables: Collection[str]) -> Iterator[tuple[str, Row]]:
    """(table, row) of these tables. Values are as the dump has them: numbers may be texts. Raises BackupError."""
    reader = _READERS[dump.suffix]
    return reader(dump, tables)


def _sqlite(dump: Path, tables: Collection[str]) -> Iterator[tuple[str, Row]]:
    base = sqlite3.connect(f"file:{dump}?mode=ro&immutable=1", uri=True)
    base.row_factory = sqlite3.Row
    try:
        there = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in sorted(there & {*tables}):
            for row in base.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - names of the database itself
                yield table, dict(row)
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{dump} cannot be read ({error}): the database is damaged") from None
    finally:
        base.close()


_BEGINS = re.compile(r'COPY (?:public\.)?"?([A-Za-z0-9_]+)"? \((.*)\) FROM stdin;\n')
_COPIED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _postgresql(dump: Path, tables: Collection[str]) -> Iterator[tuple[str, Row]]:
    """COPY's text format."""
    table, columns = "", [""]
    with dump.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            if table:
                if line == "\\.\n":
                    table = ""
                else:
                    values = line.rstrip("\n").split("\t")
                    yield table, dict(zip(columns, map(_copied, values), strict=True))
            elif (begins := _BEGINS.match(line)) and begins[1] in tables:
                table, columns = begins[1], [name.strip().strip('"') for name in begins[2].split(",")]


def _copied(text: str) -> str | None:
    if text == "\\N":
        return None
    if "\\" not in text:
        return text
    return re.sub(r"\\(.)", lambda found: _COPIED.get(found[1], found[1]), text)


_COLUMN = re.compile(r"  `([^`]+)` ")
_LITERAL = re.compile(
    r"NULL|0x[0-9A-Fa-f]*|-?[0-9.]+(?:[eE][+-]?[0-9]+)?|(?:_binary )?'((?:[^'\\]|\\.|'')*)'", re.DOTALL
)
_QUOTED = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


def _mariadb(dump: Path, tables: Collection[str]) -> Iterator[tuple[str, Row]]:
    """One INSERT for each row (--skip-extended-insert), columns in the order of CREATE TABLE."""
    columns: dict[str, list[str]] = {}
    making = ""
    with dump.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            if made := re.match(r"CREATE TABLE `([^`]+)` \(", line):
                making = made[1]
                columns[making] = []
            elif making and (column := _COLUMN.match(line)):
                columns[making].append(column[1])
            elif line.startswith(")"):
                making = ""
            elif (row := re.match(r"INSERT INTO `([^`]+)` VALUES \(", line)) and row[1] in tables:
                yield row[1], dict(zip(columns[row[1]], _literals(line, row.end(), dump), strict=True))


def _literals(line: str, at: int, dump: Path) -> list[str | None]:
    found: list[str | None] = []
    while True:
        literal = _LITERAL.match(line, at)
        if literal is None or line[literal.end() : literal.end() + 1] not in (",", ")"):
            raise BackupError(
                f"{dump} holds a row that cannot be read: the backup is damaged, or of a database unknown"
            )
        if literal[1] is not None:
            found.append(re.sub(r"\\(.)|''", _unquoted, literal[1], flags=re.DOTALL))
        else:
            found.append(None if literal[0] == "NULL" else literal[0])
        if line[literal.end()] == ")":
            return found
        at = literal.end() + 1


def _unquoted(found: re.Match[str]) -> str:
    return "'" if found[1] is None else _QUOTED.get(found[1], found[1])


_READERS: Mapping[str, Callable[[Path, Collection[str]], Iterator[tuple[str, Row]]]] = {
    ".sqlite": _sqlite,
    ".postgresql": _postgresql,
    ".mariadb": _mariadb,
}
