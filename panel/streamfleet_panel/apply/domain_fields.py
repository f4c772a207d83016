"""What a domain has: a name as DNS has it."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from django.utils.encoding import punycode

from streamfleet_panel.apply.checks import Bad, Field, boolean, kind_of, text
from streamfleet_panel.models.domain import MOST_NAME

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
#: Names under which nothing is reached from elsewhere.
_LOCAL = ("localhost", "local", "internal", "invalid", "onion")


def a_label(name: str) -> str | None:
    """An international name as DNS has it (``xn--…``); None where Python's own rules (of 2003) would change it."""
    try:
        label: str = punycode(name)
        return label if label.encode().decode("idna") == name.lower() else None
    except UnicodeError:
        return None


def name_of(value: Any) -> str:
    """A full host name in lower case, its international labels as A-labels. Raises Bad."""
    if not isinstance(value, str):
        raise Bad(f"must be a text, is {kind_of(value)}", "Put it in quotes.")
    if not value.isascii():
        label = a_label(value)
        advice = f"Write it as {label}." if label else "Write it as an A-label (xn--…), which your registrar shows."
        raise Bad("is not as DNS has it", advice)
    if len(value) > MOST_NAME:
        raise Bad(f"has {len(value)} characters, at most {MOST_NAME} fit", "Use a shorter name.")
    if "*" in value:
        raise Bad("is a wildcard", "Name each domain by itself, as radio.example.com.")
    if _is_address(value):
        raise Bad("is an IP address", "Name a domain, as radio.example.com.")
    if "/" in value or ":" in value:
        raise Bad("is an address of the Web or has a port", "Write the host name alone, as radio.example.com.")
    plain = value.lower().rstrip(".")
    if not NAME.fullmatch(plain):
        raise Bad("is not a full domain", "Write it as radio.example.com: letters, digits, hyphens and dots.")
    if plain.rpartition(".")[2] in _LOCAL:
        raise Bad("is a name of no public domain", "Use one that you have registered, as radio.example.com.")
    if value != plain:
        raise Bad("is not in lower case, or ends in a dot", f"Write it as {plain}.")
    return value


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


NAME_SCHEMA = {"type": "string", "maxLength": MOST_NAME, "pattern": f"^{NAME.pattern}$"}
# Beside the key's first part.
DOMAIN: tuple[Field, ...] = (
    Field(
        "name",
        name_of,
        NAME_SCHEMA,
        "The domain, in lower case, an international one as an A-label (xn--…); part of the key. No wildcard.",
    ),
    boolean("enabled", "false: stays proved, and is not served."),
)
# Beside the reseller.
PANEL_DOMAIN: tuple[Field, ...] = (
    DOMAIN[0],
    text(
        "brand",
        "What the panel is called under this domain. null = the reseller's own name.",
        60,
        nullable=True,
    ),
    boolean("enabled", "false: stays proved, and the panel does not answer under it."),
)
