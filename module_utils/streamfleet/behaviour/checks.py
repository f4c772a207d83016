"""The checks: each takes a service, does one thing to it, and returns what showed that it is as promised.

Each leaves the service as it found it (on the air), and raises Misbehaved with the reason where a promise was not kept.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import errors
from ..errors import Misbehaved
from . import encoder, player
from .counted import Audience, neighbour
from .route import Route
from .target import Target, target_of

#: Seconds within which an encoder of a service that goes off the air is sent away.
SENT_AWAY_WITHIN = 20.0
GONE_WITHIN = 30.0
#: Seconds within which an encoder is let in, where the one before may have to be forgotten first.
LET_IN_WITHIN = 20.0
#: Nobody's secret, in a form that every engine takes.
#: What an address answers at which nothing is to be had.
NOT_THERE = (401, 403, 404, 410)
WRONG = "wrong-wrong-wrong-wrong"


@dataclass(frozen=True)
class Login:
    """What a broadcaster pastes (label → value), and where listeners go."""

    details: Mapping[str, str]
    listen_url: str


class PanelClient(Protocol):
    """Where services are declared. Every method returns once the node has done it; raises errors.Error."""

    def create(self, slug: str) -> None:
        """Have the service, on the air."""

    def name(self, slug: str, name: str) -> bool:
        """Give it another display name; returns whether that changed anything."""

    def secret(self, slug: str, value: str) -> None:
        """Give it another credential to publish with."""

    def suspend(self, slug: str, suspended: bool) -> None:
        """Suspend it, or lift that."""

    def delete(self, slug: str) -> None:
        """Take it off the air and keep its data."""

    def restore(self, slug: str) -> None:
        """Have it back."""

    def login(self, slug: str) -> Login:
        """Its connection details, secrets filled in."""


@dataclass
class Subject:
    """One service as its broadcaster and its listeners meet it. ``spec`` is its engine's."""

    slug: str
    spec: Mapping[str, Any]
    client: PanelClient
    route: Route

    def target(self, secret: str | None = None) -> Target:
        """Where its encoder publishes to."""
        target = target_of(self.spec, self.client.login(self.slug).details, secret)
        return target.at(self.route.host(target.host))

    @property
    def url(self) -> str:
        """Where it is listened to."""
        return self.client.login(self.slug).listen_url

    @property
    def kind(self) -> str:
        """``audio`` or ``video``."""
        return str(self.spec["kind"])

    @contextlib.contextmanager
    def publishing(self, frequency: int) -> Iterator[encoder.Encoder]:
        """An encoder that is let in: one that has just been on the air may have to wait for its place."""
        deadline = time.monotonic() + LET_IN_WITHIN
        while True:
            with contextlib.ExitStack() as stack:
                try:
                    sending = stack.enter_context(encoder.publishing(self.target(), self.kind, frequency))
                    refused = sending.words if sending.sent_away(2.5) else ""
                except Misbehaved as error:
                    refused = str(error)
                if not refused:
                    yield sending
                    return
            if time.monotonic() > deadline:
                raise Misbehaved(f"the encoder with the right credential is refused: {refused}")
            time.sleep(1)

    def plays(self, frequency: int) -> str:
        """Publish a tone, and hear it."""
        with self.publishing(frequency) as sending:
            try:
                heard = player.played(self.route, self.url, self.kind, frequency)
            except Misbehaved as error:
                raise Misbehaved(f"{error}{'' if sending.on_air else f'; its encoder: {sending.words}'}") from None
            if not sending.on_air:
                raise Misbehaved(f"the encoder was sent away: {sending.words}")
            return heard

    def refuses(self, secret: str | None = None) -> str:
        """Be turned away with this secret (default: the right one); with another, by a server that is there."""
        if secret is not None:
            encoder.reach(self.target())
        return encoder.refusal(self.target(secret), self.kind)

    def gone(self) -> str:
        """Nothing to be had at its address any more, of HLS once viewers' lists have run out."""
        deadline, url = time.monotonic() + GONE_WITHIN, self.url
        while True:
            answer = player.fetch(self.route, url, seconds=2, most=1)
            ended = player.is_hls(url) and b"#EXT-X-ENDLIST" in player.fetch(self.route, url).body
            if answer.status in NOT_THERE or ended:
                return f"{url} answers {answer}{', the end of the list' if ended else ''}"
            if time.monotonic() > deadline:
                raise Misbehaved(f"{url} still answers {answer} after {GONE_WITHIN:g} s")
            time.sleep(1)

    @contextlib.contextmanager
    def counted(self) -> Iterator[Audience]:
        """Its encoder and a listener, of whom nothing may be lost until the end."""
        with neighbour(self.route, self.target(), self.kind, self.url) as audience:
            yield audience


def wrong_credential(subject: Subject) -> str:
    """An encoder with a wrong credential is refused."""
    return subject.refuses(WRONG)


def published_and_played(subject: Subject) -> str:
    """What is published is heard."""
    return subject.plays(440)


