"""A media service in words: its state with the reason, what a broadcaster pastes, where listeners tune in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streamfleet_panel import access, queueing, represent
from streamfleet_panel.access import Actor
from streamfleet_panel.engines import Engine, engines
from streamfleet_panel.models import (
    Dj,
    MediaService,
    OnAir,
    PlayedTrack,
    Playlist,
    QueuedTrack,
    Relay,
    Schedule,
)

# state → (words, look, whether it stays like that without anybody doing something)
_STATES = {
    "pending": ("Waiting", "busy", False),
    "applying": ("Applying", "busy", False),
    "running": ("Running", "good", True),
    "stopped": ("Stopped", "off", True),
    "suspended": ("Suspended", "off", True),
    "disabled": ("Disabled", "off", True),
    "over_quota": ("Over quota", "off", True),
    "moved": ("Moving", "busy", False),
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
    used = {line.get("credential") for line in engine.connection_of(service.service_type)}
    stored = engine.all_credentials(service.credentials)
    return [
        Detail(_title(engine, name), None if shown is None else _text(shown.get(name)), prop.description)
        for name, prop in engine.credentials.items()
        if name not in used and stored.get(name) is not None
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def listen_urls(service: MediaService) -> list[str]:
    """Where listeners tune in; one for each mount where the engine has mounts. One query."""
    engine = engine_of(service)
    if engine is None:
        return []
    domains = represent.domains_of([service]).get(service.pk, ())
    return represent.listen_urls(service, engine, engine.settings(service.settings), domains)


def credential_choices(service: MediaService) -> list[tuple[str, str]]:
    """Credentials that can be made anew: (name, title)."""
    engine = engine_of(service)
    if engine is None:
        return []
    return [
        (name, _title(engine, name))
        for name, prop in engine.credentials.items()
        if prop.generate and prop.is_for(service.service_type)
    ]


def overlaps(service: MediaService) -> bool:
    """Older values of a credential can be accepted beside the new ones."""
    engine = engine_of(service)
    return engine is not None and any(prop.overlap for prop in engine.credentials.values())


def title(name: str) -> str:
    """``source_password`` → “Source password”."""
    return name.replace("_", " ").capitalize()


def _title(engine: Engine, name: str) -> str:
    """The title of a credential; a companion's begins with how that is written (AutoDJ)."""
    for companion in engine.companions:
        if name in companion.credentials and name.startswith(f"{companion.name}_"):
            return companion.title + name.removeprefix(companion.name).replace("_", " ")
    return title(name)


def type_of(service: MediaService) -> str:
    """The service's type and engine in words."""
    engine = engine_of(service)
    return f"{title(service.service_type)} · {engine.title if engine else service.engine}"


# --- what plays by itself -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """A companion of the service (its AutoDJ). ``zone``: the time zone of its times, where it has one."""

    title: str
    is_on: bool
    zone: str = ""


def companions(service: MediaService) -> list[Beside]:
    """What may run beside the service's engine and can be switched on and off, and whether it is on."""
    engine = engine_of(service)
    if engine is None:
        return []
    settings = engine.settings(service.settings)
    return [
        Beside(companion.title, companion.is_on(settings), (settings.get(companion.name) or {}).get("timezone", ""))
        for companion in engine.companions
        if companion.name in companion.fields
    ]


@dataclass(frozen=True)
class Listed:
    """A playlist in words."""

    name: str
    enabled: bool
    kind: str
    what: str
    order: str
    when: str


def playlists(service: MediaService, actor: Actor) -> list[Listed] | None:
    """The service's playlists; None where its engine has none. One query."""
    engine = engine_of(service)
    if engine is None or "playlists" not in engine.objects_of(service.service_type):
        return None
    found = access.playlists(actor).filter(media_service=service).order_by("name").defer("files")
    return [playlist(item) for item in found]


def playlist(item: Playlist) -> Listed:
    """A playlist in words; does not read its list of files."""
    kind = item.get_type_display()
    if item.type == Playlist.Type.ROTATION and item.weight != 1:
        kind = f"{kind}, weight {item.weight}"
    for every, unit in ((item.every_tracks, "track"), (item.every_minutes, "minute")):
        if every is not None:
            kind = f"{kind}, every {unit}" if every == 1 else f"{kind}, every {every} {unit}s"
    if item.folder is None:
        what = "1 file" if item.file_count == 1 else f"{item.file_count} files"
    else:
        what = "The whole library" if item.folder == "." else f"Folder {item.folder}"
    without = "By the calendar only" if item.type == Playlist.Type.SCHEDULED else "Always"
    return Listed(item.name, item.enabled, kind, what, item.get_order_display(), _times(item.active) or without)


# --- who goes on the air live ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListedDj:
    """A DJ in words."""

    username: str
    name: str
    enabled: bool
    priority: int
    when: str
    record: bool


@dataclass(frozen=True)
class Djs:
    """The service's DJs, and where they connect; ``server`` is empty while they cannot.

    ``shown``: what the DJ called ``shown_for`` enters, with the password.
    """

    listed: list[ListedDj]
    server: list[Detail]
    shown: list[Detail]
    shown_for: str


