"""The module of a station's queue: what it asks the panel, and what it makes of a lost answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from streamfleet import errors, queued
from streamfleet.http import Response


class Queue:
    """A double of the panel's routes of one queue. ``loses``: the first answer to POST, which then comes twice."""

    def __init__(self, *paths: str, loses: bool = False) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.done: list[dict[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []
        self.loses = loses
        self.looks: dict[str, str] = {}
        self._number = 0
        self._put(list(paths))

    def _put(self, files: list[str]) -> list[dict[str, Any]]:
        new = []
        for path in dict.fromkeys(files):
            if path not in {item["path"] for item in self.waiting}:
                self._number += 1
                new.append({"id": f"{self._number:032x}", "path": path, "state": "sent", "message": ""})
        self.waiting += new
        return new

    def request(
        self, method: str, path: str, body: Any = None, *, query: Any = None, idempotent: bool | None = None
    ) -> Response:
        assert path == "/media-services/rock/queue"
        self.asked.append((method, query))
        if method == "POST":
            assert body["unless_waiting"]
            if self.loses:
                assert idempotent
                self._put(body["files"])
            return self._answer(items=self._put(body["files"]))
        if method == "DELETE":
            ids = None if query is None else query["ids"].split(",")
            self.waiting = [item for item in self.waiting if ids is not None and item["id"] not in ids]
            return self._answer(removed=1)
        if query.get("done"):
            return self._answer(items=self.done)
        found = [dict(item) for item in self.waiting]
        if any(asked[0] == "POST" for asked in self.asked):
            self._look()
        return self._answer(items=found)

    def _look(self) -> None:
        """The node looks at what it was sent."""
        for item in list(self.waiting):
            item["state"] = self.looks.get(item["path"], "sent")
            if item["state"] == "failed":
                item["message"] = "holds no sound that can be played"
                self.waiting.remove(item)
                self.done.append(item)

    def _answer(self, **data: Any) -> Response:
        return Response(200, data, {})


def change(queue: Queue, *files: str, check: bool = False, **params: Any) -> dict[str, Any]:
    given = {"media_service": "rock", "files": list(files), "position": None, "state": "queued", "wait": False}
    module = SimpleNamespace(
        params={**given, "wait_timeout": 5, **params}, check_mode=check, panel=SimpleNamespace(client=queue)
    )
    return queued._change(module)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued, "POLL_FIRST", 0.01)


@pytest.mark.parametrize("loses", [False, True])
def test_what_was_added_is_a_change_though_the_answer_was_lost(loses: bool) -> None:
    queue = Queue("a.mp3", loses=loses)
    result = change(queue, "a.mp3", "b.mp3")
    assert result["changed"] is True
    assert result["diff"] == {"before": {"queue": ["a.mp3"]}, "after": {"queue": ["a.mp3", "b.mp3"]}}
    assert change(queue, "a.mp3", "b.mp3")["changed"] is False


def test_what_others_add_meanwhile_is_no_change_of_this_task() -> None:
    queue = Queue("a.mp3")
    put = queue._put
    queue._put = lambda files: [put(["other.mp3"]), put(files)][1]  # type: ignore[method-assign]
    assert change(queue, "a.mp3")["changed"] is False


def test_many_are_taken_out_by_one_request() -> None:
    queue = Queue(*(f"{number}.mp3" for number in range(5)))
    ids = [item["id"] for item in queue.waiting[:3]]
    assert change(queue, "0.mp3", "1.mp3", "2.mp3", "none.mp3", state="absent")["changed"] is True
    assert [asked for asked in queue.asked if asked[0] == "DELETE"] == [("DELETE", {"ids": ",".join(ids)})]
    assert change(queue, "0.mp3", state="absent")["changed"] is False
    change(queue, state="empty")
    assert [asked for asked in queue.asked if asked[0] == "DELETE"][1:] == [("DELETE", None)]


@pytest.mark.parametrize("loses", [False, True])
def test_it_waits_also_for_what_another_task_has_sent(loses: bool) -> None:
    queue = Queue("a.mp3", loses=loses)
    queue.looks = {"a.mp3": "waiting", "b.mp3": "waiting"}
    result = change(queue, "a.mp3", wait=True)
    assert (result["changed"], result["queue"][0]["state"]) == (False, "waiting")
    with pytest.raises(errors.TimedOut, match=r"c\.mp3 waits"):
        change(Queue("c.mp3", loses=loses), "c.mp3", wait=True, wait_timeout=0)


def test_what_cannot_be_played_fails_and_only_what_the_task_added_goes() -> None:
    queue = Queue("bad.mp3", "mine.mp3")
    queue.looks = {"bad.mp3": "failed", "mine.mp3": "waiting", "new.mp3": "waiting"}
    with pytest.raises(errors.JobFailed, match=r"bad\.mp3 holds no sound"):
        change(queue, "bad.mp3", "new.mp3", wait=True)
    assert [item["path"] for item in queue.waiting] == ["mine.mp3"]
