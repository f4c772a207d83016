"""SFTP and FTP over TLS on a node: roles common and file_transfer, real clients, hostile customers, full disks.

``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
"""

from __future__ import annotations

import contextlib
import ftplib
import hashlib
import io
import random
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.panel import media_user
from tests.live.chosen import PREDICTS, chosen
from tests.live.node import NODE, Node, changed_tasks
from tests.live.transfers import FTPS, Ftps, Sftp, crypt, ftps

pytestmark = pytest.mark.live

ALICE, BOB = 200001, 200002
LIBRARIES = "/var/lib/streamfleet/media"
HOST = "stream.example.net"
SECRET = "correct horse"
ROLES = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  gather_facts: false
  vars:
    streamfleet_file_transfer_host: stream.example.net
  roles:
    - common
    - file_transfer
"""
#: What role certificates leaves on a node, as far as this is concerned.
CERTIFICATE = f"""
install -d -m 0755 /etc/streamfleet /etc/streamfleet/tls
install -d -m 0750 /etc/streamfleet/tls/{HOST}
cd /etc/streamfleet/tls/{HOST} &&
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={HOST} \
  -addext subjectAltName=DNS:{HOST} -days 2 -keyout privkey.pem -out new.pem 2>/dev/null &&
mv new.pem fullchain.pem && cat fullchain.pem
"""
HASH = crypt(SECRET)


class Door(Node):
    """A node that takes files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "roles.yml").write_text(ROLES)
        self.ca = ""

    def let_in(self, *users: dict[str, Any]) -> str:
        """Converge with these log-ins and no service; the run's output."""
        self.want()
        self.panel.documents[NODE]["media_users"] = list(users)
        return self.play("playbooks/converge.yml")

    def sftp(self, login: str, password: str = SECRET) -> Sftp:
        """A client."""
        return Sftp(self.folder, self.address, login, password)

    @contextlib.contextmanager
    def ftps(self, login: str, password: str = SECRET) -> Iterator[Ftps]:
        """A session."""
        client = ftps(self.address, self.ca, login, password)
        try:
            yield client
        finally:
            client.close()

    def listing(self, uid: int) -> str:
        """Owner, mode, size and path of all that a library holds."""
        return self.sh(f"cd {LIBRARIES}/{uid} && find . -mindepth 1 -printf '%u %m %s %p\\n' | sort")

    def sessions(self) -> int:
        """Sessions of customers."""
        return int(self.sh("ps -eo args | grep -c '^proftpd: [a-z.]* - ' || true"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A node with a certificate and nothing else."""
    with Door(Path(tmp_path_factory.mktemp("door"))).started() as node:
        node.ca = node.sh(CERTIFICATE)
        yield node


@pytest.fixture(scope="module")
def logs(bare: Door, request: pytest.FixtureRequest) -> dict[str, str]:
    """The roles' first run; check and second, too, where they are compared."""
    return bare.first_runs(compared=chosen(request, "test_file_transfer", PREDICTS))


USERS = [
    media_user("alice.up", ALICE, HASH, disk_quota_mb=20),
    media_user("alice.reader", ALICE, HASH, disk_quota_mb=20, read_only=True),
    media_user("alice.ftp", ALICE, HASH, disk_quota_mb=20, protocols=["ftps"]),
    media_user("bob.up", BOB, HASH),
]


@pytest.fixture
def door(bare: Door, logs: dict[str, str]) -> Door:
    """Two customers with empty libraries."""
    bare.let_in(*USERS)
    bare.sh(f"find {LIBRARIES} -mindepth 2 -delete")
    return bare


@pytest.fixture
def track(tmp_path: Path) -> Path:
    """A file of 3 MB."""
    path = tmp_path / "track.mp3"
    path.write_bytes(random.Random(1).randbytes(3_000_000))
    return path


@pytest.mark.full
def test_roles_predict_what_they_change_and_change_it_once(bare: Door, logs: dict[str, str]) -> None:
    assert changed_tasks(logs["check"]) == changed_tasks(logs["first"]) != []
    assert bare.changed(logs["second"]) == 0
    assert bare.sh("systemctl is-active proftpd.service", check=False) != "active"


@pytest.mark.full
def test_a_second_converge_changes_nothing_and_hashes_are_not_shown(door: Door) -> None:
    door.want()
    door.panel.documents[NODE]["media_users"] = [*USERS, media_user("bob.new", BOB, HASH)]
    predicted = door.play("playbooks/converge.yml", "--check", "--diff")
    assert door.changed(predicted) == 1
    assert HASH not in predicted
    applied = door.let_in(*USERS, media_user("bob.new", BOB, HASH))
    assert door.changed(applied) == 1
    assert door.changed(door.let_in(*USERS, media_user("bob.new", BOB, HASH))) == 0


def test_files_arrive_as_the_customers_own(door: Door, track: Path) -> None:
    said = door.sftp("alice.up").run(
        f"put {track} a.mp3", "mkdir day", "rename a.mp3 day/a.mp3", "chmod 777 day/a.mp3", "ls -l day"
    )
    assert "day/a.mp3" in said
    with door.ftps("alice.ftp") as client:
        client.storbinary("STOR b.mp3", io.BytesIO(track.read_bytes()))
        assert client.size("b.mp3") == 3_000_000
    assert door.listing(ALICE).splitlines() == [
        "sf200001 640 3000000 ./b.mp3",
        "sf200001 640 3000000 ./day/a.mp3",
        "sf200001 750 4096 ./day",
    ]
    # As the AutoDJ does.
    read = door.sh(f"cd {LIBRARIES}/{ALICE} && runuser -u sf{ALICE} -- sha256sum b.mp3 day/a.mp3")
    assert {line.split()[0] for line in read.splitlines()} == {_sha256(track)}
    back = track.with_name("back.mp3")
    door.sftp("alice.reader").run(f"get b.mp3 {back}")
    assert back.read_bytes() == track.read_bytes()


def test_who_may_not_is_refused(door: Door, track: Path) -> None:
    assert "Permission denied" in door.sftp("alice.up", "wrong").run("ls")
    assert "Permission denied" in door.sftp("alice.ftp").run("ls")  # FTP over TLS only
    assert "Permission denied" in door.sftp("nobody.there").run("ls")
    assert "Permission denied" in door.sftp(f"sf{ALICE}", "").run("ls")
    for login, password in (("alice.up", "wrong"), ("root", ""), (f"sf{ALICE}", "")):
        with pytest.raises(ftplib.error_perm, match="530"), door.ftps(login, password):
            pass
    plain = ftplib.FTP(timeout=10)
    plain.connect(door.address, FTPS)
    with pytest.raises(ftplib.error_perm, match="550 SSL/TLS required"):
        plain.login("alice.up", SECRET)
    plain.close()
    for least, most, suites in (
        (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, "ALL"),
        (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA"),
    ):
        old = ssl.create_default_context(cadata=door.ca)
        old.check_hostname, old.minimum_version, old.maximum_version = False, least, most
        old.set_ciphers(f"{suites}:@SECLEVEL=0")
        client = ftplib.FTP_TLS(context=old, timeout=10)
        client.connect(door.address, FTPS)
        with pytest.raises(ssl.SSLError):
            client.auth()
        client.close()


@pytest.mark.full
def test_a_reader_changes_nothing(door: Door, track: Path) -> None:
    door.sftp("alice.up").run(f"put {track} a.mp3", "mkdir day")
    before = door.listing(ALICE)
    said = door.sftp("alice.reader").run(
        f"put {track} b.mp3", "rm a.mp3", "rename a.mp3 c.mp3", "mkdir new", "rmdir day", "chmod 600 a.mp3"
    )
    assert said.count("Permission denied") >= 5, said
    with door.ftps("alice.reader") as client:
        for command in (
            "DELE a.mp3",
            "RNFR a.mp3",
            "MKD new",
            "RMD day",
            "STOR b.mp3",
            "APPE a.mp3",
            "SITE CHMOD 600 a.mp3",
        ):
            with pytest.raises(ftplib.error_perm):
                client.voidcmd(command)
    assert door.listing(ALICE) == before


def test_nobody_leaves_the_library(door: Door, track: Path) -> None:
    door.sftp("bob.up").run(f"put {track} own.mp3")
    # Links that the customer's own processes may have made.
    door.sh(
        f"cd {LIBRARIES}/{ALICE} && for to in / /etc {LIBRARIES}/{BOB} ../{BOB}; do"
        f" runuser -u sf{ALICE} -- ln -s $to link$(echo $to | tr -dc a-z0-9); done"
    )
    stolen = track.with_name("stolen")
    there = f"{LIBRARIES}/{BOB}/own.mp3"
    ways = [there, f"../{BOB}/own.mp3", f"../../../../..{there}", "/etc/passwd", "linketc/passwd", f"link{BOB}/own.mp3"]
    said = door.sftp("alice.up").run(
        *(f"get {way} {stolen}" for way in [*ways, f"linkvarlibstreamfleetmedia{BOB}/own.mp3"]),
        f"put {track} ../{BOB}/planted.mp3",
        f"put {track} link{BOB}/planted.mp3",
        "ln -s /etc/passwd mine",
        "ln own.mp3 hard",
    )
    assert not stolen.exists(), said
    with door.ftps("alice.ftp") as client:
        for path in (there, f"../{BOB}/own.mp3", "/etc/passwd", "linketc/passwd", f"link{BOB}/own.mp3"):
            with pytest.raises(ftplib.error_perm, match="550"):
                client.retrbinary(f"RETR {path}", lambda _data: None)
        assert sorted(client.nlst("/../..")) == sorted(client.nlst("/"))
        with pytest.raises(ftplib.error_perm):
            client.voidcmd("SITE SYMLINK /etc/passwd mine")
        # It connects to nobody, least of all to who did not ask.
        with pytest.raises(ftplib.error_perm):
            client.sendport("127.0.0.1", 22)
    assert door.listing(BOB) == "sf200002 640 3000000 ./own.mp3"
    assert "mine" not in door.listing(ALICE)


@pytest.mark.full
def test_there_is_no_shell_and_no_way_on(door: Door) -> None:
    client = door.sftp("alice.up")
    done = client.ssh(f"alice.up@{door.address}", "id")
    assert done.returncode != 0
    assert "uid=" not in done.stdout
    forwarded = client.ssh("-o", "ExitOnForwardFailure=yes", "-W", "127.0.0.1:22", f"alice.up@{door.address}")
    assert forwarded.returncode != 0
    assert "SSH-2.0-OpenSSH" not in forwarded.stdout


@pytest.mark.full
def test_an_upload_that_was_cut_off_goes_on(door: Door, track: Path) -> None:
    content = track.read_bytes()
    with door.ftps("alice.up") as client:
        client.storbinary("STOR a.mp3", io.BytesIO(content[:1_000_000]))
        client.storbinary("STOR a.mp3", io.BytesIO(content[1_000_000:]), rest=1_000_000)
    own = f"runuser -u sf{ALICE} -- sh -c 'head -c 1000000 a.mp3 > b.mp3'"
    door.sh(f"cd {LIBRARIES}/{ALICE} && {own}")
    door.sftp("alice.up").run(f"reput {track} b.mp3")
    read = door.sh(f"cd {LIBRARIES}/{ALICE} && sha256sum a.mp3 b.mp3")
    assert {line.split()[0] for line in read.splitlines()} == {_sha256(track)}


def _big(folder: Path, size: int) -> Path:
    path = folder / "big.wav"
    path.write_bytes(random.Random(2).randbytes(size))
    return path


@pytest.mark.full
def test_ftps_is_cut_at_the_quota_with_an_error_and_nothing_is_left_of_it(door: Door, tmp_path: Path) -> None:
    with door.ftps("alice.up") as client:
        client.storbinary("STOR fits.wav", io.BytesIO(bytes(15_000_000)))
        with pytest.raises((ftplib.Error, OSError)) as refused:
            client.storbinary("STOR more.wav", io.BytesIO(bytes(30_000_000)))
        if not isinstance(refused.value, ftplib.Error):
            with pytest.raises(ftplib.error_perm) as refused:
                client.voidresp()
        assert str(refused.value)[:3] in ("552", "550"), refused.value
    assert door.listing(ALICE) == "sf200001 640 15000000 ./fits.wav"
    # What others remove counts no more.
    door.sh(f"rm {LIBRARIES}/{ALICE}/fits.wav")
    with door.ftps("alice.up") as client:
        client.storbinary("STOR again.wav", io.BytesIO(bytes(15_000_000)))


def test_sftp_is_cut_while_it_writes_and_another_customer_uploads_on(door: Door, track: Path, tmp_path: Path) -> None:
    big = _big(tmp_path, 60_000_000)
    other = door.sftp("bob.up").start(f"put {big} bob.wav", limit=80_000)  # 6 s
    time.sleep(0.5)
    mine = door.sftp("alice.up").start(f"put {big} big.wav", limit=80_000)
    # Looked at on the node itself, ten times a second, from when it begins until it is gone.
    sizes = door.sh(
        f"f={LIBRARIES}/{ALICE}/big.wav; n=0; until [ -e $f ] || [ $n = 100 ]; do sleep 0.1; n=$((n+1)); done; "
        "n=0; while [ -e $f ] && [ $n -lt 300 ]; do stat -c %s $f 2>/dev/null; sleep 0.1; n=$((n+1)); done"
    ).split()
    most = max(map(int, sizes), default=0)
    said = mine.communicate(timeout=60)[0]
    ended = door.sh("journalctl -q -u streamfleet-file-transfer-quota -o cat")
    # The limit is 20 MiB; it is looked at once a second, in which 10 MB arrive, as 1 MB does between two looks of ours.
    assert 19 * 1024 * 1024 < most < 45_000_000, said + ended
    assert mine.returncode != 0, said
    told = other.communicate(timeout=60)[0]
    assert other.returncode == 0, told
    assert door.listing(BOB) == "sf200002 640 60000000 ./bob.wav"
    assert f"sf{ALICE}: over its disk quota" in door.sh("journalctl -q -u streamfleet-file-transfer-quota -o cat")
    # Nothing of it is left, and what fits arrives.
    assert door.listing(ALICE) == ""
    door.sftp("alice.up").run(f"put {track} fits.mp3")
    assert door.listing(ALICE) == "sf200001 640 3000000 ./fits.mp3"


def test_directories_are_refused_where_there_are_too_many(door: Door) -> None:
    """Empty ones use up inodes, and no byte that is uploaded tells of them."""
    own = f"cd {LIBRARIES}/{BOB} && seq 1000 | runuser -u sf{BOB} -- xargs mkdir"
    door.sh(f"{own} && printf 1000 > /etc/streamfleet/file-transfer/max-entries")
    try:
        assert door.changed(door.let_in(*USERS)) == 1
        with door.ftps("bob.up") as client, pytest.raises(ftplib.error_perm, match="552"):
            client.mkd("more")
        # By SFTP they are made (ProFTPD does not ask there), until it is seen that they become more and more.
        # How soon that is depends on what else the machine does.
        door.sftp("bob.up").run(*[step for number in range(1, 13) for step in (f"mkdir over-{number}", "!sleep 3")])
        made = {name for name in door.sh(f"ls {LIBRARIES}/{BOB}").split() if not name.isdigit()}
        assert {"over-1", "over-2"} <= made
        assert not {"over-12", "more"} & made
        with door.ftps("bob.up") as client:
            for name in (*made, "1000", "999"):
                client.rmd(name)
        with door.ftps("bob.up") as client:
            client.mkd("more")
    finally:
        door.sh(f"rm -rf {LIBRARIES}/{BOB}/*; printf 200000 > /etc/streamfleet/file-transfer/max-entries")
        door.let_in(*USERS)


def test_a_customer_who_is_added_drops_no_upload_and_one_who_goes_is_sent_away(door: Door, tmp_path: Path) -> None:
    big = _big(tmp_path, 18_000_000)
    uploads = {
        login: door.sftp(login).start(f"put {big} {login}.wav", limit=12_000) for login in ("alice.up", "bob.up")
    }
    with door.ftps("alice.ftp") as leaving:
        deadline = time.monotonic() + 10
        while door.sessions() < 3:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        master = door.sh("systemctl show -p MainPID,ActiveEnterTimestamp streamfleet-file-transfer.service")
        # Added: carol. Gone: alice's second log-in. Her first one, which uploads, stays.
        door.let_in(*[user for user in USERS if user["login"] != "alice.ftp"], media_user("carol.up", 200003, HASH))
        time.sleep(1)
        with pytest.raises((OSError, EOFError, ftplib.Error)):
            leaving.voidcmd("NOOP")
    for login, upload in uploads.items():
        said = upload.communicate(timeout=60)[0]
        assert upload.returncode == 0, (login, said)
    assert (
        door.sh(f"stat -c %s {LIBRARIES}/{ALICE}/alice.up.wav {LIBRARIES}/{BOB}/bob.up.wav").split() == ["18000000"] * 2
    )
    assert door.sh("systemctl show -p MainPID,ActiveEnterTimestamp streamfleet-file-transfer.service") == master
    with pytest.raises(ftplib.error_perm, match="530"), door.ftps("alice.ftp"):
        pass
    assert "hello" in door.sftp("carol.up").run("mkdir hello", "ls")


@pytest.mark.full
@pytest.mark.parametrize(
    "after",
    [[], [media_user("bob.up", BOB, crypt("another"))], [media_user("bob.up", BOB, HASH, read_only=True)]],
    ids=["removed", "password", "read only"],
)
def test_a_log_in_that_changes_ends_its_sessions(door: Door, tmp_path: Path, after: list[dict[str, Any]]) -> None:
    big = _big(tmp_path, 40_000_000)
    upload = door.sftp("bob.up").start(f"put {big} bob.wav", limit=16_000)
    deadline = time.monotonic() + 10
    while not door.listing(BOB):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    others = [user for user in USERS if user["login"] != "bob.up"]
    door.let_in(*others, *after)
    upload.communicate(timeout=10)
    assert upload.returncode != 0
    assert door.sessions() == 0
    assert door.changed(door.let_in(*others, *after)) == 0


@pytest.mark.full
def test_a_killed_converge_leaves_the_next_one_knowing_whose_sessions_end(door: Door) -> None:
    """The log-in is gone from the files, but its session is there still, as after a run that was killed in between."""
    with door.ftps("bob.up") as client:
        door.sh("sed -i '/^bob/d' /etc/streamfleet/file-transfer/users-*")
        others = [user for user in USERS if user["login"] != "bob.up"]
        assert door.changed(door.let_in(*others)) == 1
        with pytest.raises((OSError, EOFError, ftplib.Error)):
            client.voidcmd("NOOP")


@pytest.mark.full
def test_a_full_disk_is_told_and_the_upload_goes_on_when_there_is_room(door: Door, track: Path) -> None:
    library = f"{LIBRARIES}/{BOB}"
    door.sh("systemctl stop streamfleet-file-transfer")
    door.sh(f"mount -t tmpfs -o size=1M,uid={BOB},gid={BOB},mode=0750 tmpfs {library}")
    door.sh("systemctl start streamfleet-file-transfer")
    try:
        said = door.sftp("bob.up").run(f"put {track} a.mp3")
        assert "Failure" in said or "No space" in said, said
        with door.ftps("bob.up") as client:
            with pytest.raises((ftplib.Error, OSError)) as refused:
                client.storbinary("STOR b.mp3", io.BytesIO(track.read_bytes()))
            if not isinstance(refused.value, ftplib.Error):
                with pytest.raises(ftplib.Error) as refused:
                    client.voidresp()
            assert "No space left on device" in str(refused.value)
        door.sh(f"mount -o remount,size=8M {library}")
        door.sftp("bob.up").run(f"reput {track} a.mp3")
        assert door.sh(f"sha256sum < {library}/a.mp3").split()[0] == _sha256(track)
    finally:
        door.sh(
            f"systemctl stop streamfleet-file-transfer; umount {library}; systemctl start streamfleet-file-transfer"
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.full
def test_a_new_certificate_is_shown_and_drops_nobody(door: Door) -> None:
    with door.ftps("bob.up") as client:
        before = door.ca
        door.ca = door.sh(CERTIFICATE)
        assert door.ca != before
        deadline = time.monotonic() + 20
        while True:
            try:
                with door.ftps("bob.up") as second:
                    second.voidcmd("NOOP")
                break
            except ssl.SSLError:
                assert time.monotonic() < deadline
                time.sleep(0.5)
        client.voidcmd("NOOP")


@pytest.mark.full
def test_self_check_names_what_is_wrong(door: Door) -> None:
    arguments = [
        "-e",
        '{"roles_in_order": ["file_transfer"], "entry": "self_check"}',
        "-e",
        f"streamfleet_file_transfer_host={HOST}",
    ]
    door.sh(f"cp /etc/streamfleet/tls/{HOST}/fullchain.pem /etc/streamfleet/ca/ca.pem")
    assert door.changed(door.play(door.folder / "tasks.yml", *arguments)) == 0
    door.sh("systemctl stop streamfleet-file-transfer-quota")
    output = " ".join(door.play(door.folder / "tasks.yml", *arguments, ok=False).split())
    assert "streamfleet-file-transfer-quota.service is not running" in output
    door.sh("systemctl stop streamfleet-file-transfer; systemctl start streamfleet-file-transfer-quota")
    output = " ".join(door.play(door.folder / "tasks.yml", *arguments, ok=False).split())
    assert "streamfleet-file-transfer.service is not running" in output
    door.sh("systemctl start streamfleet-file-transfer")


@pytest.mark.full
def test_a_port_that_is_taken_is_named(door: Door) -> None:
    output = " ".join(
        door.play(door.folder / "roles.yml", "-e", '{"streamfleet_file_transfer_sftp_port": 22}', ok=False).split()
    )
    assert "not 22, which is the host's own" in output
    door.sh("systemd-run -q --unit squatter python3 -m http.server 20500")
    try:
        output = " ".join(door.play(door.folder / "roles.yml", ok=False).split())
        assert "port 20500 is taken by python3" in output
    finally:
        door.sh("systemctl stop squatter")


@pytest.mark.full
def test_uninstall_leaves_nothing_but_the_libraries(door: Door, track: Path) -> None:
    door.sftp("bob.up").run(f"put {track} keep.mp3")
    arguments = [
        "-e",
        '{"roles_in_order": ["file_transfer"], "entry": "uninstall", "streamfleet_file_transfer_uninstall_data": true}',
    ]
    door.play(door.folder / "tasks.yml", *arguments)
    assert door.changed(door.play(door.folder / "tasks.yml", *arguments)) == 0
    left = door.sh(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /var/lib/apt -o -path /var/log -o -path /var/cache \\)"
        " -prune -o \\( -name '*file-transfer*' -o -name '*proftpd*' -o -name '*streamfleet-transfer*' \\) -print"
    )
    assert left == ""
    assert door.sh("getent passwd streamfleet-transfer; getent group streamfleet-transfer-ro; true") == ""
    assert door.listing(BOB).endswith("./keep.mp3")
