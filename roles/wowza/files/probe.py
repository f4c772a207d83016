"""Ask this host's Wowza as encoders, the web server and converge do; print one line per fault.

A line is a word, and details after a bar.

Arguments: Wowza's folder, port of its REST interface.
"""

import base64
import http.client
import json
import pwd
import re
import socket
import subprocess
import sys
from pathlib import Path

PLACE = Path("/etc/streamfleet/wowza")
WANTS = Path("/etc/systemd/system/streamfleet-instances.target.wants")
#: Where Wowza sees customers' libraries.
MEDIA = Path("/run/streamfleet/wowzamedia")


def fault(word: str, detail: object = "") -> None:
    """Print one fault."""
    print(f"{word}|{detail}")


def applications(port: int) -> "tuple[int, list[str]]":
    """Status of the REST interface, and the applications that it knows. Raises OSError."""
    login = base64.b64encode(b"streamfleet:" + (PLACE / "rest-password").read_bytes().strip()).decode()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Accept": "application/json; charset=utf-8", "Authorization": f"Basic {login}"}
    link.request("GET", "/v2/servers/_defaultServer_/vhosts/_defaultVHost_/applications", headers=headers)
    answer = link.getresponse()
    body = answer.read()
    found = json.loads(body).get("applications", []) if answer.status == 200 else []
    return answer.status, [item["id"] for item in found]


def main() -> None:
    """Look from the program outward."""
    home, rest = Path(sys.argv[1]), int(sys.argv[2])
    if not (home / "bin/startup.sh").is_file() or not (PLACE / "settings.json").is_file():
        fault("program")
        return
    if subprocess.run(["systemctl", "is-active", "--quiet", "streamfleet-wowza.service"], check=False).returncode:
        fault("stopped")
        return
    settings = json.loads((PLACE / "settings.json").read_text())
    for name in ("port", "hls_port", "tv_port"):
        try:
            socket.create_connection(("127.0.0.1", settings[name]), timeout=5).close()
        except OSError as error:
            fault("ports", f"port {settings[name]}: {error}")
    listed = ["nft", "list", "set", "inet", "streamfleet_tenants", "engines"]
    held = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.partition("elements")[2]
    if f"{pwd.getpwnam('streamfleet-wowza').pw_uid}" not in re.findall(r"[0-9]+", held):
        fault("firewall")
    if subprocess.run(
        ["systemctl", "is-active", "--quiet", "streamfleet-wowza-recordings.service"], check=False
    ).returncode:
        fault("recordings")
    if not MEDIA.is_mount():
        fault("media")
    try:
        status, known = applications(rest)
    except (OSError, ValueError, http.client.HTTPException) as error:
        fault("rest", error)
        return
    if status != 200:
        fault("rest", f"it answers {status}")
    listed = subprocess.run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", "streamfleet-wowza@*.service"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for line in listed.stdout.splitlines():
        unit, _loaded, active, *_rest = line.split()
        slug = unit.removeprefix("streamfleet-wowza@").removesuffix(".service")
        if active == "failed" or (active == "active" and slug not in known):
            fault("channel", slug)
    for wanted in sorted(WANTS.glob("streamfleet-wowza-tv@*.service")):
        if subprocess.run(["systemctl", "is-active", "--quiet", wanted.name], check=False).returncode:
            fault("programme", wanted.name)


main()
