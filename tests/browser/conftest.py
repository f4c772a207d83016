"""A real panel with a small world, and a Chromium that notes everything that it should not see."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.contract.panel_server import Panel, running_panel

PASSWORD = "correct horse"
#: A reseller's name for the panel, and what the panel is called there.
SHOP, BRAND = "panel.shop.example", "ABrandAsLongAsOneCanEverBe" * 2 + "AndOneMo"
#: Said of any host but this machine's; these panels have no TLS.
OVER_HTTP = "The Cross-Origin-Opener-Policy header has been ignored"
# Chromium must speak with nobody but the panel.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {SHOP} 127.0.0.1",
]
DOCUMENT = {
    "reseller_plans": [{"name": "small", "max_customers": 5, "max_media_services": 5}],
    "nodes": [
        {
            "name": "node1",
            "address": "192.0.2.10",
            "engines": ["icecast", "nginx_rtmp"],
            "stream_host": "stream.example.net",
            "port_range_start": 8100,
            "port_range_end": 8199,
        }
    ],
    "customers": [
        {"username": "shop", "password": PASSWORD, "reseller_plan": "small"},
        {
            "username": "alice",
            "password": PASSWORD,
            "reseller": "shop",
            "accessibility_features": True,
            "email": "alice@example.net",
        },
    ],
    "media_services": [
        {
            "slug": "rock-fm",
            "name": "Rock FM",
            "customer": "alice",
            "engine": "icecast",
            "max_listeners": 100,
            "monthly_transfer_mb": 1000,
            "autodj": {"timezone": "Europe/Prague"},
        },
        {"slug": "alice-tv", "name": "Alice TV", "customer": "alice", "engine": "nginx_rtmp"},
    ],
    "playlists": [
        {"media_service": "rock-fm", "name": "all", "folder": "."},
        {
            "media_service": "rock-fm",
            "name": "a-name-that-is-as-long-as-the-name-of-a-playlist-can-ever-be",
            "type": "scheduled",
            "folder": "a-long-folder/" * 20 + "end",
            "active": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "22:00", "end": "04:00"}],
        },
        {
            "media_service": "rock-fm",
            "name": "off",
            "enabled": False,
            "type": "jingle",
            "folder": "j",
            "every_tracks": 4,
        },
    ],
    "domains": [{"media_service": "rock-fm", "name": "a" * 63 + ".example.com"}],
    "panel_domains": [{"reseller": "shop", "name": SHOP, "brand": BRAND}],
    "djs": [
        {"media_service": "rock-fm", "username": "anna", "name": "Anna B.", "record": True},
        {
            "media_service": "rock-fm",
            "username": "a-user-name-as-long-as-may-be",
            "name": "ANameOfWhichNobodyKnowsWhereItMayBeBroken" * 2,
            "enabled": False,
            "priority": 100,
            "scheduled_only": True,
            "active": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "22:00", "end": "04:00"}],
        },
    ],
    "schedules": [
        {
            "media_service": "rock-fm",
            "name": "a-name-that-is-as-long-as-the-name-of-an-entry-can-ever-be-here",
            "playlist": "a-name-that-is-as-long-as-the-name-of-a-playlist-can-ever-be",
            "days": ["sat", "sun"],
            "start": "08:00",
            "end": "12:30",
        },
        {"media_service": "rock-fm", "name": "morning", "dj": "anna", "start": "06:00", "end": "10:00"},
    ],
    "mounts": [
        {
            "media_service": "rock-fm",
            "name": "/" + "a-path-as-long-as-one-can-ever-be-in-all-of-the-world-it-has-64",
            "format": "aac",
            "bitrate_kbps": 48,
            "fallback": "/stream",
        }
    ],
}


LISTENERS = """
from datetime import timedelta
from django.utils import timezone
from streamfleet_panel.models import MB, ListenerSession, MediaService, Transfer
from streamfleet_panel.transfer import month_of
now, service = timezone.now(), MediaService.objects.get(slug="rock-fm")
for number, mount in enumerate(("/stream", "/" + "a-path-as-long-as-one-can-ever-be" * 2)):
    ListenerSession.objects.create(
        media_service=service, name=f"{number:032}", source="web", mount=mount, bytes=7 * MB,
        address="2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", agent="AnAgentOfWhichNobodyKnowsWhereItMayBeBroken" * 5,
        started_at=now - timedelta(hours=2), ended_at=now,
    )
Transfer.objects.create(media_service=service, month=month_of(now), bytes=700 * MB, counter="a" * 32)
"""


# No name server of these tests has the record that proves it.
PROVED = f"""
from streamfleet_panel.models import PanelDomain
assert PanelDomain.objects.filter(name="{SHOP}").update(status="verified", holds="{SHOP}")
"""


@dataclass
class World:
    """The panel, and what its node reports."""

    panel: Panel
    worker: str

    @property
    def shop(self) -> str:
        """The panel's URL under the reseller's name."""
        return self.panel.url.replace("127.0.0.1", SHOP)

    def report(self, **states: str) -> None:
        """The node says: these services are in these states (slug with _ for -), at the newest generation."""
        status, document = self.panel.request("GET", "/nodes/node1/document")
        assert status == 200
        generations = {service["slug"]: service["generation"] for service in document["services"]}
        services = {
            slug.replace("_", "-"): {"generation": generations[slug.replace("_", "-")], "state": state}
            for slug, state in states.items()
        }
        body = {"epoch": document["epoch"], "generation": document["generation"], "services": services}
        assert self.panel.request("PUT", "/nodes/node1/status", body, self.worker)[0] == 200


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """A panel with assets, a reseller, a customer, two services. Mail is configured and goes nowhere."""
    mail = {"STREAMFLEET_PANEL_EMAIL_HOST": "127.0.0.1", "STREAMFLEET_PANEL_EMAIL_PORT": "1"}
    with running_panel(static=True, extra=mail) as panel:
        status, answer = panel.request("POST", "/apply", {"document": DOCUMENT})
        assert status == 200, answer
        # Nodes tell of listeners; here there is none.
        panel.manage("shell", "--no-imports", "-c", LISTENERS + PROVED)
        worker = panel.manage("issue_token", "--name", "worker", "--scope", "worker")["token"]
        yield World(panel, worker)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Its absence is a failure, not a skip."""
    path = shutil.which("chromium")
    assert path, "Chromium is missing; run make browser as root"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(world: World, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """New pages in sessions of their own. After the test: no error in any console, no request to anybody else."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []
    url = world.panel.url

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda message: (
                faults.append(f"{page.url}: {message.text}")
                if message.type == "error" and not message.text.startswith(OVER_HTTP)
                else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((url + "/", world.shop + "/", "data:"))
                else faults.append(f"{page.url} asked {request.url}")
            ),
        )
        page.on(
            "response",
            lambda answer: faults.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )

    def opener(**options: Any) -> Page:
        context = chromium.new_context(**{"base_url": url, **options})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        watch(page)
        return page

    opener.faults = faults  # type: ignore[attr-defined]
    yield opener
    for context in contexts:
        context.close()
    assert faults == []


def log_in(page: Page, username: str, password: str = PASSWORD) -> None:
    """With the mouse's help."""
    page.goto("/login/")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state()
