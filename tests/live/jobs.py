"""Launches job templates of hosts as AWX does, on test nodes and with the panel's credential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.stage import NODE, ROOT, Stage
from tests.awx_jobs import Controller, Ended, answers
from tests.awx_objects import objects


class Jobs:
    """Launches templates on hosts of inventory ``sources``, with the inputs of the panel's credential."""

    def __init__(
        self, directory: Path, sources: Sequence[str], panel: Mapping[str, str], limit: str | None = None
    ) -> None:
        self.directory, self.sources, self.panel, self.limit = directory, sources, panel, limit
        self.types = {item["name"]: item for item in objects()["awx.awx.credential_type"]}

    def launch(self, name: str, job_type: str = "run", **given: str) -> Ended:
        """What a launch with these answers comes to; the token is in nothing that AWX keeps of it."""
        template = next(item for item in objects()["awx.awx.job_template"] if item["name"] == f"Streamfleet {name}")
        inputs = {"Streamfleet panel": self.panel} if "Streamfleet panel" in template["credentials"] else {}
        ended = Controller(self.directory, self.types, inputs, {}).launch(
            template,
            answers(template, **given) if template["survey_enabled"] else {},
            sources=self.sources,
            job_type=job_type,
            limit=self.limit,
        )
        assert not self.panel or self.panel["token"] not in ended.output
        return ended


class StageJobs(Jobs):
    """The same on a stage, which may not be installed yet; ``more`` are further sources of its inventory."""

    def __init__(self, stage: Stage, directory: Path, *more: str, limit: str | None = NODE) -> None:
        sources = [str(ROOT / "inventories/demo/hosts.yml"), str(ROOT / f".nodes/{stage.fleet}/inventory.yml"), *more]
        super().__init__(directory, sources, {}, limit)
        self.stage = stage

    def launch(self, name: str, job_type: str = "run", **given: str) -> Ended:
        known = self.stage.variables()
        if "STREAMFLEET_TOKEN" in known:
            ca = Path(known["STREAMFLEET_CA"]).read_text()
            self.panel = {"url": known["STREAMFLEET_URL"], "token": known["STREAMFLEET_TOKEN"], "ca": ca}
        return super().launch(name, job_type, **given)


def succeeded(ended: Ended) -> Ended:
    """A job that has come to a good end."""
    assert ended.code == 0, ended.told or ended.output[-3000:]
    return ended
