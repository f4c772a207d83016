"""Services declared through the panel, each waited for until its node has reported it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..client import Panel, route
from ..errors import BadOption, Misbehaved, TimedOut
from .checks import Login
from .target import secret_of

#: Seconds between two looks at a service's status.
POLL = 0.5


class ApiPanelClient:
    """Services of one customer, of one engine, on one node (None: the first one's, which the panel chooses)."""

    def __init__(self, panel: Panel, customer: str, spec: Mapping[str, Any], node: str | None, timeout: float) -> None:
        self._panel, self._customer, self._spec, self._timeout = panel, customer, spec, timeout
        self.node = node

    def create(self, slug: str) -> None:
        """Have the service and its customer."""
        service: dict[str, Any] = {
            "slug": slug,
            "name": f"Check {slug}",
            "customer": self._customer,
            "engine": self._spec["name"],
            **({"node": self.node} if self.node else {}),
        }
        self._panel.apply({"customers": [{"username": self._customer}], "media_services": [service]})
        self._until(slug, "running")
        self.node = self.node or str(self._get(slug)["node"])

    def name(self, slug: str, name: str) -> bool:
        """Give it another display name."""
        return self._change(slug, "running", name=name)

    def secret(self, slug: str, value: str) -> None:
        """Give it another credential."""
        self._change(slug, "running", **{secret_of(self._spec)[1]: value})

    def suspend(self, slug: str, suspended: bool) -> None:
        """Suspend it, or lift that."""
        self._change(slug, "suspended" if suspended else "running", suspended=suspended)

    def delete(self, slug: str) -> None:
        """Delete it."""
        self._change(slug, "deleted", state="absent")

    def restore(self, slug: str) -> None:
        """Restore it."""
        self._panel.client.request("POST", f"{route('media_service', slug)}/restore")
        self._until(slug, "running")

    def login(self, slug: str) -> Login:
        """Its connection details, as its customer is shown them."""
        shown = self._panel.credentials("media_service", slug)["connection"]
        urls = self._get(slug).get("listen_urls") or []
        if not urls:
            raise Misbehaved(f"{slug} has no address that listeners could open")
        return Login({entry["label"]: str(entry["value"]) for entry in shown}, str(urls[0]))

    def _change(self, slug: str, outcome: str, **fields: Any) -> bool:
        answer = self._panel.apply({"media_services": [{"slug": slug, **fields}]})
        self._until(slug, outcome)
        return bool(answer["changed"])

    def _get(self, slug: str) -> dict[str, Any]:
        found = self._panel.get("media_service", slug)
        if found is None:
            raise BadOption(f"{slug}: the panel does not know it, or this token may not see it.")
        return found

    def _until(self, slug: str, outcome: str) -> None:
        """Wait until the node has applied the newest generation and the service is what it should be."""
        deadline = time.monotonic() + self._timeout
        while True:
            status = self._panel.service_status(slug)
            arrived = int(status.get("observed_generation") or 0) >= int(status.get("generation") or 0)
            if arrived and status["state"] == outcome:
                return
            if arrived and status["state"] == "failed":
                raise Misbehaved(f"{slug} has failed on node {status['node']}: {status['message']}")
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"{slug} is {status['state']} on node {status['node']} after {self._timeout:g} seconds, and not"
                    f" {outcome}. Likely no worker converges that node: journalctl -u streamfleet-worker."
                )
            time.sleep(POLL)
