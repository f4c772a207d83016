"""One run of converge.yml for one node, by ansible-runner. No database here."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible_runner

from streamfleet_panel.worker.config import Config, ConfigError

#: Marks the processes of a run, so that what a killed worker left behind is found again.
MARK = "STREAMFLEET_CONVERGE_RUN"
OUTPUT_CHARACTERS = 8000
MESSAGE_CHARACTERS = 1000

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:]{2,45}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_KEY = re.compile(r"(ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+(?: [^\n]*)?")
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Target:
    """How a node is reached."""

    name: str
    address: str
    port: int
    user: str
    host_key: str

    def fault(self) -> str | None:
        """What is wrong with it, in words, or None. What is right here can go into an inventory and an SSH command."""
        if not _NAME.fullmatch(self.name):
            return f"the node's name {self.name!r} cannot be used"
        if not _ADDRESS.fullmatch(self.address):
            return f"the node's address {self.address!r} is neither a host name nor an IP address"
        if not _USER.fullmatch(self.user):
            return f"the node's ssh_user {self.user!r} cannot be used"
        if not 0 < self.port < 65536:
            return f"the node's ssh_port {self.port} is not a port"
        if not self.host_key.strip():
            return (
                "the node has no host_key: run install.yml for it, or set it from its /etc/ssh/ssh_host_ed25519_key.pub"
            )
        if not _KEY.fullmatch(self.host_key.strip()):
            return "the node's host_key is not a line as in /etc/ssh/ssh_host_ed25519_key.pub"
        return None


@dataclass(frozen=True)
class Outcome:
    """What came of a run. ``message`` is for people; ``output`` is the end of what Ansible printed, without secrets."""

    ok: bool
    reachable: bool = True
    message: str = ""
    output: str = ""


def known_hosts(target: Target) -> str:
    """The line that pins the node's key."""
    return f"[{target.address}]:{target.port} {target.host_key.strip()}\n" + (
        f"{target.address} {target.host_key.strip()}\n" if target.port == 22 else ""
    )


def ssh_options(folder: Path) -> list[str]:
    """How every connection to a node is made, with the key that is pinned in ``folder``."""
    options = {
        "UserKnownHostsFile": folder / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": 10,
        "ServerAliveInterval": 5,
        "ServerAliveCountMax": 3,
        "ControlMaster": "auto",
        "ControlPersist": "300s",
    }
    return [f"{name}={value}" for name, value in options.items()]


