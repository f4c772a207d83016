"""Resellers' own names for the panel: what is stored and refused, how they are proved, and who may do what there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from streamfleet_panel import jobs, white_label
from streamfleet_panel.apply import ApiError
from streamfleet_panel.domains import told
from streamfleet_panel.domains.checks import Checks
from streamfleet_panel.domains.judge import GRACE, judge
from streamfleet_panel.domains.records import Answer, Found
from streamfleet_panel.management.commands import jobs as jobs_command
from streamfleet_panel.models import Account, AuditLog, Domain, Job, PanelDomain
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
P = "panel_domains[0]"
PANEL = "panel.shop.example"
MODELS = (PanelDomain, Domain, AuditLog)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing of other tests is remembered."""
    white_label.forget()
    yield
    white_label.forget()


def panel_domain(name: str = PANEL, reseller: str = "shop", **fields: Any) -> dict[str, Any]:
    """A document of one panel domain."""
    return {"panel_domains": [{"reseller": reseller, "name": name, **fields}]}


def verified(run: Run, name: str = PANEL, reseller: str = "shop", **fields: Any) -> PanelDomain:
    """A panel domain of which it was found that it is proved."""
    run(panel_domain(name, reseller, **fields))
    claim = PanelDomain.objects.get(name=name, reseller__username=reseller)
    claim.status, claim.holds, claim.verified_at = PanelDomain.Status.VERIFIED, name, timezone.now()
    claim.save()
    white_label.forget()
    return claim


def refused(run: Run, document: dict[str, Any], who: str | None = None) -> ApiError:
    def snapshot() -> list[Any]:
        return [list(model.objects.order_by("pk").values_list()) for model in MODELS]

    before = snapshot()
    with pytest.raises(ApiError) as caught:
        run(document, who)
    assert snapshot() == before
    return caught.value


def record(username: str) -> Found:
    """What DNS has where an account has set its record."""
    token = Account.objects.get(username=username).domain_token
    return Found(txt=Answer(frozenset({f"streamfleet={token}"})))


# What is stored


def test_a_new_one_waits_for_its_proof(world: None, run: Run, settings: Any) -> None:
    settings.PUBLIC_URL = "https://panel.example.net"
    answer = run(panel_domain(brand="Shop Hosting"), "shop", return_objects=True)
    result = answer["results"][0]
    assert (result["kind"], result["key"], result["action"]) == ("panel_domain", f"shop/{PANEL}", "created")
    created = dict(result["object"])
    token = Account.objects.get(username="shop").domain_token
    assert created.pop("created_at")
    assert created == {
        "reseller": "shop", "name": PANEL, "brand": "Shop Hosting", "enabled": True, "status": "pending",
        "message": "It has not been looked at yet.", "verified_at": None, "checked_at": None,
        "proof": {"txt": {"name": f"_streamfleet.{PANEL}", "value": f"streamfleet={token}"}, "cname": None},
        "points_to": "panel.example.net", "cname": None, "cname_change": None, "label": None,
    }  # fmt: skip
    assert answer["nodes"] == {}
    assert not run(panel_domain(brand="Shop Hosting"), "shop")["changed"]
    changed = run(panel_domain(brand=None, enabled=False), "shop")["results"][0]["changes"]
    assert changed == {
        "brand": {"before": "Shop Hosting", "after": None},
        "enabled": {"before": True, "after": False},
    }
    assert run(panel_domain(state="absent"), "shop")["results"][0]["action"] == "deleted"
    assert not PanelDomain.objects.exists()


