"""Everything that can go wrong between a caller and the panel, one type per cause.

No message ever holds a token, a password or a stream key: the panel does not echo secrets, and nothing here adds one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: How many single errors a message spells out; the structured list is never cut.
SHOWN_ERRORS = 20


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field: where it is, what was given, what is wrong, how to put it right."""

    path: str
    message: str
    value: Any = None
    fix: str = ""

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> FieldError:
        """Read one entry of the panel's ``errors``. Missing keys become empty."""
        return cls(
            path=str(data.get("path") or ""),
            message=str(data.get("message") or ""),
            value=data.get("value"),
            fix=str(data.get("fix") or ""),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, in the panel's own shape."""
        return {
            "path": self.path,
            "value": self.value,
            "message": self.message,
            "fix": self.fix,
        }

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        if self.value is not None:
            text += f" (given: {shorten(self.value)})"
        if self.fix:
            text += f" Fix: {self.fix}"
        return text


def shorten(value: Any, limit: int = 120) -> str:
    """``value`` as one short line for a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class Error(Exception):
    """Base of all errors of this package. ``str()`` of it is fit for a person to read."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int | None = None,
        errors: Iterable[FieldError] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.errors = list(errors)

    def __str__(self) -> str:
        if len(self.errors) == 1 and self.errors[0].message in self.message:
            return str(self.errors[0])
        lines = [self.message]
        lines += [f"- {error}" for error in self.errors[:SHOWN_ERRORS]]
        left = len(self.errors) - SHOWN_ERRORS
        if left > 0:
            lines.append(f"- and {left} more")
        return "\n".join(lines)


class BadOption(Error):
    """An option of ours (url, token, ca_path, a file name) cannot be used as given."""


class NotThereYet(BadOption):
    """An option that is missing, or names a file that is missing: on a fresh host the same run may still make it."""


class Unreachable(Error):
    """No answer: name not found, connection refused, timeout, or the line broke."""


class CertificateError(Error):
    """The panel's certificate is not trusted, expired, or for another name."""


class Unauthenticated(Error):
    """401: no token, a wrong one, or one that has expired or been revoked."""


class Forbidden(Error):
    """403: the token's account may not do this, is disabled, or has its API access switched off."""


class NotFound(Error):
    """404."""


class Conflict(Error):
    """409: also ``max_delete_exceeded``, told apart by ``code``."""


class Invalid(Error):
    """422: the document is wrong; ``errors`` lists every fault with the path of its field."""


class TooLarge(Error):
    """413: body over 32 MiB, or more than 100,000 objects."""


class Busy(Error):
    """429 or 503, still so after the retries."""


class ServerError(Error):
    """Any other answer that is not success: 5xx, a redirect, something that is not the panel."""


class JobFailed(Error):
    """A job that the panel took on (202) ended in failure."""


class TimedOut(Error):
    """Something asked for did not come about in the time allowed."""


class Misbehaved(Error):
    """A stream did something else than its service promises."""
