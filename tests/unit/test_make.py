"""Every make target that publishes or plays sees to its encoders and players first: a fresh machine has none."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from demo import show
from demo.stage import DemoError
from tests.live.conftest import GROUPS

ROOT = Path(__file__).resolve().parents[2]


def _commands(target: str) -> str:
    plain = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/.stamp", target],
        cwd=ROOT, env=plain, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


PUBLISH_OR_PLAY = (
    *("unit-repository", "contract", "demo", "demo-test", "live", "molecule"),
    *("bench", "faults", "test-faults", "test"),
)


@pytest.mark.parametrize("target", PUBLISH_OR_PLAY)
def test_installs_encoders_and_players_first(target):
    commands = _commands(target)
    before = commands
    for run in (" -m demo", " tests/unit", " tests/contract", "-m live", "molecule test"):
        before = before.split(run)[0]
    assert "scripts/need.sh" in before
    assert "ffmpeg" in before


def test_what_ci_runs_has_a_sample_of_every_campaign_of_faults():
    assert re.search(r'STREAMFLEET_FAULT_ROUNDS=1 .*-m "live and not full" .*tests/faults', _commands("test"))
    campaigns = [path for path in (ROOT / "tests/faults").glob("test_*.py") if path.stem != "test_domain_change"]
    assert len(campaigns) >= 3
    whole = [path.name for path in campaigns if re.search(r"^pytestmark = .*full", path.read_text(), re.MULTILINE)]
    assert whole == []


def test_the_browser_tests_install_their_browser():
    assert "chromium" in _commands("browser").split("pytest")[0]


def test_the_demo_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DemoError, match=r"ffmpeg, curl.*apt-get install"):
        show.need_players()


def test_a_missing_program_that_cannot_be_installed_is_named(tmp_path):
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "scripts/need.sh"), "command -v no-such-program", "a-package"],
        env={"PATH": str(tmp_path)}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "a-package" in done.stderr


def test_the_long_matrix_runs_the_panel_on_every_database():
    commands = _commands("test-full")
    assert "for kind in postgresql mariadb" in commands
    assert "scripts/with_database.py $kind" in commands
    for scenario in ("postgresql", "mariadb"):
        assert f"molecule test -s {scenario}\n" in commands


def test_groups_of_live_tests_name_files_that_are_there_and_each_once():
    files = [f"test_{file}.py" for _group, *files in GROUPS for file in files]
    assert len(set(files)) == len(files)
    assert set(files) <= {path.name for path in (ROOT / "tests/live").glob("test_*.py")}
    assert "--dist loadscope --no-loadscope-reorder" in _commands("live")
