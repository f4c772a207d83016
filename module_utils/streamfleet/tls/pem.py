"""Reading and writing keys and certificates: whole or not at all, with owner and mode from the first moment."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import TlsError

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

#: Kinds of keys that can be made.
KINDS = ("ec256", "ec384", "rsa2048", "rsa3072", "rsa4096")
#: Bits of the smallest RSA key that Mozilla's intermediate profile takes.
WEAKEST_RSA = 2048
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s?", re.DOTALL)


def put(path: Path, content: bytes, mode: int, group: int | None = None) -> bool:
    """Have ``content`` at ``path``, of this user and ``group`` (None: its own); whether that changed anything."""
    try:
        status = path.lstat()
        same = path.is_file() and not path.is_symlink() and path.read_bytes() == content
        if same and status.st_mode & 0o7777 == mode and group in (None, status.st_gid):
            return False
    except FileNotFoundError:
        pass
    _beside(path, content, mode, group).replace(path)
    return True


def put_both(files: Sequence[tuple[Path, bytes]], mode: int, group: int) -> None:
    """Have all of ``files`` at their paths, of this user and ``group``; each takes its place right after the last."""
    new = [(_beside(path, content, mode, group), path) for path, content in files]
    for beside, path in new:
        beside.replace(path)


def _beside(path: Path, content: bytes, mode: int, group: int | None) -> Path:
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
    return new


def new_key(kind: str = "ec256") -> tuple[Any, bytes]:
    """A key of a kind of ``KINDS``, and its PEM (PKCS 8)."""
    key: Any
    if kind.startswith("rsa"):
        key = rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    else:
        key = ec.generate_private_key(ec.SECP384R1() if kind == "ec384" else ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def kind(key: Any) -> str:
    """The kind of a private or a public key, as ``new_key`` takes it; of others something that is none of ``KINDS``."""
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        return {"secp256r1": "ec256", "secp384r1": "ec384"}.get(key.curve.name, key.curve.name)
    known = isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey))
    return f"{'rsa' if known else 'other'}{getattr(key, 'key_size', '')}"


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


def read_chain(text: bytes) -> list[x509.Certificate]:
    """The certificates of ``text`` (PEM), in order. Raises TlsError."""
    try:
        found = [x509.load_pem_x509_certificate(block) for block in _BLOCK.findall(text)]
    except ValueError as error:
        raise TlsError(f"it is not a certificate that can be read: {error}") from None
    if not found:
        raise TlsError("it holds no certificate (PEM, -----BEGIN CERTIFICATE-----)")
    return found


def hosts(thing: x509.Certificate | x509.CertificateSigningRequest) -> frozenset[str]:
    """The host names that a certificate or a request is for."""
    try:
        found = thing.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in found.get_values_for_type(x509.DNSName))


def covers(certificate: x509.Certificate, host: str) -> bool:
    """Whether clients take the certificate for ``host``."""
    return bool(hosts(certificate) & {host, f"*.{host.partition('.')[2]}"})


def unfit(certificate: x509.Certificate) -> str | None:
    """Why clients that keep to Mozilla's profiles do not take the certificate, and what to do; None if they do."""
    key: Any = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < WEAKEST_RSA:
            return f"its RSA key has {key.key_size} bits; have one made with {WEAKEST_RSA} or more"
    elif kind(key) not in KINDS:
        return "its key is neither an RSA key nor one on the curve P-256 or P-384; have one of these made"
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in ("md5", "sha1", "sha224"):
        return f"it is signed with {algorithm.name.upper()}; have it issued with SHA-256 or better"
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return None
    if x509.TLSFeatureType.status_request in features:
        return "it demands an OCSP staple (must-staple), which is not sent here; have it issued without"
    return None


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
    since, until = validity(certificate)
    return -1.0 if since > now else (until - now) / datetime.timedelta(days=1)


def validity(certificate: x509.Certificate) -> tuple[datetime.datetime, datetime.datetime]:
    """From when until when it is valid."""
    # Debian 12's cryptography (38) knows times without a zone only.
    until = certificate.not_valid_after if _old() else certificate.not_valid_after_utc
    since = certificate.not_valid_before if _old() else certificate.not_valid_before_utc
    return since.replace(tzinfo=datetime.UTC), until.replace(tzinfo=datetime.UTC)


def _old() -> bool:
    return not hasattr(x509.Certificate, "not_valid_after_utc")
