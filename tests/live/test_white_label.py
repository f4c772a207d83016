"""A reseller's own name for the panel, on an installed platform: proved by DNS, answered under it, and for whom.

The name server is a double; the panel, its jobs unit and the web server are the real ones.
"""

from __future__ import annotations

import re
import secrets
import subprocess
from pathlib import Path

import pytest

from demo.stage import Stage
from tests.live.test_domains import Names, customers, fetch, names, until
from tests.live.test_platform import account, apply, web_reloads

__all__ = ["names"]

pytestmark = [pytest.mark.live, pytest.mark.full]

PASSWORD = "correct horse"
FOLDER = "/var/lib/streamfleet/panel-domains"


class Browser:
    """Somebody who goes to the panel under a name, with cookies; certificates are none of this test's business."""

    def __init__(self, platform: Stage, name: str, folder: Path) -> None:
        self._to, self._url = ["--resolve", f"{name}:443:{platform.address}"], f"https://{name}"
        self._cookies = folder / f"{secrets.token_hex(4)}.cookies"

    def ask(self, path: str, *more: str) -> tuple[int, str]:
        """Status and body."""
        done = subprocess.run(
            [
                "curl", "-sk", "-m", "20", *self._to, "-b", str(self._cookies), "-c", str(self._cookies),
                "-e", f"{self._url}/", "-w", "\n%{http_code}", *more, f"{self._url}{path}",
            ],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=30,
        )  # fmt: skip
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def log_in(self, username: str, password: str) -> bool:
        """Whether the panel lets the account in."""
        status, page = self.ask("/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert status == 200, page
        assert token, page
        form = {"csrfmiddlewaretoken": token.group(1), "username": username, "password": password}
        words = [word for name, value in form.items() for word in ("--data-urlencode", f"{name}={value}")]
        return self.ask("/login/", *words)[0] == 302


def test_a_reseller_has_the_panel_under_its_own_name(platform: Stage, names: Names, tmp_path: Path) -> None:
    shop, customer, stranger = (f"{kind}{secrets.token_hex(4)}" for kind in ("shop", "carol", "eve"))
    name = f"panel.{shop}.example"
    apply(platform, {
        "reseller_plans": [{"name": f"plan of {shop}"}],
        "customers": [
            account(shop, password=PASSWORD, reseller_plan=f"plan of {shop}"),
            account(customer, password=PASSWORD, reseller=shop),
            account(stranger, password=PASSWORD),
        ],
    })  # fmt: skip
    own, path, reloads = customers(platform, shop), f"/customers/{shop}/panel-domains/{name}", web_reloads(platform)
    made = own.request("PUT", path, {"brand": "Shop & Sons"}).data["object"]
    until(lambda: own.request("GET", path).data["checked_at"], bool)
    assert own.request("GET", path).data["status"] == "pending"
    assert fetch(platform, f"https://{name}/login/")[0] == 404
    txt = made["proof"]["txt"]
    names.know({txt["name"]: {"TXT": [txt["value"]]}})
    assert own.request("POST", f"{path}/check").status == 202
    until(lambda: own.request("GET", path).data["status"], "verified".__eq__)
    status, page = until(lambda: fetch(platform, f"https://{name}/login/"), lambda found: found[0] == 200, 40)
    assert status == 200
    assert "Shop &amp; Sons" in page
    assert "Streamfleet" not in page
    assert fetch(platform, f"http://{name}/login/")[0] == 308
    assert fetch(platform, f"https://x.{name}/login/")[0] == 404
    assert web_reloads(platform) == reloads
    admin = (platform.state / "admin_password").read_text().strip()
    people = {shop: PASSWORD, customer: PASSWORD, stranger: PASSWORD, "admin": admin}
    let_in = {who for who, password in people.items() if Browser(platform, name, tmp_path).log_in(who, password)}
    assert let_in == {shop, customer}
    browser = Browser(platform, name, tmp_path)
    assert browser.log_in(customer, PASSWORD)
    status, page = browser.ask("/services/")
    assert (status, "Shop &amp; Sons" in page, "Streamfleet" in page) == (200, True, False)
    # Who writes there is who else may, and nobody reads more than names.
    assert platform.on_node(["stat", "-c", "%U %a", FOLDER]).split() == ["streamfleet-panel", "755"]
    assert platform.install().changed == 0
    assert fetch(platform, f"https://{name}/login/")[0] == 200
    own.request("DELETE", path)
    until(lambda: fetch(platform, f"https://{name}/login/")[0], (404).__eq__, 40)
    assert platform.on_node(["ls", FOLDER]) == ""
    assert web_reloads(platform) == reloads
