"""API tokens: made once and shown once, told apart by their name within an account and scope."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from . import errors
from .http import segment
from .runtime import Module, run

OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "scope": {"type": "str", "default": "account"},
    "account": {"type": "str"},
    "expires_at": {"type": "str"},
    "replace": {"type": "bool", "default": False},
}


def run_token_module() -> None:
    """The whole of the module."""
    module = Module(argument_spec=OPTIONS, supports_check_mode=True)
    run(module, _ensure)


def _ensure(module: Module) -> dict[str, Any]:
    params = module.params
    if params["scope"] != "account" and params["account"] is not None:
        raise errors.BadOption(
            f"account: a token of scope {params['scope']!r} belongs to a machine and to no account. Leave account out."
        )
    owner = params["account"]
    if params["scope"] == "account" and owner is None:
        account = module.panel.client.request("GET", "/whoami").data["account"]
        if account is None:
            raise errors.BadOption("account is not set, and the token in use belongs to a machine. Set account.")
        owner = account["username"]
    existing = [item for item in _tokens(module) if _matches(item, params["name"], params["scope"], owner)]
    valid = [item for item in existing if not _expired(item)]
    keep = params["state"] == "present" and not params["replace"] and bool(valid)
    doomed = [] if keep else existing
    create = params["state"] == "present" and not keep
    result: dict[str, Any] = {
        "changed": bool(doomed) or create,
        "revoked": [item["id"] for item in doomed],
        "diff": {"before": _shown(existing), "after": _shown(valid if keep else [params] if create else [])},
    }
    if keep:
        result["info"] = valid[0]
    if module.check_mode:
        return result
    if create:
        # First the new one, then the old ones: whoever dies in between has one token too many, not none.
        answer = module.panel.client.request(
            "POST",
            "/tokens",
            {
                "name": params["name"],
                "scope": params["scope"],
                **({"account": owner} if params["scope"] == "account" else {}),
                **({"expires_at": params["expires_at"]} if params["expires_at"] is not None else {}),
            },
        ).data
        result["token"] = answer["token"]
        result["info"] = {name: value for name, value in answer.items() if name != "token"}
    for item in doomed:
        module.panel.client.request("DELETE", f"/tokens/{segment(item['id'])}")
    return result


def _tokens(module: Module) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        data = module.panel.client.request("GET", "/tokens", query={"limit": 1000, "offset": len(found)}).data
        found += data["items"]
        if not data["items"] or len(found) >= int(data["count"]):
            return found


def _matches(item: dict[str, Any], name: str, scope: str, owner: str | None) -> bool:
    return item["name"] == name and item["scope"] == scope and (scope != "account" or item.get("account") == owner)


def _expired(item: dict[str, Any]) -> bool:
    text = item.get("expires_at")
    return text is not None and datetime.fromisoformat(text) <= datetime.now(UTC)


def _shown(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["name"]: {"scope": item["scope"], "expires_at": item.get("expires_at")} for item in items}
