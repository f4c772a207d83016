#!/usr/bin/env python3
"""Build the release bundle: the part of this repository that the panel host runs, as one tar file.

The worker runs playbooks/converge.yml out of it and the panel reads the engines' data; both read nothing else (no
inventory, no group_vars). The tar is deterministic: the same files give the same bytes and the same name, from a git
checkout as from an unpacked tarball.

Prints one line of JSON: {"name", "path", "version", "sha256"}; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What a release is made of, relative to the root. Folders are taken whole.
FILES = ("engines.yml", "LICENSE", "playbooks/converge.yml")
FOLDERS = ("action_plugins", "filter_plugins", "library", "module_utils")
ENGINES = "roles/*/engine"
SKIPPED_FOLDERS = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
SKIPPED_SUFFIXES = {".pyc", ".pyo", ".swp"}

#: The worker's Ansible: no inventory plugins to try, no facts, no colours, one kept-alive connection per node.
WORKER_CFG = """\
[defaults]
library = library
module_utils = module_utils
action_plugins = action_plugins
filter_plugins = filter_plugins
gathering = explicit
inject_facts_as_vars = false
interpreter_python = auto_silent
host_key_checking = true
retry_files_enabled = false
nocows = true
nocolor = true
display_skipped_hosts = false
result_format = yaml
timeout = 10

[inventory]
enable_plugins = ansible.builtin.yaml

[connection]
pipelining = true
"""


def version(root: Path) -> str:
    """The version of this repository, from the one place that holds it."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def members(root: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of the release, sorted by name. Raises FileNotFoundError where one is missing."""
    found: dict[str, bytes] = {"VERSION": f"{version(root)}\n".encode(), "ansible.cfg": WORKER_CFG.encode()}
    for name in FILES:
        found[name] = (root / name).read_bytes()
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    for folder in [*folders, *root.glob(ENGINES)]:
        for path in folder.rglob("*"):
            inside = path.relative_to(root)
            if path.is_file() and not SKIPPED_FOLDERS & set(inside.parts) and path.suffix not in SKIPPED_SUFFIXES:
                found[str(inside)] = path.read_bytes()
    yield from sorted(found.items())


def name_of(root: Path) -> str:
    """``<version>-<hash>``: the folder under /opt/streamfleet/releases."""
    digest = hashlib.sha256()
    for name, content in members(root):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return f"{version(root)}-{digest.hexdigest()[:16]}"


def archive(root: Path) -> bytes:
    """The bundle as bytes, the same for the same files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as bundle:
        folders: set[str] = set()
        for name, content in members(root):
            for parent in reversed(Path(name).parents):
                if str(parent) not in folders | {"."}:
                    folders.add(str(parent))
                    info = tarfile.TarInfo(str(parent))
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    info.uname = info.gname = "root"
                    bundle.addfile(info)
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            info.uname = info.gname = "root"
            bundle.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def build(root: Path, cache: Path) -> Path:
    """Write the bundle into ``cache`` unless it is there; returns its path."""
    target = cache / f"{name_of(root)}.tar.gz"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=cache, prefix="build-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(archive(root))
    Path(partial).chmod(0o644)
    Path(partial).replace(target)
    print(f"release: {target.name}, {target.stat().st_size / 1e3:.0f} kB", file=sys.stderr)
    return target


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "releases", help="where results are kept")
    parser.add_argument("--name-only", action="store_true", help="only say what the name would be; writes nothing")
    options = parser.parse_args(arguments)
    try:
        name = name_of(ROOT)
        path = options.cache.resolve() / f"{name}.tar.gz"
        digest = None
        if not options.name_only:
            path = build(ROOT, options.cache.resolve())
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        print(f"release: failed: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"name": name, "path": str(path), "version": version(ROOT), "sha256": digest}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
