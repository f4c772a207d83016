"""Unpack a release bundle: ``install_release.py RELEASE.tar.gz TARGET``. The target appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Command line."""
    archive, target = Path(sys.argv[1]), Path(sys.argv[2])
    os.umask(0o022)
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".release-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        subprocess.run(["tar", "--extract", "--no-same-owner", f"--file={archive}", f"--directory={tree}"], check=True)
        tree.chmod(0o755)
        (tree / ".complete").touch()
        os.sync()
        tree.rename(target)
    archive.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
