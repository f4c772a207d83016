"""Ask this host's server as clients would: probe.py HOST_NAME FTPS_PORT SFTP_PORT. Prints lines fault|detail."""

import contextlib
import ftplib
import socket
import ssl
import subprocess
import sys

AUTHORITIES = ("/etc/streamfleet/ca/ca.pem", "/etc/streamfleet/ca/further.pem")
UNITS = {"streamfleet-file-transfer.service": "stopped", "streamfleet-file-transfer-quota.service": "quota"}


def main() -> None:
    """Every fault is one line."""
    name, ftps, sftp = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    stopped = False
    for unit, fault in UNITS.items():
        if subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode != 0:
            print(f"{fault}|")
            stopped = stopped or fault == "stopped"
    if not stopped:
        _sftp(sftp)
        _plain(ftps)
        _ftps(name, ftps)


def _sftp(port: int) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
            said = link.recv(255)
        if not said.startswith(b"SSH-2.0-"):
            print(f"sftp|{said[:60]!r}")
    except OSError as error:
        print(f"sftp|{error}")


def _plain(port: int) -> None:
    with contextlib.suppress(OSError, EOFError), ftplib.FTP(timeout=10) as client:  # noqa: S321  (that it is refused is what is asked)
        client.connect("127.0.0.1", port)
        try:
            print(f"plain|{client.sendcmd('USER nobody')}")
        except ftplib.Error:
            return


def _ftps(name: str, port: int) -> None:
    context = ssl.create_default_context()
    for path in AUTHORITIES:
        with contextlib.suppress(OSError):
            context.load_verify_locations(path)
    try:
        client = ftplib.FTP_TLS(context=context, timeout=10)  # noqa: S321  (over TLS)
        client.connect("127.0.0.1", port)
        client.host = name  # what the certificate must say
        client.auth()
        client.close()
    except ssl.SSLCertVerificationError as error:
        print(f"certificate|{error.verify_message}")
    except (OSError, EOFError, ftplib.Error) as error:
        print(f"ftps|{error}")


if __name__ == "__main__":
    main()
