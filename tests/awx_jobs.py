"""Runs the playbook of a job template as AWX does: by ansible-runner, with what the survey and the credentials give.

A job gets: the project as its folder (so its ansible.cfg, and none from the environment); an inventory; variables in
a file, of which those of a launch are marked as unsafe, so that nothing in them is a template; what credentials put
into the environment and into files; and AWX's own variables about the job.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import ansible_runner
import yaml

from tests.doubles.awx import rules, surveys

ROOT = Path(__file__).resolve().parents[1]
#: What a job must not get from whoever runs the tests.
OTHERS = ("ANSIBLE_", "STREAMFLEET_", "CONTROLLER_", "TOWER_", "PYTHONPATH")
#: What AWX puts into the environment of every job, stronger than ansible.cfg.
OF_AWX = {"ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True"}


class Unsafe(str):
    """Text of whoever launches a job."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style="'"))


@dataclass(frozen=True)
class Ended:
    """How a job ended: exit status, task → result of the last host that ran it, all that AWX keeps of the output."""

    code: int
    results: Mapping[str, dict[str, Any]]
    output: str

    @property
    def told(self) -> str:
        """The messages of what failed, of a loop those of its items."""
        failed = [result for result in self.results.values() if result.get("failed")]
        items = [item for result in failed for item in result.get("results", ()) if item.get("failed")]
        return "\n".join(str(result.get("msg")) for result in (*failed, *items))


@dataclass
class Controller:
    """Launches jobs. ``inputs``: name of a credential type → its credential's inputs; ``types``: these types."""

    directory: Path
    types: Mapping[str, Mapping[str, Any]]
    inputs: Mapping[str, Mapping[str, str | bool]]
    #: What else is in the environment.
    environment: Mapping[str, str]

    def launch(
        self,
        template: Mapping[str, Any],
        answers: Mapping[str, Any],
        *,
        sources: Sequence[str] = (),
        job_type: str = "run",
        limit: str | None = None,
        timeout: int = 900,
    ) -> Ended:
        """Run a template's playbook on what inventory ``sources`` of the project say (none: no hosts).

        Raises Refused, as AWX would, for answers that the survey does not allow.
        """
        variables = surveys.launched(template, answers)
        own = template.get("extra_vars") or {}
        number = secrets.randbelow(10**6)
        private = self.directory / f"job-{number}"
        (private / "env").mkdir(parents=True)
        marked = {name: value if own.get(name) == value else unsafe(value) for name, value in variables.items()}
        about = {"awx_job_id": number, "awx_job_launch_type": "manual", "awx_user_name": Unsafe("operator")}
        (private / "env" / "extravars").write_text(yaml.dump({**marked, **about}, Dumper=_Dumper))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
        with mock.patch.dict(os.environ, kept, clear=True):
            ran = ansible_runner.run(
                private_data_dir=str(private),
                project_dir=str(ROOT),
                playbook=template["playbook"],
                inventory=str(inventory(sources, private)),
                envvars={"ANSIBLE_NOCOLOR": "1", **OF_AWX, **self.environment, **self._injected(private)},
                cmdline="--check --diff" if job_type == "check" else None,
                limit=limit if template.get("ask_limit_on_launch") else None,
                forks=template.get("forks") or None,
                timeout=timeout,
                quiet=True,
            )
        events = list(ran.events)
        results = {
            event["event_data"]["task"]: {
                **event["event_data"]["res"],
                "failed": event["event"] in ("runner_on_failed", "runner_on_unreachable"),
            }
            for event in events
            if event["event"].startswith("runner_on_") and "res" in event["event_data"]
        }
        return Ended(ran.rc, results, ran.stdout.read() + json.dumps(events))

    def _injected(self, private: Path) -> dict[str, str]:
        environment: dict[str, str] = {}
        for name, inputs in self.inputs.items():
            path = private / "env" / f"credential-{len(environment)}"
            content, variables = rules.injected(self.types[name], inputs, str(path))
            if content is not None:
                path.touch(0o600)
                path.write_text(content)
            environment |= variables
        return environment


def inventory(sources: Sequence[str], private: Path) -> Path:
    """A program that prints what ``sources`` say, which is what a job gets for its inventory."""
    found = '{"_meta": {"hostvars": {}}, "all": {"hosts": []}}'
    if sources:
        program = str(Path(sys.executable).with_name("ansible-inventory"))
        options = [word for source in sources for word in ("-i", source)]
        done = subprocess.run(
            [program, *options, "--list", "--export"],
            cwd=ROOT, text=True, capture_output=True, check=True, timeout=120,
        )  # fmt: skip
        found = json.dumps(json.loads(done.stdout))
    path = private / "hosts"
    path.touch(0o700)
    path.write_text(f"#! /usr/bin/env python3\nprint({found!r})\n")
    return path


def unsafe(value: Any) -> Any:
    """``value`` with all text in it marked."""
    if isinstance(value, str):
        return Unsafe(value)
    if isinstance(value, list):
        return [unsafe(one) for one in value]
    return {name: unsafe(one) for name, one in value.items()} if isinstance(value, dict) else value


def answers(template: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """All answers of a survey as its form sends them: ``given`` (by variable), else what stands there, or nothing."""
    spec = template["survey_spec"]["spec"]
    assert set(given) <= {question["variable"] for question in spec}, "asks for nothing of that name"
    return {question["variable"]: question.get("default", "") for question in spec} | given
