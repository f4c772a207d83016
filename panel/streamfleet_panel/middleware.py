"""Where a request comes from, and under which name."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
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


class ApiErrors:
    """Give what Django itself refuses below /api/ (no such route, method, host) the one error shape."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if (
            response.status_code < 400
            or not request.path.startswith("/api/")
            or response.headers.get("Content-Type", "").startswith("application/json")
        ):
            return response
        from streamfleet_panel.api.core import refusal
        from streamfleet_panel.apply.problems import ApiError

        codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
        code = codes.get(response.status_code, "invalid_document" if response.status_code < 500 else "internal_error")
        words = {
            "not_found": "There is no such route; see /api/v1/docs",
            "method_not_allowed": f"This route does not take {request.method}",
            "internal_error": "The panel failed at this call; its log says why",
        }
        answer = refusal(ApiError(code, words.get(code, f"The call was refused: {response.reason_phrase}")))
        for name in ("Allow",):
            if name in response.headers:
                answer[name] = response.headers[name]
        return answer


class ClientAddress:
    """Put the client's true address into REMOTE_ADDR, where every other part looks."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.META["REMOTE_ADDR"] = client_ip(request)
        return self.get_response(request)


class WhiteLabel:
    """Let in requests under resellers' own names, which no list of hosts in the settings knows.

    What such a request's host is is not asked of it again: it is one that the database has. Everything else goes on as
    Django has it, which refuses hosts that are not in ALLOWED_HOSTS. ``request.white_label`` is the name, or None.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        from streamfleet_panel import white_label

        try:
            name = white_label.asked_for(request)
        except DatabaseError:
            # Refused, as a name that nobody has. Pages under the installation's own names say what is the matter.
            name = None
        request.white_label = name  # type: ignore[attr-defined]
        if name is not None:
            host = request.META["HTTP_HOST"]
            request.get_host = lambda: host  # type: ignore[method-assign]
        return self.get_response(request)


class WhiteLabelSessions:
    """Under a reseller's own name a session counts for those alone who may log in there."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        from streamfleet_panel import white_label
        from streamfleet_panel.models import Account

        if white_label.of(request) is not None:
            user = request.user
            if isinstance(user, Account) and not white_label.lets_in(request, user):
                request.user = AnonymousUser()
        return self.get_response(request)
