"""Ask this host's RTMP server as an encoder would; print one line per fault: a word, and details after a bar.

Arguments: RTMP port, packaging port, callback port, port of RTMPS or 0, the streams' host name, path of the authority's
certificate. Beside it may lie those of further authorities that clients trust.
"""

import grp
import json
import os
import socket
import ssl
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
        _greet(link)


def _greet(link: socket.socket) -> None:
    link.sendall(b"\x03" + bytes(1536))
    if link.recv(1) != b"\x03":
        raise ConnectionError("another protocol answers")


def shake_hands_by_tls(port: int, host: str, authority: str) -> None:
    """Do the same through TLS, with the certificate verified. Raises OSError."""
    context = ssl.create_default_context()
    for trusted in (Path(authority), Path(authority).with_name("further.pem")):
        if trusted.exists():
            context.load_verify_locations(trusted)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as link,
    ):
        _greet(link)


def look_at_tls(port: int, host: str, authority: str) -> None:
    """Print the faults of the listener for RTMPS."""
    if subprocess.run(["systemctl", "is-active", "--quiet", "streamfleet-rtmps.service"], check=False).returncode:
        fault("tls_stopped")
        return
    state = subprocess.run(
        ["/usr/lib/streamfleet/rtmp/tls-state"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if state != "fresh":
        fault("tls_stale", state)
    try:
        shake_hands_by_tls(port, host, authority)
    except ssl.SSLCertVerificationError as error:
        fault("certificate", f"{host}: {error.verify_message}")
    except ssl.SSLError as error:
        fault("handshake", f"{host}: {error.reason}")
    except OSError as error:
        fault("tls", f"port {port}: {error}")


def main() -> None:
    """Look from the unit outward."""
    rtmp, hop, callbacks, tls = (int(port) for port in sys.argv[1:5])
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
    if tls:
        look_at_tls(tls, *sys.argv[5:7])
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
