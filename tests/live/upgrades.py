"""What tests of upgrades have in common: trees that are releases of their own, and what a node says of itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.stage import NODE, ROOT, Stage
from demo.upgrade import FromTree, install
from tests.live import processes

#: Seconds after which a run is taken for one that hangs: on a machine with other things to do one takes ten minutes.
PATIENCE = 1800.0

#: Of this tree, what an operator's checkout has.
TREE = (
    *("action_plugins", "doc_fragments", "filter_plugins", "inventories", "library", "module_utils", "playbooks"),
    *("requirements", "roles", "scripts", "panel", "engines.yml", "ansible.cfg", "LICENSE", "pyproject.toml"),
    "README.md",
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
    operations = [migrations.RunSQL("CREATE TABLE {table} (id INTEGER PRIMARY KEY)")]
'''
#: Of roles whose units are restarted for a new program, or reloaded for a new setting.
PROGRAMS_OF_UNITS = (
    "roles/sessions/files/streamfleet_sessions/__init__.py",
    "roles/file_transfer/files/quota.py",
    "roles/file_transfer/templates/streamfleet-file-transfer.service.j2",
)
#: What upgrades give to the stations and customers of their own.
PROBE = "upgrade.yml:probe"
_PLAN = re.compile(rf"{NODE}: ((?:enable, )?(?:start|restart while idle|restart|reload)) (\S+\.\w+)")
#: Units of the panel, which the plan has a line of its own for.
_OF_PANEL = re.compile(r"streamfleet-(panel|panel-jobs|worker)\.service")


@contextlib.contextmanager
def on_node(folder: Path) -> Iterator[FromTree]:
    """A node that customers can bring media to, with nothing on it; gone at the end.

    ``STREAMFLEET_LIVE_RELEASE`` chooses Debian's release. ``STREAMFLEET_LIVE_FLEET`` names a fleet to keep and use
    again, for the inner loop: ``installed`` leaves it as it is.
    """
    kept = os.environ.get("STREAMFLEET_LIVE_FLEET")
    state = ROOT / ".cache" / f"live-{kept}" if kept else folder / "state"
    made = FromTree(kept or f"upgrade{secrets.token_hex(3)}", state, last_port=9999)
    made.release = os.environ.get("STREAMFLEET_LIVE_RELEASE", "")
    groups = state / "groups.json"
    groups.write_text(json.dumps({"file_transfer": {"hosts": {NODE: {}}}}))
    made.more = ("-i", str(groups))
    try:
        yield made
    finally:
        if not kept:
            made.remove()


def installed(stage: FromTree) -> None:
    """Have this tree on the node, which runs, with the two customers."""
    stage.start()
    if not stage.variables():
        install(stage)


def tree_in(folder: Path) -> Path:
    """A checkout of this tree, for a double of another release; what is built of both is kept in one place."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    for name in TREE:
        place = ROOT / name
        skip = shutil.ignore_patterns("__pycache__", ".venv", "*.pyc", "tests")
        shutil.copytree(place, tree / name, ignore=skip) if place.is_dir() else shutil.copy(place, tree / name)
    (ROOT / ".cache").mkdir(exist_ok=True)
    (tree / ".cache").symlink_to(ROOT / ".cache")
    return tree


def add_migration(tree: Path, name: str, text: str) -> None:
    """Write a migration into a tree, behind all that it has; ``text`` has {last} and may have {table}, ``panel_more``
    with the number of ``name``."""
    folder = tree / "panel/streamfleet_panel/migrations"
    last = sorted(path.stem for path in folder.glob("[0-9]*.py"))[-1]
    written = text.replace("{last}", last).replace("{table}", f"panel_more_{name.partition('_')[0]}")
    (folder / f"{name}.py").write_text(written)


def later(folder: Path) -> Path:
    """A double of a later release, which has another migration and other programs."""
    tree = tree_in(folder)
    add_migration(tree, "9998_more", MORE)
    for program in PROGRAMS_OF_UNITS:
        (tree / program).write_text((tree / program).read_text() + "# A double of another release.\n")
    return tree


def objects(stage: Stage) -> dict[str, Any]:
    """All customers and services that the panel lists, by what people have declared of them."""
    found = {}
    for kind, key in (("customers", "username"), ("media-services", "slug")):
        items = stage.api().request("GET", f"/{kind}?limit=1000").data["items"]
        for item in items:
            names = (key, "name", "email", "customer", "engine", "port", "label", "created_at")
            found[item[key]] = {name: item.get(name) for name in names}
    return found


