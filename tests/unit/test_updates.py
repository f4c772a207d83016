"""The check of security updates tells when others are installed, too; apt's own settings are in the live tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TASK = yaml.safe_load((ROOT / "roles/updates/tasks/self_check.yml").read_text())[0]["ansible.builtin.command"]["argv"]
SECURITY = (
    'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";'
)
#: As Debian writes them.
EVERYTHING = 'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename},label=Debian";'


@pytest.mark.parametrize(
    ("switched", "origins", "faults"),
    [
        ("1", SECURITY, set()),
        ("1", f"{EVERYTHING}\n{SECURITY}", {"settings"}),
        ("1", EVERYTHING.replace('Debian";', 'Debian,archive=stable";'), {"settings"}),
        ("0", SECURITY, {"settings"}),
    ],
)
def test_others_than_security_updates_are_told_of(
    tmp_path: Path, switched: str, origins: str, faults: set[str]
) -> None:
    programs = {
        "systemctl": "exit 0",
        "apt-config": f"case \"$*\" in *Periodic*) echo {switched} ;; *) cat <<'END'\n{origins}\nEND\n;; esac",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(TASK, env=environment, check=False, capture_output=True, text=True, timeout=10)
    assert set(done.stdout.split()) == faults, done.stderr


@pytest.mark.parametrize(
    ("groups", "nginx"),
    [
        (["streamfleet_panel"], False),
        (["streamfleet_panel", "streamfleet_nodes"], True),
        (["streamfleet_nodes"], True),
        ([], True),
    ],
)
def test_the_web_server_is_held_back_but_where_the_panel_is_and_no_streams(groups: list[str], nginx: bool) -> None:
    text = yaml.safe_load((ROOT / "roles/updates/defaults/main.yml").read_text())["streamfleet_updates_held"]
    held = yaml.safe_load(jinja2.Environment().from_string(text).render(group_names=groups))
    web = ["nginx.*", "libnginx-mod-.*"]
    assert held == ["icecast2", "liquidsoap.*", "proftpd-.*", *(web if nginx else [])]
