"""What a change of names makes of an inventory's files: line by line, so that nothing else of them changes. Pure.

Only YAML is understood. Where a name is not written as such (it is made of another variable, or the file is INI or
encrypted), the operator is told what to write.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from .names import VARIABLES, Rename, holds, replaced

_LINE = re.compile(r"(?P<indent> *)(?P<key>streamfleet_\w+)(?P<colon> *:[ \t]*)(?P<value>.*)")
#: These hold addresses by which hosts are reached, names of which the old one stays beside the new one as long as it is
#: served, and what a change of names adds itself.
_OTHERS = {
    "streamfleet_node_address",
    "streamfleet_certificates_acme_proxied",
    *(former for _name, former in VARIABLES.values()),
}


def edited(text: str, renames: Sequence[Rename], untils: Mapping[str, str]) -> tuple[str, set[Rename]]:
    """The file's text after the renames, and those of them that it has the variable of.

    ``untils``: by old name the last day on which it is served.
    """
    lines = text.splitlines(keepends=True)
    done: set[Rename] = set()
    for rename in renames:
        lines, found = _one(lines, rename, untils[rename.old])
        if found:
            done.add(rename)
    return "".join(lines), done


def released(text: str, names: Iterable[str]) -> str:
    """The file's text without these former names."""
    lines = text.splitlines(keepends=True)
    for name in names:
        lines = _without(lines, name, [former for _name, former in VARIABLES.values()])
    return "".join(lines)


def difference(files: Mapping[str, tuple[str, str]]) -> str:
    """A unified diff for ``patch -p1``; ``files``: path → text before and after."""
    parts: list[str] = []
    for path, (before, after) in sorted(files.items()):
        parts += difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}"
        )
    return "".join(part if part.endswith("\n") else f"{part}\n\\ No newline at end of file\n" for part in parts)


def by_hand(rename: Rename, until: str) -> str:
    """What to write where no file has the variable as such."""
    variable, former = VARIABLES[rename.kind]
    return f'{rename.host}: {variable}: {rename.new}, {former}: [{{host: {rename.old}, until: "{until}"}}]'


def _one(lines: list[str], rename: Rename, until: str) -> tuple[list[str], bool]:
    variable, former = VARIABLES[rename.kind]
    new: list[str] = []
    places: list[tuple[int, str]] = []
    for line in lines:
        found = _LINE.match(line)
        if found is None or found["key"] in _OTHERS:
            new.append(line)
            continue
        value = replaced(found["value"], rename.old, rename.new)
        new.append(f"{found['indent']}{found['key']}{found['colon']}{value}" + ("\n" if line.endswith("\n") else ""))
        if found["key"] == variable and holds(value, rename.new):
            places.append((len(new), found["indent"]))
    # From below, so that the places above stay where they are.
    for place, indent in reversed(places):
        new = _keep(new, place, indent, former, rename, until)
    return new, bool(places)


def _keep(lines: list[str], place: int, indent: str, former: str, rename: Rename, until: str) -> list[str]:
    """Have the old name among the former ones of the block that ``place`` is in, and the new one no more."""
    first, last = _block(lines, place - 1, indent)
    head, block, tail = lines[:first], lines[first:last], lines[last:]
    entry = f'{indent}  - {{host: {rename.old}, until: "{until}"}}\n'
    at = next((n for n, line in enumerate(block) if re.match(rf"{indent}{former}\s*:", line)), None)
    if at is None:
        where = place - first
        if not block[where - 1].endswith("\n"):
            block[where - 1] += "\n"
        return [*head, *block[:where], f"{indent}{former}:\n", entry, *block[where:], *tail]
    # What is there stays, with the day that it says.
    if not any(holds(line, rename.old) and not _LINE.match(line) for line in block[at:]):
        block[at] = f"{indent}{former}:\n"
        block.insert(at + 1, entry)
    return [*head, *_without(block, rename.new, [former]), *tail]


def _block(lines: Sequence[str], place: int, indent: str) -> tuple[int, int]:
    """From where to where the mapping reaches that the line ``place`` is a key of."""

    def outside(line: str) -> bool:
        text = line.strip()
        return (bool(text) and not text.startswith("#") and not line.startswith(indent)) or text == "---"

    first, last = place, place + 1
    while first > 0 and not outside(lines[first - 1]) and _deep(lines[first - 1]) >= len(indent):
        first -= 1
    while last < len(lines) and not outside(lines[last]) and _deep(lines[last]) >= len(indent):
        last += 1
    return first, last


def _deep(line: str) -> int:
    return len(line) - len(line.lstrip()) if line.strip() else 1_000


def _without(lines: Sequence[str], name: str, formers: Sequence[str]) -> list[str]:
    """Lines without the entries of the former name; a variable that has none any more goes, too."""
    kept: list[str] = []
    inside = False
    for line in lines:
        key = re.match(r"\s*(\w+)\s*:", line)
        if key:
            inside = key[1] in formers
        if not (inside and line.lstrip().startswith("- ") and holds(line, name)):
            kept.append(line)
    out: list[str] = []
    for number, line in enumerate(kept):
        key = re.match(r"(\s*)(\w+)\s*:\s*$", line)
        following = kept[number + 1] if number + 1 < len(kept) else ""
        empty = not following.lstrip().startswith("- ") or _deep(following) < _deep(line)
        if not (key and key[2] in formers and empty):
            out.append(line)
    return out
