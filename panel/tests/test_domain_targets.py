"""CNAMEs of domains that lead to former names: how long they prove a domain, what owners are told, and who has one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone

from streamfleet_panel import white_label
from streamfleet_panel.apply import ApiError
from streamfleet_panel.domains.judge import judge
from streamfleet_panel.domains.records import Answer, Found
from streamfleet_panel.domains.targets import counted, led_to
from streamfleet_panel.models import Account, Domain, PanelDomain

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
RADIO, PANEL = "radio.example.com", "panel.shop.example"
FORMER, TARGET = "cname.example.net", "cname.example.org"
#: The last day of the former target.
LAST = date(2027, 2, 26)


@pytest.fixture(autouse=True)
def moved(settings: Any) -> Iterator[None]:
    """The target of CNAMEs has been changed."""
    settings.DOMAIN_TARGET, settings.FORMER_DOMAIN_TARGETS = TARGET, {FORMER: LAST}
    white_label.forget()
    yield
    white_label.forget()


def token(username: str = "alice") -> str:
    return Account.objects.get(username=username).domain_token


def cname(name: str, *, txt: str | None = None) -> Found:
    """What DNS has where a CNAME stands, and with ``txt`` the record of that account."""
    return Found(Answer(frozenset({f"streamfleet={token(txt)}"} if txt else ())), Answer(frozenset({name})))


def claimed(run: Run, name: str = RADIO, slug: str = "rock") -> Domain:
    run({"domains": [{"media_service": slug, "name": name}]})
    return Domain.objects.get(name=name, media_service__slug=slug)


def shown(api: Any, who: str = "alice") -> dict[str, Any]:
    found: dict[str, Any] = api(who)("GET", f"/media-services/rock/domains/{RADIO}")[1]
    return found


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def test_a_former_target_counts_until_the_end_of_its_day(settings: Any) -> None:
    end = datetime(2027, 2, 26, 23, 59, 59, tzinfo=UTC)
    assert counted(end) == [TARGET, FORMER]
    # Wherever the clock that says so is.
    assert counted((end + timedelta(seconds=1)).astimezone(timezone.get_fixed_timezone(-300))) == [TARGET]
    settings.DOMAIN_TARGET = ""
    assert counted(end) == [FORMER]
    assert counted(end + timedelta(days=1)) == []


def test_what_a_former_target_proves_stays_proved_and_its_owner_is_told(world: None, run: Run, api: Any) -> None:
    claim = claimed(run)
    judge({RADIO: cname(f"{token()}.{FORMER}")}, noon(LAST))
    claim.refresh_from_db()
    assert (claim.status, claim.cname) == ("verified", f"{token()}.{FORMER}")
    assert claim.message == (
        "Its record is there. Its CNAME leads to a former name. Until the end of 2027-02-26 (UTC), have it lead to "
        f"{token()}.{TARGET}."
    )
    found = shown(api)
    assert found["cname"] == f"{token()}.{FORMER}"
    assert found["cname_change"] == {
        "from": f"{token()}.{FORMER}", "to": f"{token()}.{TARGET}", "until": "2027-02-26", "txt": False,
    }  # fmt: skip
    # What customers are shown is the new one.
    assert found["proof"]["cname"] == {"name": RADIO, "value": f"{token()}.{TARGET}"}
    judge({RADIO: cname(f"{token()}.{TARGET}")}, noon(LAST))
    found = shown(api)
    assert (found["cname"], found["cname_change"]) == (f"{token()}.{TARGET}", None)
    assert found["message"] == "Its record is there."


def test_after_its_day_what_it_proves_is_lost_as_without_a_record(world: None, run: Run, api: Any) -> None:
    claim = claimed(run)
    there = {RADIO: cname(f"{token()}.{FORMER}")}
    judge(there, noon(LAST))
    over = noon(LAST) + timedelta(days=1)
    judge(there, over)
    claim.refresh_from_db()
    assert (claim.status, claim.failing_since) == ("verified", over)
    assert "Its CNAME leads to a name that does not prove it any more." in claim.message
    assert "before 2027-03-02T12:00:00" in claim.message
    judge(there, over + timedelta(days=3))
    assert shown(api)["status"] == "lost"
    judge({RADIO: cname(f"{token()}.{TARGET}")}, over + timedelta(days=3, hours=1))
    assert shown(api)["status"] == "verified"


def test_a_former_target_proves_nothing_of_others(world: None, run: Run) -> None:
    claimed(run, slug="eve-fm")
    judge({RADIO: cname(f"{token('alice')}.{FORMER}")}, noon(LAST))
    assert Domain.objects.get(media_service__slug="eve-fm").status == "pending"


def test_without_a_target_of_today_the_txt_record_comes_first(world: None, run: Run, api: Any, settings: Any) -> None:
    settings.DOMAIN_TARGET = ""
    claimed(run)
    judge({RADIO: cname(f"{token()}.{FORMER}")}, noon(LAST))
    found = shown(api)
    assert found["cname_change"] == {
        "from": f"{token()}.{FORMER}", "to": "stream.example.net", "until": "2027-02-26", "txt": True,
    }  # fmt: skip
    assert "first set the TXT record that is shown here, then have it lead to stream.example.net." in found["message"]


def test_whoever_leads_to_the_streams_former_name_is_told(world: None, run: Run, api: Any) -> None:
    claimed(run)
    run({"nodes": [{"name": "node1", "former_stream_hosts": ["old.example.net"]}]})
    judge({RADIO: cname("old.example.net", txt="alice")})
    found = shown(api)
    assert (found["status"], found["cname"]) == ("verified", "old.example.net")
    change = {"from": "old.example.net", "to": "stream.example.net", "until": None, "txt": False}
    assert found["cname_change"] == change
    assert "Soon, have it lead to stream.example.net." in found["message"]
    # Once the inventory's day is told, so it is to customers; no node has to do with it.
    days = {"former_stream_days": {"Old.example.net": "2027-02-26"}}
    answer = run({"nodes": [{"name": "node1", **days}]}, return_objects=True)
    assert answer["nodes"] == {}
    assert answer["results"][0]["object"]["former_stream_days"] == {"old.example.net": "2027-02-26"}
    assert shown(api)["cname_change"] == {**change, "until": "2027-02-26"}


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (["2027-02-26"], "must be a mapping"),
        ({"old.example.net": "soon"}, "has no day for old.example.net"),
        ({"old.example.net": 7}, "has no day for old.example.net"),
        ({"-": "2027-02-26"}, ""),
    ],
)
def test_days_of_former_names_are_days(world: None, run: Run, days: Any, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        run({"nodes": [{"name": "node1", "former_stream_days": days}]})
    assert refused.value.errors[0].path == "nodes[0].former_stream_days"
    assert message in refused.value.errors[0].message


def test_whoever_leads_to_the_panels_former_name_is_told(world: None, run: Run, api: Any, settings: Any) -> None:
    settings.PUBLIC_URL, settings.FORMER_HOSTS = "https://panel.example.org", {"panel.example.net": LAST}
    run({"panel_domains": [{"reseller": "shop", "name": PANEL}]})
    judge({PANEL: cname("panel.example.net", txt="shop")})
    found = api("shop")("GET", f"/customers/shop/panel-domains/{PANEL}")[1]
    assert found["status"] == "verified"
    assert found["cname_change"] == {
        "from": "panel.example.net", "to": "panel.example.org", "until": "2027-02-26", "txt": False,
    }  # fmt: skip
    # A target leads to the nodes, so it is never what a name of the panel is to lead to.
    judge({PANEL: cname(f"{token('shop')}.{FORMER}", txt="shop")})
    assert PanelDomain.objects.get().cname == f"{token('shop')}.{FORMER}"
    assert api("shop")("GET", f"/customers/shop/panel-domains/{PANEL}")[1]["cname_change"] is None


def test_what_was_seen_is_kept_while_nobody_answers(world: None, run: Run) -> None:
    claim = claimed(run)
    judge({RADIO: cname("www.example.com", txt="alice")})
    judge({RADIO: Found(cname("x", txt="alice").txt, Answer(known=False))})
    claim.refresh_from_db()
    assert claim.cname == "www.example.com"
    judge({RADIO: Found(cname("x", txt="alice").txt)})
    claim.refresh_from_db()
    assert claim.cname == ""


def test_domains_are_found_by_where_they_lead(world: None, run: Run, api: Any) -> None:
    seen = {"a.example.com": f"{token()}.{FORMER}", "b.example.com": "stream.example.net"}
    seen["c.example.com"] = f"x{FORMER}"
    for name in seen:
        claimed(run, name)
    claimed(run, "e.example.com", "eve-fm")
    claimed(run, "none.example.com")
    judge({name: cname(target) for name, target in (seen | {"e.example.com": FORMER}).items()}, noon(LAST))

    def asked(path: str, who: str = "root") -> list[str]:
        return [item["name"] for item in api(who)("GET", path)[1]["items"]]

    assert asked(f"/domains?leads_to=.{FORMER}") == ["a.example.com"]
    assert asked(f"/domains?leads_to={FORMER}") == ["e.example.com"]
    assert asked(f"/domains?leads_to=.{FORMER},stream.example.net,") == ["a.example.com", "b.example.com"]
    assert asked(f"/domains?leads_to=.{FORMER},stream.example.net&status=pending") == ["b.example.com"]
    assert asked("/domains?leads_to=") == []
    assert asked("/media-services/rock/domains?leads_to=stream.example.net") == ["b.example.com"]
    # Nobody sees others' by it.
    assert asked(f"/domains?leads_to={FORMER}", "alice") == []
    run({"panel_domains": [{"reseller": "shop", "name": PANEL}]})
    judge({PANEL: cname("old.example.net", txt="shop")})
    assert asked("/panel-domains?leads_to=old.example.net") == [PANEL]
    assert asked("/customers/shop/panel-domains?leads_to=.example.net") == [PANEL]
    assert asked("/panel-domains?leads_to=example.net") == []


@pytest.mark.parametrize("path", ["/domains", "/media-services/rock/domains", "/panel-domains"])
def test_nobody_asks_for_more_names_than_a_database_takes(world: None, run: Run, api: Any, path: str) -> None:
    who = "shop" if path == "/panel-domains" else "alice"
    assert api(who)("GET", f"{path}?leads_to={',a' * 1000}")[0] == 200
    assert api(who)("GET", f"{path}?leads_to={','.join(f'.{number}' for number in range(50))}")[0] == 200
    status, answer = api(who)("GET", f"{path}?leads_to={','.join(f'.{number}' for number in range(51))}")
    assert status == 422
    assert answer["error"]["message"] == "leads_to: has 51 names, and may have 50"
    error = answer["error"]["errors"][0]
    assert error["path"] == "leads_to"
    assert error["value"].startswith(".0,.1,")
    assert error["fix"] == "Ask several times, with at most 50 names each."


def test_many_names_are_one_condition_but_for_those_below() -> None:
    names = [str(number) for number in range(1000)]
    assert led_to([*names, *names, ".x", ".x"]).children == [("cname__in", sorted(names)), ("cname__endswith", ".x")]


@pytest.mark.parametrize("name", [f"x.{FORMER}", f"x.{TARGET}"])
def test_no_domain_is_below_a_target(world: None, run: Run, api: Any, name: str) -> None:
    answer = api("alice")("PUT", f"/media-services/rock/domains/{name}", {})
    assert answer[0] == 422
    assert "is a name of this installation" in str(answer[1])


def test_a_panel_that_is_upgraded_looks_soon_at_what_is_served(world: None, run: Run) -> None:
    served, waiting = claimed(run), claimed(run, "pending.example.com")
    later = timezone.now() + timedelta(hours=20)
    Domain.objects.update(next_check_at=later)
    Domain.objects.filter(pk=served.pk).update(status="verified", holds=RADIO)
    module = importlib.import_module("streamfleet_panel.migrations.0022_seen_cnames")
    module.look_soon(apps, SimpleNamespace(connection=connection))
    served.refresh_from_db(), waiting.refresh_from_db()
    assert served.next_check_at is not None
    assert served.next_check_at <= timezone.now()
    assert waiting.next_check_at == later
