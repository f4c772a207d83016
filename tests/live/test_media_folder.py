"""streamfleet_media_folder on a node: two customers' libraries, a real SSH connection, a hostile library, a full disk.

``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.node import NODE, ROOT, Node

pytestmark = [pytest.mark.live, pytest.mark.full]

ALICE, BOB = 200001, 200002
LIBRARY = f"/var/lib/streamfleet/media/{ALICE}"
LOOK = """\
---
- name: Look into a library
  hosts: streamfleet_nodes
  gather_facts: false
  tasks:
    - name: Look
      streamfleet_media_folder_info: "{{ options }}"
      register: found

    - name: Say it
      ansible.builtin.copy:
        content: "{{ found | to_json }}"
        dest: "{{ said }}"
        mode: "0644"
      delegate_to: localhost
      check_mode: false
"""
PLAY = """\
---
- name: Bring a folder
  hosts: streamfleet_nodes
  gather_facts: false
  tasks:
    - name: Bring
      streamfleet_media_folder: "{{ options }}"
"""
#: What the roles and a converge leave on a node, as far as this is concerned.
PREPARE = """
apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends rsync sudo >/dev/null 2>&1 ||
  { apt-get -qq update && apt-get -qq install -y --no-install-recommends rsync sudo >/dev/null; }
install -d -m 0755 /var/lib/streamfleet/media
for uid in 200001 200002; do
  groupadd -g $uid sf$uid && useradd -u $uid -g $uid -M -d /nonexistent -s /usr/sbin/nologin sf$uid
  install -d -o $uid -g $uid -m 0750 /var/lib/streamfleet/media/$uid
done
"""


class Shelf(Node):
    """A node with two customers, each with a library."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "bring.yml").write_text(PLAY)
        (folder / "look.yml").write_text(LOOK)
        self.panel.customers = {"alice": ALICE, "bob": BOB, "newcomer": 200003}

    def bring(self, src: Path, *arguments: str, ok: bool = True, **options: Any) -> str:
        """Run the play."""
        given = json.dumps({"options": {"customer": "alice", "src": str(src), **options}})
        return self.play(self.folder / "bring.yml", "-e", given, *arguments, ok=ok)

    def look(self, ok: bool = True, **options: Any) -> tuple[dict[str, Any], str]:
        """What streamfleet_media_folder_info finds, and the output."""
        said = self.folder / "said.json"
        said.unlink(missing_ok=True)
        given = json.dumps({"options": {"customer": "alice", **options}, "said": str(said)})
        output = self.play(self.folder / "look.yml", "-e", given, "--check", ok=ok)
        return json.loads(said.read_text()) if said.exists() else {}, " ".join(output.split())

    def listing(self, uid: int = ALICE) -> str:
        """Type, owner, mode and path of all that a library holds."""
        return self.sh(f"cd /var/lib/streamfleet/media/{uid} && find . -mindepth 1 -printf '%y %u %m %p\\n' | sort")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with Shelf(Path(tmp_path_factory.mktemp("shelf"))).started() as node:
        node.sh(PREPARE)
        yield node


@pytest.fixture
def music(shelf: Shelf, tmp_path: Path) -> Path:
    """A folder with odd names; the libraries are empty."""
    shelf.sh("rm -rf /var/lib/streamfleet/media/20000?/* /var/lib/streamfleet/media/20000?/.[!.]*")
    for path in ("day/a.mp3", "day/b $(id) `id` ;'x' \"y\".ogg", "é📻.flac", "cover.jpg"):
        (tmp_path / "music" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / path).write_bytes(random.Random(path).randbytes(5000))
    return tmp_path / "music"


def test_check_predicts_the_run_and_the_second_changes_nothing(shelf: Shelf, music: Path) -> None:
    predicted = shelf.bring(music, "--check", "--diff", dest="new")
    assert shelf.changed(predicted) == 1
    assert shelf.listing() == ""
    brought = shelf.bring(music, "--diff", dest="new")
    assert [line for line in predicted.splitlines() if line.startswith("send")] == [
        line for line in brought.splitlines() if line.startswith("send")
    ]
    assert shelf.changed(shelf.bring(music, dest="new")) == 0
    assert set(shelf.listing().splitlines()) == {
        "d sf200001 755 ./new",
        "d sf200001 750 ./new/day",
        "f sf200001 640 ./new/day/a.mp3",
        "f sf200001 640 ./new/day/b $(id) `id` ;'x' \"y\".ogg",
        "f sf200001 640 ./new/é📻.flac",
    }
    (music / "day/a.mp3").write_bytes(b"shorter")
    (music / "é📻.flac").unlink()
    changed = shelf.bring(music, "-v", dest="new", delete=True)
    assert '"sent": ["day/a.mp3"]' in " ".join(changed.split())
    assert len(shelf.listing().splitlines()) == 4
    assert shelf.listing(BOB) == ""


