"""The portal in a browser: keyboard alone, no script, dark, phone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import BRAND, World, log_in

pytestmark = pytest.mark.slow
Opener = Callable[..., Page]

# What has the keyboard's focus, and whether one can see that it has.
FOCUS = """() => {
  const e = document.activeElement, s = getComputedStyle(e);
  const box = e.getBoundingClientRect();
  return {name: (e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || e.name || '').trim(),
          tag: e.tagName, id: e.id,
          visible: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && box.width > 0
                   && box.top >= 0 && box.bottom <= innerHeight + 1};
}"""
# Text whose contrast with what lies behind it is below WCAG's AA (4.5, large text 3).
CONTRAST = """() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const linear = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const lum = c => { const [r, g, b] = c.slice(0, 3).map(linear); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
                        if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, s = getComputedStyle(e);
    if (!walker.currentNode.data.trim() || e.closest('.visually-hidden, script, .skip')) continue;
    if (!e.checkVisibility({visibilityProperty: true})) continue;
    const [a, b] = [lum(parse(s.color)), lum(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05), size = parseFloat(s.fontSize);
    const needed = size >= 24 || (size >= 18.66 && s.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < needed) bad.push(`${walker.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)} < ${needed}`);
  }
  return bad;
}"""


def test_the_tests_see_what_they_look_for(open_page: Opener) -> None:
    page = open_page()
    page.goto("/login/")
    page.evaluate("document.querySelector('h1').style.color = '#999'")
    assert [words.split(":")[0] for words in page.evaluate(CONTRAST)] == ["Log in"]
    page.evaluate("document.querySelector('#id_username').style.outline = 'none'")
    page.locator("#id_username").focus()
    assert not page.evaluate(FOCUS)["visible"]
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))")
    page.evaluate("document.body.append(Object.assign(document.createElement('img'), {src: 'http://192.0.2.1/x.png'}))")
    page.evaluate("document.body.setAttribute('onclick', 'alert(1)')")
    expect(page.locator("img")).to_be_attached()
    faults = open_page.faults  # type: ignore[attr-defined]
    assert len([fault for fault in faults if "Content Security Policy" in fault]) >= 3
    faults.clear()


def _tab_to(page: Page, name: str, most: int = 40) -> None:
    """Press Tab until the thing of that name has the focus; the focus is visible at every stop."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        assert focus["visible"], f"nobody sees that {focus} has the focus"
        if focus["name"].splitlines()[:1] == [name]:
            return
    raise AssertionError(f"Tab does not lead to {name}")


def test_log_in_and_find_the_connection_details_by_keyboard_alone(world: World, open_page: Opener) -> None:
    world.report(rock_fm="running")
    page = open_page()
    page.goto("/services/rock-fm/")
    expect(page).to_have_url(re.compile(r"/login/\?next=/services/rock-fm/"))
    page.keyboard.type("alice")
    _tab_to(page, "Password")
    page.keyboard.type("correct horse")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Rock FM")
    expect(page.get_by_text("Running")).to_be_visible()

    # Alice has accessibility features on, so the first stop is the way past the navigation.
    _tab_to(page, "Skip to main content", most=1)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    credentials = world.panel.request("GET", "/media-services/rock-fm/credentials")[1]["credentials"]
    assert credentials["source_password"] not in page.content()
    _tab_to(page, "Show passwords and keys")
    page.keyboard.press("Enter")
    expect(page.get_by_text(credentials["source_password"])).to_be_visible()
    for piece in ("stream.example.net", "8100", "/stream", "https://stream.example.net/listen/rock-fm/stream"):
        # DJs have the same server; it comes after these.
        expect(page.get_by_text(piece, exact=True).first).to_be_visible()
    _tab_to(page, "Log out", most=60)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_wrong_password_is_tied_to_the_form(open_page: Opener) -> None:
    page = open_page()
    log_in(page, "alice", "wrong password")
    expect(page.get_by_text("do not belong together")).to_be_visible()
    expect(page.get_by_label("User name")).to_have_value("alice")


