"""The own authority: made once on the panel's host, signs for the names that the inventory says, not the request."""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import pem
from .errors import TlsError
from .names import Names

if pem.MISSING is None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY, CERTIFICATE, ISSUED = "ca.key", "ca.pem", "issued"
#: Clocks of clients may be behind.
EARLIER = datetime.timedelta(hours=1)
#: The name that is nobody's but the host's own.
LOCAL = "localhost"
#: What a common name may have (RFC 5280, upper bounds).
MOST = 64


@dataclass(frozen=True)
class Authority:
    """``folder`` holds key, certificate and what was issued. ``days``: validity of its own certificate."""

    folder: Path
    name: str
    days: int
    permitted: tuple[str, ...]

    def ensure(self) -> bool:
        """Make key and certificate where they are missing; whether that changed anything. Raises TlsError, OSError.

        A key that is there is never made anew: everybody who trusts the authority would lose it.
        """
        issued = self.folder / ISSUED
        changed = not issued.is_dir()
        issued.mkdir(mode=0o755, parents=True, exist_ok=True)
        issued.chmod(0o755)
        with _locked(self.folder):
            try:
                key = pem.read_key(self.folder / KEY)
                changed |= pem.put(self.folder / KEY, (self.folder / KEY).read_bytes(), 0o600)
            except FileNotFoundError:
                if (self.folder / CERTIFICATE).exists():
                    raise TlsError(
                        f"{self.folder / KEY} is missing, but its certificate is there. Put the key back from a"
                        f" backup; or remove {self.folder / CERTIFICATE}, and have every client trust a new authority."
                    ) from None
                key, text = pem.new_key()
                pem.put(self.folder / KEY, text, 0o600)
                changed = True
            try:
                certificate = pem.read_certificate(self.folder / CERTIFICATE)
                fine = pem.public(certificate) == pem.public(key) and pem.days_left(certificate) > 0
            except FileNotFoundError:
                fine = False
            text = self.text.encode() if fine else self._certificate(key)
            return pem.put(self.folder / CERTIFICATE, text, 0o644) or changed

    @property
    def text(self) -> str:
        """Its certificate (PEM)."""
        return (self.folder / CERTIFICATE).read_text()

    def sign(self, requests: Sequence[tuple[Names, str]], days: int) -> Mapping[str, str]:
        """Sign the requests' public keys for the names; name → certificate (PEM), kept in ``issued`` too.

        ``days``: their validity. That of ``localhost`` is as long as the authority's own.
        """
        key = pem.read_key(self.folder / KEY)
        own = pem.read_certificate(self.folder / CERTIFICATE)
        signed = {}
        for names, text in requests:
            try:
                request = x509.load_pem_x509_csr(text.encode())
            except ValueError as error:
                raise TlsError(f"the request for {names.name} cannot be read: {error}") from None
            if not request.is_signature_valid:
                raise TlsError(f"the request for {names.name} is not signed by its own key")
            # By it the worker reaches the panel on their host: it must not end while a directory's names are renewed
            # by themselves, and nobody has a reason to run Ansible.
            lasts = max(days, int(pem.days_left(own))) if names.name == LOCAL else days
            builder = (
                _builder(_subject(names.name), own.subject, request.public_key(), lasts)
                .add_extension(_alternatives(names), critical=not _subject(names.name))
                .add_extension(_usage(digital_signature=True), critical=True)
                .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(_issuer(own), critical=False)
            )
            certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            pem.put(self.folder / ISSUED / f"{names.name}.pem", certificate, 0o644)
            signed[names.name] = certificate.decode()
        return signed

    def _certificate(self, key: object) -> bytes:
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, f"{self.name} CA"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.name),
            ]
        )
        public = key.public_key()  # type: ignore[attr-defined]
        builder = (
            _builder(subject, subject, public, self.days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        )
        if self.permitted:
            permitted = [x509.DNSName(name) for name in self.permitted]
            builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
        signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        return bytes(signed.public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, public: object, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)  # type: ignore[arg-type]
    )


def _issuer(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    known = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= MOST else [])


def _alternatives(names: Names) -> x509.SubjectAlternativeName:
    hosts: list[x509.GeneralName] = [x509.DNSName(host) for host in names.hosts]
    return x509.SubjectAlternativeName(
        [*hosts, *(x509.IPAddress(ipaddress.ip_address(address)) for address in names.addresses)]
    )


def _usage(**allowed: bool) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in every})


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time: hosts of one run ask at the same moment."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
