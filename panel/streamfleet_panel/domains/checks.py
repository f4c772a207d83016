"""Looking at domains in the background: what is due is asked for in threads, and judged when the answers are there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime

from django.utils import timezone

from streamfleet_panel.domains.judge import judge
from streamfleet_panel.domains.lookup import look_up
from streamfleet_panel.domains.records import Answer, Found
from streamfleet_panel.models import Domain, PanelDomain

log = logging.getLogger("streamfleet_panel.domains")

#: Names that are asked for at a time, and that wait for an answer or their turn.
AT_A_TIME, MOST_WAITING = 16, 64


class Checks:
    """One of the jobs process. ``step`` never waits for DNS, so nothing else waits for it either.

    Only ``step`` touches the database; an answer that could not be stored is stored by the next step.
    """

    def __init__(self, look_up: Callable[[str], Found] = look_up) -> None:
        self._look_up = look_up
        self._pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="domains")
        # Name → when it was asked for, and the answer to come.
        self._asked: dict[str, tuple[datetime, Future[Found]]] = {}

    def step(self) -> int:
        """Judge what was answered, and ask for what is due. Returns how many names were judged."""
        done = {name: asked for name, asked in self._asked.items() if asked[1].done()}
        answers = {name: _answer(name, future) for name, (_, future) in done.items()}
        judge(answers, begun={name: begun for name, (begun, _) in done.items()})
        for name in done:
            del self._asked[name]
        for name in due(MOST_WAITING - len(self._asked), set(self._asked)):
            self._asked[name] = timezone.now(), self._pool.submit(self._look_up, name)
        return len(done)

    def finish(self) -> int:
        """Do all that is due, waiting for it. Returns how many names were judged."""
        judged = self.step()
        while self._asked:
            wait([future for _, future in self._asked.values()])
            judged += self.step()
        return judged

    def close(self) -> None:
        """Begin nothing more. What was asked for stays due."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def due(most: int, without: set[str]) -> list[str]:
    """At most ``most`` names whose turn it is, the longest waiting first, each once."""
    if most <= 0:
        return []
    # By one index alone: this is asked several times a second, and mostly nothing is due.
    now = timezone.now()
    waiting: list[tuple[datetime, str]] = []
    for kind in (Domain, PanelDomain):
        claims = kind._default_manager.filter(next_check_at__lte=now).exclude(name__in=without)
        first = claims.order_by("next_check_at", "pk").values_list("next_check_at", "name")[:most]
        waiting += [(since or now, name) for since, name in first]
    names = dict.fromkeys(name for _since, name in sorted(waiting, key=lambda item: item[0]))
    return list(names)[:most]


def _answer(name: str, future: Future[Found]) -> Found:
    error = future.exception()
    if error is None:
        return future.result()
    log.error("Looking up %s failed: %s", name, type(error).__name__, exc_info=error)
    return Found(Answer(known=False), Answer(known=False))
