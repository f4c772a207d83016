"""Mounts of a service, one by one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from streamfleet_panel import access, represent
from streamfleet_panel.access import Actor
from streamfleet_panel.apply import ApiError, apply_one
from streamfleet_panel.apply.mounts import Mount, mounts_of
from streamfleet_panel.engines import Property
from streamfleet_panel.models import MediaService
from streamfleet_panel.portal import display
from streamfleet_panel.portal.forms import MountForm
from streamfleet_panel.portal.pages import page
from streamfleet_panel.portal.views.services import find


def _of(actor: Actor, slug: str) -> tuple[MediaService, Property, list[Mount]]:
    """The service, what its mounts are made of, and these. Raises Http404 where it has none."""
    service = find(actor, slug)
    engine = display.engine_of(service)
    if engine is None or engine.mounts_field is None:
        raise Http404("This media service has no mounts")
    return service, engine.fields[engine.mounts_field], mounts_of(service, engine)


def _shown(mount: Mount, prop: Property) -> dict[str, Any]:
    """A mount in words."""
    known = prop.schema["items"]["properties"]
    facts = [
        (display.mount_words(name), display.mount_value(mount.item.get(name)))
        for name in known
        if name not in ("name", "default") and mount.item.get(name) not in (None, False)
    ]
    urls = represent.mount(mount)["listen_urls"]
    return {
        "name": mount.name,
        "part": mount.name[1:],
        "default": mount.item.get("default"),
        "facts": facts,
        "urls": urls,
    }


@require_http_methods(["GET", "POST"])
@page
def index(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """The service's mounts, and a new one."""
    service, prop, mounts = _of(actor, slug)
    form = MountForm(prop, request.POST or None)
    if request.method == "POST":
        access.require(actor, "create", "mount")
        if form.is_valid():
            name = form.cleaned_data["name"]
            if any(mount.name == name for mount in mounts):
                form.add_error("name", "There is such a mount already. Change that one, or choose another path.")
            elif _apply(actor, slug, form, name):
                messages.success(request, f"The mount {name} is made.")
                return redirect("portal:mounts", slug=slug)
    context = {
        "section": "services",
        "service": service,
        "mounts": [_shown(mount, prop) for mount in mounts],
        "form": form if access.may(actor, "create", "mount") else None,
        "may_change": access.may(actor, "update", "mount"),
        "may_delete": access.may(actor, "delete", "mount"),
    }
    return render(request, "portal/mounts.html", context)


@require_http_methods(["GET", "POST"])
@page
def edit(request: HttpRequest, actor: Actor, slug: str, name: str) -> HttpResponse:
    """One mount; its path stays."""
    access.require(actor, "update", "mount")
    service, prop, mounts = _of(actor, slug)
    mount = _one(mounts, name)
    form = MountForm(prop, request.POST or None, mount=mount.item)
    if form.is_valid() and _apply(actor, slug, form, mount.name):
        messages.success(request, f"The mount {mount.name} is saved.")
        return redirect("portal:mounts", slug=slug)
    context = {"section": "services", "service": service, "mount": mount, "form": form}
    return render(request, "portal/mount_form.html", context)


@require_POST
@page
def delete(request: HttpRequest, actor: Actor, slug: str, name: str) -> HttpResponse:
    """At once; whoever listens to it is disconnected."""
    access.require(actor, "delete", "mount")
    _, _, mounts = _of(actor, slug)
    mount = _one(mounts, name)
    try:
        apply_one("mount", {"media_service": slug, "name": mount.name, "state": "absent"}, actor)
    except ApiError as error:
        said = [f"{mount.name} {problem.message}. {problem.fix}".strip() for problem in error.errors[:1]]
        messages.error(request, said[0] if said else error.message)
    else:
        messages.success(request, f"The mount {mount.name} is deleted.")
    return redirect("portal:mounts", slug=slug)


def _one(mounts: list[Mount], name: str) -> Mount:
    """The mount of that path without its slash. Raises Http404."""
    found = next((mount for mount in mounts if mount.name == f"/{name}"), None)
    if found is None:
        raise Http404("There is no such mount")
    return found


def _apply(actor: Actor, slug: str, form: MountForm, name: str) -> bool:
    """Whether the planner took it; the form says why not."""
    try:
        apply_one("mount", {"media_service": slug, "name": name, **form.document()}, actor)
    except ApiError as error:
        form.refuse(error)
        return False
    return True
