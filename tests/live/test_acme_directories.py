"""What an ACME directory may ask for, on a real node: bound accounts, IPv6; and what another directory means.

Three of Pebble are on the node: one like Let's Encrypt's, one to try out with, and one that takes bound accounts only.
``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release. Tests playbooks: certificates.yml.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.acme import DIRECTORY, HOST, Pebble
from tests.live.node import NODE, changed_tasks
from tests.live.test_acme import ORDERED, STREAM, Site
from tests.nodes.fleet import Domain

pytestmark = [pytest.mark.live, pytest.mark.full]

BASE = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles: [common]
"""
BOTH, SIX, ASTRAY = (f"{name}.acme.test" for name in ("both", "six", "astray"))
#: An address of the node's own, which nothing else on this machine has; and one that is nobody's.
HERE, ELSEWHERE = "fd53:464c:4545:54::1", "2001:db8::9"
#: The account that the third directory knows, and its key.
KNOWN = "customer-17"
LEFT = "/var/lib/streamfleet/certificates /var/log /etc/streamfleet/acme/settings.json"


def key() -> str:
    """A key of an external account, in base64url without padding."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


class Directories(Site):
    """The node, and beside its directory the two others."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "base.yml").write_text(BASE)
        self.right = key()
        self.trial = Pebble(self, folder, number=1)
        self.bound = Pebble(self, folder, number=2, bound={KNOWN: self.right})
        self.extra["_streamfleet_certificates_here"] = [{"name": STREAM, "source": "acme"}]

    def asked(self, directory: Pebble, what: str) -> int:
        """How many requests of a kind a directory was sent."""
        return directory.said().count(what)

    def with_binding(self, hmac: str, **more: Any) -> str:
        """certificates.yml with the third directory; its output in one line."""
        said = self.certificates(
            streamfleet_certificates_acme_directory=self.bound.url,
            streamfleet_certificates_acme_eab_key_id=KNOWN if hmac else "",
            streamfleet_certificates_acme_eab_hmac=hmac,
            **more,
        )
        return " ".join(said.split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directories]:
    """The node with nothing of certificates on it, and all directories up."""
    site = Directories(Path(tmp_path_factory.mktemp("directories")))
    with site.started(*(Domain(name, NODE) for name in (HOST, STREAM))):
        for directory in (site.pebble, site.trial, site.bound):
            directory.install()
            directory.start()
        site.sh(f"ip -6 address add {HERE}/128 dev lo")
        site.pebble.leads(STREAM, site.address)
        site.play(site.folder / "base.yml")
        site.extra["streamfleet_certificates_trusted"] = "".join(
            directory.root for directory in (site.pebble, site.trial, site.bound)
        )
        yield site


def test_an_account_is_bound_with_the_right_key_and_only_with_that(site: Directories) -> None:
    said = site.with_binding("")
    assert f"the directory {site.bound.url} takes only accounts that are bound to one of its own: set" in said
    assert site.asked(site.bound, "POST /sign-me-up") == 0, "it was asked in vain"
    wrong = key()
    said = site.with_binding(wrong)
    error = site.state(STREAM)["error"]
    assert "externalAccountBinding" in error or "external account" in error.lower(), error
    assert site.state(STREAM)["here"] is False
    assert f"{STREAM}" in said
    assert not site.trusted(STREAM, site.bound)
    said += site.with_binding(site.right)
    assert "error" not in site.state(STREAM), site.state(STREAM)
    assert site.trusted(STREAM, site.bound)
    accounts = site.asked(site.bound, "POST /sign-me-up")
    # What the account was bound with is needed no more.
    before = site.shown(STREAM)
    said += site.with_binding(wrong, certificates_renew=STREAM)
    renewed = site.shown(STREAM)
    assert renewed != before
    said += site.with_binding(wrong, certificates_revoke=STREAM)
    assert site.bound.status(renewed)["Status"] == "Revoked"
    assert site.bound.status(site.shown(STREAM))["Status"] == "Valid"
    assert site.asked(site.bound, "POST /sign-me-up") == accounts
    for secret in (wrong, site.right):
        assert secret not in said
        assert site.sh(f"grep -rl -e {secret} {LEFT}", check=False) == ""
        assert site.sh(f"journalctl -o cat --no-pager | grep -c -e {secret}", check=False) == "0"
    assert site.sh("stat -c '%U %a' /etc/streamfleet/acme/secrets.env") == "root 600"


def test_when_trying_out_is_over_all_is_ordered_anew(site: Directories) -> None:
    def tried_out(staging: bool, *arguments: str) -> str:
        # A string, as -e gives it.
        return site.certificates(
            *arguments, "-e", f"streamfleet_certificates_acme_staging={str(staging).lower()}",
            streamfleet_certificates_acme_staging_directory=site.trial.url,
        )  # fmt: skip

    assert ORDERED in changed_tasks(tried_out(True))
    assert site.trusted(STREAM, site.trial)
    assert not site.trusted(STREAM, site.pebble)
    assert site.asked(site.pebble, "POST /order-plz") == 0
    assert site.changed(tried_out(True)) == 0
    check = " ".join(tried_out(False, "--check").split())
    assert f"{STREAM}: " in check
    assert site.trusted(STREAM, site.trial)
    shown = site.shown(STREAM)
    assert ORDERED in changed_tasks(tried_out(False))
    assert site.trusted(STREAM, site.pebble)
    assert not site.trusted(STREAM, site.trial)
    assert site.shown(STREAM).serial_number != shown.serial_number
    assert site.changed(tried_out(False)) == 0


def test_names_are_proved_at_all_their_addresses(site: Directories) -> None:
    site.pebble.leads(BOTH, site.address, HERE)
    site.pebble.leads(SIX, HERE)
    site.pebble.leads(ASTRAY, site.address, ELSEWHERE)
    names = [{"name": name, "source": "acme"} for name in (ASTRAY, BOTH, SIX, STREAM)]
    site.extra["_streamfleet_certificates_here"] = names
    orders = site.asked(site.pebble, "POST /order-plz")
    said = " ".join(site.certificates(streamfleet_certificates_acme_directory=DIRECTORY).split())
    assert f"{ASTRAY} leads to {ELSEWHERE}, which is not this host's. Change its A and AAAA records" in said
    assert site.state(ASTRAY)["here"] is True
    assert site.trusted(BOTH, site.pebble)
    assert site.trusted(SIX, site.pebble)
    assert not site.trusted(ASTRAY, site.pebble)
    said = site.pebble.said()
    assert BOTH in said
    assert ASTRAY not in said, "the directory was asked for it"
    # The requests for the two; those that it has refused for their nonce are sent again.
    assert site.asked(site.pebble, "POST /order-plz") >= orders + 2
    # It has come by IPv6, and not the host's own look alone.
    log = site.sh("cat /var/log/nginx/*access.log | grep acme-challenge", check=False)
    assert [line for line in log.splitlines() if line.startswith(f"{HERE} ") and "LetsEncrypt" in line], log
    site.pebble.leads(ASTRAY, site.address)
    assert ORDERED in changed_tasks(site.certificates())
    assert site.trusted(ASTRAY, site.pebble)
