"""``streamfleet-panel jobs``: the process that hashes, mails, keeps the clock and looks at domains."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, close_old_connections

from streamfleet_panel import clock, jobs, maintenance
from streamfleet_panel.domains import told
from streamfleet_panel.domains.checks import Checks
from streamfleet_panel.stopping import StopRequest

log = logging.getLogger("streamfleet_panel.jobs")
TICK_SECONDS = 5.0


class Command(BaseCommand):
    """Runs until SIGTERM. A job that was running when the process died is begun anew: all of them can be."""

    help = "Do background jobs and the clock's work until stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Do what is waiting, tick once, and end.")
        parser.add_argument("--poll", type=float, default=0.5, help="Seconds between looks for new jobs.")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = StopRequest()
        if not options["once"]:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop.set)
        jobs.requeue_orphans(everything=True)
        checks = Checks()
        try:
            self._work(stop, checks, **options)
        finally:
            checks.close()

    #: What was wrong when the web server was last told.
    _untold = ""

    def _tell_web(self) -> None:
        try:
            told.tell()
        except OSError as error:
            # The panel goes on without: names stay as they are told. Said once, not every five seconds.
            if str(error) != self._untold:
                log.error("Names of resellers' own cannot be told to the web server: %s", error)
            self._untold = str(error)
        else:
            self._untold = ""

    def _work(self, stop: StopRequest, checks: Checks, **options: Any) -> None:
        next_tick = 0.0
        while not stop.is_set():
            worked = False
            if maintenance.holds("jobs"):
                if options["once"]:
                    return
                stop.wait(1)
                continue
            try:
                close_old_connections()
                worked = jobs.run_next()
                if time.monotonic() >= next_tick:
                    clock.tick()
                    self._tell_web()
                    next_tick = time.monotonic() + TICK_SECONDS
                if options["once"] and not worked:
                    checks.finish()
                else:
                    checks.step()
            except DatabaseError as error:
                # The database is away or busy: what was to do is still there afterwards.
                log.warning("Database: %s", type(error).__name__)
                stop.wait(2)
            if options["once"] and not worked:
                return
            if not worked:
                stop.wait(options["poll"])
