"""A program that the operator brings as an archive: is it the one that was meant, and can the node use it? Unpack it.

Every version has a folder of its own beside the others, and ``current`` there links to the one that units start with.
"""

from __future__ import annotations

import lzma
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .vendor_file import VendorFileError, judge_program, verify

#: A vendor's archive has some hundred files and some ten megabytes.
MOST_FILES, MOST_BYTES = 5_000, 512 * 1024 * 1024
#: In a folder that is whole; holds the archive's checksum.
MARKER = ".complete"
PROBE_SECONDS = 30


@dataclass(frozen=True)
class Archive:
    """What the operator brings. ``program``: its path in the archive. ``option``: what the checksum was said with."""

    path: Path
    checksum: str
    program: str
    machine: str
    option: str = "checksum"


def look(archive: Archive) -> dict[str, str]:
    """Path below the program's folder → name in the archive. Raises VendorFileError for what is not to be used."""
    verify(archive.path, archive.checksum, archive.option)
    try:
        with tarfile.open(archive.path) as tar:
            files = members(tar, archive.program)
            program = tar.extractfile(files[archive.program])
            head = program.read(64) if program else b""
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise VendorFileError(f"it is not a tar archive that can be read: {error}") from None
    try:
        judge_program(head, archive.machine)
    except VendorFileError as error:
        raise VendorFileError(f"{archive.program}: {error}") from None
    return files


def members(tar: tarfile.TarFile, program: str) -> dict[str, str]:
    """The same of an open archive. Raises VendorFileError for what is not a plain archive with that program."""
    found: dict[str, str] = {}
    size = 0
    for member in tar:
        name = posixpath.normpath(member.name)
        if name.startswith(("/", "..")) or not name.isprintable():
            raise VendorFileError(f"it holds {member.name!r}, which lies outside of it")
        size += member.size
        if len(found) >= MOST_FILES or size > MOST_BYTES:
            raise VendorFileError(f"it holds more than {MOST_FILES} files or {MOST_BYTES // 1024**2} MiB")
        if member.isdir():
            continue
        if not member.isreg():
            raise VendorFileError(f"it holds {member.name!r}, which is neither a file nor a folder")
        found[name] = member.name
    if program in found:
        return found
    tops = {name.partition("/")[0] for name in found}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    if not top or f"{top}{program}" not in found:
        raise VendorFileError(f"it holds no {program}. Is it the archive of that program for Linux?")
    return {name.removeprefix(top): inside for name, inside in found.items()}


def is_installed(target: Path) -> bool:
    """Whether it is there, whole."""
    return (target / MARKER).is_file()


def install(archive: Archive, target: Path, probe: Sequence[str] = ()) -> None:
    """Unpack to ``target``, which appears whole or not at all; other versions that nothing uses go, and the archive.

    ``probe``: arguments with which the program must run and end well, as a user without rights, before it appears.
    Raises VendorFileError, and OSError where there is no room.
    """
    before = os.umask(0o022)
    try:
        files = look(archive)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as scratch:
            Path(scratch).chmod(0o755)
            tree = Path(scratch) / "tree"
            tree.mkdir()
            _unpack(archive, files, tree)
            if probe:
                _try(tree / archive.program, probe)
            (tree / MARKER).write_text(f"{archive.checksum}\n")
            os.sync()
            if target.exists():
                shutil.rmtree(target)
            tree.rename(target)
    finally:
        os.umask(before)
    forget(target)
    archive.path.unlink()


def _unpack(archive: Archive, files: dict[str, str], tree: Path) -> None:
    with tarfile.open(archive.path) as tar:
        for name, inside in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(inside)
            if source is None:
                raise VendorFileError(f"it holds {inside!r} twice, and not as a file")
            with path.open("wb") as copy:
                shutil.copyfileobj(source, copy)
            # Owner and rights are the node's business, not the archive's.
            path.chmod(0o755 if name == archive.program else 0o644)


def _try(program: Path, arguments: Sequence[str]) -> None:
    """Raises VendorFileError for a program that this node cannot run, such as one that lacks a library."""
    user: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        done = subprocess.run(
            [str(program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
            cwd="/",
            **user,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VendorFileError(f"{program.name} does not run on this node: {error}") from None
    if done.returncode:
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        said = "".join(letter for letter in " ".join(words[-2:]) if letter.isprintable())[:300]
        raise VendorFileError(
            f"{program.name} {' '.join(arguments)} ended with {done.returncode}: {said or 'without a word'}"
        )


def forget(target: Path) -> None:
    """Remove versions that are neither the new one, nor the one that units start with, nor run by any process."""
    kept = {target.resolve(), (target.parent / "current").resolve()}
    for link in Path("/proc").glob("[0-9]*/exe"):
        try:
            kept |= set(link.readlink().parents)
        except OSError:
            continue  # ended since, or a kernel thread
    for folder in target.parent.iterdir():
        if folder.is_dir() and not folder.is_symlink() and folder.resolve() not in kept and folder.name[0] != ".":
            shutil.rmtree(folder)
