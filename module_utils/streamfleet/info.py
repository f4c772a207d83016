"""Modules that only read: one object by its key, or a list by filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .client import COLLECTIONS, Panel
from .runtime import Module, run

SEARCH: dict[str, dict[str, Any]] = {"search": {"type": "str"}, "label": {"type": "str"}}


def run_info_module(
    kind: str, key: str, filters: Mapping[str, Mapping[str, Any]], *, within: Sequence[str] = ()
) -> None:
    """The whole of an info module for ``kind``.

    :param key: name of the key option; given, at most one object is returned.
    :param filters: argument spec of the filters, named as the API's query parameters; lists have commas between there.
    :param within: names of the options that are the key's parts before ``key``; without it they are filters, too.
    """
    credentials: dict[str, dict[str, Any]] = {}
    if kind in ("media_service", "dj"):
        # Not a secret but the wish to see some.
        credentials = {"credentials": {"type": "bool", "default": False, "no_log": False}}
    module = Module(
        argument_spec={
            **{name: {"type": "str"} for name in within},
            key: {"type": "str", "no_log": False},
            **SEARCH,
            **filters,
            **credentials,
        },
        supports_check_mode=True,
        mutually_exclusive=[(key, name) for name in (*SEARCH, *filters) if "default" not in filters.get(name, {})],
        required_by={key: list(within)},
    )
    run(module, lambda _module: _read(module, kind, [*within, key], [*SEARCH, *within, *filters]))


def _read(module: Module, kind: str, key: Sequence[str], filters: Sequence[str]) -> dict[str, Any]:
    panel = module.panel
    if module.params[key[-1]] is not None:
        found = panel.get(kind, *(module.params[name] for name in key))
        items = [] if found is None else [found]
    else:
        given = {name: module.params[name] for name in filters if module.params[name] is not None}
        query = {name: ",".join(value) if isinstance(value, list) else value for name, value in given.items()}
        items = list(panel.items(kind, query))
    if module.params.get("credentials"):
        items = [_with_credentials(panel, kind, key, item) for item in items]
    return {"changed": False, COLLECTIONS[kind]: items}


def _with_credentials(panel: Panel, kind: str, key: Sequence[str], item: dict[str, Any]) -> dict[str, Any]:
    data = panel.credentials(kind, *(str(item[name]) for name in key))
    return {**item, "credentials": data["credentials"], "connection": data["connection"]}
