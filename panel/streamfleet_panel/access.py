"""The one answer to "what may this account see and do". Admin pages, portal, API and planner all ask here.

Two questions, two kinds of answer:

- *What may it see?* Scoped querysets (``accounts(actor)``, ``services(actor)``, …). What is not in the queryset does
  not exist for the actor: 404, never 403, so that names of others cannot be probed.
- *What may it do?* ``may(actor, action, kind)`` for the verb, ``writable(actor, kind, own)`` for the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from streamfleet_panel.models import (
    Account,
    ApiToken,
    AuditLog,
    ConvergeRun,
    Dj,
    Domain,
    Job,
    ListenerSession,
    MediaService,
    MediaUser,
    Node,
    PanelDomain,
    PlayedTrack,
    Playlist,
    QueuedTrack,
    Relay,
    ResellerPlan,
    Schedule,
    ServiceTransfer,
)


class Role(StrEnum):
    """Kinds of actor. ``system`` is the panel itself (clock, command line)."""

    ADMINISTRATOR = "administrator"
    RESELLER = "reseller"
    CUSTOMER = "customer"
    NODE = "node"
    WORKER = "worker"
    METRICS = "metrics"
    SYSTEM = "system"


@dataclass(frozen=True)
class Actor:
    """Who asks, and how. ``account`` is None for machines; ``node_id`` is set for a node's token."""

    role: Role
    name: str
    account: Account | None = None
    node_id: int | None = None
    token_id: str = ""
    ip: str = ""
    via: str = "api"
    impersonator: str = ""

    @property
    def is_administrator(self) -> bool:
        """May see and do everything that a person may."""
        return self.role in (Role.ADMINISTRATOR, Role.SYSTEM)


class Forbidden(Exception):
    """The actor may not do this, whatever the object."""


def actor_of(account: Account, *, ip: str = "", via: str = "api", token_id: str = "", impersonator: str = "") -> Actor:
    """The actor that an enabled account is."""
    if account.is_administrator:
        role = Role.ADMINISTRATOR
    elif account.is_reseller:
        role = Role.RESELLER
    else:
        role = Role.CUSTOMER
    return Actor(
        role=role, name=account.username, account=account, ip=ip, via=via, token_id=token_id, impersonator=impersonator
    )


def actor_of_request(request: HttpRequest, via: str = "portal") -> Actor:
    """The actor of a page's session. Raises Forbidden where nobody is logged in."""
    account = request.user
    if not isinstance(account, Account) or not account.is_enabled:
        raise Forbidden("Log in first")
    history = request.session.get("hijack_history") or []
    impersonator = ""
    if history:
        impersonator = Account.objects.filter(pk=history[0]).values_list("username", flat=True).first() or ""
    return actor_of(account, ip=request.META.get("REMOTE_ADDR", ""), via=via, impersonator=impersonator)


def actor_of_token(token: ApiToken, ip: str = "") -> Actor:
    """The actor that a valid token is. Raises nothing: whether its account may use the API is the API's question."""
    if token.scope == "worker":
        return Actor(role=Role.WORKER, name="worker", token_id=token.token_id, ip=ip)
    if token.scope == "metrics":
        return Actor(role=Role.METRICS, name="metrics", token_id=token.token_id, ip=ip)
    if token.node_id is not None:
        return Actor(role=Role.NODE, name=token.scope, node_id=token.node_id, token_id=token.token_id, ip=ip)
    if token.account is None:
        raise Forbidden("This token belongs to no account")
    return actor_of(token.account, ip=ip, token_id=token.token_id)


def system(name: str = "system") -> Actor:
    """The panel itself."""
    return Actor(role=Role.SYSTEM, name=name, via="system")


def with_account(actor: Actor, account: Account) -> Actor:
    """``actor`` with a freshly read account, e.g. in a job that starts later than its request."""
    return replace(
        actor_of(account), ip=actor.ip, via=actor.via, token_id=actor.token_id, impersonator=actor.impersonator
    )


# --- What may it see ------------------------------------------------------------------------------------------------


