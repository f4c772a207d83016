"""One customer out of a backup: rows of every kind of dump, and files by their paths, over real files."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from streamfleet_backup import __main__ as program
from streamfleet_backup import backup, customer, database, restore, rows, settings
from streamfleet_backup.errors import BackupError
from streamfleet_backup.settings import Part
from streamfleet_backup.status import Status

from tests.unit.test_backup import Host

ODD = 'it\'s \\ a "line\nbreak"\tand a tab'
ACCOUNTS = [(1, "shop", None, None), (2, "ada", 1, ODD), (3, "lin", 1, None)]
SERVICES = [(7, "ada-fm", 2), (8, "lin-tv", 3), (9, "ada-night", 2)]
PLAYLISTS = [(4, 7, "day"), (5, 8, "day")]

POSTGRESQL = """\
COPY public.django_session (a, b) FROM stdin;
x\ty
\\.

COPY public.panel_account (id, username, reseller_id, name) FROM stdin;
1\tshop\t\\N\t\\N
2\tada\t1\tit's \\\\ a "line\\nbreak"\\tand a tab
3\tlin\t1\t\\N
\\.

COPY public.panel_mediaservice (id, slug, customer_id) FROM stdin;
7\tada-fm\t2
8\tlin-tv\t3
9\tada-night\t2
\\.

