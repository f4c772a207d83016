"""Who sees which page; what a page carries; what a page does."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.utils import timezone

from streamfleet_panel import access, crypt, transfer
from streamfleet_panel.apply import ApiError, apply_document
from streamfleet_panel.models import (
    MB,
    Account,
    ApiToken,
    AuditLog,
    Dj,
    MediaService,
    MediaUser,
    Node,
    OnAir,
    PlayedTrack,
    QueuedTrack,
    ServiceStatus,
    Transfer,
)

PASSWORD = "correct horse"
pytestmark = pytest.mark.usefixtures("world")
SLUG_ROUTES = {
    "/services/{}/": "get",
    "/services/{}/status/": "get",
    "/services/{}/credentials/": "post",
    "/services/{}/credentials/replace/": "get",
    "/services/{}/action/": "post",
    "/services/{}/listeners/": "get",
    "/services/{}/domains/": "get",
    "/services/{}/queue/": "post",
    "/services/{}/queue/empty/": "post",
}
RADIO_ROUTES = ["/services/{}/calendar/", "/services/{}/mounts/", "/services/{}/mounts/stream/"]
CUSTOMER_ROUTES = ["/customers/of/{}/", "/customers/of/{}/delete/"]
OWN_PAGES = ["/services/", "/media/", "/tokens/", "/profile/", "/profile/password/"]
POSTS = [
    "/login/",
    "/logout/",
    "/services/rock-fm/credentials/",
    "/services/rock-fm/credentials/replace/",
    "/services/rock-fm/action/",
    "/services/rock-fm/calendar/",
    "/services/rock-fm/calendar/late/delete/",
    "/services/rock-fm/mounts/",
    "/services/rock-fm/mounts/stream/",
    "/services/rock-fm/mounts/stream/delete/",
    "/services/rock-fm/domains/",
    "/services/rock-fm/domains/radio.example.com/check/",
    "/services/rock-fm/domains/radio.example.com/delete/",
    "/services/rock-fm/djs/anna/credentials/",
    "/services/rock-fm/djs/anna/kick/",
    "/services/rock-fm/queue/",
    "/services/rock-fm/queue/empty/",
    "/services/rock-fm/queue/abcdef/remove/",
    "/customers/new/",
    "/customers/of/alice/",
    "/customers/of/alice/delete/",
    "/media/",
    "/media/studio/delete/",
    "/tokens/",
    "/tokens/abcdefgh/revoke/",
    "/profile/",
    "/profile/password/",
    "/hijack/acquire/",
    "/hijack/release/",
]
# username → slugs and customers in reach
REACH = {
    "root": ({"rock-fm", "bob-tv", "eve-fm"}, {"alice", "bob", "eve", "carol"}),
    "shop": ({"rock-fm"}, {"alice", "carol"}),
    "rival": ({"eve-fm"}, {"eve"}),
    "alice": ({"rock-fm"}, set()),
    "carol": (set(), set()),
    "bob": ({"bob-tv"}, set()),
    "": (set(), set()),
}


# --- who sees what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("username", REACH)
def test_services_of_others_do_not_exist(as_, username: str) -> None:  # type: ignore[no-untyped-def]
    client = as_(username)
    reach = REACH[username][0]
    for slug in ("rock-fm", "bob-tv", "eve-fm", "no-such"):
        for route, method in SLUG_ROUTES.items():
            answer = getattr(client, method)(route.format(slug))
            if not username:
                assert answer.status_code == 302, route
                assert answer["Location"].startswith("/login/?next=")
            elif slug in reach:
                assert answer.status_code in (200, 302), (route, slug)
            else:
                assert answer.status_code == 404, (route, slug)


@pytest.mark.parametrize("username", [name for name in REACH if name])
def test_lists_show_what_is_in_reach(as_, username: str) -> None:  # type: ignore[no-untyped-def]
    client = as_(username)
    slugs, customers = REACH[username]
    shown = client.get("/services/").content.decode()
    assert {slug for slug in ("rock-fm", "bob-tv", "eve-fm") if f"/services/{slug}/" in shown} == slugs
    answer = client.get("/customers/")
    if username in ("root", "shop", "rival"):
        names = set(re.findall(r"/customers/of/([a-z0-9]+)/", answer.content.decode()))
        assert names & {"alice", "bob", "eve", "carol"} == customers
        assert username not in names
    else:
        assert answer.status_code == 404
        assert client.get("/customers/new/").status_code == 404


@pytest.mark.parametrize("username", [name for name in REACH if name])
def test_customers_of_others_do_not_exist(as_, username: str) -> None:  # type: ignore[no-untyped-def]
    client = as_(username)
    for other in ("alice", "bob", "eve", "root", "nobody"):
        expected = 200 if other in REACH[username][1] else 404
        if username == "root" and other == "root":
            expected = 404
        for route in CUSTOMER_ROUTES:
            assert client.get(route.format(other)).status_code == expected, (route, other)


@pytest.mark.parametrize("path", [*OWN_PAGES, "/"])
def test_nobody_is_sent_to_the_login_page(as_, path: str) -> None:  # type: ignore[no-untyped-def]
    assert as_("").get(path)["Location"].startswith("/login/")


@pytest.mark.parametrize("path", OWN_PAGES)
@pytest.mark.parametrize("username", ["root", "shop", "alice"])
def test_own_pages(as_, path: str, username: str) -> None:  # type: ignore[no-untyped-def]
    assert as_(username).get(path).status_code == 200


@pytest.mark.parametrize("path", POSTS)
def test_every_post_needs_the_csrf_token(as_, path: str) -> None:  # type: ignore[no-untyped-def]
    answer = as_("shop", enforce_csrf_checks=True).post(path, {})
    assert answer.status_code == 403
    assert b"The form is too old" in answer.content


@pytest.mark.parametrize(
    "path",
    ["/services/rock-fm/credentials/", "/services/rock-fm/action/", "/media/studio/delete/", "/tokens/abc/revoke/"],
)
def test_what_changes_something_is_no_get(as_, path: str) -> None:  # type: ignore[no-untyped-def]
    assert as_("alice").get(path).status_code == 405


# --- what pages carry -----------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Finds what the policy forbids, and fields without labels."""

    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.labels: set[str] = set()
        self.fields: dict[str, dict[str, str | None]] = {}
        self.ids: list[str] = []
        self.landmarks: list[str] = []
        self.hrefs: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.inline += [f"{tag} {name}" for name in named if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in named):
            self.inline.append(tag)
        if "id" in named:
            self.ids.append(str(named["id"]))
        if tag == "label":
            self.labels.add(str(named.get("for")))
        if tag in ("input", "select", "textarea") and named.get("type") != "hidden" and "hidden" not in named:
            self.fields[str(named.get("id"))] = named
        if tag in ("main", "header", "nav", "footer", "h1"):
            self.landmarks.append(tag)
        for name in ("href", "src", "action"):
            if named.get(name):
                self.hrefs.append(str(named[name]))


