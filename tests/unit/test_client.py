"""module_utils/streamfleet/client.py: jobs, pages, routes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamfleet import errors
from streamfleet.client import PAGE, Panel, route
from streamfleet.http import Client

from tests.unit.fake_server import Reply, Seen, serving

ANSWER = {"changed": True, "summary": {}, "results": [], "nodes": {}}


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def make_panel(url: str) -> tuple[Panel, Clock]:
    clock = Clock()
    return Panel(Client(url, "t", sleep=clock.sleep), sleep=clock.sleep, clock=clock), clock


def test_routes_escape_the_key() -> None:
    assert route("reseller_plan") == "/reseller-plans"
    assert route("media_service", "a/../b") == "/media-services/a%2F..%2Fb"


def test_what_belongs_to_another_object_is_below_it() -> None:
    assert route("playlist") == "/playlists"
    assert route("dj", "rock-fm", "anna") == "/media-services/rock-fm/djs/anna"
    assert route("media_user", "alice", "studio") == "/customers/alice/media-users/studio"
    assert route("playlist", "rock-fm", "a/b") == "/media-services/rock-fm/playlists/a%2Fb"


def test_apply_sends_what_was_asked() -> None:
    with serving(Reply(200, ANSWER)) as server:
        panel, _ = make_panel(server.url)
        answer = panel.apply({"customers": [{"username": "a"}]}, dry_run=True, label="l", prune=True, max_delete=3)
    assert answer == ANSWER
    assert json.loads(server.requests[0].body) == {
        "document": {"customers": [{"username": "a"}]},
        "dry_run": True,
        "label": "l",
        "prune": True,
        "max_delete": 3,
        "update_password": "on_create",
        "return_objects": False,
    }


def test_apply_is_tried_again_because_applying_twice_is_applying_once() -> None:
    with serving(Reply(503), Reply(drop=True), Reply(200, ANSWER)) as server:
        assert make_panel(server.url)[0].apply({}) == ANSWER
        assert len(server.requests) == 3


def job(state: str, done: int, **more: Any) -> Reply:
    return Reply(200, {"id": "j1", "state": state, "done": done, "total": 60, **more})


def test_a_job_is_followed_to_its_result() -> None:
    progress: list[tuple[int, int]] = []
    replies = [
        Reply(202, {"job": {"id": "j1", "url": "/api/v1/jobs/j1"}}),
        job("pending", 0),
        job("running", 30),
        job("running", 30),
        job("succeeded", 60, result=ANSWER),
    ]
    with serving(*replies) as server:
        panel, _ = make_panel(server.url)
        assert panel.apply({}, progress=lambda done, total: progress.append((done, total))) == ANSWER
    assert progress == [(0, 60), (30, 60), (60, 60)]
    assert [seen.path for seen in server.requests[1:]] == ["/api/v1/jobs/j1"] * 4


def test_a_failed_job_says_why() -> None:
    error = {
        "code": "conflict",
        "message": "Port taken.",
        "errors": [{"path": "media_services[0].port", "message": "m"}],
    }
    for shape in (error, {"error": error}):
        with serving(job("failed", 3, error=shape)) as server, pytest.raises(errors.JobFailed) as caught:
            make_panel(server.url)[0].follow("j1")
        assert "Port taken." in str(caught.value)
        assert caught.value.errors[0].path == "media_services[0].port"


def test_patience_ends() -> None:
    with serving(job("running", 3)) as server:
        panel, clock = make_panel(server.url)
        with pytest.raises(errors.TimedOut, match=r"Job j1 is running \(3 of 60\) after 60 seconds; it goes on"):
            panel.follow("j1", timeout=60)
    assert 60 <= clock.now < 65


def test_lists_are_read_page_by_page() -> None:
    total = 2 * PAGE + 7

    def page(seen: Seen) -> Reply:
        query = dict(pair.split("=") for pair in seen.path.partition("?")[2].split("&"))
        offset, limit = int(query["offset"]), int(query["limit"])
        assert query["engine"] == "icecast"
        return Reply(
            200, {"items": [{"slug": str(n)} for n in range(offset, min(offset + limit, total))], "count": total}
        )

    with serving(page) as server:
        panel, _ = make_panel(server.url)
        items = list(panel.items("media_service", {"engine": "icecast", "node": None}))
    assert [item["slug"] for item in items] == [str(n) for n in range(total)]
    assert len(server.requests) == 3


def test_a_list_that_shrinks_while_it_is_read_ends() -> None:
    with serving(Reply(200, {"items": [{"slug": "a"}], "count": 5}), Reply(200, {"items": [], "count": 5})) as server:
        assert len(list(make_panel(server.url)[0].items("media_service"))) == 1


def test_what_is_not_there_is_none() -> None:
    with serving(Reply(404, {"error": {"code": "not_found", "message": "No."}})) as server:
        assert make_panel(server.url)[0].get("customer", "nobody") is None
