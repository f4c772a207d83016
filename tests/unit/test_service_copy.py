"""Files of services on their way to another node: what the key opens, and what rsync makes of two folders.

rsync is the real one; instead of SSH it is given a double, which does what sshd does with the key's one command. What
nodes make of it is shown by tests/live/test_transfer.py.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from streamfleet.node_apply import state
from streamfleet.node_apply.host import Finished, Host
from streamfleet.service_copy import getting, giving, hearing, keys, quiet, ready
from streamfleet.service_copy.getting import Given
from streamfleet.service_copy.notes import Notes
from streamfleet.service_copy.places import CopyError, folders_of, measured, total

from tests.ports import free_port

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA87XWuBJn2PerAcsbHAuAzufLtl4aLjavEPODNG1Rzn"
ORIGIN = getting.Origin("192.0.2.10", 22, "streamfleet-converge", KEY)
FOLDERS = ["services/rock-fm", "media/200001"]


@dataclass
class Nodes:
    """Two trees. ``ssh`` is a double: it runs what the transfer's line of authorized_keys says, and nothing else."""

    root: Path
    shells: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    units: list[list[str]] = field(default_factory=list)

    def host(self, name: str) -> Host:
        return Host(root=self.root / name, own=False, run=self.run, sleep=lambda _seconds: None)

    def put(self, name: str, path: str, text: str) -> None:
        place = self.root / name / "var/lib/streamfleet" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def given(self, name: str = "from", **more: Any) -> Given:
        """What the other side is told that this one has."""
        counts = measured(self.host(name), FOLDERS)
        return Given({folder: one.files for folder, one in counts.items()}, total(counts).bytes, **more)

    def files(self, name: str) -> dict[str, str]:
        base = self.root / name / "var/lib/streamfleet"
        found = (path for folder in FOLDERS for path in (base / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(base)): path.read_text() for path in found}

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        if argv[0] == "systemctl":
            return Finished(3)
        assert argv[0] != "rsync", "rsync runs in a unit"
        if argv[0] == "systemd-run":
            self.units.append([word for word in argv if word.startswith("--property=")])
            # The unit's own command, which is through when it is looked at again.
            argv = argv[argv.index("/bin/sh") :]
        if argv[0] == "/bin/sh" and (shell := next((word for word in argv if word.startswith("--rsh=")), "")):
            self.shells.append(shell)
            self.commands.append(list(argv))
            for wanted in ("StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes"):
                assert wanted in shell
            argv = [f"--rsh={self.root}/ssh" if word == shell else word for word in argv]
        done = subprocess.run(list(argv), input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    def sshd(self) -> None:
        """Have the double do what the line in authorized_keys says, in the tree, as whoever runs the tests."""
        line = (self.root / "from/root/.ssh/authorized_keys").read_text().splitlines()[-1]
        command = line.partition('command="')[2].partition('"')[0].split()
        settings = self.root / "from" / command[-2].partition("=")[2].lstrip("/")
        text = settings.read_text().replace("path = ", f"path = {self.root}/from")
        for root_only in ("use chroot = yes", "uid = 0", "gid = 0"):
            assert root_only in text
            text = text.replace(root_only, "use chroot = no" if "chroot" in root_only else "")
        (self.root / "rsyncd.conf").write_text(text)
        command[-2] = f"--config={self.root}/rsyncd.conf"
        (self.root / "ssh").write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
        (self.root / "ssh").chmod(0o755)


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    """A station's data and a library on the one, nothing on the other."""
    it = Nodes(tmp_path)
    it.put("from", "services/rock-fm/history.jsonl", "{}\n")
    it.put("from", "media/200001/day/one.mp3", "one")
    it.put("from", "media/200002/other.mp3", "another customer's")
    for place in ("var/lib/streamfleet/services", "var/lib/streamfleet/media"):
        (tmp_path / "into" / place).mkdir(parents=True)
    keys = tmp_path / "from/root/.ssh/authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.write_text("# Managed.\n")
    keys.chmod(0o640)
    return it


def served(nodes: Nodes, folders: list[str] = FOLDERS) -> list[str]:
    return giving.served(nodes.host("from"), "7", "root", KEY, folders)


def test_the_key_opens_these_folders_to_be_read_and_goes(nodes: Nodes) -> None:
    keys = nodes.root / "from/root/.ssh/authorized_keys"
    assert served(nodes, [*FOLDERS, "media-index/200001"]) == FOLDERS
    assert served(nodes) == FOLDERS
    first, line = keys.read_text().splitlines()
    assert first == "# Managed."
    assert Notes(nodes.host("from"), "7").read("gave", None) == FOLDERS
    assert line.startswith('restrict,expiry-time="2')
    assert line.endswith(f" {KEY} streamfleet-transfer-7")
    assert keys.stat().st_mode & 0o777 == 0o640
    settings = (nodes.root / "from/run/streamfleet-transfer/7/rsyncd.conf").read_text()
    assert "[services.rock-fm]\npath = /var/lib/streamfleet/services/rock-fm\n" in settings
    assert "200002" not in settings
    assert "read only = yes" in settings
    assert giving.withdrawn(nodes.host("from"), "7", "root")
    assert keys.read_text() == "# Managed.\n"
    assert not giving.withdrawn(nodes.host("from"), "7", "root")
    giving.served(nodes.host("from"), "7", "root", KEY, FOLDERS, ["192.0.2.11", "127.0.0.1"])
    assert keys.read_text().splitlines()[-1].startswith('restrict,from="127.0.0.1,192.0.2.11",expiry-time="2')
    with pytest.raises(CopyError, match="does not find 'no such host'"):
        giving.served(nodes.host("from"), "7", "root", KEY, FOLDERS, ["no such host"])


def test_two_that_let_somebody_in_at_once_keep_each_others_keys(nodes: Nodes) -> None:
    host, rounds = nodes.host("from"), 40

    def come_and_go(number: int) -> list[bool]:
        mark = f"mark-{number}"
        gone = []
        for _ in range(rounds):
            keys.allow(host, "root", mark, KEY, "/usr/bin/true", [], giving.KEPT)
            gone.append(keys.forbid(host, "root", mark))
        return gone

    with ThreadPoolExecutor(4) as workers:
        assert list(workers.map(come_and_go, range(4))) == [[True] * rounds] * 4
    assert (nodes.root / "from/root/.ssh/authorized_keys").read_text() == "# Managed.\n"


def test_the_copy_and_what_changes_until_the_last_pass(nodes: Nodes) -> None:
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    assert here.keyed(ORIGIN).startswith("ssh-ed25519 ")
    assert here.folder.stat().st_mode & 0o777 == 0o700
    status = here.copied(ORIGIN, nodes.given(), FOLDERS, 60)["status"]
    assert status["running"] is False
    assert nodes.files("into") == nodes.files("from")
    nodes.put("from", "media/200001/day/two.mp3", "two")
    (nodes.root / "from/var/lib/streamfleet/media/200001/day/one.mp3").unlink()
    verified = here.caught_up(ORIGIN, nodes.given(), FOLDERS)["verified"]
    # A side that reads its files to compare them says nothing meanwhile, however many there are.
    timed = ["--timeout=60" in command for command in nodes.commands]
    assert [not timeout for timeout in timed] == ["--checksum" in command for command in nodes.commands]
    assert timed[:3] == [True, False, True]
    # While nobody is on the air, all folders are fetched over one connection.
    assert "ControlPath" not in nodes.shells[0]
    assert f"ControlPath={here.folder}/ssh" in nodes.shells[-1]
    assert nodes.files("into") == nodes.files("from")
    assert verified["files"] == 2
    assert not (nodes.root / "into/var/lib/streamfleet/media/200002").exists()
    assert not here.notes.replaced.exists()
    assert here.forgotten()
    assert not here.said.exists()
    assert sorted(path.name for path in here.folder.iterdir()) == ["had.json", "lock", "made.json"]
    assert here.ended() == (True, "")
    assert not here.folder.exists()
    assert here.ended() == (False, "")


def test_of_services_without_files_nothing_is_begun(nodes: Nodes) -> None:
    here, folders = getting.Getting(nodes.host("into"), "7"), ["services/rock-tv"]
    here.keyed(ORIGIN)
    before = len(nodes.commands)
    assert here.copied(ORIGIN, Given({}), folders, 60)["status"]["step"] == "copied"
    assert here.caught_up(ORIGIN, Given({}), folders)["verified"]["files"] == 0
    assert len(nodes.commands) == before
    # What is there is somebody else's all the same.
    other = getting.Getting(nodes.host("into"), "8")
    other.keyed(ORIGIN)
    nodes.put("into", "services/rock-tv/old", "old")
    with pytest.raises(CopyError, match="services/rock-tv is on this node already"):
        other.copied(ORIGIN, Given({}), folders, 60)


def test_nothing_comes_along_that_would_lend_roots_power(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other node may be in a stranger's hands."""
    library = nodes.root / "from/var/lib/streamfleet/media/200001"
    (library / "day/one.mp3").chmod(0o6755)
    (library / "day").chmod(0o2755)
    os.mkfifo(library / "pipe")
    with socket.socket(socket.AF_UNIX) as door, monkeypatch.context() as here_alone:
        # Its path is longer than the address of a socket may be.
        here_alone.chdir(library)
        door.bind("door")
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    here.keyed(ORIGIN)
    here.copied(ORIGIN, nodes.given(), FOLDERS, 60)
    assert here.caught_up(ORIGIN, nodes.given(), FOLDERS)["verified"]["files"] == 2
    arrived = nodes.root / "into/var/lib/streamfleet/media/200001"
    assert sorted(path.name for path in arrived.iterdir()) == ["day"]
    assert (arrived / "day/one.mp3").stat().st_mode & 0o7777 == 0o755
    assert (arrived / "day").stat().st_mode & 0o7777 == 0o755
    assert all("--no-devices" in command for command in nodes.commands)


def test_a_copy_writes_into_its_trees_alone(nodes: Nodes) -> None:
    """On the way back the trees are of one mount, and the rest of it is hidden."""
    base = nodes.root / "into/var/lib/streamfleet"
    for name in ("panel", "transfer/8"):
        (base / name).mkdir(parents=True)
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    here.keyed(ORIGIN)
    here.copied(ORIGIN, nodes.given(), FOLDERS, 60)
    here.caught_up(ORIGIN, nodes.given(), FOLDERS)
    places = " ".join(f"-{base}/{name}" for name in ("media", "media-index", "services", "transfer/7"))
    places += f" -{nodes.root}/into/run/streamfleet-transfer/last-7"
    for unit in nodes.units:
        assert f"--property=ReadWritePaths={places}" in unit
        assert "--property=ProtectSystem=strict" in unit
    assert "--property=TimeoutStartSec=600" in nodes.units[-1]
    here.caught_up(ORIGIN, nodes.given(back=True), FOLDERS)
    assert f"--property=ReadWritePaths=-{base} -{nodes.root}/into/run/streamfleet-transfer/last-7" in nodes.units[-1]
    for name in ("panel", "transfer/8"):
        assert f"--property=InaccessiblePaths=-{base}/{name}" in nodes.units[-1]


def refusing(nodes: Nodes, answer: Finished) -> tuple[Host, list[list[str]]]:
    """A host whose systemd-run answers so, and all that is run there."""
    calls: list[list[str]] = []

    def run(argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        calls.append(list(argv))
        return answer if argv[0] == "systemd-run" else nodes.run(argv, stdin, timeout)

    return Host(root=nodes.root / "into", own=False, run=run), calls


def test_what_does_not_end_is_stopped(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    served(nodes)
    nodes.sshd()
    (nodes.root / "ssh").write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(getting, "LAST", 0.2)
    host, calls = refusing(nodes, Finished(124, err="systemd-run did not end within 30.2 seconds"))
    here = getting.Getting(host, "7")
    here.keyed(ORIGIN)
    with pytest.raises(CopyError, match=r"takes longer than 0\.2 seconds"):
        here.caught_up(ORIGIN, nodes.given(), FOLDERS)
    assert calls[-1] == ["systemctl", "stop", "streamfleet-transfer-7-last.service"]


def test_a_unit_that_cannot_be_started_says_why(nodes: Nodes) -> None:
    served(nodes)
    host, _calls = refusing(nodes, Finished(1, err="Job for streamfleet-transfer-7-last.service failed."))
    here = getting.Getting(host, "7")
    here.keyed(ORIGIN)
    with pytest.raises(CopyError, match=r"cannot be fetched.*Job for streamfleet-transfer-7-last\.service failed"):
        here.caught_up(ORIGIN, nodes.given(), FOLDERS)


def test_a_copy_that_fails_says_why_and_goes_on_the_next_time(nodes: Nodes) -> None:
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    here.keyed(ORIGIN)
    ssh = (nodes.root / "ssh").read_text()
    (nodes.root / "ssh").write_text("#!/bin/sh\necho 'Connection refused' >&2\nexit 255\n")
    with pytest.raises(CopyError, match=r"nothing is off the air for it. rsync ended with .*Connection refused"):
        here.copied(ORIGIN, nodes.given(), FOLDERS, 60)
    with pytest.raises(CopyError, match=r"services/rock-fm cannot be fetched. rsync ended with .*Connection refused"):
        here.caught_up(ORIGIN, nodes.given(), FOLDERS)
    (nodes.root / "ssh").write_text(ssh)
    here.copied(ORIGIN, nodes.given(), FOLDERS, 60)
    assert nodes.files("into") == nodes.files("from")


def test_without_room_nothing_is_begun(nodes: Nodes) -> None:
    here = getting.Getting(nodes.host("into"), "7")
    here.folder.mkdir(parents=True)
    with pytest.raises(CopyError, match=r"MB are free on this node, and .* are needed"):
        here.copied(ORIGIN, Given({}, 2**60), FOLDERS, 60)


def test_without_room_for_what_is_replaced_nothing_is_begun(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The media are on a disk of their own, and what a copy back removes is kept on the other one."""
    here = getting.Getting(nodes.host("into"), "7")
    here.notes.make()
    real = os.statvfs

    def statvfs(place: Path) -> os.statvfs_result:
        found = tuple(real(place))
        return os.statvfs_result((*found[:3], 0, 0, *found[5:10]) if "/transfer" in str(place) else found[:10])

    monkeypatch.setattr(os, "statvfs", statvfs)
    nodes.put("into", "media/200001/old.mp3", "old")
    here._check_room(Given({"media/200001": 0}, 0))
    with pytest.raises(CopyError, match=r"transfer/7/replaced: 0 MB are free"):
        here._check_room(Given({"media/200001": 0}, 0, back=True))


@pytest.mark.parametrize(
    ("slugs", "uids", "said"),
    [(["../etc"], [], "is not a slug"), (["a/b"], [], "is not a slug"), ([], [0], "is not the uid of a tenant")],
)
def test_what_is_no_folder_of_a_service_is_refused(slugs: list[str], uids: list[int], said: str) -> None:
    with pytest.raises(CopyError, match=said):
        folders_of(slugs, uids)


@pytest.mark.parametrize("folder", ["services/../node", "media/../../etc", "media/100", "node"])
def test_no_other_folder_is_opened_or_fetched(nodes: Nodes, folder: str) -> None:
    with pytest.raises(CopyError, match="is not a folder of a service"):
        served(nodes, [folder])


@pytest.mark.parametrize(
    "origin",
    [
        getting.Origin("-oProxyCommand=x", 22, "root", KEY),
        getting.Origin("192.0.2.1", 22, "root -o x", KEY),
        getting.Origin("192.0.2.1", 22, "root", "a\nb"),
        getting.Origin("192.0.2.1", 22, "root", ""),
    ],
)
def test_what_would_be_an_option_is_refused(nodes: Nodes, origin: getting.Origin) -> None:
    with pytest.raises(CopyError):
        getting.Getting(nodes.host("into"), "7").keyed(origin)


def test_what_is_somebody_elses_is_neither_overwritten_nor_removed(nodes: Nodes) -> None:
    """The customer has a library there already, which no transfer has brought."""
    nodes.put("into", "media/200001/old.mp3", "what another station plays")
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    here.keyed(ORIGIN)
    for fetch in (
        lambda: here.copied(ORIGIN, nodes.given(), FOLDERS, 60),
        lambda: here.caught_up(ORIGIN, nodes.given(), FOLDERS),
    ):
        with pytest.raises(CopyError, match="media/200001 is on this node already, with 1 files"):
            fetch()
    assert nodes.files("into") == {"media/200001/old.mp3": "what another station plays"}
    assert here.notes.removed(["rock-fm"], [200001]).files == 0
    assert nodes.files("into") == {"media/200001/old.mp3": "what another station plays"}


def a_copy_back(nodes: Nodes) -> getting.Getting:
    """Services that were on ``into`` before, are on ``from`` now, and are to go back."""
    for number in range(8):
        for name in ("into", "from"):
            nodes.put(name, f"media/200001/{number}.mp3", f"song {number}")
            os.utime(nodes.root / name / f"var/lib/streamfleet/media/200001/{number}.mp3", (0, 0))
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    here.keyed(ORIGIN)
    return here


def test_a_copy_back_does_not_spread_a_loss(nodes: Nodes) -> None:
    here, before = a_copy_back(nodes), nodes.files("into")
    shutil.rmtree(nodes.root / "from/var/lib/streamfleet/media/200001")
    with pytest.raises(CopyError, match=r"media/200001 \(8 files\) is not there.*transfer_fewer=yes"):
        here.copied(ORIGIN, nodes.given(back=True), FOLDERS, 60)
    for number in range(2):
        nodes.put("from", f"media/200001/{number}.mp3", f"song {number}")
        os.utime(nodes.root / f"from/var/lib/streamfleet/media/200001/{number}.mp3", (0, 0))
    for fetch in (here.copied, lambda *words: here.caught_up(*words[:3])):
        with pytest.raises(CopyError, match=r"media/200001 has 2 files there, and 8 here"):
            fetch(ORIGIN, nodes.given(back=True), FOLDERS, 60)
    assert nodes.files("into") == before
    here.copied(ORIGIN, nodes.given(back=True, fewer=True), FOLDERS, 60)
    assert nodes.files("into") == nodes.files("from")
    lost = [f"{number}.mp3" for number in range(2, 8)]
    (kept,) = here.notes.replaced.glob("*/media/200001")
    assert sorted(path.name for path in kept.iterdir()) == lost
    # Somebody has said that this is meant, and may have been wrong.
    for _again in range(2):
        assert here.ended() == (True, str(here.notes.replaced))
        assert sorted(path.name for path in kept.iterdir()) == lost
    assert sorted(path.name for path in here.folder.iterdir()) == ["fewer.json", "replaced"]


def test_what_is_lost_over_there_during_a_copy_back_does_not_get_lost_here(nodes: Nodes) -> None:
    """The first passes have removed it here; the last one does not find it to be in order."""
    here = a_copy_back(nodes)
    given = nodes.given(back=True)
    library = nodes.root / "from/var/lib/streamfleet/media/200001"
    for path in [*library.glob("*.mp3"), library / "day/one.mp3"]:
        path.unlink()
    here.copied(ORIGIN, given, FOLDERS, 60)
    assert not [name for name in nodes.files("into") if name.startswith("media/")]
    with pytest.raises(CopyError, match=r"media/200001 has 0 files there, and 8 here"):
        here.caught_up(ORIGIN, nodes.given(back=True), FOLDERS)
    assert len(list(here.notes.replaced.rglob("*.mp3"))) == 8


def test_what_a_copy_back_replaces_is_kept_until_the_end(nodes: Nodes) -> None:
    here = a_copy_back(nodes)
    nodes.put("from", "media/200001/1.mp3", "another song")
    (nodes.root / "from/var/lib/streamfleet/media/200001/2.mp3").unlink()
    here.copied(ORIGIN, nodes.given(back=True), FOLDERS, 60)
    nodes.put("from", "services/rock-fm/history.jsonl", "{}\n{}\n")
    (nodes.root / "from/var/lib/streamfleet/media/200001/3.mp3").unlink()
    here.caught_up(ORIGIN, nodes.given(back=True), FOLDERS)
    assert nodes.files("into") == nodes.files("from")
    here.forgotten()
    kept = {path.name: path.read_text() for path in here.notes.replaced.rglob("*") if path.is_file()}
    assert kept.pop("history.jsonl") == "{}\n"
    assert kept == {f"{number}.mp3": f"song {number}" for number in (1, 2, 3)}
    # The same again, as after an undo that was refused: what was there first is kept beside what came since.
    here.keyed(ORIGIN)
    nodes.put("from", "media/200001/1.mp3", "a third song")
    here.copied(ORIGIN, nodes.given(back=True), FOLDERS, 60)
    found = sorted(path.read_text() for path in here.notes.replaced.rglob("1.mp3"))
    assert found == ["another song", "song 1"]
    assert here.ended() == (True, "")
    assert not here.folder.exists()


def a_copy_back_that_was_cut(nodes: Nodes) -> getting.Getting:
    """Files were renamed since; what was here is put aside, and the other node died before it had sent the new ones."""
    here = a_copy_back(nodes)
    library = nodes.root / "from/var/lib/streamfleet/media/200001"
    nodes.put("from", "media/200001/7.mp3", "another song")
    renamed = library / "z"
    renamed.mkdir()
    for number in range(4):
        (library / f"{number}.mp3").rename(renamed / f"{number}.mp3")
    (library / "day/one.mp3").rename(renamed / "one.mp3")
    (library / "day").rmdir()
    # A file where a folder was.
    (library / "day").write_text("a file by now")
    given = nodes.given(back=True)
    # What is not there any more does not arrive.
    for path in renamed.iterdir():
        path.unlink()
    here.copied(ORIGIN, given, FOLDERS, 60)
    return here


def test_what_a_copy_back_has_put_aside_comes_back_where_the_other_node_is_dead(nodes: Nodes) -> None:
    nodes.put("into", "media/200001/#1/hit.mp3", "a name that lists take for a comment")
    nodes.put("into", "media/200001/day/one.mp3", "one")
    nodes.put("into", "media/200001/day/none.mp3", "none")
    nodes.put("into", "services/rock-fm/history.jsonl", "of then\n")
    library = nodes.root / "into/var/lib/streamfleet/media/200001"
    library.chmod(0o2731)
    (library / "day").chmod(0o751)
    (library / "day/one.mp3").chmod(0o640)
    (library / "way").symlink_to("/etc")
    os.utime(library / "day/one.mp3", (5, 5))
    # A folder where a link was, one of which a part is gone, and a file that only its contents tell apart.
    nodes.put("from", "media/200001/way/new.mp3", "new")
    for name in ("into", "from"):
        nodes.put(name, "media/200001/mix/stays.mp3", "stays")
        nodes.put(name, "media/200001/same.mp3", f"{name:4}")
        os.utime(nodes.root / name / "var/lib/streamfleet/media/200001/same.mp3", (5, 5))
    nodes.put("into", "media/200001/mix/gone.mp3", "gone")
    here = a_copy_back_that_was_cut(nodes)
    before = {f"media/200001/{number}.mp3": f"song {number}" for number in range(8)}
    before |= {"media/200001/day/one.mp3": "one", "media/200001/day/none.mp3": "none"}
    before |= {"media/200001/#1/hit.mp3": "a name that lists take for a comment"}
    before |= {"services/rock-fm/history.jsonl": "of then\n", "media/200001/same.mp3": "into"}
    before |= {"media/200001/mix/stays.mp3": "stays", "media/200001/mix/gone.mp3": "gone"}
    assert len(before.items() & nodes.files("into").items()) == 4
    # A pass of another day puts aside what the first one has brought, and brings more, which stays.
    nodes.put("from", "media/200001/7.mp3", "a song of another size")
    for number in range(4):
        nodes.put("from", f"media/200001/z/{number}.mp3", "renamed")
        before[f"media/200001/z/{number}.mp3"] = "renamed"
    here.caught_up(ORIGIN, nodes.given(back=True), FOLDERS)
    assert len(list(here.notes.replaced.rglob("7.mp3"))) == 2
    # A tenant's program that runs here still has made a link of what was a folder.
    outside = nodes.root / "outside"
    outside.mkdir()
    (library / "#1").symlink_to(outside)
    library.chmod(0o2730)
    units = len(nodes.units)
    put_aside = [f"{number}.mp3" for number in (0, 1, 2, 3, 7)]
    put_aside += ["one.mp3", "none.mp3", "hit.mp3", "way", "history.jsonl", "same.mp3", "gone.mp3"]
    for _again in range(2):
        assert here.put_back(FOLDERS) == (len(put_aside), "")
        assert nodes.files("into") == before
        # So that it can be asked for again.
        assert here.notes.replaced.is_dir()
    assert list(outside.iterdir()) == []
    assert (library / "way").readlink() == Path("/etc")
    assert library.stat().st_mode & 0o7777 == 0o2730
    assert (library / "day").stat().st_mode & 0o777 == 0o751
    assert (library / "day/one.mp3").stat().st_mode & 0o777 == 0o640
    assert (library / "day/one.mp3").stat().st_mtime == 5
    said = nodes.root / "into/run/streamfleet-transfer/last-7"
    base = nodes.root / "into/var/lib/streamfleet"
    writable = {f"--property=ReadWritePaths=-{base}/{folder} -{said}" for folder in FOLDERS}
    for unit in nodes.units[units:]:
        assert len(writable & set(unit)) == 1
        assert "--property=PrivateNetwork=yes" in unit
    assert not said.exists()
    assert not [path for path in here.folder.iterdir() if path.name.startswith("id_")]
    assert here.ended() == (True, "")
    assert not here.folder.exists()
    assert here.put_back(FOLDERS) == (0, "")


def test_what_cannot_be_put_back_is_kept(nodes: Nodes) -> None:
    here = a_copy_back_that_was_cut(nodes)
    host, _calls = refusing(nodes, Finished(1, err="No space left on device"))
    count, problem = getting.Getting(host, "7").put_back(FOLDERS)
    assert count == 0
    assert "media/200001: rsync ended with 1 and says: No space left on device" in problem
    kept = sorted(path.name for path in here.notes.replaced.rglob("*.mp3"))
    assert kept == ["0.mp3", "1.mp3", "2.mp3", "3.mp3", "7.mp3"]
    # Nor is a folder made that is not there any more, or written into by a link.
    library = nodes.root / "into/var/lib/streamfleet/media/200001"
    library.rename(nodes.root / "elsewhere")
    library.symlink_to(nodes.root / "elsewhere")
    assert "media/200001 is no folder of theirs here" in here.put_back(FOLDERS)[1]
    library.unlink()
    (nodes.root / "elsewhere").rename(library)
    assert "media/200001 is no folder of theirs here" in here.put_back(["services/rock-fm"])[1]
    for _again in range(2):
        assert here.ended() == (True, str(here.notes.replaced))
    assert sorted(path.name for path in here.notes.replaced.rglob("*.mp3")) == kept


def test_what_was_put_back_in_the_end_is_not_kept(nodes: Nodes) -> None:
    here = a_copy_back_that_was_cut(nodes)
    assert here.put_back(["services/rock-fm"])[1]
    assert here.put_back(FOLDERS) == (5, "")
    assert here.ended() == (True, "")


def test_a_copy_that_may_be_the_only_one_stays_and_is_named(nodes: Nodes) -> None:
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    here.keyed(ORIGIN)
    here.copied(ORIGIN, nodes.given(), FOLDERS, 60)
    base = nodes.root / "into/var/lib/streamfleet"
    for _again in range(2):
        assert here.notes.brought() == [f"{base}/{folder}" for folder in FOLDERS]
        assert here.ended(brought=True) == (True, "")
        assert nodes.files("into") == nodes.files("from")
        assert [path.name for path in here.folder.iterdir()] == ["made.json"]
    other = getting.Getting(nodes.host("into"), "8")
    other.keyed(ORIGIN)
    assert other.notes.brought() == []
    with pytest.raises(CopyError, match="is on this node already"):
        other.copied(ORIGIN, nodes.given(), FOLDERS, 60)
    assert other.ended(brought=True) == (True, "")
    assert not other.folder.exists()


def test_only_what_a_transfer_has_brought_or_given_is_removed(nodes: Nodes) -> None:
    host = nodes.host("from")
    base = nodes.root / "from/var/lib/streamfleet"
    (base / "media-index").mkdir()
    (base / "media-index/200001").symlink_to(base / "media/200002")
    notes = Notes(host, "7")
    assert notes.removed([], [200001, 200002]).files == 0
    notes.add("gave", ["media/200001", "media-index/200001"])
    assert notes.removed([], [200001, 200002]).files == 1
    assert not (base / "media/200001").exists()
    assert (base / "media/200002/other.mp3").exists()


def test_a_node_that_never_had_them_keeps_what_it_has_of_these_names(nodes: Nodes) -> None:
    """It is back from the dead, and has the only copy of what was made there since."""
    nodes.put("into", "services/rock-fm/history.jsonl", "mine\n")
    notes = Notes(nodes.host("into"), "7")
    with pytest.raises(CopyError, match="services/rock-fm is on this node already"):
        notes.claim(FOLDERS)
    assert notes.removed(["rock-fm"], [200001]).files == 0
    assert nodes.files("into") == {"services/rock-fm/history.jsonl": "mine\n"}
    notes.claim(["services/jazz-fm"])
    nodes.put("into", "services/jazz-fm/history.jsonl", "brought\n")
    notes.add("gave", ["services/rock-fm"])
    assert notes.removed(["rock-fm", "jazz-fm"], []).files == 1
    assert not notes.host.path("/var/lib/streamfleet/services/jazz-fm").exists()
    assert nodes.files("into") == {"services/rock-fm/history.jsonl": "mine\n"}


def test_nothing_is_given_up_that_the_other_node_lacks(nodes: Nodes) -> None:
    given = nodes.given().files
    notes = Notes(nodes.host("into"), "7")
    with pytest.raises(CopyError, match=r"lacks what the other one has: .*services/rock-fm \(1 files\) is not there"):
        notes.compared(given, fewer=False)
    assert notes.compared(given, fewer=True) == {}
    for path, text in nodes.files("from").items():
        nodes.put("into", path, text)
    assert notes.compared(given, fewer=False) == given


def test_a_node_is_asked_whether_it_can_have_them(nodes: Nodes) -> None:
    entries = {
        "rock-fm": {"unit": "streamfleet-icecast@rock-fm.service", "state": "running"},
        "rock-fm+autodj": {"unit": "streamfleet-autodj@rock-fm.service", "state": "running"},
        "jazz-fm": {"unit": "streamfleet-shoutcast2@jazz-fm.service", "state": "running"},
    }
    host, other = nodes.host("from"), nodes.host("into")
    state.save(host.state, {"epoch": "e", "generation": 1, "services": entries})
    templates = ready.templates_of(host, ["rock-fm"])
    assert templates == ["streamfleet-autodj@.service", "streamfleet-icecast@.service"]
    units = other.path("/etc/systemd/system")
    units.mkdir(parents=True)
    here = host.path("/etc/systemd/system")
    here.mkdir(parents=True)
    (here / "streamfleet-file-transfer.service").write_text("")
    with pytest.raises(CopyError, match=r"no unit streamfleet-file-transfer.service: add .* group file_tr"):
        ready.check(other, ["rock-fm"], ready.templates_of(host, ["rock-fm"]), [])
    (units / templates[1]).write_text("")
    with pytest.raises(CopyError, match=r"no unit streamfleet-autodj@.service: add this host to the group autodj"):
        ready.check(other, ["rock-fm"], templates, [])
    (units / templates[0]).write_text("")
    ready.check(other, ["rock-fm"], templates, [8000])
    net = other.path("/proc/net")
    net.mkdir(parents=True)
    (net / "tcp").write_text("header\n 0: 00000000:1F40 00000000:0000 0A 0:0 0:0 0 0 0\n")
    with pytest.raises(CopyError, match="something listens on its ports 8000 already"):
        ready.check(other, ["rock-fm"], templates, [8000, 8001])
    jails = other.path(ready.JAILS)
    jails.parent.mkdir(parents=True)
    jails.write_text("[sshd]\nignoreip = 127.0.0.0/8 192.0.2.10\n")
    ready.check(other, ["rock-fm"], templates, [], ["192.0.2.10"])
    jails.write_text("[sshd]\nignoreip = 127.0.0.0/8 192.0.2.8/29 host.example.com\n")
    ready.check(other, ["rock-fm"], templates, [], ["192.0.2.10"])
    with pytest.raises(CopyError, match=r"fail2ban does not know 192.0.2.16.*run hardening.yml"):
        ready.check(other, ["rock-fm"], templates, [], ["192.0.2.10", "192.0.2.16"])


def test_channels_need_a_server_that_sends_on_at_both_ends(nodes: Nodes) -> None:
    host = nodes.host("from")
    entries = {"rock-tv": {"unit": None, "engine": "nginx_rtmp", "state": "running"}}
    state.save(host.state, {"epoch": "e", "generation": 1, "services": entries})
    said = {"state": "fresh", "publishers": 1}
    answering = replace(host, run=lambda *_words: Finished(0, json.dumps(said)))
    units = host.path("/etc/systemd/system")
    units.mkdir(parents=True)
    for unit in ready.SHARED:
        (units / unit).write_text("")
    with pytest.raises(CopyError, match=r"cannot send on .*rtmp/nginx.conf is missing: run install.yml"):
        ready.templates_of(answering, ["rock-tv"])
    settings = host.path(ready.RTMP_SETTINGS)
    settings.parent.mkdir(parents=True)
    settings.write_text("push_reconnect 1s;\n")
    with pytest.raises(CopyError, match="of an earlier release, which sends no encoders on"):
        ready.templates_of(answering, ["rock-tv"])
    settings.write_text("notify_relay_redirect on;\n")
    assert ready.templates_of(answering, ["rock-tv"]) == sorted(ready.SHARED)
    assert ready.templates_of(answering, ["other"]) == []
    said["state"] = "stale"
    with pytest.raises(CopyError, match=r"its RTMP server is stale, .*streamfleet_nginx_rtmp_restart=always"):
        ready.templates_of(answering, ["rock-tv"])
    # The other node is asked the same.
    other = replace(nodes.host("into"), run=answering.run)
    with pytest.raises(CopyError, match=r"no unit streamfleet-rtmp.service: add .* group nginx_rtmp"):
        ready.check(other, ["rock-tv"], ["streamfleet-rtmp.service"], [])
    there = other.path("/etc/systemd/system")
    there.mkdir(parents=True)
    (there / "streamfleet-rtmp.service").write_text("")
    with pytest.raises(CopyError, match=r"nginx.conf is missing"):
        ready.check(other, ["rock-tv"], ["streamfleet-rtmp.service"], [])


def test_a_purge_that_is_due_there_comes_first(nodes: Nodes) -> None:
    """It would remove the files that are copied meanwhile."""
    other = nodes.host("into")
    entry = {"unit": "streamfleet-icecast@rock-fm.service", "state": "deleted"}
    state.save(other.state, {"epoch": "e", "generation": 1, "services": {"rock-fm": entry}})
    with pytest.raises(CopyError, match=r"still has rock-fm \(deleted\), which its next converge removes"):
        ready.check(other, ["rock-fm"], [], [])
    entry["state"] = "running"
    state.save(other.state, {"epoch": "e", "generation": 1, "services": {"rock-fm": entry}})
    with pytest.raises(CopyError, match=r"rock-fm \(running\), which the panel does not know of there"):
        ready.check(other, ["rock-fm"], [], [])


def test_who_writes_still_is_named(nodes: Nodes) -> None:
    host = nodes.host("from")

    def process(number: int, name: str, **places: str) -> Path:
        folder = host.path(f"/proc/{number}")
        (folder / "fd").mkdir(parents=True)
        (folder / "fdinfo").mkdir()
        (folder / "comm").write_text(f"{name}\n")
        for kind in ("root", "cwd"):
            (folder / kind).symlink_to(places.get(kind, "/"))
        return folder

    def opened(folder: Path, number: int, path: str, flags: str) -> None:
        (folder / "fd" / str(number)).symlink_to(path)
        (folder / "fdinfo" / str(number)).write_text(f"pos:\t0\nflags:\t{flags}\n")

    library = "/var/lib/streamfleet/media/200001"
    reader = process(10, "nginx")
    opened(reader, 3, f"{library}/one.mp3", "0100000")
    opened(reader, 4, "/var/lib/streamfleet/media/200002/other.mp3", "0100001")
    process(11, "rsync", root=library)
    quiet.check(host, FOLDERS, 5)
    opened(process(12, "python3"), 3, f"{library}/live.ogg", "02100001")
    process(13, "proftpd", root=library)
    with pytest.raises(CopyError, match=r"still write .*: python3 \(12\), proftpd \(13\)"):
        quiet.check(host, FOLDERS, 0)


def test_a_station_that_nobody_serves_is_silent(nodes: Nodes) -> None:
    routes = nodes.root / "from/etc/streamfleet/routes"
    routes.mkdir(parents=True)
    (routes / "rock-fm.json").write_text(f'{{"port": {free_port()}, "mounts": ["/stream"], "default": "/stream"}}')
    assert hearing.heard(nodes.host("from"), ["rock-fm", "no-route"], 0) == {"rock-fm": 0, "no-route": 0}


def test_a_channel_is_seen_while_its_list_goes_on(nodes: Nodes) -> None:
    host = nodes.host("from")
    routes, folder = host.path("/etc/streamfleet/routes"), host.path("/run/streamfleet/hls/rock-tv")
    routes.mkdir(parents=True)
    folder.mkdir(parents=True)
    (routes / "rock-tv.json").write_text('{"uid": 200001}')
    place = folder / "index.m3u8"
    assert hearing.heard(host, ["rock-tv"], 0) == {"rock-tv": 0}
    live = "#EXTM3U\n#EXTINF:4.000,\n1.ts\n"
    place.write_text(live)
    assert hearing.heard(host, ["rock-tv"], 0) == {"rock-tv": len(live)}
    place.write_text(f"{live}#EXT-X-ENDLIST\n")
    assert hearing.heard(host, ["rock-tv"], 0) == {"rock-tv": 0}
    place.write_text(live)
    os.utime(place, (0, 0))
    assert hearing.heard(host, ["rock-tv"], 0) == {"rock-tv": 0}
    # By another node's: this one's web server is asked, which is not there.
    (routes / "rock-tv.json").write_text('{"uid": 1, "elsewhere": true, "web": {"address": "192.0.2.7", "here": "a"}}')
    assert hearing.heard(host, ["rock-tv"], 0) == {"rock-tv": 0}


def test_what_was_heard_before_is_noted_once_and_missed_after(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    host, heard = nodes.host("from"), {"rock-fm": 4096, "jazz-fm": 0}
    monkeypatch.setattr(hearing, "heard", lambda _host, slugs, _seconds: {slug: heard[slug] for slug in slugs})
    heard["jazz-fm"] = 4096
    assert hearing.before(host, "7", list(heard)) == heard
    # A try of a week ago failed, and an encoder has gone since.
    heard["jazz-fm"] = 0
    assert hearing.before(host, "7", list(heard)) == heard
    heard["rock-fm"] = 0
    with pytest.raises(CopyError, match="Heard before, and silent for 0 seconds by the way over this node: rock-fm"):
        hearing.again(host, "7", 0)
    heard["rock-fm"] = 4096
    assert hearing.again(host, "7", 0) == {"rock-fm": 4096}
    heard["rock-fm"] = 0
    assert hearing.again(host, "7", 0) == {}
    assert hearing.again(host, "8", 0) == {}
