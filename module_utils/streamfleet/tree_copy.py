"""Copies of tenants' trees by root: what rsync takes along, and the sandbox of the units that it runs in.

The other side may be in a stranger's hands, and a tenant's program may put a link where a folder was. So neither a
device nor a set-uid program comes into a tree, and nothing outside of it can be written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from .node_apply.host import Finished, Host

#: All that a file is, but for what would make root's power of it. What went meanwhile goes in the copy, too.
RSYNC = (
    *("rsync", "--archive", "--hard-links", "--acls", "--xattrs", "--numeric-ids", "--delete", "--one-file-system"),
    *("--no-devices", "--no-specials", "--info=nonreg0", "--chmod=ug-s"),
)
#: What Linux keeps for itself, and what is the file system's.
FILTERS = ("--filter=-x! user.*", "--exclude=/lost+found")
#: Owners and rights are kept of files that are others'.
_SANDBOX = (
    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER",
    "NoNewPrivileges=yes",
    "KeyringMode=private",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    # A disk for libraries may be mounted below /home.
    "ProtectHome=read-only",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProtectSystem=strict",
    "RemoveIPC=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "SystemCallFilter=@system-service",
    "InaccessiblePaths=-/etc/streamfleet",
    "LimitCORE=0",
    "UMask=0077",
)
_ONCE = """\
to="$0"
"$@" >"$to.out" 2>"$to.err"; echo $? >"$to.code.new"; exec mv "$to.code.new" "$to.code"
"""


def properties(writable: Iterable[Path | str], *, network: bool, hidden: Iterable[Path | str] = ()) -> list[str]:
    """Properties of a unit that writes below ``writable`` alone, and does not see ``hidden``."""
    found = [*_SANDBOX, f"ReadWritePaths={' '.join(f'-{place}' for place in writable)}"]
    found += [f"InaccessiblePaths=-{place}" for place in hidden]
    if network:
        found.append("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6")
    else:
        found += ["RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes", "IPAddressDeny=any"]
    return found


def options(unit: str, description: str, wanted: Iterable[str]) -> list[str]:
    """What systemd-run is given for it."""
    words = ["--quiet", "--collect", f"--unit={unit}", f"--description={description}"]
    return [*words, *(f"--property={one}" for one in wanted)]


def once(host: Host, unit: str, wanted: Iterable[str], place: Path, command: Sequence[str], seconds: float) -> Finished:
    """Run a program in a unit of its own and wait for its end. What it says goes to files beside ``place``.

    A unit of type oneshot is waited for by whoever starts it, also where there is no D-Bus.
    """
    files = {name: place.with_name(f"{place.name}.{name}") for name in ("out", "err", "code")}
    for path in files.values():
        path.unlink(missing_ok=True)
    host.run(["systemctl", "reset-failed", unit], "", 30.0)
    begun = host.clock()
    limits = ("Type=oneshot", f"TimeoutStartSec={max(1, round(seconds))}")
    argv = ["systemd-run", *options(unit, "Streamfleet copies what has changed", [*limits, *wanted])]
    started = host.run([*argv, "/bin/sh", "-c", _ONCE, str(place), *command], "", seconds + 30)
    said = dict.fromkeys(files, "")
    for name, path in files.items():
        with contextlib.suppress(FileNotFoundError):
            said[name] = path.read_text(errors="replace")
            path.unlink()
    if said["code"]:
        return Finished(int(said["code"]), said["out"], said["err"])
    host.run(["systemctl", "stop", unit], "", 60.0)
    if started.code == 124 or host.clock() - begun >= seconds:
        return Finished(124, said["out"], f"it did not end within {seconds:g} seconds")
    return Finished(started.code or 1, said["out"], said["err"].strip() or started.last_words)
