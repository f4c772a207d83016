"""The alert rules that are shipped: each is raised by what it is for and by nothing else.

promtool comes by ``scripts/promtool.sh`` (``make unit`` sees to it).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from streamfleet_watch.figures import FAMILIES as OF_HOSTS

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "monitoring" / "streamfleet.rules.yml"
CASES = sorted((ROOT / "monitoring").glob("*.test.yml"))
FAMILIES = (ROOT / "panel/streamfleet_panel/metrics/families.py").read_text()
#: Families as Prometheus names their samples: an info's ends on _info.
METRICS = {
    name + ("_info" if kind == "InfoMetricFamily" else "")
    for kind, name in re.findall(r'\b(Family|InfoMetricFamily)\(\s*"(streamfleet_\w+)"', FAMILIES)
} | set(OF_HOSTS)


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool") or ROOT / ".cache" / "promtool" / "promtool"
    if not Path(found).is_file():
        pytest.skip("promtool is not on this machine; scripts/promtool.sh brings it")
    return str(found)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_the_rules_are_read_by_prometheus(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


@pytest.mark.slow
def test_alerts_are_raised_by_what_they_are_for(promtool: str, tmp_path: Path) -> None:
    """Without annotations, which promtool would have repeated word for word."""
    data = yaml.safe_load(RULES.read_text())
    for group in data["groups"]:
        for rule in group["rules"]:
            assert rule.pop("annotations").keys() == {"summary", "description"}
    (tmp_path / RULES.name).write_text(yaml.safe_dump(data))
    for cases in CASES:
        (tmp_path / cases.name).write_text(cases.read_text())
    command = [promtool, "test", "rules", *(str(tmp_path / cases.name) for cases in CASES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_of_each_kind() -> None:
    raised: dict[str, set[bool]] = {}
    for case in (case for cases in CASES for case in yaml.safe_load(cases.read_text())["tests"]):
        for test in case["alert_rule_test"]:
            raised.setdefault(test["alertname"], set()).add(bool(test["exp_alerts"]))
    assert raised == {rule["alert"]: {True, False} for rule in rules()}


def test_rules_use_metrics_that_there_are() -> None:
    assert len(METRICS) > 20
    for rule in rules():
        used = set(re.findall(r"\bstreamfleet_\w+", rule["expr"]))
        assert used - METRICS == set(), rule["alert"]


def test_the_page_names_every_metric_and_alert() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert {rule["alert"] for rule in rules()} <= set(re.findall(r"\bStreamfleet\w+", page))
    named = set(re.findall(r"^\| `(streamfleet_\w+)", page, re.MULTILINE))
    assert named == METRICS, "a metric that is not there any more, or one that is missing in the table"
