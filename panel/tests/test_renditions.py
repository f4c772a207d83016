"""What is encoded for a service, against what it and its reseller's plan may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel.apply import ApiError
from streamfleet_panel.apply.renditions import megapixels
from streamfleet_panel.models import MediaService, Node
from streamfleet_panel.nodedoc import document

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
SMALL = [{"height": 480, "video_kbps": 1200}, {"height": 240, "video_kbps": 400}]
# With all that the plan of carol's reseller asks of a channel.
CHANNEL = {"slug": "films", "customer": "carol", "engine": "wowza", "max_listeners": 10}
FINE = {"max_renditions": 2, "max_transcode_mpixels": 20}


@pytest.fixture
def declare(world: None, run: Run) -> Callable[..., dict[str, Any]]:
    """``declare(**fields)`` declares a channel of carol's, who is a customer of a reseller."""
    run({"nodes": [{"name": "node1", "engines": ["icecast", "nginx_rtmp", "wowza", "flussonic"]}]})

    def declared(who: str | None = None, **fields: Any) -> dict[str, Any]:
        found: dict[str, Any] = run({"media_services": [{**CHANNEL, **fields}]}, who, return_objects=True)
        return found["results"][0]["object"]  # type: ignore[no-any-return]

    return declared


def refusal(call: Callable[..., Any], *arguments: Any, **fields: Any) -> tuple[str, Any, str]:
    with pytest.raises(ApiError) as raised:
        call(*arguments, **fields)
    (problem,) = raised.value.errors
    return problem.path, problem.value, problem.message


def test_pixels_are_counted_as_they_are_encoded() -> None:
    assert megapixels([]) == 0
    assert megapixels([{"height": 720}]) == 27.6
    assert megapixels(SMALL) == 15.4
    assert megapixels([{"height": 1080}, {"height": 720}]) == 89.9


@pytest.mark.parametrize("engine", ["wowza", "flussonic"])
def test_no_more_is_encoded_than_a_service_may_have(
    declare: Callable[..., dict[str, Any]], run: Run, engine: str
) -> None:
    made = declare(engine=engine, max_renditions=2, max_transcode_mpixels=16, renditions=SMALL)

    def change(**fields: Any) -> dict[str, Any]:
        return run({"media_services": [{"slug": "films", **fields}]})

    assert (made["max_renditions"], made["max_transcode_mpixels"]) == (2, 16)
    many = [{"height": height, "video_kbps": 100} for height in (144, 160, 180)]
    path = "media_services[0].renditions"
    assert refusal(change, renditions=many) == (path, 3, "3 renditions are more than max_renditions allows (2)")
    large = [{"height": 720, "video_kbps": 2000}]
    words = "27.6 megapixels a second (16:9, 30 pictures a second) are more than max_transcode_mpixels allows (16)"
    assert refusal(change, renditions=large) == (path, 27.6, words)
    # Nothing of it was taken, and a limit is not lowered below what there is.
    assert MediaService.objects.get(slug="films").settings["renditions"] == SMALL
    assert refusal(change, max_renditions=1)[:2] == ("media_services[0].max_renditions", 2)
    assert refusal(change, max_transcode_mpixels=15)[:2] == ("media_services[0].max_transcode_mpixels", 15.4)
    # What is lowered together with it is taken, and 0 means none at all.
    change(max_renditions=0, renditions=[])
    assert refusal(change, renditions=SMALL[:1])[2] == "1 renditions are more than max_renditions allows (0)"


def test_limits_alone_change_nothing_on_a_node(declare: Callable[..., dict[str, Any]]) -> None:
    declare()
    node = Node.objects.get(name="node1")
    before = document(node)
    declare(max_renditions=3, max_transcode_mpixels=100)
    node.refresh_from_db()
    assert document(node) == before


def test_customers_do_not_set_their_own_limits(declare: Callable[..., dict[str, Any]]) -> None:
    declare(**FINE, renditions=SMALL)
    for limit in ("max_renditions", "max_transcode_mpixels"):
        assert refusal(declare, "carol", **{limit: 4})[2] == "may not be set by a customer"
    assert declare("carol", renditions=SMALL[:1])["renditions"] == SMALL[:1]
    assert declare("shop", max_renditions=3)["max_renditions"] == 3


def test_a_plan_bounds_each_service_that_can_have_some(declare: Callable[..., dict[str, Any]], run: Run) -> None:
    run({"reseller_plans": [{"name": "gold", "max_renditions": 2, "max_transcode_mpixels": 20}]})
    declare(**FINE, renditions=SMALL)
    for limit, most in (("max_renditions", 2), ("max_transcode_mpixels", 20)):
        for value, begin in ((most + 1, "is"), (None, "unlimited is")):
            message = f"{begin} above {limit} of the plan gold ({most})"
            assert refusal(declare, "shop", **{limit: value}) == (f"media_services[0].{limit}", value, message)
    # Types for which nothing is encoded have nothing to name, nor have other engines.
    declare("shop", slug="more-films", service_type="on_demand")
    declare("shop", slug="plain", engine="nginx_rtmp", max_listeners=None, max_bitrate_kbps=320)
    # Whoever gives a reseller less learns which services have more.
    told = run({"reseller_plans": [{"name": "gold"}]}, return_objects=True)["results"][0]["object"]
    assert (told["max_renditions"], told["max_transcode_mpixels"]) == (2, 20)
