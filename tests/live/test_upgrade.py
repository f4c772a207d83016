"""From release 0.1.0 to this tree, with streams on the air: a migration that fails, the upgrade, and again.

Tests playbooks: upgrade.yml. The steps by themselves are in tests/unit/test_upgrade_steps.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.errors import Busy

from demo.show import credentials, wait_until_running
from demo.stage import ROOT, Stage
from demo.upgrade import PROGRAMS, SLUGS, Air, FromTree, install_old, on_air

pytestmark = [pytest.mark.live, pytest.mark.full]

#: Of this tree, what an operator's checkout has.
TREE = (
    *("action_plugins", "doc_fragments", "filter_plugins", "inventories", "library", "module_utils", "playbooks"),
    *(
        "requirements",
        "roles",
        "scripts",
        "panel",
        "engines.yml",
        "ansible.cfg",
        "LICENSE",
        "pyproject.toml",
        "README.md",
    ),
)
BROKEN = '''"""A double of a migration that fails when the half of it is done, and cannot be taken back."""

from django.db import migrations


def fail(apps, schema_editor):
    raise RuntimeError("this migration is broken")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("panel", "{last}")]
    operations = [
        migrations.RunSQL("CREATE TABLE panel_half_done (id INTEGER PRIMARY KEY)"),
        migrations.RunSQL("UPDATE panel_account SET name = 'half done'"),
        migrations.RunPython(fail),
    ]
'''


MORE = '''"""A double of a further migration."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("panel", "{last}")]
    operations = [migrations.RunSQL("CREATE TABLE panel_more (id INTEGER PRIMARY KEY)")]
