"""The administrators' pages: who gets in, and that every change goes through the planner."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from streamfleet_panel import access, control, crypt
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.models import (
    Account,
    ApiToken,
    AuditLog,
    ConvergeRun,
    Dj,
    Domain,
    Job,
    MediaService,
    MediaUser,
    Node,
    Playlist,
    Relay,
    ResellerPlan,
    Schedule,
)

PASSWORD = "correct horse"
pytestmark = pytest.mark.usefixtures("world")
MODELS = sorted(model._meta.model_name or "" for model in site._registry)
READ_ONLY = {"auditlog", "convergerun", "listenersession"}


def _paths() -> list[str]:
    paths = ["/admin/", "/admin/panel/account/autocomplete-nothing/", "/admin/search/?s=x"]
    for model in MODELS:
        paths += [f"/admin/panel/{model}/", f"/admin/panel/{model}/1/change/", f"/admin/panel/{model}/1/delete/"]
        if model not in READ_ONLY:
            paths.append(f"/admin/panel/{model}/add/")
    return paths


@pytest.fixture
def admin(as_) -> Client:  # type: ignore[no-untyped-def]
    return as_("root")


def form_of(client: Client, path: str) -> dict[str, Any]:
    """What a browser would send back unchanged."""
    response = client.get(path)
    assert response.status_code == 200
    form = response.context["adminform"].form
    data: dict[str, Any] = {}
    for bound in form:
        value = bound.value()
        widget = bound.field.widget
        if bound.name == "suspended_until" or bound.name == "expires_at":
            data |= {f"{bound.name}_0": "", f"{bound.name}_1": ""}
        elif getattr(widget, "input_type", "") == "checkbox" and not getattr(widget, "allow_multiple_selected", False):
            if value:
                data[bound.name] = "on"
        else:
            data[bound.name] = "" if value is None else value
    return data


def test_models_are_all_there() -> None:
    assert set(MODELS) == {
        "account",
        "resellerplan",
        "node",
        "mediaservice",
        "playlist",
        "dj",
        "schedule",
        "relay",
        "domain",
        "paneldomain",
        "mediauser",
        "listenersession",
        "apitoken",
        "auditlog",
        "convergerun",
    }


@pytest.mark.parametrize("username", ["shop", "alice", ""])
@pytest.mark.parametrize("method", ["get", "post"])
def test_others_find_nothing(as_, username: str, method: str) -> None:  # type: ignore[no-untyped-def]
    client = as_(username)
    before = (Account.objects.count(), MediaService.objects.count())
    for path in _paths():
        response = getattr(client, method)(path)
        if username:
            assert response.status_code == 404, path
        else:
            assert response.status_code == 302, path
            assert "/login/" in response["Location"]
    assert (Account.objects.count(), MediaService.objects.count()) == before


def test_nobody_comes_to_the_portals_login_page_and_back() -> None:
    client = Client()
    first = client.get("/admin/panel/node/", follow=True)
    assert first.redirect_chain[-1][0] == "/login/?next=/admin/panel/node/"
    client.post("/login/", {"username": "root", "password": PASSWORD, "next": "/admin/panel/node/"})
    assert client.get("/admin/panel/node/").status_code == 200
    assert client.get("/admin/login/").status_code in (200, 302)


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_forms_open(admin: Client, model: str) -> None:
    ConvergeRun.objects.create(node=Node.objects.get(), state="failed", message="no route to host")
    ApiToken.objects.create(name="x", token_id="abcdefgh", digest="0" * 64, account=Account.objects.get(username="bob"))
    assert admin.get(f"/admin/panel/{model}/").status_code == 200
    assert admin.get(f"/admin/panel/{model}/?q=nothing").status_code == 200
    added = admin.get(f"/admin/panel/{model}/add/")
    assert added.status_code == (403 if model in READ_ONLY else 200)
    registered = next(m for m in site._registry if m._meta.model_name == model)
    pk = registered._default_manager.first().pk
    assert admin.get(f"/admin/panel/{model}/{pk}/change/").status_code == 200


@pytest.mark.parametrize("model", sorted(READ_ONLY))
def test_logs_are_read_only(admin: Client, model: str) -> None:
    ConvergeRun.objects.create(node=Node.objects.get())
    registered = next(m for m in site._registry if m._meta.model_name == model)
    pk = registered._default_manager.first().pk
    count = registered._default_manager.count()
    assert admin.post(f"/admin/panel/{model}/{pk}/change/", {"message": "x"}).status_code == 403
    assert admin.post(f"/admin/panel/{model}/{pk}/delete/", {"post": "yes"}).status_code == 403
    admin.post(f"/admin/panel/{model}/", {"action": "delete_selected", "_selected_action": pk, "post": "yes"})
    assert registered._default_manager.count() == count


def test_lists_cost_the_same_however_long(admin: Client, django_assert_max_num_queries) -> None:  # type: ignore[no-untyped-def]
    from streamfleet_panel.apply import apply_document

    many = [{"slug": f"s{i}", "customer": "bob", "engine": "nginx_rtmp"} for i in range(40)]
    apply_document({"media_services": many}, access.system())
    lists = [{"media_service": "rock-fm", "name": f"p{i}", "folder": "."} for i in range(40)]
    apply_document({"playlists": lists}, access.system())
    djs = [{"media_service": "rock-fm", "username": f"dj{i}"} for i in range(40)]
    apply_document({"media_services": [{"slug": "rock-fm", "autodj": {}}], "djs": djs}, access.system())
    models = ("mediaservice", "playlist", "dj", "account", "node")
    for path in (*(f"/admin/panel/{model}/" for model in models), "/services/", "/services/rock-fm/", "/admin/"):
        with django_assert_max_num_queries(20):
            assert admin.get(path).status_code == 200


# --- accounts -------------------------------------------------------------------------------------------------------

NEW = {
    "username": "Dave",
    "password": "secret words",
    "password_again": "secret words",
    "accessibility_features": "on",
    "status": "enabled",
    "api_access": "on",
    "name": "Dave",
    "contact_number": "+44 1",
    "email": "dave@example.net",
    "account_type": "customer",
    "reseller_plan": "",
    "reseller": "",
}


def test_create_account_with_every_field(admin: Client, settings) -> None:  # type: ignore[no-untyped-def]
    settings.EMAIL_HOST = "mail.example.net"
    shop = Account.objects.get(username="shop")
    text = admin.get("/admin/panel/account/add/").content.decode()
    for name in (*NEW, "send_welcome_email"):
        assert f'name="{name}"' in text
    answer = admin.post("/admin/panel/account/add/", {**NEW, "reseller": shop.pk, "send_welcome_email": "on"})
    assert answer["Location"] == "/admin/panel/account/"
    dave = Account.objects.get(username="dave")
    assert dave.check_password("secret words")
    assert dave.uid >= 200000
    assert dave.accessibility_features
    assert (dave.reseller, dave.name, dave.email, dave.contact_number) == (shop, "Dave", "dave@example.net", "+44 1")
    entry = AuditLog.objects.get(action="created", key="dave")
    assert (entry.actor_name, entry.via, entry.changes["password"]["after"]) == ("root", "admin", "********")
    assert Job.objects.filter(kind=Job.Kind.WELCOME_EMAIL).count() == 1


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"username": "alice"}, "username", "already exists"),
        ({"username": "a b"}, "username", "form that is not accepted"),
        ({"password": "1234", "password_again": "1234"}, "password", "shorter than 5"),
        ({"password_again": "other"}, "password_again", "not the same"),
        ({"email": "x"}, "email", "valid email"),
    ],
)
def test_create_account_refuses_bad_input(admin: Client, change: dict[str, str], field: str, words: str) -> None:
    count = Account.objects.count()
    response = admin.post("/admin/panel/account/add/", {**NEW, **change})
    assert response.status_code == 200
    assert words in str(response.context["adminform"].form.errors[field])
    assert "secret words" not in response.content.decode()
    assert Account.objects.count() == count


def test_resellers_limit_holds_here_too(admin: Client) -> None:
    shop = Account.objects.get(username="shop")
    first = admin.post("/admin/panel/account/add/", {**NEW, "username": "d1", "reseller": shop.pk})
    assert first.status_code == 302
    second = admin.post("/admin/panel/account/add/", {**NEW, "username": "d2", "reseller": shop.pk})
    assert second.status_code == 200
    assert "small" in str(second.context["adminform"].form.errors)
    assert not Account.objects.filter(username="d2").exists()


def test_edit_account_changes_what_was_changed_and_nothing_else(admin: Client) -> None:
    alice = Account.objects.get(username="alice")
    path = f"/admin/panel/account/{alice.pk}/change/"
    data = form_of(admin, path)
    before = AuditLog.objects.count()
    assert admin.post(path, data).status_code == 302
    assert AuditLog.objects.count() == before
    generation = Node.objects.get().generation
    assert admin.post(path, {**data, "status": "disabled", "email": ""}).status_code == 302
    entry = AuditLog.objects.first()
    assert entry is not None
    assert set(entry.changes) == {"status", "email"}
    alice.refresh_from_db()
    assert (alice.status, alice.email) == ("disabled", None)
    assert alice.check_password(PASSWORD)
    assert Node.objects.get().generation == generation + 1
    new = {**data, "status": "enabled", "password": "newer words", "password_again": "newer words"}
    assert admin.post(path, new).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password("newer words")


def test_name_of_an_account_is_fixed(admin: Client) -> None:
    alice = Account.objects.get(username="alice")
    path = f"/admin/panel/account/{alice.pk}/change/"
    admin.post(path, {**form_of(admin, path), "username": "mallory"})
    assert Account.objects.get(pk=alice.pk).username == "alice"


def test_administrator_cannot_lock_himself_out(admin: Client) -> None:
    root = Account.objects.get(username="root")
    path = f"/admin/panel/account/{root.pk}/change/"
    response = admin.post(path, {**form_of(admin, path), "status": "disabled"})
    assert response.status_code == 200
    response = admin.post(f"/admin/panel/account/{root.pk}/delete/", {"post": "yes"}, follow=True)
    root.refresh_from_db()
    assert (root.status, root.deleted_at) == ("enabled", None)


def test_delete_and_restore(admin: Client) -> None:
    alice = Account.objects.get(username="alice")
    assert admin.get(f"/admin/panel/account/{alice.pk}/delete/").status_code == 200
    admin.post(f"/admin/panel/account/{alice.pk}/delete/", {"post": "yes"})
    alice.refresh_from_db()
    assert alice.deleted_at is not None
    assert b">alice<" not in admin.get("/admin/panel/account/").content
    listed = admin.get("/admin/panel/account/?deleted=yes")
    assert b"alice" in listed.content
    # Saving the page of a deleted account would restore it, so there is nothing to save.
    assert admin.post(f"/admin/panel/account/{alice.pk}/change/", NEW).status_code == 403
    action = {"action": "restore_chosen", "_selected_action": alice.pk}
    admin.post("/admin/panel/account/?deleted=yes", action)
    alice.refresh_from_db()
    assert alice.deleted_at is None
    service = MediaService.objects.get(slug="rock-fm")
    admin.post("/admin/panel/mediaservice/?deleted=yes", {"action": "restore_chosen", "_selected_action": service.pk})
    service.refresh_from_db()
    assert service.deleted_at is None


def test_delete_chosen_is_all_or_nothing(admin: Client) -> None:
    chosen = [Account.objects.get(username=name).pk for name in ("bob", "root")]
    data = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    text = admin.post("/admin/panel/account/", data, follow=True).content.decode()
    assert "cannot delete itself" in text
    assert Account.objects.get(username="bob").deleted_at is None


def test_plan_in_use_cannot_be_deleted(admin: Client) -> None:
    plan = ResellerPlan.objects.get()
    text = admin.post(f"/admin/panel/resellerplan/{plan.pk}/delete/", {"post": "yes"}, follow=True).content.decode()
    assert ResellerPlan.objects.filter(pk=plan.pk).exists()
    assert "shop" in text


def test_plan_limits_empty_is_unlimited(admin: Client) -> None:
    plan = ResellerPlan.objects.get()
    path = f"/admin/panel/resellerplan/{plan.pk}/change/"
    data = {**form_of(admin, path), "max_customers": "", "allowed_engines": ["icecast"]}
    admin.post(path, data)
    plan.refresh_from_db()
    assert (plan.max_customers, plan.allowed_engines, plan.max_listeners) == (None, ["icecast"], 500)
    below = admin.post(path, {**data, "max_listeners": "3"})
    assert below.status_code == 200
    plan.refresh_from_db()
    assert plan.max_listeners == 500


def test_log_in_as_from_the_accounts_page(admin: Client) -> None:
    for name, shown in (("alice", True), ("shop", True), ("root", False), ("root2", False)):
        pk = Account.objects.get(username=name).pk
        text = admin.get(f"/admin/panel/account/{pk}/change/").content.decode()
        assert ("/hijack/acquire/" in text) is shown


# --- nodes and services ---------------------------------------------------------------------------------------------


def test_create_and_edit_node(admin: Client) -> None:
    data = {
        "name": "node2",
        "status": "active",
        "engines": ["icecast"],
        "address": "2001:db8::1",
        "ssh_port": "22",
        "ssh_user": "streamfleet-converge",
        "host_key": "",
        "stream_host": "s2.example.net",
        "port_range_start": "9000",
        "port_range_end": "8000",
        "max_media_services": "",
    }
    refused = admin.post("/admin/panel/node/add/", data)
    assert "port_range_end" in refused.context["adminform"].form.errors
    assert admin.post("/admin/panel/node/add/", {**data, "port_range_end": "9100"}).status_code == 302
    node = Node.objects.get(name="node2")
    path = f"/admin/panel/node/{node.pk}/change/"
    generation = node.generation
    admin.post(path, {**form_of(admin, path), "stream_host": "other.example.net"})
    node.refresh_from_db()
    assert node.stream_host == "other.example.net"
    assert node.generation > generation


def test_converge_now(admin: Client) -> None:
    node = Node.objects.get()
    for _ in range(2):
        admin.post("/admin/panel/node/", {"action": "converge_chosen", "_selected_action": node.pk})
    assert ConvergeRun.objects.filter(node=node, state="pending", requested_by="root").count() == 1
    assert AuditLog.objects.filter(action="converge", key="node1").count() == 2


SERVICE = {
    "slug": "new-fm",
    "name": "New FM",
    "engine": "icecast",
    "service_type": "",
    "node": "",
    "port": "",
    "max_listeners": "50",
    "max_bitrate_kbps": "",
    "monthly_transfer_mb": "",
    "disk_quota_mb": "",
    "max_mounts": "",
    "max_domains": "",
    "settings": '{"genre": "Jazz"}',
}


def test_create_service(admin: Client) -> None:
    bob = Account.objects.get(username="bob")
    assert admin.post("/admin/panel/mediaservice/add/", {**SERVICE, "customer": bob.pk}).status_code == 302
    service = MediaService.objects.get(slug="new-fm")
    assert (service.customer, service.node.name, service.service_type) == (bob, "node1", "radio")
    assert service.port in range(8100, 8200)
    assert service.settings["genre"] == "Jazz"
    assert service.credentials["source_password"]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"slug": "New FM"}, "slug", "not accepted"),
        ({"slug": "rock-fm"}, "slug", "already exists"),
        ({"slug": "a_b"}, "slug", "not accepted"),
        ({"engine": "shoutcast9"}, "engine", "valid choice"),
        ({"service_type": "live"}, "service_type", "radio"),
        ({"port": "80"}, "port", "8100"),
        ({"port": "8100"}, "port", "rock-fm"),
        ({"settings": "{"}, "settings", "JSON"),
        ({"settings": "[]"}, "settings", "JSON object"),
        ({"settings": '{"genra": "x"}'}, "settings", "genra: is not a field"),
        ({"settings": '{"website": "javascript:1"}'}, "settings", "pattern"),
        ({"max_listeners": "-1"}, "max_listeners", "greater than or equal"),
    ],
)
def test_create_service_refuses_bad_input(admin: Client, change: dict[str, str], field: str, words: str) -> None:
    bob = Account.objects.get(username="bob")
    response = admin.post("/admin/panel/mediaservice/add/", {**SERVICE, "customer": bob.pk, **change})
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert words in str(errors.get(field)), errors
    assert not MediaService.objects.filter(slug="new-fm").exists()


def test_edit_service(admin: Client) -> None:
    service = MediaService.objects.get(slug="rock-fm")
    path = f"/admin/panel/mediaservice/{service.pk}/change/"
    data = form_of(admin, path)
    before = AuditLog.objects.count()
    assert admin.post(path, data).status_code == 302
    assert AuditLog.objects.count() == before
    changed = {**data, "suspended": "on", "suspend_reason": "Unpaid", "suspended_until_0": "2030-01-02"}
    changed |= {"suspended_until_1": "03:04:00", "settings": '{"genre": "Rock"}', "engine": "nginx_rtmp"}
    assert admin.post(path, changed).status_code == 302
    service.refresh_from_db()
    assert service.suspended
    assert service.suspended_until is not None
    assert service.suspended_until.isoformat() == "2030-01-02T03:04:00+00:00"
    assert (service.engine, service.settings["genre"]) == ("icecast", "Rock")
    # A setting that is taken away has its default again.
    admin.post(path, {**form_of(admin, path), "settings": "{}"})
    service.refresh_from_db()
    assert service.settings.get("genre") is None
    entries = AuditLog.objects.filter(key="rock-fm", action="updated")
    assert {entry.via for entry in entries} == {"admin"}


PLAYLIST = {
    "name": "night",
    "enabled": "on",
    "folder": "",
    "files": "quiet/a.mp3\r\nquiet/b ä.mp3\r\n\r\n",
    "order": "sequential",
    "type": "scheduled",
    "weight": "1",
    "every_tracks": "",
    "every_minutes": "",
    "active": '[{"days": ["sat", "fri"], "start": "22:00", "end": "02:00"}]',
}


def test_create_edit_and_delete_a_playlist(admin: Client) -> None:
    service = MediaService.objects.get(slug="rock-fm")
    generation = Node.objects.get().generation
    form = form_of(admin, "/admin/panel/playlist/add/")
    assert (form["files"], form["active"]) == ("", "")
    answer = admin.post("/admin/panel/playlist/add/", {**PLAYLIST, "media_service": service.pk})
    assert answer["Location"] == "/admin/panel/playlist/"
    playlist = Playlist.objects.get(name="night")
    assert playlist.media_service == service
    assert playlist.files == ["quiet/a.mp3", "quiet/b ä.mp3"]
    assert playlist.active == [{"days": ["fri", "sat"], "start": "22:00", "end": "02:00"}]
    assert Node.objects.get().generation == generation + 1
    path = f"/admin/panel/playlist/{playlist.pk}/change/"
    data = form_of(admin, path)
    assert admin.post(path, data).status_code == 302
    assert Node.objects.get().generation == generation + 1
    # The service and the name are fixed: they are the key.
    other = MediaService.objects.get(slug="eve-fm").pk
    admin.post(path, {**data, "files": "", "folder": "quiet", "media_service": other, "name": "day"})
    playlist.refresh_from_db()
    assert (playlist.files, playlist.folder) == (None, "quiet")
    assert str(playlist) == "rock-fm/night"
    admin.post(f"/admin/panel/playlist/{playlist.pk}/delete/", {"post": "yes"})
    entries = AuditLog.objects.filter(kind="playlist", key="rock-fm/night").order_by("pk")
    assert [(entry.action, entry.via) for entry in entries] == [(a, "admin") for a in ("created", "updated", "deleted")]
    assert set(entries[1].changes) == {"files", "folder"}
    assert not Playlist.objects.filter(name="night").exists()


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": "Night"}, "name", "not accepted"),
        ({"name": "day"}, "__all__", "already exists"),
        ({"files": "a.mp3\n../b.mp3"}, "files", "files[1]: contains the segment .."),
        ({"files": "", "folder": ""}, "folder", "and so is files"),
        ({"active": "{"}, "active", "JSON"),
        ({"active": '[{"start": "22:00"}]'}, "active", "active[0].end: is missing"),
        ({"every_tracks": "3"}, "every_tracks", "nothing for the type scheduled"),
        ({"weight": "0"}, "weight", "between 1 and 100"),
        ({"media_service": "alice-tv"}, "media_service", "which has no playlists"),
    ],
)
def test_create_playlist_refuses_bad_input(admin: Client, change: dict[str, str], field: str, words: str) -> None:
    slug = change.get("media_service", "rock-fm")
    data = {**PLAYLIST, **change, "media_service": MediaService.objects.get(slug=slug).pk}
    response = admin.post("/admin/panel/playlist/add/", data)
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert words in "".join(errors.get(field, [])), errors
    assert Playlist.objects.count() == 2


def test_playlists_list(admin: Client) -> None:
    text = admin.get("/admin/panel/playlist/").content.decode()
    assert "Rotation, weight 3" in text
    assert "Folder music/&lt;b&gt;rock" in text
    playlist = Playlist.objects.get(name="day")
    history = admin.get(f"/admin/panel/playlist/{playlist.pk}/history/", follow=True)
    assert {entry.key for entry in history.context["cl"].result_list} == {"rock-fm/day"}
    chosen = {"action": "delete_selected", "_selected_action": [playlist.pk], "post": "yes"}
    admin.post("/admin/panel/playlist/", chosen)
    assert list(Playlist.objects.values_list("name", flat=True)) == ["secret-list"]


def test_a_deleted_service_is_not_offered_for_a_playlist(admin: Client) -> None:
    control_of = {"app_label": "panel", "model_name": "playlist", "field_name": "media_service"}

    def offered() -> list[str]:
        answer = admin.get("/admin/autocomplete/", control_of | {"term": "fm"}).json()
        return [item["text"] for item in answer["results"]]

    assert offered() == ["eve-fm", "rock-fm"]
    admin.post(f"/admin/panel/mediaservice/{MediaService.objects.get(slug='eve-fm').pk}/delete/", {"post": "yes"})
    assert offered() == ["rock-fm"]


DJ = {
    "username": "anna",
    "name": "Anna <b>",
    "password": "",
    "enabled": "on",
    "priority": "20",
    "grace_seconds": "0",
    "record": "on",
    "scheduled_only": "on",
    "active": '[{"days": ["fri"], "start": "20:00", "end": "22:00"}]',
}


def test_create_edit_and_delete_a_dj(admin: Client) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    assert form_of(admin, "/admin/panel/dj/add/")["password"] == ""
    answer = admin.post("/admin/panel/dj/add/", {**DJ, "media_service": service.pk})
    assert answer["Location"] == "/admin/panel/dj/"
    dj = Dj.objects.get(username="anna")
    made = dj.password
    assert made is not None
    assert (dj.media_service, dj.priority, dj.grace_seconds, dj.record) == (service, 20, 0, True)
    path = f"/admin/panel/dj/{dj.pk}/change/"
    page = admin.get(path).content.decode()
    assert made not in page
    generation = Node.objects.get().generation
    data = form_of(admin, path)
    # Nothing changed, and an empty password is no password.
    assert data["password"] == ""
    assert admin.post(path, data).status_code == 302
    assert Node.objects.get().generation == generation
    admin.post(path, {**data, "name": "", "password": "correct-horse", "username": "other"})
    dj.refresh_from_db()
    assert (str(dj), dj.name, dj.password) == ("eve-fm/anna", "", "correct-horse")
    admin.post(f"/admin/panel/dj/{dj.pk}/delete/", {"post": "yes"})
    entries = AuditLog.objects.filter(kind="dj", key="eve-fm/anna").order_by("pk")
    assert [(entry.action, entry.via) for entry in entries] == [(a, "admin") for a in ("created", "updated", "deleted")]
    assert set(entries[1].changes) == {"name", "password"}
    assert "correct-horse" not in str([entry.changes for entry in entries])


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"username": "Anna"}, "username", "not accepted"),
        ({"username": "eves-dj"}, "__all__", "already exists"),
        ({"password": "with:a-colon"}, "password", "not accepted"),
        ({"priority": "0"}, "priority", "between 1 and 100"),
        ({"active": '[{"start": "22:00"}]'}, "active", "active[0].end: is missing"),
        ({"media_service": "rock-fm"}, "media_service", "Set autodj of the service"),
        ({"media_service": "alice-tv"}, "media_service", "which has no DJs"),
    ],
)
def test_create_dj_refuses_bad_input(admin: Client, change: dict[str, str], field: str, words: str) -> None:
    slug = change.get("media_service", "eve-fm")
    data = {**DJ, **change, "media_service": MediaService.objects.get(slug=slug).pk}
    response = admin.post("/admin/panel/dj/add/", data)
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert words in "".join(errors.get(field, [])), errors
    assert Dj.objects.count() == 1


def test_djs_list_and_kick(admin: Client) -> None:
    text = admin.get("/admin/panel/dj/").content.decode()
    assert "eves-dj" in text
    assert "Always" in text
    dj = Dj.objects.get()
    admin.post("/admin/panel/dj/", {"action": "kick_chosen", "_selected_action": [dj.pk]})
    dj.refresh_from_db()
    assert dj.kick == 1
    assert AuditLog.objects.get(action="kick").via == "admin"


MEDIA_USER = {
    "name": "studio",
    "password": "correct horse",
    "protocols": ["sftp", "ftps"],
    "read_only": "",
    "enabled": "on",
}


def test_create_edit_and_delete_a_media_user(admin: Client) -> None:
    eve = Account.objects.get(username="eve")
    answer = admin.post("/admin/panel/mediauser/add/", {**MEDIA_USER, "customer": eve.pk})
    assert answer["Location"] == "/admin/panel/mediauser/"
    user = MediaUser.objects.get(name="studio")
    assert (user.login, user.protocols) == ("eve.studio", ["sftp", "ftps"])
    assert crypt.check("correct horse", user.password)
    assert "eve.studio" in admin.get("/admin/panel/mediauser/").content.decode()
    path = f"/admin/panel/mediauser/{user.pk}/change/"
    page = admin.get(path).content.decode()
    assert user.password not in page
    generation = Node.objects.get().generation
    unchanged = {**MEDIA_USER, "password": ""}
    assert admin.post(path, unchanged).status_code == 302
    # An empty password is no password.
    assert Node.objects.get().generation == generation
    admin.post(path, {**unchanged, "password": "another one", "protocols": ["sftp"], "name": "other"})
    user.refresh_from_db()
    assert (user.name, user.protocols) == ("studio", ["sftp"])
    assert crypt.check("another one", user.password)
    refused = admin.post(
        "/admin/panel/mediauser/add/", {**MEDIA_USER, "customer": eve.pk, "name": "a.b", "password": "x"}
    )
    errors = refused.context["adminform"].form.errors
    assert set(errors) == {"name", "password"}
    admin.post(f"/admin/panel/mediauser/{user.pk}/delete/", {"post": "yes"})
    entries = AuditLog.objects.filter(kind="media_user", key="eve/studio").order_by("pk")
    assert [(entry.action, entry.via) for entry in entries] == [(a, "admin") for a in ("created", "updated", "deleted")]
    assert "another one" not in str([entry.changes for entry in entries])


def test_states_filters_and_history(admin: Client) -> None:
    control.act(access.system(), MediaService.objects.get(slug="rock-fm"), "stop")
    for state, count in (("changing", 4), ("running", 0), ("failed", 0), ("off", 0)):
        response = admin.get(f"/admin/panel/mediaservice/?state={state}")
        assert len(response.context["cl"].result_list) == count
    pk = MediaService.objects.get(slug="rock-fm").pk
    history = admin.get(f"/admin/panel/mediaservice/{pk}/history/", follow=True)
    assert {entry.key for entry in history.context["cl"].result_list} == {"rock-fm"}
    assert admin.get("/admin/panel/node/?behind=yes").context["cl"].result_list


def test_overview_counts(admin: Client) -> None:
    response = admin.get("/admin/")
    tiles = {tile["title"]: tile["value"] for tile in response.context["tiles"]}
    assert tiles == {
        "Customers": 4,
        "Resellers": 2,
        "Media services": 4,
        "Running": 0,
        "Changing": 4,
        "Off the air": 0,
        "Failed": 0,
        "Nodes": 1,
        "Nodes behind": 1,
    }
    for tile in response.context["tiles"]:
        assert admin.get(tile["link"]).status_code == 200


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_tokens(admin: Client) -> None:
    node = Node.objects.get()
    data = {
        "name": "for node1",
        "bearer": "node",
        "account": "",
        "node": node.pk,
        "expires_at_0": "",
        "expires_at_1": "",
    }
    shown = admin.post("/admin/panel/apitoken/add/", data)
    secret = re.search(r"sft_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", shown.content.decode()).group(0)  # type: ignore[union-attr]
    assert "no-store" in shown["Cache-Control"]
    token = ApiToken.objects.get(name="for node1")
    assert (token.scope, token.account, token.node) == ("node:node1", None, node)
    bearer = {"authorization": f"Bearer {secret}"}
    assert Client().get("/api/v1/nodes/node1/document", headers=bearer).status_code == 200
    assert secret not in admin.get("/admin/panel/apitoken/").content.decode()
    both = admin.post("/admin/panel/apitoken/add/", {**data, "bearer": "worker"})
    assert "node" in both.context["adminform"].form.errors
    none = admin.post("/admin/panel/apitoken/add/", {**data, "bearer": "account", "node": ""})
    assert "account" in none.context["adminform"].form.errors
    assert admin.post(f"/admin/panel/apitoken/{token.pk}/change/", data).status_code == 403
    admin.post(f"/admin/panel/apitoken/{token.pk}/delete/", {"post": "yes"})
    assert Client().get("/api/v1/nodes/node1/document", headers=bearer).status_code == 401
    assert AuditLog.objects.filter(kind="token").count() == 2
    shown = admin.post("/admin/panel/apitoken/add/", {**data, "name": "prometheus", "bearer": "metrics", "node": ""})
    secret = re.search(r"sft_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", shown.content.decode()).group(0)  # type: ignore[union-attr]
    assert Client().get("/metrics", headers={"authorization": f"Bearer {secret}"}).status_code == 200
    token = ApiToken.objects.get(name="prometheus")
    assert (token.scope, token.account, token.node) == ("metrics", None, None)


def test_skip_link_where_it_is_switched_on(admin: Client) -> None:
    assert b"Skip to main content" not in admin.get("/admin/").content
    Account.objects.filter(username="root").update(accessibility_features=True)
    assert b'href="#content">Skip to main content' in admin.get("/admin/").content


def test_policy_allows_no_inline_script(admin: Client) -> None:
    for path in ("/admin/", "/admin/panel/account/add/", "/admin/panel/mediaservice/"):
        response = admin.get(path)
        scripts = response.headers["Content-Security-Policy"].split("script-src ")[1].split(";")[0]
        assert scripts == "'self' 'unsafe-eval'"
        assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", response.content.decode())


RELAY = {
    "name": "mirror",
    "direction": "out",
    "address": "icecasts://mirror.example:8443/eve",
    "username": "",
    "password": "correct-horse",
    "mount": "",
    "enabled": "on",
    "djs_first": "on",
    "silence_seconds": "15",
    "reconnect_seconds": "30",
}


def test_create_edit_and_delete_a_relay(admin: Client) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    answer = admin.post("/admin/panel/relay/add/", {**RELAY, "media_service": service.pk})
    assert answer["Location"] == "/admin/panel/relay/"
    relay = Relay.objects.get(name="mirror")
    assert (relay.media_service, relay.mount, relay.password) == (service, "/stream", "correct-horse")
    path = f"/admin/panel/relay/{relay.pk}/change/"
    assert "correct-horse" not in admin.get(path).content.decode()
    data = form_of(admin, path)
    assert data["password"] == ""
    admin.post(path, {**data, "silence_seconds": "60"})
    relay.refresh_from_db()
    assert (relay.silence_seconds, relay.password) == (60, "correct-horse")
    admin.post(f"/admin/panel/relay/{relay.pk}/delete/", {"post": "yes"})
    entries = AuditLog.objects.filter(kind="relay", key="eve-fm/mirror").order_by("pk")
    assert [(entry.action, entry.via) for entry in entries] == [(a, "admin") for a in ("created", "updated", "deleted")]


def test_create_edit_and_delete_a_domain(admin: Client) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    data = {"media_service": service.pk, "name": "radio.example.com", "enabled": "on"}
    answer = admin.post("/admin/panel/domain/add/", {**data, "name": "*.example.com"})
    assert "Is a wildcard. Name each domain by itself" in answer.content.decode()
    assert admin.post("/admin/panel/domain/add/", data)["Location"] == "/admin/panel/domain/"
    claim = Domain.objects.get(name="radio.example.com")
    assert (claim.media_service, claim.status, claim.enabled) == (service, "pending", True)
    path = f"/admin/panel/domain/{claim.pk}/change/"
    assert "It has not been looked at yet." in admin.get(path).content.decode()
    # Nobody says by hand that one is proved.
    admin.post(path, {"status": "verified", "holds": claim.name})
    claim.refresh_from_db()
    assert (claim.status, claim.holds, claim.enabled) == ("pending", None, False)
    admin.post(f"/admin/panel/domain/{claim.pk}/delete/", {"post": "yes"})
    assert not Domain.objects.filter(name="radio.example.com").exists()


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"address": "icecast://10.0.0.5:8000/a"}, "address", "Names 10.0.0.5, which is not on the public Internet"),
        ({"password": ""}, "password", "Is missing: relays out log in"),
        ({"mount": "/nowhere"}, "mount", "Is not a mount of this service"),
    ],
)
def test_create_relay_refuses_bad_input(admin: Client, change: dict[str, str], field: str, words: str) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    response = admin.post("/admin/panel/relay/add/", {**RELAY, "media_service": service.pk, **change})
    assert words in str(response.context["adminform"].form.errors[field])
    assert not Relay.objects.filter(name="mirror").exists()


SCHEDULE = {
    "name": "christmas-eve",
    "enabled": "on",
    "playlist": "",
    "dj": "eves-dj",
    "days": ["thu", "fri"],
    "start": "18:00",
    "end": "22:00",
    "start_date": "2026-12-24",
    "end_date": "2026-12-24",
}


def test_create_edit_and_delete_a_schedule(admin: Client) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    answer = admin.post("/admin/panel/schedule/add/", {**SCHEDULE, "media_service": service.pk})
    assert answer["Location"] == "/admin/panel/schedule/"
    schedule = Schedule.objects.get(name="christmas-eve")
    assert (schedule.media_service, schedule.dj, schedule.days) == (service, "eves-dj", ["thu", "fri"])
    assert "24 December 2026 18:00 to 22:00" in admin.get("/admin/panel/schedule/").text
    path = f"/admin/panel/schedule/{schedule.pk}/change/"
    data = form_of(admin, path)
    admin.post(path, data)
    admin.post(path, {**data, "days": [], "end_date": "2026-12-31"})
    schedule.refresh_from_db()
    assert (schedule.days, str(schedule.start_date), str(schedule.end_date)) == (None, "2026-12-24", "2026-12-31")
    admin.post(f"/admin/panel/schedule/{schedule.pk}/delete/", {"post": "yes"})
    entries = AuditLog.objects.filter(kind="schedule", key="eve-fm/christmas-eve").order_by("pk")
    assert [(entry.action, entry.via) for entry in entries] == [(a, "admin") for a in ("created", "updated", "deleted")]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"dj": "nobody"}, "dj", "Is not a DJ of this service"),
        ({"end": "18:00"}, "end", "Is the same as start"),
        ({"days": ["mon"]}, "days", "Are never: 2026-12-24 is a thu"),
    ],
)
def test_create_schedule_refuses_bad_input(admin: Client, change: dict[str, Any], field: str, words: str) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    response = admin.post("/admin/panel/schedule/add/", {**SCHEDULE, "media_service": service.pk, **change})
    assert words in str(response.context["adminform"].form.errors[field])
    assert not Schedule.objects.filter(name="christmas-eve").exists()


def test_the_list_of_listener_sessions(admin: Client) -> None:
    text = admin.get("/admin/panel/listenersession/?q=eve-fm").text
    assert "&lt;b&gt;VLC" in text
    assert "1:00:05" in text
    assert "&lt;b&gt;VLC" not in admin.get("/admin/panel/listenersession/?q=rock-fm").text