def renamed(subject: Subject) -> str:
    """A change is applied, and the same again changes nothing."""
    changes = [subject.client.name(subject.slug, "Checked ]]> & <renamed>") for _time in range(2)]
    if changes != [True, False]:
        raise Misbehaved(f"a new name, and the same again, changed something: {changes[0]}, {changes[1]}")
    return f"changed, then unchanged; {subject.plays(660)}"


def new_credential(subject: Subject) -> str:
    """A new credential counts, and the old one no longer."""
    details = subject.client.login(subject.slug).details
    old = target_of(subject.spec, details).secret
    subject.client.secret(subject.slug, secrets.token_hex(12))
    try:
        heard = subject.plays(880)
        return f"new: {heard}; old: {subject.refuses(old)}"
    finally:
        subject.client.secret(subject.slug, old)


def suspended(subject: Subject) -> str:
    """Suspended, it is off the air at once: its encoder is sent away and cannot come back, nothing is heard."""
    return _off(subject, lambda: subject.client.suspend(subject.slug, True))


def unsuspended(subject: Subject) -> str:
    """Unsuspended, it is back."""
    subject.client.suspend(subject.slug, False)
    return subject.plays(660)


def deleted(subject: Subject) -> str:
    """Deleted, it is off the air at once."""
    return _off(subject, lambda: subject.client.delete(subject.slug))


def restored(subject: Subject) -> str:
    """Restored, it is back with the credential that it had."""
    subject.client.restore(subject.slug)
    return subject.plays(880)


def _off(subject: Subject, act: Callable[[], None]) -> str:
    """Take a service that is published off the air; login and address are asked for before, as its people know them."""
    login = subject.client.login(subject.slug)
    known = Subject(subject.slug, subject.spec, Known(login), subject.route)
    with known.publishing(440) as sending:
        if not sending.on_air:
            raise Misbehaved(f"its encoder went by itself: {sending.words}")
        act()
        if not sending.sent_away(SENT_AWAY_WITHIN):
            raise Misbehaved(f"its encoder was still sending after {SENT_AWAY_WITHIN:g} seconds")
    return f"{known.gone()}; its encoder: {known.refuses()}"


class Known:
    """Stands for the panel of a service of which only the login is known: it is gone, or is not to be changed."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name}: of this service only the login is known")

    def login(self, _slug: str) -> Login:
        """As it was."""
        return self._login


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    ok: bool
    evidence: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "ok": self.ok, "evidence": self.evidence}


#: In this order: a check finds the service as the one before has left it. Without the first there is nothing to change.
FIRST: tuple[tuple[str, Callable[[Subject], str]], ...] = (
    ("wrong credential refused", wrong_credential),
    ("published and played", published_and_played),
)
CHANGES: tuple[tuple[str, Callable[[Subject], str]], ...] = (
    ("changed, the same again unchanged", renamed),
    ("new credential counts, old one refused", new_credential),
    ("suspended", suspended),
    ("unsuspended", unsuspended),
    ("deleted", deleted),
    ("restored", restored),
)
NEIGHBOUR = "neighbour not interrupted"


@dataclass
class Verification:
    """All checks of one service beside another one, its neighbour."""

    subject: Subject
    beside: Subject
    tell: Callable[[Check], None] = lambda _check: None
    checks: list[Check] = field(default_factory=list)

    def run(self) -> list[Check]:
        """Every check, whatever became of those before it; where nothing plays there is nothing more to see."""
        if not self._note("created", lambda: self._created(self.subject)):
            return self.checks
        if not self._note("neighbour created", lambda: self._created(self.beside)):
            return self.checks
        first = [self._check(*check) for check in FIRST]
        if all(first):
            self._note(NEIGHBOUR, self._beside_it)
            # Where the neighbour was not to be had.
            for name, check in CHANGES:
                if name not in [made.name for made in self.checks]:
                    self._check(name, check)
        return self.checks

    def _beside_it(self) -> str:
        with self.beside.counted() as audience:
            for check in CHANGES:
                self._check(*check)
        count = audience.count
        return f"{count.pieces} frames or segments, none lost, {count.gap:.1f} s at the longest without any"

    def _check(self, name: str, check: Callable[[Subject], str]) -> bool:
        return self._note(name, lambda: check(self.subject))

    @staticmethod
    def _created(service: Subject) -> str:
        begun = time.monotonic()
        service.client.create(service.slug)
        return f"running after {time.monotonic() - begun:.1f} s"

    def _note(self, name: str, check: Callable[[], str]) -> bool:
        try:
            made = Check(name, True, check())
        except errors.Error as error:
            made = Check(name, False, str(error))
        except subprocess.TimeoutExpired as error:
            # Its text is a command, with what it was given.
            made = Check(name, False, f"{error.cmd[0]} did not end within {error.timeout:g} seconds")
        except (OSError, LookupError, ValueError) as error:
            made = Check(name, False, f"{type(error).__name__}: {error}")
        self.checks.append(made)
        self.tell(made)
        return made.ok


def table(checks: list[Check]) -> list[str]:
    """The checks as lines of text."""
    width = max((len(check.name) for check in checks), default=0)
    return [f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.evidence}" for check in checks]
