"""Where the panel's parts are mounted."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from streamfleet_panel.api import api

urlpatterns = [
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]
