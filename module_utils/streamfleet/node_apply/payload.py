"""The one payload of a converge: JSON, compressed, as text that fits a module argument."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any

from .errors import ApplyError

SCHEMA = 1
#: Bytes that a payload may have when it is unpacked: 50,000 instances of 5 KB.
LIMIT = 256 * 1024 * 1024


def encode(data: Mapping[str, Any]) -> str:
    """``data`` as text. Level 1: the payload is repetitive, so a higher one costs time and saves little."""
    raw = json.dumps({"schema": SCHEMA, **data}, separators=(",", ":"), ensure_ascii=False).encode()
    return base64.b64encode(zlib.compress(raw, 1)).decode("ascii")


def decode(text: str) -> dict[str, Any]:
    """What ``encode`` was given. Raises ApplyError for anything that it did not make."""
    try:
        unpack = zlib.decompressobj()
        raw = unpack.decompress(base64.b64decode(text, validate=True), LIMIT)
        if unpack.unconsumed_tail:
            raise ApplyError(f"payload: larger than {LIMIT} bytes when unpacked")
        data = json.loads(raw)
    except (binascii.Error, zlib.error, UnicodeDecodeError, ValueError) as error:
        raise ApplyError(f"payload: not made by streamfleet_converge ({error})") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ApplyError(f"payload: its schema is not {SCHEMA}; controller and node must run the same release")
    return data
