"""The double of Wowza Streaming Engine, and the installer that it comes in, one file as the vendor's."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
#: A licence key that the double takes.
LICENCE = "DOUBLE-ABCDE-12345-FGHIJ-67890"
STARTUP = """\
#!/bin/sh
home=$(dirname "$(dirname "$(readlink -f "$0")")")
export PYTHONPATH="$home/lib" PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 -m doubles.wowza.server "$home"
"""


def tree() -> dict[str, tuple[bytes, int]]:
    """What the installer installs: path → content and mode."""
    files = {f"conf/{path.name}": (path.read_bytes(), 0o644) for path in sorted((HERE / "conf").iterdir())}
    for path in (
        HERE / "caster.py",
        HERE / "configuration.py",
        HERE / "dvr.py",
        HERE / "film.py",
        HERE / "recorder.py",
        HERE / "server.py",
        HERE / "transcoder.py",
        *sorted((HERE.parent / "video").glob("*.py")),
    ):
        files[f"lib/doubles/{path.parent.name}/{path.name}"] = (path.read_bytes(), 0o644)
    files["lib/doubles/__init__.py"] = files["lib/doubles/wowza/__init__.py"] = (b"", 0o644)
    files["bin/startup.sh"] = (STARTUP.encode(), 0o755)
    files["uninstall"] = ((HERE / "uninstaller.py").read_bytes(), 0o755)
    return files


def pack(path: Path, version: str = "4.9.0") -> str:
    """Write the installer and return its SHA-256."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, (content, mode) in tree().items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    text = (HERE / "installer.py").read_text().replace("@VERSION@", version)
    path.write_text(text.replace("@FILES@", base64.b64encode(packed.getvalue()).decode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()
