"""Ask a server as its clients do. Each answers "" where it is well, else why it is not."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable

#: What stands for a server that takes connections and says nothing.
SILENT = "it takes the connection and answers nothing"


def twice(ask: Callable[[float], str], patience: float) -> str:
    """Ask, and where there was no answer once more with double patience: a busy host is no fault."""
    return ask(patience) and ask(patience * 2)


def tcp(port: int, patience: float) -> str:
    """Whether the port takes connections."""
    with _told() as said, socket.create_connection(("127.0.0.1", port), timeout=patience):
        pass
    return said[0] if said else ""


def http_text(port: int, patience: float, path: str = "/") -> str:
    """Whether anything answers a request of HTTP."""
    with _told() as said, socket.create_connection(("127.0.0.1", port), timeout=patience) as link:
        link.sendall(f"GET {path} HTTP/1.0\r\nUser-Agent: streamfleet-doctor\r\n\r\n".encode())
        if not link.recv(1):
            said.append("it ends the connection")
    return said[0] if said else ""


def rtmp(port: int, patience: float) -> str:
    """Whether the first half of RTMP's handshake is answered."""
    with _told() as said, socket.create_connection(("127.0.0.1", port), timeout=patience) as link:
        link.sendall(b"\x03" + bytes(1536))
        if link.recv(1) != b"\x03":
            said.append("another protocol answers")
    return said[0] if said else ""


def https(port: int, name: str, path: str, patience: float) -> tuple[int, str]:
    """Status of the answer, 0 where there is none, and why. The certificate is another theme's."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    status = 0
    with (
        _told() as said,
        socket.create_connection(("127.0.0.1", port), timeout=patience) as plain,
        context.wrap_socket(plain, server_hostname=name) as link,
    ):
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}\r\nUser-Agent: streamfleet-doctor\r\n\r\n".encode())
        answer = http.client.HTTPResponse(link)
        answer.begin()
        status = answer.status
    return status, said[0] if said else ""


def unix_http(path: str, request: str, headers: dict[str, str], patience: float) -> tuple[int, str, str]:
    """Status, the beginning of the answer and why there is none, of a server on a socket of the file system."""
    status, body = 0, ""
    with _told() as said, socket.socket(socket.AF_UNIX) as link:
        link.settimeout(patience)
        link.connect(path)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        link.sendall(f"GET {request} HTTP/1.0\r\n{lines}\r\n".encode())
        answer = http.client.HTTPResponse(link)
        answer.begin()
        status, body = answer.status, answer.read(2000).decode(errors="replace")
    return status, body, said[0] if said else ""


def greeting(port: int, patience: float) -> tuple[str, str]:
    """The line with which a server begins, and why there is none."""
    line = ""
    with _told() as said, socket.create_connection(("127.0.0.1", port), timeout=patience) as link:
        line = link.recv(255).decode(errors="replace").strip()
    return line, said[0] if said else ""


class _told(contextlib.AbstractContextManager["list[str]"]):  # noqa: N801 - used as a function
    """Takes what goes wrong, in words."""

    def __enter__(self) -> list[str]:
        self._said: list[str] = []
        return self._said

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, TimeoutError):
            self._said.insert(0, SILENT)
        elif isinstance(error, ssl.SSLError):
            self._said.insert(0, f"TLS: {error.reason or error}")
        elif isinstance(error, OSError):
            self._said.insert(0, error.strerror or str(error))
        elif isinstance(error, http.client.HTTPException):
            self._said.insert(0, f"no answer of HTTP: {type(error).__name__}")
        else:
            return False
        return True
