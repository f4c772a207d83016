"""The queue of a media service: putting recordings in, taking them out, and waiting for what its node says of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from . import errors
from .client import PAGE, route
from .http import Client
from .runtime import Module, run

OPTIONS: dict[str, dict[str, Any]] = {
    "media_service": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "str"},
    "position": {"type": "int"},
    "state": {"type": "str", "choices": ["queued", "absent", "empty"], "default": "queued"},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 60},
}
#: Seconds between two looks whether the node has told: first, and at most.
POLL_FIRST, POLL_MOST = 0.5, 2.0

Items = list[dict[str, Any]]


def run_queue_module() -> None:
    """The whole of the module."""
    required = [("state", "queued", ["files"]), ("state", "absent", ["files"])]
    run(Module(argument_spec=OPTIONS, supports_check_mode=True, required_if=required), _change)


def run_queue_info_module() -> None:
    """The whole of the info module."""
    spec = {"media_service": OPTIONS["media_service"]}
    run(Module(argument_spec=spec, supports_check_mode=True), _read)


def _read(module: Module) -> dict[str, Any]:
    client, path = module.panel.client, _path(module)
    return {"changed": False, "queue": _waiting(client, path), "done": _done(client, path)}


def _change(module: Module) -> dict[str, Any]:
    client, path, state = module.panel.client, _path(module), module.params["state"]
    if state != "queued" and module.params["position"] is not None:
        raise errors.BadOption(f"position: means nothing with state {state}; leave it out.")
    before = _waiting(client, path)
    if state == "queued":
        added = _put(module, client, path)
        # What would wait is what is planned, at the places that the panel says.
        after = _inserted(before, added) if module.check_mode else _waiting(client, path)
        if not module.check_mode:
            added = _with_lost(added, before, after, module.params["files"])
            if module.params["wait"]:
                after = _waited(module, client, path, added, after)
        changed = bool(added)
    else:
        files = module.params["files"] or []
        going = [item for item in before if state == "empty" or item["path"] in files]
        changed = bool(going)
        if not module.check_mode:
            _take_out(client, path, going, whole=state == "empty")
        after = [item for item in before if item not in going]
    diff = {"before": {"queue": _paths(before)}, "after": {"queue": _paths(after)}}
    return {"changed": changed, "queue": after, "diff": diff}


def _path(module: Module) -> str:
    return f"{route('media_service', module.params['media_service'])}/queue"


def _paths(items: Items) -> list[str]:
    return [item["path"] for item in items]


def _waiting(client: Client, path: str) -> Items:
    items: Items = client.request("GET", path, query={"limit": PAGE}).data["items"]
    return items


def _done(client: Client, path: str) -> Items:
    items: Items = client.request("GET", path, query={"limit": 100, "done": "true"}).data["items"]
    return items


def _put(module: Module, client: Client, path: str) -> Items:
    body = {"files": module.params["files"], "position": module.params["position"], "unless_waiting": True}
    # What waits is not added again, so that a lost answer may be asked for again.
    query = {"dry_run": "true" if module.check_mode else "false"}
    items: Items = client.request("POST", path, body, query=query, idempotent=True).data["items"]
    return items


def _take_out(client: Client, path: str, going: Items, *, whole: bool) -> None:
    """All of the queue, or these. What was played meanwhile waits no more, and is passed over by the panel."""
    if going:
        client.request("DELETE", path, query=None if whole else {"ids": ",".join(item["id"] for item in going)})


def _with_lost(added: Items, before: Items, after: Items, files: Sequence[str]) -> Items:
    """What was added, where the first answer was lost and the second one says that it waits already."""
    known = {item["id"] for item in [*before, *added]}
    return [*added, *(item for item in after if item["id"] not in known and item["path"] in files)]


def _inserted(before: Items, added: Items) -> Items:
    if not added:
        return before
    first = added[0]["position"] - 1
    items = [*before[:first], *added, *before[first:]]
    return [{**item, "position": number} for number, item in enumerate(items, 1)]


def _waited(module: Module, client: Client, path: str, added: Items, after: Items) -> Items:
    """What waits once the node has looked at the files of the task, also at those that another one has added."""
    own = {item["id"] for item in added}
    # What was added and does not wait by now is done: it may have failed.
    unseen = {item["id"] for item in after if item["state"] == "sent" and item["path"] in module.params["files"]}
    if not own | unseen:
        return after
    _wait(client, path, own, own | unseen, module.params["wait_timeout"])
    return _waiting(client, path)


def _wait(client: Client, path: str, added: Collection[str], watched: Collection[str], seconds: float) -> None:
    """Until the node has looked at all that is watched. Raises JobFailed for what cannot be played, TimedOut."""
    deadline = time.monotonic() + seconds
    delay = POLL_FIRST
    while True:
        # In this order: what is done between the two is seen twice rather than not at all.
        unseen = [item for item in _waiting(client, path) if item["id"] in watched and item["state"] == "sent"]
        failed = [item for item in _done(client, path) if item["id"] in watched and item["state"] == "failed"]
        if failed:
            said = "; ".join(f"{item['path']} {item['message']}" for item in failed[:10])
            # All of the task or nothing.
            _take_out(client, path, [item for item in _waiting(client, path) if item["id"] in added], whole=False)
            raise errors.JobFailed(
                f"files: {said}. What else this task has added is taken out again; name files of the library."
            )
        if not unseen:
            return
        if time.monotonic() >= deadline:
            raise errors.TimedOut(
                f"{unseen[0]['path']} waits, but the AutoDJ has not looked at it after {seconds:g} seconds. See whether"
                " it runs; the request stands. Set wait to false where it is switched off on purpose."
            )
        time.sleep(delay)
        delay = min(delay * 1.5, POLL_MOST)
