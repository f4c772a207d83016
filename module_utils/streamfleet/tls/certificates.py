"""A host's certificates: which the own authority is to sign, requests for those, and how any is put in place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import pem
from .errors import TlsError
from .names import ACME, FILES, Names

if pem.MISSING is None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

KEY, CHAIN, NAMES = "privkey.pem", "fullchain.pem", "names"
#: A new key that waits for its certificate, while the old pair is in use.
NEXT = "next.pem"


@dataclass(frozen=True)
class Place:
    """Where a host's certificates lie, whose they are, who may read them, how long before the end they are due.

    ``key``: kind of the keys that are made.
    """

    directory: Path
    authority: Path
    group: int
    renew_days: float
    key: str = "ec256"


def due(place: Place, wanted: Iterable[Names]) -> list[Names]:
    """Those that are missing, for other names, of another authority or key, or about to expire.

    Of what an ACME directory is to sign only those are that have nothing to be served with, and none that the operator
    brings.
    """
    ours = [names for names in wanted if names.source != FILES]
    try:
        authority = pem.read_certificate(place.authority)
    except (FileNotFoundError, TlsError):
        return ours
    return [names for names in ours if not _fine(place, names, authority)]


def _fine(place: Place, names: Names, authority: x509.Certificate) -> bool:
    folder = place.directory / names.name
    try:
        # What a directory has issued is not replaced for its modes: install puts those right.
        if names.source != ACME and not _modes(place, folder):
            return False
        certificate = pem.read_certificate(folder / CHAIN)
        key = pem.read_key(folder / KEY)
        noted = (folder / NAMES).read_text().strip()
    except (FileNotFoundError, NotADirectoryError, TlsError):
        return False
    if pem.public(certificate) != pem.public(key):
        return False
    own = pem.signed_by(certificate, authority)
    if names.source == ACME and not own:
        # The directory's client sees to it; until it is renewed, whatever it is for, nobody is better off with another.
        return pem.covers(certificate, names.name) and pem.days_left(certificate) > 0
    kept = names.source == ACME or pem.kind(key) == place.key
    return noted == names.line and own and kept and pem.days_left(certificate) > place.renew_days


def _modes(place: Place, folder: Path) -> bool:
    """Whether the folder and what is in it are as servers read them, and nobody else. Raises FileNotFoundError."""
    return not _ajar(place, folder)


def _ajar(place: Place, folder: Path) -> list[tuple[Path, int]]:
    """What of it is not, each with the mode that it is to have; the folder first. Raises FileNotFoundError."""
    found = []
    for path, mode in ((folder, 0o750), (folder / KEY, 0o640), (folder / CHAIN, 0o640)):
        status = path.stat()
        if status.st_mode & 0o7777 != mode or status.st_gid != place.group:
            found.append((path, mode))
    return found


def put_right(place: Place, wanted: Iterable[Names], *, write: bool = True) -> list[str]:
    """Have modes and group of what an ACME directory signs as servers need them; the paths that changed, or that would.

    Raises OSError.
    """
    changed = []
    for names in (names for names in wanted if names.source == ACME):
        try:
            found = _ajar(place, place.directory / names.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for path, mode in found if write else []:
            os.chown(path, -1, place.group)
            path.chmod(mode)
        changed += [str(path) for path, _mode in found]
    return changed


def request(place: Place, names: Names) -> str:
    """A signing request (PEM) for the host's key, which is made where there is none to be used. Raises OSError."""
    folder = place.directory / names.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        key = pem.read_key(folder / KEY)
        text = (folder / KEY).read_bytes()
    except (FileNotFoundError, TlsError):
        key, text = pem.new_key(place.key)
    pem.put(folder / KEY, text, 0o640, place.group)
    if names.source != ACME and pem.kind(key) != place.key:
        key, text = pem.new_key(place.key)
        pem.put(folder / NEXT, text, 0o600)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return str(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode())


def install(place: Place, wanted: Iterable[Names], chains: Mapping[str, str], authority: str) -> list[str]:
    """Put the authority's certificate and the signed ones in place; returns the paths that changed. Raises OSError."""
    changed = []
    place.authority.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if pem.put(place.authority, authority.encode(), 0o644):
        changed.append(str(place.authority))
    wanted = list(wanted)
    for names in wanted:
        if names.name in chains:
            changed += put_chain(place, names, chains[names.name].encode())
    return changed + put_right(place, wanted)


