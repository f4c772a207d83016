"""The double of Shoutcast's sc_serv, and the archive that it comes in: as the vendor's, files beside each other."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

PROGRAM = Path(__file__).with_name("sc_serv")


def pack(path: Path, files: dict[str, bytes] | None = None, folder: str = "", mode: int = 0o755) -> str:
    """Write an archive of ``files`` (default: the double and a file beside it) and return its SHA-256."""
    if files is None:
        files = {"sc_serv": PROGRAM.read_bytes(), "docs/README.txt": b"A double.\n"}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{folder}{name}")
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()
