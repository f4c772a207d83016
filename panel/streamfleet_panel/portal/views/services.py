"""Media services: the list, one service with its connection details, credentials, start and stop."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from streamfleet_panel import access, control, queueing, represent
from streamfleet_panel.access import Actor
from streamfleet_panel.apply import ApiError
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.apply.fields import key_of
from streamfleet_panel.models import Dj, MediaService
from streamfleet_panel.portal import display
from streamfleet_panel.portal.forms import QueueForm, RotateForm
from streamfleet_panel.portal.pages import page, paginated
from streamfleet_panel.portal.use import use_of

DONE = {"start": "started", "stop": "stopped", "restart": "restarted"}
SKIPPED = "What the AutoDJ plays is being skipped. While a DJ is on the air, nothing is."


def find(actor: Actor, slug: str) -> MediaService:
    """The service, if it exists for the actor. Raises Http404."""
    service = access.services(actor).filter(slug=slug).first()
    if service is None:
        raise Http404("There is no such media service")
    return service


@require_GET
@page
def index(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The services in the actor's reach."""
    services = access.services(actor)
    search = request.GET.get("search", "").strip()
    if search:
        services = services.filter(
            Q(slug__icontains=search) | Q(name__icontains=search) | Q(customer__username__icontains=search)
        )
    customer = request.GET.get("customer", "")
    if customer:
        services = services.filter(customer__username=customer)
    shown = paginated(request, services.order_by("slug"))
    context = {
        "section": "services",
        "page": shown,
        "states": display.states_of(shown, actor),
        "search": search,
        "customer": customer,
        "others": actor.role != access.Role.CUSTOMER,
    }
    return render(request, "portal/services.html", context)


def _page(
    request: HttpRequest,
    actor: Actor,
    service: MediaService,
    shown: dict[str, Any] | None = None,
    shown_dj: Dj | None = None,
    queue_form: QueueForm | None = None,
) -> HttpResponse:
    state = display.state_of(service, actor)
    desired = service.desired_state()[0]
    context = {
        "section": "services",
        "service": service,
        "state": state,
        "desired": desired,
        "connection": display.connection(service, shown),
        "other_credentials": display.other_credentials(service, shown),
        "listen_urls": display.listen_urls(service),
        "has_mounts": bool(display.mount_names(service)),
        "has_renditions": display.has_renditions(service),
        "companions": display.companions(service),
        "playlists": display.playlists(service, actor),
        "djs": display.djs(service, actor, shown_dj),
        "relays": display.relays(service, actor),
        "use": use_of(service),
        "air": display.air(service, actor),
        "queue": display.queue(service),
        "passed_over": represent.passed_over(service, queueing.plays_by_itself(service)),
        "queue_form": queue_form or QueueForm(),
        "may_queue": access.may(actor, "control", "media_service"),
        "may_show_djs": access.may(actor, "credentials", "dj"),
        "may_kick": access.may(actor, "kick", "dj"),
        "shown": shown is not None,
        "may_control": access.may(actor, "control", "media_service") and desired in ("running", "stopped"),
        "may_see_owner": actor.role != access.Role.CUSTOMER,
        "may_rotate": access.may(actor, "rotate", "media_service") and display.credential_choices(service),
    }
    return render(request, "portal/service.html", context)


@require_GET
@page
def detail(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """One service; its credentials are masked."""
    return _page(request, actor, find(actor, slug))


@require_POST
@page
def credentials(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """The same page with the credentials in clear. A POST, since looking at them is recorded."""
    access.require(actor, "credentials", "media_service")
    service = find(actor, slug)
    audit_entry(actor, "read_credentials", "media_service", slug, owner=service.customer).save()
    return _page(request, actor, service, service.credentials)


def _find_dj(actor: Actor, slug: str, username: str) -> tuple[MediaService, Dj]:
    """A DJ with the service, if both exist for the actor. Raises Http404."""
    service = find(actor, slug)
    dj = access.djs(actor).filter(media_service=service, username=username).first()
    if dj is None:
        raise Http404("There is no such DJ")
    return service, dj


@require_POST
@page
def dj_credentials(request: HttpRequest, actor: Actor, slug: str, username: str) -> HttpResponse:
    """The page with one DJ's password in clear. A POST, since looking at it is recorded."""
    access.require(actor, "credentials", "dj")
    service, dj = _find_dj(actor, slug, username)
    audit_entry(actor, "read_credentials", "dj", key_of("dj", dj), owner=service.customer).save()
    return _page(request, actor, service, shown_dj=dj)


@require_POST
@page
def dj_kick(request: HttpRequest, actor: Actor, slug: str, username: str) -> HttpResponse:
    """Disconnect a DJ."""
    access.require(actor, "kick", "dj")
    _, dj = _find_dj(actor, slug, username)
    try:
        control.kick(actor, dj)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"{dj.name or dj.username} is being disconnected.")
    return redirect("portal:service", slug=slug)


@require_http_methods(["GET", "POST"])
@page
def rotate(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """Make credentials anew."""
    access.require(actor, "rotate", "media_service")
    service = find(actor, slug)
    overlaps = display.overlaps(service)
    form = RotateForm(display.credential_choices(service), request.POST or None, overlaps=overlaps)
    if form.is_valid():
        try:
            control.rotate(actor, service, form.cleaned_data["names"], form.cleaned_data.get("overlap_seconds", 0))
        except ApiError as error:
            form.refuse(error)
        else:
            messages.success(request, "The credentials are new. Show them, and paste them into your encoder.")
            return redirect("portal:service", slug=slug)
    return render(request, "portal/rotate.html", {"section": "services", "service": service, "form": form})


@require_POST
@page
def action(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """Start, stop or restart."""
    access.require(actor, "control", "media_service")
    service = find(actor, slug)
    wanted = request.POST.get("action", "")
    try:
        control.act(actor, service, wanted)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, SKIPPED if wanted == "skip" else f"{service.name} is being {DONE[wanted]}.")
    return redirect("portal:service", slug=slug)


@require_POST
@page
def queue_put(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """Put a recording into the queue."""
    access.require(actor, "control", "media_service")
    service = find(actor, slug)
    form = QueueForm(request.POST)
    if form.is_valid():
        try:
            queueing.put(actor, service, form.body())
        except ApiError as error:
            form.refuse(error)
        else:
            messages.success(request, f"{form.cleaned_data['recording']} is in the queue.")
            return redirect("portal:service", slug=slug)
    return _page(request, actor, service, queue_form=form)


@require_POST
@page
def queue_take_out(request: HttpRequest, actor: Actor, slug: str, name: str = "") -> HttpResponse:
    """Take one recording out of the queue, or all."""
    access.require(actor, "control", "media_service")
    service = find(actor, slug)
    try:
        if name:
            queueing.take_out_one(actor, service, name)
        else:
            queueing.take_out(actor, service, None)
    except ApiError:
        messages.error(request, "That recording does not wait any more.")
    else:
        messages.success(request, "It is out of the queue." if name else "The queue is empty.")
    return redirect("portal:service", slug=slug)


@require_GET
@page
def status(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """The state alone, for the page's script."""
    state = display.state_of(find(actor, slug), actor)
    return JsonResponse({"words": state.words, "look": state.look, "why": state.why, "settled": state.settled})