def accounts(actor: Actor, *, deleted: bool = False) -> QuerySet[Account]:
    """Accounts that the actor may see; a reseller sees its own and its customers'.

    ``deleted``: those in grace instead.
    """
    every = Account.objects.filter(deleted_at__isnull=not deleted).select_related("reseller_plan", "reseller")
    if actor.is_administrator:
        return every
    if actor.account is None:
        return every.none()
    if actor.role == Role.RESELLER:
        return every.filter(Q(pk=actor.account.pk) | Q(reseller_id=actor.account.pk))
    return every.filter(pk=actor.account.pk)


def services(actor: Actor, *, deleted: bool = False) -> QuerySet[MediaService]:
    """Media services that the actor may see; machines see those of their nodes. ``deleted``: those in grace instead."""
    every = MediaService.objects.filter(deleted_at__isnull=not deleted).select_related(
        "customer", "customer__reseller", "node", "observed"
    )
    if actor.is_administrator or actor.role == Role.WORKER:
        return every
    if actor.role == Role.NODE and actor.node_id is not None:
        return every.filter(node_id=actor.node_id)
    if actor.account is None:
        return every.none()
    if actor.role == Role.RESELLER:
        return every.filter(Q(customer_id=actor.account.pk) | Q(customer__reseller_id=actor.account.pk))
    return every.filter(customer_id=actor.account.pk)


def playlists(actor: Actor) -> QuerySet[Playlist]:
    """Playlists of the media services that the actor may see; those of deleted ones are gone with them."""
    return Playlist.objects.filter(media_service__in=services(actor).values("pk")).select_related("media_service")


def djs(actor: Actor) -> QuerySet[Dj]:
    """DJs (never their passwords), like playlists."""
    return Dj.objects.filter(media_service__in=services(actor).values("pk")).select_related("media_service__node")


def schedules(actor: Actor) -> QuerySet[Schedule]:
    """Entries of calendars, like playlists."""
    return Schedule.objects.filter(media_service__in=services(actor).values("pk")).select_related("media_service")


def relays(actor: Actor) -> QuerySet[Relay]:
    """Relays (never their passwords), like playlists."""
    return Relay.objects.filter(media_service__in=services(actor).values("pk")).select_related("media_service")


def domains(actor: Actor) -> QuerySet[Domain]:
    """Custom domains, like playlists."""
    return Domain.objects.filter(media_service__in=services(actor).values("pk")).select_related(
        "media_service__customer", "media_service__node"
    )


def listener_sessions(actor: Actor) -> QuerySet[ListenerSession]:
    """Sessions of listeners, like playlists."""
    return ListenerSession.objects.filter(media_service__in=services(actor).values("pk")).select_related(
        "media_service"
    )


def played(actor: Actor) -> QuerySet[PlayedTrack]:
    """What was played, of the media services that the actor may see."""
    return PlayedTrack.objects.filter(media_service__in=services(actor).values("pk"))


def queued(actor: Actor) -> QuerySet[QueuedTrack]:
    """Entries of queues, of the media services that the actor may see."""
    return QueuedTrack.objects.filter(media_service__in=services(actor).values("pk"))


def media_users(actor: Actor) -> QuerySet[MediaUser]:
    """Media users (never their passwords) of the customers that the actor may see; not those of deleted ones."""
    return MediaUser.objects.filter(customer__in=accounts(actor).values("pk")).select_related("customer")


def panel_domains(actor: Actor) -> QuerySet[PanelDomain]:
    """Resellers' own names for the panel: a reseller sees its own, and its customers none."""
    every = PanelDomain.objects.filter(reseller__deleted_at=None).select_related("reseller")
    if actor.is_administrator:
        return every
    if actor.role == Role.RESELLER and actor.account is not None:
        return every.filter(reseller_id=actor.account.pk)
    return every.none()


def plans(actor: Actor) -> QuerySet[ResellerPlan]:
    """Reseller plans; a reseller sees its own."""
    if actor.is_administrator:
        return ResellerPlan.objects.all()
    if actor.role == Role.RESELLER and actor.account is not None and actor.account.reseller_plan_id is not None:
        return ResellerPlan.objects.filter(pk=actor.account.reseller_plan_id)
    return ResellerPlan.objects.none()


def nodes(actor: Actor) -> QuerySet[Node]:
    """Nodes; tenants see none (what they need of theirs stands in the service), a node sees itself."""
    # With how each was last asked for news, but for how far, which is long.
    every = Node.objects.select_related("collection").defer("collection__cursors")
    if actor.is_administrator or actor.role == Role.WORKER:
        return every
    if actor.role == Role.NODE and actor.node_id is not None:
        return every.filter(pk=actor.node_id)
    return every.none()


