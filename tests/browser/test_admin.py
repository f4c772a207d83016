"""The administrators' pages and the API's reader in a browser: local assets, own policy, forms that work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import World, log_in

pytestmark = pytest.mark.slow
Opener = Callable[..., Page]
PATHS = [
    "/admin/",
    *(
        f"/admin/panel/{model}/"
        for model in ("account", "resellerplan", "mediaservice", "node", "convergerun", "apitoken", "auditlog")
    ),
    *(f"/admin/panel/{model}/add/" for model in ("account", "resellerplan", "mediaservice", "node", "apitoken")),
]


def test_pages_open_with_local_assets_alone(world: World, open_page: Opener) -> None:
    page = open_page(viewport={"width": 1400, "height": 900})
    log_in(page, "admin", world.panel.password)
    expect(page).to_have_url(f"{world.panel.url}/admin/")
    expect(page.get_by_text("Failed services")).to_be_visible()
    for path in PATHS:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        # Alpine has run: what it hides until then is shown.
        expect(page.locator("html")).not_to_have_attribute("x-cloak", "")


def test_make_an_account_and_log_in_as_it(world: World, open_page: Opener) -> None:
    page = open_page(viewport={"width": 1400, "height": 900})
    log_in(page, "admin", world.panel.password)
    page.goto("/admin/panel/account/add/")
    page.locator("#id_username").fill("edna")
    page.locator("#id_password").fill("1234")
    page.locator("#id_password_again").fill("1234")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("shorter than 5 characters")).to_be_visible()
    page.locator("#id_password").fill("correct horse")
    page.locator("#id_password_again").fill("correct horse")
    page.locator("#id_email").fill("edna@example.net")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#result_list").get_by_role("link", name="edna", exact=True).click()
    page.get_by_role("button", name="Log in as edna").click()
    expect(page.get_by_text("You are logged in as edna", exact=False).first).to_be_visible()
    page.get_by_role("button", name="Return to your account").click()
    expect(page).to_have_url(f"{world.panel.url}/admin/")
    status, account = world.panel.request("GET", "/customers/edna")
    assert (status, account["email"]) == (200, "edna@example.net")


def test_choose_an_owner_and_make_a_service(world: World, open_page: Opener) -> None:
    page = open_page(viewport={"width": 1400, "height": 900})
    log_in(page, "admin", world.panel.password)
    page.goto("/admin/panel/mediaservice/add/")
    page.locator("#id_slug").fill("from-admin")
    page.locator(".field-customer .select2-selection").click()
    page.locator(".select2-search__field").fill("alic")
    page.locator(".select2-results__option", has_text="alice").click()
    page.locator("#id_engine").select_option("icecast")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_load_state("networkidle")
    status, service = world.panel.request("GET", "/media-services/from-admin")
    assert (status, service["customer"], service["node"]) == (200, "alice", "node1")


def test_api_reader_lists_and_opens_routes(open_page: Opener) -> None:
    page = open_page(viewport={"width": 1400, "height": 900})
    page.goto("/api/v1/docs")
    page.get_by_text("media services", exact=True).first.click()
    expect(page.get_by_text("/api/v1/media-services/{slug}", exact=True).first).to_be_visible()
    page.locator(".opblock-summary").first.click()
    expect(page.get_by_text("Responses").first).to_be_visible()
