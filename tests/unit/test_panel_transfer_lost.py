"""The other host of a transfer of the panel is lost for good; what is here goes on, with the newest that there is.

Tests modules: streamfleet_panel_transfer.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from streamfleet.node_apply.host import Finished, Host
from streamfleet.panel_transfer import coming, leaving, losing, marks, replacing
from streamfleet.panel_transfer import places as where
from streamfleet.panel_transfer.places import TransferError
from streamfleet.upgrade import databases, places
from streamfleet.upgrade.errors import UpgradeError

from tests.unit.test_panel_transfer import Double, moved, state, to_last
from tests.unit.test_panel_transfer import new as new
from tests.unit.test_panel_transfer import old as old

CA_KEY = "/etc/streamfleet/ca/ca.key"


def restored(double: Double) -> int:
    return sum(places.COMMAND in call and call.endswith(" restored") for call in double.calls)


def test_a_panel_that_had_gone_goes_on_as_another_one_than_nodes_know(old: Double, new: Double) -> None:
    moved(old, new)
    with pytest.raises(TransferError, match="other: this host knows of panel2 in a transfer of the panel, and not of"):
        losing.lost(old.host, "panel3")
    assert (state(old), old.running, restored(old)) == ("gone", set(), 0)
    with pytest.raises(TransferError, match="the panel is on this host, whatever has become of panel1"):
        losing.lost(new.host, "panel1")
    assert losing.lost(old.host, "panel2") == {"panel": True}
    assert (state(old), marks.held(old.host), old.running, old.enabled) == (
        "",
        [],
        set(places.UNITS),
        set(places.UNITS),
    )
    assert not old.path(places.MAINTENANCE).exists()
    assert (old.rows(), restored(old)) == (["ada", "bob"], 1)
    with pytest.raises(TransferError, match="nothing is to be done"):
        losing.lost(old.host, "panel2")


def test_one_whose_units_do_not_start_has_still_gone_and_can_be_asked_again(old: Double, new: Double) -> None:
    moved(old, new)
    systemctl, old.systemctl = (
        old.systemctl,
        lambda words: Finished(1, err="no") if words[0] == "start" else systemctl(words),
    )  # type: ignore[method-assign]
    with pytest.raises(UpgradeError, match="systemctl start failed"):
        losing.lost(old.host, "panel2")
    assert state(old) == "gone"
    old.systemctl = systemctl  # type: ignore[method-assign]
    assert losing.lost(old.host, "panel2") == {"panel": True}
    assert (state(old), restored(old)) == ("", 2)


def test_a_panel_whose_command_line_fails_does_not_start(old: Double, new: Double) -> None:
    moved(old, new)
    run = old.run
    old.run = lambda argv, stdin, timeout: (
        Finished(1, err="locked") if argv[-1] == "restored" else run(argv, stdin, timeout)
    )  # type: ignore[method-assign]
    with pytest.raises(UpgradeError, match="streamfleet-panel restored: locked"):
        losing.lost(old.host, "panel2")
    assert (state(old), old.running) == ("gone", set())


@pytest.mark.parametrize(("parting", "times"), [(True, 1), (False, 0)])
def test_a_panel_that_was_being_switched_goes_on(old: Double, new: Double, parting: bool, times: int) -> None:
    to_last(old, new)
    if parting:
        leaving.parting(old.host, "r1")
    assert losing.lost(old.host, "panel2") == {"panel": True}
    # Nobody can have seen another one before it was switched to.
    assert (state(old), old.running, restored(old)) == ("", set(places.UNITS), times)
    assert not old.path(places.MAINTENANCE).exists()


def test_of_a_panel_that_was_released_nothing_goes_on(old: Double, new: Double) -> None:
    moved(old, new)
    leaving.released(old.host, [])
    with pytest.raises(TransferError, match="nothing of the panel is left on this host: restore a backup of panel2"):
        losing.lost(old.host, "panel2")


def test_what_was_to_come_from_a_lost_host_is_put_away(old: Double, new: Double) -> None:
    to_last(old, new)
    assert losing.lost(new.host, "panel1") == {"panel": False}
    assert (state(new), new.rows(), new.path(CA_KEY).exists(), new.running) == ("", [], False, set())


def test_where_a_way_back_was_begun_the_panel_goes_on_as_it_had_gone(old: Double, new: Double) -> None:
    moved(old, new)
    coming.prepared(old.host, "panel2", "r2")
    assert losing.lost(old.host, "panel2") == {"panel": True}
    assert (state(old), marks.held(old.host), old.running, restored(old)) == ("", [], set(places.UNITS), 1)
    assert old.rows() == ["ada", "bob"]


def test_a_way_back_that_fails_again_and_again_keeps_the_copy_of_once(old: Double, new: Double) -> None:
    moved(old, new)
    for run in ("r2", "r3", "r4"):
        coming.prepared(old.host, "panel2", run)
        assert old.rows() == []
        assert coming.away(old.host) is True
        assert state(old) == "gone"
    assert losing.lost(old.host, "panel2") == {"panel": True}
    assert (state(old), old.rows(), restored(old)) == ("", ["ada", "bob"], 1)
    assert all(old.path(path).read_text() == f"sft_abcdefgh_{'x' * 43} of old\n" for path in where.SECRETS)
    assert not old.path(where.BEFORE).exists()


def test_what_is_put_aside_comes_back_with_its_owner(old: Double, new: Double) -> None:
    moved(old, new)
    coming.prepared(old.host, "panel2", "r2")
    assert losing.lost(old.host, "panel2") == {"panel": True}
    assert old.database.stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("way_back", [False, True])
def test_all_that_had_come_is_gone_on_with(old: Double, new: Double, way_back: bool) -> None:
    if way_back:
        moved(old, new)
        new.fill(["carl"])
        old, new = new, old
        coming.prepared(new.host, "panel2", "r2")
        new.database.touch()
        new.database.chmod(0o660)
        leaving.held(old.host, "panel1", "r2")
        leaving.packed_last(old.host, "r2")
        new.path(where.COME).write_bytes(old.path(where.PACK).read_bytes())
        coming.filled(new.host, "r2", [])
    else:
        to_last(old, new)
        coming.filled(new.host, "r1", [])
    known = marks.read(new.host)["from"]
    assert losing.lost(new.host, known) == {"panel": True}
    assert (state(new), new.rows(), restored(new)) == ("", old.rows(), 1)
    assert new.running == new.enabled == set(places.UNITS)
    assert not any(new.path(path).exists() for path in (places.MAINTENANCE, where.BEFORE, where.COME, where.REPLACED))
    with pytest.raises(TransferError, match="nothing is to be done"):
        losing.lost(new.host, known)


def test_a_host_that_was_cut_off_as_it_took_over_ends_it_alone(
    old: Double, new: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_last(old, new)
    coming.filled(new.host, "r1", [])
    with monkeypatch.context() as patched:
        patched.setattr(replacing, "forget", cut_off)
        with pytest.raises(KeyboardInterrupt):
            coming.here(new.host, "r1")
    assert (state(new), places.HELD[0] in new.running) == ("here", False)
    assert losing.lost(new.host, "panel1") == {"panel": True}
    assert (state(new), new.running, new.rows()) == ("", set(places.UNITS), ["ada", "bob"])


def cut_off(*_given: object) -> None:
    raise KeyboardInterrupt


def test_what_lies_about_of_an_earlier_run_is_not_put_over_the_panel(old: Double, new: Double) -> None:
    # An empty panel, and a move to it that fails.
    new.fill([])
    to_last(old, new)
    assert coming.away(new.host) is True
    assert not new.path(where.BEFORE).exists()
    leaving.back(old.host, "panel2")
    # It is the panel later by a restore, goes to another host, and that is lost.
    new.fill(["real", "people"])
    new.file(f"{where.BEFORE}/database.sqlite3", "of once")
    leaving.held(new.host, "panel3", "r5")
    leaving.packed_last(new.host, "r5")
    leaving.gone(new.host, "r5")
    assert losing.lost(new.host, "panel3") == {"panel": True}
    assert new.rows() == ["real", "people"]


def test_a_way_back_that_fails_before_anything_is_put_aside_takes_nothing(
    old: Double, new: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(old, new)
    systemctl = old.systemctl
    with monkeypatch.context() as patched:
        patched.setattr(
            old, "systemctl", lambda words: Finished(1, err="no") if words[0] == "disable" else systemctl(words)
        )
        with pytest.raises(UpgradeError, match="systemctl disable failed"):
            coming.prepared(old.host, "panel2", "r2")
    with monkeypatch.context() as patched:
        patched.setattr(databases, "save", full)
        with pytest.raises(UpgradeError, match="No space left"):
            coming.prepared(old.host, "panel2", "r2")
    assert coming.away(old.host) is True
    assert (state(old), old.rows(), old.running) == ("gone", ["ada", "bob"], set())
    assert losing.lost(old.host, "panel2") == {"panel": True}
    assert old.rows() == ["ada", "bob"]


def full(*_given: object) -> None:
    raise UpgradeError("No space left on device")


def test_who_asks_again_loses_nothing_that_was_written_meanwhile(old: Double, new: Double) -> None:
    moved(old, new)
    coming.prepared(old.host, "panel2", "r2")
    systemctl = old.systemctl
    old.systemctl = lambda words: (  # type: ignore[method-assign]
        Finished(1, err="no") if words[0] == "start" and places.HELD[0] in words else systemctl(words)
    )
    with pytest.raises(UpgradeError, match="systemctl start failed"):
        losing.lost(old.host, "panel2")
    assert old.running == {places.PANEL}
    link = sqlite3.connect(old.database)
    link.execute("INSERT INTO customer VALUES ('since')")
    link.commit()
    link.close()
    old.systemctl = systemctl  # type: ignore[method-assign]
    seen: list[set[str]] = []

    def run(argv: Any, stdin: str, timeout: float) -> Finished:
        if argv[-1] == "restored":
            seen.append(set(old.running))
        return old.run(argv, stdin, timeout)

    assert losing.lost(Host(old.root, run, own=False, sleep=lambda _seconds: None), "panel2") == {"panel": True}
    assert (old.rows(), seen) == (["ada", "bob", "since"], [set()])


def test_a_host_that_was_released_and_gets_nothing_has_no_panel(old: Double, new: Double) -> None:
    moved(old, new)
    leaving.released(old.host, [])
    databases.empty(old.host, databases.database_of(old.host))
    coming.prepared(old.host, "panel2", "r2")
    assert losing.lost(old.host, "panel2") == {"panel": False}
    assert (state(old), old.running, old.enabled) == ("released", set(), set())


def test_nothing_is_left_that_the_lost_host_could_read(old: Double, new: Double) -> None:
    to_last(old, new)
    assert old.path(where.PACK).exists()
    assert losing.lost(old.host, "panel2") == {"panel": True}
    assert not old.path(where.PACK).exists()
