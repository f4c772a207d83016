"""Documents, and the kinds of object that stand by themselves by their natural keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, libraries, represent, secrets
from streamfleet_panel.access import Actor, require
from streamfleet_panel.api.core import actor_of_call, answer, found, listed, mapping_of, matching
from streamfleet_panel.api.schema import apply_body, put_body
from streamfleet_panel.apply import ApiError, Options, Problem, apply_document
from streamfleet_panel.apply.fields import COLLECTION_OF, key_fields, key_of
from streamfleet_panel.models import Account, Job, MediaService

router = Router()
LIMIT = Query(100, ge=1, le=1000, description="At most so many items.")
OFFSET = Query(0, ge=0, le=10_000_000, description="Skip so many items.")
SEARCH = Query(None, max_length=100, description="Part of key or name.")
LABEL = Query(None, max_length=100, description="Only objects with this ownership label.")
DRY_RUN = Query(False, description="Plan only.")


def options_of(data: dict[str, Any]) -> Options:
    """Options of a call. Raises ApiError naming every wrong one."""
    kinds: dict[str, tuple[type, ...]] = {
        "dry_run": (bool,),
        "label": (str, type(None)),
        "prune": (bool,),
        "max_delete": (int,),
        "update_password": (str,),
        "return_objects": (bool,),
    }
    problems: list[Problem] = []
    for name, value in data.items():
        if name == "document":
            continue
        if name not in kinds:
            fix = f"Known options: document, {', '.join(kinds)}."
            problems.append(Problem(str(name)[:100], None, "is not an option of apply", fix))
        elif type(value) not in kinds[name]:
            wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds[name])
            problems.append(Problem(name, str(value)[:100], f"must be of type {wanted}", ""))
        elif name == "max_delete" and value < 0:
            problems.append(Problem(name, value, "must be 0 or more", ""))
        elif name == "update_password" and value not in ("on_create", "always"):
            problems.append(Problem(name, value, "must be on_create or always", "Use on_create or always."))
    if problems:
        raise ApiError("invalid_document", f"{problems[0].path}: {problems[0].message}", problems)
    return Options(**{name: value for name, value in data.items() if name != "document"})


@router.post(
    "/apply",
    summary="Apply a document",
    description="Any number of objects of any kind, validated whole and applied in one transaction, or with `dry_run` "
    "only planned. Every fault is listed, with the path of the field; then nothing has changed. More than 50 new "
    "passwords: 202 with a job to follow.",
    tags=["documents"],
    openapi_extra=apply_body(),
)
def apply(request: HttpRequest) -> HttpResponse:
    """``POST /apply``."""
    actor = actor_of_call(request)
    if actor.role in (access.Role.NODE, access.Role.WORKER, access.Role.METRICS):
        raise ApiError("forbidden", f"A {actor.role} token may not apply documents")
    data = mapping_of(request)
    if "document" not in data:
        problem = Problem("document", None, "is missing", 'Send {"document": {"customers": […]}}.')
        raise ApiError("invalid_document", "document: is missing", [problem])
    options = options_of(data)
    outcome = apply_document(data["document"], actor, options, defer=lambda work: work > settings.PASSWORDS_IN_REQUEST)
    if outcome is not None:
        return answer(outcome.as_dict())
    payload = {**data, "token_id": actor.token_id, "ip": actor.ip, "via": actor.via}
    job = Job.objects.create(
        kind=Job.Kind.APPLY,
        payload_encrypted=secrets.encrypt(payload),
        requested_by=actor.account,
        total=sum(
            "password" in item for name in ("customers", "media_users") for item in data["document"].get(name) or []
        ),
    )
    return answer({"job": {"id": str(job.pk), "url": f"/api/v1/jobs/{job.pk}"}}, 202)


def put_one(
    request: HttpRequest, kind: str, key: str, dry_run: bool, update_password: str, label: str | None
) -> HttpResponse:
    """Apply one object; answers its result, with the object."""
    fields = mapping_of(request)
    named = key_fields(kind, key)
    for name, value in named.items():
        if fields.get(name, value) != value:
            message = f"{name}: is {value} in the URL and something else in the body"
            raise ApiError("invalid_document", message, [Problem(name, None, message, "Leave it out of the body.")])
    data: dict[str, Any] = {"dry_run": dry_run, "update_password": update_password, "label": label}
    return _one(actor_of_call(request), kind, {**fields, **named}, replace(options_of(data), return_objects=True))


def apply_one(actor: Actor, kind: str, fields: dict[str, Any], dry_run: bool) -> HttpResponse:
    """Apply one object as ``actor``; answers its result, with the object."""
    return _one(actor, kind, fields, Options(dry_run=dry_run, return_objects=True))


def _one(actor: Actor, kind: str, fields: dict[str, Any], options: Options) -> HttpResponse:
    outcome = apply_document({COLLECTION_OF[kind]: [fields]}, actor, options)
    assert outcome is not None  # nothing was deferred
    result = outcome.result(outcome.results[0])
    result["path"] = ""
    return answer({**result, "nodes": outcome.nodes})


def delete_one(request: HttpRequest, kind: str, queryset: QuerySet[Any], key: str, dry_run: bool) -> HttpResponse:
    """Delete one object, which must be visible. ``queryset`` holds what the last part of the key is searched in."""
    actor = actor_of_call(request)
    named = key_fields(kind, key)
    own, value = list(named.items())[-1]
    found(queryset, access.words_of(kind), **{own: value})
    require(actor, "delete", kind)
    return apply_one(actor, kind, {**named, "state": "absent"}, dry_run)


def restore_one(request: HttpRequest, kind: str, obj: Any, document: dict[str, Any], dry_run: bool) -> HttpResponse:
    """Undo a deletion by the planner, so that limits hold for what comes back too."""
    actor = actor_of_call(request)
    outcome = apply_document(document, actor, Options(dry_run=dry_run, return_objects=True))
    assert outcome is not None  # no passwords in it
    key = key_of(kind, obj)
    first = next(result for result in outcome.results if (result.kind, result.key) == (kind, key))
    return answer({**outcome.result(first), "path": "", "nodes": outcome.nodes})


def page(queryset: QuerySet[Any], limit: int, offset: int, show: Callable[[Any], dict[str, Any]]) -> HttpResponse:
    """A page of a list."""
    items, count = listed(queryset, limit, offset)
    return answer({"items": [show(item) for item in items], "count": count})


def labelled(queryset: QuerySet[Any], label: str | None) -> QuerySet[Any]:
    """Those with the label, where one is given."""
    return queryset if label is None else queryset.filter(label=label)


# --- reseller plans ---


@router.get("/reseller-plans", summary="List reseller plans", tags=["reseller plans"])
def list_plans(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
) -> HttpResponse:
    """Plans that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "reseller_plan")
    queryset = labelled(access.plans(actor), label)
    return page(matching(queryset, search, "name"), limit, offset, represent.plan)


