"""Options that modules share, and how the options that a user gave become fields of an object. Plain data, no Ansible.

The texts of these options are in doc_fragments/streamfleet.py; ``ansible-test sanity`` holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Environment variables that stand in for a connection option that is not given.
ENVIRONMENT = {
    "url": "STREAMFLEET_URL",
    "token": "STREAMFLEET_TOKEN",
    "ca_path": "STREAMFLEET_CA",
    "validate_certs": "STREAMFLEET_VALIDATE_CERTS",
    "timeout": "STREAMFLEET_TIMEOUT",
}

CONNECTION: dict[str, dict[str, Any]] = {
    "url": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 30},
}

CHECK: dict[str, dict[str, Any]] = {"check_without_panel": {"type": "bool", "default": False}}

STATE: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "label": {"type": "str"},
}

#: Times of the week, of a playlist or a DJ.
TIMES: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "options": {
        "days": {
            "type": "list",
            "elements": "str",
            "choices": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        },
        "start": {"type": "str", "required": True},
        "end": {"type": "str", "required": True},
    },
}

# no_log=False: the name makes Ansible suspect a secret, and the value is the word on_create or always.
UPDATE_PASSWORD: dict[str, dict[str, Any]] = {
    "update_password": {
        "type": "str",
        "choices": ["on_create", "always"],
        "default": "on_create",
        "no_log": False,
    },
}


def given(validated: Any, raw: Any) -> Any:
    """What of ``validated`` the user really wrote.

    Ansible fills every option that is not given with None, and so makes "omitted" and "null" the same. Here they are
    not: omitted leaves a field as it is, null empties it (for a limit: unlimited). ``raw`` is the input before
      validation;
    only keys that are in it stay, at every depth.
    """
    if isinstance(validated, Mapping):
        if not isinstance(raw, Mapping):  # the user gave text, which Ansible parsed: null cannot be told from omitted
            return {key: given(value, None) for key, value in validated.items() if value is not None}
        return {key: given(value, raw[key]) for key, value in validated.items() if key in raw}
    if isinstance(validated, list):
        same = isinstance(raw, list) and len(raw) == len(validated)
        return [given(value, raw[index] if same else None) for index, value in enumerate(validated)]
    return validated
