"""A transfer of media services in the panel: begin it, find it, and ask for its steps."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from . import errors
from .runtime import Module, run

STEPS = ("hold", "resume", "switch", "undo", "back", "release", "finish")
OPTIONS: dict[str, dict[str, Any]] = {
    "step": {"type": "str", "choices": ["begin", "find", *STEPS], "required": True},
    "id": {"type": "int"},
    "services": {"type": "list", "elements": "str"},
    "customer": {"type": "str"},
    "node": {"type": "str"},
    "to": {"type": "str"},
}
#: Ways to say which services are meant.
WAYS = ("services", "customer", "node")


def run_transfer_module() -> None:
    """The whole of the module."""
    module = Module(
        argument_spec=OPTIONS,
        supports_check_mode=True,
        mutually_exclusive=[WAYS],
        required_if=[
            ("step", "begin", ["to"]),
            ("step", "begin", WAYS, True),
            ("step", "find", WAYS, True),
            *(("step", step, ["id"]) for step in STEPS),
        ],
    )
    run(module, _do)


def _do(module: Module) -> dict[str, Any]:
    asked, client = module.params, module.panel.client
    if asked["step"] == "find":
        return {"changed": False, "transfer": _found(module)}
    if asked["step"] == "begin":
        way = next(name for name in WAYS if asked[name] is not None)
        body = {way: asked[way], "to": asked["to"], "dry_run": module.check_mode}
        # Found again where it is begun: a lost answer may be asked for once more.
        answer = client.request("POST", "/transfers", body, idempotent=True).data
        return {"changed": bool(answer["new"]), "transfer": answer["transfer"]}
    if module.check_mode:
        return {"changed": True, "transfer": None}
    path = f"/transfers/{asked['id']}/steps"
    answer = client.request("POST", path, {"step": asked["step"]}, idempotent=True).data
    return {"changed": True, "transfer": answer["transfer"]}


def _found(module: Module) -> dict[str, Any] | None:
    """The one transfer that these services are in. Raises Error where there are several."""
    asked = module.params
    if asked["services"] is not None:
        wanted = [{"media_service": slug} for slug in asked["services"]]
    else:
        wanted = [{name: asked[name]} for name in WAYS[1:] if asked[name] is not None]
    found: dict[int, dict[str, Any]] = {}
    for query in wanted:
        for item in module.panel.client.request("GET", f"/transfers?{urlencode(query)}").data["items"]:
            found[item["id"]] = item
    if len(found) > 1:
        each = "; ".join(", ".join(one["slug"] for one in item["services"]) for item in found.values())
        raise errors.Conflict(
            f"These are services of {len(found)} transfers: {each}. Name those of one of them."
        )
    return next(iter(found.values()), None)
