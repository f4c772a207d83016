"""What a host has of a panel. Changes nothing."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..node_apply.host import Host
from ..upgrade import databases, panel, places, steps
from ..upgrade.errors import UpgradeError
from . import marks
from .places import WAY, WORKER_KEY, TransferError

WORKER = "streamfleet-worker"
_ASK = (
    "import json; from streamfleet_panel.models import Account, MediaService, Node, ServiceTransfer, Installation; "
    "A = Account.Type.ADMINISTRATOR; i = Installation.objects.first(); print(json.dumps({"
    "'customers': Account.objects.exclude(account_type=A).count(), 'services': MediaService.objects.count(), "
    "'off_air': list(ServiceTransfer.objects.filter(state__in=['holding', 'returning']).values_list('pk', flat=True)), "
    "'installation': str(i.epoch) if i else '', "
    "'nodes': list(Node.objects.exclude(status='disabled').order_by('name').values("
    "'name', 'address', 'ssh_port', 'ssh_user', 'host_key'))}))"
)
_CONTENTS = "import json; from streamfleet_panel.moving import contents; print(json.dumps(contents()))"
NOTHING: dict[str, Any] = {"customers": 0, "services": 0, "nodes": [], "off_air": [], "installation": ""}


def look(host: Host, reach: bool) -> dict[str, Any]:
    """The mark, and the panel with its database. ``reach``: nodes that the worker's key opens are told. TransferError.

    ``stays``: why the database does not go along. ``own_server``: streamfleet_panel_database_install has made it.

    A panel that has gone from here is not asked: what it has is a copy of once.
    """
    mark = marks.read(host)
    found: dict[str, Any] = {
        "mark": mark,
        "held": marks.held(host),
        "installed": host.path(places.VENV).is_symlink() and host.path(places.PANEL_ENV).exists(),
        "database": "",
        "is_here": True,
        "stays": "",
        "own_server": mark.get("own_server", False),
        "database_mb": 0,
        "free_mb": shutil.disk_usage(host.path("/var/lib")).free // 2**20,
        **NOTHING,
        "reached": [],
        "at": time.time(),
    }
    if not found["installed"] or mark.get("state") in ("gone", "coming", "released"):
        return found
    try:
        database = databases.database_of(host)
        why = databases.stays(database)
        found |= {"database": database.kind, "is_here": not why, "stays": why}
        found["own_server"] = database == databases.OWN_SERVER
        # One that the role has made and no migration has filled has nothing.
        if database.kind == "sqlite" and not filled(host, database.file):
            return found
        found["database_mb"] = databases.size_mb(host, database)
        found |= asked(host)
    except UpgradeError as error:
        raise TransferError(str(error)) from None
    if reach:
        found["reached"] = reached(host, found["nodes"])
    return found


def asked(host: Host) -> dict[str, Any]:
    """What the panel's database says. Raises UpgradeError."""
    return dict(shell(host, _ASK))


def contents(host: Host) -> dict[str, list[Any]]:
    """Of every table the number of its rows, and the sum of their SHA-256. Raises UpgradeError."""
    return dict(shell(host, _CONTENTS))


def shell(host: Host, code: str) -> Any:
    """What Python says within the panel that is installed. Raises UpgradeError."""
    here = steps.installed(host)
    done = panel.command(host, ["shell", "--verbosity=0", "--command", code], here["release"], here["venv"], 1800.0)
    try:
        if done.code != 0:
            raise ValueError(done.last_words)
        return json.loads(done.out.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise UpgradeError(f"The panel's command line does not answer: {error}") from None


def reached(host: Host, nodes: list[dict[str, Any]]) -> list[str]:
    """Names of the nodes that let the worker in, with its own key, by the host keys that the panel knows."""
    folder = host.path(f"{WAY}-nodes")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    try:
        with ThreadPoolExecutor(8) as crew:
            answers = list(crew.map(lambda item: _answers(host, folder, *item), enumerate(nodes)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [node["name"] for node, good in zip(nodes, answers, strict=True) if good]


def _answers(host: Host, folder: Path, number: int, node: dict[str, Any]) -> bool:
    if not node["host_key"]:
        return False
    known = folder / str(number)
    known.write_text(f"node {node['host_key']}\n")
    known.chmod(0o644)
    drop = ["setpriv", f"--reuid={WORKER}", f"--regid={WORKER}", "--init-groups", "--no-new-privs", "--"]
    words = [
        *("ssh", "-F", "none", "-T", "-i", WORKER_KEY, "-p", str(node["ssh_port"]), "-o", "BatchMode=yes"),
        *("-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}"),
        *("-o", "HostKeyAlias=node", "-o", "ConnectTimeout=15", "-l", node["ssh_user"], "--", node["address"], "true"),
    ]
    return host.run([*(drop if host.own else []), *words], "", 40.0).code == 0


def filled(host: Host, path: str) -> bool:
    """Whether there is a database in SQLite's file."""
    file = host.path(path)
    return file.is_file() and file.stat().st_size > 0
