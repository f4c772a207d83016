"""Fixtures for every test of the panel; their helpers are in ``tests_support.py``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from hypothesis import settings

from tests_support import WORLD, Api, apply_as, stand, token_for

# Few documents in the inner loop, the same ones each time; ``--hypothesis-profile=long`` makes more, and others.
settings.register_profile("default", max_examples=40, derandomize=True)
settings.register_profile("long", max_examples=300, print_blob=True)
settings.load_profile("default")


@pytest.fixture
def run(db: None) -> Callable[..., dict[str, Any]]:
    """``run(document, username=None, **options)``: apply as the system, or as an account."""

    def call(document: dict[str, Any], username: str | None = None, **options: Any) -> dict[str, Any]:
        return apply_as(username, copy.deepcopy(document), **options)

    return call


@pytest.fixture
def world(db: None) -> None:
    """A small fleet: two resellers, their customers, services, nodes (``WORLD``)."""
    stand("world", lambda: apply_as(None, copy.deepcopy(WORLD)))


@pytest.fixture
def api(world: None) -> Callable[..., Api]:
    """``api("alice")``, ``api(node="node1")``, ``api(worker=True)``: a client of API v1 with a token of that bearer."""

    def call(username: str | None = None, **kind: Any) -> Api:
        return Api(Client(raise_request_exception=False), token_for(username, **kind))

    return call
