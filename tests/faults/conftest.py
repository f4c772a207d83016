"""The seed of a fault campaign: printed, and taken again from STREAMFLEET_SEED to repeat a run."""

from __future__ import annotations

import os
import random
import secrets

import pytest

SEED = os.environ.get("STREAMFLEET_SEED") or secrets.token_hex(4)
ROUNDS = int(os.environ.get("STREAMFLEET_FAULT_ROUNDS", "10"))


def pytest_report_header() -> str:
    return f"fault campaign: STREAMFLEET_SEED={SEED} STREAMFLEET_FAULT_ROUNDS={ROUNDS}"


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Randomness of this test alone, the same for the same seed."""
    print(f"STREAMFLEET_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")