@pytest.mark.parametrize(
    ("document", "who", "path", "message"),
    [
        (panel_domain("*.shop.example"), None, f"{P}.name", "is a wildcard"),
        (panel_domain("panel.example.net"), None, f"{P}.name", "is a name of this installation (panel.example.net)"),
        (panel_domain("a.panel.example.net"), None, f"{P}.name", "or below one"),
        (panel_domain(brand="x" * 61), None, f"{P}.brand", "60"),
        (panel_domain(reseller="nobody"), None, f"{P}.reseller", "there is no such reseller"),
        (panel_domain(reseller="alice"), None, f"{P}.reseller", "this account has no reseller plan"),
        (panel_domain(reseller="rival"), "shop", f"{P}.reseller", "there is no such reseller"),
        (panel_domain(), "alice", P, "a customer may not create a panel domain"),
        (panel_domain(status="verified"), None, f"{P}.status", "is not a field of this kind of object"),
    ],
)
def test_what_cannot_be_is_refused(
    world: None, run: Run, settings: Any, document: dict[str, Any], who: str | None, path: str, message: str
) -> None:
    settings.PUBLIC_URL = "https://panel.example.net"
    errors = refused(run, document, who).errors
    assert [error.path for error in errors] == [path]
    assert message in errors[0].message


def test_the_plan_says_how_many(world: None, run: Run) -> None:
    run(panel_domain(), "shop")
    error = refused(run, panel_domain("two.shop.example"), "shop").errors[0]
    assert error.message == "shop would have 2 panel domains, the plan gold allows 1"
    # One for another.
    other = {"reseller": "shop", "name": "two.shop.example"}
    run({"panel_domains": [{"reseller": "shop", "name": PANEL, "state": "absent"}, other]}, "shop")
    run({"reseller_plans": [{"name": "gold", "max_panel_domains": None}]})
    run({"panel_domains": [{"reseller": "shop", "name": f"p{number}.shop.example"} for number in range(3)]}, "shop")
    run({"reseller_plans": [{"name": "gold", "max_panel_domains": 0}]})
    assert PanelDomain.objects.count() == 4
    refused(run, panel_domain("more.shop.example"), "shop")
    run(panel_domain("two.shop.example", brand="Two"), "shop")


def test_a_node_gets_no_name_that_a_reseller_has_proved(world: None, run: Run) -> None:
    verified(run)
    error = refused(run, {"nodes": [{"name": "node1", "stream_host": PANEL}]}).errors[0]
    assert (error.path, error.message) == ("nodes[0].stream_host", "is a panel domain of shop's, who has proved it")


def test_prune_takes_its_own(world: None, run: Run) -> None:
    run(panel_domain(), label="files")
    run({"customers": [{"username": "shop"}]}, label="files", prune=True)
    assert not PanelDomain.objects.exists()


# Proof


def test_it_is_proved_by_the_reseller_and_lost_like_a_domain(world: None, run: Run) -> None:
    run(panel_domain())
    now = timezone.now()
    judge({PANEL: record("rival")}, now)
    assert PanelDomain.objects.get().status == "pending"
    judge({PANEL: record("shop")}, now)
    claim = PanelDomain.objects.get()
    assert (claim.status, claim.holds, claim.message) == ("verified", PANEL, "Its record is there.")
    entry = AuditLog.objects.latest("pk")
    assert (entry.action, entry.kind, entry.key, entry.owner) == (
        "verified", "panel_domain", f"shop/{PANEL}", Account.objects.get(username="shop"),
    )  # fmt: skip
    judge({PANEL: Found()}, now)
    assert PanelDomain.objects.get().status == "verified"
    judge({PANEL: Found()}, now + GRACE)
    assert PanelDomain.objects.get().status == "lost"


def test_a_name_is_one_accounts_whether_for_a_service_or_for_the_panel(world: None, run: Run) -> None:
    run(panel_domain())
    run({"domains": [{"media_service": "rock", "name": PANEL}]})
    judge({PANEL: record("alice")})
    assert (Domain.objects.get().status, PanelDomain.objects.get().status) == ("verified", "pending")
    # While the holder's record stands, nobody takes it away.
    both = Found(txt=Answer(record("alice").txt.values | record("shop").txt.values))
    judge({PANEL: both})
    assert (Domain.objects.get().status, PanelDomain.objects.get().status) == ("verified", "pending")
    judge({PANEL: record("shop")})
    assert (Domain.objects.get().status, PanelDomain.objects.get().status) == ("lost", "verified")


