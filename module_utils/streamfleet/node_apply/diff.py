"""Diffs that show no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .files import Found, Target

MASK = "********"
HIDDEN = "(not shown: it holds credentials)\n"
#: More than so many files are counted, not shown.
MOST = 100


def of(target: Target | None, path: str, found: Found, secrets: Iterable[str]) -> dict[str, str]:
    """One entry of Ansible's diff. ``target`` None: the file is removed."""
    before = _text(found.link.encode() if found.link is not None else found.content)
    after = "" if target is None else _text(target.link.encode() if target.link is not None else target.content)
    kind, mask = ("config", None) if target is None else (target.kind, target.mask)
    if target is None or kind == "key":
        # Of a file that goes, nobody says any more what in it is secret.
        before, after = (HIDDEN if before else ""), (HIDDEN if after else "")
        if before and after:
            after = f"{HIDDEN[:-1]} changed\n"
    return {
        "before_header": path,
        "after_header": path,
        "before": masked(before, secrets, mask),
        "after": masked(after, secrets, mask),
    }


def masked(text: str, secrets: Iterable[str], pattern: str | None = None) -> str:
    """``text`` without the secrets and without what the pattern matches."""
    if pattern:
        text = re.sub(pattern, MASK, text)
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _text(content: bytes | None) -> str:
    return (content or b"").decode("utf-8", "replace")
