"""When which node is asked what is new on it, and that the answer is stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django.db import DataError

from streamfleet_panel import collected
from streamfleet_panel.collected import Batch, Place
from streamfleet_panel.worker.ask import Unanswered, ask
from streamfleet_panel.worker.config import Config
from streamfleet_panel.worker.runner import Target

log = logging.getLogger("streamfleet.worker")

#: Seconds between two looks which nodes there are.
LOOK = 5.0
#: Nodes that are asked at the same time.
PARALLEL = 4
#: Seconds until a node that has more to tell is asked again, and at most until one that does not answer is.
SOON, LATEST = 1.0, 600.0

Ask = Callable[[Target, int, Mapping[str, Any], Config], Batch]


class Collector:
    """Asks every node in turn. ``ask`` asks one; tests give a double."""

    def __init__(self, config: Config, ask: Ask = ask) -> None:
        self._config = config
        self._ask = ask
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="collect")
        self._asked: dict[int, tuple[Future[Batch], Place, str]] = {}
        self._due: dict[int, float] = {}
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
        for node_id, target in self._targets.items():
            if len(self._asked) >= PARALLEL:
                break
            if node_id not in self._asked and self._due.get(node_id, 0.0) <= now:
                place = collected.place_of(node_id)
                future = self._pool.submit(self._ask, target, node_id, place.cursors, self._config)
                self._asked[node_id] = future, place, target.name

    def close(self) -> None:
        """Ask nobody any more, and wait for no answer: nothing is lost that was not stored."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> None:
        self._targets = {
            node.pk: Target(node.name, node.address, node.ssh_port, node.ssh_user, node.host_key or "")
            for node in collected.nodes()
        }
        for memory in (self._due, self._failures):
            for node_id in memory.keys() - self._targets.keys():
                del memory[node_id]

    def _take(self) -> None:
        for node_id, (future, place, name) in list(self._asked.items()):
            if not future.done():
                continue
            try:
                batch = future.result()
                collected.store(node_id, place.number, batch)
            except Unanswered as error:
                self._missed(node_id, name, str(error))
            except DataError as error:
                # What the database does not take: of this node, so no other has to wait for it.
                self._missed(node_id, name, f"Its answer cannot be stored: {type(error).__name__}.")
            else:
                self._due[node_id] = time.monotonic() + (SOON if batch.more else self._config.collect)
                if self._failures.pop(node_id, 0):
                    log.info("%s answers again what is new on it", name)
            # Not before: where the database is away, the same answer is stored later.
            del self._asked[node_id]

    def _missed(self, node_id: int, name: str, why: str) -> None:
        failures = self._failures[node_id] = self._failures.get(node_id, 0) + 1
        wait = min(LATEST, self._config.collect * 2 ** min(failures - 1, 20))
        self._due[node_id] = time.monotonic() + wait
        if failures == 1:
            log.warning("%s cannot be asked what is new on it: %s", name, why)
        collected.failed(node_id, why)
