"""Keys, and the requests that the client of an ACME directory has signed: it sees the requests, and no key."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from . import pem
from .certificates import KEY, NEXT, Place
from .errors import TlsError
from .names import Names
from .shelf import Shelf, read

if pem.MISSING is None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization


def prepare(shelf: Shelf, place: Place, wanted: Iterable[Names], group: int, *, write: bool = True) -> list[str]:
    """Have a request for each name, for the key that it uses or is to get, and none for others; the paths that changed.

    ``group``: of the client, which may read requests. Raises OSError, TlsError.
    """
    changed = []
    requests = shelf.settings / "requests"
    kept = set()
    for names in wanted:
        path = shelf.request(names.name)
        kept.add(path)
        if not _fits(place, names, path):
            changed.append(str(path))
            if write:
                ask(place, names, path, group)
    for path in sorted(requests.glob("*")) if requests.is_dir() else []:
        if path not in kept:
            changed.append(str(path))
            if write:
                path.unlink()
    return changed


def new_key(place: Place, names: Names, path: Path, group: int) -> None:
    """Have a new key asked for by the request at ``path``, for a certificate that is revoked.

    The old pair is used until the new one is there.
    """
    _key, text = pem.new_key(place.key)
    pem.put(place.directory / names.name / NEXT, text, 0o600)
    _write_request(path, names, text, group)


def _fits(place: Place, names: Names, path: Path) -> bool:
    folder = place.directory / names.name
    try:
        request = x509.load_pem_x509_csr(read(path))
        keys = [(folder / KEY, False)] if not (folder / NEXT).exists() else [(folder / NEXT, True)]
        key = pem.read_key(keys[0][0])
    except (OSError, ValueError, TlsError):
        return False
    return (
        pem.public(request) == pem.public(key) and pem.kind(key) == place.key and pem.hosts(request) == set(names.hosts)
    )


def ask(place: Place, names: Names, path: Path, group: int) -> None:
    """Have a request at ``path``, for the key that the name has or waits for, or for a new one. Raises OSError."""
    folder = place.directory / names.name
    for name in (NEXT, KEY):
        try:
            key, text = pem.read_key(folder / name), (folder / name).read_bytes()
        except (FileNotFoundError, TlsError):
            continue
        if pem.kind(key) == place.key:
            break
    else:
        key, text = pem.new_key(place.key)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem.put(folder / NEXT, text, 0o600)
    _write_request(path, names, text, group)


def _write_request(path: Path, names: Names, key: bytes, group: int) -> None:
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in names.hosts]), critical=False)
    )
    signed = builder.sign(serialization.load_pem_private_key(key, None), hashes.SHA256())  # type: ignore[arg-type]
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    pem.put(path, signed.public_bytes(serialization.Encoding.PEM), 0o640, group)