def test_copy_button(world: World, open_page: Opener) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    log_in(page, "alice")
    page.goto("/services/alice-tv/")
    page.get_by_role("button", name="Show passwords and keys").click()
    page.get_by_role("button", name="Copy Stream key").click()
    expect(page.get_by_role("status").filter(has_text="Stream key copied")).to_be_attached()
    key = world.panel.request("GET", "/media-services/alice-tv/credentials")[1]["credentials"]["stream_key"]
    assert page.evaluate("navigator.clipboard.readText()") == key


def test_state_follows_without_a_reload(world: World, open_page: Opener) -> None:
    world.report(rock_fm="running")
    page = open_page()
    log_in(page, "alice")
    page.goto("/services/rock-fm/")
    page.get_by_role("button", name="Stop").click()
    badge = page.locator("[data-status-url] .badge")
    expect(badge).to_have_text("Waiting")
    world.report(rock_fm="stopped")
    expect(badge).to_have_text("Stopped")
    page.reload()
    page.get_by_role("button", name="Start").click()
    world.report(rock_fm="running")
    expect(badge).to_have_text("Running")


def test_everything_works_without_scripts(world: World, open_page: Opener) -> None:
    world.report(rock_fm="running")
    page = open_page(java_script_enabled=False)
    log_in(page, "alice")
    page.get_by_role("link", name="Rock FM").click()
    page.get_by_role("button", name="Show passwords and keys").click()
    expect(page.get_by_text("Hide passwords and keys")).to_be_visible()
    page.get_by_role("button", name="Restart").click()
    expect(page.get_by_text("Rock FM is being restarted.")).to_be_visible()
    page.get_by_role("link", name="Replace them…").click()
    page.get_by_role("button", name="Replace").click()
    expect(page.get_by_text("The credentials are new.")).to_be_visible()
    page.get_by_role("link", name="API tokens").click()
    page.get_by_label("Name").fill("player")
    page.get_by_role("button", name="Create token").click()
    token = page.locator("code.once").inner_text()
    assert world.panel.request("GET", "/whoami", token=token)[1]["name"] == "alice"
    page.get_by_role("button", name="Revoke player").click()
    assert world.panel.request("GET", "/whoami", token=token)[0] == 401


def test_the_calendar_by_keyboard_alone_and_without_scripts(world: World, open_page: Opener) -> None:
    page = open_page(java_script_enabled=False)
    log_in(page, "alice")
    page.goto("/services/rock-fm/")
    page.get_by_role("link", name="Calendar").click()
    expect(page.get_by_role("row", name=re.compile("^Mon .*06:00 to 10:00 anna DJ, by morning"))).to_be_visible()
    page.get_by_label("Name").focus()
    page.keyboard.type("evening")
    page.keyboard.press("Tab")
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("Mon")).to_be_checked()
    # How a time is typed depends on the system's language.
    page.get_by_label("From").fill("20:00")
    page.get_by_label("To", exact=True).fill("22:00")
    page.keyboard.press("Enter")
    expect(page.get_by_text("evening is added to the calendar.")).to_be_visible()
    entry = world.panel.request("GET", "/media-services/rock-fm/schedules/evening")[1]
    assert (entry["dj"], entry["days"], entry["start"], entry["end"]) == ("anna", ["mon"], "20:00", "22:00")
    page.get_by_role("link", name="Week after").click()
    expect(page.get_by_role("row", name=re.compile("^Mon .*20:00 to 22:00 anna"))).to_be_visible()
    page.get_by_role("button", name="Delete evening").click()
    expect(page.get_by_text("evening is taken out of the calendar.")).to_be_visible()
    page.goto("/services/rock-fm/mounts/")
    page.get_by_role("link", name="Change /stream").click()
    page.get_by_label("Bitrate (kbit/s)").fill("96")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The mount /stream is saved.")).to_be_visible()