'''
#: Prints the tables that only the broken migration makes.
TABLES = """
import sqlite3
link = sqlite3.connect("/var/lib/streamfleet/panel/panel.sqlite3")
print(*(row[0] for row in link.execute("SELECT name FROM sqlite_master WHERE name = 'panel_half_done'")))
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FromTree]:
    """Release 0.1.0 on a node, installed from its own tree, with two customers."""
    state = Path(tmp_path_factory.mktemp("upgrade")) / "state"
    made = FromTree(f"upgrade{secrets.token_hex(3)}", state, last_port=9999)
    try:
        install_old(made)
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def air(stage: FromTree) -> Iterator[Air]:
    """Everybody on the air, from before the upgrade until after it."""
    with on_air(stage) as made:
        yield made


def objects(stage: Stage) -> dict[str, Any]:
    """All customers and services that the panel lists, by what people have declared of them."""
    found = {}
    for kind, key in (("customers", "username"), ("media-services", "slug")):
        items = stage.api().request("GET", f"/{kind}?limit=1000").data["items"]
        for item in items:
            names = (key, "name", "email", "customer", "engine", "port", "label", "created_at")
            found[item[key]] = {name: item.get(name) for name in names}
    return found


def version(stage: Stage) -> str:
    return str(stage.api().request("GET", "/health").data["version"])


def changed(output: str) -> int:
    """How many tasks of a run say that they changed something."""
    recap = output.partition("PLAY RECAP")[2]
    return sum(int(line.partition("changed=")[2].split()[0]) for line in recap.splitlines() if "changed=" in line)


def tree_in(folder: Path) -> Path:
    """A checkout of this tree, for a double of a release that is broken; what is built of both is kept in one place."""
    tree = folder / "tree"
    tree.mkdir()
    for name in TREE:
        place = ROOT / name
        skip = shutil.ignore_patterns("__pycache__", ".venv", "*.pyc", "tests")
        shutil.copytree(place, tree / name, ignore=skip) if place.is_dir() else shutil.copy(place, tree / name)
    (ROOT / ".cache").mkdir(exist_ok=True)
    (tree / ".cache").symlink_to(ROOT / ".cache")
    return tree


def test_a_migration_that_fails_leaves_all_as_it_was(stage: FromTree, air: Air, tmp_path: Path) -> None:
    before = objects(stage)
    tree = tree_in(tmp_path)
    migrations = tree / "panel/streamfleet_panel/migrations"
    last = sorted(path.stem for path in migrations.glob("0*.py"))[-1]
    (migrations / "9999_broken.py").write_text(BROKEN.replace("{last}", last))
    stage.tree = tree
    try:
        said = stage.upgrade(ok=False)
    finally:
        stage.tree = ROOT
    assert "panel.9999_broken" in said
    assert "this migration is broken" in said
    assert "Code, settings and database are as they were before; 0.1.0 answers again" in said
    assert version(stage) == "0.1.0"
    assert objects(stage) == before
    assert stage.on_node(["python3", "-c", TABLES]).split() == []
    # It can be worked with, and so can its nodes.
    stage.api().request("PUT", "/media-services/ada-fm", {"name": "Ada FM again"})
    wait_until_running(stage.api(), SLUGS)
    assert air.faults() == []


def test_a_probe_that_fails_leaves_all_as_it_was(stage: FromTree, air: Air, tmp_path: Path) -> None:
    before = objects(stage)
    tree = tree_in(tmp_path)
    # A double of a release whose stations take another password than the panel says.
    station = tree / "module_utils/streamfleet/icecast_station.py"
    right = 'mount.get("password_of", "source_password")'
    assert right in station.read_text()
    station.write_text(station.read_text().replace(right, 'mount.get("password_of", "admin_password")'))
    stage.tree = tree
    try:
        said = stage.upgrade(ok=False)
    finally:
        stage.tree = ROOT
    assert "Publish to it, and hear it: upgrade-probe-" in said
    assert "the encoder with the right credential is refused" in said
    assert "Code, settings and database are as they were before; 0.1.0 answers again" in said
    assert version(stage) == "0.1.0"
    assert objects(stage) == before
    # What the new release had brought to the node goes, too: the old worker has a newer document for it.
    api = stage.api()
    deadline = time.monotonic() + 60
    while (node := api.request("GET", "/nodes/demo1").data)["observed_generation"] < node["generation"]:
        assert time.monotonic() < deadline, node
        time.sleep(1)
    wait_until_running(api, SLUGS)
    secret = credentials(api, "ada-fm")["source_password"]
    config = stage.on_node(["cat", "/etc/streamfleet/instances/icecast/ada-fm/icecast.xml"])
    assert f"<password>{secret}</password>" in config
    assert air.faults() == []


def test_the_upgrade_is_told_beforehand_and_nobody_on_the_air_notices(stage: FromTree, air: Air) -> None:
    before = objects(stage)
    told = stage.upgrade("--check")
    assert version(stage) == "0.1.0"
    said = stage.upgrade()
    for plan in (told, said):
        assert "panel: 0.1.0 to 0.2.0-dev0" in plan
        assert "demo1: touches nobody: 2 services on the air" in plan
    assert "migrations of its sqlite database, which is saved before: " in said
    assert "panel.0004_limits_not_held" in said
    assert version(stage) == "0.2.0-dev0"
    assert objects(stage) == before
    assert stage.api().request("GET", "/media-services?search=upgrade-probe").data["items"] == []
    assert air.faults() == []
    stage.api().request("PUT", "/media-services/ada-fm", {"name": "Ada FM of a new time"})
    wait_until_running(stage.api(), SLUGS)
    assert air.faults() == []


def test_a_second_run_changes_nothing(stage: FromTree, air: Air) -> None:
    said = stage.upgrade()
    assert changed(said) == 0, said[-6000:]
    assert "of this very release; nothing to do" in said
    assert air.faults() == []


def test_a_run_that_was_killed_is_undone_by_the_next(stage: FromTree, air: Air) -> None:
    before = objects(stage)
    root = "/opt/streamfleet"
    paths = {name: f"{root}/{name}s/9.9.9-0123456789abcdef" for name in ("release", "venv")}
    values = json.dumps({"step": "begin", "run": "killed", "by": "a test", **paths})
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    command = [
        *(
            str(PROGRAMS / "ansible"),
            "demo1",
            "-i",
            str(ROOT / f".nodes/{stage.fleet}/inventory.yml"),
        ),
        *("--become", "-m", "streamfleet_panel_upgrade", "-a", values),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.raises(Busy, match=r"is being upgraded from 0\.2\.0-dev0 to 9\.9\.9"):
        once(stage)
    assert objects(stage) == before
    said = stage.upgrade(ok=False)
    assert "Another upgrade is under way on demo1: 0.2.0-dev0 to 9.9.9, begun by a test at" in said
    assert "An upgrade is under way on demo1, or was killed" in stage.run("install.yml", ok=False)
    said = stage.upgrade("-e", "upgrade_take_over=yes")
    assert "An upgrade that was killed was undone" in said
    assert objects(stage) == before
    stage.api().request("PUT", "/customers/ada", {"name": "Ada"})
    units = ["streamfleet-panel", "streamfleet-panel-jobs", "streamfleet-worker"]
    assert stage.on_node(["systemctl", "is-active", *units]).split() == ["active"] * 3
    assert air.faults() == []


def once(stage: Stage) -> None:
    """One write, whose refusals are not waited for."""
    client = stage.api()
    client._sleep = lambda _seconds: None
    with contextlib.closing(client):
        client.request("PUT", "/customers/ada", {"name": "Lost"})


class Reader(threading.Thread):
    """Asks the panel again and again, until it is stopped; ``refused`` has what was no answer."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self._stage, self._ended = stage, threading.Event()
        self.answers, self.refused = 0, list[str]()

    def run(self) -> None:
        """Read, ten times a second; a try that fails is not repeated."""
        known = self._stage.variables()
        context = ssl.create_default_context(cafile=str(self._stage.ca))
        url = f"{known['STREAMFLEET_URL']}/api/v1/media-services/ada-fm"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {known['STREAMFLEET_TOKEN']}"})
        while not self._ended.wait(0.1):
            try:
                with urllib.request.urlopen(request, context=context, timeout=20) as answer:
                    self.answers += json.load(answer)["slug"] == "ada-fm"
            except OSError as error:
                self.refused.append(str(error))

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join(30)


def test_from_a_release_that_can_be_read_only_it_is_read_all_the_time(
    stage: FromTree, air: Air, tmp_path: Path
) -> None:
    before = objects(stage)
    tree = tree_in(tmp_path)
    migrations = tree / "panel/streamfleet_panel/migrations"
    last = sorted(path.stem for path in migrations.glob("0*.py"))[-1]
    (migrations / "9998_more.py").write_text(MORE.replace("{last}", last))
    stage.tree = tree
    reader = Reader(stage)
    reader.start()
    try:
        said = stage.upgrade()
    finally:
        stage.tree = ROOT
        reader.stop()
    assert "panel: 0.2.0-dev0, of another state of it" in said
    assert "panel: 1 migrations of its sqlite database, which is saved before: panel.9998_more" in said
    assert "panel: can be read and takes no changes" in said
    assert (reader.refused, reader.answers > 100) == ([], True), reader.refused
    assert objects(stage) == before
    assert air.faults() == []
    # It has had a migration that this tree does not know.
    assert "has had migrations that this release does not know (panel.9998_more)" in stage.upgrade(ok=False)
