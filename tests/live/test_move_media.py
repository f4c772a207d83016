"""Media libraries that move to another disk and back while a station plays from them and a customer uploads.

Tests playbooks: move_media.yml. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.panel import media_user, playlist, station
from tests.live import processes
from tests.live.node import NODE
from tests.live.test_autodj import ALL, DATA, MEDIA, OTHER, RADIO, ROLES, START, TONES, UNIT, Studio
from tests.live.test_file_transfer import CERTIFICATE, HASH, HOST, SECRET
from tests.live.tones import Ears, decoded, longest_silence, recording
from tests.live.transfers import Sftp

pytestmark = [pytest.mark.live, pytest.mark.full]

DISK = "/srv/disk/libraries"
PLACE = "/var/lib/streamfleet/media"
COPY, UNIT_OF_PLACE = "streamfleet-media-copy.service", "var-lib-streamfleet-media.mount"
#: The unit that the copy runs in is gone with it.
KEEP = f"cp /run/systemd/transient/{COPY} /root/copy.service"
SHUT_OUT = "shut-out.service"
#: All that is there of every file.
LISTING = f"cd {PLACE} && find . ! -type d -printf '%y %m %U:%G %s %T@ %n %p %l\\n' | sort"
#: Short, so that during each move tracks begin.
TRACK_SECONDS = 6.0


class Library(Studio):
    """A node that plays from a library which a customer uploads to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        variables = f"  vars:\n    streamfleet_file_transfer_host: {HOST}\n  roles:\n"
        (folder / "roles.yml").write_text(ROLES.replace("  roles:\n", variables) + "    - file_transfer\n")

    def move(self, *arguments: str, ok: bool = True) -> str:
        """Run the playbook."""
        return self.play("playbooks/move_media.yml", *(word for one in arguments for word in ("-e", one)), ok=ok)

    def sftp(self) -> Sftp:
        """The customer's client."""
        return Sftp(self.folder, self.address, "alice.up", SECRET)

    def top(self) -> str:
        """Device and number of the folder that is seen at the place of the libraries."""
        return self.sh(f"stat -c %d:%i {PLACE}")

    def pids(self) -> str:
        """The AutoDJ's process."""
        return self.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT} streamfleet-icecast@rock-fm.service")

    def in_autodj(self, command: str) -> str:
        """What the AutoDJ's user gets from a command, seeing what the AutoDJ sees."""
        enter = f"nsenter --mount=/proc/$(systemctl show -p MainPID --value {UNIT})/ns/mnt"
        return self.sh(f"{enter} setpriv --reuid=200001 --regid=200001 --clear-groups sh -c '{command}' 2>&1; true")

    def plays_from(self, path: str, since: int) -> None:
        """Wait until a track of the library was begun since, and see that it is read from there."""
        deadline = time.monotonic() + 8 * TRACK_SECONDS
        while not any(line["path"].startswith(path) for line in self.history()[since:]):
            assert time.monotonic() < deadline, self.history()[since:]
            time.sleep(0.5)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A station whose AutoDJ plays its library, another station, and an empty disk."""
    with Library(Path(tmp_path_factory.mktemp("library"))).started() as node:
        node.sh(CERTIFICATE)
        node.play(node.folder / "roles.yml")
        # As the RTMPS listener and others are that have no business with the libraries.
        shut = "-p InaccessiblePaths=/var/lib/streamfleet sleep infinity"
        node.sh(f"mkdir -p /srv/disk; systemd-run --quiet --unit={SHUT_OUT} {shut}")
        folder = Path(tmp_path_factory.mktemp("tones"))
        node.want(node.radio(playlist("day", folder="day")), station(*OTHER))
        node.panel.documents[NODE]["media_users"] = [media_user("alice.up", 200001, HASH)]
        node.play("playbooks/converge.yml")
        for number in range(4):
            path = recording(folder / f"{number}.mp3", TONES["day"], TRACK_SECONDS)
            node.upload(path, f"day/{number}.mp3")
        # So much that the copy takes a while; a hard link and a link, as customers leave them.
        node.sh(
            f"cd {MEDIA} && head -c 700000000 /dev/urandom >large.bin && ln large.bin same.bin && ln -s day link"
            " && chown -h 200001:200001 large.bin link && chmod 640 large.bin"
        )
        yield node


@pytest.fixture
def ears(library: Library) -> Iterator[Ears]:
    """A listener who hears the AutoDJ from the beginning to the end, without a gap."""
    deadline = time.monotonic() + START
    while True:
        it = Ears(library.address, RADIO[2], "/stream")
        time.sleep(1)
        if it.status == 200:
            break
        it.stop()
        assert time.monotonic() < deadline, library.sh(f"journalctl -u {UNIT} --no-pager | tail -50")
    it.await_tone(TONES["day"], ALL, within=START)
    begun, process = time.monotonic(), library.pids()
    yield it
    assert not it.ended
    assert library.pids() == process
    heard = decoded(it.bytes_since(begun))
    assert longest_silence(heard) < 0.5
    assert it.hears(ALL) == TONES["day"]
    it.stop()


def test_nothing_is_done_where_something_is_wrong_or_in_check_mode(library: Library) -> None:
    for wrong, said in (("/srv/none/new", "there is no /srv/none"), ("/run/media/new", "not for data")):
        assert said in library.move(f"move_media_to={wrong}", ok=False)
    assert "Give move_media_to, or" in library.move(ok=False)
    checked = library.play("playbooks/move_media.yml", "-e", f"move_media_to={DISK}", "--check")
    assert f"from {PLACE} to {DISK}" in checked
    assert library.sh(f"ls {DISK} /var/lib/streamfleet/media_move 2>/dev/null; true") == ""


def test_they_move_while_they_are_played_and_written_to(library: Library, ears: Ears, tmp_path: Path) -> None:
    """The first run is killed while it copies; the node goes on by itself, and so does the next run."""
    before = library.top()
    files = library.sh(LISTING)
    command = library.command("playbooks/move_media.yml", "-e", f"move_media_to={DISK}")
    environment = {**os.environ, **library.panel.environment()}
    waiting = library.fleet.ssh(NODE, f"until systemctl is-active --quiet {COPY}; do sleep 0.05; done; {KEEP}")
    # ssh makes what it is given non-blocking, and Ansible would refuse to share that.
    none = subprocess.DEVNULL
    with subprocess.Popen(waiting, stdin=none, stdout=none, stderr=none) as copying:
        running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            copying.wait(120)
        finally:
            copying.kill()
            processes.kill(running.pid)
            said = running.communicate()[0]
    assert library.top() == before, said
    exposure = library.sh("systemd-analyze security --offline=true --no-pager /root/copy.service | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 3.0, exposure
    assert "unfinished" in library.move("move_media_to=/srv/disk/other", ok=False)
    (tmp_path / "late.mp3").write_bytes(b"late")
    library.sftp().run(f"put {tmp_path}/late.mp3 late.mp3")

    count = len(library.history())
    said = library.move(f"move_media_to={DISK}")
    assert "goes on with what was begun" in said
    assert f"streamfleet_common_media_path: {DISK}" in said
    print(said)
    assert library.top() == library.sh(f"stat -c %d:%i {DISK}") != before
    now = library.sh(LISTING)
    assert [line for line in now.splitlines() if " ./200001/late.mp3 " not in line] == files.splitlines()
    assert library.sh(f"cat {MEDIA}/late.mp3") == "late"
    library.plays_from("day/", count)


def test_units_that_run_see_it_and_may_do_no_more_than_before(library: Library, ears: Ears, tmp_path: Path) -> None:
    assert library.in_autodj(f"stat -c %d:%i {PLACE}") == library.top()
    assert "Read-only file system" in library.in_autodj(f"touch {MEDIA}/x")
    shut_out = f"nsenter --target=$(systemctl show -p MainPID --value {SHUT_OUT}) --mount ls {PLACE} 2>&1; true"
    assert "No such file or directory" in library.sh(shut_out)
    (tmp_path / "new.mp3").write_bytes(b"new")
    library.sftp().run(f"put {tmp_path}/new.mp3 new.mp3")
    assert library.sh(f"cat {DISK}/200001/new.mp3") == "new"
    again = library.move(f"move_media_to={DISK}")
    assert "is done, and the files of before are kept" in again
    assert library.changed(again) == 0
    # The inventory has to say so; then install.yml changes nothing.
    roles = library.folder / "roles.yml"
    assert f"its media libraries are in {DISK}" in " ".join(library.play(roles, ok=False).split())
    assert library.changed(library.play(roles, "-e", f"streamfleet_common_media_path={DISK}")) == 0


def test_they_go_back_with_what_has_come_since(library: Library, ears: Ears) -> None:
    count, new = len(library.history()), library.top()
    library.move("move_media_undo=true")
    assert library.top() != new
    assert library.sh(f"cat {MEDIA}/new.mp3; ls /srv/disk") == "new"
    assert library.sh(f"systemctl list-unit-files --no-legend {UNIT_OF_PLACE}; findmnt {PLACE}; true") == ""
    library.plays_from("day/", count)
    assert library.in_autodj(f"stat -c %d:%i {PLACE}") == library.top()
    library.sftp().run("rm new.mp3")
    assert library.changed(library.play(library.folder / "roles.yml")) == 0


def test_they_move_for_good(library: Library, ears: Ears) -> None:
    """But for what would lend somebody's power."""
    library.sh(f"cd {MEDIA} && mkfifo pipe && cp /bin/true program && chmod 6755 program")
    library.move(f"move_media_to={DISK}")
    assert library.sh(f"cd {MEDIA} && ls pipe 2>/dev/null; stat -c %a program") == "755"
    library.move("move_media_release=true")
    under = "mkdir -p /mnt/under && mount --bind /var/lib/streamfleet /mnt/under"
    assert library.sh(f"{under} && ls /mnt/under/media; umount /mnt/under") == ""
    assert "no move is under way" in library.move("move_media_undo=true", ok=False)
    library.plays_from("day/", len(library.history()))


def test_after_a_restart_they_are_there_and_uninstalling_leaves_the_files(library: Library) -> None:
    library.fleet.reboot(NODE)
    assert library.top() == library.sh(f"stat -c %d:%i {DISK}")
    assert library.sh(f"systemctl is-active {UNIT_OF_PLACE}") == "active"
    deadline = time.monotonic() + START
    count = len(library.history())
    while len(library.history()) == count:
        assert time.monotonic() < deadline, library.sh(f"journalctl -u {UNIT} --no-pager | tail -30; ls -l {DATA}")
        time.sleep(1)
    assert "Read-only file system" in library.in_autodj(f"touch {MEDIA}/x")
    playbook = library.folder / "removed.yml"
    playbook.write_text(
        "---\n- name: Take it away\n  hosts: streamfleet_nodes\n  become: true\n  gather_facts: false\n  tasks:\n"
        "    - name: Take it away\n      streamfleet_media_move:\n        state: removed\n"
    )
    assert library.changed(library.play(playbook)) == 1
    assert library.sh(f"ls {PLACE}; ls {DISK}/200001/large.bin; findmnt {PLACE}; true") == f"{DISK}/200001/large.bin"
    assert library.changed(library.play(playbook)) == 0
