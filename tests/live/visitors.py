"""Whoever asks over HTTPS by a host name: certificates verified, redirects looked at, cookies kept as browsers do."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit

from cryptography import x509


class Served(Protocol):
    """What is asked: its address, and the authority that clients trust."""

    @property
    def address(self) -> str: ...

    @property
    def ca(self) -> Path: ...


class Answer(NamedTuple):
    """Status, headers, and what was read of the body."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def location(self) -> str:
        """Where it leads; empty where it does not."""
        return str(self.headers.get("Location", ""))


def asked(
    site: Served, host: str, path: str, method: str = "GET", headers: str = "", body: str = "", read: int = 0
) -> Answer:
    """The answer; of its body no more than ``read`` bytes. Raises OSError, as where the certificate is another's."""
    context = ssl.create_default_context(cafile=str(site.ca))
    with (
        socket.create_connection((site.address, 443), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host) as link,
    ):
        link.sendall(f"{method} {path} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n{body}".encode())
        return _answer(link, read)


def shown(address: str, name: str | None, port: int = 443) -> x509.Certificate:
    """The certificate, whoever has signed it, that a new connection is shown which names ``name`` (None: nobody)."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((address, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as link,
    ):
        found = link.getpeercert(binary_form=True)
    assert found
    return x509.load_der_x509_certificate(found)


def _answer(link: socket.socket, read: int) -> Answer:
    try:
        answer = http.client.HTTPResponse(link)
        answer.begin()
        return Answer(answer.status, answer.headers, answer.read(read).decode(errors="replace") if read else "")
    except http.client.HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from None


def ask(site: Served, host: str, path: str, method: str = "GET", headers: str = "") -> tuple[int, str]:
    """Status, and where it leads."""
    answer = asked(site, host, path, method, headers)
    return answer.status, answer.location


def plays(site: Served, url: str) -> bool:
    """Whether an address that listeners are told is answered."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return asked(site, host, parts.path).status == 200
    assert parts.scheme == "http", url
    with socket.create_connection((site.address, parts.port or 80), timeout=20) as link:
        link.sendall(f"GET {parts.path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        return _answer(link, 0).status == 200


class Visitor:
    """Somebody at the panel's pages. ``host``: where he is, which changes where he is led to another."""

    def __init__(self, site: Served, host: str) -> None:
        self._site, self.host = site, host
        self._cookies: dict[str, dict[str, str]] = defaultdict(dict)
        self._form: tuple[str, str] | None = None

    def get(self, path: str) -> Answer:
        """A page, wherever it leads. Raises OSError."""
        for _turn in range(6):
            answer = self._ask("GET", path)
            if not answer.location:
                return answer
            there = urlsplit(answer.location)
            self.host = there.hostname or self.host
            path = f"{there.path}?{there.query}" if there.query else there.path
        raise ConnectionError(f"{self.host}{path} leads round and round")

    def open_form(self) -> bool:
        """Go to where people log in; whether there is a form."""
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get("/login/").text)
        self._form = (self.host, found[1]) if found else None
        return found is not None

    def send_form(self, name: str, password: str) -> int:
        """Send the form that was opened, to where that was; the status, 302 where it is taken."""
        assert self._form
        self.host, token = self._form
        body = urlencode({"csrfmiddlewaretoken": token, "username": name, "password": password})
        return self._ask("POST", "/login/", body).status

    def is_in(self) -> bool:
        """Whether he is logged in where he is, or where that leads."""
        answer = self.get("/services/")
        return answer.status == 200 and 'name="password"' not in answer.text

    def _ask(self, method: str, path: str, body: str = "") -> Answer:
        cookies = self._cookies[self.host]
        head = f"Cookie: {'; '.join(f'{key}={value}' for key, value in cookies.items())}\r\n" if cookies else ""
        if body:
            head += f"Origin: https://{self.host}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            head += f"Content-Length: {len(body)}\r\n"
        answer = asked(self._site, self.host, path, method, head, body, read=1 << 20)
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _equals, value = cookie.partition(";")[0].partition("=")
            cookies[name] = value
        return answer
