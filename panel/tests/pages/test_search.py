"""Searches find in any case, on every database and every surface, and what they look for is no pattern."""

from __future__ import annotations

import pytest
from django.db.models import F

from streamfleet_panel.models import Account, MediaService

pytestmark = pytest.mark.usefixtures("world")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/customers/?search=ALICE", b"/customers/of/alice/"),
        ("/services/?search=rOCK", b"/services/rock-fm/"),
        ("/services/?search=Bob", b"/services/bob-tv/"),
        ("/admin/panel/mediaservice/?q=ROCK", b"rock-fm"),
        ("/admin/panel/account/?q=ALICE", b"alice@example.net"),
    ],
)
def test_pages_find_in_any_case(as_, path, found):
    answer = as_("root").get(path)
    assert answer.status_code == 200
    assert found in answer.content
    assert b"eve-fm" not in answer.content


@pytest.mark.parametrize(
    ("lookup", "value", "found"),
    [
        ("iexact", "ROCK <I>fm</i>", ["rock-fm"]),
        ("iexact", "ROCK", []),
        ("icontains", "TV", ["alice-tv", "bob-tv"]),
        ("istartswith", "aLICE", ["alice-tv"]),
        ("iendswith", "Tv", ["alice-tv", "bob-tv"]),
        ("icontains", "%", []),
        ("icontains", "_", []),
        ("icontains", "\\", []),
    ],
)
def test_a_lookup_ignores_case_where_it_says_so(lookup, value, found):
    services = MediaService.objects.filter(**{f"name__{lookup}": value})
    assert list(services.order_by("slug").values_list("slug", flat=True)) == found


def test_columns_are_compared_in_any_case_too():
    Account.objects.filter(username="bob").update(name="The BOB of it")
    found = Account.objects.filter(name__icontains=F("username"))
    assert sorted(found.values_list("username", flat=True)) == ["alice", "bob"]
