"""Reading and writing keys and certificates: whole or not at all, with owner and mode from the first moment."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from .errors import TlsError

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


def put(path: Path, content: bytes, mode: int, group: int | None = None) -> bool:
    """Have ``content`` at ``path``, of this user and ``group`` (None: its own); whether that changed anything."""
    try:
        status = path.lstat()
        same = path.is_file() and not path.is_symlink() and path.read_bytes() == content
        if same and status.st_mode & 0o7777 == mode and group in (None, status.st_gid):
            return False
    except FileNotFoundError:
        pass
    new = path.with_name(f".{path.name}.streamfleet-new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        if group is not None:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)
    new.replace(path)
    return True


def new_key() -> tuple[Any, bytes]:
    """An elliptic-curve key (P-256), and its PEM (PKCS 8)."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def read_key(path: Path) -> Any:
    """The private key at ``path``. Raises FileNotFoundError, TlsError."""
    try:
        return serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise TlsError(f"{path} is not a private key that can be read: {error}") from None


def read_certificate(path: Path) -> x509.Certificate:
    """The certificate at ``path``. Raises FileNotFoundError, TlsError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise TlsError(f"{path} is not a certificate: {error}") from None


def public(thing: Any) -> bytes:
    """The public key of a key, a request or a certificate, to be compared."""
    raw = serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = thing.public_key().public_bytes(serialization.Encoding.DER, raw)
    return encoded


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority, whose key is an elliptic-curve one, has signed the certificate."""
    algorithm = certificate.signature_hash_algorithm
    if certificate.issuer != authority.subject or algorithm is None:
        return False
    try:
        key: Any = authority.public_key()
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    except (InvalidSignature, TypeError, AttributeError):
        return False
    return True


def days_left(certificate: x509.Certificate) -> float:
    """Days until it expires; below 0 if it has, or if it is not valid yet."""
    now = datetime.datetime.now(datetime.UTC)
    # Debian 12's cryptography (38) knows times without a zone only.
    until = certificate.not_valid_after if _old() else certificate.not_valid_after_utc
    since = certificate.not_valid_before if _old() else certificate.not_valid_before_utc
    until, since = (time.replace(tzinfo=datetime.UTC) for time in (until, since))
    return -1.0 if since > now else (until - now) / datetime.timedelta(days=1)


def _old() -> bool:
    return not hasattr(x509.Certificate, "not_valid_after_utc")
