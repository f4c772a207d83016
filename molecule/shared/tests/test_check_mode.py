"""Check mode told the truth: what it predicted on fresh nodes is what converge then did."""

from __future__ import annotations

import json
import os
from pathlib import Path


def recorded(kind: str) -> set[tuple[str, str]]:
    """(host, task) pairs that a run changed; kind: check or converge (see callback_plugins/changes.py)."""
    text = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], f"changes-{kind}.json").read_text()
    return {(host, task) for host, task in json.loads(text)}


def test_predicted_changes_are_the_changes_made() -> None:
    predicted, made = recorded("check"), recorded("converge")
    assert len(made) > 20
    assert not sorted(predicted - made), "predicted, but not made"
    assert not sorted(made - predicted), "made, but not predicted"