@router.get("/reseller-plans/{name}", summary="Get a reseller plan", tags=["reseller plans"])
def get_plan(request: HttpRequest, name: str) -> HttpResponse:
    """One plan."""
    actor = actor_of_call(request)
    require(actor, "view", "reseller_plan")
    return answer(represent.plan(found(access.plans(actor), "reseller plan", name=name)))


@router.put(
    "/reseller-plans/{name}",
    summary="Create or change a reseller plan",
    tags=["reseller plans"],
    openapi_extra=put_body("reseller_plan"),
)
def put_plan(request: HttpRequest, name: str, dry_run: bool = DRY_RUN, label: str | None = None) -> HttpResponse:
    """A document of one plan."""
    return put_one(request, "reseller_plan", name, dry_run, "on_create", label)


@router.delete("/reseller-plans/{name}", summary="Delete a reseller plan", tags=["reseller plans"])
def delete_plan(request: HttpRequest, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once; refused while a reseller has it."""
    return delete_one(request, "reseller_plan", access.plans(actor_of_call(request)), name, dry_run)


# --- customers ---


@router.get("/customers", summary="List customers", tags=["customers"])
def list_customers(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    status: str | None = Query(None, description="enabled or disabled."),
    account_type: str | None = Query(None, description="customer or administrator."),
    reseller: str | None = Query(None, description="User name of a reseller."),
    reseller_plan: str | None = Query(None, description="Name of a plan: resellers with it."),
    deleted: bool = Query(False, description="Those in their grace period instead."),
) -> HttpResponse:
    """Accounts that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "customer")
    queryset = labelled(access.accounts(actor, deleted=deleted), label)
    queryset = matching(queryset, search, "username", "name", "email")
    exact = {
        "status": status,
        "account_type": account_type,
        "reseller__username": reseller,
        "reseller_plan__name": reseller_plan,
    }
    queryset = queryset.filter(**{name: value for name, value in exact.items() if value is not None})
    return page(queryset, limit, offset, represent.customer)


