"""Job templates of hosts, run as AWX runs them, on real nodes; those that only talk to the panel are in tests/contract.

Tests playbooks: upgrade.yml site.yml install.yml self_check.yml certificates.yml converge.yml media_folder.yml
uninstall.yml hardening.yml reset_admin_password.yml domain_change.yml move_media.yml
database_move.yml transfer.yml backup.yml restore.yml restore_customer.yml.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.stage import NODE, PANEL_HOST, Stage
from tests.live.jobs import StageJobs, succeeded
from tests.live.renames import NEW, NEW_PANEL, NEW_STREAM, OLD
from tests.live.visitors import ask

pytestmark = pytest.mark.live


@pytest.mark.full
def test_hosts_are_checked_and_converged_by_jobs(platform: Stage, tmp_path: Path) -> None:
    jobs = StageJobs(platform, tmp_path)
    succeeded(jobs.launch("self-check"))
    assert "changed" in succeeded(jobs.launch("converge", "check")).results["Apply what the panel says"]
    succeeded(jobs.launch("converge"))


@pytest.mark.full
def test_certificates_and_media_by_jobs(platform: Stage, tmp_path: Path) -> None:
    jobs = StageJobs(platform, tmp_path)
    succeeded(jobs.launch("certificates"))
    refused = jobs.launch("certificates", certificates_renew="other.example.net")
    assert refused.code != 0
    assert "name other.example.net, which no host of this run has" in refused.told
    refused = jobs.launch("domain change", domain_change_from=PANEL_HOST, domain_change_to=PANEL_HOST)
    assert refused.code != 0
    assert "is what domain_change_from says, too" in refused.told
    refused = jobs.launch("move media", move_media_to="/run/media/new")
    assert refused.code != 0
    assert "/run is not for data" in refused.told
    refused = jobs.launch("transfer", transfer_service="no-such-fm", transfer_to=NODE)
    assert refused.code != 0
    assert "there is no such service" in refused.told
    succeeded(jobs.launch("database move", job_type="check"))
    name = f"t{secrets.token_hex(4)}"
    service: dict[str, Any] = {"slug": f"{name}-fm", "customer": name, "engine": "icecast", "autodj": {}}
    document = {"customers": [{"username": name}], "media_services": [service]}
    platform.api().request("POST", "/apply", {"document": document})
    succeeded(jobs.launch("converge"))
    music = tmp_path / "music"
    music.mkdir()
    (music / "a.mp3").write_bytes(b"not looked into")
    brought = succeeded(jobs.launch("media folder", media_folder_customer=name, media_folder_src=str(music)))
    assert brought.results["Bring what differs"]["sent"] == ["a.mp3"]
    moved = succeeded(jobs.launch("move media", move_media_to="/srv/by-a-job"))
    assert "streamfleet_common_media_path: /srv/by-a-job" in moved.output
    succeeded(jobs.launch("move media", move_media_undo="yes"))
    platform.api().request("POST", "/apply", {"document": {"customers": [{"username": name, "state": "absent"}]}})


def hardened_backed_up_and_renamed(stage: Stage, directory: Path) -> None:
    """What needs more of the inventory, or other names, is done by jobs, too."""
    stage.known_as(NEW_PANEL, NEW_STREAM)
    stage.hand_over()
    ada = {"username": "ada", "name": "Ada", "email": "ada@live.example"}
    stage.api().request("POST", "/apply", {"document": {"customers": [ada]}})
    groups = {"backup": {"hosts": {NODE: {}}}, "hardening": {"hosts": {NODE: {}}}}
    variables = {
        "streamfleet_hardening": ["firewall"],
        "streamfleet_backup_repository": "/srv/backup",
        "streamfleet_backup_password": "kept-where-the-host-is-not",
    }
    more = directory / "more.yml"
    more.write_text(yaml.safe_dump({"all": {"vars": variables, "children": groups}}))
    jobs = StageJobs(stage, directory, str(more))
    loaded = "Let in what the host is for, and nothing else"
    assert succeeded(jobs.launch("hardening")).results[loaded]["changed"]
    succeeded(jobs.launch("install"))
    succeeded(jobs.launch("backup"))
    succeeded(jobs.launch("restore", restore_confirm=NODE))
    succeeded(jobs.launch("restore customer", restore_customer_username="ada"))
    succeeded(jobs.launch("domain change", domain_change_from=OLD, domain_change_to=NEW))
    assert ask(stage, NEW_PANEL, "/login/")[0] == 200
    succeeded(jobs.launch("domain change", domain_change_from=NEW, domain_change_to=OLD))
    assert ask(stage, PANEL_HOST, "/login/")[0] == 200
    assert not succeeded(jobs.launch("hardening")).results[loaded]["changed"]


@pytest.mark.full
def test_a_host_from_its_installation_to_its_end_by_jobs(tmp_path: Path) -> None:
    stage = Stage(f"awx{secrets.token_hex(3)}", tmp_path / "stage")
    stage.start()
    try:
        jobs = StageJobs(stage, tmp_path)
        succeeded(jobs.launch("install", "check"))
        succeeded(jobs.launch("site"))
        assert "changed=0" in succeeded(jobs.launch("install")).output
        assert "of this very release; nothing to do" in succeeded(jobs.launch("upgrade")).output
        units = ["find", "/etc/systemd/system", "-name", "*streamfleet*"]
        assert "streamfleet-panel.service" in stage.on_node(units)
        refused = jobs.launch("hardening", hardening_remove="roof")
        assert refused.code != 0
        assert "streamfleet_hardening and hardening_remove name roof. Use firewall, fail2ban, updates" in refused.told
        lost = stage.on_node(["cat", "/etc/streamfleet/panel/admin_password"])
        # The result of the task that sets it is hidden whole.
        assert "changed=1" in succeeded(jobs.launch("administrator password")).output
        assert stage.on_node(["cat", "/etc/streamfleet/panel/admin_password"]) != lost
        for refused in (jobs.launch("backup"), jobs.launch("restore", restore_confirm=NODE)):
            assert refused.code != 0
            assert "No host of this run is in the group backup" in refused.told
        refused = jobs.launch("restore rehearsal")
        assert refused.code != 0
        assert "No host is in the group backup" in refused.told
        refused = jobs.launch("restore customer", restore_customer_username="ada")
        assert refused.code != 0
        assert "and in this run: its backup holds the customers" in refused.told
        hardened_backed_up_and_renamed(stage, tmp_path)
        refused = jobs.launch("uninstall", streamfleet_uninstall_confirm="another")
        assert refused.code != 0
        assert f"-e streamfleet_uninstall_confirm={NODE}" in refused.told
        succeeded(jobs.launch("uninstall", streamfleet_uninstall_confirm=NODE))
        assert stage.on_node(units) == ""
    finally:
        stage.remove()
