"""The only file that opens a URL: one kept-alive connection to the panel, JSON in, JSON out, typed errors.

Standard library only, so that it runs wherever a module runs. No proxy is used and no redirect is followed: the token
goes to the host that the caller named, and nowhere else.
"""

from __future__ import annotations

import gzip
import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from . import errors

API_PREFIX = "/api/v1"
USER_AGENT = "streamfleet-client"

#: Seconds waited before the second, third, … try of an idempotent request.
BACKOFF = (0.25, 0.5, 1.0, 2.0)
#: A refused connection is tried again only so often: a panel that restarts is back within this, a wrong address never
# is.
REFUSED_RETRIES = 2
#: A server's Retry-After is honoured up to this many seconds.
MAX_RETRY_AFTER = 30.0

#: 502 is what the web server says while the panel behind it restarts.
TRY_AGAIN = frozenset({429, 502, 503})
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})

_BY_STATUS: dict[int, type[errors.Error]] = {
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.Invalid,
    429: errors.Busy,
    503: errors.Busy,
}


@dataclass(frozen=True)
class Response:
    """A successful answer: ``data`` is decoded from JSON (None for an empty body), header names are in lower case."""

    status: int
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def segment(text: str) -> str:
    """``text`` as one path segment: everything but unreserved characters is escaped, slashes too."""
    return quote(str(text), safe="")


