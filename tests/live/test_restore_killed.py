"""A restore that is killed once the database is loaded: the job on the host, with a power failure, and the controller.

Tests playbooks: restore.yml self_check.yml install.yml.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from streamfleet.http import Client

from demo.show import credentials, try_to_publish, wait_until_running
from demo.stage import NODE, ROOT, DemoError, Stage
from tests.live.backups import Site
from tests.nodes.fleet import Fleet

pytestmark = [pytest.mark.live, pytest.mark.full]

RADIO, CHANNEL = "ada-fm", "lin-tv"
DOCUMENT: dict[str, Any] = {
    "customers": [
        {"username": "ada", "name": "Ada Radio", "email": "ada@radio.example"},
        {"username": "lin", "name": "Lin Television", "email": "lin@tv.example"},
    ],
    "media_services": [
        {"slug": RADIO, "name": "Ada FM", "customer": "ada", "engine": "icecast"},
        {"slug": CHANNEL, "name": "Lin TV", "customer": "lin", "engine": "nginx_rtmp"},
    ],
}
PANEL = ("streamfleet-panel.service", "streamfleet-panel-jobs.service", "streamfleet-worker.service")
DATA = "/var/lib/streamfleet-backup"
#: Until the database is loaded, and before the nodes are to take it for another one. What it looks for is not itself.
LOADED = "timeout 280 sh -c 'until pgrep -f \"[s]treamfleet-panel migrate\" >/dev/null; do sleep 0.02; done'"
KNOWN = """
import json, sqlite3
base = sqlite3.connect('file:/var/lib/streamfleet/panel/panel.sqlite3?mode=ro', uri=True)
print(json.dumps(base.execute('SELECT epoch, value FROM panel_installation, panel_counter').fetchone()))
"""


def known(site: Site) -> tuple[str, int]:
    """Which installation it is in the eyes of nodes, and what the next customer's uid is counted from."""
    epoch, counter = json.loads(site.stage.on_node(["python3", "-c", KNOWN]))
    return str(epoch), int(counter)


def states(site: Site) -> list[str]:
    return site.sh(f"systemctl is-active {' '.join(PANEL)} || true").split()


def gone_on(site: Site, api: Client, name: str) -> int:
    """The fleet goes on after its backup, with a customer more; his uid."""
    document = {"customers": [{"username": name, "name": name, "email": "late@radio.example"}]}
    api.request("POST", "/apply", {"document": document})
    return int(api.request("GET", f"/customers/{name}").data["uid"])


