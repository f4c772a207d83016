"""A station's week, and the entries of its calendar."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from streamfleet_panel import access
from streamfleet_panel.access import Actor
from streamfleet_panel.apply import ApiError, apply_one
from streamfleet_panel.models import MediaService
from streamfleet_panel.portal import display
from streamfleet_panel.portal import week as weeks
from streamfleet_panel.portal.forms import ScheduleForm
from streamfleet_panel.portal.pages import page
from streamfleet_panel.portal.views.services import find


def _station(actor: Actor, slug: str) -> MediaService:
    """The service, if it exists for the actor and has a calendar. Raises Http404."""
    service = find(actor, slug)
    if not weeks.has_calendar(service):
        raise Http404("This media service has no calendar")
    return service


@require_http_methods(["GET", "POST"])
@page
def index(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """The week that is asked for; a new entry, or another time for one."""
    service = _station(actor, slug)
    names = {
        "playlist": access.playlists(actor)
        .filter(media_service=service)
        .order_by("name")
        .values_list("name", flat=True),
        "dj": access.djs(actor).filter(media_service=service).order_by("username").values_list("username", flat=True),
    }
    form = ScheduleForm({kind: list(found) for kind, found in names.items()}, request.POST or None)
    if request.method == "POST":
        access.require(actor, "create", "schedule")
        if form.is_valid():
            try:
                result, _ = apply_one("schedule", {"media_service": slug, **form.document()}, actor)
            except ApiError as error:
                form.refuse(error)
            else:
                done = "added to" if result["action"] == "created" else "saved in"
                messages.success(request, f"{form.cleaned_data['name']} is {done} the calendar.")
                return redirect("portal:calendar", slug=slug)
    week = weeks.week(service, actor, request.GET.get("week", ""))
    context = {
        "section": "services",
        "service": service,
        "week": week,
        "entries": [(entry, display.time_of_entry(entry)) for entry in week.entries],
        "form": form if access.may(actor, "create", "schedule") else None,
        "may_delete": access.may(actor, "delete", "schedule"),
    }
    return render(request, "portal/calendar.html", context)


@require_POST
@page
def delete(request: HttpRequest, actor: Actor, slug: str, name: str) -> HttpResponse:
    """Take an entry out, at once."""
    access.require(actor, "delete", "schedule")
    service = _station(actor, slug)
    if not access.schedules(actor).filter(media_service=service, name=name).exists():
        raise Http404("There is no such entry")
    try:
        apply_one("schedule", {"media_service": slug, "name": name, "state": "absent"}, actor)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"{name} is taken out of the calendar.")
    return redirect("portal:calendar", slug=slug)
