"""Who has listened to a service, and what it has sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from streamfleet_panel import access
from streamfleet_panel.access import Actor
from streamfleet_panel.models import MB, Transfer
from streamfleet_panel.portal import display
from streamfleet_panel.portal.pages import page, paginated
from streamfleet_panel.portal.views.services import find
from streamfleet_panel.portal.week import FIRST_YEAR, LAST_YEAR
from streamfleet_panel.transfer import month_of

MONTHS = 12
_WAYS = {"web": "Web server", "direct": "Own port", "hls": "HLS"}


def _day(text: str) -> datetime | None:
    """The beginning of a day of UTC; None for what is none."""
    try:
        day = datetime.fromisoformat(text).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    except ValueError:
        return None
    return day if FIRST_YEAR <= day.year <= LAST_YEAR else None


@require_GET
@page
def index(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """Sessions that have ended, the latest first; of one mount, of one day."""
    access.require(actor, "view", "listener_session")
    service = find(actor, slug)
    sessions = access.listener_sessions(actor).filter(media_service=service)
    mount, asked = request.GET.get("mount", "").strip().replace("\0", ""), request.GET.get("day", "").strip()
    day = _day(asked)
    if mount:
        sessions = sessions.filter(mount=mount)
    if day is not None:
        sessions = sessions.filter(started_at__lt=day + timedelta(days=1), ended_at__gte=day)
    shown = paginated(request, sessions)
    for session in shown:
        session.lasted = display.duration(session.started_at, session.ended_at)
        session.way = _WAYS.get(session.source, session.source)
        session.sent = f"{session.bytes / MB:.1f}"
    month = month_of(timezone.now())
    months = list(Transfer.objects.filter(media_service=service).order_by("-month")[:MONTHS])
    sent = next((item.bytes for item in months if item.month == month), 0) // MB
    context = {
        "section": "services",
        "service": service,
        "page": shown,
        "mount": mount,
        "mounts": display.mount_names(service),
        "day": day.date().isoformat() if day is not None else "",
        "no_day": asked if asked and day is None else "",
        "sent_mb": sent,
        "months": [(item.month, item.bytes // MB) for item in months if item.month != month],
    }
    return render(request, "portal/listeners.html", context)
