"""Ask this host's RTMP server as an encoder would; print one line per fault: a word, and details after a bar.

Arguments: RTMP port, packaging port, callback port.
"""

import grp
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

HLS = "/run/streamfleet/hls"
KEYS = "/etc/streamfleet/publish-keys"


def fault(word: str, detail: object = "") -> None:
    """Print one fault."""
    print(f"{word}|{detail}")


def shake_hands(port: int) -> None:
    """Do the first half of RTMP's handshake. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(b"\x03" + bytes(1536))
        if link.recv(1) != b"\x03":
            raise ConnectionError("another protocol answers")


def main() -> None:
    """Look from the unit outward."""
    rtmp, hop, callbacks = (int(port) for port in sys.argv[1:4])
    if subprocess.run(["systemctl", "is-active", "--quiet", "streamfleet-rtmp.service"], check=False).returncode:
        fault("stopped")
        return
    state = json.loads(
        subprocess.run(["/usr/lib/streamfleet/rtmp/state"], capture_output=True, text=True, check=True).stdout
    )
    if state["state"] != "fresh":
        fault("stale", f"{state['publishers']} encoders are publishing.")
    for port in (rtmp, hop):
        try:
            shake_hands(port)
        except OSError as error:
            fault("rtmp", f"port {port}: {error}")
    try:
        socket.create_connection(("127.0.0.1", callbacks), timeout=5).close()
    except OSError as error:
        fault("callbacks", f"port {callbacks}: {error}")
    if not os.path.ismount(HLS):
        fault("mount")
    else:
        space = os.statvfs(HLS)
        if space.f_bavail * space.f_frsize < 64 * 1024 * 1024:
            fault("space", f"{space.f_bavail * space.f_frsize // 1024 // 1024} MiB are free.")
        if grp.getgrgid(Path(HLS).stat().st_gid).gr_name != "www-data":
            fault("rights")
    if not Path(KEYS).is_dir():
        fault("keys")


main()
