"""A service's domains in the portal: what is shown and can be copied, added, checked and deleted."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from streamfleet_panel import access
from streamfleet_panel.apply import apply_document
from streamfleet_panel.models import Account, AuditLog, Domain, PanelDomain

pytestmark = pytest.mark.usefixtures("world")
DOMAINS = "/services/rock-fm/domains/"
RADIO = "radio.example.com"


@pytest.fixture
def alice(as_: Any) -> Client:
    client: Client = as_("alice")
    return client


def add(name: str = RADIO) -> Domain:
    apply_document({"domains": [{"media_service": "rock-fm", "name": name}]}, access.system())
    return Domain.objects.get(name=name)


def words(client: Client, path: str = DOMAINS) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", client.get(path).content.decode()).split())


@pytest.mark.parametrize("path", ["check", "delete"])
@pytest.mark.parametrize("username", ["alice", "shop", "bob"])
def test_those_of_others_do_not_exist(as_: Any, username: str, path: str) -> None:
    client = as_(username)
    assert client.get("/services/eve-fm/domains/").status_code == 404
    assert client.post(f"/services/eve-fm/domains/eves.example.com/{path}/").status_code == 404
    # Neither through a service of one's own.
    assert as_("alice").post(f"{DOMAINS}eves.example.com/{path}/").status_code == 404
    claim = Domain.objects.get(name="eves.example.com")
    assert claim.asked_at is None


def test_add_one_and_see_what_proves_it(alice: Client, settings: Any) -> None:
    assert "No domains yet" in words(alice)
    # As people write it.
    answer = alice.post(DOMAINS, {"name": "Radio.Example.com."}, follow=True)
    assert f"{RADIO} is added. Set one of the records that are shown with it." in answer.content.decode()
    token = Account.objects.get(username="alice").domain_token
    text = answer.content.decode()
    assert f'<code data-copy="Name of the TXT record of {RADIO}">_streamfleet.{RADIO}</code>' in text
    assert f'<code data-copy="Value of the TXT record of {RADIO}">streamfleet={token}</code>' in text
    assert f'<code data-copy="Where {RADIO} leads to">stream.example.net</code>' in text
    assert "CNAME" not in text
    assert "Not proved yet" in words(alice)
    settings.DOMAIN_TARGET = "cname.example.net"
    assert f'<code data-copy="Value of the CNAME record of {RADIO}">{token}.cname.example.net</code>' in (
        alice.get(DOMAINS).content.decode()
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.example.com", "Is a wildcard. Name each domain by itself, as radio.example.com."),
        ("rádio.example", "Is not as DNS has it. Write it as xn--rdio-5na.example."),
        ("stream.example.net", "Is a name of this installation (stream.example.net), or below one."),
        ("there.example.com", "It is one of this service"),
        ("<b>.example.com", "Is not a full domain."),
        ("", "This field is required."),
    ],
)
def test_refused_beside_the_field(alice: Client, name: str, message: str) -> None:
    add("there.example.com")
    text = alice.post(DOMAINS, {"name": name}).content.decode()
    assert message in text
    assert 'aria-invalid="true"' in text
    assert "<b>.example" not in text
    assert set(Domain.objects.filter(media_service__slug="rock-fm").values_list("name", flat=True)) == {
        "there.example.com"
    }


def test_check_now_once_a_minute(alice: Client) -> None:
    Domain.objects.update(next_check_at=None)
    claim = add()
    path = f"{DOMAINS}{RADIO}/check/"
    assert alice.get(path).status_code == 405
    assert f"{RADIO} is being checked." in alice.post(path, follow=True).content.decode()
    claim.refresh_from_db()
    assert claim.asked_at is not None
    assert "try again in a minute" in alice.post(path, follow=True).content.decode()


def test_verified_ones_are_shown_where_listeners_tune_in(alice: Client) -> None:
    claim = add()
    assert RADIO not in words(alice, "/services/rock-fm/")
    claim.status, claim.holds, claim.checked_at = "verified", RADIO, timezone.now()
    claim.message = "Its record is <b>there</b>."
    claim.save()
    assert f"https://{RADIO}/stream" in words(alice, "/services/rock-fm/")
    text = alice.get(DOMAINS).content.decode()
    assert '<span class="badge good">Verified</span>' in text
    assert "Its record is &lt;b&gt;there" in text


def test_what_is_to_be_changed_of_a_cname(alice: Client, settings: Any) -> None:
    claim = add()
    token = Account.objects.get(username="alice").domain_token
    settings.DOMAIN_TARGET, settings.FORMER_DOMAIN_TARGETS = (
        "cname.example.org",
        {"cname.example.net": date(2027, 2, 26)},
    )
    claim.cname = f"{token}.cname.example.org"
    claim.save()
    assert "leads to a former name" not in words(alice)
    claim.cname = f"{token}.cname.example.net"
    claim.save()
    text = words(alice)
    assert f"The CNAME of {RADIO} leads to a former name, which counts until the end of 2027-02-26 (UTC)." in text
    assert f"CNAME {token}.cname.example.net Change it to {token}.cname.example.org" in text
    assert "First set the TXT record" not in text
    settings.DOMAIN_TARGET = ""
    text = words(alice)
    assert "First set the TXT record below" in text
    assert f"CNAME {token}.cname.example.net Change it to stream.example.net" in text


def test_a_reseller_is_told_that_the_panel_has_another_name(as_: Any, settings: Any) -> None:
    settings.PUBLIC_URL, settings.FORMER_HOSTS = "https://panel.example.org", {"panel.example.net": None}
    PanelDomain.objects.update(cname="panel.example.net")
    text = words(as_("shop"), "/panel-domains/")
    assert "leads to a former name, which is not kept for ever." in text
    assert "CNAME panel.example.net Change it to panel.example.org" in text


def test_delete(alice: Client) -> None:
    add()
    assert f"{RADIO} is deleted." in alice.post(f"{DOMAINS}{RADIO}/delete/", follow=True).content.decode()
    assert not Domain.objects.filter(name=RADIO).exists()
    assert AuditLog.objects.get(kind="domain", key=f"rock-fm/{RADIO}", action="deleted").via == "portal"
    assert alice.post(f"{DOMAINS}{RADIO}/delete/").status_code == 404
