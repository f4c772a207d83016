"""Clients of SFTP and FTP over TLS: OpenSSH's own sftp, and Python's ftplib."""

from __future__ import annotations

import ctypes
import ftplib
import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

FTPS, SFTP = 21, 2022


def crypt(password: str) -> str:
    """A hash of crypt(5), as the panel makes it."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = library.crypt_gensalt.restype = ctypes.c_char_p
    library.crypt_gensalt.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int]
    made: bytes = library.crypt(password.encode(), library.crypt_gensalt(b"$y$", 0, None, 0))
    return made.decode()


class Ftps(ftplib.FTP_TLS):
    """ftplib's client, whose data continues the TLS session of the log-in, as FileZilla's and curl's does."""

    def ntransfercmd(self, cmd: str, rest: Any = None) -> tuple[Any, Any]:
        link, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:  # type: ignore[attr-defined]
            session = self.sock.session  # type: ignore[union-attr]
            link = self.context.wrap_socket(link, server_hostname=self.host, session=session)
        return link, size


def ftps(address: str, ca: str, login: str, password: str) -> Ftps:
    """A session that is logged in and has verified who it talks to. Raises ftplib.Error."""
    context = ssl.create_default_context(cadata=ca)
    context.check_hostname = False
    client = Ftps(context=context, timeout=20)
    client.connect(address, FTPS)
    client.login(login, password)
    client.prot_p()
    return client


class Sftp:
    """OpenSSH's sftp for one log-in."""

    def __init__(self, folder: Path, address: str, login: str, password: str) -> None:
        ask = folder / "ask"
        ask.write_text('#!/bin/sh\nprintf "%s\\n" "$TRANSFER_PASSWORD"\n')
        ask.chmod(0o755)
        self._environment = {
            **os.environ,
            "SSH_ASKPASS": str(ask),
            "SSH_ASKPASS_REQUIRE": "force",
            "TRANSFER_PASSWORD": password,
        }
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "NumberOfPasswordPrompts=1"]
        options += ["PreferredAuthentications=password", "LogLevel=ERROR"]
        self._options = [word for option in options for word in ("-o", option)]
        self._where = f"{login}@{address}"

    def start(self, *batch: str, limit: int | None = None) -> subprocess.Popen[str]:
        """Begin what the batch says; ``limit``: kbit/s."""
        slow = ["-l", str(limit)] if limit else []
        process = subprocess.Popen(
            ["sftp", *slow, "-P", str(SFTP), *self._options, self._where],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=self._environment, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write("".join(f"{line}\n" for line in batch))
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, *batch: str) -> str:
        """What sftp said to all of the batch; it goes on after an error."""
        process = self.start(*batch)
        said, _nothing = process.communicate(timeout=120)
        return said

    def ssh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Try to get more than files: ssh with these arguments."""
        return subprocess.run(
            ["ssh", "-p", str(SFTP), *self._options, *arguments],
            capture_output=True, text=True, env=self._environment, stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip


def refused_by_sftp(address: str, port: int, login: bytes, password: bytes) -> bool:
    """Whether a log-in of any bytes is refused. By libssh2, which curl has; OpenSSH's client sends no such names."""
    library = ctypes.CDLL("libssh2.so.1")
    library.libssh2_session_init_ex.restype = ctypes.c_void_p
    session = ctypes.c_void_p(library.libssh2_session_init_ex(None, None, None, None))
    with socket.create_connection((address, port), timeout=20) as link:
        link.setblocking(True)
        assert library.libssh2_session_handshake(session, link.fileno()) == 0
        result = library.libssh2_userauth_password_ex(session, login, len(login), password, len(password), None)
        library.libssh2_session_free(session)
    # LIBSSH2_ERROR_AUTHENTICATION_FAILED
    assert result in (0, -18), result
    return bool(result)
