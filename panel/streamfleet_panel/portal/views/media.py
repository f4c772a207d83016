"""Log-ins with which the account brings media by SFTP and FTP over TLS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from streamfleet_panel import access
from streamfleet_panel.access import Actor
from streamfleet_panel.apply import ApiError, apply_one
from streamfleet_panel.libraries import uses_library
from streamfleet_panel.models import MediaService
from streamfleet_panel.portal.forms import MediaUserForm
from streamfleet_panel.portal.pages import NEW_PASSWORD, own, page
from streamfleet_panel.portal.use import libraries_of


@require_http_methods(["GET", "POST"])
@page
def index(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The account's log-ins and where they are entered; a new one, or another password for one."""
    account = own(actor)
    form = MediaUserForm(request.POST or None)
    if form.is_valid():
        try:
            result, _ = apply_one("media_user", {"customer": account.username, **form.document()}, actor, NEW_PASSWORD)
        except ApiError as error:
            form.refuse(error)
        else:
            done = "made" if result["action"] == "created" else "saved"
            messages.success(request, f"The log-in {account.username}.{form.cleaned_data['name']} is {done}.")
            return redirect("portal:media")
    users = access.media_users(actor).filter(customer_id=account.pk).order_by("name")
    services = list(access.services(actor).filter(customer_id=account.pk).order_by("slug"))
    context = {
        "section": "media",
        "users": users,
        "form": form,
        "servers": _servers(services),
        "libraries": libraries_of(services),
    }
    return render(request, "portal/media.html", context)


@require_POST
@page
def delete(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    """At once; sessions end."""
    account = own(actor)
    user = access.media_users(actor).filter(customer_id=account.pk, name=name).first()
    if user is None:
        raise Http404("There is no such log-in")
    try:
        apply_one("media_user", {"customer": account.username, "name": name, "state": "absent"}, actor)
    except ApiError as error:
        # Deleted by somebody else meanwhile, say.
        messages.error(request, error.message)
    else:
        messages.success(request, f"Nobody can log in as {account.username}.{name} any more.")
    return redirect("portal:media")


def _servers(services: Iterable[MediaService]) -> list[dict[str, Any]]:
    """Hosts with the account's library that take files, as their nodes' facts say, each once."""
    found: dict[str, dict[str, Any]] = {}
    for service in services:
        ports = service.node.facts.get("file_transfer")
        if isinstance(ports, dict) and uses_library(service):
            host = service.node.stream_host or service.node.address
            found[host] = {"host": host, "sftp": ports.get("sftp_port"), "ftps": ports.get("ftps_port")}
    return list(found.values())
