"""Addresses of logging in as somebody, and of the way back (the names that hijack's own templates use)."""

from __future__ import annotations

from django.urls import path
from hijack.views import ReleaseUserView

from streamfleet_panel.portal.takeover import Acquire

app_name = "hijack"
urlpatterns = [
    path("acquire/", Acquire.as_view(), name="acquire"),
    path("release/", ReleaseUserView.as_view(), name="release"),
]