class Client:
    """A connection to one panel with one token.

    :param url: base URL, ``https://panel.example.net``; a path prefix and a trailing ``/api/v1`` are understood.
    :param token: bearer token, or None for the open routes.
    :param ca_path: PEM file of the CA to trust instead of the system's store.
    :param validate_certs: False trusts any certificate and allows ``http://`` to a host that is not this one.
    :param timeout: seconds for connecting and for each read.

    Not safe for use by several threads at once. Raises :class:`errors.BadOption` for options that cannot work.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        ca_path: str | None = None,
        validate_certs: bool = True,
        timeout: float = 30,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.strip().rstrip("/")
        self.timeout = float(timeout)
        self._sleep = sleep
        self._token = _checked_token(token)
        parts = _checked_url(self.url, validate_certs, bool(self._token))
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        prefix = parts.path.rstrip("/")
        self._prefix = prefix.removesuffix(API_PREFIX)
        self._context = _tls_context(ca_path, validate_certs) if self._secure else None
        self._ca_path = ca_path
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        idempotent: bool | None = None,
    ) -> Response:
        """Send one request and return the answer if it is 2xx; raise a subclass of :class:`errors.Error` otherwise.

        :param path: below ``/api/v1`` (``/nodes/a/document``), or a whole path that starts with ``/api/``.
        :param body: anything that JSON can say; None sends no body. ``bytes`` are sent as they are.
        :param query: parameters; None values are left out, booleans become ``true`` and ``false``.
        :param idempotent: whether a second try is harmless. Default: by the method. Only then are 429, 502, 503, a
            refused connection and a broken one tried again. What a panel refuses because it is being upgraded (503 with
            the code ``maintenance``) is always tried again.
        """
        method = method.upper()
        target = self._target(path, query)
        payload = _encode(body)
        may_retry = method in IDEMPOTENT if idempotent is None else idempotent
        refused = 0
        for attempt in range(len(BACKOFF) + 1):
            last = attempt == len(BACKOFF) or not may_retry
            delay = BACKOFF[min(attempt, len(BACKOFF) - 1)]
            try:
                status, headers, raw = self._exchange(method, target, payload)
            except (ConnectionError, http.client.HTTPException) as error:
                self.close()
                refused += isinstance(error, ConnectionRefusedError)
                if last or refused > REFUSED_RETRIES:
                    raise self._unreachable(error) from None
            except OSError as error:
                self.close()
                raise self._unreachable(error) from None
            else:
                # Whatever it was, a panel in maintenance has not done it.
                again = attempt < len(BACKOFF) and _in_maintenance(status, raw)
                if not again and (status not in TRY_AGAIN or last):
                    return self._answer(status, headers, raw)
                delay = _retry_after(headers, delay)
            self._sleep(delay)
        raise AssertionError("unreachable: the last attempt returns or raises")

    # One exchange ---------------------------------------------------------------------------------------------------

    def _exchange(self, method: str, target: str, payload: bytes | None) -> tuple[int, dict[str, str], bytes]:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": USER_AGENT,
        }
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if payload is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection or self._connect()
        try:
            connection.request(method, target, body=payload, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a large body answers before it has read it; the answer says more than the broken
            # pipe.
            if not payload or connection.sock is None:
                raise
        response = connection.getresponse()
        raw = response.read()
        if response.getheader("Content-Encoding", "").lower() == "gzip":
            raw = gzip.decompress(raw)
        if response.will_close:
            self.close()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            raw,
        )

    def _connect(self) -> http.client.HTTPConnection:
        # http.client sets TCP_NODELAY on connecting: without it, header and body in two packets cost 40 ms a request.
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self.timeout, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self.timeout)
        connection.connect()
        self._connection = connection
        return connection

    def _target(self, path: str, query: Mapping[str, Any] | None) -> str:
        if not path.startswith("/"):
            raise errors.BadOption(f"path {path!r} must start with a slash")
        whole = path if path.startswith("/api/") else f"{API_PREFIX}{path}"
        pairs = [
            (name, str(value).lower() if isinstance(value, bool) else str(value))
            for name, value in (query or {}).items()
            if value is not None
        ]
        return f"{self._prefix}{whole}?{urlencode(pairs)}" if pairs else f"{self._prefix}{whole}"

    # Answers and errors ---------------------------------------------------------------------------------------------

    def _answer(self, status: int, headers: dict[str, str], raw: bytes) -> Response:
        is_json = headers.get("content-type", "").partition(";")[0].strip() in (
            "application/json",
            "",
        )
        data: Any = None
        if raw and is_json:
            try:
                data = json.loads(raw)
            except ValueError:
                is_json = False
        if 200 <= status < 300:
            if raw and not is_json:
                raise errors.ServerError(
                    f"{self.url} answered with something that is not JSON: is this the address of a Streamfleet panel?",
                    status=status,
                )
            return Response(status, data, headers)
        if 300 <= status < 400:
            raise errors.ServerError(
                f"{self.url} redirects to {headers.get('location', 'another address')!r}, which is not followed"
                " with a token. Set url (STREAMFLEET_URL) to the panel's own address.",
                status=status,
            )
        raise self._error(status, data, headers)

    def _error(self, status: int, data: Any, headers: Mapping[str, str]) -> errors.Error:
        detail = data.get("error") if isinstance(data, dict) else None
        if not isinstance(detail, dict):
            detail = {}
        kind = _BY_STATUS.get(status, errors.ServerError)
        message = str(detail.get("message") or "") or _plain_message(status, self.url)
        if kind is errors.Unauthenticated:
            message += " Set token (STREAMFLEET_TOKEN) to a valid token of this panel."
        elif kind is errors.TooLarge and not detail:
            message = f"The document is too large for {self.url}: split it into several of at most 32 MiB each."
        elif kind is errors.ServerError and headers.get("x-request-id"):
            message += f" (request {headers['x-request-id']}; the panel's log says more)"
        listed = detail.get("errors") or []
        return kind(
            message,
            code=str(detail.get("code") or ""),
            status=status,
            errors=[errors.FieldError.from_mapping(item) for item in listed if isinstance(item, dict)],
        )

    def _unreachable(self, error: Exception) -> errors.Error:
        where = f"{self.url} (host {self._host}, port {self._port})"
        if isinstance(error, ssl.SSLCertVerificationError):
            trusted = f"ca_path is {self._ca_path}" if self._ca_path else "the system's certificate store is used"
            return errors.CertificateError(
                f"The certificate of {where} is not trusted: {error.verify_message}; {trusted}. Set ca_path"
                " (STREAMFLEET_CA) to the PEM file of the CA that signed it."
            )
        if isinstance(error, ssl.SSLError):
            return errors.CertificateError(f"TLS with {where} failed: {error.reason or error}.")
        if isinstance(error, TimeoutError):
            return errors.Unreachable(f"The panel at {where} did not answer within {self.timeout:g} seconds.")
        if isinstance(error, socket.gaierror):
            return errors.Unreachable(f"The panel's host name {self._host} of url {self.url} cannot be resolved.")
        if isinstance(error, ConnectionRefusedError):
            return errors.Unreachable(
                f"The panel at {where} refused the connection. Check url (STREAMFLEET_URL), and that the panel runs."
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return errors.Unreachable(f"The panel at {where} cannot be reached: {reason}.")


def _checked_token(token: str | None) -> str | None:
    if token is None:
        return None
    token = token.strip()
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise errors.BadOption("token holds characters that no token has. Copy it again, in one line, without quotes.")
    return token


def _checked_url(url: str, validate_certs: bool, has_token: bool) -> Any:
    example = "for example https://panel.example.net"
    try:
        parts = urlsplit(url)
        _port = parts.port
    except ValueError as error:
        raise errors.BadOption(f"url {url!r} is not a URL: {error}; {example}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.BadOption(f"url {url!r} must be an https:// address, {example}.")
    if parts.username or parts.password:
        raise errors.BadOption("url must not hold a user name or a password; give the token as token.")
    if parts.query or parts.fragment:
        raise errors.BadOption(f"url {url!r} must end with the host name or a path, {example}.")
    if parts.scheme == "http" and has_token and validate_certs and not _is_loopback(parts.hostname):
        raise errors.BadOption(
            f"url {url!r} would send the token in the clear. Use https:// (validate_certs: false accepts the risk)."
        )
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_context(ca_path: str | None, validate_certs: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_path or None)
    except FileNotFoundError:
        raise errors.NotThereYet(f"ca_path {ca_path!r} does not exist where this runs.") from None
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise errors.BadOption(f"ca_path {ca_path!r} cannot be read as PEM certificates: {reason}.") from None
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _encode(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _retry_after(headers: Mapping[str, str], default: float) -> float:
    """Seconds to wait. Only the form in seconds is understood; a date falls back to ``default``."""
    try:
        return min(max(float(headers.get("retry-after", "")), 0.0), MAX_RETRY_AFTER)
    except ValueError:
        return default


def _in_maintenance(status: int, raw: bytes) -> bool:
    """Whether a panel says that it is being upgraded and has done nothing."""
    if status != 503:
        return False
    try:
        error = json.loads(raw)["error"]
        return bool(error["code"] == "maintenance")
    except (ValueError, LookupError, TypeError):
        return False


def _plain_message(status: int, url: str) -> str:
    reason = http.client.responses.get(status, "unknown status")
    if status in (502, 504):
        return f"{url} answered {status} {reason}: the web server runs, but the panel behind it does not answer."
    return f"{url} answered {status} {reason}."
