"""What is put back is what was made."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from django.db import connection, transaction

import tests_support
from streamfleet_panel.models import Account, Installation, Node
from tests_support import WORLD, apply_as, stand

pytestmark = pytest.mark.django_db


def in_a_transaction_of_its_own(make: Any) -> tests_support.Rows:
    with transaction.atomic():
        stand("support", make)
        connection.check_constraints()
        rows = tests_support._all_rows()
        transaction.set_rollback(True)
    return rows


def test_the_rows_of_a_test_are_those_that_were_made_once() -> None:
    Installation.current()
    empty = tests_support._all_rows()
    made: list[bool] = []

    def make() -> None:
        made.append(True)
        apply_as(None, copy.deepcopy(WORLD))
        # Also what was there is kept as it became.
        Installation.objects.update(epoch="11111111-1111-1111-1111-111111111111")

    first = in_a_transaction_of_its_own(make)
    assert tests_support._all_rows() == empty
    assert in_a_transaction_of_its_own(make) == first != empty
    assert made == [True]


def test_what_was_put_back_can_be_changed(world: None) -> None:
    again = apply_as(None, copy.deepcopy(WORLD))
    assert not again["changed"]
    assert apply_as(None, {"nodes": [{"name": "node3", "address": "192.0.2.12", "engines": ["icecast"]}]})["changed"]
    assert Node.objects.get(name="node3").pk not in Node.objects.exclude(name="node3").values_list("pk", flat=True)
    assert Account.objects.count() == len(WORLD["customers"])
