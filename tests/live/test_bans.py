"""Who guesses passwords of file transfer, DJs and the panel, as fail2ban on a node counts what the programs write.

Somebody on a host that the fleet does not know guesses; this controller, which is never banned, tries to have others
accused. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests playbooks: hardening.yml install.yml.
"""

from __future__ import annotations

import base64
import contextlib
import ftplib
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.panel import autodj, dj, media_user, playlist, station
from tests.live.bans import OTHER, Stranger, Watched, accused, banned, soon
from tests.live.node import NODE
from tests.live.test_file_transfer import CERTIFICATE, HOST
from tests.live.transfers import FTPS, SFTP, Sftp, crypt, ftps, refused_by_sftp

pytestmark = [pytest.mark.live, pytest.mark.full]

SLUG, UID, PORT, DJS = "rock-fm", 200001, 8100, 8150
LOGIN, SECRET = "ada.up", "a broom swept the studio"
#: Whom forged lines accuse.
VICTIM = "203.0.113.66"
MOST, SECONDS = 3, 30
ROLES = f"""\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  gather_facts: false
  vars:
    streamfleet_file_transfer_host: {HOST}
    streamfleet_file_transfer_max_sessions_per_login: 2
  roles: [common, icecast, autodj, file_transfer]
"""
#: Log-ins with a wrong password by FTP over TLS; the answers.
FTP_GUESS = """\
import ftplib, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
client = ftplib.FTP_TLS(context=context, timeout=10)
client.connect(sys.argv[1], int(sys.argv[2]))
client.auth()
for _turn in range(int(sys.argv[4])):
    client.sendcmd('USER ' + sys.argv[3])
    try:
        client.sendcmd('PASS wrong')
    except ftplib.error_perm as error:
        print(error)
"""
#: The same by SFTP.
SFTP_GUESS = """\
import os, subprocess, sys
with open('/run/ask', 'w') as file:
    file.write('#!/bin/sh\\necho wrong\\n')
os.chmod('/run/ask', 0o755)
options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'NumberOfPasswordPrompts=1', 'LogLevel=ERROR',
           'PreferredAuthentications=password']
command = ['ssh', '-p', sys.argv[2], *(word for it in options for word in ('-o', it)), '-l', sys.argv[3], sys.argv[1]]
asked = {**os.environ, 'SSH_ASKPASS': '/run/ask', 'SSH_ASKPASS_REQUIRE': 'force'}
print(subprocess.run(command, env=asked, stdin=subprocess.DEVNULL, capture_output=True, text=True).stderr)
"""
#: What a DJ's encoder asks, or a page for a title, so many times; the first lines of the answers.
DJ_GUESS = """\
import base64, socket, sys
address, port, line, login, times = sys.argv[1:]
login = base64.b64encode(login.encode()).decode()
for _turn in range(int(times)):
    with socket.create_connection((address, int(port)), timeout=10) as link:
        head = f'{line}\\r\\nHost: x\\r\\nAuthorization: Basic {login}\\r\\nContent-Type: audio/mpeg'
        link.sendall(f'{head}\\r\\n\\r\\n'.encode())
        print(link.recv(1024).decode('latin-1').partition('\\r\\n')[0])
"""
TITLE = "GET /admin/metadata?mode=updinfo&mount=/anna&song=x HTTP/1.0"


class Site(Watched):
    """A node that refuses by FTP, SFTP and a DJ's way in, and another that guesses."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "roles.yml").write_text(ROLES)
        names = ("streamfleet_nodes", "icecast", "autodj", "file_transfer", "hardening")
        (folder / "groups.json").write_text(json.dumps({name: {"hosts": {NODE: {}}} for name in names}))
        self.stranger = Stranger(self, OTHER)
        self.ca = ""

    def harden(self) -> str:
        """playbooks/hardening.yml, with bans that come soon and do not last."""
        variables = {
            "streamfleet_hardening": ["fail2ban"],
            "streamfleet_stream_host": HOST,
            "streamfleet_node_port_range_start": 8100,
            "streamfleet_node_port_range_end": 8199,
            "streamfleet_fail2ban_max_failures": MOST,
            "streamfleet_fail2ban_ban_seconds": SECONDS,
        }
        path = self.folder / "variables.json"
        path.write_text(json.dumps(variables))
        return self.play("playbooks/hardening.yml", "-e", f"@{path}")

    def raw_ftps(self, *said: bytes) -> bytes:
        """The last answer by FTP over TLS to what is sent as it is."""
        context = ssl.create_default_context(cadata=self.ca)
        context.check_hostname = False
        with socket.create_connection((self.address, FTPS), timeout=20) as plain:
            plain.recv(1024)
            plain.sendall(b"AUTH TLS\r\n")
            plain.recv(1024)
            with context.wrap_socket(plain) as link:
                for line in said:
                    link.sendall(line + b"\r\n")
                    answer = link.recv(1024)
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A station with a DJ, and a customer who brings files; guarded by the playbook."""
    with Site(Path(tmp_path_factory.mktemp("bans"))).up() as it:
        it.ca = it.sh(CERTIFICATE)
        it.play(it.folder / "roles.yml")
        settings = {**autodj(), "live_port": DJS}
        it.want(
            station(SLUG, UID, PORT, settings=settings, playlists=[playlist("day", folder="day")], djs=[dj("anna")])
        )
        it.panel.documents[NODE]["media_users"] = [media_user(LOGIN, UID, crypt(SECRET))]
        it.play("playbooks/converge.yml")
        it.harden()
        assert it.changed(it.harden()) == 0
        yield it


