"""Is a file that the operator brings the one that was meant, and can the node use it?"""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import shutil
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

#: Machine as uname names it → machine and word size of an ELF file.
MACHINES = {"x86_64": (62, 64), "aarch64": (183, 64), "i686": (3, 32), "armv7l": (40, 32), "armv6l": (40, 32)}
#: Machine as uname names it → architecture as Debian names it.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "i386", "armv7l": "armhf", "armv6l": "armel"}
#: A package's description of itself is small; nothing larger is read into memory.
MOST_CONTROL = 16 * 1024 * 1024
KINDS = ("program", "package", "any")


class VendorFileError(Exception):
    """The file is not one to use; the message says why and what to do."""


def check(path: Path, checksum: str, kind: str, machine: str, option: str) -> None:
    """Raises VendorFileError. ``option``: what the operator has said the checksum with."""
    head = verify(path, checksum, option)
    if kind == "program":
        judge_program(head, machine)
    elif kind == "package":
        judge_package(path, machine)


def verify(path: Path, checksum: str, option: str) -> bytes:
    """The first bytes of the file, if it is the one that was meant. Raises VendorFileError."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
            digest.update(head)
            while piece := stream.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise VendorFileError(f"cannot be read: {error.strerror}. Put the vendor's file there") from None
    if digest.hexdigest() != checksum:
        raise VendorFileError(
            f"its SHA-256 is {digest.hexdigest()}, and not {checksum} as {option} says. "
            "Get the file again, or correct the checksum if you trust this one"
        )
    return head


def judge_program(head: bytes, machine: str) -> None:
    """Raises VendorFileError for what this kind of machine cannot run. A script passes."""
    if head.startswith(b"#!"):
        return
    if not head.startswith(b"\x7fELF") or len(head) < 20:
        raise VendorFileError("it is not a program for Linux")
    order = "<" if head[5] == 1 else ">"
    found = (struct.unpack_from(f"{order}H", head, 18)[0], 64 if head[4] == 2 else 32)
    if found != MACHINES.get(machine):
        names = {value: name for name, value in reversed(MACHINES.items())}
        other = names.get(found, f"machine {found[0]} with {found[1]} bits")
        raise VendorFileError(f"it is for {other}, and this node is {machine}. Get the one for this architecture")


def judge_package(path: Path, machine: str) -> None:
    """Raises VendorFileError for what is no package of Debian, or one for another architecture."""
    fields = package_fields(path)
    wanted, found = ARCHITECTURES.get(machine, machine), fields.get("Architecture", "")
    if not fields.get("Package") or not found:
        raise VendorFileError("it is not a package of Debian that says what it is for")
    if found not in (wanted, "all"):
        raise VendorFileError(f"it is for {found}, and this node is {wanted}. Get the package for this architecture")


def package_fields(path: Path) -> dict[str, str]:
    """What a package says of itself. Raises VendorFileError."""
    try:
        name, content = _control(path)
    except (OSError, ValueError) as error:
        raise VendorFileError(f"it is not a package of Debian (.deb): {error}") from None
    if name.endswith(".zst"):
        text = _by_dpkg(path)
    else:
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                member = archive.extractfile("./control")
                text = member.read(1 << 20).decode(errors="replace") if member else ""
        except (tarfile.TarError, KeyError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise VendorFileError(f"it is not a package of Debian that can be read: {error}") from None
    lines = [line.partition(":") for line in text.splitlines() if line[:1].strip()]
    return {key: value.strip() for key, _colon, value in lines}


def _control(path: Path) -> tuple[str, bytes]:
    """Name and content of the package's member ``control.tar.*``. Raises ValueError where there is none."""
    with path.open("rb") as stream:
        if stream.read(8) != b"!<arch>\n":
            raise ValueError("it does not begin like one")
        while len(head := stream.read(60)) == 60:
            if not re.fullmatch(rb"[0-9]{1,10} *", head[48:58]):
                raise ValueError("the size of a member is no number")
            name, size = head[:16].decode("ascii", "replace").strip().rstrip("/"), int(head[48:58])
            if name.startswith("control.tar"):
                if size > MOST_CONTROL:
                    raise ValueError("it says more of itself than a package does")
                return name, stream.read(size)
            stream.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("it says nothing of itself")


def _by_dpkg(path: Path) -> str:
    """The fields, as dpkg-deb reads them: Python knows no Zstandard. Raises VendorFileError."""
    program = shutil.which("dpkg-deb")
    if program is None:
        raise VendorFileError("it is packed with Zstandard, which dpkg-deb reads. Install dpkg on this controller")
    done = subprocess.run([program, "--field", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise VendorFileError(f"it is not a package of Debian that can be read: {done.stderr.strip()[-200:]}")
    return done.stdout
