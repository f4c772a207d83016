"""A node that is backed up, as tests of backups use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demo.stage import NODE, Stage

#: A folder of the node itself; tests of servers have others.
REPOSITORY = "/srv/backup"


class Site:
    """A stage whose node is backed up."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        #: Variables of all its runs, such as where the repository is.
        self.more: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "groups.json").write_text(json.dumps({"backup": {"hosts": {NODE: {}}}}))

    def arguments(self, **more: Any) -> list[str]:
        """What every run is given beside the demo's inventory."""
        variables = {
            "streamfleet_demo_https_port": self.stage.ports.https,
            "streamfleet_node_port_range_end": self.stage.last_port,
            "streamfleet_backup_repository": REPOSITORY,
            "streamfleet_backup_password": "kept-where-the-host-is-not",
            "streamfleet_backup_delay_seconds": 0,
            **self.more,
            **more,
        }
        (self.folder / "variables.json").write_text(json.dumps(variables))
        return ["-i", str(self.folder / "groups.json"), "-e", f"@{self.folder / 'variables.json'}"]

    def play(self, name: str, *arguments: str, **more: Any) -> Any:
        """Totals of a run of a playbook."""
        return self.stage.playbook(f"playbooks/{name}.yml", *self.arguments(**more), *arguments)

    def refused(self, name: str, *arguments: str, **more: Any) -> str:
        """What a run that must fail says, in one line. How many hosts fail depends on who is asked for it."""
        log = self.stage.state / f"{name}.log"
        before = len(log.read_text()) if log.is_file() else 0
        totals = self.stage.playbook(f"playbooks/{name}.yml", *self.arguments(**more), *arguments, check=False)
        assert totals.failed > 0, log.read_text()[before:]
        return " ".join(log.read_text()[before:].split())

    def status(self) -> dict[str, Any]:
        """What the last job told."""
        found: dict[str, Any] = json.loads(self.stage.on_node(["streamfleet-backup", "status"]))
        return found

    def sh(self, script: str) -> str:
        return self.stage.on_node(["sh", "-c", script]).strip()

    def begin(self, job: str, order: dict[str, Any] | None = None) -> str:
        """Begin a job by hand; its id. ``order``: what is asked of a restore."""
        asked = ["--order"] if order is not None else []
        command = ["streamfleet-backup", "begin", job, *asked]
        begun: dict[str, str] = json.loads(self.stage.on_node(command, stdin=json.dumps(order) if asked else None))
        return begun["id"]

    def ended(self, job: str, identity: str) -> dict[str, Any]:
        """What a job told at its end."""
        told: dict[str, Any] = {"state": "running"}
        while told["state"] == "running":
            told = json.loads(self.stage.on_node(["streamfleet-backup", "wait", job, identity]))
        return told

    def job(self, job: str, order: dict[str, Any] | None = None) -> dict[str, Any]:
        """Begin a job by hand, and what it told at its end."""
        return self.ended(job, self.begin(job, order))


#: Sets back when a customer and what is his were deleted, and waits until the panel has forgotten them.
FORGET = """
import sqlite3, sys, time
base = sqlite3.connect('/var/lib/streamfleet/panel/panel.sqlite3', timeout=30)
(number,) = base.execute('SELECT id FROM panel_account WHERE username = ?', sys.argv[1:]).fetchone()
for table, column in (('account', 'id'), ('mediaservice', 'customer_id')):
    base.execute(f"UPDATE panel_{table} SET deleted_at = '2026-01-01 00:00:00' WHERE {column} = ?", [number])
base.commit()
for _ in range(120):
    if not base.execute('SELECT 1 FROM panel_account WHERE id = ?', [number]).fetchone():
        sys.exit()
    time.sleep(1)
sys.exit('the panel has not forgotten ' + sys.argv[1])
"""


def forget(site: Site, username: str) -> None:
    """Have the grace period of a deleted customer be over."""
    command = ["runuser", "-u", "streamfleet-panel", "--", "python3", "-c", FORGET, username]
    site.stage.on_node(command, timeout=180)
