"""Tokens, jobs, the audit log, and who one is."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

import streamfleet_panel
from streamfleet_panel import access, represent, white_label
from streamfleet_panel.access import Role, require
from streamfleet_panel.api.core import actor_of_call, answer, found, listed, mapping_of, only
from streamfleet_panel.api.schema import json_body
from streamfleet_panel.apply.checks import Bad, text, timestamp_of
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.apply.problems import ApiError, Problem, shown
from streamfleet_panel.models import MACHINES, Account, ApiToken, Installation, Node

router = Router()


@router.get("/health", auth=None, summary="Does the panel answer?", tags=["panel"])
def health(request: HttpRequest) -> HttpResponse:
    """Open to all; asks the database one question."""
    try:
        epoch = str(Installation.current().epoch)
    except DatabaseError:
        raise ApiError("unavailable", "The database does not answer, or is not migrated") from None
    return answer({"status": "ok", "version": streamfleet_panel.__version__, "epoch": epoch})


@router.get("/whoami", summary="Whose token is this?", tags=["panel"])
def whoami(request: HttpRequest) -> HttpResponse:
    """Role, account and token of the caller."""
    actor = actor_of_call(request)
    token = ApiToken.objects.select_related("account", "node").get(token_id=actor.token_id)
    return answer(
        {
            "role": actor.role,
            "name": actor.name,
            "account": represent.customer(actor.account) if actor.account is not None else None,
            "token": represent.token(token),
            "version": streamfleet_panel.__version__,
            "environment": settings.ENVIRONMENT,
            "url": white_label.url_of(white_label.of(request)),
        }
    )


@router.get("/jobs/{id}", summary="Follow a job", tags=["documents"])
def get_job(request: HttpRequest, id: str) -> HttpResponse:
    """`result` is what the apply would have answered."""
    try:
        key = uuid.UUID(id)
    except ValueError:
        raise ApiError("not_found", f"There is no job {id[:100]}") from None
    return answer(represent.job(found(access.jobs(actor_of_call(request)), "job", pk=key)))


@router.get("/tokens", summary="List tokens", tags=["tokens"])
def list_tokens(
    request: HttpRequest, limit: int = Query(100, ge=1, le=1000), offset: int = Query(0, ge=0)
) -> HttpResponse:
    """One's own; administrators see all. Never their secrets."""
    actor = actor_of_call(request)
    require(actor, "view", "token")
    items, count = listed(access.tokens(actor), limit, offset)
    return answer({"items": [represent.token(item) for item in items], "count": count})


@router.post(
    "/tokens",
    summary="Make a token",
    description="The secret is in `token` of this answer and never shown again. Scopes: `account` (what its account "
    "may); for administrators also `node:<name>`, `worker` and `metrics`.",
    tags=["tokens"],
    openapi_extra=json_body(
        {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "maxLength": 100},
                "scope": {"type": "string", "default": "account"},
                "account": {"type": "string", "description": "Whose token; administrators may name others."},
                "expires_at": {"type": ["string", "null"], "format": "date-time"},
            },
        },
        {"name": "billing", "scope": "account", "expires_at": "2027-01-01T00:00:00Z"},
    ),
)
def create_token(request: HttpRequest) -> HttpResponse:
    """201 with the token."""
    actor = actor_of_call(request)
    require(actor, "create", "token")
    data = mapping_of(request)
    only(data, "name", "scope", "account", "expires_at")
    token = ApiToken(created_by=actor.name)
    try:
        token.name = text("name", "", 100).clean(data.get("name"))
        if data.get("expires_at") is not None:
            token.expires_at = timestamp_of(data["expires_at"])
    except Bad as error:
        path = "expires_at" if token.name else "name"
        problem = Problem(path, shown(data.get(path)), error.message, error.fix)
        raise ApiError("invalid_document", f"{path}: {error.message}", [problem]) from None
    token.account, token.node, token.scope = _bearer(actor, data)
    secret = token.new_secret()
    token.save()
    changes = {"scope": {"before": None, "after": token.scope}, "name": {"before": None, "after": token.name}}
    audit_entry(actor, "created", "token", token.token_id, changes, token.account).save()
    return answer({**represent.token(token), "token": secret}, 201)


def _bearer(actor: access.Actor, data: dict[str, Any]) -> tuple[Account | None, Node | None, str]:
    """Account, node and scope of a new token."""
    scope = data.get("scope", "account")
    if scope != "account":
        if not actor.is_administrator:
            raise ApiError("forbidden", f"A {actor.role} may only make tokens of scope account")
        if data.get("account") is not None:
            problem = Problem("account", shown(data["account"]), "goes with scope account only", "Leave it out.")
            raise ApiError("invalid_document", f"account: {problem.message}", [problem])
        if scope in MACHINES:
            return None, None, str(scope)
        if isinstance(scope, str) and scope.startswith("node:"):
            node = access.nodes(actor).filter(name=scope[5:]).first()
            if node is not None:
                return None, node, f"node:{node.name}"
            problem = Problem("scope", shown(scope), "there is no such node", "Register the node first.")
        else:
            problem = Problem("scope", shown(scope), "is not a scope", "Use account, node:<name>, worker or metrics.")
        raise ApiError("invalid_document", f"scope: {problem.message}", [problem])
    name = data.get("account")
    if name is None or (actor.account is not None and name == actor.account.username):
        if actor.account is None:
            raise ApiError("forbidden", f"A {actor.role} token has no account to make tokens for")
        return actor.account, None, "account"
    if actor.role != Role.ADMINISTRATOR:
        raise ApiError("forbidden", f"A {actor.role} may only make tokens for the own account")
    account = access.accounts(actor).filter(username=name).first() if isinstance(name, str) else None
    if account is None:
        problem = Problem("account", shown(name), "there is no such account", "Name an existing account.")
        raise ApiError("invalid_document", f"account: {problem.message}", [problem])
    return account, None, "account"


@router.delete("/tokens/{id}", summary="Delete a token", tags=["tokens"])
def delete_token(request: HttpRequest, id: str) -> HttpResponse:
    """It stops working at once."""
    actor = actor_of_call(request)
    token: ApiToken = found(access.tokens(actor), "token", token_id=id)
    require(actor, "delete", "token")
    shown_ = represent.token(token)
    audit_entry(actor, "deleted", "token", token.token_id, {}, token.account).save()
    token.delete()
    return answer({"action": "deleted", "object": shown_})


@router.get("/audit-log", summary="Who did what", tags=["audit log"])
def list_audit(
    request: HttpRequest,
    limit: int = Query(100, ge=1, le=1000),
    offset: int = Query(0, ge=0),
    kind: str | None = Query(None, description="customer, media_service, …"),
    key: str | None = Query(None, description="Key of the object."),
    actor: str | None = Query(None, description="User name of who did it."),
) -> HttpResponse:
    """Newest first; secrets never stand in it."""
    caller = actor_of_call(request)
    require(caller, "view", "audit_log")
    exact = {"kind": kind, "key": key, "actor_name": actor}
    queryset = access.audit_log(caller).filter(**{name: value for name, value in exact.items() if value is not None})
    items, count = listed(queryset, limit, offset)
    return answer({"items": [represent.audit(item) for item in items], "count": count})
