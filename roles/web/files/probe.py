"""Ask this host's web server as a client would; print one line per fault: a word, and details after a bar.

Arguments: HTTPS port, HTTP port, stream host or "", panel host or "", path of the authority's certificate or "".
Beside it may lie those of further authorities that clients trust.
"""

import http.client
import socket
import ssl
import subprocess
import sys
from pathlib import Path


def fault(word: str, detail: object = "") -> None:
    """Print one fault."""
    print(f"{word}|{detail}")


def runs(*command: str) -> "tuple[bool, str]":
    """Run a command; say whether it succeeded and what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def ask(host: str, port: int, path: str, authority: str) -> "tuple[int, bytes]":
    """GET over TLS with the certificate verified where there is something to verify it with."""
    context = ssl.create_default_context()
    for trusted in (Path(authority), Path(authority).with_name("further.pem")) if authority else ():
        if trusted.exists():
            context.load_verify_locations(trusted)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as link,
    ):
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(link)
        answer.begin()
        return answer.status, answer.read(65536)


def main() -> None:
    """Look from the unit outward."""
    https, http_port, stream, panel, authority = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
    if not runs("systemctl", "is-active", "--quiet", "nginx.service")[0]:
        valid, said = runs("nginx", "-t", "-q")
        fault("stopped", "" if valid else said)
        return
    valid, said = runs("nginx", "-t", "-q")
    if not valid:
        fault("invalid", said)
    if runs("/usr/lib/streamfleet/web/state")[1] != "fresh":
        fault("stale")
    try:
        socket.create_connection(("127.0.0.1", http_port), timeout=5).close()
    except OSError as error:
        fault("http", error)
    for host, path, expected in ((stream, "/", 404), (panel, "/api/v1/health", 200)):
        if not host:
            continue
        try:
            status, body = ask(host, https, path, authority)
        except ssl.SSLCertVerificationError as error:
            fault("certificate", f"{host}: {error.verify_message}")
        except ssl.SSLError as error:
            fault("handshake", f"{host}: {error.reason}")
        except (OSError, http.client.HTTPException) as error:
            fault("https", f"{host}: {error}")
        else:
            if host == panel and status in (502, 503, 504):
                fault("panel", host)
            elif status != expected:
                fault("answer", f"{host}{path}: {status}, expected {expected}: {body[:200]!r}")


main()