@pytest.mark.full
def test_a_transfer_that_is_killed_goes_on_where_it_was(shelf: Shelf, music: Path, tmp_path: Path) -> None:
    content = random.Random(7).randbytes(96 * 1024 * 1024)
    (music / "long.wav").write_bytes(content)
    given = json.dumps({"options": {"customer": "alice", "src": str(music)}})
    # Slow enough to be caught in the middle: it is the sender that holds to a limit.
    slow = tmp_path / "bin" / "rsync"
    slow.parent.mkdir()
    slow.write_text('#!/bin/sh\nexec /usr/bin/rsync --bwlimit=8000 "$@"\n')
    slow.chmod(0o755)
    variables = {
        **os.environ, "ANSIBLE_ROLES_PATH": str(ROOT / "roles"), **shelf.panel.environment(),
        "PATH": f"{slow.parent}:{os.environ['PATH']}",
    }  # fmt: skip
    run = subprocess.Popen(
        shelf.command(shelf.folder / "bring.yml", "-e", given), cwd=ROOT, env=variables,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        size = "find . -name '.long.wav*' -size +8M | wc -l"
        while shelf.sh(f"cd {LIBRARY} && {size}") != "1":
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        # Ansible, its worker and rsync: all that name this folder of this test's own.
        subprocess.run(["pkill", "-KILL", "-f", str(music)], check=True)
        run.wait(10)
    partial = f"{LIBRARY}/.streamfleet-partial/long.wav"
    while not shelf.sh(f"stat -c %s {partial} 2>/dev/null; true"):
        assert time.monotonic() < deadline, shelf.listing()
        time.sleep(0.2)
    assert "long.wav" not in shelf.sh(f"ls {LIBRARY}")
    shelf.bring(music)
    assert shelf.sh(f"sha256sum < {LIBRARY}/long.wav").split()[0] == hashlib.sha256(content).hexdigest()
    assert shelf.sh(f"ls {LIBRARY}/.streamfleet-partial 2>/dev/null; true") == ""


def test_a_hostile_library_leads_nowhere(shelf: Shelf, music: Path) -> None:
    """Its links point at what is not the customer's: nothing is written through them, and nothing is deleted there."""
    shelf.sh(f"echo secret > {LIBRARY}/../{BOB}/own.mp3 && chown {BOB}:{BOB} {LIBRARY}/../{BOB}/own.mp3")
    shelf.sh(f"runuser -u sf{ALICE} -- ln -s /var/lib/streamfleet/media/{BOB} {LIBRARY}/theirs")
    shelf.sh(f"runuser -u sf{ALICE} -- ln -s /etc {LIBRARY}/day")
    before = shelf.sh("find /etc -newer /var/lib/streamfleet/media -type f; ls -la /etc | sha256sum")
    output = shelf.bring(music, dest="theirs", delete=True, ok=False)
    assert "Permission denied" in output
    shelf.bring(music, ok=False)
    assert shelf.sh("find /etc -newer /var/lib/streamfleet/media -type f; ls -la /etc | sha256sum") == before
    assert shelf.listing(BOB) == "f sf200002 644 ./own.mp3"


@pytest.mark.full
def test_a_full_disk_is_told_and_the_next_run_goes_on(shelf: Shelf, music: Path) -> None:
    (music / "large.wav").write_bytes(bytes(3_000_000))
    shelf.sh(f"mount -t tmpfs -o size=1M,uid={ALICE},gid={ALICE},mode=0750 tmpfs {LIBRARY}")
    try:
        output = " ".join(shelf.bring(music, ok=False).split())
        assert "the disk of n1 is full" in output
        shelf.sh(f"mount -o remount,size=8M {LIBRARY}")
        shelf.bring(music)
        assert shelf.sh(f"stat -c %s {LIBRARY}/large.wav") == "3000000"
    finally:
        shelf.sh(f"umount {LIBRARY}")


def test_what_a_library_holds_is_said_and_nothing_beside_it(shelf: Shelf, music: Path) -> None:
    shelf.panel.libraries = {"alice": {"n2": 7, NODE: 150}}
    shelf.bring(music)
    shelf.sh(f"echo secret > {LIBRARY}/../{BOB}/own.mp3")
    shelf.sh(f"runuser -u sf{ALICE} -- ln -s /var/lib/streamfleet/media/{BOB} {LIBRARY}/theirs")
    shelf.sh(f"runuser -u sf{ALICE} -- ln -s /etc {LIBRARY}/etc")
    found, _ = shelf.look()
    files = {item["path"]: item["bytes"] for item in found["files"]}
    assert files == {"day/a.mp3": 5000, "day/b $(id) `id` ;'x' \"y\".ogg": 5000, "é📻.flac": 5000}
    assert (found["count"], found["bytes"], found["ignored"], found["complete"]) == (3, 15000, 2, True)
    assert (found["exists"], found["disk_quota_mb"], found["changed"]) == (True, 150, False)
    few, _ = shelf.look(folder="day", limit=1)
    assert (few["count"], [item["path"] for item in few["files"]]) == (2, ["day/a.mp3"])
    for folder in ("etc", "theirs", "none"):
        assert f"folder: '{folder}' is no folder of this library" in shelf.look(ok=False, folder=folder)[1]
    none, _ = shelf.look(customer="newcomer")
    assert (none["exists"], none["count"], none["disk_quota_mb"]) == (False, 0, 0)


def test_who_has_no_library_here_is_told(shelf: Shelf, music: Path) -> None:
    output = " ".join(shelf.bring(music, customer="newcomer", ok=False).split())
    assert "customer: 'newcomer' has no media library here" in output
    assert shelf.sh("ls /var/lib/streamfleet/media") == "200001\n200002"
