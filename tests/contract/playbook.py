"""Runs modules by ansible-playbook, as an operator does, and gives every task's result.

Every run is made with ``-vvv``, and all that it printed is searched for the canaries: secrets that the test put in.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts import forked_ansible

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 420
PHASES = ("check", "real", "again")


@dataclass(frozen=True)
class Step:
    """One task, run three times: in check mode, for real, and for real again.

    ``changed``: what the first two must say. ``again``: what the third must say; True only for what is never at rest.
    ``error``: run for real only, and it must fail with this text in its message and change nothing.
    """

    module: str
    args: Mapping[str, Any]
    changed: bool = True
    again: bool = False
    error: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Results of a step's three tasks."""

    check: dict[str, Any]
    real: dict[str, Any]
    again: dict[str, Any]


class Runner:
    """Runs playbooks against one panel, and guards the canaries."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self.environment = dict(environment)
        self.directory = directory
        self.canaries: set[str] = set()

    def canary(self, text: str) -> str:
        """``text``, which from now on may not be seen in anything that a run prints."""
        self.canaries.add(text)
        return text

    def steps(self, *steps: Step) -> list[Outcome]:
        """Run the steps in order, each three times, and hold each to what it says."""
        tasks = []
        for number, step in enumerate(steps):
            for phase in PHASES if step.error is None else ("real",):
                tasks.append(
                    {
                        "name": f"{number} {phase}",
                        step.module: dict(step.args),
                        "check_mode": phase == "check",
                        "diff": True,
                        "ignore_errors": True,
                        "environment": dict(step.environment),
                    }
                )
        results = self.tasks(tasks)
        outcomes = []
        for number, step in enumerate(steps):
            outcome = Outcome(*(results.get(f"{number} {phase}", {}) for phase in PHASES))
            hold(step, outcome)
            outcomes.append(outcome)
        return outcomes

    def tasks(self, tasks: Sequence[Mapping[str, Any]], **play: Any) -> dict[str, dict[str, Any]]:
        """Run tasks in a play on localhost; name of the task → its result."""
        content = [{"hosts": "localhost", "connection": "local", "gather_facts": False, **play, "tasks": list(tasks)}]
        path = self.directory / "play.yml"
        path.write_text(json.dumps(content))
        code, results, output = self.playbook(path)
        assert code == 0 or any(result.get("failed") for result in results.values()), output[-3000:]
        return results

    def playbook(
        self,
        path: Path,
        variables: Mapping[str, Any] | None = None,
        *options: str,
        environment: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, dict[str, Any]], str]:
        """Run a playbook; (exit status, task name → result, everything that it printed)."""
        extra = self.directory / "variables.json"
        extra.write_text(json.dumps({"ansible_python_interpreter": sys.executable, **(variables or {})}))
        done = forked_ansible.playbook(
            ["-vvv", "--inventory", "localhost,", "--extra-vars", f"@{extra}", *options, str(path)],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
                "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true",
                "ANSIBLE_NOCOLOR": "1",
                **self.environment,
                **(environment or {}),
            },
            timeout=SECONDS,
        )
        output = done.stdout + done.stderr
        for canary in self.canaries:
            assert canary not in output, f"the secret {canary!r} was printed: …{around(output, canary)}…"
        assert "Traceback (most recent call last)" not in output, output[-3000:]
        start = done.stdout.find('{\n    "custom_stats"')
        assert start >= 0, output[-3000:]
        data = json.JSONDecoder().raw_decode(done.stdout, start)[0]
        results = {
            task["task"]["name"]: task["hosts"].get("localhost", {}) for play in data["plays"] for task in play["tasks"]
        }
        return done.returncode, results, output


def around(output: str, text: str) -> str:
    """The neighbourhood of ``text``."""
    at = output.find(text)
    return output[max(0, at - 200) : at + 200]


def hold(step: Step, outcome: Outcome) -> None:
    """Fail unless the outcome is what the step says."""
    where = f"{step.module} {dict(step.args)}"
    if step.error is not None:
        assert outcome.real.get("failed"), f"{where}: did not fail: {outcome.real}"
        assert step.error in outcome.real["msg"], f"{where}: said {outcome.real['msg']!r}"
        assert not outcome.real["changed"], f"{where}: says changed"
        return
    for phase, result in vars(outcome).items():
        assert not result.get("failed"), f"{where}: {phase} failed: {result.get('msg')}"
        assert not result.get("warnings"), f"{where}: {phase} warned: {result['warnings']}"
    assert outcome.check["changed"] is step.changed, f"{where}: check mode predicts {outcome.check['changed']}"
    assert outcome.real["changed"] is step.changed, f"{where}: changed is {outcome.real['changed']}"
    assert outcome.again["changed"] is step.again, f"{where}: again: changed is {outcome.again['changed']}"
    if "diff" in outcome.real:
        assert outcome.check["diff"] == outcome.real["diff"], f"{where}: check mode predicts another diff"
    for key in ("changes", "operation", "summary", "results"):
        assert outcome.check.get(key) == outcome.real.get(key), f"{where}: check mode predicts other {key}"
