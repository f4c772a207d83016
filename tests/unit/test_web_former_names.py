"""What the web server adds to answers at names that the panel had."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles/web"


def rendered(**changes: Any) -> str:
    """The web server's configuration of a panel's host, without names of tenants."""
    variables: dict[str, Any] = {"_streamfleet_web_release": 12}
    variables |= yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    variables |= {
        "streamfleet_web_panel_host": "panel.new.test",
        "streamfleet_web_panel_former_hosts": ["panel.old.test"],
    }
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.ChainableUndefined)
    environment.filters["bool"] = bool
    environment.filters["regex_escape"] = re.escape
    return environment.from_string((ROLE / "templates/streamfleet.conf.j2").read_text()).render(variables | changes)


def redirect(text: str) -> str:
    """The block that leads browsers from a former name to the panel's."""
    (block,) = re.findall(r"if \(\$request_method ~ [^\n]+\{\n(.*?)\n\s*\}\n", text, re.DOTALL)
    assert "return 308 https://panel.new.test$streamfleet_port_asked$request_uri;" in block
    return str(block)


def test_redirects_of_former_names_have_the_headers_of_the_panels_answers() -> None:
    """Nginx takes none of those around a block that has one of its own."""
    text = rendered()
    (proxied,) = re.findall(r"location /api/ \{\n(.*?)\n    \}\n", text, re.DOTALL)
    added = set(re.findall(r"add_header ([^;]+) always;", proxied))
    assert any(header.startswith("Strict-Transport-Security ") for header in added)
    block = redirect(text)
    assert set(re.findall(r"add_header ([^;]+) always;", block)) == added | {'Cache-Control "no-store"'}
    # Others than these cannot stand in such a block.
    assert {line.split()[0] for line in block.splitlines() if not line.strip().startswith("#")} == {
        "add_header",
        "return",
    }


def test_where_it_is_not_sent_it_is_not_sent_there_either() -> None:
    assert "Strict-Transport-Security" not in redirect(rendered(streamfleet_web_hsts_seconds=0))
