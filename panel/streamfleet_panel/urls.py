"""Where the panel's parts are mounted."""

from __future__ import annotations

from django.urls import include, path

from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.api import api

urlpatterns = [
    path("api/v1/", api.urls),
    path("admin/", site.urls),
    path("hijack/", include("hijack.urls")),
    path("", include("streamfleet_panel.portal.urls")),
]
