"""A transfer of media services in the panel: begin it, find it, and ask for its steps."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlencode

from . import errors
from .runtime import Module, run

STEPS = ("hold", "resume", "switch", "undo", "back", "release", "finish")
OPTIONS: dict[str, dict[str, Any]] = {
    "step": {"type": "str", "choices": ["begin", "find", "look", *STEPS], "required": True},
    "id": {"type": "int"},
    "hold": {"type": "int"},
    "force": {"type": "bool", "default": False},
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
            *(("step", step, ["id"]) for step in ("look", *STEPS)),
            *(("step", step, ["hold"]) for step in ("switch", "back", "resume")),
        ],
    )
    run(module, _do)


def _do(module: Module) -> dict[str, Any]:
    asked, client = module.params, module.panel.client
    if asked["step"] == "find":
        found = _found(module)
        return {"changed": False, "transfer": found, "beside": _beside(module, found), "names": names_of(found)}
    if asked["step"] == "look":
        try:
            return {"changed": False, "transfer": client.request("GET", f"/transfers/{asked['id']}").data}
        except errors.NotFound:
            return {"changed": False, "transfer": None}
    if asked["step"] == "begin":
        way = next(name for name in WAYS if asked[name] is not None)
        body = {way: asked[way], "to": asked["to"], "dry_run": module.check_mode}
        # Found again where it is begun: a lost answer may be asked for once more.
        answer = client.request("POST", "/transfers", body, idempotent=True).data
        return {"changed": bool(answer["new"]), "transfer": answer["transfer"]}
    if module.check_mode:
        return {"changed": True, "transfer": None}
    path = f"/transfers/{asked['id']}/steps"
    body = {"step": asked["step"]}
    if asked["hold"] is not None:
        body["hold"] = asked["hold"]
    if asked["force"]:
        body["force"] = True
    answer = client.request("POST", path, body, idempotent=True).data
    return {"changed": True, "transfer": answer["transfer"]}


def _found(module: Module) -> dict[str, Any] | None:
    """The one transfer that these services are in. Raises Error where there are several, or one of them is in none."""
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
        raise errors.Conflict(f"These are services of {len(found)} transfers: {each}. Name those of one of them.")
    one = next(iter(found.values()), None)
    known = {service["slug"] for service in one["services"]} if one else set()
    if one and (stray := sorted(set(asked["services"] or []) - known)):
        raise errors.Conflict(
            f"{', '.join(stray)}: no transfer of it is under way. Name the services of one transfer:"
            f" {', '.join(sorted(known))}"
        )
    return one


def _beside(module: Module, found: dict[str, Any] | None) -> list[str]:
    """Services of the transfer that nobody has named: what is done to it is done to them, too."""
    if found is None or module.params["node"] is not None:
        return []
    slugs, customer = module.params["services"], module.params["customer"]
    return sorted(
        item["slug"]
        for item in found["services"]
        if (item["slug"] not in slugs if slugs is not None else item["customer"] != customer)
    )


def names_of(found: dict[str, Any] | None) -> list[str]:
    """Names of the customers' own that lead to the former node still, as this host finds them."""
    if found is None:
        return []
    places = _addresses(found["source"]["address"]) | _addresses(found["source"]["stream_host"])
    names = sorted({name for item in found["services"] for name in item["domains"]})
    return [name for name in names if _addresses(name) & places]


def _addresses(name: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
