"""The panel's client of an action, which runs on the controller. Modules have theirs in runtime.py."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from . import arguments, errors
from .http import Client


def client_of(options: Mapping[str, Any], whose: str) -> Client:
    """The client from an action's validated options, or the environment where they say nothing.

    ``whose`` names the tokens that will do, for the message. Raises BadOption.
    """
    given = {}
    for name, variable in arguments.ENVIRONMENT.items():
        value = options[name]
        if variable in os.environ and value in (None, arguments.CONNECTION[name].get("default")):
            value = os.environ[variable]
        given[name] = value
    if not given["url"]:
        raise errors.BadOption("url (STREAMFLEET_URL) is not set: give the panel's address.")
    if not given["token"]:
        raise errors.BadOption(f"token (STREAMFLEET_TOKEN) is not set: give a token of {whose}.")
    try:
        return Client(
            given["url"],
            given["token"],
            given["ca_path"] or None,
            boolean(given["validate_certs"]),
            float(given["timeout"]),
        )
    except (TypeError, ValueError) as error:
        raise errors.BadOption(f"validate_certs or timeout cannot be used as given: {error}") from None
