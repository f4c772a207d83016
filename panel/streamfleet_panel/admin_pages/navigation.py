"""Unfold's settings: names, colours, the side bar."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy


def _item(title: str, icon: str, model: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:panel_{model}_changelist")}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Streamfleet",
    "SITE_HEADER": "Streamfleet",
    "SITE_SUBHEADER": "Administration",
    "SITE_URL": "/services/",
    "SITE_ICON": lambda request: static("portal/favicon.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("portal/favicon.svg")}],
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda request: static("admin_pages/admin.css")],
    "BORDER_RADIUS": "8px",
    "COLORS": {
        "primary": {
            "50": "oklch(98.4% .014 180.72)",
            "100": "oklch(95.3% .051 180.801)",
            "200": "oklch(91% .096 180.426)",
            "300": "oklch(85.5% .138 181.071)",
            "400": "oklch(77.7% .152 181.912)",
            "500": "oklch(60% .11 184)",
            "600": "oklch(47.5% .085 184)",
            "700": "oklch(42% .075 186)",
            "800": "oklch(37% .065 188)",
            "900": "oklch(32% .055 188)",
            "950": "oklch(24% .045 192)",
        }
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            {"items": [{"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")}]},
            {
                "title": "Tenants",
                "separator": True,
                "items": [
                    _item("Accounts", "group", "account"),
                    _item("Reseller plans", "sell", "resellerplan"),
                    _item("Media services", "sensors", "mediaservice"),
                    _item("Playlists", "queue_music", "playlist"),
                    _item("DJs", "mic", "dj"),
                    _item("Schedules", "calendar_month", "schedule"),
                    _item("Relays", "share", "relay"),
                    _item("Domains", "language", "domain"),
                    _item("Panel domains", "branding_watermark", "paneldomain"),
                    _item("Media users", "upload_file", "mediauser"),
                    _item("Listener sessions", "headphones", "listenersession"),
                ],
            },
            {
                "title": "Fleet",
                "separator": True,
                "items": [
                    _item("Nodes", "dns", "node"),
                    _item("Converge runs", "sync", "convergerun"),
                ],
            },
            {
                "title": "Access",
                "separator": True,
                "items": [
                    _item("API tokens", "key", "apitoken"),
                    _item("Audit log", "history", "auditlog"),
                    {"title": "API documentation", "icon": "api", "link": "/api/v1/docs"},
                ],
            },
        ],
    },
}
