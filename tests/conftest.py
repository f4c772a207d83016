"""For all tests here: the installed node, and what takes long begins first, so that no worker is left alone with it."""

from __future__ import annotations

import pytest

from tests.platforms import first_install, platform  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow ones, which wait more than they compute, before all others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