def put_chain(place: Place, names: Names, chain: bytes) -> list[str]:
    """Put a certificate for the host's key in place, or for the key that waits for one; the paths that changed.

    Raises TlsError for one that is for neither key, OSError.
    """
    folder = place.directory / names.name
    changed = []
    public = pem.public(pem.read_chain(chain)[0])
    if public == _public(folder / KEY):
        if pem.put(folder / CHAIN, chain, 0o640, place.group):
            changed.append(str(folder / CHAIN))
    elif public == _public(folder / NEXT):
        pem.put_both([(folder / KEY, (folder / NEXT).read_bytes()), (folder / CHAIN, chain)], 0o640, place.group)
        (folder / NEXT).unlink()
        changed += [str(folder / KEY), str(folder / CHAIN)]
    else:
        raise TlsError(f"the certificate for {names.name} is for another key than {folder / KEY}")
    # Last the names: with them the certificate counts as made.
    if pem.put(folder / NAMES, f"{names.line}\n".encode(), 0o644):
        changed.append(str(folder / NAMES))
    _open_to(place, folder)
    return changed


def brought(place: Place, names: Names, pair: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The operator's chain and key for the name. Raises TlsError that says what is wrong with them."""
    option = f"streamfleet_certificates_files: {names.name}"
    for part in ("certificate", "key"):
        if not str(pair.get(part) or "").strip():
            raise TlsError(
                f"{option}: {part} is empty; give its PEM text, for example with lookup('ansible.builtin.file', …)"
            )
    chain, text = (str(pair[part]).strip().encode() + b"\n" for part in ("certificate", "key"))
    try:
        certificates = pem.read_chain(chain)
    except TlsError as error:
        raise TlsError(f"{option}: certificate: {error}") from None
    try:
        key = serialization.load_pem_private_key(text, None)
    except TypeError:
        raise TlsError(f"{option}: key is encrypted; give it without a password, in the vault") from None
    except ValueError:
        raise TlsError(f"{option}: key is not a private key that can be read (PEM)") from None
    leaf = certificates[0]
    if pem.public(leaf) != pem.public(key):
        raise TlsError(
            f"{option}: the certificate is not for this key; the server's own certificate comes first in the file, "
            "then those of its authorities"
        )
    if fault := pem.unfit(leaf):
        raise TlsError(f"{option}: certificate: {fault}")
    missing = [host for host in names.hosts if host not in pem.hosts(leaf) and not pem.covers(leaf, host)]
    if missing:
        has = ", ".join(sorted(pem.hosts(leaf))) or "no host name"
        raise TlsError(f"{option}: the certificate is for {has}, not for {', '.join(missing)}")
    since, until = pem.validity(leaf)
    if pem.days_left(leaf) <= 0:
        raise TlsError(
            f"{option}: the certificate is valid from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC, not now"
        )
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates), text


def bring(place: Place, names: Names, chain: bytes, key: bytes, *, write: bool = True) -> list[str]:
    """Put what ``brought`` returned in place; the paths that changed, or that would. Raises OSError."""
    folder = place.directory / names.name
    there = {}
    for name, wanted in ((KEY, key), (CHAIN, chain), (NAMES, f"{names.line}\n".encode())):
        try:
            there[name] = (folder / name).read_bytes() == wanted
        except (FileNotFoundError, NotADirectoryError):
            there[name] = False
    fine = all(there.values()) and _modes(place, folder)
    if fine or not write:
        return [] if fine else [str(folder / name) for name, same in there.items() if not same]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem.put_both([(folder / KEY, key), (folder / CHAIN, chain)], 0o640, place.group)
    pem.put(folder / NAMES, f"{names.line}\n".encode(), 0o644)
    (folder / NEXT).unlink(missing_ok=True)
    _open_to(place, folder)
    return [str(folder / name) for name in (KEY, CHAIN, NAMES)]


def _public(path: Path) -> bytes | None:
    try:
        return pem.public(pem.read_key(path))
    except (FileNotFoundError, TlsError):
        return None


def _open_to(place: Place, folder: Path) -> None:
    """Let the servers' group in, now that all is there."""
    os.chown(folder, -1, place.group)
    folder.chmod(0o750)
