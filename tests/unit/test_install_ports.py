"""install.yml refuses engines of one host that want the same port, before it does anything."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VIDEO = {"nginx_rtmp": "Nginx RTMP", "wowza": "Wowza Streaming Engine", "flussonic": "Flussonic Media Server"}


def checked(folder: Path, engines: tuple[str, ...], **variables: Any) -> str:
    """What install.yml says of a host with these engines, up to where it would reach it."""
    # A name that is nobody's: nothing is reached.
    host: dict[str, Any] = {"hosts": {"video1.invalid": {}}}
    names = {"streamfleet_panel_host": "panel.example.net", "streamfleet_stream_host": "stream.example.net"}
    groups = dict.fromkeys(("streamfleet_panel", "streamfleet_nodes", *engines), host)
    (folder / "hosts.json").write_text(json.dumps({"all": {"vars": {**names, **variables}, "children": groups}}))
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", str(folder / "hosts.json"), "playbooks/install.yml", "--check", "--tags", "none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("pair", list(itertools.combinations(VIDEO, 2)), ids="-".join)
def test_two_that_want_one_port_are_refused_with_the_variables(tmp_path: Path, pair: tuple[str, str]) -> None:
    said = checked(tmp_path, pair)
    first, second = (VIDEO[name] for name in pair)
    assert f"port 1935 is wanted by {first} (RTMP) and {second} (RTMP)" in said
    assert f"Give one of them another with streamfleet_{pair[0]}_port or streamfleet_{pair[1]}_port." in said


def test_variables_separate_them(tmp_path: Path) -> None:
    own = {"base": 1950, "streamfleet_flussonic_port": "{{ base + 5 }}", "streamfleet_wowza_port": 1945}
    said = checked(tmp_path, tuple(VIDEO), **own)
    assert "ok: [video1.invalid] => (item=engines have ports of their own)" in said
    assert "two engines cannot share a port" not in said
