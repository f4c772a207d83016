"""What a module returns, made of what the panel answered: changed, results per object, a diff grouped by object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import errors
from .documents import MASK, Sources, is_secret, masked


def diff_entry(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The diff of one object as Ansible prints it, or None if the object is unchanged. Secrets stay masked.

    ``changes`` maps field → {before, after}; a created object has no before, a deleted one no after.
    """
    action, title = result["action"], f"{result['kind'].replace('_', ' ')} {result['key']}"
    if action == "unchanged":
        return None
    changes = result.get("changes") or {}
    before = {name: _shown(name, change.get("before")) for name, change in changes.items()}
    after = {name: _shown(name, change.get("after")) for name, change in changes.items()}
    for name, value in before.items():
        if (
            action == "updated" and value == MASK == after[name]
        ):  # two masks look alike, and a diff of them would be empty
            after[name] = f"{MASK} (changed)"
    return {
        "before_header": title,
        "after_header": title,
        "before": "" if action == "created" else before or "present\n",
        "after": "" if action == "deleted" else after or "present\n",
    }


def diff_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The diffs of all changed objects, in their order."""
    return [entry for entry in map(diff_entry, results) if entry is not None]


def apply_result(answer: Mapping[str, Any], *, diff: bool, sources: Sources | None = None) -> dict[str, Any]:
    """The module's result for the answer to an apply."""
    # A job's result and a synchronous answer have the same shape; masked again, in case a panel of another version
    # forgot.
    results = masked_results(answer["results"])
    if sources is not None:
        results = [{**item, "path": sources.locate(str(item.get("path") or ""))} for item in results]
    data = {
        "changed": bool(answer["changed"]),
        "summary": dict(answer["summary"]),
        "results": results,
        "nodes": dict(answer.get("nodes") or {}),
    }
    if diff:
        data["diff"] = diff_of(results)
    return data


def object_result(answer: Mapping[str, Any], kind: str, *, diff: bool) -> dict[str, Any]:
    """The module's result for an apply of one object: what was done, its changes, and itself under the kind's name."""
    # What goes along with the object (a customer's services) comes after it.
    item, *along = masked_results(answer["results"])
    data = {
        "changed": bool(answer["changed"]),
        # Not "action": callbacks use that key for the module's name.
        "operation": item["action"],
        "changes": item.get("changes") or {},
        kind: item.get("object") or {},
        "nodes": dict(answer.get("nodes") or {}),
    }
    if diff:
        data["diff"] = diff_of([item, *along])
    return data


def failure(error: errors.Error, sources: Sources | None = None) -> dict[str, Any]:
    """The module's failure for an error: ``msg`` for people, ``errors``, ``code`` and ``status`` for programs."""
    if sources is not None and error.errors:
        located = [
            errors.FieldError(sources.locate(item.path), item.message, item.value, item.fix) for item in error.errors
        ]
        error = type(error)(error.message, code=error.code, status=error.status, errors=located)
    data: dict[str, Any] = {"msg": str(error), "errors": [item.as_dict() for item in error.errors]}
    if error.code:
        data["code"] = error.code
    if error.status is not None:
        data["status"] = error.status
    return data


def without_prefix(error: errors.Error, prefix: str) -> errors.Error:
    """``error`` with ``customers[0].`` taken off its paths: whoever wrote one object thinks of its options."""
    located = [
        errors.FieldError(item.path.removeprefix(f"{prefix}.").removeprefix(prefix), item.message, item.value, item.fix)
        for item in error.errors
    ]
    return type(error)(error.message, code=error.code, status=error.status, errors=located)


def masked_results(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results with the secrets of ``changes`` and ``object`` masked."""
    return [
        {
            **item,
            **({"changes": {n: _masked_change(n, c) for n, c in (item.get("changes") or {}).items()}}),
            **({"object": masked(item["object"])} if item.get("object") else {}),
        }
        for item in results
    ]


def _masked_change(name: str, change: Mapping[str, Any]) -> dict[str, Any]:
    return {"before": _shown(name, change.get("before")), "after": _shown(name, change.get("after"))}


def _shown(name: str, value: Any) -> Any:
    return MASK if value is not None and is_secret(name) else masked(value)
