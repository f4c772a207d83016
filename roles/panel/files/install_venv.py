"""Install a wheelhouse into a new virtual environment: ``install_venv.py WHEELHOUSE.tar VENV``.

Runs on the host with Debian's Python and needs no package index: pip comes in the wheelhouse, takes nothing from
elsewhere, and checks every wheel's hash. The last act is the file ``.complete``; without it, what an interrupted run
left is made anew. The modules are compiled here because nobody may write them later.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

COMPLETE = ".complete"


def install(archive: Path, target: Path) -> None:
    """Make ``target``. Raises subprocess.CalledProcessError and OSError."""
    if target.exists():
        shutil.rmtree(target)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".wheels-") as scratch:
        tree = Path(scratch)
        # Debian 12's tarfile cannot refuse what would land outside; tar always does.
        subprocess.run(["tar", "--extract", "--no-same-owner", f"--file={archive}", f"--directory={tree}"], check=True)
        venv.EnvBuilder(symlinks=True, with_pip=False).create(target)
        python = target / "bin" / "python"
        pip = next((tree / "wheels").glob("pip-*.whl")) / "pip"
        command = [str(python), str(pip), "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        command += [
            "--no-cache-dir",
            "--require-hashes",
            "--find-links",
            str(tree / "wheels"),
            "-r",
            str(tree / "requirements.txt"),
        ]
        environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}
        subprocess.run(command, check=True, env=environment)
    packages = next((target / "lib").glob("python3*")) / "site-packages"
    # What the panel and the worker never import on this host; it is a third of all there is to compile.
    skip = "/(tests?|testing|ansible_test|gis|oracle|locale)/|/ansible/(modules|galaxy)/"
    subprocess.run([str(python), "-m", "compileall", "-q", "-j", "0", "-x", skip, str(packages)], check=True)
    collect = {**os.environ, "STREAMFLEET_PANEL_SECRET_KEY": "unused", "STREAMFLEET_PANEL_FIELD_KEYS": "unused"}
    subprocess.run(
        [str(target / "bin" / "streamfleet-panel"), "collectstatic", "--noinput", "-v0"], check=True, env=collect
    )


def main() -> int:
    """Command line."""
    archive, target = Path(sys.argv[1]), Path(sys.argv[2])
    os.umask(0o022)
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        # A run that was killed may have left one of us working: it is waited for, and what it made is taken.
        with (target.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / COMPLETE).exists():
                install(archive, target)
                (target / COMPLETE).touch()
                os.sync()
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        print(f"The panel cannot be installed into {target}: {error}", file=sys.stderr)
        return 1
    archive.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
