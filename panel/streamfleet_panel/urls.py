"""Where the panel's parts are mounted."""

from __future__ import annotations

from django.urls import include, path

from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.api import api, no_route
from streamfleet_panel.metrics.views import metrics

urlpatterns = [
    path("api/v1/", api.urls),
    path("api/<path:rest>", no_route),
    path("metrics", metrics),
    path("admin/", site.urls),
    path("hijack/", include("streamfleet_panel.portal.takeover_urls")),
    path("", include("streamfleet_panel.portal.urls")),
]
