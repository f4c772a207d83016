"""The command ``streamfleet`` on the panel's host of an installed node, and a lost administrator's password.

Tests playbooks: reset_admin_password.yml.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.stage import DemoError, Stage, private
from tests.live.test_platform import account, apply, running, station

pytestmark = pytest.mark.live

PASSWORD_FILE = "/etc/streamfleet/panel/admin_password"
PANEL = ["streamfleet-panel.service", "streamfleet-panel-jobs.service", "streamfleet-worker.service", "nginx.service"]


def shell(platform: Stage, script: str) -> tuple[int, str]:
    """Exit code and output of a script on the node, as root."""
    told = platform.on_node(["sh", "-c", f'{{ {script}\n}} 2>&1; echo "code=$?"'])
    text, _, code = told.rpartition("code=")
    return int(code), text


def processes(platform: Stage, *units: str) -> dict[str, str]:
    """Unit → its main process: another one after a restart."""
    told = platform.on_node(["systemctl", "show", "--property=Id,MainPID", *units])
    pairs = (dict(line.split("=", 1) for line in block.splitlines()) for block in told.strip().split("\n\n"))
    return {pair["Id"]: pair["MainPID"] for pair in pairs}


@pytest.fixture
def slug(platform: Stage) -> Iterator[str]:
    """A station that is on the air."""
    name = f"t{secrets.token_hex(4)}"
    apply(platform, {"customers": [account(name)], "media_services": [station(name, f"{name}-fm")]})
    running(platform, f"{name}-fm")
    yield f"{name}-fm"
    apply(platform, {"customers": [{"username": name, "state": "absent"}]})


def status(platform: Stage) -> tuple[int, Any]:
    code, text = shell(platform, "streamfleet status --json")
    return code, json.loads(text)


def well(platform: Stage, seconds: float = 60) -> Any:
    """What status tells, once all is well: a change of before may still be on its way."""
    deadline = time.monotonic() + seconds
    while True:
        code, found = status(platform)
        if code == 0 or time.monotonic() > deadline:
            assert (code, found["problems"]) == (0, [])
            return found
        time.sleep(1)


@pytest.mark.full
def test_status_is_well_and_names_what_is_not(platform: Stage, slug: str) -> None:
    found = well(platform)
    assert {unit["name"] for unit in found["units"]} >= set(PANEL)
    assert found["fleet"]["services"]["running"] >= 1
    assert [node["name"] for node in found["fleet"]["nodes"]] == ["demo1"]
    assert len(found["certificates"]) >= 2
    assert re.fullmatch(r"[0-9][^/]*-[0-9a-f]+", found["version"])
    assert shell(platform, "streamfleet version") == (0, found["version"] + "\n")
    shell(platform, "systemctl stop streamfleet-worker.service")
    try:
        code, text = shell(platform, "streamfleet status")
        assert code == 1
        assert "streamfleet-worker.service is inactive: systemctl start streamfleet-worker.service" in text
    finally:
        assert shell(platform, "streamfleet start worker")[0] == 0
    well(platform)
    assert shell(platform, "setpriv --reuid=nobody --clear-groups streamfleet status")[0] == 77


@pytest.mark.full
def test_restarts_leave_alone_who_is_on_the_air(platform: Stage, slug: str) -> None:
    instance = f"streamfleet-icecast@{slug}.service"
    before = processes(platform, *PANEL, instance)
    code, text = shell(platform, "streamfleet stop </dev/null")
    assert code == 2
    assert "on the air here" in text
    assert processes(platform, *PANEL, instance) == before
    assert shell(platform, "streamfleet restart")[0] == 0
    after = processes(platform, *PANEL, instance)
    assert after[instance] == before[instance]
    assert after["nginx.service"] == before["nginx.service"], "taken over by new workers of the same process"
    assert all(after[unit] not in (before[unit], "0") for unit in PANEL[:3])
    code, text = shell(platform, f"streamfleet logs {slug} -n 5")
    assert code == 0
    assert f"icecast-{slug}" in text
    well(platform)


@pytest.mark.full
def test_engines_are_stopped_and_started_when_that_is_asked_for(platform: Stage, slug: str) -> None:
    units = [f"streamfleet-icecast@{slug}.service", "streamfleet-rtmp.service", "streamfleet-worker.service"]
    before = processes(platform, "streamfleet-panel.service", *units)
    assert shell(platform, "streamfleet stop worker --engines --yes") == (0, "")
    assert [processes(platform, unit)[unit] for unit in units] == ["0", "0", "0"]
    assert shell(platform, "streamfleet start worker --engines") == (0, "")
    after = processes(platform, "streamfleet-panel.service", *units)
    assert all(after[unit] not in ("0", before[unit]) for unit in units)
    assert after["streamfleet-panel.service"] == before["streamfleet-panel.service"]
    well(platform)


def test_a_generated_password_takes_the_place_of_the_lost_one(platform: Stage) -> None:
    playbook, before, was = (
        "playbooks/reset_admin_password.yml",
        platform.on_node(["cat", PASSWORD_FILE]),
        hash_of(platform),
    )
    assert platform.playbook(playbook, "--check").changed == 1
    assert (hash_of(platform), platform.on_node(["cat", PASSWORD_FILE])) == (was, before)
    assert platform.playbook(playbook).changed == 1
    password = platform.on_node(["cat", PASSWORD_FILE])
    assert password != before
    assert hash_of(platform) != was
    assert platform.on_node(["stat", "-c", "%a %U", PASSWORD_FILE]).split() == ["600", "root"]
    # What install.yml and the demo show from now on; that it is the account's own is what a given one says of it.
    platform.hand_over()
    given = platform.state / "given.json"
    private(given, json.dumps({"reset_admin_password": password.strip()}))
    assert platform.playbook(playbook, "-e", f"@{given}").changed == 0, "the account has it already"
    assert password.strip() not in (platform.state / "reset_admin_password.log").read_text()
    with pytest.raises(DemoError, match="there is no account 'nobody-here'"):
        platform.playbook(playbook, "-e", "reset_admin_username=nobody-here")


def hash_of(platform: Stage) -> str:
    """The stored hash."""
    text = "from streamfleet_panel.models import Account; print(Account.objects.get(username='admin').password)"
    return platform.on_node(["streamfleet-panel", "shell", "--verbosity", "0", "--command", text]).strip()
