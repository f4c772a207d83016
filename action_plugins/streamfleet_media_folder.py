"""Bring a folder of the controller into a customer's media library on a node: only what differs, resumable."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet import arguments, errors, libraries, media_folder
from streamfleet.node_apply.users import name_of
from streamfleet.on_controller import client_of

SPEC: dict[str, dict[str, Any]] = {
    **arguments.CONNECTION,
    "customer": {"type": "str", "required": True},
    "src": {"type": "path", "required": True},
    "dest": {"type": "str", "default": "."},
    "delete": {"type": "bool", "default": False},
}
#: Seconds between two lines that tell how far it is.
TELL_EVERY = 5.0
MB = 1024 * 1024


class ActionModule(ActionBase):
    """Asks the panel for the customer's library, rsync for what differs, and brings that. Check mode only asks."""

    TRANSFERS_FILES = True
    _VALID_ARGS = frozenset(SPEC)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was sent and deleted; ``failed`` with a message that a person can act on otherwise."""
        super().run(tmp, task_vars)
        node = (task_vars or {}).get("inventory_hostname", "")
        _result, options = self.validate_argument_spec(argument_spec=SPEC)
        try:
            return self._bring(node, options)
        except errors.Error as error:
            return {"failed": True, "changed": False, "msg": f"{node}: {error}"}

    def _bring(self, node: str, options: dict[str, Any]) -> dict[str, Any]:
        src = Path(self._loader.path_dwim(options["src"]))
        dest = media_folder.destination(options["dest"])
        folder = media_folder.scan(src)
        if options["delete"] and not folder.media:
            raise errors.BadOption(
                f"src: {str(src)!r} holds nothing that can be played, and with delete {dest} of the library would be"
                " emptied. Look whether it is the right folder."
            )
        if not shutil.which("rsync"):
            raise errors.BadOption("The controller has no rsync: install it (apt-get install rsync).")
        with client_of(options, "the customer's account, or of one above it") as client:
            uid = media_folder.uid_of(client, options["customer"])
        result: dict[str, Any] = {"changed": False, "library": libraries.library_of(uid), "ignored": folder.ignored}
        if not self._there(result["library"]):
            if self._task.check_mode:
                return {**result, "changed": bool(folder.media), "sent": sorted(folder.media), "deleted": []}
            raise errors.BadOption(
                f"customer: {options['customer']!r} has no media library here. A media service with an autodj makes it:"
                " declare one on this node, and converge."
            )
        whole = _Rsync(self._connection, src, f"{result['library']}/{dest}", uid, node, options["delete"])
        changes = whole.run(dry_run=True)
        if changes and not self._task.check_mode:
            changes = whole.run(dry_run=False, expected=changes)
        paths = {
            action: sorted(change.path for change in changes if change.action == action)
            for action in ("send", "delete")
        }
        result.update(changed=bool(changes), sent=paths["send"], deleted=paths["delete"])
        result["bytes"] = sum(change.size for change in changes)
        if self._task.diff:
            result["diff"] = [{"prepared": "".join(f"{change.action} {change.path}\n" for change in changes)}]
        return result

    def _there(self, library: str) -> bool:
        done = self._low_level_execute_command(f"test -d {shlex.quote(library)}", sudoable=False)
        return int(done["rc"]) == 0


class _Rsync:
    """One transfer over the connection that Ansible has to the node. Raises errors.Error."""

    def __init__(self, connection: Any, src: Path, target: str, uid: int, node: str, delete: bool) -> None:
        self.user = name_of(uid)
        self.node = node
        host, shell = _way_of(connection)
        self._argv = [
            media_folder.command(src, f"{host}:{target}", self.user, shell, delete=delete, dry_run=dry_run)
            for dry_run in (False, True)
        ]

    def run(self, dry_run: bool, expected: list[media_folder.Change] | None = None) -> list[media_folder.Change]:
        """What it changes or would change, in rsync's order, telling how far it is of what is expected."""
        changes: list[media_folder.Change] = []
        telling = _Telling(self.node, expected or [])
        with subprocess.Popen(
            self._argv[dry_run], text=True, errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            others = []
            for line in process.stdout or ():
                change = media_folder.change_of(line)
                if change is None:
                    others.append(line)
                else:
                    changes.append(change)
                    telling.of(changes)
        if process.returncode:
            raise errors.Error(media_folder.failure(process.returncode, others, self.node, self.user))
        return changes


class _Telling:
    """A line every few seconds for whoever waits: files and megabytes of those that are to be sent."""

    def __init__(self, node: str, expected: list[media_folder.Change]) -> None:
        self._node = node
        self._sizes = [change.size for change in expected if change.action == "send"]
        self._next = time.monotonic() + TELL_EVERY

    def of(self, changes: list[media_folder.Change]) -> None:
        """Tell, if it is time."""
        if not self._sizes or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + TELL_EVERY
        sizes = [change.size for change in changes if change.action == "send"]
        Display().display(
            f"{self._node}: {len(sizes)} of {len(self._sizes)} files, {sum(sizes) // MB} of {sum(self._sizes) // MB} MB"
        )


def _way_of(connection: Any) -> tuple[str, str]:
    """The node's name and the remote shell for rsync, from Ansible's connection. Raises BadOption."""
    if connection.transport == "local":
        # rsync gives a host name and a command that is quoted for a shell. There is no host to go to.
        return "localhost", "sh -c 'shift; exec sh -c \"$*\"' sh"
    if connection.transport != "ssh":
        raise errors.BadOption(
            f"ansible_connection: {connection.transport!r} cannot carry rsync. Use ssh, or local for the controller."
        )
    option = connection.get_option
    words = [option("ssh_executable") or "ssh", "-o", "BatchMode=yes", "-o", "Compression=no"]
    for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        words += shlex.split(option(name) or "")
    if not option("host_key_checking"):
        words += ["-o", "StrictHostKeyChecking=no"]
    if option("port"):
        words += ["-p", str(option("port"))]
    if option("private_key_file"):
        words += ["-i", str(Path(option("private_key_file")).expanduser()), "-o", "IdentitiesOnly=yes"]
    if getattr(connection, "control_path", None):
        words += ["-o", f"ControlPath={connection.control_path}"]
    if option("remote_user"):
        words += ["-l", option("remote_user")]
    host = option("host")
    return (f"[{host}]" if ":" in host else host), shlex.join(words)
