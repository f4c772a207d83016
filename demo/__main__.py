"""``python -m demo`` with ``up``, ``domain``, ``backup``, ``upgrade`` or ``clean``."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable

from demo import backup, names, on_air, show, upgrade
from demo.report import Report
from demo.stage import ROOT, DemoError, Stage

STATE = ROOT / ".demo"


def up() -> int:
    """Put streams on the air, verify them, run it all again, say what is on the air."""
    return verified("report.json", show.run)


def domain() -> int:
    """Change the demo's host names with everything on the air, and change them back; puts it up first if it is not."""
    if not (STATE / "env").is_file() and (failed := up()):
        return failed
    return verified("domain-report.json", names.run)


def backed_up() -> int:
    """Back the demo up with everything on the air, lose things, and restore them; puts it up first if it is not."""
    if not (STATE / "env").is_file() and (failed := up()):
        return failed
    return verified("backup-report.json", backup.run)


def verified(file: str, run: Callable[[Stage, Report], None]) -> int:
    """Exit code of what is verified; its report lies in ``file``."""
    return _shown(Report(STATE / file), lambda report: run(Stage("demo", STATE), report))


def upgraded() -> int:
    """Upgrade release 0.1.0 with streams on the air, and count."""
    stage = _to_upgrade()
    status = _shown(Report(STATE / "upgrade-report.json"), lambda report: upgrade.run(stage, report))
    if status == 0:
        shutil.rmtree(stage.state)
    return status


def _to_upgrade() -> upgrade.FromTree:
    """The node that is upgraded; it is there only meanwhile."""
    return upgrade.FromTree("demo-upgrade", STATE / "upgrade", last_port=9999)


def _shown(report: Report, run: Callable[[Report], None]) -> int:
    """Run, write the report, and say what was not ok."""
    try:
        run(report)
    except (DemoError, OSError, subprocess.TimeoutExpired) as error:
        report.check("The demo runs through", False, str(error))
    report.write()
    bad = [entry["name"] for entry in report.checks if not entry["ok"]]
    if not report.ok:
        print(f"\n{len(bad)} of {len(report.checks)} checks failed: {'; '.join(bad)}", file=sys.stderr)
        print(f"The logs are in {report.path.parent}; `make demo-clean` removes everything.", file=sys.stderr)
        return 1
    return 0


def clean() -> int:
    """End the encoders, remove the nodes and the demo's files."""
    stage = Stage("demo", STATE)
    on_air.stop_all(stage)
    stage.remove()
    # One that was killed has left its own.
    _to_upgrade().remove()
    shutil.rmtree(STATE, ignore_errors=True)
    print("The demo is gone.")
    return 0


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("what", choices=["up", "domain", "backup", "upgrade", "clean"])
    return {"up": up, "domain": domain, "backup": backed_up, "upgrade": upgraded, "clean": clean}[
        parser.parse_args().what
    ]()


if __name__ == "__main__":
    sys.exit(main())
