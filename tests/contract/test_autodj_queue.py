"""streamfleet_autodj_queue and its info module; what a node tells is stored as the worker stores it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_autodj_queue"
INFO = "streamfleet_autodj_queue_info"
#: Stores what a station's node tells of its queue: of each path in the arguments its state, or why it was refused.
TELL = """
import json
from streamfleet_panel import collected
from streamfleet_panel.models import MediaService, QueuedTrack
slug, states = json.loads({told!r})
service = MediaService.objects.get(slug=slug)
items = [
    {{"id": track.name, "state": "failed" if " " in states[track.path] else states[track.path],
      "message": states[track.path] if " " in states[track.path] else ""}}
    for track in QueuedTrack.objects.filter(media_service=service)
    if track.path in states
]
place = collected.place_of(service.node_id)
batch = collected.Batch({{"queue": [(slug, {{"items": items}})]}}, {{}}, False)
assert collected.store(service.node_id, place.number, batch)
"""


def tell(panel: Panel, slug: str, **states: str) -> None:
    told = json.dumps([slug, {f"{name}.mp3": state for name, state in states.items()}])
    panel.manage("shell", "-c", TELL.format(told=told))


@contextmanager
def telling(panel: Panel, slug: str, **states: str) -> Iterator[None]:
    """A node that tells of these files once they are in the queue."""

    def work() -> None:
        wanted, deadline = {f"{name}.mp3" for name in states}, time.monotonic() + 120
        while time.monotonic() < deadline:
            answer = panel.request("GET", f"/media-services/{slug}/queue")[1]
            if wanted <= {item["path"] for item in answer["items"]}:
                return tell(panel, slug, **states)
            time.sleep(0.2)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def paths(result: dict[str, Any]) -> list[str]:
    return [item["path"] for item in result["queue"]]


def test_what_is_queued_taken_out_and_refused(runner: Runner, panel: Panel, owner: str) -> None:
    slug = f"{owner[:50].rstrip('-')}-fm"
    service = {"slug": slug, "customer": owner, "engine": "icecast", "autodj": {}}
    silent = {"slug": f"{slug}-2", "customer": owner, "engine": "icecast"}
    assert panel.request("POST", "/apply", {"document": {"media_services": [service, silent]}})[0] == 200
    station = {"media_service": slug, "wait": False}
    two, head, absent, *_ = runner.steps(
        Step(MODULE, {**station, "files": ["a.mp3", "b.mp3"]}),
        Step(MODULE, {**station, "files": ["head.mp3", "b.mp3"], "position": 1}),
        Step(MODULE, {**station, "files": ["a.mp3", "none.mp3"], "state": "absent"}),
        Step(MODULE, {**station, "files": ["../x.mp3"]}, error="files[0]: contains the segment .."),
        Step(MODULE, {**station, "files": ["x.jpg"]}, error="files[0]: is not called as a recording is"),
        Step(MODULE, {**station, "files": ["x" * 100_000]}, error="files[0]: has 100000 characters, at most 500 fit"),
        Step(MODULE, {**station, "files": ["a\nb.mp3"]}, error="files[0]: contains a control character"),
        Step(MODULE, {**station, "files": [f"{n}.mp3" for n in range(99)]}, error="at most 100 may"),
        Step(MODULE, {**station, "files": ["a.mp3"], "position": 0}, error="position: must be between 1 and"),
        Step(MODULE, {**station, "state": "empty", "position": 1}, error="position: means nothing with state empty"),
        Step(MODULE, station, error="state is queued but all of the following are missing: files"),
        Step(MODULE, {"media_service": "none", "files": ["a.mp3"]}, error="There is no media service none"),
        Step(MODULE, {"media_service": silent["slug"], "files": ["a.mp3"]}, error="has no AutoDJ, which would play it"),
    )
    assert paths(two.check) == paths(two.real) == paths(two.again) == ["a.mp3", "b.mp3"]
    assert paths(head.check) == paths(head.real) == ["head.mp3", "a.mp3", "b.mp3"]
    assert [item["position"] for item in head.check["queue"]] == [1, 2, 3]
    assert head.real["diff"]["before"] == {"queue": ["a.mp3", "b.mp3"]}
    assert paths(absent.check) == paths(absent.real) == ["head.mp3", "b.mp3"]
    # A queue is consumed: what was played is not there any more, and can be asked for again.
    tell(panel, slug, head="played", b="waiting")
    info = runner.tasks([{"name": "info", INFO: {"media_service": slug}}], check_mode=True)["info"]
    assert (info["changed"], paths(info)) == (False, ["b.mp3"])
    assert [(item["path"], item["state"]) for item in info["done"]] == [("head.mp3", "played")]
    with telling(panel, slug, good="waiting", head="waiting"):
        waited = {"media_service": slug, "files": ["good.mp3", "head.mp3"]}
        results = runner.tasks([{"name": "good", MODULE: waited}])
    assert results["good"]["changed"] is True
    assert {item["state"] for item in results["good"]["queue"]} == {"waiting"}
    # All of a task or nothing.
    with telling(panel, slug, gone="is not in the media library", other="waiting"):
        task = {"name": "gone", MODULE: {**waited, "files": ["gone.mp3", "other.mp3"]}, "ignore_errors": True}
        results = runner.tasks([task])
    assert "gone.mp3 is not in the media library" in results["gone"]["msg"]
    assert "taken out again" in results["gone"]["msg"]
    late = {"name": "late", MODULE: {**waited, "files": ["late.mp3"], "wait_timeout": 1}, "ignore_errors": True}
    results = runner.tasks([late])
    assert "late.mp3 waits, but the AutoDJ has not looked at it after 1 seconds" in results["late"]["msg"]
    (empty,) = runner.steps(Step(MODULE, {**station, "state": "empty"}))
    assert empty.real["diff"] == {
        "before": {"queue": ["b.mp3", "good.mp3", "head.mp3", "late.mp3"]},
        "after": {"queue": []},
    }
    missing = runner.tasks([{"name": "x", INFO: {"media_service": "none"}, "ignore_errors": True}])["x"]
    assert "There is no media service none" in missing["msg"]