def test_a_record_that_leads_to_the_nodes_proves_nothing(world: None, run: Run, settings: Any) -> None:
    settings.DOMAIN_TARGET = "cname.example.net"
    shown = run(panel_domain(), return_objects=True)["results"][0]["object"]
    assert shown["proof"]["cname"] is None
    token = Account.objects.get(username="shop").domain_token
    judge({PANEL: Found(cname=Answer(frozenset({f"{token}.cname.example.net"})))})
    assert PanelDomain.objects.get().status == "pending"
    # It needs no answer for it either.
    judge({PANEL: Found(txt=record("shop").txt, cname=Answer(known=False))})
    assert PanelDomain.objects.get().status == "verified"


def test_who_has_a_name_for_something_else_is_told_so(world: None, run: Run) -> None:
    verified(run)
    run({"media_services": [{"slug": "shop-fm", "customer": "shop", "engine": "icecast"}]})
    run({"domains": [{"media_service": "shop-fm", "name": PANEL}]})
    for found in (record("shop"), Found()):
        judge({PANEL: found})
        assert Domain.objects.get().message == "It is yours for the panel already: delete it there to have it here."
    assert (Domain.objects.get().status, PanelDomain.objects.get().status) == ("pending", "verified")


def test_the_jobs_process_looks_at_both(world: None, run: Run) -> None:
    run(panel_domain())
    run({"domains": [{"media_service": "rock", "name": "radio.example.com"}]})
    asked: list[str] = []

    def look_up(name: str) -> Found:
        asked.append(name)
        return Found()

    checks = Checks(look_up)
    assert checks.finish() == 2
    checks.close()
    assert sorted(asked) == sorted([PANEL, "radio.example.com"])


def test_who_is_told_of_it(world: None, run: Run, tmp_path: Path, settings: Any) -> None:
    settings.PANEL_DOMAINS_DIR = str(tmp_path)
    (tmp_path / "gone.example.com.json").write_text("{}")
    claim = verified(run)
    assert told.tell() == 2
    (file,) = tmp_path.iterdir()
    assert file.name == f"{PANEL}.json"
    assert json.loads(file.read_text()) == {"uid": claim.reseller.uid}
    assert file.stat().st_mode & 0o777 == 0o644
    assert told.tell() == 0
    run(panel_domain(enabled=False))
    assert told.tell() == 1
    assert list(tmp_path.iterdir()) == []
    run(panel_domain(enabled=True))
    assert told.tell() == 1
    settings.WHITE_LABEL = False
    assert told.tell() == 1
    settings.WHITE_LABEL = True
    assert told.tell() == 1
    Account.objects.filter(username="shop").update(deleted_at=timezone.now())
    assert told.tell() == 1
    settings.PANEL_DOMAINS_DIR = ""
    assert told.tell() == 0