COPY public.panel_playlist (id, media_service_id, name) FROM stdin;
4\t7\tday
5\t8\tday
\\.
"""
MARIADB = """\
CREATE TABLE `panel_account` (
  `id` bigint(20) NOT NULL AUTO_INCREMENT,
  `username` varchar(64) NOT NULL,
  `reseller_id` bigint(20) DEFAULT NULL,
  `name` varchar(200) DEFAULT 'x',
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;
INSERT INTO `panel_account` VALUES (1,'shop',NULL,NULL);
INSERT INTO `panel_account` VALUES (2,'ada',1,'it\\'s \\\\ a \\"line\\nbreak\\"\\tand a tab');
INSERT INTO `panel_account` VALUES (3,'lin',1,NULL);
CREATE TABLE `panel_mediaservice` (
  `id` bigint(20) NOT NULL,
  `slug` varchar(63) NOT NULL,
  `customer_id` bigint(20) NOT NULL
) ENGINE=InnoDB;
INSERT INTO `panel_mediaservice` VALUES (7,'ada-fm',2);
INSERT INTO `panel_mediaservice` VALUES (8,'lin-tv',3);
INSERT INTO `panel_mediaservice` VALUES (9,'ada-night',2);
CREATE TABLE `panel_playlist` (
  `id` bigint(20) NOT NULL,
  `media_service_id` bigint(20) NOT NULL,
  `name` varchar(63) NOT NULL
) ENGINE=InnoDB;
INSERT INTO `panel_playlist` VALUES (4,7,'day');
INSERT INTO `panel_playlist` VALUES (5,8,'day');
"""


def dump_of(kind: str, folder: Path) -> Path:
    path = folder / f"panel.{kind}"
    if kind != "sqlite":
        path.write_text({"postgresql": POSTGRESQL, "mariadb": MARIADB}[kind])
        return path
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE panel_account (id INTEGER, username TEXT, reseller_id INTEGER, name TEXT)")
    base.execute("CREATE TABLE panel_mediaservice (id INTEGER, slug TEXT, customer_id INTEGER)")
    base.execute("CREATE TABLE panel_playlist (id INTEGER, media_service_id INTEGER, name TEXT)")
    base.executemany("INSERT INTO panel_account VALUES (?, ?, ?, ?)", ACCOUNTS)
    base.executemany("INSERT INTO panel_mediaservice VALUES (?, ?, ?)", SERVICES)
    base.executemany("INSERT INTO panel_playlist VALUES (?, ?, ?)", PLAYLISTS)
    base.commit()
    base.close()
    return path


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_rows_of_one_customer_are_found_in_every_kind_of_dump(kind: str, tmp_path: Path) -> None:
    dump = dump_of(kind, tmp_path)
    found = rows.of_customer(dump, username="ada")
    assert [(str(row["id"]), row["name"]) for row in found["panel_account"]] == [("2", ODD), ("1", None)]
    assert [row["slug"] for row in found["panel_mediaservice"]] == ["ada-fm", "ada-night"]
    assert [str(row["id"]) for row in found["panel_playlist"]] == ["4"]
    found = rows.of_customer(dump, slug="lin-tv")
    assert [row["username"] for row in found["panel_account"]] == ["lin", "shop"]
    assert [row["slug"] for row in found["panel_mediaservice"]] == ["lin-tv"]
    assert rows.of_customer(dump, username="nobody")["panel_account"] == []


def test_a_row_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    dump = dump_of("mariadb", tmp_path)
    dump.write_text(dump.read_text().replace("(3,'lin',1", "(3,'lin"))
    with pytest.raises(BackupError, match="a row that cannot be read"):
        rows.of_customer(dump, username="ada")


class Node(Host):
    """A host with two customers' libraries and what a service of each has kept."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.other = self.media / "200002" / "song.mp3"
        self.other.parent.mkdir()
        self.other.write_bytes(b"other" * 1000)
        self.services = folder / "services"
        self.history = self.services / "ada-fm" / "history.jsonl"
        self.history.parent.mkdir(parents=True)
        self.history.write_text("old\n")
        parts = (*self.settings.parts, Part("icecast", (str(self.services),)))
        self.settings = dataclasses.replace(self.settings, parts=parts)

    def part(self, **request: Any) -> dict[str, Any]:
        asked = restore.Request(**request)
        return customer.paths(self.settings, Status(self.settings.run, "restore"), asked, self.restic)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_one_customers_files_come_back_beside_others_untouched(node: Node) -> None:
    node.backup()
    before = node.song.read_bytes()
    shutil.rmtree(node.media / "200001")
    node.other.write_text("changed since")
    node.secret.write_text("KEY='changed'\n")
    node.history.write_text("old\nand new\n")
    asked = {"only": (str(node.media / "200001"),), "missing": (str(node.services / "ada-fm"),)}
    shown = node.part(**asked)
    assert (shown["done"], shown["missing"], shown["different"], shown["kept"]) == (False, 4, 0, 1)
    assert not (node.media / "200001").exists()
    done = node.part(confirm=True, **asked)
    assert (done["compared"], done["equal"], done["warnings"]) == (6, 6, [])
    assert node.song.read_bytes() == before
    assert node.other.read_text() == "changed since"
    assert node.secret.read_text() == "KEY='changed'\n"
    assert node.history.read_text() == "old\nand new\n"
    assert node.units.asked == []
    assert not list(node.folder.rglob(settings.SCRATCH))
    assert not (node.settings.data / "restoring.json").exists()
    assert not (node.settings.data / "restored.json").exists()
    # A whole backup is made meanwhile and afterwards.
    node.backup()
    assert node.part(**asked)["missing"] == 0


def test_of_one_service_only_the_files_it_plays_come_back_with_the_folders_on_the_way(node: Node) -> None:
    second = node.song.with_name("second.mp3")
    second.write_text("second")
    node.backup()
    shutil.rmtree(node.media / "200001")
    done = node.part(confirm=True, only=(str(node.song),))
    assert (done["compared"], done["equal"]) == (3, 3)
    assert sorted(path.name for path in (node.media / "200001").rglob("*")) == ["rock", "song.mp3"]
    node.song.write_text("damaged")
    assert node.part(only=(str(node.song),))["conflicts"] == [str(node.song)]
    node.part(confirm=True, only=(str(node.song),))
    assert node.song.read_bytes() == b"music" * 1000


def test_paths_that_are_no_tenants_are_refused(node: Node) -> None:
    node.backup()
    for path in (node.secret, node.media, node.media / ".." / "etc", Path("/etc/shadow"), Path(f"{node.media}x")):
        with pytest.raises(BackupError, match="is in none of the folders"):
            node.part(confirm=True, only=(str(path),))


def test_a_link_beside_what_comes_back_leads_nowhere(node: Node) -> None:
    node.backup()
    outside = node.folder / "outside"
    outside.mkdir()
    shutil.rmtree(node.song.parent)
    node.song.parent.symlink_to(outside)
    done = node.part(confirm=True, only=(str(node.song),))
    assert (done["differing"], list(outside.iterdir())) == (1, [])
    assert "could not be put back" in done["warnings"][0]


def test_the_newest_backup_before_a_moment_is_chosen(node: Node) -> None:
    for _day in range(3):
        node.backup()
    for number, item in enumerate(node.restic.made):
        item["time"] = f"2026-01-0{1 + number // 2}T02:00:00.123Z"
    known = backup.complete(node.restic)
    assert restore.choose(known, "2026-01-02T12:00:00Z") == known[1]
    assert restore.choose(known, "2026-01-03T02:59:00+01:00") == known[1]
    for wrong in ("2025-01-01T00:00:00Z", "2026-13-01T00:00:00Z"):
        with pytest.raises(BackupError, match="restore_snapshot is"):
            restore.choose(known, wrong)


def test_the_panel_is_given_the_rows_and_the_keys_of_the_backup_and_nothing_of_others(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = dump_of("sqlite", tmp_path)
    node.secret.write_text(f"{customer.KEYS}='one,two'\n")
    env = tmp_path / "panel.env"
    env.write_text(f"{database.URL}='sqlite:///{base}'\n")
    chosen = settings.Database(env, node.secret, "root", tmp_path, ())
    node.settings = dataclasses.replace(node.settings, database=chosen)
    node.backup()
    node.secret.write_text(f"{customer.KEYS}='three'\n")
    given: list[Any] = []

    def manage(_panel: database.Panel, *arguments: str, stdin: str = "") -> str:
        given.append((arguments, json.loads(stdin)))
        result = [{"kind": "dj", "key": "ada-fm/x", "action": "unchanged", "changes": {}, "path": "djs[0]"}]
        return json.dumps(
            {"username": "ada", "uid": 2, "summary": {}, "files": {}, "changed": False, "results": result}
        )

    monkeypatch.setattr(database.Panel, "manage", manage)
    asked = restore.Request(username="ada", confirm=True)
    told = customer.panel(node.settings, Status(node.settings.run, "restore"), asked, node.restic)
    ((arguments, order),) = given
    assert arguments == ("restore_customer",)
    assert order["keys"] == ["one", "two"]
    assert not any(word in json.dumps(order) for word in ('"lin"', "lin-tv"))
    assert (told["done"], told["results"], told["username"]) == (True, [], "ada")
    shown = customer.panel(
        node.settings, Status(node.settings.run, "restore"), restore.Request(slug="ada-fm"), node.restic
    )
    assert given[1][0] == ("restore_customer", "--dry-run")
    assert shown["done"] is False
    node.settings = dataclasses.replace(node.settings, database=None)
    with pytest.raises(BackupError, match="this host has no panel"):
        customer.panel(node.settings, Status(node.settings.run, "restore"), asked, node.restic)


def test_an_order_of_a_part_is_read_and_what_is_none_is_refused() -> None:
    order = {"only": ["/a"], "missing": [], "username": "ada", "confirm": True}
    assert program._read_order(json.dumps(order)) == order
    for wrong in (
        {"only": "/a"},
        {"repository_password": 12345678},
        {"only": [1]},
        {"username": True},
        {"confirm": "yes"},
    ):
        with pytest.raises(BackupError, match="must be a JSON object"):
            program._read_order(json.dumps(wrong))
