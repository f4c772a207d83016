"""Types of services of one engine: what each has, and what it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel.apply import ApiError
from streamfleet_panel.models import MediaService

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def channel(world: None, run: Run) -> Callable[..., dict[str, Any]]:
    """``channel(service_type, …)`` declares a channel of Wowza and returns it."""
    run({"nodes": [{"name": "node1", "engines": ["icecast", "nginx_rtmp", "wowza"]}]})

    def declare(kind: str, slug: str = "films", **fields: Any) -> dict[str, Any]:
        service = {"slug": slug, "customer": "bob", "engine": "wowza", "service_type": kind, "node": "node1", **fields}
        found: dict[str, Any] = run({"media_services": [service]}, return_objects=True)["results"][0]["object"]
        return found

    return declare


def refusal(channel: Callable[..., dict[str, Any]], kind: str, **fields: Any) -> dict[str, Any]:
    with pytest.raises(ApiError) as raised:
        channel(kind, **fields)
    assert len(raised.value.errors) == 1, raised.value.errors
    return raised.value.errors[0].as_dict()


def test_a_field_of_another_type_is_refused_unless_it_says_nothing(channel: Callable[..., dict[str, Any]]) -> None:
    told = refusal(channel, "low_latency", segment_seconds=6)
    assert (told["path"], told["value"]) == ("media_services[0].segment_seconds", 6)
    assert told["message"] == "is not for services of type low_latency"
    assert "services of type live" in told["fix"]
    assert MediaService.objects.filter(slug="films").count() == 0
    made = channel("low_latency")
    # What was read can be sent back.
    again = channel("low_latency", segment_seconds=made["segment_seconds"])
    assert again["generation"] == made["generation"]
    assert channel("live", "other-tv", segment_seconds=6)["segment_seconds"] == 6
