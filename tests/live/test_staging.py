"""The pipeline of examples/ci, command by command.

Tests playbooks: site.yml verify_engine.yml.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys

import pytest
import yaml

from demo.stage import ROOT

pytestmark = [pytest.mark.live, pytest.mark.full]


def test_a_fleet_is_made_installed_verified_and_removed() -> None:
    (job,) = yaml.safe_load((ROOT / "examples/ci/github.yml").read_text())["jobs"].values()
    commands = [step["run"] for step in job["steps"] if step.get("run", "").startswith("scripts/staging.sh ")]
    *steps, last = commands
    fleet = f"staging{secrets.token_hex(3)}"
    environment = {**os.environ, "STREAMFLEET_STAGING_FLEET": fleet}

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.split(), cwd=ROOT, env=environment, text=True, capture_output=True, check=False, timeout=1500
        )

    said = {}
    try:
        for command in steps:
            done = run(command)
            assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
            said[command] = done.stdout
    finally:
        removed = run(last)
    assert removed.returncode == 0, removed.stderr
    verified = said["scripts/staging.sh verify"]
    # Told as they come, and again in the table of the task's result.
    engines = re.findall(r"^ok    neighbour not interrupted", verified, re.MULTILINE)
    assert len(engines) == 2, verified
    assert "FAIL" not in verified
    fleets = subprocess.run(
        [sys.executable, "-m", "tests.nodes", "list", "--json"], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert fleet not in [entry["fleet"] for entry in json.loads(fleets.stdout)]
