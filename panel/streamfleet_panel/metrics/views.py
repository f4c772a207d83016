"""``GET /metrics``, in the text format of Prometheus."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from streamfleet_panel.access import Forbidden, may
from streamfleet_panel.api.core import TokenAuth, error_of, refusal
from streamfleet_panel.apply.problems import ApiError
from streamfleet_panel.metrics.families import Fleet


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For a token of scope ``metrics`` or of an administrator. Refused as the API refuses: 401, 403, 429."""
    try:
        # Of all requests: whether there are metrics is nobody's business without a token.
        actor = TokenAuth()(request)
        if actor is None:
            raise ApiError("unauthenticated", "Send a token: Authorization: Bearer sft_…")
        if not may(actor, "view", "metrics"):
            raise Forbidden(f"A {actor.role} may not read the metrics")
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Fleet())
        body = generate_latest(registry)
    except Exception as error:
        return refusal(error_of(error))
    return HttpResponse(body, content_type=CONTENT_TYPE_PLAIN_0_0_4, headers={"Cache-Control": "no-store"})