@router.get("/customers/{username}", summary="Get a customer", tags=["customers"])
def get_customer(request: HttpRequest, username: str) -> HttpResponse:
    """One account."""
    actor = actor_of_call(request)
    require(actor, "view", "customer")
    return answer(represent.customer(found(access.accounts(actor), "customer", username=username)))


@router.get(
    "/customers/{username}/libraries",
    summary="List a customer's media libraries",
    description="Nodes that have one, and what may be stored there: MB, or null for unlimited.",
    tags=["customers"],
)
def list_libraries(request: HttpRequest, username: str) -> HttpResponse:
    """As the nodes are told."""
    actor = actor_of_call(request)
    require(actor, "view", "customer")
    account = found(access.accounts(actor), "customer", username=username)
    return answer({"items": libraries.of_customer(account)})


@router.put(
    "/customers/{username}",
    summary="Create or change a customer",
    tags=["customers"],
    openapi_extra=put_body("customer"),
)
def put_customer(
    request: HttpRequest,
    username: str,
    dry_run: bool = DRY_RUN,
    update_password: str = Query("on_create", description="on_create or always."),
    label: str | None = None,
) -> HttpResponse:
    """A document of one account."""
    return put_one(request, "customer", username, dry_run, update_password, label)


@router.delete("/customers/{username}", summary="Delete a customer with its media services", tags=["customers"])
def delete_customer(request: HttpRequest, username: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """Off the air at once; kept for the grace period."""
    return delete_one(request, "customer", access.accounts(actor_of_call(request)), username, dry_run)


@router.post("/customers/{username}/restore", summary="Restore a deleted customer and its services", tags=["customers"])
def restore_customer(request: HttpRequest, username: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """With the services that were deleted along with it."""
    actor = actor_of_call(request)
    require(actor, "restore", "customer")
    account: Account | None = access.accounts(actor, deleted=True).filter(username=username).first()
    if account is None:
        found(access.accounts(actor), "customer", username=username)
        raise ApiError("conflict", f"The customer {username} is not deleted")
    slugs = MediaService.objects.filter(customer=account, deleted_at=account.deleted_at).values_list("slug", flat=True)
    document = {"customers": [{"username": username}], "media_services": [{"slug": slug} for slug in slugs]}
    return restore_one(request, "customer", account, document, dry_run)


# --- media services ---


@router.get("/media-services", summary="List media services", tags=["media services"])
def list_services(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    customer: str | None = Query(None, description="User name of the owner."),
    engine: str | None = Query(None, description="Name of an engine."),
    node: str | None = Query(None, description="Name of a node."),
    state: str | None = Query(
        None, description="Desired state: running, stopped, suspended, disabled, over_quota; or failed, as reported."
    ),
    deleted: bool = Query(False, description="Those in their grace period instead."),
) -> HttpResponse:
    """Services that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "media_service")
    queryset = labelled(access.services(actor, deleted=deleted), label)
    queryset = matching(queryset, search, "slug", "name")
    exact = {"customer__username": customer, "engine": engine, "node__name": node}
    queryset = queryset.filter(**{name: value for name, value in exact.items() if value is not None})
    if state is not None:
        queryset = queryset.filter(_state(state))
    items, count = listed(queryset, limit, offset)
    return answer({"items": represent.services(items, actor), "count": count})


def _state(state: str) -> Q:
    off = Q(customer__status="disabled") | Q(customer__reseller__status="disabled") | Q(enabled=False)
    states = {
        "disabled": off,
        "suspended": ~off & Q(suspended=True),
        "over_quota": ~off & Q(suspended=False, over_quota=True),
        "stopped": ~off & Q(suspended=False, over_quota=False, stopped=True),
        "running": ~off & Q(suspended=False, over_quota=False, stopped=False),
        "failed": Q(observed__state="failed"),
    }
    if state not in states:
        problem = Problem("state", state[:100], "is not a state", f"Use {', '.join(states)}.")
        raise ApiError("invalid_document", "state: is not a state", [problem])
    return states[state]


@router.get("/media-services/{slug}", summary="Get a media service", tags=["media services"])
def get_service(request: HttpRequest, slug: str) -> HttpResponse:
    """One service."""
    actor = actor_of_call(request)
    require(actor, "view", "media_service")
    obj = found(access.services(actor), "media service", slug=slug)
    return answer(represent.services([obj], actor)[0])


@router.put(
    "/media-services/{slug}",
    summary="Create or change a media service",
    tags=["media services"],
    openapi_extra=put_body("media_service"),
)
def put_service(request: HttpRequest, slug: str, dry_run: bool = DRY_RUN, label: str | None = None) -> HttpResponse:
    """A document of one service."""
    return put_one(request, "media_service", slug, dry_run, "on_create", label)


@router.delete("/media-services/{slug}", summary="Delete a media service", tags=["media services"])
def delete_service(request: HttpRequest, slug: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """Off the air at once; kept for the grace period."""
    return delete_one(request, "media_service", access.services(actor_of_call(request)), slug, dry_run)


@router.post("/media-services/{slug}/restore", summary="Restore a deleted media service", tags=["media services"])
def restore_service(request: HttpRequest, slug: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """With its data."""
    actor = actor_of_call(request)
    require(actor, "restore", "media_service")
    service: MediaService | None = access.services(actor, deleted=True).filter(slug=slug).first()
    if service is None:
        found(access.services(actor), "media service", slug=slug)
        raise ApiError("conflict", f"The media service {slug} is not deleted")
    return restore_one(request, "media_service", service, {"media_services": [{"slug": slug}]}, dry_run)


# --- nodes ---


@router.get("/nodes", summary="List nodes", tags=["nodes"])
def list_nodes(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    status: str | None = Query(None, description="active, draining or disabled."),
) -> HttpResponse:
    """Nodes that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "node")
    queryset = labelled(access.nodes(actor), label)
    queryset = matching(queryset, search, "name", "address")
    return page(queryset.filter(status=status) if status else queryset, limit, offset, represent.node)


@router.get("/nodes/{name}", summary="Get a node", tags=["nodes"])
def get_node(request: HttpRequest, name: str) -> HttpResponse:
    """One node."""
    actor = actor_of_call(request)
    require(actor, "view", "node")
    return answer(represent.node(found(access.nodes(actor), "node", name=name)))


@router.put("/nodes/{name}", summary="Register or change a node", tags=["nodes"], openapi_extra=put_body("node"))
def put_node(request: HttpRequest, name: str, dry_run: bool = DRY_RUN, label: str | None = None) -> HttpResponse:
    """A document of one node."""
    return put_one(request, "node", name, dry_run, "on_create", label)


@router.delete("/nodes/{name}", summary="Delete a node", tags=["nodes"])
def delete_node(request: HttpRequest, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once; refused while a service is on it."""
    return delete_one(request, "node", access.nodes(actor_of_call(request)), name, dry_run)