PAGES = {
    "": ["/login/"],
    "alice": [*OWN_PAGES, "/services/rock-fm/", "/services/rock-fm/credentials/replace/", "/nothing/"],
    "shop": ["/services/", "/customers/", "/customers/new/", "/customers/of/alice/", "/customers/of/alice/delete/"],
}


@pytest.mark.parametrize(("username", "path"), [(user, path) for user, paths in PAGES.items() for path in paths])
def test_pages_keep_their_own_policy_and_label_their_fields(as_, username: str, path: str) -> None:  # type: ignore[no-untyped-def]
    for answer in (as_(username).get(path), as_(username).post(path, {})):
        if "text/html" not in answer.headers.get("Content-Type", "") or answer.status_code in (302, 405):
            continue
        page = _Page()
        page.feed(answer.content.decode())
        assert page.inline == []
        assert set(page.fields) <= page.labels
        assert len(page.ids) == len(set(page.ids))
        assert page.landmarks.count("main") == 1
        assert page.landmarks.count("h1") == 1
        assert not [href for href in page.hrefs if href.startswith(("http:", "https:", "//"))]
        described = [str(field.get("aria-describedby") or "") for field in page.fields.values()]
        assert {name for names in described for name in names.split()} <= set(page.ids)


def test_headers(as_) -> None:  # type: ignore[no-untyped-def]
    headers = as_("alice").get("/services/rock-fm/").headers
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "no-store" in headers["Cache-Control"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_tenant_text_is_escaped(as_) -> None:  # type: ignore[no-untyped-def]
    for path in ("/services/", "/services/rock-fm/"):
        text = as_("alice").get(path).content.decode()
        assert "<i>FM" not in text
        assert "Rock &lt;i&gt;FM" in text


def test_skip_link_only_where_it_is_switched_on(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("alice")
    assert b'class="skip"' not in client.get("/profile/").content
    client.post("/profile/", {"accessibility_features": "on"})
    assert Account.objects.get(username="alice").accessibility_features
    text = client.get("/profile/").content.decode()
    assert re.search(r'<body>\s*<a class="skip" href="#main">Skip to main content</a>', text)


# --- media services -------------------------------------------------------------------------------------------------


def test_service_page_says_where_to_connect_and_hides_the_password(as_) -> None:  # type: ignore[no-untyped-def]
    secret = MediaService.objects.get(slug="rock-fm").credentials["source_password"]
    text = as_("alice").get("/services/rock-fm/").content.decode()
    for piece in ("stream.example.net", "8100", "/stream", ">100<", "https://stream.example.net/listen/rock-fm/stream"):
        assert piece in text
    assert secret not in text
    assert "Waiting" in text


def test_service_page_says_where_tls_is_once_the_node_has_it(as_) -> None:  # type: ignore[no-untyped-def]
    def page() -> str:
        return str(as_("alice").get("/services/alice-tv/").content.decode())

    assert "rtmp://stream.example.net/live" in page()
    assert "rtmps://" not in page()
    Node.objects.filter(name="node1").update(facts={"host_ports": {"nginx_rtmp": {"RTMP": 1935, "RTMPS": 1936}}})
    assert "Server with TLS" in page()
    assert "rtmps://stream.example.net:1936/live" in page()
    assert "rtmp://stream.example.net/live" in page()


def test_service_page_of_a_service_that_nobody_sends_to_has_no_way_to_send(as_) -> None:  # type: ignore[no-untyped-def]
    node = MediaService.objects.get(slug="rock-fm").node
    films = {"slug": "films", "customer": "alice", "engine": "wowza", "service_type": "on_demand", "node": node.name}
    films |= {"max_listeners": 10, "disk_quota_mb": 10, "monthly_transfer_mb": 10}
    node_with_it = {"name": node.name, "engines": [*node.engines, "wowza"]}
    apply_document({"nodes": [node_with_it], "media_services": [films]}, access.system())
    text = as_("alice").get("/services/films/").content.decode()
    assert "/hls/films/&lt;path of a file&gt;/playlist.m3u8" in text
    for words in ("Connection details", "Show passwords and keys", "Replace them"):
        assert words not in text
        assert words in as_("alice").get("/services/rock-fm/").content.decode()


def test_service_page_shows_its_playlists_and_whether_they_are_played(as_) -> None:  # type: ignore[no-untyped-def]
    def page(slug: str = "rock-fm") -> str:
        return as_("alice").get(f"/services/{slug}/").content.decode()

    assert "AutoDJ is off" in page()
    assert "AutoDJ password" in page()
    assert "Folder music/&lt;b&gt;rock" in page()
    assert "Rotation, weight 3" in page()
    assert "secret-list" not in page()
    assert "Playlists" not in page("alice-tv")
    times = [{"days": ["mon", "fri"], "start": "22:00", "end": "02:00"}, {"start": "12:00", "end": "13:00"}]
    more = [
        {"name": "night", "type": "scheduled", "files": ["a.mp3"], "active": times, "order": "sequential"},
        {"name": "jingles", "type": "jingle", "files": ["a.mp3", "b.mp3"], "every_minutes": 15, "enabled": False},
        {"name": "often", "type": "jingle", "folder": ".", "every_tracks": 1},
    ]
    document = {
        "media_services": [{"slug": "rock-fm", "autodj": {"timezone": "Europe/Prague"}}],
        "playlists": [{"media_service": "rock-fm", **fields} for fields in more],
    }
    apply_document(document, access.system())
    text = page()
    for piece in (
        "AutoDJ is on",
        "Times are those of Europe/Prague",
        "Mon, Fri 22:00 to 02:00; Every day 12:00 to 13:00",
        "1 file",
        "2 files",
        "Sequential",
        "Jingle, every 15 minutes",
        "Jingle, every track",
        "The whole library",
        '<span class="badge off">Off</span>',
    ):
        assert piece in text, piece
    apply_document({"media_services": [{"slug": "rock-fm", "autodj": {"enabled": False}}]}, access.system())
    assert "AutoDJ is off" in page()
    apply_document({"playlists": [{**item, "state": "absent"} for item in LISTED]}, access.system())
    assert "There are none yet" in page()


DJS = [
    {
        "media_service": "rock-fm",
        "username": "anna",
        "name": "Anna <b>",
        "password": "annas-password",
        "priority": 30,
        "scheduled_only": True,
        "active": [{"days": ["fri"], "start": "20:00", "end": "22:00"}],
        "record": True,
    },
    {"media_service": "rock-fm", "username": "ben", "password": "bens-password", "enabled": False},
]


def test_service_page_shows_its_djs_and_where_they_connect(as_) -> None:  # type: ignore[no-untyped-def]
    def page(slug: str = "rock-fm") -> str:
        return as_("alice").get(f"/services/{slug}/").content.decode()

    assert "There are none yet" in page()
    assert "eves-dj" not in page()
    assert "DJs" not in page("alice-tv")
    apply_document({"media_services": [{"slug": "rock-fm", "autodj": {}}], "djs": DJS}, access.system())
    text = page()
    port = MediaService.objects.get(slug="rock-fm").settings["live_port"]
    for piece in (
        f'<code data-copy="Port of DJs">{port}</code>',
        "Anna &lt;b&gt;",
        "Fri 20:00 to 22:00",
        "Recorded",
        '<span class="badge off">Off</span>',
        'aria-label="Show the password of anna"',
        'aria-label="Disconnect ben"',
    ):
        assert piece in text, piece
    assert "-password" not in text.replace("new-password", "")
    apply_document({"media_services": [{"slug": "rock-fm", "autodj": None}]}, access.system())
    assert "They cannot connect while the station has no AutoDJ" in page()


def test_showing_a_djs_password_is_recorded(as_) -> None:  # type: ignore[no-untyped-def]
    apply_document({"media_services": [{"slug": "rock-fm", "autodj": {}}], "djs": DJS}, access.system())
    path = "/services/rock-fm/djs/anna/credentials/"
    assert as_("alice").get(path).status_code == 405
    answer = as_("alice").post(path)
    text = answer.content.decode()
    assert "annas-password" in text
    assert "bens-password" not in text
    assert MediaService.objects.get(slug="rock-fm").credentials["source_password"] not in text
    assert "no-store" in answer["Cache-Control"]
    assert "What anna enters" in text
    entry = AuditLog.objects.get(action="read_credentials")
    assert (entry.kind, entry.key, entry.owner.username, entry.via) == ("dj", "rock-fm/anna", "alice", "portal")
    apply_document({"media_services": [{"slug": "rock-fm", "autodj": None}]}, access.system())
    assert "annas-password" in as_("alice").post(path).content.decode()


@pytest.mark.parametrize("route", ["credentials", "kick"])
@pytest.mark.parametrize("username", REACH)
def test_djs_of_others_do_not_exist(as_, username: str, route: str) -> None:  # type: ignore[no-untyped-def]
    client = as_(username)
    for slug, dj in (("eve-fm", "eves-dj"), ("eve-fm", "no-such"), ("rock-fm", "eves-dj")):
        answer = client.post(f"/services/{slug}/djs/{dj}/{route}/")
        if not username:
            assert answer.status_code == 302
        elif slug in REACH[username][0] and (slug, dj) == ("eve-fm", "eves-dj"):
            assert answer.status_code == (200 if route == "credentials" else 302)
        else:
            assert answer.status_code == 404, (slug, dj)
            assert b"eves-password" not in answer.content


def test_disconnecting_a_dj(as_) -> None:  # type: ignore[no-untyped-def]
    answer = as_("eve").post("/services/eve-fm/djs/eves-dj/kick/", follow=True)
    assert b"eves-dj is being disconnected" in answer.content
    assert Dj.objects.get().kick == 1
    entry = AuditLog.objects.get(action="kick")
    assert (entry.actor_name, entry.key, entry.via) == ("eve", "eve-fm/eves-dj", "portal")


@pytest.fixture
def queued(as_) -> Client:  # type: ignore[no-untyped-def]
    """Alice, whose station has an AutoDJ."""
    apply_document({"media_services": [{"slug": "rock-fm", "autodj": {}}]}, access.system())
    client: Client = as_("alice")
    return client


def test_recordings_are_queued_and_taken_out(queued: Client) -> None:
    page = "/services/rock-fm/"
    assert "Nothing waits." in queued.get(page).content.decode()
    for path in ("music/a.mp3", 'odd "name" <b>.mp3'):
        answer = queued.post(f"{page}queue/", {"recording": path}, follow=True)
        assert "is in the queue" in answer.content.decode()
    queued.post(f"{page}queue/", {"recording": "first.mp3", "first": "on"})
    rows = list(QueuedTrack.objects.order_by("place"))
    assert [row.path for row in rows] == ["first.mp3", "music/a.mp3", 'odd "name" <b>.mp3']
    shown = queued.get(page).content.decode()
    assert "odd &quot;name&quot; &lt;b&gt;.mp3" in shown
    assert "<b>.mp3" not in shown
    assert "On its way" in shown
    answer = queued.post(f"{page}queue/{rows[1].name}/remove/", follow=True)
    assert "It is out of the queue." in answer.content.decode()
    answer = queued.post(f"{page}queue/{rows[1].name}/remove/", follow=True)
    assert "does not wait any more" in answer.content.decode()
    QueuedTrack.objects.filter(pk=rows[0].pk).update(state="failed", message="holds no <sound>")
    assert "first.mp3: holds no &lt;sound&gt;" in queued.get(page).content.decode()
    assert "The queue is empty." in queued.post(f"{page}queue/empty/", follow=True).content.decode()
    assert not QueuedTrack.objects.exclude(state="failed").exists()
    assert AuditLog.objects.filter(action="queue", via="portal").count() == 5


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("../eve/a.mp3", "Contains the segment .."),
        ("cover.jpg", "Is not called as a recording is"),
        ("x" * 100_000, "Has 100000 characters, at most 500 fit"),
        ("", "This field is required"),
    ],
)
def test_what_cannot_be_queued_is_said_beside_the_field(queued: Client, path: str, words: str) -> None:
    answer = queued.post("/services/rock-fm/queue/", {"recording": path})
    text = answer.content.decode()
    assert answer.status_code == 200
    assert words in text
    assert 'aria-invalid="true"' in text
    assert not QueuedTrack.objects.exists()


