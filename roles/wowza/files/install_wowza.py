"""Check or run an installer of Wowza Streaming Engine.

``check INSTALLER SHA256 MACHINE`` on the controller says whether the file is the one that was meant, and for this kind
of machine. ``install INSTALLER SHA256 HOME MARKER ARGUMENT…`` on the node runs it, sees that it did what it should, and
has the vendor's own units not start. A file that is refused: exit code 3, the reason on stderr.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

#: Machine as uname names it → machine and word size of an ELF file.
MACHINES = {"x86_64": (62, 64), "aarch64": (183, 64), "i686": (3, 32)}
#: What must be there afterwards, below the home.
NEEDED = ("bin/startup.sh", "conf/Server.xml", "conf/VHosts.xml", "conf/VHost.xml", "conf/Tune.xml")
#: Seconds that an installer may take.
PATIENCE = 900
UNITS = ("WowzaStreamingEngine.service", "WowzaStreamingEngineManager.service")


class Refused(Exception):
    """The file is not one to run, or did not do what it should."""


def checked(installer: Path, checksum: str, machine: str) -> None:
    """Raises Refused for another file than the one that was meant, or one that this machine cannot run."""
    digest = hashlib.sha256()
    try:
        with installer.open("rb") as stream:
            head = stream.read(64)
            digest.update(head)
            while piece := stream.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}. Put the vendor's installer there") from None
    if digest.hexdigest() != checksum:
        raise Refused(
            f"its SHA-256 is {digest.hexdigest()}, and not {checksum} as streamfleet_wowza_checksum says. "
            "Get the installer again, or correct the checksum if you trust this one"
        )
    judge(head, machine)


def judge(head: bytes, machine: str) -> None:
    """Raises Refused for what this kind of machine cannot run. A script passes: earlier installers are such."""
    if head.startswith(b"#!"):
        return
    if not head.startswith(b"\x7fELF") or len(head) < 20:
        raise Refused("it is not a program for Linux. Is it the installer for Linux (.run)?")
    order = "<" if head[5] == 1 else ">"
    kind = (struct.unpack_from(f"{order}H", head, 18)[0], 64 if head[4] == 2 else 32)
    if kind != MACHINES.get(machine):
        names = {value: name for name, value in MACHINES.items()}
        other = names.get(kind, f"machine {kind[0]} with {kind[1]} bits")
        raise Refused(
            f"it is for {other}, and this node is {machine}. Get the vendor's installer for this architecture"
        )


def install(installer: Path, checksum: str, home: Path, marker: Path, arguments: list[str]) -> None:
    """Run the installer. Raises Refused; the marker is there only if all went well."""
    checked(installer, checksum, os.uname().machine)
    installer.chmod(0o700)
    try:
        # No terminal and no input: an installer that asks something after all ends instead of waiting for ever.
        done = subprocess.run(
            [str(installer), *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"it did not end within {PATIENCE} seconds") from None
    except OSError as error:
        raise Refused(f"it cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise Refused(f"it ended with {done.returncode}: {words[-1][:300] if words else 'without a word'}")
    missing = [name for name in NEEDED if not (home / name).is_file()]
    if missing:
        raise Refused(
            f"it ended well, but {home / missing[0]} is missing. Does streamfleet_wowza_home say where it installs?"
        )
    for unit in UNITS:
        if subprocess.run(["systemctl", "cat", unit], capture_output=True, check=False).returncode == 0:
            subprocess.run(["systemctl", "disable", "--now", unit], capture_output=True, check=True)
    for other in marker.parent.glob("installed-*"):
        other.unlink()
    marker.write_text(f"{checksum}\n")
    installer.unlink()


def main() -> int:
    """Command line."""
    arguments = sys.argv[1:]
    if len(arguments) < 4 or arguments[0] not in ("check", "install"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if arguments[0] == "check":
            checked(Path(arguments[1]), arguments[2], arguments[3])
        else:
            installer, checksum, home, marker, *rest = arguments[1:]
            install(Path(installer), checksum, Path(home), Path(marker), rest)
    except Refused as error:
        print(f"{error}.", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
