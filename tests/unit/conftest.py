"""For all unit tests: no deadlines of examples, and what takes long begins first."""

from __future__ import annotations

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow ones, which wait more than they compute, first: workers take turns with them and with the rest."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
