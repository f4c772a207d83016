"""What a station has played, what it does not play, and who is on the air."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, queueing, represent
from streamfleet_panel.access import require
from streamfleet_panel.api.core import actor_of_call, answer, found
from streamfleet_panel.api.moments import in_utc
from streamfleet_panel.api.objects import LIMIT, OFFSET, page

router = Router(tags=["media services"])

SINCE = Query(None, description="Only what began at this time or later (RFC 3339; UTC where it names no zone).")


@router.get(
    "/media-services/{slug}/played",
    summary="What was played, the newest first",
    description="Tracks of the AutoDJ and titles of DJs, some seconds after they began.",
)
def list_played(
    request: HttpRequest,
    slug: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    since: datetime | None = SINCE,
) -> HttpResponse:
    """The newest lines of the history."""
    actor = actor_of_call(request)
    require(actor, "view", "media_service")
    service = found(access.services(actor), "media service", slug=slug)
    queryset = access.played(actor).filter(media_service=service)
    since = in_utc("since", since)
    if since is not None:
        queryset = queryset.filter(at__gte=since)
    return page(queryset.order_by("-at", "-pk"), limit, offset, represent.played)


@router.get("/media-services/{slug}/air", summary="Who and what is on the air")
def get_air(request: HttpRequest, slug: str) -> HttpResponse:
    """The DJ who is heard, those who are connected, and what began last."""
    actor = actor_of_call(request)
    require(actor, "view", "media_service")
    service = found(access.services(actor), "media service", slug=slug)
    return answer(represent.air(service, access.played(actor).filter(media_service=service).first()))


@router.get(
    "/media-services/{slug}/passed-over",
    summary="What of the media library is not played, and why",
    description="How many files are passed over, and the first 50 of them: what holds no sound, what an AutoDJ of the "
    "eco class cannot send as it is, and what a television channel cannot. A file not looked at yet is none of "
    "them.",
)
def get_passed_over(request: HttpRequest, slug: str) -> HttpResponse:
    """As the node told it last."""
    actor = actor_of_call(request)
    require(actor, "view", "media_service")
    service = found(access.services(actor), "media service", slug=slug)
    return answer(represent.passed_over(service, queueing.plays_by_itself(service)))
