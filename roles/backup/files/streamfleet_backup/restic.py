"""restic (0.14 of Debian 12, 0.18 of Debian 13) as this program uses it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import BackupError, NoRepository
from .settings import CONFIG, Settings

#: What whoever writes is told by a file system that is full.
FULL = r"no space left on device|disk quota exceeded"
#: What restic writes → what it means. The first that is found counts.
FAULTS = (
    (FULL, "the disk is full. Make room there, then run it again"),
    (
        r"wrong password or no key found",
        "streamfleet_backup_password does not open it. Give the password that it was made with; for a restore from"
        " another repository as restore_repository_password",
    ),
    (
        r"is already locked",
        "another program works on it. streamfleet-backup unlock --all removes the lock of one that has died elsewhere",
    ),
    (
        r"host key verification failed",
        "its server is another than streamfleet_backup_ssh_known_hosts names. Compare that with the server's host key",
    ),
    (
        r"(read|parse) root certificate",
        "streamfleet_backup_ca is no certificate (PEM). Correct it, and run install.yml for this host",
    ),
    (
        r"certificate has expired or is not yet valid|certificate is (not )?valid for|doesn't contain any IP SANs",
        "its server's certificate is of another name or time. Have the server renew it, and name the server as it does",
    ),
    (
        r"unknown authority|certificate is not trusted",
        "its server's certificate is not trusted. Give the authority that has signed it as streamfleet_backup_ca",
    ),
    # Before what follows: ssh that is refused ends, too, and a signature that does not match is no damage.
    (
        r"permission denied|access denied|403 Forbidden|401 Unauthorized|AccessDenied|SignatureDoesNotMatch"
        r"|request signature we calculated|AWS Access Key Id",
        "access is refused. Check its credentials",
    ),
    (
        r"no such host|connection refused|connection reset|network is unreachable|no route to host|i/o timeout"
        r"|broken pipe|Could not resolve|Connection timed out|connection lost|ssh command exited",
        "the network or the server is away. Run it again when it is back: what was stored is not stored twice",
    ),
    (
        r"ciphertext verification failed|does not match|not found in repository|load .*: invalid|pack .* damaged"
        r"|truncated|repository contains errors|hash mismatch|unexpected EOF|no such file or directory",
        "it is damaged or incomplete. Do not prune it; docs/backup.md, Damage, says what can still be had",
    ),
)
MISSING = re.compile(
    r"unable to open config file:(?!.*access key id).*(no such file or directory|does not exist|not found|\(404\))",
    re.IGNORECASE | re.DOTALL,
)
#: What the kernel says where a tenant has moved folders or put a link meanwhile, and of paths that are too long.
PASSED = re.compile(r"no such file|not a directory|too many levels of symbolic links|file name too long")
#: Restore of single files up to so many; above that, of whole roots.
MOST_INCLUDES = 500


class Restic:
    """One repository. Every method raises BackupError, with the cause that restic names."""

    def __init__(self, settings: Settings, program: str = "restic") -> None:
        self._settings = settings
        self._program = program
        settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)

    def config(self) -> dict[str, Any]:
        """``{"id", "version", …}`` of the repository. Raises NoRepository where there is none."""
        try:
            return dict(json.loads(self.run("cat", "config", "--no-lock")))
        except ValueError:
            raise BackupError(f"{self._where}: restic cat config gave no JSON") from None

    def init(self) -> None:
        """Make the repository, of the version that compresses."""
        self.run("init", "--repository-version", "2")

    def unlock(self, everybodys: bool = False) -> None:
        """Remove locks of processes of this host that are no more, and such as are not renewed; or ``everybodys``."""
        self.run("unlock", *(["--remove-all"] if everybodys else []))

    def backup(
        self,
        paths: Sequence[str],
        tags: Sequence[str],
        excludes: Sequence[str] = (),
        progress: Callable[[float, str], None] = lambda _percent, _message: None,
    ) -> tuple[str, list[str]]:
        """Store ``paths``; the snapshot's id, and paths that had gone, or were too long, when they were to be read."""
        listed = "".join(f"{path}\0" for path in paths)
        command = ["backup", "--json", "--host", self._settings.host, "--files-from-raw", "-"]
        command += [word for tag in tags for word in ("--tag", tag)]
        command += [word for pattern in excludes for word in ("--exclude", pattern)]
        snapshot = ""
        gone: list[str] = []
        faults: list[str] = []
        with self._begin(command, listed) as run:
            for line in run.lines():
                told = _parsed(line)
                kind = told.get("message_type")
                if kind == "status":
                    done, total = told.get("bytes_done", 0), told.get("total_bytes", 0)
                    progress(100 * told.get("percent_done", 0), f"{megabytes(done)} of {megabytes(total)}")
                elif kind == "summary":
                    snapshot = str(told["snapshot_id"])
            for line in run.errors().splitlines():
                told = _parsed(line)
                if told.get("message_type") == "error":
                    text = json.dumps(told.get("error"))
                    (gone if PASSED.search(text) else faults).append(str(told.get("item", text)))
        # 3: some could not be read. Files that have gone or become links meanwhile are none that could be stored.
        if run.code not in (0, 3) or not snapshot:
            raise self.fault(run.errors())
        if faults:
            raise BackupError(
                f"{len(faults)} files cannot be read, among them {', '.join(faults[:5])}; nothing is verified"
            )
        return snapshot, gone

    def snapshots(self, *tags: str) -> list[dict[str, Any]]:
        """Snapshots of this host with a tag, the oldest first."""
        words = [word for tag in tags for word in ("--tag", tag)]
        found = json.loads(self.run("snapshots", "--json", "--no-lock", "--host", self._settings.host, *words)) or []
        return sorted(found, key=lambda snapshot: str(snapshot["time"]))

    def listing(self, snapshot: str) -> Iterator[dict[str, Any]]:
        """Its nodes: ``{"path", "type", "size", …}``."""
        with self._begin(["ls", "--json", "--no-lock", snapshot]) as run:
            for line in run.lines():
                node = _parsed(line)
                if node.get("struct_type") == "node":
                    yield node
        if run.code:
            raise self.fault(run.errors())

    def restore(
        self, snapshot: str, target: Path, includes: Sequence[str], watch: Callable[[], None] = lambda: None
    ) -> None:
        """Put these paths of the snapshot, with all below them, below ``target``; ``watch`` is called every second."""
        words = [word for path in includes for word in ("--include", escaped(path))]
        with self._begin(["restore", "--quiet", "--no-lock", snapshot, "--target", str(target), *words]) as run:
            while run.works(1):
                watch()
        if run.code:
            said = run.errors()
            # Of this host, not of the repository.
            if re.search(FULL, said, re.IGNORECASE):
                raise BackupError(
                    f"the disk of {target.parent} is full. Make room there and run it again. restic says: {brief(said)}"
                )
            raise self.fault(said)

    def check(self, data: str = "") -> None:
        """See that the repository is whole; ``data``: of so much of it, such as 5%, the content too."""
        self.run("check", "--no-lock", *([f"--read-data-subset={data}"] if data else []))

    def forget(self, *arguments: str) -> list[str]:
        """Forget snapshots by a policy or by their ids; the ids that have gone."""
        done = self.run("forget", "--json", *arguments)
        try:
            groups = json.loads(done.splitlines()[0]) if done.strip() else []
        except ValueError:
            groups = []
        return [item["id"] for group in groups or [] for item in group.get("remove") or []]

    def prune(self) -> None:
        """Remove what no snapshot needs."""
        self.run("prune")

    def run(self, *arguments: str) -> str:
        """Output of a command. Raises BackupError when it fails."""
        with self._begin(arguments) as run:
            output = "".join(run.lines())
        if run.code:
            raise self.fault(run.errors() or output)
        return output

    def fault(self, text: str) -> BackupError:
        """What restic's words mean."""
        said = brief(text) or "restic was killed"
        if MISSING.search(text):
            return NoRepository(f"{self._where}: there is no repository. restic says: {said}")
        for pattern, meaning in FAULTS:
            if re.search(pattern, text, re.IGNORECASE):
                return BackupError(f"{self._where}: {meaning}. restic says: {said}")
        return BackupError(f"{self._where}: restic failed and says: {said}")

    @property
    def _where(self) -> str:
        return f"repository {without_password(self._settings.repository)}"

    def _begin(self, arguments: Sequence[str], stdin: str = "") -> _Run:
        given = dict(self._settings.environment)
        # Version 0.14 does not read this variable.
        authority = given.pop("RESTIC_CACERT", "")
        # Elsewhere than on a host that is backed up it is the operator's own client, with its settings.
        ssh = ssh_options(given) if self._settings.of_host and (CONFIG / "ssh_key").exists() else []
        command = [self._program, *ssh, *arguments, *(["--cacert", authority] if authority else [])]
        if self._settings.upload_kbps and arguments[0] == "backup":
            command.append(f"--limit-upload={max(1, self._settings.upload_kbps // 8)}")
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self._settings.cache),
            "RESTIC_CACHE_DIR": str(self._settings.cache),
            # A status line a second is enough.
            "RESTIC_PROGRESS_FPS": "1",
            **given,
        }
        return _Run(command, environment, stdin)


