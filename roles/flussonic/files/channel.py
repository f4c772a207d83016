"""Give a channel to Flussonic, or take it away: ``channel on|off SLUG``; ``channel all`` gives it every one.

What a channel is stands in its stream.json, the body of the request. Flussonic is asked over its API; whoever is
connected to another channel notices nothing. Exit code 1: the reason is on stderr.
"""

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

PLACE = Path("/etc/streamfleet/flussonic")
INSTANCES = Path("/etc/streamfleet/instances/flussonic")
KEPT = Path("/var/lib/flussonic/dvr")
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
API = "/streamer/api/v3"
#: Seconds that Flussonic may take to start, to answer, and to take all channels at its start (its unit waits for 300).
PATIENCE = 80
ANSWER = 10
ALL_SECONDS = 240
#: What Flussonic says of itself when it does not serve, and what to do.
CAUSES = {
    "no_license": "it has no licence: run install.yml for this node",
    "license_failure": "it does not accept the licence key: check streamfleet_flussonic_licence_key",
    "no_config": "it has no configuration: run install.yml for this node",
    "broken_config": "it does not accept its configuration",
}


class Refused(Exception):
    """What was asked for cannot be had."""


#: What goes wrong between this program, its files and Flussonic.
FAULTS = (Refused, OSError, http.client.HTTPException, ValueError)


def ask(method: str, path: str, body: "str | None" = None) -> "tuple[int, dict[str, object]]":
    """One request to the API. Raises OSError where nobody answers."""
    settings = (PLACE / "flussonic.conf").read_text()
    port = int(re.findall(r"^http 127\.0\.0\.1:([0-9]+);$", settings, re.MULTILINE)[0])
    login = base64.b64encode(f"streamfleet:{(PLACE / 'api-password').read_text().strip()}".encode()).decode()
    headers = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": f"Basic {login}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER)
    connection.request(method, f"{API}{path}", body, headers)
    answer = connection.getresponse()
    try:
        found = json.loads(answer.read(4_000_000))
    except ValueError:
        found = {}
    return answer.status, found if isinstance(found, dict) else {}


def said(answer: "dict[str, object]") -> str:
    """Why Flussonic refuses, in its words."""
    words = [str(answer[key]) for key in ("error", "detail", "reason", "errors") if answer.get(key)]
    return ": ".join(words)[:300] or "without a reason"


def wait(patience: float) -> None:
    """Until Flussonic serves. Raises Refused where it says that it does not, OSError where it is not there."""
    end = time.monotonic() + patience
    while True:
        try:
            status, answer = ask("GET", "/config/stats")
            state = str(answer.get("streamer_status", "running"))
            if status == 200 and state != "starting":
                break
        except (OSError, http.client.HTTPException):
            if time.monotonic() >= end:
                raise
            status, answer, state = 0, {}, "starting"
        if status == 401:
            raise Refused("Flussonic does not take the password of its API: run install.yml for this node")
        if time.monotonic() >= end:
            raise Refused(f"Flussonic does not get ready: it answers {status}, {state}")
        time.sleep(0.3)
    if state != "running":
        alerts = answer.get("text_alerts") or ""
        raise Refused(f"Flussonic does not serve: {CAUSES.get(state, state)}. It says: {alerts or state}")


def give(slug: str) -> None:
    """Have Flussonic take the channel as its file says. Raises Refused, OSError."""
    status, answer = ask("PUT", f"/streams/{slug}", (INSTANCES / slug / "stream.json").read_text())
    if status not in (200, 201, 204):
        raise Refused(f"Flussonic answers {status}: {said(answer)}")


def take(slug: str) -> None:
    """Have Flussonic forget the channel. Raises Refused, OSError."""
    status, answer = ask("DELETE", f"/streams/{slug}")
    if status not in (200, 204, 404):
        raise Refused(f"Flussonic answers {status}: {said(answer)}")


def sweep() -> None:
    """Remove what Flussonic keeps of channels that this node no longer has.

    The folder is Flussonic's own, and this runs as root: no link of its making is followed.
    """
    try:
        place = os.open(KEPT, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        for name in os.listdir(place):  # noqa: PTH208 - of the folder that is open, wherever its name leads by now
            if SLUG.fullmatch(name) and not (INSTANCES / name).exists():
                shutil.rmtree(name, ignore_errors=True, dir_fd=place)
    finally:
        os.close(place)


def again(slug: str) -> None:
    """Have the channel's unit started anew, when Flussonic runs."""
    unit = f"streamfleet-flussonic@{slug}.service"
    with contextlib.suppress(OSError):
        subprocess.run(["systemctl", "--no-block", "try-restart", unit], capture_output=True, check=False)


def back(slugs: "list[str]") -> None:
    """Have units of these channels that have failed, as all do while a licence has run out, started once more."""
    unit = "streamfleet-flussonic@{}.service"
    listing = ["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--full", unit.format("*")]
    with contextlib.suppress(OSError):
        failed = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split()
        due = [unit.format(slug) for slug in slugs if unit.format(slug) in failed]
        if due:
            subprocess.run(["systemctl", "--no-block", "start", *due], capture_output=True, check=False)


def everything() -> None:
    """Give Flussonic every channel that is on the air; one that it does not take is no reason for the others to be off.

    Its unit is started anew once Flussonic runs: it comes to be, or fails, and converge sees that.
    """
    given = []
    end = time.monotonic() + ALL_SECONDS
    try:
        wait(PATIENCE)
        ready = True
    except FAULTS as error:
        print(f"{error}", file=sys.stderr)
        ready = False
    for path in sorted(INSTANCES.glob("*/stream.json")):
        slug = path.parent.name
        try:
            if json.loads(path.read_text())["disabled"]:
                continue
            if not ready or time.monotonic() >= end:
                raise Refused("Flussonic was not ready for it in time")
            give(slug)
            given.append(slug)
        except (*FAULTS, KeyError, TypeError) as error:
            print(f"{slug}: {error}", file=sys.stderr)
            again(slug)
    back(given)


def one(verb: str, slug: str) -> None:
    """Put one channel on the air or off it. Raises Refused, OSError."""
    if verb == "on":
        wait(PATIENCE)
        give(slug)
        return
    try:
        take(slug)
    except ConnectionRefusedError:
        # Nothing is on the air, and the file keeps it so when Flussonic starts.
        return


def main() -> int:
    """Command line."""
    verb, slug = [*sys.argv[1:], "", ""][:2]
    if not (verb == "all" and not slug) and not (verb in ("on", "off") and SLUG.fullmatch(slug)):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if verb == "all":
            # Never in the way of Flussonic's own start: what is wrong is in the journal, and self_check tells it.
            everything()
        else:
            one(verb, slug)
        sweep()
    except FAULTS as error:
        print(f"{error}", file=sys.stderr)
        return 0 if verb == "all" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
