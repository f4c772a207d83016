"""What streamfleet_units asks for, and in which order. systemctl is a double that knows a few units."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from streamfleet.host_units import Unit, UnitsError, ensure
from streamfleet.node_apply.host import Finished, Host

A, B = "a.service", "b.service"


class SystemctlDouble:
    """Units by name: load, active, enabled, stale on disk. Refuses to act on what is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.units: dict[str, dict[str, str]] = {}
        self.acts: list[str] = []
        self.word = "fresh"
        self.broken = ""
        #: As systemd of Debian 13: what has been enabled is to be read anew.
        self.counts_links = False
        (root / "run").mkdir()

    def add(self, name: str, active: str = "inactive", enabled: str = "disabled", reload: str = "no") -> None:
        self.units[name] = {"active": active, "enabled": enabled, "reload": reload}

    def host(self) -> Host:
        return Host(root=self.root, run=self.run, own=False)

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        if argv[0] == "/usr/lib/ask":
            return Finished(0, out=f"{self.word}\n")
        if argv[0] == "journalctl":
            return Finished(0, out="the last words\n")
        assert argv[0] == "systemctl"
        verb = argv[1]
        names = list(argv[argv.index("--") + 1 :]) if "--" in argv else []
        if verb == "show" and "Result,ExecMainStatus,LoadState" in argv:
            return Finished(0, out="Result=exit-code\nExecMainStatus=1\nLoadState=loaded\n")
        if verb == "show":
            blocks = []
            for name in names:
                unit = self.units.get(name)
                state = unit or {"active": "inactive", "enabled": "", "reload": "no"}
                blocks.append(
                    f"Id={name}\nLoadState={'loaded' if unit else 'not-found'}\nActiveState={state['active']}\n"
                    f"UnitFileState={state['enabled']}\nNeedDaemonReload={state['reload']}"
                )
            return Finished(0, out="\n\n".join(blocks) + "\n")
        self.acts.append(" ".join([verb, *names]))
        for name in names:
            if name not in self.units:
                return Finished(5, err=f"Unit {name} not found.")
            if name == self.broken:
                return Finished(1, err=f"Job for {name} failed.")
            if verb == "enable":
                # Of one that it has not forgotten systemd tells what it has read of it.
                late = self.units[name]["active"] == "failed"
                self.units[name]["links" if late else "enabled"] = "enabled"
                self.units[name]["reload"] = "yes" if self.counts_links else self.units[name]["reload"]
            elif verb in ("start", "restart"):
                self.units[name]["active"] = "active"
        if verb == "daemon-reload":
            for unit in self.units.values():
                unit |= {"reload": "no", "enabled": unit.get("links", unit["enabled"])}
        return Finished(0)


@pytest.fixture
def double(tmp_path: Path) -> SystemctlDouble:
    return SystemctlDouble(tmp_path)


def unit(name: str, **more: Any) -> Unit:
    return Unit.of({"name": name, "stale": [], "ask": [], "answers": {}, "pending": "nothing", **more})


def both(double: SystemctlDouble, *units: Unit) -> dict[str, Any]:
    foretold = ensure(double.host(), units, check=True)
    assert double.acts == []
    done = ensure(double.host(), units)
    assert foretold == done
    return done


def test_units_are_enabled_and_started_in_bulk(double: SystemctlDouble) -> None:
    double.add(A, reload="yes")
    double.add(B, enabled="enabled")
    done = both(double, unit(A), unit(B))
    assert done == {"changed": True, "units": {A: ["enable", "start"], B: ["start"]}, "daemon_reload": True}
    assert double.acts == ["daemon-reload", f"enable {A}", f"start {A} {B}"]
    assert ensure(double.host(), [unit(A), unit(B)]) == {"changed": False, "units": {}, "daemon_reload": False}


def test_what_enabling_leaves_to_be_read_is_read_in_the_same_run(double: SystemctlDouble) -> None:
    double.counts_links = True
    double.add(A)
    assert both(double, unit(A))["units"] == {A: ["enable", "start"]}
    assert double.acts == [f"enable {A}", "daemon-reload", f"start {A}"]
    assert ensure(double.host(), [unit(A)]) == {"changed": False, "units": {}, "daemon_reload": False}


