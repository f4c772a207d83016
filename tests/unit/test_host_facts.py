"""What streamfleet_host_facts sees: over a tree made to be looked at, and on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from streamfleet.host_facts import look

ROOT_MOUNT = "22 1 253:1 / / rw,relatime {}- ext4 /dev/vda1 rw\n"


def tree(root: Path, capabilities: str = "0000000000000000", shared: str = "") -> Path:
    for folder in ("proc/1", "proc/net", "proc/sys/fs", "etc", "var/lib/apt/lists", "usr/lib/python3/dist-packages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "proc/1/status").write_text(f"Name:\tsystemd\nCapEff:\t{capabilities}\n")
    (root / "proc/1/limits").write_text(
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max open files            1024                 4096                 files\n"
    )
    (root / "proc/1/mountinfo").write_text(ROOT_MOUNT.format(shared))
    (root / "proc/meminfo").write_text("MemTotal:        2048000 kB\nMemFree:  1 kB\n")
    (root / "proc/sys/fs/nr_open").write_text("1048576\n")
    return root


def test_a_bare_host(tmp_path: Path) -> None:
    found = look(tree(tmp_path))
    assert found["memory_mb"] == 2000
    assert (found["ipv6"], found["python_apt"], found["apt_lists"]) == (False, False, False)
    assert (found["open_files"], found["open_files_most"]) == (4096, 4096)
    assert not found["mounts_propagate"]
    assert set(found["free_mb"]) == {"/", "/etc", "/var/lib"}
    assert (found["media_path"], found["media_libraries"]) == ("/var/lib/streamfleet/media", False)
    assert found["panel_database"] == ""


def test_a_host_that_has_it_all(tmp_path: Path) -> None:
    root = tree(tmp_path, capabilities="000001ffffffffff", shared="shared:1 ")
    (root / "proc/net/if_inet6").touch()
    (root / "usr/lib/python3/dist-packages/apt").mkdir()
    (root / "var/lib/apt/lists/deb.debian.org_dists_bookworm_main_binary-amd64_Packages").touch()
    unit = root / "etc/systemd/system/var-lib-streamfleet-media.mount"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Mount]\nWhat=/srv/media/libraries\nWhere=/var/lib/streamfleet/media\n")
    (root / "var/lib/streamfleet/media/200001").mkdir(parents=True)
    settings = root / "etc/streamfleet/panel/panel.env"
    settings.parent.mkdir(parents=True)
    settings.write_text("STREAMFLEET_PANEL_DATABASE_URL='postgres://panel:s3cret%2F@db.example.net:5433/streamfleet'\n")
    found = look(root)
    assert (found["media_path"], found["media_libraries"]) == ("/srv/media/libraries", True)
    assert found["panel_database"] == "postgres://db.example.net:5433/streamfleet"
    assert (found["ipv6"], found["python_apt"], found["apt_lists"]) == (True, True, True)
    assert (found["open_files"], found["open_files_most"]) == (4096, 1048576)
    assert found["mounts_propagate"]


def test_this_machine() -> None:
    found = look()
    assert found["uid"] == os.geteuid()
    assert found["memory_mb"] > 100
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert found["open_files_most"] >= found["open_files"] > 0


def test_a_machine_without_proc(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="proc/1/status"):
        look(tmp_path)
