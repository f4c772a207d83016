"""The console script: Django's command line with this package's settings."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run a management command, e.g. ``streamfleet-panel migrate``."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "streamfleet_panel.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(["streamfleet-panel", *sys.argv[1:]])
