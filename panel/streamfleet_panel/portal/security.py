"""Headers that every page carries: what a browser may load, and that nothing of an account is kept in caches."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control

_NOTHING_ELSE = {
    "default-src": "'none'",
    "connect-src": "'self'",
    "font-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "img-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
}
STRICT = "; ".join(f"{name} {value}" for name, value in _NOTHING_ELSE.items())
# Unfold's pages run Alpine, which evaluates the attributes of its templates, and set the theme in a style element.
# They never show text of tenants unescaped, and administrators alone see them.
ADMIN = "; ".join(
    f"{name} {value}"
    for name, value in {
        **_NOTHING_ELSE,
        "script-src": "'self' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
    }.items()
)
# The API's reader builds its own style elements and embeds its icons.
API_DOCS = "; ".join(
    f"{name} {value}"
    for name, value in {**_NOTHING_ELSE, "style-src": "'self' 'unsafe-inline'", "img-src": "'self' data:"}.items()
)


def policy_for(path: str) -> str:
    """The content security policy of the page at ``path``."""
    if path.startswith("/admin/"):
        return ADMIN
    if path == "/api/v1/docs":
        return API_DOCS
    return STRICT


class PageHeaders:
    """Add the headers, unless a view has set its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy_for(request.path))
        response.headers.setdefault(
            "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        )
        if "Cache-Control" not in response.headers and not request.path.startswith("/static/"):
            patch_cache_control(response, private=True, no_store=True)
        return response
