"""Where an encoder publishes to: an engine's ``publish`` filled in with the connection details of one service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from ..errors import BadOption

#: Ways to publish that the encoders of this package know.
SCHEMES = ("icecast", "shoutcast", "rtmp")
HIDDEN = "********"
_LABEL = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Target:
    """A server, what is published there, and with which login. ``secret`` is what must not be shown of it."""

    scheme: str
    host: str
    port: int
    path: str
    user: str
    password: str
    secret: str

    def at(self, host: str) -> Target:
        """The same at another address."""
        return replace(self, host=host)

    @property
    def url(self) -> str:
        """As ffmpeg is given it."""
        login = f"{self.user}:{self.password}@" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{login}{host}:{self.port}{self.path}"

    def hide(self, text: str) -> str:
        """``text`` without the secret."""
        return text.replace(self.secret, HIDDEN) if self.secret else text


def secret_of(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Label and name of the credential that a service of this engine is published with. Raises BadOption."""
    entry = _entry_of(spec)
    return str(entry["label"]), str(entry["credential"])


def _entry_of(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    found = [entry for entry in spec.get("connection") or [] if "credential" in entry]
    if len(found) != 1 or not spec.get("publish"):
        raise BadOption(
            f"engine: {spec.get('name')!r} does not say how it is published to: its engine/spec.yml needs `publish`,"
            " and one `credential` in `connection` (docs/contracts.md)."
        )
    entry: Mapping[str, Any] = found[0]
    return entry


def _place_of(entry: Mapping[str, Any], shown: str) -> tuple[int, int]:
    """Where the credential is in what is shown of this entry: all of it, or what stands for it in ``value``."""
    parts = _LABEL.split(str(entry.get("value") or "{credential}"))
    names = {"credential": "(.+)"}
    pattern = "".join(names.get(part, ".*?") if number % 2 else re.escape(part) for number, part in enumerate(parts))
    found = re.fullmatch(pattern, shown)
    if found is None:
        raise BadOption(f"{entry['label']} is not shown as `connection` says, {entry.get('value')!r}.")
    return found.span(1)


def target_of(spec: Mapping[str, Any], details: Mapping[str, str], secret: str | None = None) -> Target:
    """The target of a service with these connection details (label → value), with another secret where one is given.

    Raises BadOption for an engine whose ``publish`` names what is not there.
    """
    entry = _entry_of(spec)
    shown = str(details[entry["label"]])
    start, end = _place_of(entry, shown)
    secret = shown[start:end] if secret is None else secret
    values = {**details, entry["label"]: shown[:start] + secret + shown[end:]}

    def filled(key: str) -> str:
        def value(found: re.Match[str]) -> str:
            if found[1] not in values:
                raise BadOption(f"publish.{key} of {spec.get('name')!r}: {found[1]!r} is no label of `connection`.")
            return str(values[found[1]])

        return _LABEL.sub(value, str(spec["publish"].get(key) or ""))

    parts = urlsplit(filled("url"))
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise BadOption(f"publish.url of {spec.get('name')!r}: {parts.scheme!r} is none of {', '.join(SCHEMES)}.")
    port = parts.port or {"rtmp": 1935}.get(parts.scheme, 8000)
    login = (filled("user"), filled("password"))
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return Target(parts.scheme, parts.hostname, port, path, *login, secret)
