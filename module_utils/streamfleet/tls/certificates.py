"""A host's certificates: which are due, requests for those, and their installation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import pem
from .errors import TlsError
from .names import Names

if pem.MISSING is None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

KEY, CHAIN, NAMES = "privkey.pem", "fullchain.pem", "names"


@dataclass(frozen=True)
class Place:
    """Where a host's certificates lie, whose they are, who may read them, and how long before the end they are due."""

    directory: Path
    authority: Path
    group: int
    renew_days: float


def due(place: Place, wanted: Iterable[Names]) -> list[Names]:
    """Those that are missing, for other names, of another authority or key, or about to expire."""
    try:
        authority = pem.read_certificate(place.authority)
    except (FileNotFoundError, TlsError):
        return list(wanted)
    return [names for names in wanted if not _fine(place, names, authority)]


def _fine(place: Place, names: Names, authority: x509.Certificate) -> bool:
    folder = place.directory / names.name
    try:
        status = folder.stat()
        if status.st_mode & 0o7777 != 0o750 or status.st_gid != place.group:
            return False
        for name in (KEY, CHAIN):
            status = (folder / name).stat()
            if status.st_mode & 0o7777 != 0o640 or status.st_gid != place.group:
                return False
        certificate = pem.read_certificate(folder / CHAIN)
        key = pem.read_key(folder / KEY)
        noted = (folder / NAMES).read_text().strip()
    except (FileNotFoundError, NotADirectoryError, TlsError):
        return False
    return (
        noted == names.line
        and pem.public(certificate) == pem.public(key)
        and pem.signed_by(certificate, authority)
        and pem.days_left(certificate) > place.renew_days
    )


def request(place: Place, names: Names) -> str:
    """A signing request (PEM) for the host's key, which is made where there is none to be used. Raises OSError."""
    folder = place.directory / names.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        key = pem.read_key(folder / KEY)
        text = (folder / KEY).read_bytes()
    except (FileNotFoundError, TlsError):
        key, text = pem.new_key()
    pem.put(folder / KEY, text, 0o640, place.group)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return str(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode())


def install(place: Place, wanted: Iterable[Names], chains: Mapping[str, str], authority: str) -> list[str]:
    """Put the authority's certificate and the signed ones in place; returns the paths that changed. Raises OSError."""
    changed = []
    place.authority.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if pem.put(place.authority, authority.encode(), 0o644):
        changed.append(str(place.authority))
    for names in wanted:
        if names.name not in chains:
            continue
        folder = place.directory / names.name
        # Last the names: with them the certificate counts as made.
        if pem.put(folder / CHAIN, chains[names.name].encode(), 0o640, place.group):
            changed.append(str(folder / CHAIN))
        if pem.put(folder / NAMES, f"{names.line}\n".encode(), 0o644):
            changed.append(str(folder / NAMES))
        _open_to(place, folder)
    return changed


def _open_to(place: Place, folder: Path) -> None:
    """Let the servers' group in, now that all is there."""
    os.chown(folder, -1, place.group)
    folder.chmod(0o750)