def runs(actor: Actor) -> QuerySet[ConvergeRun]:
    """Converge runs of the nodes that the actor may see."""
    return ConvergeRun.objects.filter(node__in=nodes(actor)).select_related("node")


def transfers(actor: Actor) -> QuerySet[ServiceTransfer]:
    """Transfers between nodes, which are administrators' business."""
    every = ServiceTransfer.objects.select_related("source", "target")
    return every if actor.is_administrator else every.none()


def tokens(actor: Actor) -> QuerySet[ApiToken]:
    """Tokens (never their secrets); a reseller sees only its own, not its customers'."""
    every = ApiToken.objects.select_related("account", "node")
    if actor.is_administrator:
        return every
    if actor.account is None:
        return every.none()
    return every.filter(account_id=actor.account.pk)


def audit_log(actor: Actor) -> QuerySet[AuditLog]:
    """Entries about the actor's own objects and those of its customers, and what it did itself."""
    every = AuditLog.objects.select_related("owner")
    if actor.is_administrator:
        return every
    if actor.account is None:
        return every.none()
    own = Q(owner_id=actor.account.pk) | Q(actor_id=actor.account.pk)
    if actor.role == Role.RESELLER:
        own |= Q(owner__reseller_id=actor.account.pk)
    return every.filter(own)


def jobs(actor: Actor) -> QuerySet[Job]:
    """Jobs that the actor asked for; administrators see all."""
    if actor.is_administrator:
        return Job.objects.all()
    if actor.account is None:
        return Job.objects.none()
    return Job.objects.filter(requested_by_id=actor.account.pk)


SCOPES: dict[type[Model], Any] = {
    Account: accounts,
    MediaService: services,
    PlayedTrack: played,
    Playlist: playlists,
    QueuedTrack: queued,
    Dj: djs,
    Schedule: schedules,
    Relay: relays,
    Domain: domains,
    PanelDomain: panel_domains,
    ListenerSession: listener_sessions,
    MediaUser: media_users,
    ResellerPlan: plans,
    Node: nodes,
    ConvergeRun: runs,
    ServiceTransfer: transfers,
    ApiToken: tokens,
    AuditLog: audit_log,
    Job: jobs,
}


def visible(actor: Actor, model: type[Model]) -> QuerySet[Any]:
    """The scoped queryset of ``model``, for code that is the same for every kind (lists, the admin)."""
    scoped: QuerySet[Any] = SCOPES[model](actor)
    return scoped


# --- What may it do -------------------------------------------------------------------------------------------------

_EVERYTHING = frozenset({"view", "create", "update", "delete", "restore"})
# Whoever may change a service may do all this to what belongs to it, which is deleted for good.
_OF_SERVICE = frozenset({"view", "create", "update", "delete"})
_DJ = _OF_SERVICE | {"credentials", "kick"}
_DOMAIN = _OF_SERVICE | {"check"}
_MACHINE = {
    "node": frozenset({"view", "document", "status"}),
    "media_service": frozenset({"view"}),
    "playlist": frozenset({"view"}),
    "dj": frozenset({"view"}),
    "schedule": frozenset({"view"}),
    "relay": frozenset({"view"}),
    "domain": frozenset({"view"}),
    "mount": frozenset({"view"}),
}
_PERMITTED: dict[Role, dict[str, frozenset[str]]] = {
    Role.ADMINISTRATOR: {
        "customer": _EVERYTHING,
        "reseller_plan": _EVERYTHING,
        "node": _EVERYTHING | {"document", "status", "converge"},
        "media_service": _EVERYTHING | {"credentials", "rotate", "control"},
        "playlist": _OF_SERVICE,
        "dj": _DJ,
        "schedule": _OF_SERVICE,
        "relay": _OF_SERVICE,
        "domain": _DOMAIN,
        "panel_domain": _DOMAIN,
        "mount": _OF_SERVICE,
        "media_user": _OF_SERVICE,
        "listener_session": frozenset({"view"}),
        "transfer": frozenset({"view", "create", "update"}),
        "token": frozenset({"view", "create", "delete"}),
        "audit_log": frozenset({"view"}),
        "job": frozenset({"view"}),
        "metrics": frozenset({"view"}),
    },
    Role.RESELLER: {
        "customer": _EVERYTHING,
        "reseller_plan": frozenset({"view"}),
        "media_service": _EVERYTHING | {"credentials", "rotate", "control"},
        "playlist": _OF_SERVICE,
        "dj": _DJ,
        "schedule": _OF_SERVICE,
        "relay": _OF_SERVICE,
        "domain": _DOMAIN,
        "panel_domain": _DOMAIN,
        "mount": _OF_SERVICE,
        "media_user": _OF_SERVICE,
        "listener_session": frozenset({"view"}),
        "token": frozenset({"view", "create", "delete"}),
        "audit_log": frozenset({"view"}),
        "job": frozenset({"view"}),
    },
    Role.CUSTOMER: {
        "customer": frozenset({"view", "update"}),
        "media_service": frozenset({"view", "update", "credentials", "rotate", "control"}),
        "playlist": _OF_SERVICE,
        "dj": _DJ,
        "schedule": _OF_SERVICE,
        "relay": _OF_SERVICE,
        "domain": _DOMAIN,
        "mount": _OF_SERVICE,
        "media_user": _OF_SERVICE,
        "listener_session": frozenset({"view"}),
        "token": frozenset({"view", "create", "delete"}),
        "audit_log": frozenset({"view"}),
        "job": frozenset({"view"}),
    },
    Role.NODE: _MACHINE,
    Role.WORKER: _MACHINE,
    # What is counted of the whole fleet, and nothing else.
    Role.METRICS: {"metrics": frozenset({"view"})},
}
_PERMITTED[Role.SYSTEM] = _PERMITTED[Role.ADMINISTRATOR]


