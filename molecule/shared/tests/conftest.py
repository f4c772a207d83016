"""What the tests of all scenarios share."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

Api = Callable[..., tuple[int, Any]]


@pytest.fixture
def groups(host: Host) -> list[str]:
    """Groups of the host in the scenario's inventory."""
    return list(host.ansible.get_variables()["group_names"])


@pytest.fixture
def api(host: Host) -> Api:
    """Calls of the panel's API, made on the panel's host as install.yml makes them; (status, parsed answer).

    The token goes by a file, so that it appears on no command line.
    """
    name = host.ansible.get_variables()["streamfleet_panel_host"]

    def call(method: str, path: str, body: object | None = None, authenticated: bool = True) -> tuple[int, Any]:
        header = "printf 'Authorization: Bearer %s' \"$(cat /etc/streamfleet/panel/install_token)\""
        curl = ["curl", "-sS", "--max-time", "60", "--cacert", "/etc/streamfleet/ca/ca.pem", "-X", method]
        curl += ["-w", "\\n%{http_code}", "-H", "Content-Type: application/json"]
        if body is not None:
            curl += ["--data-binary", json.dumps(body)]
        curl.append(f"https://{name}/api/v1/{path}")
        line = " ".join(shlex.quote(word) for word in curl)
        command = f"{header} | {line} -H @-" if authenticated else line
        text, _, status = host.check_output(command).rpartition("\n")
        return int(status), json.loads(text) if text else None

    return call
