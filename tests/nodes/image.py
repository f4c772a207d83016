"""The node image: a plain Debian server with SSH and Python, built by mmdebstrap, no image registry involved."""

from __future__ import annotations

import hashlib
import json
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.nodes import podman
from tests.nodes.errors import NodesError
from tests.nodes.paths import CACHE, LOCKS, package_cache
from tests.nodes.proc import locked, run
from tests.nodes.spec import checked_release

PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "libnss-systemd",
    "libpam-systemd",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)

MASKED = (
    # They take apt's lock at moments of their own.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    # No terminals and no block devices in a container.
    "console-getty.service",
    "getty@tty1.service",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
)

PACKAGE_STORE = "/var/cache/test-node-packages"
"""Where nodes see the shared package cache writable, to add to it."""

# apt takes an exclusive lock on its archive directory. So nodes do not share that directory: each has an overlay of its
# own over the shared cache (see fleet.py), and what a node downloaded is added to the cache from here.
_KEEP_SCRIPT = f"""#!/bin/sh
# apt names the packages it is about to unpack, one a line; keep those that the shared cache lacks.
[ -d {PACKAGE_STORE} ] || exit 0
while read -r deb; do
  name=${{deb##*/}}
  case "$name" in *.deb) ;; *) continue ;; esac
  [ ! -e "{PACKAGE_STORE}/$name" ] || continue
  incoming=$(mktemp "{PACKAGE_STORE}/.incoming.XXXXXXXX") || exit 0
  cp "$deb" "$incoming" && chmod 0644 "$incoming" && mv "$incoming" "{PACKAGE_STORE}/$name" || rm -f "$incoming"
done
exit 0
"""

_FILES = {
    "/usr/local/lib/test-node/keep-packages": (_KEEP_SCRIPT, 0o755),
    "/etc/apt/apt.conf.d/90test-node": (
        'DPkg::Pre-Install-Pkgs {"/usr/local/lib/test-node/keep-packages";};\nAPT::Keep-Downloaded-Packages "true";\n',
        0o644,
    ),
    # A server's systemd makes its mounts propagate, a container's leaves that alone, and units with a view of the
    # mounts of their own would not see what is mounted later.
    "/etc/systemd/system/test-node-mounts.service": (
        "[Unit]\nDescription=Make mounts propagate, as on a server\nDefaultDependencies=no\nBefore=sysinit.target\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=mount --make-rshared /\n"
        "[Install]\nWantedBy=sysinit.target\n",
        0o644,
    ),
}

_HOST_APT_OPTIONS = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")
"""Where this machine's clock and mirror disagree, its own apt is told so; nodes need to be told the same."""


def recipe(release: str) -> str:
    """Everything that decides what is in the image, as text; its hash is part of the image's name."""
    return json.dumps(
        {"release": release, "packages": PACKAGES, "masked": MASKED, "files": _FILES, "apt": apt_options()},
        sort_keys=True,
    )


def name(release: str) -> str:
    """Full name of the image for a release, e.g. localhost/streamfleet-node:bookworm-0123456789ab."""
    digest = hashlib.sha256(recipe(checked_release(release)).encode()).hexdigest()[:12]
    return f"localhost/streamfleet-node:{release}-{digest}"


def apt_options() -> list[str]:
    """apt.conf lines of this machine that its nodes need as well."""
    dump = run(["apt-config", "dump", "--format", "%f=%v%n", *_HOST_APT_OPTIONS], check=False).stdout
    pairs = [line.partition("=") for line in dump.splitlines()]
    return [f'{option} "{value}";' for option, _, value in pairs if value]


def ensure(release: str, log: Callable[[str], None], rebuild: bool = False) -> str:
    """Name of the image for a release, built first if it is not here. Builds of one release wait for each other."""
    image = name(release)
    if not rebuild and podman.exists("image", image):
        return image
    with locked(LOCKS / f"streamfleet-nodes-image-{release}.lock", 900, f"the {release} image"):
        if not rebuild and podman.exists("image", image):
            return image
        log(f"building {image} (once; about a minute)")
        _build(release, image)
    return image


def _build(release: str, image: str) -> None:
    cache = package_cache(release)
    cache.mkdir(parents=True, exist_ok=True)
    work = CACHE / "build"
    work.mkdir(parents=True, exist_ok=True)
    # Beside the package cache, so that packages are hard-linked in and out instead of copied.
    with tempfile.TemporaryDirectory(prefix="node-", dir=work) as scratch:
        Path(scratch).chmod(0o755)  # mmdebstrap's chroot must be passable for apt's own user
        archive = Path(scratch, "root.tar")
        run(build_command(release, archive, cache, Path(scratch)), env={"TMPDIR": scratch}, timeout=900)
        run([*podman.command(), "import", "--change", "CMD=/sbin/init", str(archive), image], timeout=300)
    if not podman.exists("image", image):
        raise NodesError(f"podman import did not make {image}.")


def build_command(release: str, archive: Path, cache: Path, scratch: Path) -> list[str]:
    """mmdebstrap's command line. It names no mirror: the default has main, updates and security, as a server does."""
    files = scratch / "files"
    for path, (content, mode) in _FILES.items():
        target = files / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(mode)
    for directory in [files, *(p for p in files.rglob("*") if p.is_dir())]:
        directory.chmod(0o755)
    store = shlex.quote(str(cache))
    link_in = (
        'mkdir -p "$1/var/cache/apt/archives" && '
        f'find {store} -maxdepth 1 -name "*.deb" -exec cp --link --target-directory "$1/var/cache/apt/archives" {{}} +'
    )
    link_out = (
        f'find "$1/var/cache/apt/archives" -maxdepth 1 -name "*.deb" '
        f"-exec cp --link --no-clobber --target-directory {store} {{}} +"
    )
    mask = " ".join(MASKED)
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--skip=essential/unlink"]
    for option in apt_options():
        command += ["--aptopt", option]
    command += [
        f"--include={','.join(PACKAGES)}",
        f"--setup-hook={link_in}",
        f"--customize-hook={link_out}",
        f'--customize-hook=cp -a {shlex.quote(str(files))}/. "$1/"',
        '--customize-hook=chown -R 0:0 "$1/usr/local/lib/test-node" "$1/etc/apt/apt.conf.d" "$1/etc/systemd/system"',
        '--customize-hook=chroot "$1" systemctl enable test-node-mounts.service',
        f'--customize-hook=chroot "$1" systemctl mask {mask}',
        # Every node gets keys and an identity of its own.
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*',
        '--customize-hook=: > "$1/etc/machine-id"',
        f'--customize-hook=mkdir -p "$1{PACKAGE_STORE}"',
        release,
        str(archive),
    ]
    return command
