"""Ask this host's Flussonic as encoders, the web server and converge do; print one line per fault.

A line is a word, and details after a bar. Arguments: the port of HTTP, that of RTMP, that of the gate.
"""

import base64
import http.client
import json
import socket
import subprocess
import sys
from pathlib import Path

PLACE = Path("/etc/streamfleet/flussonic")


def fault(word: str, detail: object = "") -> None:
    """Print one fault."""
    print(f"{word}|{detail}")


def ask(port: int, path: str) -> "tuple[int, dict[str, object]]":
    """Status and answer of the API. Raises OSError, ValueError."""
    login = base64.b64encode(b"streamfleet:" + (PLACE / "api-password").read_bytes().strip()).decode()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    link.request("GET", f"/streamer/api/v3{path}", headers={"Authorization": f"Basic {login}"})
    answer = link.getresponse()
    return answer.status, json.loads(answer.read() or b"{}")


def active(unit: str) -> bool:
    """Whether the unit runs."""
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def main() -> None:
    """Look from the program outward."""
    web, rtmp, gate = map(int, sys.argv[1:])
    if not Path("/opt/flussonic").is_dir() or not (PLACE / "flussonic.conf").is_file():
        fault("program")
        return
    if not active("flussonic.service"):
        fault("stopped")
        return
    try:
        status, answer = ask(web, "/config/stats")
    except (OSError, ValueError, http.client.HTTPException) as error:
        fault("api", error)
        return
    if status != 200:
        fault("api", f"it answers {status}")
        return
    if answer.get("streamer_status") != "running":
        fault("state", f"{answer.get('streamer_status')} {answer.get('text_alerts') or ''}")
        return
    for port in (rtmp, gate):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError as error:
            fault("ports" if port == rtmp else "gate", f"port {port}: {error}")
    listed = subprocess.run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", "streamfleet-flussonic@*.service"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for line in listed.stdout.splitlines():
        unit, _loaded, state, *_rest = line.split()
        slug = unit.removeprefix("streamfleet-flussonic@").removesuffix(".service")
        if state == "failed" or (state == "active" and ask(web, f"/streams/{slug}")[0] != 200):
            fault("channel", slug)


main()