def test_a_domain_by_keyboard_alone_and_without_scripts(world: World, open_page: Opener) -> None:
    page = open_page(java_script_enabled=False)
    log_in(page, "alice")
    page.goto("/services/rock-fm/")
    page.get_by_role("link", name="Domains", exact=True).click()
    page.get_by_role("textbox", name="Domain").focus()
    page.keyboard.type("*.example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Domain")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("Is a wildcard.")).to_be_visible()
    page.get_by_role("textbox", name="Domain").fill("radio.example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_text("radio.example.com is added.")).to_be_visible()
    card = page.get_by_role("region", name="radio.example.com")
    record = world.panel.request("GET", "/media-services/rock-fm/domains/radio.example.com")[1]["proof"]["txt"]
    expect(card.get_by_text(record["value"])).to_be_visible()
    card.get_by_role("button", name="Check now radio.example.com").press("Enter")
    expect(page.get_by_text("radio.example.com is being checked.")).to_be_visible()
    card.get_by_role("button", name="Delete radio.example.com").press("Enter")
    expect(page.get_by_text("radio.example.com is deleted.")).to_be_visible()


def test_reseller_makes_a_customer_and_logs_in_as_it(world: World, open_page: Opener) -> None:
    page = open_page()
    log_in(page, "shop")
    page.get_by_role("link", name="Customers").click()
    page.get_by_role("link", name="New customer").click()
    page.get_by_label("User name").fill("dora")
    page.get_by_label("Password", exact=True).fill("correct horse")
    page.get_by_label("Confirm password").fill("correct hors")
    page.get_by_role("button", name="Create customer").click()
    again = page.get_by_label("Confirm password")
    expect(again).to_have_attribute("aria-invalid", "true")
    assert "not the same" in page.locator("#" + str(again.get_attribute("aria-describedby")).split()[-1]).inner_text()
    page.get_by_label("Password", exact=True).fill("correct horse")
    again.fill("correct horse")
    page.get_by_role("button", name="Create customer").click()
    expect(page.get_by_text("The customer dora is created.")).to_be_visible()
    page.get_by_role("button", name="Log in as dora").click()
    banner = page.get_by_role("region", name="Logged in as somebody else")
    expect(banner).to_contain_text("You are logged in as dora")
    banner.get_by_role("button", name="Return to your account").click()
    expect(banner).not_to_be_attached()
    page.goto("/customers/of/dora/delete/")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("dora is deleted.")).to_be_visible()
    assert world.panel.request("GET", "/customers/dora")[0] == 404


def test_under_a_resellers_name_the_panel_is_the_resellers(world: World, open_page: Opener) -> None:
    page = open_page(base_url=world.shop)
    page.goto("/login/")
    for username in ("admin", "alice"):
        expect(page.get_by_text("Streamfleet")).to_have_count(0)
        expect(page.get_by_text(BRAND).first).to_be_visible()
        assert BRAND in page.title()
        log_in(page, username, world.panel.password if username == "admin" else "correct horse")
        if username == "admin":
            expect(page.get_by_text("do not belong together")).to_be_visible()
    expect(page.get_by_role("heading", name="Services")).to_be_visible()
    expect(page.get_by_text("Streamfleet")).to_have_count(0)
    assert page.url.startswith(world.shop)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert page.url.startswith(world.shop)


PAGES = {
    "": ["/login/", "/password-reset/", "/password-reset/sent/"],
    "alice": [
        "/services/",
        "/services/rock-fm/",
        "/services/rock-fm/credentials/replace/",
        "/services/rock-fm/calendar/",
        "/services/rock-fm/listeners/",
        "/services/rock-fm/mounts/",
        "/services/rock-fm/mounts/stream/",
        "/services/rock-fm/domains/",
        "/tokens/",
        "/profile/",
        "/profile/password/",
    ],
    "shop": [
        "/customers/",
        "/customers/new/",
        "/customers/of/alice/",
        "/customers/of/alice/delete/",
        "/panel-domains/",
    ],
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_page_fits_and_can_be_read(world: World, open_page: Opener, scheme: str, width: int) -> None:
    look = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    # Under the reseller's name, too: its brand is as long as may be.
    branded = {name: paths for name, paths in PAGES.items() if name != "alice"} | {"alice": ["/services/"]}
    for url, pages in ((world.panel.url, PAGES), (world.shop, branded)):
        for username, paths in pages.items():
            page = open_page(base_url=url, **look)
            _fits(page, username, paths)


def _fits(page: Page, username: str, paths: list[str]) -> None:
    if username:
        log_in(page, username)
    for path in paths:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
        assert page.evaluate(CONTRAST) == [], path
