"""A double of a node: takes its document from the panel with its own token and reports on it, as converge does.

It runs nothing. ``failing`` services are reported as failed, ``silent`` stops all reports.
"""

from __future__ import annotations

import threading
from typing import Any, Self

from streamfleet.http import Client


class FakeNode:
    """Reports on the services of node ``name`` until it is closed, every ``every`` seconds."""

    def __init__(self, url: str, token: str, name: str, every: float = 0.1) -> None:
        self._client = Client(url, token)
        self._path = f"/nodes/{name}"
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failing: dict[str, str] = {}
        self.silent = False
        self.restarts: dict[str, int] = {}
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._client.close()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                if not self.silent:
                    self._report()
            except Exception as error:
                self.error = error
                return

    def _report(self) -> None:
        document = self._client.request("GET", f"{self._path}/document").data
        services: dict[str, Any] = {}
        for service in document["services"]:
            slug = service["slug"]
            self.restarts[slug] = service["restart"]
            message = self.failing.get(slug, "")
            state = "failed" if message else service["state"]
            services[slug] = {"generation": service["generation"], "state": state, "message": message}
        status = {"epoch": document["epoch"], "generation": document["generation"], "services": services}
        self._client.request("PUT", f"{self._path}/status", status)