def test_a_service_without_an_autodj_has_no_queue(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("alice")
    apply_document({"media_services": [{"slug": "rock-fm", "autodj": None}]}, access.system())
    assert "Played next" not in client.get("/services/rock-fm/").content.decode()
    client.post("/services/rock-fm/queue/", {"recording": "a.mp3"})
    assert not QueuedTrack.objects.exists()


def test_skipping(queued: Client) -> None:
    answer = queued.post("/services/rock-fm/action/", {"action": "skip"}, follow=True)
    assert "What the AutoDJ plays is being skipped. While a DJ is on the air, nothing is." in answer.content.decode()
    assert MediaService.objects.get(slug="rock-fm").skip == 1


LISTED = [{"media_service": "rock-fm", "name": name} for name in ("day", "night", "jingles", "often")]


def test_showing_credentials_is_recorded(as_) -> None:  # type: ignore[no-untyped-def]
    service = MediaService.objects.get(slug="rock-fm")
    answer = as_("alice").post("/services/rock-fm/credentials/")
    assert service.credentials["source_password"] in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    entry = AuditLog.objects.get(action="read_credentials")
    assert (entry.actor_name, entry.key, entry.owner.username, entry.via) == ("alice", "rock-fm", "alice", "portal")


def test_replacing_credentials(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("alice")
    old = MediaService.objects.get(slug="alice-tv").credentials["stream_key"]
    path = "/services/alice-tv/credentials/replace/"
    assert b"errorlist" in client.post(path, {"names": "admin", "overlap_seconds": "0"}).content
    assert b"errorlist" in client.post(path, {"names": "stream_key", "overlap_seconds": "7"}).content
    assert MediaService.objects.get(slug="alice-tv").credentials["stream_key"] == old
    done = client.post(path, {"names": "stream_key", "overlap_seconds": "3600"})
    assert done["Location"] == "/services/alice-tv/"
    service = MediaService.objects.get(slug="alice-tv")
    assert service.credentials["stream_key"] != old
    assert [item["value"] for item in service.previous_credentials["stream_key"]] == [old]


def test_an_engine_that_knows_one_password_at_a_time_offers_no_overlap(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("alice")
    path = "/services/rock-fm/credentials/replace/"
    old = MediaService.objects.get(slug="rock-fm").credentials
    text = client.get(path).content.decode()
    assert "overlap_seconds" not in text
    assert "stop working at once" in text
    client.post(path, {"names": "source_password", "overlap_seconds": "3600"})
    service = MediaService.objects.get(slug="rock-fm")
    assert service.credentials["source_password"] != old["source_password"]
    assert service.credentials["admin_password"] == old["admin_password"]
    assert service.previous_credentials == {}


def test_start_stop_restart(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("alice")
    path = "/services/rock-fm/action/"

    def service() -> MediaService:
        return MediaService.objects.get(slug="rock-fm")

    before = service().generation
    client.post(path, {"action": "stop"})
    assert service().stopped
    assert service().generation > before
    assert b">Start<" in client.get("/services/rock-fm/").content
    client.post(path, {"action": "start"})
    assert not service().stopped
    client.post(path, {"action": "restart"})
    assert service().restart == 1
    assert b"is not an action" in client.post(path, {"action": "erase"}, follow=True).content
    MediaService.objects.filter(slug="rock-fm").update(suspended=True, suspend_reason="Unpaid")
    refused = client.post(path, {"action": "start"}, follow=True).content.decode()
    assert "cannot be started" in refused
    assert ">Start<" not in refused


def test_status_for_the_script(as_) -> None:  # type: ignore[no-untyped-def]
    data = as_("alice").get("/services/rock-fm/status/").json()
    assert data == {"words": "Waiting", "look": "busy", "why": data["why"], "settled": False}


# --- profile and tokens ---------------------------------------------------------------------------------------------


def test_profile(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("alice")
    assert b"errorlist" in client.post("/profile/", {"name": "A", "email": "nonsense"}).content
    answer = client.post("/profile/", {"name": "Alice A", "email": "a@example.org", "contact_number": ""})
    assert answer["Location"] == "/profile/"
    account = Account.objects.get(username="alice")
    assert (account.name, account.email, account.contact_number) == ("Alice A", "a@example.org", None)
    entry = AuditLog.objects.filter(key="alice", action="updated").first()
    assert entry is not None
    assert entry.via == "portal"
    assert entry.changes["email"] == {"before": "alice@example.net", "after": "a@example.org"}


def test_profile_cannot_set_what_is_not_ones_own(as_) -> None:  # type: ignore[no-untyped-def]
    data = {
        "name": "x",
        "account_type": "administrator",
        "reseller_plan": "small",
        "status": "disabled",
        "reseller": "",
    }
    as_("alice").post("/profile/", data)
    account = Account.objects.get(username="alice")
    assert (account.account_type, account.reseller_plan, account.status) == ("customer", None, "enabled")
    assert account.reseller is not None


def test_password_change(as_) -> None:  # type: ignore[no-untyped-def]
    client, elsewhere = as_("alice"), as_("alice")
    path = "/profile/password/"
    new = {"password": "another one", "password_again": "another one"}
    assert b"not your present password" in client.post(path, {"old_password": "wrong", **new}).content
    mismatch = {"old_password": PASSWORD, "password": "another one", "password_again": "other"}
    assert b"not the same" in client.post(path, mismatch).content
    short = {"old_password": PASSWORD, "password": "1234", "password_again": "1234"}
    assert b"shorter than 5" in client.post(path, short).content
    assert client.post(path, {"old_password": PASSWORD, **new})["Location"] == "/profile/"
    assert Account.objects.get(username="alice").check_password("another one")
    assert client.get("/profile/").status_code == 200
    assert elsewhere.get("/profile/").status_code == 302


def test_log_ins_for_media_are_made_changed_and_deleted(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("eve")
    given = {"name": "studio", "password": "correct horse", "protocols": ["sftp", "ftps"]}
    assert client.post("/media/", given).status_code == 302
    user = MediaUser.objects.get(customer__username="eve")
    assert crypt.check("correct horse", user.password)
    text = client.get("/media/").content.decode()
    assert "eve.studio" in text
    assert "correct horse" not in text
    assert "Nowhere yet" in text
    Node.objects.update(facts={"file_transfer": {"sftp_port": 2022, "ftps_port": 21}})
    assert "SFTP on port 2022, FTP over TLS (explicit) on port 21" in client.get("/media/").content.decode()
    # The same name again: another password, and no more than is ticked.
    changed = {"name": "studio", "password": "another one", "protocols": ["sftp"], "read_only": "on"}
    assert client.post("/media/", changed).status_code == 302
    user.refresh_from_db()
    assert crypt.check("another one", user.password)
    assert (user.protocols, user.read_only) == (["sftp"], True)
    refused = client.post("/media/", {"name": "No Name", "password": "x", "protocols": ["sftp"]}).content.decode()
    assert "Choose 8 to 128 characters" in refused
    assert "Lower-case letters" in refused
    for other in ("bob", "rival", "root"):
        assert as_(other).post("/media/studio/delete/").status_code == 404
        assert "eve.studio" not in as_(other).get("/media/").content.decode()
    assert client.post("/media/studio/delete/").status_code == 302
    assert not MediaUser.objects.filter(customer__username="eve").exists()


def test_a_log_in_that_cannot_be_deleted_is_said_so_on_the_page(as_, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    client = as_("eve")
    client.post("/media/", {"name": "studio", "password": "correct horse", "protocols": ["sftp"]})

    def refuse(*_args: object) -> None:
        raise ApiError("conflict", "Another change is being made; try again.")

    monkeypatch.setattr("streamfleet_panel.portal.views.media.apply_one", refuse)
    answer = client.post("/media/studio/delete/", follow=True)
    assert answer.status_code == 200
    text = answer.content.decode()
    assert "Another change is being made; try again." in text
    assert "Nobody can log in" not in text
    assert MediaUser.objects.filter(customer__username="eve").exists()


def test_tokens_are_shown_once_and_revoked(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("alice")
    text = client.post("/tokens/", {"name": "billing", "days": "30"}).content.decode()
    secret = re.search(r"sft_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", text).group(0)  # type: ignore[union-attr]
    token = ApiToken.objects.get(name="billing")
    assert token.is_valid(secret)
    assert token.account.username == "alice"  # type: ignore[union-attr]
    assert token.expires_at is not None
    assert Client().get("/api/v1/whoami", headers={"authorization": f"Bearer {secret}"}).json()["name"] == "alice"
    assert secret not in client.get("/tokens/").content.decode()
    assert as_("bob").post(f"/tokens/{token.token_id}/revoke/").status_code == 404
    assert as_("root").post(f"/tokens/{token.token_id}/revoke/").status_code == 404
    assert client.post(f"/tokens/{token.token_id}/revoke/").status_code == 302
    assert Client().get("/api/v1/whoami", headers={"authorization": f"Bearer {secret}"}).status_code == 401
    kinds = list(AuditLog.objects.filter(kind="token").order_by("id").values_list("action", "actor_name"))
    assert kinds == [("created", "alice"), ("deleted", "alice")]
    assert secret not in str(list(AuditLog.objects.values()))


# --- a reseller's customers -----------------------------------------------------------------------------------------

NEW = {
    "username": "dave",
    "password": "secret words",
    "password_again": "secret words",
    "status": "enabled",
    "api_access": "on",
    "name": "Dave",
    "contact_number": "+44 1",
    "email": "dave@example.net",
}


def test_create_customer_within_the_plan(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("shop")
    assert client.post("/customers/new/", NEW)["Location"] == "/customers/"
    dave = Account.objects.get(username="dave")
    assert (dave.reseller.username, dave.name, dave.email) == ("shop", "Dave", "dave@example.net")  # type: ignore[union-attr]
    assert dave.check_password("secret words")
    assert not dave.is_administrator
    over = client.post("/customers/new/", {**NEW, "username": "frank"})
    assert b"errorlist" in over.content
    assert not Account.objects.filter(username="frank").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"username": "alice"}, "taken"),
        ({"username": "Bob"}, "taken"),
        ({"username": "a b"}, "form that is not accepted"),
        ({"password": "1234", "password_again": "1234"}, "shorter than 5"),
        ({"password_again": "other words"}, "not the same"),
        ({"email": "nonsense"}, "valid email"),
        ({"username": ""}, "required"),
        ({"name": "x" * 300}, "at most 200"),
    ],
)
def test_create_customer_refuses_bad_input(as_, change: dict[str, str], words: str) -> None:  # type: ignore[no-untyped-def]
    count = Account.objects.count()
    text = as_("shop").post("/customers/new/", {**NEW, **change}).content.decode()
    assert words in text
    assert 'aria-invalid="true"' in text
    assert "secret words" not in text
    assert Account.objects.count() == count


def test_reseller_cannot_make_resellers_or_administrators(as_) -> None:  # type: ignore[no-untyped-def]
    as_("shop").post("/customers/new/", {**NEW, "account_type": "administrator", "reseller_plan": "small"})
    dave = Account.objects.get(username="dave")
    assert not dave.is_administrator
    assert not dave.is_reseller


def test_edit_customer(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("shop")
    data = {"status": "disabled", "name": "Alice", "email": "", "contact_number": "", "api_access": "on"}
    client.post("/customers/of/alice/", data)
    alice = Account.objects.get(username="alice")
    assert (alice.status, alice.email) == ("disabled", None)
    assert alice.check_password(PASSWORD)
    client.post("/customers/of/alice/", {**data, "password": "other words", "password_again": "other words"})
    assert Account.objects.get(username="alice").check_password("other words")


def test_delete_customer_keeps_it_for_the_grace_period(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("shop")
    assert b"rock-fm" in client.get("/customers/of/alice/delete/").content
    client.post("/customers/of/alice/delete/")
    assert Account.objects.get(username="alice").deleted_at is not None
    assert MediaService.objects.get(slug="rock-fm").deleted_at is not None
    assert client.get("/customers/of/alice/").status_code == 404


# --- logging in as a customer ---------------------------------------------------------------------------------------


def _take_over(client: Client, username: str):
    pk = Account.objects.get(username=username).pk
    return client.post("/hijack/acquire/", {"user_pk": pk, "next": "/services/"})


ALLOWED = {
    "root": {"shop", "rival", "alice", "carol", "bob", "eve"},
    "shop": {"alice", "carol"},
    "rival": {"eve"},
    "alice": set(),
    "bob": set(),
}


@pytest.mark.parametrize("username", ALLOWED)
def test_who_may_log_in_as_whom(as_, username: str) -> None:  # type: ignore[no-untyped-def]
    for other in ("root", "root2", "shop", "rival", "alice", "carol", "bob", "eve"):
        answer = _take_over(as_(username), other)
        if other in ALLOWED[username]:
            assert answer["Location"] == "/services/", other
        else:
            assert answer.status_code == (403 if other == username or username == "root" else 404), other
    assert AuditLog.objects.filter(action="hijack").count() == len(ALLOWED[username])


def test_taken_over_session_is_visible_recorded_and_returns(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("root")
    _take_over(client, "alice")
    text = client.get("/services/rock-fm/").content.decode()
    assert "You are logged in as <strong>alice</strong>" in text
    assert "Log out" not in text
    client.post("/profile/", {"name": "By root"})
    entry = AuditLog.objects.filter(key="alice", action="updated").first()
    assert entry is not None
    assert (entry.actor_name, entry.impersonator) == ("alice", "root")
    assert client.get("/admin/").status_code == 404
    assert client.post("/tokens/", {"name": "x", "days": "0"}).status_code == 403
    assert not ApiToken.objects.exists()
    assert client.post("/hijack/release/", {"next": "/"})["Location"] == "/"
    assert client.get("/admin/").status_code == 200
    assert list(AuditLog.objects.filter(action__in=["hijack", "release"]).values_list("actor_name", "key")) == [
        ("root", "alice"),
        ("root", "alice"),
    ]
    assert client.post("/hijack/release/").status_code == 403


def test_taken_over_session_ends_with_the_one_who_took_it(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("shop")
    _take_over(client, "alice")
    assert client.get("/services/").status_code == 200
    Account.objects.filter(username="shop").update(reseller_plan=None)
    Account.objects.filter(username="alice").update(reseller=None)
    Account.objects.filter(username="shop").update(status="disabled")
    assert client.get("/services/").status_code == 302
    assert client.get("/services/").status_code == 302


def test_next_of_a_take_over_stays_here(as_) -> None:  # type: ignore[no-untyped-def]
    pk = Account.objects.get(username="alice").pk
    answer = as_("root").post("/hijack/acquire/", {"user_pk": pk, "next": "https://evil.example/"})
    assert answer["Location"] == "/"


@pytest.mark.parametrize("pk", ["0", "x", "99999999999999999999", "'"])
def test_nonsense_take_over(as_, pk: str) -> None:  # type: ignore[no-untyped-def]
    assert as_("root").post("/hijack/acquire/", {"user_pk": pk}).status_code in (400, 403, 404)


def test_service_page_shows_its_relays(as_) -> None:  # type: ignore[no-untyped-def]
    def page(slug: str = "rock-fm") -> str:
        return as_("alice").get(f"/services/{slug}/").content.decode()

    assert "Relays" in page()
    assert "network.example" not in page()
    assert "Relays" not in page("alice-tv")
    ends = {"direction": "out", "address": "icecast://mirror.example/rock", "password": "relay-secret"}
    relays = [
        {"name": "network", "direction": "in", "address": "https://network.example/live?a=1&b=2", "enabled": False},
        {"name": "mirror", **ends},
    ]
    apply_document({"relays": [{"media_service": "rock-fm", **item} for item in relays]}, access.system())
    text = page()
    assert "https://network.example/live?a=1&amp;b=2" in text
    assert "Steps aside for DJs" in text
    assert "icecast://mirror.example/rock" in text
    assert "relay-secret" not in text


def test_service_page_shows_this_months_transfer_and_that_it_is_used_up(as_) -> None:  # type: ignore[no-untyped-def]
    def page() -> str:
        return as_("alice").get("/services/rock-fm/").content.decode()

    assert "<dt>Sent this month (UTC)</dt><dd>0 MB" in page()
    service = MediaService.objects.get(slug="rock-fm")
    month = transfer.month_of(timezone.now())
    Transfer.objects.create(media_service=service, month=month, bytes=7 * MB + 5, counter="a" * 32)
    apply_document({"media_services": [{"slug": "rock-fm", "monthly_transfer_mb": 7}]}, access.system())
    transfer.hold(access.system("clock"))
    service.refresh_from_db()
    told = {"generation": service.generation, "state": "over_quota", "reported_at": timezone.now()}
    ServiceStatus.objects.update_or_create(service=service, defaults=told)
    text = page()
    assert "<dt>Sent this month (UTC)</dt><dd>7 of 7 MB" in text
    assert "Over quota" in text
    assert f"the 7 MB of {month} are used up" in text


def test_service_page_shows_what_was_played_and_who_is_on_the_air(as_) -> None:  # type: ignore[no-untyped-def]
    client = as_("eve")
    assert "Nothing has been played yet." in client.get("/services/eve-fm/").text
    service = MediaService.objects.get(slug="eve-fm")
    now = timezone.now()
    for number in range(12):
        PlayedTrack.objects.create(
            media_service=service,
            at=now - timedelta(minutes=number),
            title=f"Song <b>{number}",
            artist="Band <i>",
            playlist="night",
            digest=str(number),
        )
    connected = [{"username": "eves-dj"}, {"username": "waiting-dj"}]
    OnAir.objects.create(media_service=service, dj="eves-dj", connected=connected, reported_at=now)
    text = client.get("/services/eve-fm/").text
    assert "Song &lt;b&gt;0" in text
    assert "Band &lt;i&gt;" in text
    assert "Song &lt;b&gt;9" in text
    assert "Song &lt;b&gt;10" not in text
    assert "eves-dj is on the air" in text
    assert "Also connected: waiting-dj." in text
    assert "Played last" not in as_("alice").get("/services/alice-tv/").text
