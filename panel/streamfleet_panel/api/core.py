"""What every route shares: who asks, bodies, answers, errors."""

from __future__ import annotations

import json
import logging
import re
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import IntegrityError, OperationalError
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from ninja.security import HttpBearer

from streamfleet_panel import journal, white_label
from streamfleet_panel.access import Actor, Forbidden, actor_of_token
from streamfleet_panel.apply.document import MOST_BYTES, parse_json
from streamfleet_panel.apply.problems import RETRY_AFTER, ApiError, Problem
from streamfleet_panel.models import ApiToken, AuthFailure

log = logging.getLogger("streamfleet_panel.api")

_TOKEN = re.compile(r"sft_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_TOUCH_EVERY = timedelta(seconds=60)


def answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """``data`` as JSON. Never cached: answers are about one account."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    response = HttpResponse(body, status=status, content_type="application/json; charset=utf-8")
    response["Content-Length"] = str(len(body))
    response["Cache-Control"] = "no-store"
    for name, value in (headers or {}).items():
        response[name] = value
    return response


def refusal(error: ApiError) -> HttpResponse:
    """An error as every route answers it."""
    response = answer(error.as_dict(), error.status)
    if error.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if error.code in RETRY_AFTER:
        response["Retry-After"] = str(RETRY_AFTER[error.code])
    return response


class TokenAuth(HttpBearer):
    """``Authorization: Bearer sft_…``; the actor is then ``request.auth``."""

    openapi_name = "token"

    def authenticate(self, request: HttpRequest, token: str) -> Actor:
        """The token's actor. Raises ApiError: 401 unknown or expired, 403 switched off, 429 too many failures."""
        ip = request.META.get("REMOTE_ADDR", "")
        match = _TOKEN.fullmatch(token)
        found = None
        if match:
            found = (
                ApiToken.objects.select_related("account__reseller", "account__reseller_plan", "node")
                .filter(token_id=match.group(1))
                .first()
            )
        now = timezone.now()
        if found is None or not found.is_valid(token, now) or not _is_for(request, found):
            _failed(ip)
            raise ApiError(
                "unauthenticated",
                "The token is not known, or has expired",
                [Problem("Authorization", None, "is not a valid token", "Send a valid token; make one at /tokens.")],
            )
        account = found.account
        if account is not None and not account.is_enabled:
            raise ApiError("account_disabled", f"The account {account.username} is disabled")
        if account is not None and not account.api_access:
            raise ApiError("api_access_disabled", f"API access of the account {account.username} is switched off")
        if found.last_used_at is None or now - found.last_used_at > _TOUCH_EVERY:
            ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
        return actor_of_token(found, ip)


def _is_for(request: HttpRequest, token: ApiToken) -> bool:
    """Under a reseller's own name only tokens of those count who may log in there."""
    if white_label.of(request) is None:
        return True
    return token.account is not None and white_label.lets_in(request, token.account)


def _failed(ip: str) -> None:
    """Count a failure of this address; raise ApiError 429 above the limit. Above it nothing is written any more."""
    minute = int(time.time() // 60)
    key = {"ip": ip or "unknown", "minute": minute}
    row = AuthFailure.objects.filter(**key).first()
    if row is not None and row.count >= settings.API_FAILURES_PER_MINUTE:
        raise ApiError("too_many_requests", "Too many failed log-ins from this address; try again in a minute")
    journal.login_refused(ip, "api")
    if row is None:
        try:
            AuthFailure.objects.create(**key, count=1)
        except IntegrityError:
            AuthFailure.objects.filter(**key).update(count=F("count") + 1)
    else:
        AuthFailure.objects.filter(pk=row.pk).update(count=F("count") + 1)


def actor_of_call(request: HttpRequest) -> Actor:
    """Who made this call."""
    actor: Actor = request.auth  # type: ignore[attr-defined]
    return actor


def body_of(request: HttpRequest) -> Any:
    """The call's body as data; {} where there is none. Raises ApiError 413 before anything is parsed."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > MOST_BYTES:
        _drain(request)
        raise _too_large()
    try:
        raw = request.body
    except RequestDataTooBig:
        raise _too_large() from None
    except UnreadablePostError:
        raise ApiError("invalid_document", "The body did not arrive completely") from None
    return parse_json(raw) if raw.strip() else {}


def _drain(request: HttpRequest) -> None:
    """Read what is still coming (to a point), so that the client gets to read the answer instead of a broken pipe."""
    for _ in range(1024):
        if not request.read(131072):
            return


def _too_large() -> ApiError:
    message = f"The body is larger than {MOST_BYTES // 1024 // 1024} MiB"
    return ApiError("too_large", message, [Problem("", None, message, "Split the document into several.")])


def mapping_of(request: HttpRequest) -> dict[str, Any]:
    """The call's body, which must be a JSON object."""
    data = body_of(request)
    if not isinstance(data, dict):
        message = "The body must be a JSON object"
        raise ApiError("invalid_document", message, [Problem("", None, message, 'Send {"…": …}.')])
    return data


def only(data: dict[str, Any], *known: str) -> None:
    """Raise ApiError where ``data`` has a field that is not known."""
    problems = [
        Problem(str(name)[:100], None, "is not a field of this call", f"Known fields: {', '.join(known)}.")
        for name in data
        if name not in known
    ]
    if problems:
        raise ApiError("invalid_document", f"{problems[0].path}: {problems[0].message}", problems)


def found(queryset: QuerySet[Any], what: str, **key: Any) -> Any:
    """The one object of a scoped queryset, or ApiError 404: what is not visible does not exist."""
    obj = queryset.filter(**key).first()
    if obj is None:
        name = next(iter(key.values()))
        raise ApiError("not_found", f"There is no {what} {str(name)[:100]}")
    return obj


def matching(queryset: QuerySet[Any], search: str | None, *fields: str) -> QuerySet[Any]:
    """Objects with ``search`` in one of ``fields``, in any case."""
    if not search:
        return queryset
    anywhere = Q()
    for name in fields:
        anywhere |= Q(**{f"{name}__icontains": search})
    narrowed: QuerySet[Any] = queryset.filter(anywhere)
    return narrowed


def listed(queryset: QuerySet[Any], limit: int, offset: int) -> tuple[list[Any], int]:
    """A page of a queryset, and how many there are in all."""
    return list(queryset[offset : offset + limit]), queryset.order_by().count()


def error_of(error: Exception) -> ApiError:
    """Any exception as an ApiError; what nobody expected is logged, and told without details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Forbidden):
        return ApiError("forbidden", str(error))
    if isinstance(error, OperationalError):
        log.error("Database: %s", type(error).__name__, exc_info=error)
        return ApiError("unavailable", "The database is busy or away; try again")
    log.error("Unexpected %s", type(error).__name__, exc_info=error)
    return ApiError("internal_error", "The panel failed at this call; its log says why")
