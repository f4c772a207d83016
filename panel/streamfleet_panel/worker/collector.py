"""When which node is asked what is new on it, and that the answer is stored."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection

from streamfleet_panel import collected
from streamfleet_panel.collected import Batch, Place
from streamfleet_panel.worker.ask import Running, Unanswered, ask
from streamfleet_panel.worker.config import Config
from streamfleet_panel.worker.runner import Target

log = logging.getLogger("streamfleet.worker")

#: Seconds between two looks which nodes there are.
LOOK = 5.0
#: Nodes that are asked at the same time.
PARALLEL = 4
#: How often a node is asked early for one entry of a queue. What tenants do may use all places but one.
MOST_EARLY = 3
#: Seconds until a node that has more to tell is asked again, and at most until one that does not answer is.
SOON, LATEST = 1.0, 600.0

Ask = Callable[[Target, int, Mapping[str, Any], Config, Running], Batch]


class Collector:
    """Asks every node in turn. ``ask`` asks one; tests give a double."""

    def __init__(self, config: Config, ask: Ask = ask) -> None:
        self._config = config
        self._ask = ask
        self._running = Running()
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="collect")
        self._asked: dict[int, tuple[Future[Batch], Place, str]] = {}
        self._due: dict[int, float] = {}
        # Nodes that are asked before it is their turn, and how often that was done for each entry of a queue.
        self._early: set[int] = set()
        self._hurried: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._last_look = float("-inf")
        self._targets: dict[int, Target] = {}

    def turn(self) -> None:
        """Store what was answered, ask who is due. Reads the database only where there is something to do."""
        if not self._config.collect:
            return
        self._take()
        now = time.monotonic()
        if now - self._last_look >= min(LOOK, self._config.collect):
            self._last_look = now
            self._look()
            now = time.monotonic()
        # Who has waited longest comes first, so that all get their turn however many there are.
        for node_id in sorted(self._targets, key=lambda node_id: self._due.get(node_id, 0.0)):
            if len(self._asked) >= PARALLEL or self._due.get(node_id, 0.0) > now:
                break
            if node_id in self._asked or (node_id in self._early and self._places_taken_early() >= PARALLEL - 1):
                continue
            self._put(node_id, self._targets[node_id])

    def close(self) -> None:
        """Ask nobody any more, and wait for no answer: nothing is lost that was not stored."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        # The process ends when its threads have, and they wait for these.
        self._running.end()

    def _look(self) -> None:
        self._targets = {
            node.pk: Target(node.name, node.address, node.ssh_port, node.ssh_user, node.host_key or "")
            for node in collected.nodes()
        }
        for memory in (self._due, self._failures):
            for node_id in memory.keys() - self._targets.keys():
                del memory[node_id]
        self._early &= self._targets.keys()
        self._hurry()

    def _hurry(self) -> None:
        """Ask nodes early from which somebody waits to hear: after those whose turn has come, and so often at most."""
        now, awaited = time.monotonic(), collected.awaited()
        entries = {pk for of_node in awaited.values() for pk in of_node}
        self._hurried = {pk: times for pk, times in self._hurried.items() if pk in entries}
        for node_id in awaited.keys() & (self._targets.keys() - self._failures.keys() - self._asked.keys()):
            waiting = [pk for pk in awaited[node_id] if self._hurried.get(pk, 0) < MOST_EARLY]
            if waiting and self._due.get(node_id, now) > now:
                self._early.add(node_id)
                self._due[node_id] = now
                for pk in waiting:
                    self._hurried[pk] = self._hurried.get(pk, 0) + 1

    def _places_taken_early(self) -> int:
        return len(self._early & self._asked.keys())

    def _put(self, node_id: int, target: Target) -> None:
        """Ask this node."""
        try:
            place = collected.place_of(node_id)
        except DatabaseError as error:
            self._unstored(node_id, target.name, error)
            return
        future = self._pool.submit(self._ask, target, node_id, place.cursors, self._config, self._running)
        self._asked[node_id] = future, place, target.name

    def _take(self) -> None:
        """Store what was answered. An answer that cannot be stored is given again when its node is asked again."""
        for node_id, (future, place, name) in list(self._asked.items()):
            if not future.done():
                continue
            del self._asked[node_id]
            self._early.discard(node_id)
            try:
                batch = future.result()
                collected.store(node_id, place.number, batch)
            except Unanswered as error:
                self._missed(node_id, name, str(error))
            except Exception as error:
                # Whatever it is, it is of this node: no other has to wait for it, and no worker ends by it.
                self._unstored(node_id, name, error)
            else:
                self._due[node_id] = time.monotonic() + (SOON if batch.more else self._config.collect)
                if self._failures.pop(node_id, 0):
                    log.info("%s answers again what is new on it", name)

    def _unstored(self, node_id: int, name: str, error: Exception) -> None:
        """Leave this node for later. Raises ``error`` again where the database is away, which others notice too."""
        # Never its text, in which there may be what tenants have written.
        kind = type(error).__name__
        if isinstance(error, DatabaseError) and not _usable():
            self._later(node_id)
            raise error
        if not isinstance(error, DatabaseError):
            last = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s: %s in %s, line %s", name, kind, Path(last.filename).name, last.lineno)
        self._missed(node_id, name, f"Its answer cannot be stored: {kind}.")

    def _missed(self, node_id: int, name: str, why: str) -> None:
        if self._later(node_id) == 1:
            log.warning("%s cannot be asked what is new on it: %s", name, why)
        try:
            collected.failed(node_id, why)
        except DatabaseError:
            if not _usable():
                raise

    def _later(self, node_id: int) -> int:
        """Ask this node after a while, a longer one each time; how often it has failed by now."""
        failures = self._failures[node_id] = self._failures.get(node_id, 0) + 1
        wait = min(LATEST, self._config.collect * 2 ** min(failures - 1, 20))
        self._due[node_id] = time.monotonic() + wait
        return failures


def _usable() -> bool:
    """Whether the database still takes statements on this connection."""
    try:
        return connection.connection is not None and connection.is_usable()
    except DatabaseError:
        return False
