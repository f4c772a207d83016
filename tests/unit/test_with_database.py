"""A server for the panel's tests: the command finds it, nobody else does, and nothing of it stays.

What is installed here is really started; the course of things is held by a double in any case.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import os, sys
sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "panel_test_settings"
import django
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE words (word varchar(20))")
    cursor.execute("INSERT INTO words VALUES (%s)", ["Ünïcödé 🎧"])
    cursor.execute("SELECT word FROM words")
    assert cursor.fetchone()[0] == "Ünïcödé 🎧"
print(connection.vendor)
sys.exit(7)
"""


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("with_database", ROOT / "scripts/with_database.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


script = _script()
VENDORS = {"postgresql": "postgresql", "mariadb": "mysql"}
HERE = [
    name
    for name, kind in script.KINDS.items()
    if subprocess.run(["/bin/sh", "-c", kind.present], capture_output=True, check=False).returncode == 0
]


def _double() -> object:
    """A kind whose server is a sleep that writes down where it was started."""
    return script.Kind(
        packages=("a-package",),
        present="true",
        make=lambda folder: ["mkdir", f"{folder}/data"],
        serve=lambda folder: ["sh", "-c", f"echo $$ > {folder}/pid; exec sleep 600"],
        create=lambda folder: ["test", "-s", f"{folder}/pid"],
        url=lambda folder: f"double://{folder}",
        stop=signal.SIGTERM,
    )


@pytest.fixture
def temporary(monkeypatch) -> Iterator[Path]:
    """Where servers are made: a folder that another user may go through, and short."""
    with tempfile.TemporaryDirectory(prefix="sfdb-") as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def _alive(pid: int) -> bool:
    try:
        # What has ended and was not waited for yet has an empty one.
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*HERE, "double"])
def test_a_command_finds_its_server_and_nothing_stays(kind, temporary, monkeypatch, capfd):
    if kind == "double":
        monkeypatch.setitem(script.KINDS, kind, _double())
        command = ["sh", "-c", f"echo ${script.VARIABLE}; cat {temporary}/*/pid; exit 7"]
    else:
        monkeypatch.chdir(ROOT / "panel")
        command = [sys.executable, "-c", ASK]
    assert script.main([kind, *command]) == 7
    said = capfd.readouterr().out
    if kind == "double":
        url, pid = said.split()
        assert url.startswith(f"double://{temporary}/")
        assert not _alive(int(pid))
    else:
        assert said == f"{VENDORS[kind]}\n"
    assert list(temporary.iterdir()) == []


def test_a_script_that_is_killed_takes_its_server_along(temporary):
    program = (
        "import importlib.util, pathlib, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.unit import test_with_database as t\n"
        "t.script.KINDS['double'] = t._double()\n"
        "import tempfile; tempfile.tempdir = sys.argv[2]\n"
        "t.script.main(['double', 'sleep', '600'])\n"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(ROOT), str(temporary)], cwd=ROOT)
    deadline = time.monotonic() + 20
    pids: list[int] = []
    while not pids and time.monotonic() < deadline:
        time.sleep(0.05)
        pids = [int(path.read_text()) for path in temporary.glob("*/pid") if path.read_text().strip()]
    assert pids
    running.kill()
    running.wait()
    while _alive(pids[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pids[0])


@pytest.mark.parametrize("kind", sorted(script.KINDS))
def test_the_server_opens_no_port(kind, monkeypatch):
    monkeypatch.setattr(script, "_postgresql_program", lambda name: name)
    command = script.KINDS[kind].serve(Path("/tmp/x"))
    assert "listen_addresses=" in command or "--skip-networking" in command
    assert "/tmp/x" in script.KINDS[kind].url(Path("/tmp/x"))


def test_a_server_that_does_not_start_is_said_with_its_log(temporary, monkeypatch, capsys):
    kind = _double()
    broken = {**kind.__dict__, "serve": lambda folder: ["sh", "-c", "echo no space left >&2; exit 3"]}
    monkeypatch.setitem(script.KINDS, "double", script.Kind(**broken))
    assert script.main(["double", "true"]) == 1
    assert "no space left" in capsys.readouterr().err
    assert list(temporary.iterdir()) == []


def test_a_folder_too_deep_for_a_socket_is_named(tmp_path, monkeypatch, capsys):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    monkeypatch.setitem(script.KINDS, "double", _double())
    assert script.main(["double", "true"]) == 1
    assert "TMPDIR" in capsys.readouterr().err


def test_a_command_must_be_named(capsys):
    with pytest.raises(SystemExit):
        script.main(["postgresql"])
    assert "COMMAND" in capsys.readouterr().err
