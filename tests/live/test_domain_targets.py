"""The target of customers' CNAMEs moves with the other names of an installed platform, and is given up.

The name server is a double; what the panel sees of it, tells the customer and the operator, and serves, is real.

Tests playbooks: domain_change.yml.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from demo.show import credentials
from demo.stage import Stage
from tests.live.renames import (
    CUSTOMER,
    MOVE,
    NEW,
    NEW_PANEL,
    OLD,
    Inventory,
    change,
    change_and_patch,
    changed_by_install,
    kept_inventory,
    logs_in,
    on_platform,
    there,
)
from tests.live.streams import Listener, Source, on_air
from tests.live.test_domains import Names, asked, customers, names, until
from tests.live.test_platform import settled
from tests.live.visitors import Visitor

__all__ = ["names"]

pytestmark = [pytest.mark.live, pytest.mark.full]

SLUG, NAME = "move-fm", "radio.mover.example"
TARGET, NEW_TARGET = f"cname{OLD}", f"cname{NEW}"


@pytest.fixture(scope="module")
def site(platform: Stage) -> Iterator[Stage]:
    """The platform with a station."""
    # With the name server of these tests a package server cannot be found, and lists older than an hour are renewed.
    platform.on_node(["touch", "/var/lib/apt/lists"])
    with on_platform(platform) as made:
        yield made


@pytest.fixture
def inventory(site: Stage) -> Iterator[Inventory]:
    """What the runs of a test go by; afterwards the platform is what the demo's says."""
    with kept_inventory(site) as made:
        yield made
    site.install()


@contextlib.contextmanager
def heard(site: Stage) -> Iterator[None]:
    """A listener by the customer's name; at the end nothing was lost."""
    port = site.api().request("GET", f"/media-services/{SLUG}").data["port"]
    with on_air(Source(site.address, port, "/stream", credentials(site.api(), SLUG)["source_password"])):
        listener = Listener(site.address, 80, NAME, "/")
        listener.start()
        assert listener.playing.wait(20), listener.heard
        yield
        had = listener.stop()
        assert (had.disconnects, had.lost_lines) == (0, 0), had


def settings(site: Stage) -> list[str]:
    """What is there but certificates: those of a name that was given up are made anew when it comes back."""
    return [line for line in there(site).splitlines() if not re.search(r"/(tls|rtmps)/", line)]


def at_the_panel(site: Stage) -> bool:
    """Whether the customer can log in by the panel's new name; it may be starting."""
    try:
        return logs_in(Visitor(site, NEW_PANEL))
    except OSError:
        return False


def test_the_target_moves_is_told_and_is_given_up_by_a_yes(site: Stage, inventory: Inventory, names: Names) -> None:
    before = settings(site)
    inventory.add("streamfleet_panel_domain_target", TARGET)
    site.install()
    own = customers(site, CUSTOMER)
    path = f"/media-services/{SLUG}/domains/{NAME}"
    proof = own.request("PUT", path, {}).data["object"]["proof"]["cname"]
    token = proof["value"].removesuffix(f".{TARGET}")
    assert proof == {"name": NAME, "value": f"{token}.{TARGET}"}

    def read() -> dict[str, Any]:
        found: dict[str, Any] = own.request("GET", path).data
        return found

    def led(target: str) -> dict[str, Any]:
        """Have the name lead there, and looked at; what the customer sees then."""
        names.know({NAME: {"CNAME": [f"{token}.{target}."]}})
        since = read()["checked_at"]
        until(lambda: asked(own, SLUG, NAME), bool, 90)
        found: dict[str, Any] = until(
            read, lambda found: found["checked_at"] != since and found["cname"] == f"{token}.{target}"
        )
        return found

    assert led(TARGET)["status"] == "verified"

    settled(site, 30)
    with heard(site):
        # Customers are told no target that leads nowhere.
        _recap, said = change(site, MOVE, ok=False)
        assert f"streamfleet-check.{NEW_TARGET} leads to no node of this run." in said
        site.known_as(f"streamfleet-check.{NEW_TARGET}")
        installed = there(site)
        _recap, said = change(site, MOVE, "--check", "--diff")
        assert f"+streamfleet_panel_domain_target: {NEW_TARGET}" in said
        assert there(site) == installed
        assert read()["cname_change"] is None
        change(site, MOVE)
        shown = read()
        assert shown["proof"]["cname"]["value"] == f"{token}.{NEW_TARGET}"
        moved = shown["cname_change"]
        assert (moved["from"], moved["to"], moved["txt"]) == (f"{token}.{TARGET}", f"{token}.{NEW_TARGET}", False)
        entry = f'{{host: {TARGET}, until: "{moved["until"]}"}}'
        inventory.patched((site.state / "domain_change.log").read_text())
        assert f"streamfleet_former_domain_targets:\n  - {entry}\n" in inventory.text
        assert changed_by_install(site) == []
        # It is looked at again, with the former target, and stays what it is.
        shown = led(TARGET)
        assert shown["status"] == "verified"
        assert f"Until the end of {moved['until']} (UTC), have it lead to {token}.{NEW_TARGET}." in shown["message"]

    # Given up it is by a yes alone, while somebody leads there.
    left = f"{NAME} of the service {SLUG} (CNAME {token}.{TARGET}, seen {shown['checked_at']})"
    kept = there(site)
    _recap, said = change(site, {"release": OLD}, "--check")
    assert left in said
    _recap, said = change(site, {"release": OLD}, ok=False)
    assert f"domain_change_release: {left}: 1 verified domain(s) lead to what would be given up" in said
    assert there(site) == kept
    shown = led(NEW_TARGET)
    assert (shown["status"], shown["cname_change"], shown["message"]) == ("verified", None, "Its record is there.")
    change(site, {"release": OLD})
    until(lambda: at_the_panel(site), bool)
    # Whoever comes to it now has proved nothing by it.
    shown = led(TARGET)
    assert (shown["status"], shown["cname"]) == ("verified", f"{token}.{TARGET}")
    assert "Its CNAME leads to a name that does not prove it any more." in shown["message"]

    # Back, as it came; then the other is given up, though the customer leads there again.
    led(NEW_TARGET)
    inventory.patched((site.state / "domain_change.log").read_text())
    site.known_as(f"streamfleet-check.{TARGET}")
    change_and_patch(site, inventory, {"from": NEW, "to": OLD})
    _recap, said = change(site, {"release": NEW, "leave_domains": "yes"})
    assert f"{NAME} of the service {SLUG} (CNAME {token}.{NEW_TARGET}, seen" in said
    assert read()["cname_change"] is None
    own.request("DELETE", path)
    site.hosts = "inventories/demo/hosts.yml"
    site.install()
    assert settings(site) == before
