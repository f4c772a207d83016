"""The archive that an operator brings: what is no Shoutcast server for this node is refused, with the reason."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.doubles.shoutcast2 import PROGRAM, pack

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "roles/shoutcast2/files/install_sc_serv.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_sc_serv", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(*arguments: object) -> tuple[int, str]:
    """Exit code and what it said."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def elf(machine: int, bits: int) -> bytes:
    """The head of a program."""
    return b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("folder", ["", "./", "sc_serv2_linux_x64/"])
def test_it_is_unpacked_whole_and_once(tmp_path: Path, folder: str) -> None:
    archive, target = tmp_path / "archive", tmp_path / "one"
    checksum = pack(archive, folder=folder, mode=0o4777)
    assert call("check", archive, checksum, "x86_64") == (0, "")
    assert call("install", archive, checksum, target) == (0, "")
    assert (target / "sc_serv").read_bytes() == PROGRAM.read_bytes()
    assert (target / ".complete").read_text() == f"{checksum}\n"
    modes = {path.name: path.stat().st_mode & 0o7777 for path in target.rglob("*")}
    assert modes == {"sc_serv": 0o755, "docs": 0o755, "README.txt": 0o644, ".complete": 0o644}
    assert names(tmp_path) == {"one"}


def test_versions_that_nothing_uses_go(tmp_path: Path) -> None:
    for version in ("one", "two", "three"):
        archive = tmp_path / "archive"
        checksum = pack(archive, {"sc_serv": b"#!/bin/sh\n", "version": version.encode()})
        assert call("install", archive, checksum, tmp_path / version) == (0, "")
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
            assert call("install", archive, pack(archive), tmp_path / "new") == (0, "")
            assert names(tmp_path) == {"old", "new"}
        finally:
            station.kill()
    assert call("install", archive, pack(archive, {"sc_serv": b"#!x", "n": b""}), tmp_path / "newer") == (0, "")
    assert names(tmp_path) == {"newer"}


def test_what_was_left_half_is_made_anew(tmp_path: Path) -> None:
    target = tmp_path / "one"
    (target / "old").mkdir(parents=True)
    archive = tmp_path / "archive"
    assert call("install", archive, pack(archive), target) == (0, "")
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
    code, error = call("check", archive, checksum, "x86_64")
    assert (code, said in error) == (3, True), error
    if os.uname().machine == "x86_64":
        code, error = call("install", archive, checksum, tmp_path / "target")
        assert (code, said in error) == (3, True), error
        assert names(tmp_path) == {"archive"}


def test_a_program_for_this_machine_is_taken(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for machine, number, bits in (("x86_64", 62, 64), ("aarch64", 183, 64), ("armv7l", 40, 32)):
        assert call("check", archive, pack(archive, {"sc_serv": elf(number, bits)}), machine) == (0, "")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("sc_serv")
        tar.addfile(entry, io.BytesIO())
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = kind, "/etc/shadow"
        tar.addfile(entry)
    module = loaded()
    with tarfile.open(archive) as tar, pytest.raises(module.Refused, match="neither a file nor a folder"):
        module.members(tar)


def test_another_archive_than_the_one_that_was_meant_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    checksum = pack(archive)
    code, error = call("check", archive, "0" * 64, "x86_64")
    assert code == 3
    assert f"its SHA-256 is {checksum}, and not {'0' * 64}" in error
    assert "streamfleet_shoutcast2_checksum" in error
    code, error = call("check", tmp_path / "none", checksum, "x86_64")
    assert (code, "No such file" in error) == (3, True)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    module = loaded()
    whole = pack_of(tmp_path)
    half = len(whole) // 2
    for content in (b"", b"<html>Not found</html>", whole[:half], whole[:half] + bytes(200) + whole[half + 200 :]):
        archive = tmp_path / "archive"
        archive.write_bytes(content)
        with pytest.raises(module.Refused, match="is not a tar archive that can be read"):
            module.checked(archive, module.hashlib.sha256(content).hexdigest(), "x86_64")


def pack_of(folder: Path) -> bytes:
    """The double's archive as bytes."""
    pack(folder / "whole")
    return (folder / "whole").read_bytes()


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded()
    checksum = pack(tmp_path / "archive")
    for name in ("MOST_FILES", "MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 1)
            with pytest.raises(module.Refused, match="it holds more than"):
                module.checked(tmp_path / "archive", checksum, "x86_64")
