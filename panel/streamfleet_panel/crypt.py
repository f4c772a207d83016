"""Hashes of crypt(5), which programs of the system check. Made by the system's own library, libxcrypt."""

from __future__ import annotations

import ctypes
import functools
import hmac
from typing import Any

#: yescrypt, the default of Debian 12 and 13; the library draws the salt and knows the cost.
_METHOD = b"$y$"


class CryptError(RuntimeError):
    """The system cannot make such a hash."""


@functools.cache
def _library() -> Any:
    try:
        library = ctypes.CDLL("libcrypt.so.1")
    except OSError as error:
        raise CryptError(f"libcrypt.so.1 cannot be loaded ({error}): install Debian's package libcrypt1") from None
    library.crypt_ra.restype = library.crypt_gensalt_ra.restype = ctypes.c_void_p
    library.crypt_ra.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_int),
    ]
    library.crypt_gensalt_ra.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int]
    return library


@functools.cache
def _free() -> Any:
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]
    free.restype = None
    return free


def make(password: str) -> str:
    """A new hash of the password. Raises CryptError."""
    library = _library()
    salt = library.crypt_gensalt_ra(_METHOD, 0, None, 0)
    if not salt:
        raise CryptError("libcrypt.so.1 does not know yescrypt: it must be libxcrypt")
    try:
        return _crypt(password, ctypes.string_at(salt))
    finally:
        _free()(salt)


def check(password: str, stored: str) -> bool:
    """Whether ``stored`` is a hash of the password."""
    if not stored.startswith("$"):
        return False
    try:
        return hmac.compare_digest(_crypt(password, stored.encode()).encode(), stored.encode())
    except CryptError:
        return False


def _crypt(password: str, setting: bytes) -> str:
    """Each call works in memory of its own, so threads may call it at a time."""
    library = _library()
    data, size = ctypes.c_void_p(None), ctypes.c_int(0)
    try:
        made = library.crypt_ra(password.encode(), setting, ctypes.byref(data), ctypes.byref(size))
        if not made:
            raise CryptError("the password cannot be hashed by libcrypt.so.1")
        return ctypes.string_at(made).decode("ascii")
    finally:
        if data.value:
            # Also where the password was.
            ctypes.memset(data, 0, size.value)
            _free()(data)