def test_a_folder_that_is_not_there_stops_nothing_and_is_said_once(
    world: None, run: Run, tmp_path: Path, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.PANEL_DOMAINS_DIR = str(tmp_path / "none")
    command = jobs_command.Command()
    for _ in range(2):
        command._tell_web()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "none" in caplog.text
    (tmp_path / "none").mkdir()
    verified(run)
    command._tell_web()
    assert (tmp_path / "none" / f"{PANEL}.json").is_file()


# Under it


def at(name: str = PANEL) -> Client:
    """A browser that goes to the panel under that name."""
    return Client(headers={"host": name}, raise_request_exception=False)


def log_in(client: Client, username: str) -> int:
    """Status of a log-in with the right password; 302 where it is let in."""
    return client.post("/login/", {"username": username, "password": "a-password"}).status_code


@pytest.fixture
def people(world: None, run: Run) -> None:
    """All of them know their passwords."""
    names = ("root", "shop", "carol", "rival", "eve")
    run({"customers": [{"username": name, "password": "a-password"} for name in names]}, update_password="always")


def test_hosts_that_nobody_has_are_refused(people: None, run: Run, django_assert_num_queries: Any) -> None:
    run(panel_domain())
    assert at().get("/login/").status_code == 400
    verified(run)
    for name in (PANEL, PANEL.upper(), f"{PANEL}:8443"):
        assert at(name).get("/login/").status_code == 200, name
    for name in ("other.example", f"x.{PANEL}", f"{PANEL}.evil.example", f"{PANEL}@evil", "../x", f"{PANEL}:x", ""):
        assert at(name).get("/login/").status_code == 400, name
    # Made-up names cost nothing, once they are all known.
    with django_assert_num_queries(0):
        assert {at(f"h{number}.example").get("/login/").status_code for number in range(20)} == {400}
    run(panel_domain(enabled=False))
    white_label.forget()
    assert at().get("/login/").status_code == 400


def test_names_are_believed_for_a_few_seconds(people: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(white_label.time, "monotonic", lambda: clock[0])
    assert at().get("/login/").status_code == 400
    run(panel_domain())
    PanelDomain.objects.update(status="verified", holds=PANEL)
    assert at().get("/login/").status_code == 400
    clock[0] += white_label.KEPT
    assert at().get("/login/").status_code == 200


def test_the_reseller_and_its_customers_log_in_and_nobody_else(people: None, run: Run) -> None:
    verified(run)
    assert {name: log_in(at(), name) for name in ("shop", "carol", "rival", "eve", "root")} == {
        "shop": 302, "carol": 302, "rival": 200, "eve": 200, "root": 200,
    }  # fmt: skip
    client = at()
    wrong = client.post("/login/", {"username": "carol", "password": "wrong"})
    other = client.post("/login/", {"username": "eve", "password": "a-password"})
    assert wrong.context["form"].errors == other.context["form"].errors
    # Under the installation's own name all of them do.
    assert {log_in(Client(), name) for name in ("shop", "carol", "eve", "root")} == {302}


def test_a_session_of_somebody_else_counts_for_nothing_there(people: None, run: Run) -> None:
    verified(run)
    for name, status in (("eve", 302), ("root", 302), ("carol", 200)):
        client = Client()
        assert log_in(client, name) == 302
        there = at()
        there.cookies = client.cookies
        assert there.get("/services/").status_code == status, name
        assert there.get("/admin/").status_code != 200, name
    cookie = client.cookies["__Host-streamfleet"]
    assert (cookie["domain"], cookie["secure"], cookie["path"]) == ("", True, "/")


def test_forms_are_taken_from_the_name_itself_alone(people: None, run: Run) -> None:
    verified(run)
    client = Client(headers={"host": PANEL}, enforce_csrf_checks=True)
    client.get("/login/", secure=True)
    token = client.get("/login/", secure=True).context["csrf_token"]
    form = {"username": "carol", "password": "a-password", "csrfmiddlewaretoken": str(token)}

    def post(origin: str) -> int:
        return client.post("/login/", form, secure=True, headers={"origin": origin}).status_code

    assert post("https://evil.example") == 403
    assert post(f"https://{PANEL}.evil.example") == 403
    assert post(f"https://{PANEL}") == 302


def test_tokens_of_the_api_count_for_the_same_people(
    people: None, run: Run, api: Callable[..., Api], settings: Any
) -> None:
    verified(run)
    for caller, status in (("shop", 200), ("carol", 200), ("eve", 401), ("root", 401)):
        token = api(caller).token
        answer = at().get("/api/v1/media-services", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == status, caller
    worker = {"authorization": f"Bearer {api(worker=True).token}"}
    for path in ("/api/v1/nodes", "/metrics"):
        assert at().get(path, headers=worker).status_code == 401, path
    carol = {"authorization": f"Bearer {api('carol').token}"}
    settings.PUBLIC_URL = "https://panel.example.net"
    assert at().get("/api/v1/whoami", headers=carol).json()["url"] == f"https://{PANEL}"
    assert Client().get("/api/v1/whoami", headers=carol).json()["url"] == "https://panel.example.net"


def test_pages_bear_the_resellers_brand(people: None, run: Run) -> None:
    claim = verified(run, brand="Shop <Hosting>")
    client = at()
    page = client.get("/login/").content.decode()
    assert "Shop &lt;Hosting&gt;" in page
    assert "Streamfleet" not in page
    assert "portal/favicon" not in page
    assert "portal/plain" in page
    for path, status in (("/nowhere/", 404), ("/calendar/%ff", 404)):
        answer = client.get(path)
        assert answer.status_code == status
        assert "Streamfleet" not in answer.content.decode()
    assert "Streamfleet" not in render_to_string("500.html")
    assert log_in(client, "carol") == 302
    page = client.get("/services/").content.decode()
    assert "Shop &lt;Hosting&gt;" in page
    assert "Streamfleet" not in page
    assert "Streamfleet" in Client().get("/login/").content.decode()
    run(panel_domain(brand=None))
    white_label.forget()
    assert claim.reseller.get_full_name() in at().get("/login/").content.decode()


def test_mails_lead_to_it(people: None, run: Run, settings: Any) -> None:
    settings.PUBLIC_URL, settings.EMAIL_HOST = "https://panel.example.net:8443", "mail.example.net"
    verified(run, brand="Shop Hosting")
    run({"customers": [{"username": name, "email": f"{name}@x.example"} for name in ("carol", "eve")]})
    for name, address in (("carol", f"https://{PANEL}:8443/"), ("eve", "https://panel.example.net:8443/")):
        mail.outbox.clear()
        asked = Client().post("/password-reset/", {"email": f"{name}@x.example"})
        assert asked.status_code == 302
        assert jobs.run_next()
        assert address in mail.outbox[0].body, Job.objects.latest("created_at").error
    assert where("carol") == where("shop") == (f"https://{PANEL}:8443", "Shop Hosting")
    assert where("root") == ("https://panel.example.net:8443", "Streamfleet")
    # Whose the domain is by now nobody knows.
    judge({PANEL: Found()})
    assert PanelDomain.objects.get().status == "verified"
    assert where("carol") == ("https://panel.example.net:8443", "Streamfleet")


def where(username: str) -> tuple[str, str]:
    """Where mails to the account lead, and what they call the panel."""
    name = white_label.mailed(Account.objects.get(username=username))
    return white_label.url_of(name), white_label.brand_of(name)


def test_where_the_operator_wants_none_of_it_there_is_none(people: None, run: Run, settings: Any) -> None:
    settings.PUBLIC_URL = "https://panel.example.net"
    verified(run)
    settings.WHITE_LABEL = False
    assert at().get("/login/").status_code == 400
    assert where("carol") == ("https://panel.example.net", "Streamfleet")
    run({"reseller_plans": [{"name": "gold", "max_panel_domains": None}]})
    error = refused(run, panel_domain("two.shop.example")).errors[0]
    assert (error.path, error.message) == (P, "this installation has the panel under its own names alone")
    run(panel_domain(brand="Another"))
    run(panel_domain(state="absent"))


# The portal's page


def test_a_reseller_has_a_page_of_them(people: None, run: Run) -> None:
    client = Client()
    assert log_in(client, "shop") == 302
    assert "Panel domains" in client.get("/panel-domains/").content.decode()
    added = client.post("/panel-domains/", {"name": PANEL.upper(), "brand": "Shop"}, follow=True)
    assert f"_streamfleet.{PANEL}" in added.content.decode()
    again = client.post("/panel-domains/", {"name": PANEL, "brand": ""})
    assert "It is one of your domains already." in again.content.decode()
    more = client.post("/panel-domains/", {"name": "more.shop.example", "brand": ""})
    assert "the plan gold allows 1" in more.content.decode()
    client.post(f"/panel-domains/{PANEL}/brand/", {"brand": "Another"})
    assert PanelDomain.objects.get().brand == "Another"
    assert "is being checked" in client.post(f"/panel-domains/{PANEL}/check/", follow=True).content.decode()
    assert "in a minute" in client.post(f"/panel-domains/{PANEL}/check/", follow=True).content.decode()
    other = Client()
    log_in(other, "rival")
    for action in ("brand", "check", "delete"):
        assert other.post(f"/panel-domains/{PANEL}/{action}/").status_code == 404
    customer = Client()
    log_in(customer, "carol")
    assert customer.get("/panel-domains/").status_code == 404
    assert "Panel domains" not in customer.get("/services/").content.decode()
    client.post(f"/panel-domains/{PANEL}/delete/")
    assert not PanelDomain.objects.exists()