def djs(service: MediaService, actor: Actor, shown: Dj | None = None) -> Djs | None:
    """The service's DJs; None where its engine has none. ``shown``: whose password may be seen now. One query."""
    engine = engine_of(service)
    if engine is None or "djs" not in engine.objects_of(service.service_type):
        return None
    found = access.djs(actor).filter(media_service=service).order_by("username")
    listed = [ListedDj(dj.username, dj.name, dj.enabled, dj.priority, dj_times(dj), dj.record) for dj in found]
    server = [Detail(line["label"], line["value"]) for line in represent.dj_server(service)]
    own = represent.dj_connection(shown, shown.password) if shown is not None else []
    return Djs(
        listed,
        server if all(line.value for line in server) else [],
        [Detail(line["label"], line["value"]) for line in own if line["value"]],
        shown.username if shown is not None else "",
    )


def dj_times(dj: Dj) -> str:
    """When the DJ may be on the air."""
    return (_times(dj.active) or "By the calendar only") if dj.scheduled_only else "Always"


# --- what comes from elsewhere and goes there -----------------------------------------------------------------------


@dataclass(frozen=True)
class ListedRelay:
    """A relay in words."""

    name: str
    enabled: bool
    incoming: bool
    address: str
    mount: str
    notes: str


def relays(service: MediaService, actor: Actor) -> list[ListedRelay] | None:
    """The service's relays; None where its engine has none. One query."""
    engine = engine_of(service)
    if engine is None or "relays" not in engine.objects_of(service.service_type):
        return None
    found = access.relays(actor).filter(media_service=service).order_by("name")
    return [
        ListedRelay(
            relay.name,
            relay.enabled,
            relay.direction == Relay.Direction.IN,
            relay.address,
            relay.mount,
            "Steps aside for DJs" if relay.direction == Relay.Direction.IN and relay.djs_first else "",
        )
        for relay in found
    ]


@dataclass(frozen=True)
class Air:
    """Who is on the air, and what was played last."""

    dj: str | None
    waiting: list[str]
    played: list[PlayedTrack]


def air(service: MediaService, actor: Actor) -> Air | None:
    """Of a service that can play by itself; None for others. Two queries."""
    engine = engine_of(service)
    if engine is None or "playlists" not in engine.objects_of(service.service_type):
        return None
    state = OnAir.objects.filter(media_service=service).first()
    heard = None if state is None or service.desired_state()[0] != "running" else state.dj
    names = [str(item["username"]) for item in state.connected if item["username"] != heard] if state else []
    return Air(heard, names, list(access.played(actor).filter(media_service=service)[:10]))


@dataclass(frozen=True)
class Queue:
    """What waits to be played, what was refused lately, and whether there is something to play it."""

    waiting: list[QueuedTrack]
    refused: list[QueuedTrack]
    is_there: bool


def queue(service: MediaService) -> Queue | None:
    """The service's queue; None where its engine has none. Two queries."""
    engine, player = engine_of(service), queueing.player_of(service)
    if engine is None or player is None:
        return None
    refused = queueing.done(service).filter(state=QueuedTrack.State.FAILED)
    is_there = player.is_there(engine.settings(service.settings))
    return Queue(list(queueing.waiting(service)), list(refused[:5]), is_there)


def _times(active: Iterable[Mapping[str, Any]] | None) -> str:
    return "; ".join(_window(window) for window in active or ())


def _window(window: Mapping[str, Any]) -> str:
    days = ", ".join(day.capitalize() for day in window["days"]) if window["days"] else "Every day"
    return f"{days} {window['start']} to {window['end']}"


def time_of_entry(entry: Schedule) -> str:
    """When an entry of a calendar is on, in words."""
    first, last = entry.start_date, entry.end_date
    if first is not None and first == last:
        return f"{first:%-d %B %Y} {entry.start} to {entry.end}"
    words = _window({"days": entry.days, "start": entry.start, "end": entry.end})
    if first is not None:
        words += f", from {first:%-d %B %Y}"
    return f"{words}, until {last:%-d %B %Y}" if last is not None else words


def duration(begin: datetime, end: datetime) -> str:
    """How long something took, as 1:02:03."""
    minutes, seconds = divmod(max(0, round((end - begin).total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


# --- mounts ---------------------------------------------------------------------------------------------------------

_MOUNT_WORDS = {
    "name": "Path",
    "id": "Number",
    "bitrate_kbps": "Bitrate (kbit/s)",
    "max_listeners": "Listeners, at most",
}
_CODE = re.compile(r"[A-Z]\(([^)]*)\)")


def has_renditions(service: MediaService) -> bool:
    """Whether something can be encoded for the service."""
    engine = engines().get(service.engine)
    return engine is not None and engine.renditions_field(service.service_type) is not None


def mount_names(service: MediaService) -> list[str]:
    """Paths of the service's mounts, in their order; none where its engine has none."""
    engine = engine_of(service)
    if engine is None or engine.mounts_field is None:
        return []
    return [str(item["name"]) for item in engine.settings(service.settings)[engine.mounts_field]]


def mount_words(name: str) -> str:
    """A field of a mount as a label."""
    return _MOUNT_WORDS.get(name, title(name))


def mount_help(schema: Mapping[str, Any]) -> str:
    """What a field of a mount is for; how Ansible's documentation marks code is left out."""
    return _CODE.sub(r"\1", str(schema.get("description", "")))


def mount_value(value: Any) -> str:
    """A value of a mount's field."""
    return "yes" if value is True else str(value)
