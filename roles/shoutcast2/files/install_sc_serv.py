"""Check or unpack an archive of Shoutcast's server.

``check ARCHIVE SHA256 MACHINE`` on the controller says whether the archive is the one that was meant, and for this
kind of machine. ``install ARCHIVE SHA256 TARGET`` on the node unpacks it: the target appears whole or not at all, and
versions that nothing uses any more go. An archive that is refused: exit code 3, the reason on stderr.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import posixpath
import shutil
import struct
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

PROGRAM = "sc_serv"
#: The vendor's archive has some fifty files and twenty megabytes.
MOST_FILES, MOST_BYTES = 5_000, 512 * 1024 * 1024
#: Machine as uname names it → machine and word size of an ELF file.
MACHINES = {"x86_64": (62, 64), "aarch64": (183, 64), "i686": (3, 32), "armv7l": (40, 32), "armv6l": (40, 32)}


class Refused(Exception):
    """The archive is not one to install."""


def verify(archive: Path, checksum: str) -> None:
    """Raises Refused for another archive than the one that was meant."""
    try:
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}. Put the vendor's archive there") from None
    if found != checksum:
        raise Refused(
            f"its SHA-256 is {found}, and not {checksum} as streamfleet_shoutcast2_checksum says. "
            "Get the archive again, or correct the checksum if you trust this one"
        )


def members(archive: tarfile.TarFile) -> dict[str, str]:
    """Path below the folder of sc_serv → name in the archive. Raises Refused for what is not a plain archive."""
    found: dict[str, str] = {}
    size = 0
    for member in archive:
        name = posixpath.normpath(member.name)
        if name.startswith(("/", "..")) or not name.isprintable():
            raise Refused(f"it holds {member.name!r}, which lies outside of it")
        size += member.size
        if len(found) >= MOST_FILES or size > MOST_BYTES:
            raise Refused(f"it holds more than {MOST_FILES} files or {MOST_BYTES // 1024**2} MiB")
        if member.isdir():
            continue
        if not member.isreg():
            raise Refused(f"it holds {member.name!r}, which is neither a file nor a folder")
        found[name] = member.name
    if PROGRAM in found:
        return found
    tops = {name.partition("/")[0] for name in found}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    if not top or f"{top}{PROGRAM}" not in found:
        raise Refused(f"it holds no {PROGRAM}. Is it the archive of Shoutcast's server for Linux?")
    return {name.removeprefix(top): inside for name, inside in found.items()}


def judge(program: bytes, machine: str) -> None:
    """Raises Refused for a program that this kind of machine cannot run. A script passes: an operator's own wrapper."""
    if program.startswith(b"#!"):
        return
    if not program.startswith(b"\x7fELF") or len(program) < 20:
        raise Refused(f"its {PROGRAM} is not a program for Linux")
    wanted = MACHINES.get(machine)
    order = "<" if program[5] == 1 else ">"
    kind = (struct.unpack_from(f"{order}H", program, 18)[0], 64 if program[4] == 2 else 32)
    if kind != wanted:
        names = {value: name for name, value in reversed(MACHINES.items())}
        other = names.get(kind, f"machine {kind[0]} with {kind[1]} bits")
        raise Refused(
            f"its {PROGRAM} is for {other}, and this node is {machine}. Get the vendor's archive for this architecture"
        )


def checked(archive: Path, checksum: str, machine: str) -> dict[str, str]:
    """What ``members`` says of the archive, after it was verified and judged. Raises Refused."""
    verify(archive, checksum)
    try:
        with tarfile.open(archive) as tar:
            files = members(tar)
            program = tar.extractfile(files[PROGRAM])
            judge(program.read(64) if program else b"", machine)
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise Refused(f"it is not a tar archive that can be read: {error}") from None
    return files


def install(archive: Path, checksum: str, target: Path) -> None:
    """Unpack to ``target``. Raises Refused, and OSError where there is no room."""
    os.umask(0o022)
    files = checked(archive, checksum, os.uname().machine)
    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as scratch:
        tree = Path(scratch) / "tree"
        for name, inside in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(inside)
            if source is None:
                raise Refused(f"it holds {inside!r} twice, and not as a file")
            with path.open("wb") as copy:
                shutil.copyfileobj(source, copy)
            # Owner and rights are the node's business, not the archive's.
            path.chmod(0o755 if name == PROGRAM else 0o644)
        (tree / ".complete").write_text(f"{checksum}\n")
        os.sync()
        if target.exists():
            shutil.rmtree(target)
        tree.rename(target)
    forget(target)
    archive.unlink()


def forget(target: Path) -> None:
    """Remove versions that are neither the new one, nor the one that stations start with, nor run by any."""
    kept = {target.resolve(), (target.parent / "current").resolve()}
    for link in Path("/proc").glob("[0-9]*/exe"):
        try:
            kept.add(link.readlink().parent)
        except OSError:
            continue  # ended since, or a kernel thread
    for folder in target.parent.iterdir():
        if folder.is_dir() and not folder.is_symlink() and folder.resolve() not in kept and folder.name[0] != ".":
            shutil.rmtree(folder)


def main() -> int:
    """Command line."""
    if len(sys.argv) != 5 or sys.argv[1] not in ("check", "install"):
        print(__doc__, file=sys.stderr)
        return 2
    action, archive, checksum, last = sys.argv[1:]
    try:
        if action == "check":
            checked(Path(archive), checksum, last)
        else:
            install(Path(archive), checksum, Path(last))
    except Refused as error:
        print(f"{error}.", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
