"""Put a channel of Wowza on the air, or take it off: ``application on|off SLUG``.

Both have Wowza read the channel's Application.xml again, which says what is allowed now; a channel that is off the air
has one that allows nothing. Whoever is connected to it is thrown out, and nobody else. Exit code 1: the reason is on
stderr.
"""

import base64
import http.client
import json
import re
import sys
import time
from pathlib import Path

PLACE = Path("/etc/streamfleet/wowza")
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
APPLICATIONS = "/v2/servers/_defaultServer_/vhosts/_defaultVHost_/applications"
#: Seconds that Wowza may take to start, of which Java needs a good part.
PATIENCE = 80


class Refused(Exception):
    """What was asked for cannot be had."""


def ask(port: int, password: str, method: str, path: str) -> "tuple[int, dict[str, object]]":
    """One request to the REST interface. Raises OSError where nobody answers."""
    login = base64.b64encode(f"streamfleet:{password}".encode()).decode()
    headers = {
        "Accept": "application/json; charset=utf-8",
        "Content-Type": "application/json; charset=utf-8",
        "Authorization": f"Basic {login}",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read(1_000_000)
    try:
        found = json.loads(body)
    except ValueError:
        found = {}
    return answer.status, found if isinstance(found, dict) else {}


def restart(port: int, password: str, slug: str, patience: float) -> None:
    """Have Wowza read the channel's file again. Raises Refused with what it says, OSError where it is not there."""
    end = time.monotonic() + patience
    while True:
        try:
            status, said = ask(port, password, "PUT", f"{APPLICATIONS}/{slug}/actions/restart")
            break
        except ConnectionRefusedError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.5)
    if status == 401:
        raise Refused("Wowza does not take the password of its REST interface: run install.yml for this node")
    if status != 200 or said.get("success") is not True:
        raise Refused(f"Wowza answers {status}: {said.get('message') or 'without a reason'}")


def main() -> int:
    """Command line."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("on", "off") or not SLUG.fullmatch(sys.argv[2]):
        print(__doc__, file=sys.stderr)
        return 2
    verb, slug = sys.argv[1:]
    try:
        port = json.loads((PLACE / "settings.json").read_text())["rest_port"]
        password = (PLACE / "rest-password").read_text().strip()
        restart(port, password, slug, PATIENCE if verb == "on" else 0)
    except ConnectionRefusedError:
        if verb == "off":
            # Nothing is on the air, and the file keeps it so when Wowza starts.
            return 0
        print("Wowza is not running: see journalctl -u streamfleet-wowza.service", file=sys.stderr)
        return 1
    except (Refused, OSError, http.client.HTTPException) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
