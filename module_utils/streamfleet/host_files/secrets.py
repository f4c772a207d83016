"""Random secrets, made on the host that uses them and in the text that holds them."""

from __future__ import annotations

import base64
import re
import secrets

_MARK = re.compile(r"<secret (hex|urlsafe|base64) ([0-9]+)>")
_MAKERS = {
    "hex": secrets.token_hex,
    "urlsafe": secrets.token_urlsafe,
    "base64": lambda size: base64.urlsafe_b64encode(secrets.token_bytes(size)).decode(),
}


def fill(text: str) -> str:
    """``text`` with every ``<secret KIND BYTES>`` replaced by that many random bytes, each time others.

    ``hex``; ``urlsafe`` (base64 for URLs, without padding); ``base64`` (the same, padded, as Fernet keys are).
    """
    return _MARK.sub(lambda found: _MAKERS[found[1]](int(found[2])), text)
