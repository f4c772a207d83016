"""What a station has played, what it does not play, and who is on the air."""

from __future__ import annotations

from typing import Any

from . import errors
from .client import PAGE, route
from .runtime import Module, run

OPTIONS: dict[str, dict[str, Any]] = {
    "media_service": {"type": "str", "required": True},
    "since": {"type": "str"},
    "limit": {"type": "int", "default": 100},
}


def run_played_module() -> None:
    """The whole of the module."""
    run(Module(argument_spec=OPTIONS, supports_check_mode=True), _read)


def _read(module: Module) -> dict[str, Any]:
    slug, since, limit = (module.params[name] for name in OPTIONS)
    if not 1 <= limit <= PAGE:
        raise errors.BadOption(f"limit: {limit} is not from 1 to {PAGE}; use since to ask for less at once.")
    query = {"limit": limit, **({} if since is None else {"since": since})}
    client, path = module.panel.client, route("media_service", slug)
    played = client.request("GET", f"{path}/played", query=query).data["items"]
    return {
        "changed": False,
        "played": played,
        "passed_over": client.request("GET", f"{path}/passed-over").data,
        "air": client.request("GET", f"{path}/air").data,
    }
