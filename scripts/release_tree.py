#!/usr/bin/env python3
"""Put the tree of a release into a folder, out of this repository's history, as it was when it was made.

    python scripts/release_tree.py 0.1.0 /tmp/streamfleet-0.1.0

Upgrades are tested from it, and whoever needs the release can build it again there, with that tree's own README.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
RELEASES = ROOT / "changelogs" / "releases.yml"


class NoSuchRelease(Exception):
    """A release that cannot be had; the message names the cause and the fix."""


def releases() -> dict[str, str]:
    """Versions, and the commit that each was made from."""
    found: dict[str, str] = yaml.safe_load(RELEASES.read_text())
    return found


def unpack(version: str, folder: Path) -> None:
    """Make ``folder``, with the tree of a release. Raises NoSuchRelease, and then makes nothing."""
    known = releases()
    if version not in known:
        raise NoSuchRelease(f"{version!r} is no release. Use one of {', '.join(sorted(known))}.")
    if folder.exists():
        raise NoSuchRelease(f"{folder} is there already. Name a folder that is not.")
    done = subprocess.run(["git", "archive", known[version]], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        fix = "Fetch the whole history: git fetch --unshallow"
        raise NoSuchRelease(f"{version}: commit {known[version]} is not to be had: {said}. {fix}")
    folder.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--directory", folder], input=done.stdout, check=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="as in changelogs/releases.yml")
    parser.add_argument("folder", type=Path, help="which is made")
    options = parser.parse_args()
    try:
        unpack(options.version, options.folder)
    except NoSuchRelease as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
