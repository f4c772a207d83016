"""The double of Icecast-KH, and the archive that it comes in: what `make install` puts below a prefix."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

PROGRAM = Path(__file__).with_name("icecast")
PAGE = b'<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0"/>\n'


def tree() -> dict[str, bytes]:
    """What is in the archive."""
    return {
        "bin/icecast": PROGRAM.read_bytes(),
        "share/icecast/web/status2.xsl": PAGE,
        "share/icecast/admin/stats.xsl": PAGE,
        "share/icecast/doc/README.txt": b"A double.\n",
    }


def pack(path: Path, files: dict[str, bytes] | None = None) -> str:
    """Write an archive of ``files`` (default: the double and what comes with it) and return its SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (tree() if files is None else files).items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def repack(old: Path, new: Path) -> str:
    """Write the files of an archive and one more into another, and return its SHA-256."""
    files = {}
    with tarfile.open(old) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                files[member.name.removeprefix("./")] = content.read()
    return pack(new, {**files, "share/icecast/doc/changes.txt": b"2\n"})
