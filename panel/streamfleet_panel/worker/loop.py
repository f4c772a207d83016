"""The worker's loop: look, claim, start, write down what came of it."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import IO

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from django.utils import timezone

from streamfleet_panel import maintenance
from streamfleet_panel.stopping import StopRequest
from streamfleet_panel.worker import queue, runner
from streamfleet_panel.worker.collector import Collector
from streamfleet_panel.worker.config import Config, ConfigError
from streamfleet_panel.worker.notify import notify
from streamfleet_panel.worker.queue import Claimed
from streamfleet_panel.worker.runner import Outcome, Target

log = logging.getLogger("streamfleet.worker")

#: Seconds between signs of life of running runs, and between looks for the runs of dead workers.
HEARTBEAT = 5.0
#: Even where the database says that nothing was written, it is asked in full this often (seconds).
FULL_LOOK = 5.0

Converge = Callable[[int, Target, Config, Callable[[], bool]], Outcome]


class Worker:
    """One worker process. ``converge`` does one run; tests give a double."""

    def __init__(self, config: Config, converge: Converge = runner.converge) -> None:
        self.config = config
        self._converge = converge
        self._stop = StopRequest()
        self._running: dict[Future[Outcome], Claimed] = {}
        self._changes = queue.Changes()
        self._last_full = self._last_heartbeat = float("-inf")
        self._next_due: float | None = None
        self._again = True
        self._collector = Collector(config)

    def stop(self) -> None:
        """Take no new run; ``run`` returns when those that are running have ended."""
        self._stop.set()

    def run(self) -> None:
        """Work until ``stop``. Raises ConfigError where another worker of this host is at work already."""
        runner.prepare(self.config)
        with (
            _OnlyOne(self.config),
            ThreadPoolExecutor(self.config.parallel, thread_name_prefix="run") as pool,
            closing(self._collector),
        ):
            self._recover()
            notify("READY=1")
            log.info("ready")
            while not self._stop.is_set() or self._running:
                notify("WATCHDOG=1")
                try:
                    # Between turns only: a turn may be part of its caller's transaction, which closing would end.
                    close_old_connections()
                    self.step(pool)
                    if not self._stop.is_set() and not maintenance.holds("worker"):
                        self._collector.turn()
                except DatabaseError as error:
                    # A database that is away comes back; what runs goes on meanwhile.
                    log.error("database: %s", error)
                    connection.close()
                    self._again = True
                    self._stop.wait(1.0)
                self._pause()
            notify("STOPPING=1")
            log.info("stopped")

    def step(self, pool: ThreadPoolExecutor) -> None:
        """One turn: write down what ended, give signs of life, start what is due."""
        self._collect()
        self._signs_of_life()
        # The look remembers what it has seen, so it is not taken while nothing may be begun.
        if self._stop.is_set() or maintenance.holds("worker") or not self._look():
            return
        queue.close_caught_up()
        queue.enqueue_behind()
        for claimed in queue.claim(self.config.parallel - len(self._running)):
            log.info("run %d: %s, attempt %d", claimed.run_id, claimed.target.name, claimed.attempt)
            # The folder is the note that this host began the run; it comes before anything that a crash could leave.
            runner.folder_of(claimed.run_id, self.config).mkdir(mode=0o700, parents=True, exist_ok=True)
            future = pool.submit(self._converge, claimed.run_id, claimed.target, self.config, lambda: False)
            self._running[future] = claimed
        due = queue.next_due(timezone.now())
        self._next_due = due.timestamp() if due else None

    def _look(self) -> bool:
        """Whether the queue has to be read: something was written, a retry comes due, or it is time again."""
        changed = self._changes.may_have()
        now = time.monotonic()
        due = self._next_due is not None and time.time() >= self._next_due
        if not (changed or due or self._again or now - self._last_full > FULL_LOOK):
            return False
        self._last_full = now
        self._again = False
        return True

    def _collect(self) -> None:
        """Write down the runs that have ended."""
        for future in [future for future in self._running if future.done()]:
            claimed = self._running[future]
            error = future.exception()
            outcome = future.result() if error is None else Outcome(False, message=f"{type(error).__name__}: {error}")
            outcome = queue.finish(claimed, outcome, self.config)
            del self._running[future]
            runner.clean(claimed.run_id, self.config)
            self._again = True
            if outcome.ok:
                log.info("run %d: %s is up to date", claimed.run_id, claimed.target.name)
            else:
                log.warning("run %d: %s failed: %s", claimed.run_id, claimed.target.name, outcome.message)

    def _signs_of_life(self) -> None:
        now = time.monotonic()
        if now - self._last_heartbeat < HEARTBEAT:
            return
        self._last_heartbeat = now
        mine = [claimed.run_id for claimed in self._running.values()]
        queue.heartbeat(mine)
        lost = queue.expired(self.config.lease, mine)
        if lost:
            log.warning("taking up again: runs %s of a worker that is gone", lost)
            queue.take_over(lost)
            self._again = True

    def _recover(self) -> None:
        """Take up again what an earlier worker of this host left in the middle."""
        lost = runner.left_behind(self.config)
        if not lost:
            return
        ended = runner.kill_leftovers(lost)
        taken = queue.take_over(lost)
        for run_id in lost:
            runner.clean(run_id, self.config)
        log.warning("taking up again: %d runs of a worker that died (%d of its processes ended)", taken, ended)

    def _pause(self) -> None:
        """Wait for the next look, or less if a run ends."""
        if self._running:
            wait(self._running, timeout=self.config.poll, return_when=FIRST_COMPLETED)
        else:
            self._stop.wait(self.config.poll)


class _OnlyOne:
    """A lock that the kernel drops with the process, so that two workers of one host never share a folder of runs."""

    def __init__(self, config: Config) -> None:
        self._path = config.run_dir / "worker.lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        self._file = self._path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ConfigError(f"{self._path}: another worker is at work on this host") from error

    def __exit__(self, *_exc: object) -> None:
        if self._file:
            self._file.close()
