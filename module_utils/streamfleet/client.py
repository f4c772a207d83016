"""The panel's API v1 as methods: apply a document, follow a job, read objects. Shapes are in docs/contracts.md."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import errors
from .http import Client, segment

#: Most objects that the panel gives in one page.
PAGE = 1000

#: Kind of an object (as in a result) → its list in a document, which is also its route with dashes.
COLLECTIONS = {
    "reseller_plan": "reseller_plans",
    "customer": "customers",
    "node": "nodes",
    "media_service": "media_services",
    "playlist": "playlists",
    "dj": "djs",
    "schedule": "schedules",
    "relay": "relays",
    "domain": "domains",
    "panel_domain": "panel_domains",
    "mount": "mounts",
    "media_user": "media_users",
}

#: Kinds that can only be read, and are in no document.
ONLY_READ = {"listener_session": "listener_sessions", "usage": "usage"}

#: Kind of an object that belongs to another → that one's kind. Its key begins with the other's, and so does its route.
PARENTS = {
    "playlist": "media_service",
    "dj": "media_service",
    "schedule": "media_service",
    "relay": "media_service",
    "domain": "media_service",
    "panel_domain": "customer",
    "mount": "media_service",
    "media_user": "customer",
}

Progress = Callable[[int, int], None]


def route(kind: str, *key: str) -> str:
    """Path of a collection, or of the object of it with this key (all its parts), below ``/api/v1``."""
    path = "/" + {**COLLECTIONS, **ONLY_READ}[kind].replace("_", "-")
    if not key:
        return path
    *others, own = key
    before = route(PARENTS[kind], *others) if others else ""
    # A mount is called by its path, /stream; in an address that slash stands there already.
    return f"{before}{path}/{segment(own.removeprefix('/'))}"


class Panel:
    """One panel, through one :class:`Client`."""

    def __init__(
        self,
        client: Client,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self._sleep = sleep
        self._clock = clock

    def apply(
        self,
        document: Mapping[str, Any],
        *,
        dry_run: bool = False,
        label: str | None = None,
        prune: bool = False,
        max_delete: int | None = None,
        update_password: str = "on_create",  # noqa: S107  (a word, no password)
        return_objects: bool = False,
        job_timeout: float = 1800,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Apply ``document`` in one transaction; the panel's answer, or its job's result if it made it a job."""
        body: dict[str, Any] = {
            "document": document,
            "dry_run": dry_run,
            "label": label,
            "prune": prune,
            "update_password": update_password,
            "return_objects": return_objects,
        }
        if max_delete is not None:
            body["max_delete"] = max_delete
        # Declarative: applying twice is applying once, so a lost answer may be asked for again.
        response = self.client.request("POST", "/apply", body, idempotent=True)
        if response.status == 202:
            return self.follow(str(response.data["job"]["id"]), job_timeout, progress)
        result: dict[str, Any] = response.data
        return result

    def follow(self, job_id: str, timeout: float = 1800, progress: Progress | None = None) -> dict[str, Any]:
        """Wait for a job of the panel and return its result. ``progress`` is called with (done, total) as they change.

        Raises JobFailed, or TimedOut after ``timeout`` seconds; the job itself goes on.
        """
        deadline = self._clock() + timeout
        delay, seen = 0.1, (-1, -1)
        while True:
            job = self.client.request("GET", f"/jobs/{segment(job_id)}").data
            done = (int(job.get("done") or 0), int(job.get("total") or 0))
            if progress is not None and done != seen:
                progress(*done)
            seen = done
            if job["state"] == "succeeded":
                result: dict[str, Any] = job["result"]
                return result
            if job["state"] == "failed":
                raise _job_error(job_id, job.get("error"))
            if self._clock() >= deadline:
                raise errors.TimedOut(
                    f"Job {job_id} is {job['state']} ({done[0]} of {done[1]}) after {timeout:g} seconds; it goes on in"
                    f" the panel. Ask GET /api/v1/jobs/{job_id}, or run again with a longer timeout."
                )
            self._sleep(delay)
            delay = min(delay * 1.5, 2.0)

    def get(self, kind: str, *key: str) -> dict[str, Any] | None:
        """One object by all parts of its key, or None if there is no such thing (or none that this token may see)."""
        try:
            data: dict[str, Any] = self.client.request("GET", route(kind, *key)).data
        except errors.NotFound:
            return None
        return data

    def items(self, kind: str, filters: Mapping[str, Any] | None = None, page: int = PAGE) -> Iterator[dict[str, Any]]:
        """All objects of a kind that the token may see, ``page`` at a time, in the panel's order."""
        offset = 0
        while True:
            query = {**(filters or {}), "limit": page, "offset": offset}
            data = self.client.request("GET", route(kind), query=query).data
            yield from data["items"]
            offset += len(data["items"])
            if not data["items"] or offset >= int(data["count"]):
                return

    def service_status(self, slug: str) -> dict[str, Any]:
        """Desired and observed state of a media service."""
        data: dict[str, Any] = self.client.request("GET", f"{route('media_service', slug)}/status").data
        return data

    def credentials(self, kind: str, *key: str) -> dict[str, Any]:
        """Stream credentials of a media service or a DJ. The panel writes an audit record of the reading."""
        data: dict[str, Any] = self.client.request("GET", f"{route(kind, *key)}/credentials").data
        return data

    def service_action(self, slug: str, action: str) -> int:
        """Ask for ``start``, ``stop``, ``restart`` or ``skip``; returns the generation in which it takes effect."""
        path = f"{route('media_service', slug)}/actions"
        return int(self.client.request("POST", path, {"action": action}).data["generation"])


def _job_error(job_id: str, error: Any) -> errors.JobFailed:
    detail = error if isinstance(error, dict) else {}
    detail = detail.get("error", detail) if isinstance(detail.get("error", detail), dict) else detail
    message = detail.get("message") or (error if isinstance(error, str) else "no reason given")
    listed = [errors.FieldError.from_mapping(item) for item in detail.get("errors") or [] if isinstance(item, dict)]
    return errors.JobFailed(
        f"Job {job_id} failed: {message}",
        code=str(detail.get("code") or ""),
        errors=listed,
    )
