"""The archive that an operator brings: what is no program for this node is refused, with the reason."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from streamfleet import vendor_archive
from streamfleet.vendor_archive import Archive, is_installed, look, members
from streamfleet.vendor_file import VendorFileError

from tests.doubles.shoutcast2 import PROGRAM, pack

MACHINE = os.uname().machine


def brought(path: Path, checksum: str, machine: str = MACHINE, program: str = "sc_serv") -> Archive:
    return Archive(path, checksum, program, machine, "streamfleet_x_checksum")


def install(path: Path, checksum: str, target: Path, probe: Sequence[str] = ()) -> None:
    vendor_archive.install(brought(path, checksum), target, probe)


def elf(machine: int, bits: int) -> bytes:
    """The head of a program."""
    return b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("folder", ["", "./", "sc_serv2_linux_x64/"])
def test_it_is_unpacked_whole_and_once(tmp_path: Path, folder: str) -> None:
    archive, target = tmp_path / "archive", tmp_path / "one"
    checksum = pack(archive, folder=folder, mode=0o4777)
    assert set(look(brought(archive, checksum))) == {"sc_serv", "docs/README.txt"}
    assert not is_installed(target)
    install(archive, checksum, target)
    assert is_installed(target)
    assert (target / "sc_serv").read_bytes() == PROGRAM.read_bytes()
    assert (target / ".complete").read_text() == f"{checksum}\n"
    modes = {path.name: path.stat().st_mode & 0o7777 for path in target.rglob("*")}
    assert modes == {"sc_serv": 0o755, "docs": 0o755, "README.txt": 0o644, ".complete": 0o644}
    assert names(tmp_path) == {"one"}


def test_versions_that_nothing_uses_go(tmp_path: Path) -> None:
    for version in ("one", "two", "three"):
        archive = tmp_path / "archive"
        checksum = pack(archive, {"sc_serv": b"#!/bin/sh\n", "version": version.encode()})
        install(archive, checksum, tmp_path / version)
        if version == "one":
            (tmp_path / "current").symlink_to("one")
    # "current" is moved by the next task of the role; "two" was never that.
    assert names(tmp_path) == {"one", "three", "current"}


def test_a_version_that_a_station_runs_stays(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    program = old / "sc_serv"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    archive = tmp_path / "archive"
    with subprocess.Popen([program, "60"]) as station:
        try:
            install(archive, pack(archive), tmp_path / "new")
            assert names(tmp_path) == {"old", "new"}
        finally:
            station.kill()
    install(archive, pack(archive, {"sc_serv": b"#!x", "n": b""}), tmp_path / "newer")
    assert names(tmp_path) == {"newer"}


def test_what_was_left_half_is_made_anew(tmp_path: Path) -> None:
    target = tmp_path / "one"
    (target / "old").mkdir(parents=True)
    archive = tmp_path / "archive"
    install(archive, pack(archive), target)
    assert not (target / "old").exists()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"readme.txt": b"x"}, "holds no sc_serv"),
        ({"a/sc_serv": b"#!x", "b/x": b""}, "holds no sc_serv"),
        ({"a/b/sc_serv": b"#!x"}, "holds no sc_serv"),
        ({}, "holds no sc_serv"),
        ({"sc_serv": b"MZ\x90\x00 a program for Windows"}, "not a program for Linux"),
        ({"sc_serv": b""}, "not a program for Linux"),
        ({"sc_serv": elf(183, 64)}, "is for aarch64, and this node is x86_64"),
        ({"sc_serv": elf(3, 32)}, "is for i686, and this node is x86_64"),
        ({"sc_serv": elf(40, 32)}, "and this node is x86_64"),
        ({"sc_serv": elf(243, 64)}, "machine 243 with 64 bits"),
        ({"../sc_serv": b"#!x"}, "lies outside"),
        ({"/etc/x": b"#!x"}, "lies outside"),
        ({"sc_serv": b"#!x", "a\nb": b""}, "lies outside"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    archive = tmp_path / "archive"
    checksum = pack(archive, files)
    with pytest.raises(VendorFileError) as caught:
        look(brought(archive, checksum, "x86_64"))
    assert said in str(caught.value)
    with pytest.raises(VendorFileError) as caught:
        vendor_archive.install(brought(archive, checksum, "x86_64"), tmp_path / "target")
    assert said in str(caught.value)
    assert names(tmp_path) == {"archive"}


def test_a_program_for_this_machine_is_taken(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for machine, number, bits in (("x86_64", 62, 64), ("aarch64", 183, 64), ("armv7l", 40, 32)):
        assert look(brought(archive, pack(archive, {"sc_serv": elf(number, bits)}), machine))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("sc_serv")
        tar.addfile(entry, io.BytesIO())
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = kind, "/etc/shadow"
        tar.addfile(entry)
    with tarfile.open(archive) as tar, pytest.raises(VendorFileError, match="neither a file nor a folder"):
        members(tar, "sc_serv")


def test_another_archive_than_the_one_that_was_meant_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    checksum = pack(archive)
    with pytest.raises(VendorFileError) as caught:
        look(brought(archive, "0" * 64))
    assert f"its SHA-256 is {checksum}, and not {'0' * 64} as streamfleet_x_checksum says" in str(caught.value)
    with pytest.raises(VendorFileError, match="cannot be read: No such file"):
        look(brought(tmp_path / "none", checksum))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    pack(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    half = len(whole) // 2
    for content in (b"", b"<html>Not found</html>", whole[:half], whole[:half] + bytes(200) + whole[half + 200 :]):
        archive = tmp_path / "archive"
        archive.write_bytes(content)
        with pytest.raises(VendorFileError, match="is not a tar archive that can be read"):
            look(brought(archive, hashlib.sha256(content).hexdigest()))


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checksum = pack(tmp_path / "archive")
    for name in ("MOST_FILES", "MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(vendor_archive, name, 1)
            with pytest.raises(VendorFileError, match="it holds more than"):
                look(brought(tmp_path / "archive", checksum))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (b"#!/bin/sh\necho libxslt.so.1: cannot open >&2; exit 127\n", "ended with 127: libxslt.so.1: cannot open"),
        (b"#!/nonexistent\n", "does not run on this node"),
        (b"#!/bin/sh\ntest $1 = -v && test $(id -u) != 0\n", ""),
    ],
)
def test_a_program_that_does_not_start_does_not_appear(script: bytes, said: str) -> None:
    with tempfile.TemporaryDirectory(prefix="streamfleet-archive-") as name:
        folder = Path(name)
        # Whoever has no rights must reach it, as on a node.
        folder.chmod(0o755)
        archive, target = folder / "archive", folder / "target"
        checksum = pack(archive, {"sc_serv": script})
        if said:
            with pytest.raises(VendorFileError, match=said):
                install(archive, checksum, target, ["-v"])
            assert names(folder) == {"archive"}
        else:
            install(archive, checksum, target, ["-v"])
            assert is_installed(target)