def works_as_before(site: Site, api: Client, key: str) -> None:
    """All nodes are converged, and who had a key connects with it."""
    wait_until_running(api, (RADIO, CHANNEL), 180)
    deadline = time.monotonic() + 180
    while (node := api.request("GET", f"/nodes/{NODE}").data)["observed_generation"] < node["generation"]:
        assert time.monotonic() < deadline, node
        time.sleep(1)
    assert credentials(api, CHANNEL)["stream_key"] == key
    assert try_to_publish(site.stage, key)
    assert not try_to_publish(site.stage, "x" + key[1:])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A node with the platform, services on the air, and a backup of them."""
    stage = Stage(f"killed{secrets.token_hex(3)}", tmp_path / "stage")
    it = Site(stage, tmp_path / "site")
    try:
        stage.start()
        it.play("install")
        stage.hand_over()
        stage.api().request("POST", "/apply", {"document": DOCUMENT})
        wait_until_running(stage.api(), (RADIO, CHANNEL), 180)
        it.play("backup")
        yield it
    finally:
        stage.remove()


def test_a_restore_that_is_killed_ends_as_a_new_installation(site: Site) -> None:
    stage, api = site.stage, site.stage.api()
    key = credentials(api, CHANNEL)["stream_key"]
    confirm = ("-e", f"restore_confirm={NODE}")
    seen = known(site)
    late = gone_on(site, api, "late")
    with ThreadPoolExecutor(1) as aside:
        kill = "systemctl kill -s KILL streamfleet-restore.service"
        killing = aside.submit(stage.on_node, ["sh", "-c", f"{LOADED} && {kill}"], None, 300)
        refused = site.refused("restore", *confirm)
        killing.result()
    assert "ended from outside" in refused
    assert "Run it again: it goes on" in refused
    # Loaded, and taken for the old one by every node.
    assert known(site) == seen
    assert "database" in json.loads(site.sh(f"cat {DATA}/restoring.json"))
    Fleet(stage.fleet).reboot(NODE, hard=True)
    the_panel_waits(site)

    site.play("restore", *confirm)
    done = site.status()["result"]
    assert (done["database"], done["differing"]) == ("other", 0), done
    epoch, counter = known(site)
    assert (epoch != seen[0], counter) == (True, seen[1] + 1000)
    assert states(site) == ["active"] * len(PANEL)
    assert site.sh(f"ls {DATA}").split().count("held") == 0
    works_as_before(site, api, key)
    # Whose files may lie there yet has left his uid to nobody.
    assert gone_on(site, api, "newer") > late + 900
    site.play("self_check")

    killed_controller(site, api, confirm)
    works_as_before(site, api, key)


def the_panel_waits(site: Site) -> None:
    """After the host's restart: it does not start, by nobody, and whoever looks is told why and what to do."""
    site.sh("timeout 120 systemctl is-system-running --wait >/dev/null || true")
    assert states(site) == ["inactive"] * len(PANEL)
    with pytest.raises(DemoError, match="Assertion failed on job for streamfleet-panel"):
        site.sh("systemctl start streamfleet-panel.service")
    assert "restore has begun on this host and has not ended" in site.sh("streamfleet status || true")
    shown = site.sh("systemctl status --no-pager streamfleet-panel.service || true")
    assert f"AssertPathExists=!{DATA}/held/streamfleet-panel.service" in shown
    told = site.refused("self_check", "-e", "self_check_fix=yes")
    assert "units.held: streamfleet-worker.service does not start, since a restore of this host has begun" in told
    assert "so they do not start: run restore.yml" in told
    assert "its panel does not start until it has ended" in site.refused("install", "--tags", "panel")
    assert states(site) == ["inactive"] * len(PANEL)
    # Services are not the panel's.
    assert site.sh(f"systemctl is-active streamfleet-icecast@{RADIO}.service") == "active"


def killed_controller(site: Site, api: Client, confirm: tuple[str, str]) -> None:
    """Whoever runs the playbook is killed: the host ends what it does, and the next run has the nodes converged."""
    assert site.job("backup")["state"] == "succeeded"
    seen = known(site)
    gone_on(site, api, "later")
    command = site.stage.command("playbooks/restore.yml", *site.arguments(), *confirm)
    log = site.folder / "killed.log"
    with (
        log.open("w") as record,
        subprocess.Popen(
            command, cwd=ROOT, env=site.stage.environment(), stdin=subprocess.DEVNULL, stdout=record,
            stderr=subprocess.STDOUT, start_new_session=True,
        ) as running,
    ):  # fmt: skip
        try:
            site.stage.on_node(["sh", "-c", LOADED], timeout=300)
            assert running.poll() is None, log.read_text()
        finally:
            os.killpg(running.pid, signal.SIGKILL)
    ended = 'until [ "$(systemctl is-active streamfleet-restore.service)" = inactive ]; do sleep 0.2; done'
    site.sh(f"timeout 100 sh -c {shlex.quote(ended)}")
    assert site.status()["state"] == "succeeded", site.status()
    epoch, counter = known(site)
    assert (epoch != seen[0], counter) == (True, seen[1] + 1000)
    site.play("restore", *confirm)
    assert site.status()["result"]["database"] == "restored"
    assert known(site) == (epoch, counter)
