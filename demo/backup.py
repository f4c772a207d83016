"""The demo is backed up with everything on the air; a station's files and a customer's rows are lost, and come back."""

from __future__ import annotations

import json
from typing import Any

from demo.names import listening
from demo.report import Report
from demo.show import fetch_when_there, library, wait_until_running
from demo.stage import NODE, STREAM_HOST, Stage

REPOSITORY = "/srv/backup"
STATION = "ada-night"
#: Whose broadcaster is on the air, whatever becomes of files.
LIVE = {"a station that is live": "ada-fm"}
LIBRARIES = "/var/lib/streamfleet/media"
HASHES = f"cd {LIBRARIES} && find . -type f -exec sha256sum {{}} + | sort"


def run(stage: Stage, report: Report) -> None:
    """Everything, in order, on a demo that is up. Raises DemoError when it cannot go on."""
    report.step(f"Having the host backed up, to {REPOSITORY} (playbooks/install.yml, group backup)")
    play(stage, "install", "--tags", "backup")
    wait_until_running(stage.api())
    before = stage.on_node(["sh", "-c", HASHES])
    with listening(stage, report, LIVE, how="", through="backup, loss and restore"):
        report.step("Backing up with everything on the air (playbooks/backup.yml)")
        play(stage, "backup")
        made = told(stage)
        report.check(
            "The backup is written and holds",
            made["rows"] > 0 and not made["warnings"],
            f"{made['files']} files, {made['bytes'] // 1000} kB, {made['rows']} rows, snapshot {made['snapshot'][:8]}",
        )
        report.step(f"Losing the libraries, what {STATION} has kept, and a customer's e-mail address")
        stage.on_node(["sh", "-c", f"rm -rf {LIBRARIES}/*/* /var/lib/streamfleet/services/{STATION}"])
        changed = {"customers": [{"username": "ada", "email": "lost@radio.example"}]}
        stage.api().request("POST", "/apply", {"document": changed})
        report.step("Looking what a restore would do (playbooks/restore.yml)")
        play(stage, "restore")
        shown = told(stage)
        report.check(
            "What is missing is shown, and nothing is done",
            not shown["done"] and shown["missing"] > 0 and not stage.on_node(["sh", "-c", HASHES]),
            f"{shown['missing']} missing, database {shown['database']}, {len(shown['tables'])} tables differ",
        )
        report.step(f"Restoring (playbooks/restore.yml -e restore_confirm={NODE})")
        play(stage, "restore", "-e", f"restore_confirm={NODE}")
        done = told(stage)
        report.check(
            "Everything is back, compared with the manifest",
            done["done"] and done["equal"] == done["compared"] > 0,
            f"{done['equal']} of {done['compared']} equal",
        )
        after = stage.on_node(["sh", "-c", HASHES])
        report.check(
            "The libraries are what they were, byte for byte", after == before, f"{len(library(stage))} tracks"
        )
        email = stage.api().request("GET", "/customers/ada").data["email"]
        report.check("The customer's row is what it was", email == "ada@radio.example", email)
    wait_until_running(stage.api(), seconds=180)
    status, size = fetch_when_there(stage, f"https://{STREAM_HOST}/listen/{STATION}/stream")
    report.check("The station plays its files again", status == 200 and size > 10_000, f"{status}, {size} bytes")
    report.step("Restoring once more")
    play(stage, "restore", "-e", f"restore_confirm={NODE}")
    again = told(stage)
    report.check(
        "A second restore takes nothing back",
        (again["database"], again["missing"], again["differing"]) == ("restored", 0, 0),
        f"database {again['database']}, {again['missing']} missing, {again['kept']} kept as they have become",
    )


def play(stage: Stage, name: str, *arguments: str) -> None:
    """Run a playbook with the node in the group backup."""
    groups, variables = stage.state / "backup-groups.json", stage.state / "backup-variables.json"
    groups.write_text(json.dumps({"backup": {"hosts": {NODE: {}}}}))
    given: dict[str, Any] = {
        "streamfleet_backup_repository": REPOSITORY,
        "streamfleet_backup_password": "the-demo-has-no-secrets",
        "streamfleet_backup_delay_seconds": 0,
    }
    variables.write_text(json.dumps(stage.added | given))
    stage.playbook(f"playbooks/{name}.yml", "-i", str(groups), "-e", f"@{variables}", *arguments)


def told(stage: Stage) -> dict[str, Any]:
    """What the last job on the node has told at its end."""
    result: dict[str, Any] = json.loads(stage.on_node(["streamfleet-backup", "status"]))["result"]
    return result
