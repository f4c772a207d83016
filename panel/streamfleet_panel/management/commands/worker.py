"""``streamfleet-panel worker``: bring nodes up to date as their documents change. Run by streamfleet-worker.service."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from streamfleet_panel.worker.config import Config, ConfigError, default_programs
from streamfleet_panel.worker.loop import Worker


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT; finishes what is running first."""

    help = "Bring nodes up to date as their documents change"
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Entry point. Raises CommandError for settings that cannot work."""
        try:
            worker = Worker(Config.from_environment(os.environ, default_programs(sys.executable)))

            def stop(_signal: int, _frame: FrameType | None) -> None:
                worker.stop()

            signal.signal(signal.SIGTERM, stop)
            signal.signal(signal.SIGINT, stop)
            worker.run()
        except ConfigError as error:
            raise CommandError(str(error)) from error
