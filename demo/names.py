"""The demo's host names change while everything is on the air, and change back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from demo import media, on_air
from demo.report import Report
from demo.show import ENCODERS, fetch
from demo.stage import NODE, PANEL_HOST, ROOT, STREAM_HOST, DemoError, Stage
from demo.viewer import Viewer

OLD, NEW = ".demo.localhost", ".moved.localhost"
PANEL_MOVED, STREAM_MOVED = PANEL_HOST.replace(OLD, NEW), STREAM_HOST.replace(OLD, NEW)
#: Longer than both changes take.
SECONDS = 1800
#: What is listened to: one of an encoder, one that plays by itself. Both are MP3 at 128 kbit/s.
STATIONS = {"the station": "ada-fm", "the station that plays by itself": "ada-night"}
BYTES_A_SECOND = 16_000


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
    stage: Stage,
    report: Report,
    stations: Mapping[str, str] = STATIONS,
    how: str = ", by the old name,",
    through: str = "both changes",
) -> Iterator[None]:
    """Somebody on each of these and on the channel, and the encoders; at the end nobody was dropped or missed anything.

    ``stations``: slug by what the report calls them. ``how``: they listen, and ``through`` what, in the report's words.
    """
    known = {name: on_air.running(stage, name) for name in ENCODERS}
    if not all(known.values()):
        raise DemoError(
            f"Not on the air: {', '.join(name for name, alive in known.items() if not alive)}. Run make demo."
        )
    with contextlib.ExitStack() as ends:
        listeners = {name: _listener(stage, slug, ends) for name, slug in stations.items()}
        viewer = Viewer(stage, STREAM_HOST, "/hls/lin-tv")
        viewer.start()
        ends.callback(viewer.stop)
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        for name, (process, heard) in listeners.items():
            alive, size = process.poll() is None, heard.stat().st_size
            # What was on its way when it was looked at, and what the station's own clock lags behind.
            whole = size > (took - 3) * BYTES_A_SECOND
            report.check(
                f"A listener of {name}{how} was not dropped through {through}, and lost nothing",
                alive and whole,
                f"one connection, {took:.0f} s, {size} bytes, at {BYTES_A_SECOND} bytes a second",
            )
        viewer.stop()
        report.check(
            f"A viewer of the channel{how} missed no segment",
            not viewer.faults and viewer.segments > took / 4,
            "; ".join(viewer.faults[:3]) or f"{viewer.segments} segments in {took:.0f} s",
        )
        still = [name for name in ENCODERS if on_air.running(stage, name)]
        report.check("The encoders stayed on the air through it", len(still) == len(ENCODERS), ", ".join(still))


def _listener(stage: Stage, slug: str, ends: contextlib.ExitStack) -> tuple[subprocess.Popen[str], Path]:
    """One connection to a station, which ends with ``ends``, and the file of what it hears."""
    heard = stage.state / f"heard-{slug}.mp3"
    heard.unlink(missing_ok=True)
    url = f"https://{STREAM_HOST}/listen/{slug}/stream"
    process = subprocess.Popen(
        stage.inside(media.curl(url, str(stage.ca), NODE, seconds=SECONDS, output=str(heard))),
        cwd=ROOT, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    ends.callback(heard.unlink, missing_ok=True)
    ends.callback(process.wait)
    ends.callback(process.terminate)
    deadline = time.monotonic() + 30
    while not (heard.is_file() and heard.stat().st_size):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"{url} is not heard.")
        time.sleep(0.2)
    return process, heard