def words_of(kind: str) -> str:
    """A kind of objects as a sentence has it."""
    return "DJ" if kind == "dj" else kind.replace("_", " ")


def may(actor: Actor, action: str, kind: str) -> bool:
    """Whether the actor may do ``action`` to objects of ``kind`` that it can see."""
    return action in _PERMITTED[actor.role].get(kind, frozenset())


def require(actor: Actor, action: str, kind: str) -> None:
    """Raise Forbidden, in words, unless the actor may."""
    if not may(actor, action, kind):
        raise Forbidden(f"A {actor.role} may not {action} a {words_of(kind)}")


# Fields of the document that others than administrators may change; None means every field.
_OWN_ACCOUNT = frozenset({"username", "password", "name", "email", "contact_number", "accessibility_features"})
_CUSTOMER_OF_RESELLER = _OWN_ACCOUNT | {"status", "api_access", "send_welcome_email", "reseller"}
_SERVICE_OF_CUSTOMER = frozenset({"slug", "name"})
_SERVICE_OF_RESELLER = _SERVICE_OF_CUSTOMER | {
    "customer",
    "engine",
    "service_type",
    "port",
    "enabled",
    "suspended",
    "suspend_reason",
    "suspended_until",
    "max_listeners",
    "max_bitrate_kbps",
    "monthly_transfer_mb",
    "disk_quota_mb",
    "max_mounts",
    "max_domains",
    "max_renditions",
    "max_transcode_mpixels",
}


def writable(actor: Actor, kind: str, *, own: bool = False) -> frozenset[str] | None:
    """Fields of ``kind`` that the actor may change; None means all.

    ``own``: the object is the actor's own account. Fields and credentials of the engine (genre, mounts, passwords)
    may be changed by whoever may update the service; limits hold for them all the same.
    """
    if actor.is_administrator:
        return None
    if kind == "customer":
        return _CUSTOMER_OF_RESELLER if actor.role == Role.RESELLER and not own else _OWN_ACCOUNT
    if kind == "media_service":
        return _SERVICE_OF_RESELLER if actor.role == Role.RESELLER else _SERVICE_OF_CUSTOMER
    if kind in ("playlist", "dj", "schedule", "relay", "domain", "panel_domain", "media_user"):
        return None
    return frozenset()


def may_hijack(*, hijacker: Account, hijacked: Account) -> bool:
    """Who may log in as whom: an administrator as any customer or reseller, a reseller as its own customers."""
    if not hijacked.is_enabled or hijacked.is_administrator or hijacker.pk == hijacked.pk:
        return False
    if hijacker.is_administrator:
        return hijacker.is_enabled
    return hijacker.is_reseller and hijacked.reseller_id == hijacker.pk
