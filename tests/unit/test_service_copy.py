"""Files of services on their way to another node: what the key opens, and what rsync makes of two folders.

rsync is the real one; instead of SSH it is given a double, which does what sshd does with the key's one command. What
nodes make of it is shown by tests/live/test_transfer.py.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from streamfleet.node_apply.host import Finished, Host
from streamfleet.service_copy import getting, giving, hearing
from streamfleet.service_copy.places import CopyError, folders_of, measured

from tests.ports import free_port

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA87XWuBJn2PerAcsbHAuAzufLtl4aLjavEPODNG1Rzn"
ORIGIN = getting.Origin("192.0.2.10", 22, "streamfleet-converge", KEY)
FOLDERS = ["services/rock-fm", "media/200001"]
needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


@dataclass
class Nodes:
    """Two trees. ``ssh`` is a double: it runs what the transfer's line of authorized_keys says, and nothing else."""

    root: Path

    def host(self, name: str) -> Host:
        return Host(root=self.root / name, own=False, run=self.run, sleep=lambda _seconds: None)

    def put(self, name: str, path: str, text: str) -> None:
        place = self.root / name / "var/lib/streamfleet" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def files(self, name: str) -> dict[str, str]:
        base = self.root / name / "var/lib/streamfleet"
        found = (path for folder in FOLDERS for path in (base / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(base)): path.read_text() for path in found}

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        if argv[0] == "systemctl":
            return Finished(3)
        if argv[0] == "systemd-run":
            # The unit's own command, which is through when it is looked at again.
            argv = argv[argv.index("/bin/sh") :]
        if argv[0] in ("rsync", "/bin/sh"):
            shell = next(word for word in argv if word.startswith("--rsh="))
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


@needs_rsync
def test_the_copy_and_what_changes_until_the_last_pass(nodes: Nodes) -> None:
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    assert here.keyed(ORIGIN).startswith("ssh-ed25519 ")
    assert here.folder.stat().st_mode & 0o777 == 0o700
    status = here.copied(ORIGIN, FOLDERS, 100, 60)["status"]
    assert status["running"] is False
    assert nodes.files("into") == nodes.files("from")
    nodes.put("from", "media/200001/day/two.mp3", "two")
    (nodes.root / "from/var/lib/streamfleet/media/200001/day/one.mp3").unlink()
    verified = here.caught_up(ORIGIN, FOLDERS)["verified"]
    assert nodes.files("into") == nodes.files("from")
    assert verified["files"] == 2
    assert not (nodes.root / "into/var/lib/streamfleet/media/200002").exists()
    assert here.ended()
    assert not here.folder.exists()
    assert not here.ended()


@needs_rsync
def test_a_copy_that_fails_says_why_and_goes_on_the_next_time(nodes: Nodes) -> None:
    served(nodes)
    nodes.sshd()
    here = getting.Getting(nodes.host("into"), "7")
    here.keyed(ORIGIN)
    ssh = (nodes.root / "ssh").read_text()
    (nodes.root / "ssh").write_text("#!/bin/sh\necho 'Connection refused' >&2\nexit 255\n")
    with pytest.raises(CopyError, match=r"nothing is off the air for it. rsync ended with .*Connection refused"):
        here.copied(ORIGIN, FOLDERS, 100, 60)
    with pytest.raises(CopyError, match="services/rock-fm cannot be fetched"):
        here.caught_up(ORIGIN, FOLDERS)
    (nodes.root / "ssh").write_text(ssh)
    here.copied(ORIGIN, FOLDERS, 100, 60)
    assert nodes.files("into") == nodes.files("from")


def test_without_room_nothing_is_begun(nodes: Nodes) -> None:
    here = getting.Getting(nodes.host("into"), "7")
    here.folder.mkdir(parents=True)
    with pytest.raises(CopyError, match=r"MB are free on this node, and .* are needed"):
        here.copied(ORIGIN, FOLDERS, 2**60, 60)


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


def test_a_library_is_removed_and_a_link_is_not_followed(nodes: Nodes) -> None:
    host = nodes.host("from")
    base = nodes.root / "from/var/lib/streamfleet"
    (base / "media-index").mkdir()
    (base / "media-index/200001").symlink_to(base / "media/200002")
    assert measured(host, ["media/200001"]).files == 1
    assert getting.removed(host, [200001]) == {"changed": True, "freed": {"files": 1, "bytes": 3}}
    assert not (base / "media/200001").exists()
    assert (base / "media/200002/other.mp3").exists()


def test_a_station_that_nobody_serves_is_silent(nodes: Nodes) -> None:
    routes = nodes.root / "from/etc/streamfleet/routes"
    routes.mkdir(parents=True)
    (routes / "rock-fm.json").write_text(f'{{"port": {free_port()}, "mounts": ["/stream"], "default": "/stream"}}')
    assert hearing.heard(nodes.host("from"), ["rock-fm", "no-route"], 0) == {"rock-fm": 0, "no-route": 0}
