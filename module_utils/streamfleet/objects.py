"""Modules for one object: a document of one, planned and applied by the panel. Check mode is the panel's dry run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import arguments, errors, results
from .client import COLLECTIONS
from .runtime import Module, run


def run_object_module(
    kind: str, fields: Mapping[str, Mapping[str, Any]], *, passwords: bool = False, labelled: bool = True
) -> None:
    """The whole of a module for one object of ``kind``.

    :param fields: argument spec of the object's fields, named as the API names them; the required ones are the key.
    :param passwords: whether the object has passwords that ``update_password`` is about.
    :param labelled: whether the object can have an ownership label.
    """
    spec = {
        **fields,
        **{name: option for name, option in arguments.STATE.items() if labelled or name != "label"},
        **(arguments.UPDATE_PASSWORD if passwords else {}),
        **arguments.CHECK,
    }
    module = Module(argument_spec=spec, supports_check_mode=True)
    run(module, lambda _module: _apply(module, kind, fields))


def _apply(module: Module, kind: str, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    wanted = module.given(fields)
    if module.params["state"] == "absent":
        key = [name for name, spec in fields.items() if spec.get("required")]
        wanted = {**{name: module.params[name] for name in key}, "state": "absent"}
    collection = COLLECTIONS[kind]
    try:
        answer = module.panel.apply(
            {collection: [wanted]},
            dry_run=module.check_mode,
            label=module.params.get("label"),
            update_password=module.params.get("update_password") or "on_create",
            return_objects=True,
        )
    except errors.Error as error:
        if module.predicts_without_panel(error):
            module.predict(error, operation="created", changes={}, nodes={}, **{kind: {}})
        raise results.without_prefix(error, f"{collection}[0]") from None
    return results.object_result(answer, kind, diff=bool(module._diff))
