"""`make demo` as a newcomer runs it, and its removal, which leaves nothing; in full a second one finds everything done.

Tests playbooks: install.yml apply.yml converge.yml domain_change.yml backup.yml restore.yml upgrade.yml.
"""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest

from demo.stage import ROOT

pytestmark = pytest.mark.live


def demo(what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", what]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, timeout=1200)


def left_behind() -> list[str]:
    """Containers, networks and processes of the demo's fleet."""
    containers = _lines("podman", "ps", "-a", "--format", "{{.Names}}")
    networks = _lines("podman", "network", "ls", "--format", "{{.Name}}")
    processes = _lines("ps", "-eo", "args")
    return [
        *(name for name in containers + networks if name.startswith("streamfleet-demo")),
        *(line for line in processes if "--fleet demo " in line or "stream.demo.localhost" in line),
    ]


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.full)])
def test_the_demo_runs_and_leaves_nothing(times: int) -> None:
    if (ROOT / ".demo").exists():
        demo("clean")
    try:
        for _ in range(times):
            done = demo("up")
            report = json.loads((ROOT / ".demo/report.json").read_text())
            bad = [entry for entry in report["checks"] if not entry["ok"]]
            assert done.returncode == 0, f"{bad}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
            assert not bad
            assert len(report["checks"]) >= 18
            for name in ("env", "admin_password", "document.yml"):
                assert stat.S_IMODE((ROOT / ".demo" / name).stat().st_mode) == 0o600, name
            password = (ROOT / ".demo/admin_password").read_text().strip()
            assert password
            assert password not in done.stdout
    finally:
        cleaned = demo("clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert left_behind() == []
    assert not (ROOT / ".demo").exists()


@pytest.mark.full
@pytest.mark.parametrize(("what", "least"), [("domain", 10), ("backup", 8), ("upgrade", 3)])
def test_a_job_is_done_with_everything_on_the_air(what: str, least: int) -> None:
    if (ROOT / ".demo").exists():
        demo("clean")
    try:
        done = demo(what)
        report = json.loads((ROOT / f".demo/{what}-report.json").read_text())
        bad = [entry for entry in report["checks"] if not entry["ok"]]
        assert done.returncode == 0, f"{bad}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
        assert not bad
        assert len(report["checks"]) >= least
    finally:
        demo("clean")
    assert left_behind() == []