def test_guesses_by_ftp_and_sftp_are_banned_and_names_accuse_nobody(site: Site, tmp_path: Path) -> None:
    jail, here = "streamfleet-file_transfer", site.stranger
    forged = f"login {VICTIM} 530 -"
    shapes = [f"x{end}{forged}{end}x" for end in ("\n", "\r", "\r\n", "\0", "\n\0")]
    shapes += [forged, f"x\n{NODE} proftpd[7]: {forged}\n", f"x\n<14>proftpd[7]: {forged}\n"]
    # There a line ends with both, and the rest is another command.
    for name in (shape for shape in shapes if "\r\n" not in shape):
        assert site.raw_ftps(b"USER " + name.encode(), b"PASS " + name.encode())[:3] == b"530", name
    for name in shapes:
        assert refused_by_sftp(site.address, SFTP, name.encode(), name.encode()), name
    # They have come that far: the server tells of the names as they are, in lines of their own.
    told = site.sh("journalctl -q -u streamfleet-file-transfer.service -o cat")
    assert forged in told.splitlines(), told[-4000:]
    accusing = accused(site, jail)
    assert accusing.total() >= len(shapes)
    assert VICTIM not in accusing
    # Nor is it a guess when the right password has come once too often.
    with contextlib.ExitStack() as sessions:
        for _turn in range(2):
            sessions.callback(ftps(site.address, site.ca, LOGIN, SECRET).close)
        with pytest.raises(ftplib.error_perm, match="530 Sorry, the maximum number of clients"):
            ftps(site.address, site.ca, LOGIN, SECRET)
    assert accused(site, jail) == accusing
    assert banned(site, jail) == []

    assert here.reaches(FTPS, SFTP, 22) == [FTPS, SFTP, 22]
    assert here.run(FTP_GUESS, site.address, str(FTPS), LOGIN, "2").count("530 Login incorrect") == 2
    assert "Permission denied" in here.run(SFTP_GUESS, site.address, str(SFTP), LOGIN)
    soon(lambda: banned(site, jail) == [here.address])
    assert here.reaches(FTPS, SFTP, 22) == [22]
    assert "working directory: /" in Sftp(tmp_path, site.address, LOGIN, SECRET).run("pwd")
    # It ends by itself; the next one is no longer, since a transfer has right passwords refused, too, and is lifted.
    soon(lambda: banned(site, jail) == [], 90)
    soon(lambda: here.reaches(FTPS, SFTP) == [FTPS, SFTP])
    # Of who was banned before, fail2ban counts each for more: by one connection, which goes on.
    assert here.run(FTP_GUESS, site.address, str(FTPS), LOGIN, str(MOST)).count("530 Login incorrect") == MOST
    soon(lambda: f"+ {SECONDS} = " in site.sh(f"fail2ban-client get {jail} banip --with-time"))
    assert site.sh(f"fail2ban-client unban {here.address}") == "1"
    assert here.reaches(FTPS, SFTP) == [FTPS, SFTP]


def test_guesses_of_djs_are_banned_and_nobody_is_by_what_others_write(site: Site) -> None:
    jail, here, put = "streamfleet-autodj", site.stranger, "PUT /anna HTTP/1.1"
    forged = f"refused {VICTIM}: 401 There is no DJ with this user name and password."
    soon(lambda: here.reaches(DJS) == [DJS], 90)
    login = base64.b64encode(f"x\n{forged}\n:\n{forged}\n".encode()).decode()
    # As a name, as a request, as a password of Shoutcast's, and of the station's own processes under the same name.
    for said in (
        f"{put}\r\nHost: x\r\nAuthorization: Basic {login}\r\nContent-Type: audio/mpeg\r\n\r\n",
        f"PUT /{forged} HTTP/1.1\r\nHost: x\n{forged}\r\n\r\n",
        f"anna:{forged}\r\n{forged}\r\n",
    ):
        with socket.create_connection((site.address, DJS), timeout=10) as link:
            link.sendall(said.encode())
            link.recv(1024)
    own = f"systemd-run -q --wait -p User={UID} -p SyslogIdentifier=live-{SLUG} --unit=forged"
    site.sh(f'{own} sh -c \'echo "{forged}"; logger -t live-{SLUG} "{forged}"\'')
    assert forged in site.sh("journalctl -q --unit forged.service -o cat").splitlines()
    accusing = accused(site, jail)
    assert VICTIM not in accusing
    # A page can have its visitors ask for a title.
    assert here.run(DJ_GUESS, site.address, str(DJS), TITLE, "anna:wrong", str(2 * MOST)).count(" 401 ") == 2 * MOST
    assert accused(site, jail) == accusing

    def guess() -> None:
        assert here.run(DJ_GUESS, site.address, str(DJS), put, "anna:wrong", str(MOST)).count(" 401 ") == MOST
        soon(lambda: banned(site, jail) == [here.address])

    guess()
    assert here.reaches(DJS, PORT, 22) == [22]
    soon(lambda: banned(site, jail) == [], 90)
    soon(lambda: here.reaches(DJS, PORT) == [DJS, PORT])
    # Behind the address there may be listeners: no ban is longer than the first.
    guess()
    assert f"+ {SECONDS} = " in site.sh(f"fail2ban-client get {jail} banip --with-time")
    assert site.sh(f"fail2ban-client unban {here.address}") == "1"
    assert here.reaches(DJS, PORT) == [DJS, PORT]
    assert VICTIM not in accused(site, jail)
