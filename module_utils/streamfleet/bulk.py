"""streamfleet_apply: a whole document in one request."""

from __future__ import annotations

from typing import Any

from . import arguments, documents, errors, results
from .runtime import Module

OPTIONS: dict[str, dict[str, Any]] = {
    "document": {"type": "dict"},
    "files": {"type": "list", "elements": "path"},
    "label": {"type": "str"},
    "prune": {"type": "bool", "default": False},
    "max_delete": {"type": "int", "default": 10},
    "return_unchanged": {"type": "bool", "default": False},
    "job_timeout": {"type": "int", "default": 1800},
    **arguments.UPDATE_PASSWORD,
    **arguments.CHECK,
}


def run_apply_module() -> None:
    """The whole of the module."""
    module = Module(
        argument_spec=OPTIONS,
        documents=["document"],
        supports_check_mode=True,
        required_one_of=[("document", "files")],
        required_if=[("prune", True, ["label"])],
    )
    sources: documents.Sources | None = None
    try:
        inline = module.document("document")
        parts = [("", inline)] if inline is not None else []
        document, sources = documents.merge(parts + documents.read_files(module.params["files"] or []))
        answer = module.panel.apply(
            document,
            dry_run=module.check_mode,
            label=module.params["label"],
            prune=module.params["prune"],
            max_delete=module.params["max_delete"],
            update_password=module.params["update_password"],
            job_timeout=module.params["job_timeout"],
        )
    except errors.Error as error:
        if module.predicts_without_panel(error):
            module.predict(error, summary={}, results=[], nodes={})
        module.fail(error, sources)
    result = results.apply_result(answer, diff=bool(module._diff), sources=sources)
    if not module.params["return_unchanged"]:
        result["results"] = [item for item in result["results"] if item["action"] != "unchanged"]
    module.exit_json(**result)