def inventory(target: Target, config: Config, folder: Path) -> dict[str, Any]:
    """An inventory of this one node. Everything that comes from the database has been checked by ``Target.fault``."""
    variables = {
        "ansible_connection": "ssh",
        "ansible_host": target.address,
        "ansible_port": target.port,
        "ansible_user": target.user,
        "ansible_ssh_private_key_file": str(config.ssh_key),
        "ansible_ssh_args": " ".join(f"-o {option}" for option in ssh_options(folder)),
        "ansible_control_path": str(config.run_dir / "ssh" / "%%C"),
        "ansible_control_path_dir": str(config.run_dir / "ssh"),
        # Every supported Debian has it; asking the node would cost a round trip.
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    return {"all": {"children": {"streamfleet_nodes": {"hosts": {target.name: variables}}}}}


def environment(config: Config, run_id: int, token: str) -> dict[str, str]:
    """What the run sees of the world: nothing of the worker's own environment but this."""
    home = str(config.run_dir / "home")
    return {
        "ANSIBLE_CONFIG": str(config.release / "ansible.cfg"),
        "ANSIBLE_HOME": home,
        "ANSIBLE_LOCAL_TEMP": f"{home}/tmp",  # noqa: S108  (in a folder of the worker's own)
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_PIPELINING": "1",
        "HOME": home,
        "LANG": "C.UTF-8",
        "PATH": f"{config.programs}:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "STREAMFLEET_URL": config.url,
        "STREAMFLEET_CA": str(config.ca),
        "STREAMFLEET_TOKEN": token,
        "STREAMFLEET_ORIGIN": f"the worker's run {run_id}",
        MARK: str(run_id),
    }


def folder_of(run_id: int, config: Config) -> Path:
    """The run's folder. That it exists says that this host's worker began the run and has not written down its end."""
    return config.run_dir / "runs" / str(run_id)


def prepare(config: Config) -> None:
    """Make the folders that runs share."""
    for name in ("runs", "ssh", "collect", "home/tmp"):
        (config.run_dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)


def converge(run_id: int, target: Target, config: Config, cancelled: Callable[[], bool]) -> Outcome:
    """Run converge.yml for ``target`` and say what came of it. Raises nothing: every failure is an outcome."""
    try:
        fault = target.fault()
        if fault:
            return Outcome(False, message=f"{fault[0].upper()}{fault[1:]}.")
        return _run(run_id, target, config, cancelled)
    except ConfigError as error:
        return Outcome(False, message=str(error))
    except Exception as error:
        return Outcome(
            False, message=f"The run could not be started: {type(error).__name__}: {error}"[:MESSAGE_CHARACTERS]
        )


def _run(run_id: int, target: Target, config: Config, cancelled: Callable[[], bool]) -> Outcome:
    token = config.token()
    folder = folder_of(run_id, config)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "known_hosts").write_text(known_hosts(target))
    hosts = folder / "hosts.yml"
    hosts.write_text(json.dumps(inventory(target, config, folder)))
    failures: list[str] = []
    stats: dict[str, Any] = {}

    def on_event(event: dict[str, Any]) -> bool:
        if event.get("event") == "playbook_on_stats":
            stats.update(event.get("event_data") or {})
        message = failure_of(event)
        if message:
            failures.append(message)
        # Nothing of an event is kept: results may be large.
        return False

    result = ansible_runner.run(
        private_data_dir=str(folder),
        project_dir=str(config.release),
        playbook="playbooks/converge.yml",
        inventory=str(hosts),
        limit=target.name,
        envvars=environment(config, run_id, token),
        settings={"job_timeout": int(config.run_timeout), "suppress_env_files": True, "pexpect_use_poll": True},
        ident="run",
        quiet=True,
        event_handler=on_event,
        cancel_callback=cancelled,
    )
    output = tail(folder / "artifacts" / "run" / "stdout", token)
    unreachable = bool((stats.get("dark") or {}).get(target.name))
    if result.status == "timeout":
        return Outcome(False, message=f"The run took longer than {config.run_timeout:.0f} seconds.", output=output)
    if result.status == "canceled":
        return Outcome(False, message="The worker was told to stop in the middle.", output=output)
    if result.rc == 0 and target.name in (stats.get("processed") or {}):
        return Outcome(True, output=output)
    message = failures[-1] if failures else last_words(output) or f"ansible-playbook ended with {result.rc}."
    message = message.replace(token, "********")[:MESSAGE_CHARACTERS]
    return Outcome(False, reachable=not unreachable, message=message, output=output)


def failure_of(event: dict[str, Any]) -> str | None:
    """The message of an event that says why a run fails, else None."""
    if event.get("event") not in {"runner_on_failed", "runner_on_unreachable"}:
        return None
    data = event.get("event_data") or {}
    if data.get("ignore_errors"):
        return None
    message = str((data.get("res") or {}).get("msg") or "").strip()
    return ESCAPES.sub("", message) or None


def tail(path: Path, token: str) -> str:
    """The end of a text file, printable, without the token."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4 * OUTPUT_CHARACTERS))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return ESCAPES.sub("", text.replace("\r\n", "\n")).replace(token, "********")[-OUTPUT_CHARACTERS:]


def last_words(output: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def clean(run_id: int, config: Config) -> None:
    """Remove the run's folder: its end is written down."""
    shutil.rmtree(folder_of(run_id, config), ignore_errors=True)


def left_behind(config: Config) -> list[int]:
    """Runs that a worker on this host began and did not bring to an end."""
    folder = config.run_dir / "runs"
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()) if folder.is_dir() else []


def kill_leftovers(run_ids: list[int]) -> int:
    """End the processes of runs whose worker is dead, so that none of them works on beside its successor."""
    marks = {f"{MARK}={run_id}".encode() for run_id in run_ids}
    ended = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marks & set((entry / "environ").read_bytes().split(b"\0")):
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
        except OSError:
            # Gone meanwhile, or not ours to look at.
            continue
    return ended