class _Run:
    """A restic that works; its errors go into a file, so that it never waits for somebody to read them."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], stdin: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.code = 0
        asked = tempfile.TemporaryFile()  # noqa: SIM115
        asked.write(os.fsencode(stdin))
        asked.seek(0)
        try:
            self._process = subprocess.Popen(
                list(command), env=dict(environment), stdin=asked, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            raise BackupError(
                f"{command[0]} cannot be started ({error.strerror}). Run install.yml for this host."
            ) from None
        finally:
            asked.close()

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdout:
            self._process.stdout.close()
        self.code = self._process.wait()

    def works(self, seconds: float) -> bool:
        """Whether it still works after so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def lines(self) -> Iterator[str]:
        for line in self._process.stdout or ():
            yield line.decode(errors="replace")

    def errors(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


def escaped(path: str) -> str:
    """A path as a pattern that means it and nothing else."""
    return re.sub(r"([\\*?\[])", r"\\\1", path)


def brief(text: str) -> str:
    """The end of what restic has written, in one line, without the places in its code that some errors list."""
    words = re.sub(r"^\S+\n\t\S+\.(?:go|s):[0-9]+$\n?", "", text, flags=re.MULTILINE)
    return " ".join(words.split())[-400:]


def megabytes(count: float) -> str:
    """A number of bytes for people."""
    return f"{count / 1_000_000:.1f} MB"


def without_password(repository: str) -> str:
    """The repository's address as it may be shown."""
    return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", repository)


def ssh_options(environment: Mapping[str, str], config: Path = CONFIG) -> list[str]:
    """For a repository by SFTP: the client with the key and the host keys that the role was given, and no others."""
    found = re.fullmatch(
        r"sftp:(?://(?:(?P<user>[^@/]+)@)?(?P<host>[^:/@]+)(?::(?P<port>[0-9]+))?/.*"
        r"|(?:(?P<user2>[^@/:]+)@)?(?P<host2>[^:/@]+):.*)",
        environment.get("RESTIC_REPOSITORY", ""),
    )
    if not found:
        return []
    user, host = found["user"] or found["user2"], found["host"] or found["host2"]
    command = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    command += [
        "-o",
        f"UserKnownHostsFile={config}/known_hosts",
        "-o",
        "ServerAliveInterval=30",
        "-i",
        f"{config}/ssh_key",
    ]
    command += ["-p", found["port"]] if found["port"] else []
    command += ["-l", user] if user else []
    return ["-o", f"sftp.command={' '.join([*command, host, '-s', 'sftp'])}"]


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
