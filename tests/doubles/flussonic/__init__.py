"""The double of Flussonic Media Server, and the package that it comes in, as the vendor's."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
#: A licence that the double takes.
LICENCE = "l4|DOUBLE-ABCDE-12345-FGHIJ"
RUN = """\
#!/bin/sh
export PYTHONPATH=/opt/flussonic/lib PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 -m doubles.flussonic.server "$@"
"""
#: As the vendor's: as root, and without any sandbox.
UNIT = """\
[Unit]
Description=Flussonic streaming server (double)
After=network-online.target

[Service]
Type=notify
User=root
Group=root
LimitNOFILE=204800
ExecStartPre=/bin/mkdir -p /var/run/flussonic
ExecStartPre=/bin/mkdir -p /var/log/flussonic
ExecStart=/opt/flussonic/bin/run -noinput
Restart=on-failure
WorkingDirectory=/opt/flussonic
NotifyAccess=main

[Install]
WantedBy=multi-user.target
"""
POSTINST = """\
#!/bin/sh
set -e
conf=/etc/flussonic/flussonic.conf
test -e $conf || printf 'http 80;\\nrtmp 1935;\\nedit_auth flussonic letmein;\\n' >$conf
if test -d /run/systemd/system; then
    systemctl daemon-reload
    systemctl enable flussonic.service >/dev/null 2>&1 || true
    systemctl restart flussonic.service || true
fi
"""
PRERM = """\
#!/bin/sh
set -e
if test "$1" = remove && test -d /run/systemd/system; then systemctl stop flussonic.service || true; fi
"""
POSTRM = """\
#!/bin/sh
set -e
if test "$1" = purge; then
    rm -rf /etc/flussonic /var/log/flussonic /etc/systemd/system/multi-user.target.wants/flussonic.service
fi
"""


def tree() -> dict[str, tuple[bytes, int]]:
    """What the package installs: path → content and mode."""
    files: dict[str, tuple[bytes, int]] = {
        "opt/flussonic/bin/run": (RUN.replace('"$@"', "").encode(), 0o755),
        "opt/flussonic/lib/doubles/__init__.py": (b"", 0o644),
        "usr/lib/systemd/system/flussonic.service": (UNIT.encode(), 0o644),
    }
    for path in (*sorted(HERE.glob("*.py")), *sorted((HERE.parent / "video").glob("*.py"))):
        content = b"" if path == HERE / "__init__.py" else path.read_bytes()
        files[f"opt/flussonic/lib/doubles/{path.parent.name}/{path.name}"] = (content, 0o644)
    return files


def _tar(files: dict[str, tuple[bytes, int]], folders: tuple[str, ...] = ()) -> bytes:
    packed = io.BytesIO()
    parents = {str(parent) for name in files for parent in Path(name).parents} - {"."} | set(folders)
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in sorted(parents):
            entry = tarfile.TarInfo(f"./{name}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def deb(control: dict[str, tuple[bytes, int]], data: bytes) -> bytes:
    """A package of Debian of these parts."""
    out = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.gz", _tar(control)), ("data.tar.gz", data)):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{0o100644:<8o}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out


def pack(path: Path, version: str = "24.09", architecture: str = "all", name: str = "flussonic") -> str:
    """Write the package and return its SHA-256."""
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: nobody <nobody@example.net>\n"
        "Depends: python3\nDescription: double of Flussonic Media Server\n"
    )
    scripts = {"postinst": POSTINST, "prerm": PRERM, "postrm": POSTRM}
    parts = {"control": (control.encode(), 0o644), **{key: (text.encode(), 0o755) for key, text in scripts.items()}}
    path.write_bytes(deb(parts, _tar(tree(), ("etc", "etc/flussonic"))))
    return hashlib.sha256(path.read_bytes()).hexdigest()
