"""The operator's own settings of nginx: tested before they are used, kept by later runs, gone when not wanted any more.

Tests roles: web.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from demo.stage import PANEL_HOST, STREAM_HOST, DemoError, Stage

pytestmark = [pytest.mark.live, pytest.mark.full]

PAGE = 'location = /own-page { default_type text/plain; return 200 "own $own_word\\n"; }'
GOOD: list[dict[str, Any]] = [
    {"name": "word", "place": "http", "content": 'map "" $own_word { default word; }'},
    {"name": "page", "place": "panel", "content": PAGE},
    {"name": "page-of-streams", "place": "streams", "content": PAGE},
]
FILES = "ls /etc/nginx/streamfleet; cat /etc/nginx/conf.d/streamfleet.conf"


def web(platform: Stage, snippets: list[dict[str, Any]]) -> int:
    """Run the web server's part of install.yml with these; how many tasks changed something."""
    given = json.dumps({"streamfleet_web_snippets": snippets})
    return platform.install("--tags", "web", "-e", given).changed


def ask(platform: Stage, host: str) -> str:
    """Status and body of the operator's own page."""
    return platform.on_node([
        "curl", "-sk", "-m", "10", "-w", " %{http_code}", "--connect-to", "::127.0.0.1:", f"https://{host}/own-page",
    ])  # fmt: skip


def test_snippets_are_tested_kept_and_taken_away(platform: Stage) -> None:
    before = platform.on_node(["sh", "-c", FILES])
    process = platform.on_node(["systemctl", "show", "nginx.service", "-p", "MainPID"])
    assert web(platform, GOOD) > 0
    try:
        assert [ask(platform, host) for host in (PANEL_HOST, STREAM_HOST)] == ["own word\n 200"] * 2
        assert web(platform, GOOD) == 0
        there = platform.on_node(["sh", "-c", "cat /etc/nginx/conf.d/streamfleet.conf"])
        # What is set for the panel's server would not hold under names of resellers' own.
        assert "white_label" not in there
        assert "white_label" in before
        broken = {"name": "slip", "place": "panel", "content": "\nnonsense on;"}
        with pytest.raises(DemoError) as refused:
            web(platform, [*GOOD, broken])
        said = " ".join(str(refused.value).split())
        assert "streamfleet.conf would not be valid, so it was left as it was" in said
        assert "own-panel-slip-" in said, "the snippet is named"
        assert platform.on_node(["sh", "-c", "cat /etc/nginx/conf.d/streamfleet.conf"]) == there
        assert ask(platform, PANEL_HOST) == "own word\n 200"
    finally:
        web(platform, [])
    assert platform.on_node(["sh", "-c", FILES]) == before
    assert [ask(platform, host)[-3:] for host in (PANEL_HOST, STREAM_HOST)] == ["404"] * 2
    assert platform.on_node(["systemctl", "show", "nginx.service", "-p", "MainPID"]) == process, (
        "reloaded, never restarted"
    )
