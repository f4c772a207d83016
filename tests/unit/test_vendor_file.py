"""A vendor's file that an operator brings: what was not meant, or the node cannot use, is refused with the reason."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from pathlib import Path

import pytest
from streamfleet.vendor_file import VendorFileError, check, package_fields

from tests.doubles.flussonic import pack


def elf(machine: int, bits: int) -> bytes:
    """The head of a program."""
    return b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44)


def said(path: Path, kind: str, machine: str = "x86_64", checksum: str | None = None) -> str:
    """What is wrong with the file."""
    meant = hashlib.sha256(path.read_bytes()).hexdigest() if checksum is None else checksum
    with pytest.raises(VendorFileError) as raised:
        check(path, meant, kind, machine, "streamfleet_x_checksum")
    return str(raised.value)


@pytest.mark.parametrize("kind", ["program", "package", "any"])
def test_another_file_than_the_one_that_was_meant_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()
    message = said(path, kind, checksum="0" * 64)
    assert f"its SHA-256 is {found}, and not {'0' * 64} as streamfleet_x_checksum says" in message
    with pytest.raises(VendorFileError, match="cannot be read: No such file"):
        check(tmp_path / "none", found, kind, "x86_64", "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (elf(183, 64), "it is for aarch64, and this node is x86_64"),
        (elf(3, 32), "it is for i686, and this node is x86_64"),
        (elf(243, 64), "it is for machine 243 with 64 bits"),
        (b"MZ" + bytes(100), "it is not a program for Linux"),
        (b"", "it is not a program for Linux"),
        (b"\x7fELF", "it is not a program for Linux"),
    ],
)
def test_a_program_that_the_node_cannot_run_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert message in said(path, "program")


def test_a_program_or_a_script_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, machine in ((elf(62, 64), "x86_64"), (elf(40, 32), "armv7l"), (b"#!/bin/sh\n", "riscv64")):
        path.write_bytes(content)
        check(path, hashlib.sha256(content).hexdigest(), "program", machine, "x")


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", "x86_64"), ("arm64", "aarch64"), ("all", "x86_64")])
def test_a_package_for_the_node_is_taken(tmp_path: Path, architecture: str, machine: str) -> None:
    path = tmp_path / "x.deb"
    check(path, pack(path, "1.0", architecture), "package", machine, "x")
    assert package_fields(path)["Version"] == "1.0"


def test_a_package_for_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    pack(path, "1.0", "arm64")
    assert "it is for arm64, and this node is amd64" in said(path, "package")


@pytest.mark.parametrize("form", ["gzip", "xz", "zstd", "none"])
def test_packages_of_all_forms_are_read(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "tree"
    (folder / "DEBIAN").mkdir(parents=True)
    (folder / "DEBIAN/control").write_text(
        "Package: tiny\nVersion: 1\nArchitecture: arm64\nMaintainer: x <x@example.net>\nDescription: tiny\n"
    )
    path = tmp_path / "tiny.deb"
    build = ["dpkg-deb", f"-Z{form}", "--uniform-compression", "--root-owner-group", "--build", str(folder), str(path)]
    subprocess.run(build, check=True, capture_output=True)
    assert package_fields(path)["Package"] == "tiny"
    assert "it is for arm64" in said(path, "package")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a package of Debian"),
        (b"<html>not found</html>", "it does not begin like one"),
        (b"!<arch>\n", "it says nothing of itself"),
        (b"!<arch>\n" + b"x" * 60, "not a package of Debian"),
        (b"!<arch>\n" + f"{'control.tar.gz':<48}{10**9:<10}`\n".encode(), "more of itself than a package does"),
        (b"!<arch>\n" + f"{'control.tar.gz':<48}{4:<10}`\nabcd".encode(), "cannot be read|can be read"),
    ],
)
def test_what_is_no_package_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(content)
    with pytest.raises(VendorFileError, match=message):
        check(path, hashlib.sha256(content).hexdigest(), "package", "x86_64", "x")
