"""Ports that a stage's node is published at: chosen once, above those that others choose at the same moment."""

from __future__ import annotations

import socket
from pathlib import Path

from demo.stage import Ports


def test_a_port_in_use_is_passed_over_and_the_choice_is_kept(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        above = taken.getsockname()[1] - 8443
        chosen = Ports.choose(tmp_path / "ports.json", above)
        assert chosen.https > above + 8443
        assert Ports.choose(tmp_path / "ports.json") == chosen


def test_stages_that_look_from_elsewhere_choose_others(tmp_path: Path) -> None:
    first, second = (Ports.choose(tmp_path / f"{above}.json", above) for above in (11_000, 15_000))
    assert first.rtmp >= 12_935
    assert second.rtmp >= 16_935
