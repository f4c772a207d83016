"""The module of a move of media libraries, as a task on this machine, which has none."""

from __future__ import annotations

from pathlib import Path

from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_media_move"


def test_what_cannot_be_done_is_said_and_nothing_is_touched(runner: Runner) -> None:
    looked = runner.steps(
        Step(MODULE, {"state": "looked"}, changed=False),
        Step(
            MODULE, {"state": "planned", "to": "srv/media"}, error="move_media_to=srv/media: this must be an absolute"
        ),
        Step(MODULE, {"state": "planned", "to": "/run/media/new"}, error="/run is not for data"),
        Step(MODULE, {"state": "planned", "to": "/srv/nowhere/new"}, error="there is no /srv/nowhere"),
        Step(MODULE, {"state": "begun"}, error="missing"),
        Step(MODULE, {"state": "removed"}, changed=False),
    )[0]
    assert (looked.real["path"], looked.real["journal"]) == ("/var/lib/streamfleet/media", None)
    assert not Path("/var/lib/streamfleet/media_move").exists(), "nothing is made where there is nothing to remove"
