"""The packages that an operator brings: one step of apt, nothing started by it, and a marker only if all went well."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.doubles.flussonic import pack

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "roles/flussonic/files/install_flussonic.py"
#: Writes down how it was called, and whether the unit was hidden then.
CALLED = '#!/bin/sh\necho "$(basename "$0") $* $(readlink "$MASK")" >>"$LOG"\n'


class Host:
    """Programs of a host that only say how they were called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log, self.mask = folder, folder / "log", folder / "run/flussonic.service"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("apt-get", "systemctl"):
            self.program(name, "")
        self.program("dpkg-query", "printf 'installed 24.09'")
        monkeypatch.setenv("PATH", f"{self.programs}:{os.environ['PATH']}")
        monkeypatch.setenv("LOG", str(self.log))
        monkeypatch.setenv("MASK", str(self.mask))
        self.script = self._loaded()
        monkeypatch.setattr(self.script, "MASK", self.mask)
        monkeypatch.setattr(self.script, "NEEDED", (folder / "opt",))
        (folder / "opt").mkdir()
        self.package = folder / "one.deb"
        pack(self.package)

    def program(self, name: str, then: str) -> None:
        (self.programs / name).write_text(CALLED + then)
        (self.programs / name).chmod(0o755)

    @staticmethod
    def _loaded() -> ModuleType:
        spec = importlib.util.spec_from_file_location("install_flussonic", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def install(self) -> None:
        self.script.install(self.folder / "installed-new", [self.package])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_all_goes_in_one_step_with_the_unit_hidden(host: Host) -> None:
    (host.folder / "installed-old").write_text("[]")
    host.install()
    calls = host.log.read_text().splitlines()
    assert calls[0] == "systemctl daemon-reload /dev/null"
    assert calls[1].startswith("apt-get install --yes --no-install-recommends")
    assert calls[1].endswith(f"{host.package} /dev/null")
    assert calls[2] == "systemctl daemon-reload "
    assert calls[3].startswith("dpkg-query --show")
    assert calls[4:] == ["systemctl cat flussonic.service "]
    assert json.loads((host.folder / "installed-new").read_text()) == ["flussonic"]
    assert not (host.folder / "installed-old").exists()
    assert not host.package.exists()
    assert not host.mask.is_symlink()


@pytest.mark.parametrize(
    ("program", "then", "said"),
    [
        ("apt-get", "echo 'E: Unmet dependencies' >&2; exit 100", "apt-get ended with 100: E: Unmet dependencies"),
        ("dpkg-query", "printf 'half-configured 24.09'", "dpkg says of it: half-configured 24.09"),
        (
            "dpkg-query",
            "printf 'installed 24.08'",
            "flussonic 24.09 was to be installed, and dpkg says of it: installed 24.08",
        ),
        ("systemctl", 'test "$1" != cat', "flussonic.service is not there. Is Flussonic among them?"),
    ],
)
def test_what_goes_wrong_leaves_no_marker_and_hides_nothing(host: Host, program: str, then: str, said: str) -> None:
    host.program(program, then)
    with pytest.raises(host.script.Refused, match=said):
        host.install()
    assert not (host.folder / "installed-new").exists()
    assert not host.mask.is_symlink()
    assert host.package.exists()


def test_other_packages_than_flussonics_are_told(host: Host) -> None:
    (host.folder / "opt").rmdir()
    with pytest.raises(host.script.Refused, match="opt is not there"):
        host.install()


def test_it_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "install"], capture_output=True, text=True, check=False)
    assert (done.returncode, "install MARKER PACKAGE" in done.stderr) == (2, True)
