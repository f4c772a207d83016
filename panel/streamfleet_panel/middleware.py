"""Where a request comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


def client_ip(request: HttpRequest) -> str:
    """The client's address, or "" where it is not known.

    Over the unix socket (no peer address) the peer is our nginx, which sets X-Real-IP itself; over TCP the header
    could be anybody's and is ignored unless STREAMFLEET_PANEL_TRUST_PROXY says that a proxy is there.
    """
    peer: str = request.META.get("REMOTE_ADDR", "")
    if not peer or settings.TRUST_PROXY:
        peer = request.META.get("HTTP_X_REAL_IP", "").strip() or peer
    try:
        return str(ipaddress.ip_address(peer))
    except ValueError:
        return ""


class ClientAddress:
    """Put the client's true address into REMOTE_ADDR, where every other part looks."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.META["REMOTE_ADDR"] = client_ip(request)
        return self.get_response(request)
