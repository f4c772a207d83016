"""``python -m demo up`` and ``python -m demo clean``."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys

from demo import on_air, show
from demo.report import Report
from demo.stage import ROOT, DemoError, Stage

STATE = ROOT / ".demo"


def up() -> int:
    """Put streams on the air, verify them, run it all again, say what is on the air."""
    stage = Stage("demo", STATE)
    report = Report(STATE / "report.json")
    try:
        show.run(stage, report)
    except (DemoError, OSError, subprocess.TimeoutExpired) as error:
        report.check("The demo runs through", False, str(error))
    report.write()
    bad = [entry["name"] for entry in report.checks if not entry["ok"]]
    if not report.ok:
        print(f"\n{len(bad)} of {len(report.checks)} checks failed: {'; '.join(bad)}", file=sys.stderr)
        print("The logs are in .demo/; `make demo-clean` removes everything.", file=sys.stderr)
        return 1
    return 0


def clean() -> int:
    """End the encoders, remove the node and the demo's files."""
    stage = Stage("demo", STATE)
    on_air.stop_all(stage)
    stage.remove()
    shutil.rmtree(STATE, ignore_errors=True)
    print("The demo is gone.")
    return 0


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("what", choices=["up", "clean"])
    return {"up": up, "clean": clean}[parser.parse_args().what]()


if __name__ == "__main__":
    sys.exit(main())
