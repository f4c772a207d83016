"""Where the operator shuts the panel's server in by settings of its own, resellers' names do not go round them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("variables", "served"),
    [
        ({}, True),
        ({"streamfleet_web_snippets": []}, True),
        ({"streamfleet_web_snippets": [{"place": "http"}, {"place": "streams"}]}, True),
        ({"streamfleet_web_snippets": [{"place": "http"}, {"place": "panel"}]}, False),
    ],
)
def test_the_panel_knows_whether_the_web_server_lets_resellers_names_in(
    variables: dict[str, Any], served: bool
) -> None:
    text = yaml.safe_load((ROOT / "roles/panel/vars/main.yml").read_text())["_streamfleet_panel_white_label"]
    told: Any = NativeEnvironment(undefined=StrictUndefined).from_string(text.strip()).render(variables)
    assert told is served
    assert (
        "line('WHITE_LABEL', _streamfleet_panel_white_label)"
        in (ROOT / "roles/panel/templates/panel.env.j2").read_text()
    )
