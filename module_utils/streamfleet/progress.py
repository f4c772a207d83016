"""What goes on by itself on a host is asked for again until it is through. For actions, which run on the controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def follow(
    ask: Callable[[], dict[str, Any]], words: Callable[[Mapping[str, Any]], str], say: Callable[[str], object]
) -> dict[str, Any]:
    """The first result of ``ask`` that failed, or whose ``status`` has no ``words`` for people: it is through.

    What is different from the words before is said.
    """
    told = ""
    while True:
        result = ask()
        line = "" if result.get("failed") else words(result.get("status") or {})
        if not line:
            return result
        if line != told:
            say(line)
        told = line


def of_a_copy(host: str, status: Mapping[str, Any]) -> str:
    """Words for a copy's status; empty where none goes on."""
    if not status.get("running"):
        return ""
    return f"{host}: {status['step']} {status['percent']:.0f} % {status['words']}".rstrip()
