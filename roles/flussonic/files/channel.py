"""Give a channel to Flussonic, or take it away: ``channel on|off SLUG``; ``channel all`` gives it every one.

What a channel is stands in its stream.json, the body of the request. Flussonic is asked over its API; whoever is
connected to another channel notices nothing. Exit code 1: the reason is on stderr.
"""

import base64
import http.client
import json
import re
import shutil
import sys
import time
from pathlib import Path

PLACE = Path("/etc/streamfleet/flussonic")
INSTANCES = Path("/etc/streamfleet/instances/flussonic")
KEPT = Path("/var/lib/flussonic/dvr")
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
API = "/streamer/api/v3"
#: Seconds that Flussonic may take to start.
PATIENCE = 80
#: What Flussonic says of itself when it does not serve, and what to do.
CAUSES = {
    "no_license": "it has no licence: run install.yml for this node",
    "license_failure": "it does not accept the licence key: check streamfleet_flussonic_licence_key",
    "no_config": "it has no configuration: run install.yml for this node",
    "broken_config": "it does not accept its configuration",
}


class Refused(Exception):
    """What was asked for cannot be had."""


def ask(method: str, path: str, body: "str | None" = None) -> "tuple[int, dict[str, object]]":
    """One request to the API. Raises OSError where nobody answers."""
    settings = (PLACE / "flussonic.conf").read_text()
    port = int(re.findall(r"^http 127\.0\.0\.1:([0-9]+);$", settings, re.MULTILINE)[0])
    login = base64.b64encode(f"streamfleet:{(PLACE / 'api-password').read_text().strip()}".encode()).decode()
    headers = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": f"Basic {login}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
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
        except ConnectionRefusedError:
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
    """Remove what Flussonic keeps of channels that this node no longer has."""
    for folder in KEPT.iterdir() if KEPT.is_dir() else []:
        if SLUG.fullmatch(folder.name) and not folder.is_symlink() and not (INSTANCES / folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)


def everything() -> int:
    """Give Flussonic every channel that is on the air; one that it refuses is no reason for the others to be off."""
    wait(PATIENCE)
    failed = 0
    for path in sorted(INSTANCES.glob("*/stream.json")):
        try:
            if not json.loads(path.read_text())["disabled"]:
                give(path.parent.name)
        except (Refused, OSError, ValueError) as error:
            failed = 1
            print(f"{path.parent.name}: {error}", file=sys.stderr)
    return failed


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
    except (Refused, OSError, http.client.HTTPException) as error:
        print(f"{error}", file=sys.stderr)
        return 0 if verb == "all" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