def tables(stage: Stage) -> list[str]:
    """Tables of the panel's database that doubles of migrations have made, of whatever kind it is."""
    code = (
        "from django.db import connection as c; "
        "print(*sorted(n for n in c.introspection.table_names() if n.startswith(('panel_more', 'panel_half'))))"
    )
    return stage.on_node(["streamfleet-panel", "shell", "--verbosity=0", "--command", code]).split()


def version(stage: Stage) -> str:
    return str(stage.api().request("GET", "/health").data["version"])


def changed(output: str) -> int:
    """How many tasks of a run say that they changed something."""
    recap = output.partition("PLAY RECAP")[2]
    return sum(int(line.partition("changed=")[2].split()[0]) for line in recap.splitlines() if "changed=" in line)


def foretold(said: str) -> dict[str, set[str]]:
    """By verb, the units of the node that the plan in a run's output names."""
    found: dict[str, set[str]] = {"start": set(), "restart": set(), "reload": set()}
    for verbs, unit in _PLAN.findall(said):
        found[verbs.removeprefix("enable, ").split()[0]].add(unit)
    return found


def done(stage: Stage, since: int) -> dict[str, set[str]]:
    """By verb, the units of the node that systemd has started, restarted and reloaded; not the panel's and tenants'.

    ``since``: seconds of the node's clock.
    """
    found: dict[str, set[str]] = {"start": set(), "restart": set(), "reload": set()}
    journal = ["journalctl", "--no-pager", "--output=json", f"--since=@{since}", "JOB_RESULT=done"]
    for line in stage.on_node(journal).splitlines():
        entry = json.loads(line)
        unit, verb = entry.get("UNIT", ""), entry.get("JOB_TYPE", "")
        if verb in found and "@" not in unit and not _OF_PANEL.fullmatch(unit):
            found[verb].add(unit)
    return found


def left_of_probes(stage: Stage) -> list[str]:
    """Customers and services of upgrades' own that are there."""
    api = stage.api()
    customers = api.request("GET", f"/customers?label={PROBE}").data["items"]
    services = api.request("GET", f"/media-services?label={PROBE}").data["items"]
    return [*(item["username"] for item in customers), *(item["slug"] for item in services)]


def held(stage: Stage) -> str:
    """What is not as it is while no upgrade is under way, in words; empty where all is well."""
    look = (
        "cd /var/lib/streamfleet/upgrade && ls journal.json maintenance.json draining-* */reserve 2>/dev/null; "
        "systemctl is-active streamfleet-panel streamfleet-panel-jobs streamfleet-worker | grep -v '^active$'; true"
    )
    return stage.on_node(["sh", "-c", look]).strip()


class Run:
    """A run of Ansible that is looked at while it goes on. ``tasks`` are those that it has begun."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.tasks: list[str] = []
        self.said = ""
        self._still: list[int] = []
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._begun = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._begun:
                self.said += line
                if line.startswith("TASK ["):
                    self.tasks.append(line.removeprefix("TASK [").partition("]")[0])
                    self._begun.notify_all()
        with self._begun:
            self._begun.notify_all()

    def wait_for(self, reached: Callable[[list[str]], bool], seconds: float = PATIENCE) -> bool:
        """Whether the run has come so far; False where it has ended before."""
        with self._begun:
            self._begun.wait_for(lambda: reached(self.tasks) or not self._reader.is_alive(), seconds)
            return reached(self.tasks)

    def kill(self) -> None:
        """SIGKILL to all processes of the run on the controller; nothing where it has ended."""
        if self._process.poll() is None:
            processes.kill(self._process.pid)
        self._process.wait(30)
        self._reader.join(30)

    def hold(self) -> None:
        """Let it stand still, until ``go_on``."""
        self._still = processes.stop(self._process.pid)

    def go_on(self) -> None:
        """After ``hold``."""
        processes.go_on(self._still)

    def end(self, seconds: float = PATIENCE) -> int:
        """Wait for its end."""
        code = self._process.wait(seconds)
        self._reader.join(30)
        return code


def upgrading(stage: FromTree, *arguments: str) -> Run:
    """upgrade.yml of the stage's tree, begun."""
    return Run(stage.ansible("upgrade.yml", *arguments), stage.tree, stage.surroundings())


def playbook(inventories: Sequence[Path], name: str, *arguments: str) -> Run:
    """Begin a run of a playbook, with what the fleet's and the test's own inventory say."""
    command = [str(Path(sys.executable).parent / "ansible-playbook")]
    command += [word for inventory in inventories for word in ("-i", str(inventory))]
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return Run([*command, f"playbooks/{name}.yml", *arguments], ROOT, environment)
