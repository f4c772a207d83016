"""Registers an account that the directory has bound to one of its own, for lego to go on with.

lego 4.9 could do it, and takes the binding's key on its command line only, where every user of the host may read it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from . import directory, pem
from .errors import TlsError

#: How often a directory may refuse what shows that a request is new, before it is believed.
TRIES = 10
#: Bytes of a number of P-256.
WIDTH = 32


def register(settings: Mapping[str, Any], authorities: Path, folder: Path, identifier: str, key: str) -> None:
    """Have the account in ``folder``, as lego keeps it. Raises TlsError, OSError.

    ``identifier`` and ``key`` are those of the directory's own account, the key in base64url without padding.
    """
    try:
        secret = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    except ValueError:
        raise TlsError("streamfleet_certificates_acme_eab_hmac is not base64url: it is cut off somewhere") from None
    own = _own_key(folder / "keys" / f"{settings['email']}.key")
    numbers = own.public_key().public_numbers()
    public = {"crv": "P-256", "kty": "EC", "x": _number(numbers.x), "y": _number(numbers.y)}
    try:
        said, where = _asked(settings, authorities, own, public, identifier, secret)
    except (ValueError, TypeError, KeyError) as error:
        raise TlsError(f"{settings['directory']} is not an ACME directory: {type(error).__name__}: {error}") from None
    except OSError as error:
        raise TlsError(f"the directory {settings['directory']} cannot be reached: {error}") from None
    # The last to be written: without it lego, and this, begin anew with the same key, and get the same account.
    text = json.dumps({"email": settings["email"], "registration": {"body": said, "uri": where}}, indent="\t")
    pem.put(folder / "account.json", text.encode(), 0o600)


def _asked(
    settings: Mapping[str, Any], authorities: Path, own: ec.EllipticCurvePrivateKey, public: Mapping[str, str],
    identifier: str, secret: bytes,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """What the directory says of the account, and the account's address."""
    opener = directory.opener(settings, authorities)
    with opener.open(directory.request(settings["directory"]), timeout=directory.SECONDS) as answer:
        found = json.loads(answer.read(directory.LARGEST))
    url = str(found["newAccount"])
    bound = _signed({"alg": "HS256", "kid": identifier, "url": url}, public)
    bound["signature"] = _encoded(hmac.digest(secret, _text(bound), hashlib.sha256))
    account = {
        "termsOfServiceAgreed": True, "contact": [f"mailto:{settings['email']}"], "externalAccountBinding": bound,
    }  # fmt: skip
    for _attempt in range(TRIES):
        with opener.open(directory.request(str(found["newNonce"])), timeout=directory.SECONDS) as answer:
            nonce = str(answer.headers["Replay-Nonce"])
        body = _signed({"alg": "ES256", "jwk": public, "nonce": nonce, "url": url}, account)
        first, second = decode_dss_signature(own.sign(_text(body), ec.ECDSA(hashes.SHA256())))
        body["signature"] = _encoded(first.to_bytes(WIDTH, "big") + second.to_bytes(WIDTH, "big"))
        request = directory.request(url, json.dumps(body).encode())
        try:
            with opener.open(request, timeout=directory.SECONDS) as answer:
                return dict(json.loads(answer.read(directory.LARGEST))), str(answer.headers["Location"])
        except urllib.error.HTTPError as error:
            problem = _problem(error)
            if ":badNonce" not in problem:
                raise TlsError(f"the account is refused: {error.code} :: {problem}") from None
    raise TlsError("the account is refused: the directory takes none of the nonces that it gives")


def _own_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The account's, made where there is none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), None)
        if isinstance(found, ec.EllipticCurvePrivateKey) and isinstance(found.curve, ec.SECP256R1):
            return found
    except (FileNotFoundError, ValueError):
        pass
    made = ec.generate_private_key(ec.SECP256R1())
    # The form that lego reads.
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    pem.put(path, made.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()), 0o600)
    return made


def _signed(head: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, str]:
    """What is to be signed, as JSON Web Signature (RFC 7515) has it."""
    return {"protected": _encoded(json.dumps(head).encode()), "payload": _encoded(json.dumps(content).encode())}


def _text(parts: Mapping[str, str]) -> bytes:
    return f"{parts['protected']}.{parts['payload']}".encode()


def _number(number: int) -> str:
    return _encoded(number.to_bytes(WIDTH, "big"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _problem(error: urllib.error.HTTPError) -> str:
    """What the directory says is wrong, in one line (RFC 7807)."""
    try:
        problem = json.loads(error.read(directory.LARGEST))
        text = " ".join(f"{problem['type']} :: {problem.get('detail', '')}".split())
    except (OSError, ValueError, TypeError, KeyError):
        return str(error.reason)
    return "".join(letter for letter in text if letter.isprintable())
