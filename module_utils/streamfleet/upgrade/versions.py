"""Versions of releases, and what they are ordered by."""

from __future__ import annotations

import re

from .errors import UpgradeError

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:[.-]?(dev|a|b|rc)[.-]?(\d+))?")
_NAME = re.compile(r"(.+)-[0-9a-f]{16}")
#: What comes before the release itself, in order.
_STAGES = ("dev", "a", "b", "rc", "")


def version_of(folder: str) -> str:
    """The version in a release's folder, ``<version>-<16 hexadecimal digits>``. Raises UpgradeError."""
    name = folder.rstrip("/").rpartition("/")[2]
    found = _NAME.fullmatch(name)
    if found is None:
        raise UpgradeError(f"{folder} is not called as a release is, <version>-<16 digits>: run install.yml")
    return found[1]


def order(version: str) -> tuple[int, int, int, int, int]:
    """A key that sorts versions. Raises UpgradeError for what is none."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise UpgradeError(f"{version!r} is no version: use one as 1.2.3 or 1.2.3-dev0")
    major, minor, patch, stage, number = found.groups()
    return int(major), int(minor), int(patch), _STAGES.index(stage or ""), int(number or 0)


def is_older(version: str, than: str) -> bool:
    """Whether going from ``than`` to ``version`` is a downgrade."""
    return order(version) < order(than)
