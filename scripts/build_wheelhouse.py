#!/usr/bin/env python3
"""Build the wheelhouse: everything the panel and the worker need, as wheels for a node's Python, in one tar file.

Nodes need no package index: this runs on the controller, takes requirements/panel.lock (exact versions and hashes),
downloads the wheels for the node's Python and processor, builds the panel's own wheel beside them, and packs both with
a pip to install them and a requirements file that pins every one of them by hash. The result is cached by key: the same
lock, panel sources, Python and processor give the same key, and a second call does nothing.

Prints one line of JSON: {"key", "path", "venv"}; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path("requirements/panel.lock")
DEV_LOCK = Path("requirements/dev.lock")
#: glibc 2.28 is older than every supported Debian's; the lower levels are what most projects publish.
MANYLINUX = ("2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
ARCHITECTURES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13")
#: Raise this when the layout of the tar changes, so that old caches are not taken for new ones.
LAYOUT = 2


class WheelhouseError(Exception):
    """Building failed; the text says what and how to go on."""


def progress(message: str) -> None:
    """Tell a person what is happening."""
    print(f"wheelhouse: {message}", file=sys.stderr, flush=True)


def panel_sources(root: Path) -> Iterator[Path]:
    """Every file that goes into the panel's wheel, sorted."""
    yield root / "panel" / "pyproject.toml"
    for path in sorted((root / "panel" / "streamfleet_panel").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield path


def version(root: Path) -> str:
    """The version of this repository, from the one place that holds it."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def pinned_pip(root: Path) -> str:
    """The lock's lines for pip itself: version and hashes."""
    lines = (root / DEV_LOCK).read_text().splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith("pip==")), None)
    if start is None:
        raise WheelhouseError(f"{DEV_LOCK}: pip is not locked; run 'make lock'")
    end = start
    while lines[end].endswith("\\"):
        end += 1
    return "\n".join(lines[start : end + 1]) + "\n"


def key_of(root: Path, python: str, arch: str) -> str:
    """Sixteen hex digits that change with anything that changes the wheelhouse."""
    digest = hashlib.sha256(f"{LAYOUT}\0{python}\0{arch}\0{pinned_pip(root)}".encode())
    digest.update((root / LOCK).read_bytes())
    for path in panel_sources(root):
        digest.update(f"\0{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def locked(root: Path, python: str, arch: str) -> str:
    """The lock's lines whose markers hold on the node. (pip would judge the markers by the Python that it runs on.)"""
    environment = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": arch,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    chosen: list[str] = []
    keep = False
    for line in (root / LOCK).read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            marker = Requirement(line.rstrip(" \\")).marker
            keep = marker is None or marker.evaluate(environment)
            line = re.sub(r"\s;.*?(\s\\)?$", r"\1", line)
        if keep:
            chosen.append(line)
    return "\n".join(chosen) + "\n"


def run(command: list[str], cwd: Path) -> None:
    """Run ``command`` with its output on standard error. Raises WheelhouseError."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, cwd=cwd, env=environment, stdout=sys.stderr, check=False)
    if result.returncode:
        raise WheelhouseError(f"'{' '.join(command[:6])} …' ended with {result.returncode}; its own message is above")


def download(root: Path, into: Path, python: str, arch: str) -> None:
    """Download the locked wheels and pip into ``into``; hashes are checked."""
    lock = into.parent / "node.lock"
    lock.write_text(locked(root, python, arch) + pinned_pip(root))
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes"]
    command += ["--implementation", "cp", "--python-version", python, "--abi", f"cp{python.replace('.', '')}"]
    command += ["--abi", "abi3", "--abi", "none"]
    for level in MANYLINUX:
        command += ["--platform", f"manylinux_{level}_{arch}"]
    command += ["--platform", f"manylinux2014_{arch}", "--platform", "any", "--dest", str(into)]
    run([*command, "-r", str(lock)], root)


def build_panel(root: Path, into: Path) -> None:
    """Build the panel's wheel into ``into`` from a copy of its sources."""
    with tempfile.TemporaryDirectory(prefix="streamfleet-wheel-") as scratch:
        copy = Path(scratch) / "panel"
        for path in panel_sources(root):
            target = copy / path.relative_to(root / "panel")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "--no-index"]
        os.environ.setdefault("SOURCE_DATE_EPOCH", "1735689600")
        run([*command, "--wheel-dir", str(into), str(copy)], root)


def requirements(wheels: Path) -> str:
    """One line per wheel, name, version and hash: what pip installs on the node, and nothing else."""
    lines = []
    for path in sorted(wheels.glob("*.whl")):
        name, number = path.name.split("-")[:2]
        if name == "pip":
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{name.replace('_', '-')}=={number} --hash=sha256:{digest}")
    return "\n".join(lines) + "\n"


def pack(source: Path, target: Path) -> None:
    """Write ``source`` as a tar file: sorted, owned by root, without times, so that it is the same every time."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mtime = 0
        info.mode = 0o755 if info.isdir() else 0o644
        return info

    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(source.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(source)), recursive=False, filter=plain)


def build(root: Path, cache: Path, python: str, arch: str) -> Path:
    """Build the wheelhouse or find it in the cache. Returns the tar file's path. Raises WheelhouseError."""
    key = key_of(root, python, arch)
    target = cache / f"{key}.tar"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as scratch:
            tree = Path(scratch) / "tree"
            wheels = tree / "wheels"
            wheels.mkdir(parents=True)
            # Most edits touch the panel only: its dependencies are kept by themselves.
            downloads = downloaded(root, cache, python, arch)
            for path in downloads.glob("*.whl"):
                os.link(path, wheels / path.name)
            progress("building the panel's wheel")
            build_panel(root, wheels)
            (tree / "requirements.txt").write_text(requirements(wheels))
            (tree / "VERSION").write_text(version(root) + "\n")
            partial = Path(scratch) / "wheelhouse.tar"
            pack(tree, partial)
            partial.replace(target)
    progress(f"ready: {target.stat().st_size / 1e6:.0f} MB")
    return target


def downloaded(root: Path, cache: Path, python: str, arch: str) -> Path:
    """The folder with the locked wheels for this Python and processor, downloaded once per lock."""
    digest = hashlib.sha256(f"{python}\0{arch}\0{pinned_pip(root)}".encode() + (root / LOCK).read_bytes())
    folder = cache / f"downloads-{digest.hexdigest()[:16]}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(prefix="download-", dir=cache) as scratch:
        wheels = Path(scratch) / "wheels"
        wheels.mkdir()
        progress(f"downloading wheels for Python {python} on {arch}")
        download(root, wheels, python, arch)
        try:
            wheels.rename(folder)
        except OSError:
            # Another build of the same lock was quicker; its wheels are the same.
            if not folder.exists():
                raise
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", choices=PYTHONS, default="3.11", help="the node's Python (Debian 12: 3.11)")
    parser.add_argument("--arch", choices=ARCHITECTURES, default="x86_64", help="the node's processor")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "wheelhouse", help="where results are kept")
    parser.add_argument("--key-only", action="store_true", help="only say what the key would be; writes nothing")
    options = parser.parse_args(arguments)
    try:
        key = key_of(ROOT, options.python, options.arch)
        path = options.cache / f"{key}.tar"
        if not options.key_only:
            path = build(ROOT, options.cache.resolve(), options.python, options.arch)
    except (OSError, WheelhouseError) as error:
        progress(f"failed: {error}")
        return 1
    print(json.dumps({"key": key, "path": str(path), "venv": f"{version(ROOT)}-{key}"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
