"""Encryption of what must be readable again: stream credentials, and passwords that wait to be hashed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

MASK = "********"


class SecretsError(RuntimeError):
    """Something stored cannot be decrypted with the keys of STREAMFLEET_PANEL_FIELD_KEYS."""


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(data: Mapping[str, Any]) -> str:
    """``data`` as text that only this panel's keys open; an empty mapping is the empty text."""
    if not data:
        return ""
    plain = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return _cipher(tuple(settings.FIELD_KEYS)).encrypt(plain).decode()


def decrypt(text: str, more: Sequence[str] = ()) -> dict[str, Any]:
    """The opposite of :func:`encrypt`; ``more``: further keys, a backup's. Raises SecretsError where no key fits."""
    if not text:
        return {}
    try:
        plain = _cipher((*settings.FIELD_KEYS, *more)).decrypt(text.encode())
    except InvalidToken:
        raise SecretsError(
            "A stored secret cannot be decrypted: STREAMFLEET_PANEL_FIELD_KEYS lacks the key it was written with"
        ) from None
    data: dict[str, Any] = json.loads(plain)
    return data


def reencrypt(text: str) -> str:
    """``text`` under the first key; used when keys are rotated."""
    return encrypt(decrypt(text))
