"""What a log-in for media has."""

from __future__ import annotations

from typing import Any

from streamfleet_panel.apply.checks import CONTROL, Bad, Field, boolean, items, kind_of

NAME = r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$"
NAME_FIX = "Lower-case letters, digits and hyphens; 1 to 32 characters; no hyphen at either end."
PROTOCOLS = ("sftp", "ftps")
LEAST_PASSWORD, MOST_PASSWORD = 8, 128
MOST_PASSWORD_BYTES = 500


def _password(value: Any) -> str:
    if not isinstance(value, str):
        raise Bad(f"must be a text, is {kind_of(value)}", "Put it in quotes.")
    if not LEAST_PASSWORD <= len(value) <= MOST_PASSWORD:
        fix = f"Choose {LEAST_PASSWORD} to {MOST_PASSWORD} characters."
        raise Bad(f"has not {LEAST_PASSWORD} to {MOST_PASSWORD} characters", fix)
    # crypt(5) takes less than 512 bytes, and no half of a character.
    if len(value.encode("utf-8", "surrogatepass")) > MOST_PASSWORD_BYTES:
        raise Bad(f"takes more than {MOST_PASSWORD_BYTES} bytes", "Choose a shorter one.")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise Bad("is no Unicode text", "Remove what is no whole character.")
    if CONTROL.search(value):
        raise Bad("contains a control character or a line break", "Remove it; other characters are all welcome.")
    return value


def _protocols(value: Any) -> list[str]:
    fix = f"Name {' or '.join(PROTOCOLS)}, or both."
    for item in items(value, "protocols", len(PROTOCOLS), fix):
        if item not in PROTOCOLS:
            raise Bad("names a protocol that does not exist", fix)
    if len(set(value)) != len(value):
        raise Bad("names a protocol twice", "Name each protocol once.")
    # In one order, so that two ways to write the same are no change.
    return [name for name in PROTOCOLS if name in value]


# Beside the key.
MEDIA_USER: tuple[Field, ...] = (
    Field(
        "password",
        _password,
        {"type": "string", "minLength": LEAST_PASSWORD, "maxLength": MOST_PASSWORD, "writeOnly": True},
        "Password of this log-in; never shown again. Without one nobody can log in.",
        secret=True,
        special=True,
    ),
    boolean("read_only", "true: may fetch files, and change nothing."),
    Field(
        "protocols",
        _protocols,
        {"type": "array", "items": {"type": "string", "enum": list(PROTOCOLS)}, "minItems": 1, "uniqueItems": True},
        "Ways in: sftp, ftps (FTP over TLS). Default: both.",
    ),
    boolean("enabled", "false: nobody can log in, and sessions end."),
)
