"""What can be wrong with a request, said so that its author can put it right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

STATUS = {
    "unauthenticated": 401,
    "api_access_disabled": 403,
    "account_disabled": 403,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "max_delete_exceeded": 409,
    "too_large": 413,
    "invalid_document": 422,
    "too_many_requests": 429,
    "internal_error": 500,
    "unavailable": 503,
    "maintenance": 503,
}

#: Seconds after which whoever was refused with one of these may try again.
RETRY_AFTER = {"too_many_requests": 60, "maintenance": 20}


@dataclass(frozen=True)
class Problem:
    """One fault: where, what was given (None for secrets), what is wrong, how to put it right."""

    path: str
    value: Any
    message: str
    fix: str
    forbidden: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        data = asdict(self)
        del data["forbidden"]
        return data


class ApiError(Exception):
    """A refusal with one of the codes of STATUS."""

    def __init__(self, code: str, message: str, errors: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.errors = list(errors)

    @property
    def status(self) -> int:
        """HTTP status of the code."""
        return STATUS[self.code]

    def as_dict(self) -> dict[str, Any]:
        """The one error shape of every route."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "errors": [problem.as_dict() for problem in self.errors],
            }
        }


MOST_ERRORS = 1000


def invalid(problems: Sequence[Problem]) -> ApiError:
    """Problems of a document as one error: 403 where all are a matter of permission, else 422."""
    forbidden = all(problem.forbidden for problem in problems)
    count = len(problems)
    first = problems[0]
    more = "" if count == 1 else f" (and {count - 1} more)"
    return ApiError(
        "forbidden" if forbidden else "invalid_document",
        f"{first.path}: {first.message}{more}" if first.path else f"{first.message}{more}",
        problems[:MOST_ERRORS],
    )


def shown(value: Any) -> Any:
    """``value`` as an error may repeat it: short, and always encodable."""
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, int) or abs(value) < 2**63 else str(value)[:40]
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 100 else text[:97] + "…"
