"""docs/panel-operation.md names every setting and every command, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "panel-operation.md"


def test_every_setting_is_documented() -> None:
    source = (ROOT / "panel/streamfleet_panel/settings.py").read_text()
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source)) - {"STREAMFLEET_PANEL_"}
    page = PAGE.read_text()
    named = set(re.findall(r"`STREAMFLEET_PANEL_([A-Z_]+)`", page)) | set(re.findall(r"`_(EMAIL_[A-Z_]+)`", page))
    assert len(read) > 20
    assert named - {"ADMIN_PASSWORD"} == read


def test_every_command_is_documented() -> None:
    commands = {
        path.stem
        for path in (ROOT / "panel/streamfleet_panel/management/commands").glob("*.py")
        if path.stem != "__init__"
    }
    named = set(re.findall(r"`streamfleet-panel (\w+)", PAGE.read_text()))
    assert named - {"migrate"} == commands
