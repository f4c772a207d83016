"""For all tests here: what takes long begins first, so that no worker is left alone with it at the end."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow ones, which wait more than they compute, before all others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
