"""Sessions of listeners."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.timezone import is_naive
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, represent
from streamfleet_panel.access import Actor, require
from streamfleet_panel.api.core import actor_of_call, answer, found, matching
from streamfleet_panel.api.moments import in_utc
from streamfleet_panel.api.objects import LIMIT, OFFSET, SEARCH, page
from streamfleet_panel.apply.problems import ApiError, Problem
from streamfleet_panel.models import ListenerSession, Listening, MediaService, Usage

router = Router(tags=["listener sessions"])
_SOURCE = Query(None, description="web, direct or hls.")
_MOUNT = Query(None, description="A mount, as in /stream.")
_ADDRESS = Query(None, description="An address, as it is kept.")
_SINCE = Query(None, description="Ended then or later (RFC 3339).")
_UNTIL = Query(None, description="Ended before (RFC 3339).")
_RUNNING = Query(False, description="Those of listeners who are there now instead, at most 200 of a service.")


def _sessions(
    actor: Actor, search: str | None, since: datetime | None, until: datetime | None, **exact: str | None
) -> QuerySet[ListenerSession]:
    """Sessions that the actor may see, the latest first."""
    for name, value in (("since", since), ("until", until)):
        if value is not None and is_naive(value):
            problem = Problem(name, str(value), "has no time zone", "Write it as in 2026-11-27T12:00:00Z.")
            raise ApiError("invalid_document", f"{name}: has no time zone", [problem])
    source = exact.get("source")
    if source is not None and source not in ListenerSession.Source.values:
        problem = Problem("source", source[:100], "is not a source", f"Use {', '.join(ListenerSession.Source.values)}.")
        raise ApiError("invalid_document", "source: is not a source", [problem])
    queryset = matching(access.listener_sessions(actor), search, "agent", "address")
    bounds = {"ended_at__gte": in_utc("since", since), "ended_at__lt": in_utc("until", until)}
    wanted = {name: value for name, value in {**exact, **bounds}.items() if value is not None}
    return queryset.filter(**wanted)


def _running(
    service: MediaService,
    limit: int,
    offset: int,
    search: str | None,
    times: dict[str, datetime | None],
    **exact: str | None,
) -> HttpResponse:
    """Sessions that have not ended, as the node told them last, the latest first."""
    for name, moment in times.items():
        if moment is not None:
            problem = Problem(name, str(moment), "is about ended sessions", "Leave it out, or running.")
            raise ApiError("invalid_document", f"{name}: is about ended sessions", [problem])
    told = Listening.objects.filter(media_service=service).first()
    # Who listens is told where it changes only; use is told by the same program, and now and then in any case.
    use = Usage.objects.filter(media_service=service).first()
    known = use is None or represent.is_fresh(use, timezone.now())
    rows = told.sessions if told is not None and known and service.desired_state()[0] == "running" else []
    for name, value in exact.items():
        rows = [row for row in rows if value is None or row[name] == value]
    if search:
        rows = [row for row in rows if search.casefold() in f"{row['agent']}\n{row['address']}".casefold()]
    rows = sorted(rows, key=lambda row: str(row["started_at"]), reverse=True)
    shown = [represent.running_session(service, row, timezone.now()) for row in rows[offset : offset + limit]]
    return answer({"items": shown, "count": len(rows)})


@router.get("/listener-sessions", summary="List the sessions of listeners of all media services")
def list_all_sessions(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    media_service: str | None = Query(None, description="Slug of a media service."),
    source: str | None = _SOURCE,
    mount: str | None = _MOUNT,
    address: str | None = _ADDRESS,
    since: datetime | None = _SINCE,
    until: datetime | None = _UNTIL,
    running: bool = _RUNNING,
) -> HttpResponse:
    """Of the media services that the caller may see, the latest first."""
    actor = actor_of_call(request)
    require(actor, "view", "listener_session")
    if running:
        if media_service is None:
            problem = Problem("running", "true", "needs a service", "Name the media_service.")
            raise ApiError("invalid_document", "running: needs a service", [problem])
        service = found(access.services(actor), "media service", slug=media_service)
        times = {"since": since, "until": until}
        return _running(service, limit, offset, search, times, source=source, mount=mount, address=address)
    exact = {"media_service__slug": media_service, "source": source, "mount": mount, "address": address}
    return page(_sessions(actor, search, since, until, **exact), limit, offset, represent.listener_session)


@router.get("/media-services/{slug}/listener-sessions", summary="List the sessions of listeners of a media service")
def list_sessions(
    request: HttpRequest,
    slug: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    source: str | None = _SOURCE,
    mount: str | None = _MOUNT,
    address: str | None = _ADDRESS,
    since: datetime | None = _SINCE,
    until: datetime | None = _UNTIL,
    running: bool = _RUNNING,
) -> HttpResponse:
    """The latest first."""
    actor = actor_of_call(request)
    require(actor, "view", "listener_session")
    service = found(access.services(actor), "media service", slug=slug)
    if running:
        times = {"since": since, "until": until}
        return _running(service, limit, offset, search, times, source=source, mount=mount, address=address)
    exact = {"media_service__slug": slug, "source": source, "mount": mount, "address": address}
    return page(_sessions(actor, search, since, until, **exact), limit, offset, represent.listener_session)
