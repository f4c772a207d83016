"""The demo's host names change while everything is on the air, and change back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator

from demo import media, on_air
from demo.report import Report
from demo.show import ENCODERS, fetch
from demo.stage import NODE, PANEL_HOST, ROOT, STREAM_HOST, DemoError, Stage

OLD, NEW = ".demo.localhost", ".moved.localhost"
PANEL_MOVED, STREAM_MOVED = PANEL_HOST.replace(OLD, NEW), STREAM_HOST.replace(OLD, NEW)
#: Longer than both changes take.
SECONDS = 600


def run(stage: Stage, report: Report) -> None:
    """Everything, in order, on a demo that is up. Raises DemoError when it cannot go on."""
    stage.known_as(PANEL_MOVED, STREAM_MOVED)
    with listening(stage, report):
        report.step(f"Changing *{OLD} to *{NEW} (playbooks/domain_change.yml)")
        change(stage, {"from": OLD, "to": NEW})
        for host, what in ((STREAM_MOVED, "new"), (STREAM_HOST, "old")):
            status, size = fetch(stage, f"https://{host}/listen/ada-fm/mobile")
            report.check(
                f"The station plays by its {what} name, certificate checked", status == 200, f"{status}, {size} bytes"
            )
        status, _size = fetch(stage, f"https://{PANEL_MOVED}/login/")
        report.check("The panel's pages are had by its new name", status == 200, status)
        status, _size = fetch(stage, f"https://{PANEL_HOST}/login/")
        report.check("The old name leads there", status == 308, status)
        status, _size = fetch(stage, f"https://{PANEL_HOST}/api/v1/health")
        report.check("The API is answered by the old name, too", status == 200, status)
        told = stage.api().request("GET", "/media-services/ada-fm").data["listen_urls"]
        report.check("Customers are told the new name", all(STREAM_MOVED in url for url in told), told[0])
        report.step("Changing back, and giving the other name up")
        # The demo's inventory is as it was: only the host had moved.
        change(stage, {"from": NEW, "to": OLD})
        change(stage, {"release": NEW})
        status, _size = fetch(stage, f"https://{PANEL_HOST}/login/")
        report.check("The panel's pages are had by its first name again", status == 200, status)
    recap = stage.install()
    report.check(
        "install.yml changes nothing afterwards",
        recap.changed == 0 < recap.ok,
        f"{recap.ok} ok, {recap.changed} changed",
    )


def change(stage: Stage, asked: dict[str, str]) -> None:
    """Run the playbook."""
    variables = stage.added | {f"domain_change_{name}": value for name, value in asked.items()}
    stage.playbook("playbooks/domain_change.yml", "-e", json.dumps(variables))


@contextlib.contextmanager
def listening(
    stage: Stage, report: Report, who: str = "A listener by the old name", through: str = "both changes"
) -> Iterator[None]:
    """A listener and the encoders; at the end neither has been dropped."""
    url = f"https://{STREAM_HOST}/listen/ada-fm/stream"
    known = {name: on_air.running(stage, name) for name in ENCODERS}
    if not all(known.values()):
        raise DemoError(
            f"Not on the air: {', '.join(name for name, alive in known.items() if not alive)}. Run make demo."
        )
    with subprocess.Popen(
        stage.inside(media.curl(url, str(stage.ca), NODE, seconds=SECONDS)), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as listener:
        began = time.monotonic()
        try:
            yield
            took = time.monotonic() - began
            alive = listener.poll() is None
            report.check(f"{who} stayed through {through}", alive, f"one connection, {took:.0f} s")
            still = [name for name in ENCODERS if on_air.running(stage, name)]
            report.check("The encoders stayed on the air through it", len(still) == len(ENCODERS), ", ".join(still))
        finally:
            listener.terminate()
