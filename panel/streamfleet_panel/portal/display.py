"""A media service in words: its state with the reason, what a broadcaster pastes, where listeners tune in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streamfleet_panel import represent
from streamfleet_panel.access import Actor
from streamfleet_panel.engines import Engine, engines
from streamfleet_panel.models import MediaService

# state → (words, look, whether it stays like that without anybody doing something)
_STATES = {
    "pending": ("Waiting", "busy", False),
    "applying": ("Applying", "busy", False),
    "running": ("Running", "good", True),
    "stopped": ("Stopped", "off", True),
    "suspended": ("Suspended", "off", True),
    "disabled": ("Disabled", "off", True),
    "over_quota": ("Over quota", "off", True),
    "deleted": ("Deleted", "off", True),
    "failed": ("Failed", "bad", True),
}


@dataclass(frozen=True)
class State:
    """What a service is doing. ``look`` is the badge's class; ``settled``: nothing is under way."""

    words: str
    look: str
    why: str
    settled: bool


def states_of(services: Iterable[MediaService], actor: Actor) -> dict[int, State]:
    """State of each service by its id, as its node last reported it. One query."""
    found = list(services)
    runs = represent.latest_runs(service.node_id for service in found)
    return {service.pk: _state(represent.status(service, runs, actor)) for service in found}


def state_of(service: MediaService, actor: Actor) -> State:
    """State of one service."""
    return states_of([service], actor)[service.pk]


def _state(status: Mapping[str, Any]) -> State:
    words, look, settled = _STATES.get(status["state"], (title(status["state"]), "", True))
    return State(words, look, status["message"] or "", settled)


@dataclass(frozen=True)
class Detail:
    """One line of the connection details. ``value`` None: a secret that is not shown now."""

    label: str
    value: str | None
    help: str = ""


def engine_of(service: MediaService) -> Engine | None:
    """The service's engine; None where the release no longer has it."""
    return engines().get(service.engine)


def connection(service: MediaService, shown: Mapping[str, Any] | None = None) -> list[Detail]:
    """What a broadcaster pastes into an encoder. ``shown``: the credentials, where they may be seen now."""
    engine = engine_of(service)
    if engine is None:
        return []
    lines = represent.connection(service, engine, engine.settings(service.settings), shown)
    return [Detail(line["label"], _text(line.get("value"))) for line in lines]


def other_credentials(service: MediaService, shown: Mapping[str, Any] | None = None) -> list[Detail]:
    """Credentials that the service has beside those of its connection details, and what they are for."""
    engine = engine_of(service)
    if engine is None:
        return []
    used = {line.get("credential") for line in engine.connection}
    stored = engine.all_credentials(service.credentials)
    return [
        Detail(title(name), None if shown is None else _text(shown.get(name)), prop.description)
        for name, prop in engine.credentials.items()
        if name not in used and stored.get(name) is not None
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def listen_urls(service: MediaService) -> list[str]:
    """Where listeners tune in; one for each mount where the engine has mounts."""
    engine = engine_of(service)
    return [] if engine is None else represent.listen_urls(service, engine, engine.settings(service.settings))


def credential_choices(service: MediaService) -> list[tuple[str, str]]:
    """Credentials that can be made anew: (name, title)."""
    engine = engine_of(service)
    if engine is None:
        return []
    return [(name, title(name)) for name, prop in engine.credentials.items() if prop.generate]


def overlaps(service: MediaService) -> bool:
    """Older values of a credential can be accepted beside the new ones."""
    engine = engine_of(service)
    return engine is not None and any(prop.overlap for prop in engine.credentials.values())


def title(name: str) -> str:
    """``source_password`` → “Source password”."""
    return name.replace("_", " ").capitalize()


def type_of(service: MediaService) -> str:
    """The service's type and engine in words."""
    engine = engine_of(service)
    return f"{title(service.service_type)} · {engine.title if engine else service.engine}"