def test_of_a_unit_that_has_failed_the_next_run_finds_that_it_is_enabled(double: SystemctlDouble) -> None:
    double.add(A, "failed")
    assert both(double, unit(A))["units"] == {A: ["enable", "start"]}
    assert double.acts == [f"enable {A}", "daemon-reload", f"start {A}"]
    assert ensure(double.host(), [unit(A)]) == {"changed": False, "units": {}, "daemon_reload": False}


def test_a_running_unit_is_out_of_date_when_a_path_is_newer_than_its_stamp(
    double: SystemctlDouble, tmp_path: Path
) -> None:
    double.add(A, "active", "enabled")
    stale = [
        {"stamp": "/run/started", "paths": ["/settings"], "verb": "restart"},
        {"stamp": "/run/loaded", "paths": ["/code", "/not-there"], "verb": "reload"},
    ]
    settings, code = tmp_path / "settings", tmp_path / "code"

    def touch(*paths: Path) -> None:
        time.sleep(0.02)  # Longer than a tick of the file system's clock.
        for path in paths:
            path.unlink(missing_ok=True)
            path.touch()

    touch(settings, code)
    # Without a stamp it was started by something older than what asks.
    assert both(double, unit(A, stale=stale))["units"] == {A: ["restart"]}
    double.acts.clear()
    touch(tmp_path / "run/started", tmp_path / "run/loaded")
    assert not both(double, unit(A, stale=stale))["changed"]
    # A link that was switched counts itself, not what it points to.
    time.sleep(0.02)
    code.unlink()
    code.symlink_to("old")
    assert both(double, unit(A, stale=stale))["units"] == {A: ["reload"]}
    double.acts.clear()
    touch(settings)
    assert both(double, unit(A, stale=stale))["units"] == {A: ["restart"]}


def test_the_host_is_asked_what_is_due(double: SystemctlDouble) -> None:
    double.add(A, "active", "enabled")
    asking = unit(A, ask=["/usr/lib/ask"], answers={"stale": "reload", "never": "restart"})
    assert not both(double, asking)["changed"]
    for word, verb in (("stale", "reload"), ("never", "restart")):
        double.word = word
        double.acts.clear()
        assert both(double, asking)["units"] == {A: [verb]}
    # One that is started now runs with what is there.
    double.units[A]["active"] = "failed"
    double.acts.clear()
    assert both(double, asking)["units"] == {A: ["start"]}


def test_the_caller_may_know_what_is_due(double: SystemctlDouble) -> None:
    double.add(A, "active", "enabled")
    assert both(double, unit(A, pending="reload"))["units"] == {A: ["reload"]}


def test_a_unit_that_is_not_there_is_foretold_in_check_mode_only(double: SystemctlDouble) -> None:
    assert ensure(double.host(), [unit(A)], check=True)["units"] == {A: ["enable", "start"]}
    with pytest.raises(UnitsError, match=r"unit a.service is not-found on this host: install it first"):
        ensure(double.host(), [unit(A)])


def test_a_unit_that_does_not_start_is_named_with_its_last_words(double: SystemctlDouble) -> None:
    double.add(A)
    double.add(B, enabled="enabled")
    double.broken = B
    with pytest.raises(UnitsError, match=r"start failed for b.service: exit-code, exit status 1; .*the last words"):
        ensure(double.host(), [unit(A), unit(B)])


def test_what_earlier_steps_would_have_written_is_foretold_and_then_done(
    double: SystemctlDouble, tmp_path: Path
) -> None:
    double.add(A, "active", "enabled")
    (tmp_path / "run/started").touch()
    stale = [
        {"stamp": "/run/started", "paths": ["/unit"], "verb": "restart"},
        {"stamp": "/run/started", "paths": ["/settings"], "verb": "reload"},
    ]
    one = [unit(A, stale=stale)]
    assert ensure(double.host(), one, True, ["/other"])["units"] == {}
    assert ensure(double.host(), one, True, ["/settings"])["units"] == {A: ["reload"]}
    assert ensure(double.host(), one, True, ["/settings", "/unit"])["units"] == {A: ["restart"]}
    assert double.acts == []
    # What was written is newer than the stamp by itself; what was not, is not.
    assert ensure(double.host(), one, False, ["/unit"])["units"] == {}
