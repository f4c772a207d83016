"""A station's queue: what is put into it and taken out again. What became of it, ``collected/queue.py`` stores."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from streamfleet_panel.access import Actor
from streamfleet_panel.apply.checks import Bad, integer, items
from streamfleet_panel.apply.execute import audit_entry, bump, locked
from streamfleet_panel.apply.playlist_fields import MOST_CHARACTERS, path_of
from streamfleet_panel.apply.problems import ApiError, Problem, shown
from streamfleet_panel.engines import Companion, engines
from streamfleet_panel.models import MediaService, Node, QueuedTrack

#: Entries that wait at most, and that are remembered when they are done.
MOST_WAITING = 100
MOST_DONE = 100
#: Recordings that an AutoDJ can play, by the end of their names (``library.py`` of role autodj).
SUFFIXES = (".mp3", ".mp2", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".flac", ".wav", ".aif", ".aiff")
OBJECTS = "queue"

_POSITION = integer("position", "Place in the queue.", 1, 1_000_000)
BODY = {
    "type": "object",
    "required": ["files"],
    "additionalProperties": False,
    "properties": {
        "files": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS},
            "minItems": 1,
            "maxItems": MOST_WAITING,
            "description": "Files of the customer's media library, in their order.",
        },
        "position": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "1: before all that waits. Left out, null, or beyond the end: at the end.",
        },
        "unless_waiting": {
            "type": "boolean",
            "default": False,
            "description": "Leave out files that wait already, and name each once.",
        },
    },
}


@dataclass(frozen=True)
class Queued:
    """What was put into a queue, where, how many wait now, and the generation to wait for."""

    tracks: list[QueuedTrack]
    first: int
    count: int
    generation: int


def waiting(service: MediaService) -> QuerySet[QueuedTrack]:
    """What waits, in order."""
    return QueuedTrack.objects.filter(media_service=service, state__in=QueuedTrack.UNDONE).order_by("place", "pk")


def done(service: MediaService) -> QuerySet[QueuedTrack]:
    """What was played or refused, the newest first."""
    rows = QueuedTrack.objects.filter(media_service=service).exclude(state__in=QueuedTrack.UNDONE)
    return rows.order_by("-done_at", "-pk")


def for_node(node: Node) -> dict[int, list[dict[str, str]]]:
    """What the node's document has by the service's id: what waits, and what was done since a service's last change."""
    shown_there = Q(state__in=QueuedTrack.UNDONE) | Q(done_generation=F("media_service__generation"))
    by_service: dict[int, list[dict[str, str]]] = {}
    for track in QueuedTrack.objects.filter(shown_there, media_service__node=node).order_by("place", "pk"):
        by_service.setdefault(track.media_service_id, []).append(track.for_node())
    return by_service


def player_of(service: MediaService) -> Companion | None:
    """What plays the service's queue; None where nothing of its engine does."""
    engine = engines().get(service.engine)
    found = engine.companions if engine is not None else ()
    return next((companion for companion in found if OBJECTS in companion.objects), None)


def is_on(service: MediaService) -> bool:
    """Whether the service has something that plays its queue, and that is switched on."""
    player, engine = player_of(service), engines().get(service.engine)
    return player is not None and engine is not None and player.is_on(engine.settings(service.settings))


def plays_by_itself(service: MediaService) -> bool:
    """Whether it plays the customer's library now: by a companion that is on, or because its type always does."""
    engine = engines().get(service.engine)
    return is_on(service) or (engine is not None and "playlists" in engine.own_objects_of(service.service_type))


def require_player(service: MediaService, *, on: bool = False) -> None:
    """Raise ApiError for a service that has nothing to play a queue. ``on``: also where that is switched off."""
    player, engine = player_of(service), engines().get(service.engine)
    if player is None or engine is None:
        raise ApiError("conflict", f"{service.slug} has no queue: nothing plays recordings beside {service.engine}")
    if not player.is_there(engine.settings(service.settings)):
        fix = f"Switch its {player.title} on first: set {player.name} of the service."
        raise ApiError("conflict", f"{service.slug} has no {player.title}, which would play it. {fix}")
    if on and not is_on(service):
        fix = f"Switch it on first: set {player.name}.enabled of the service to true."
        raise ApiError("conflict", f"The {player.title} of {service.slug} is switched off. {fix}")


def put(actor: Actor, service: MediaService, data: dict[str, Any], *, dry_run: bool = False) -> Queued:
    """Put recordings into the queue. All or none. Raises ApiError."""
    files, position, unless_waiting = _checked(data)
    with transaction.atomic():
        service = _locked(service)
        require_player(service)
        before = list(waiting(service))
        if unless_waiting:
            there = {track.path for track in before}
            files = [path for path in dict.fromkeys(files) if path not in there]
        if len(before) + len(files) > MOST_WAITING:
            message = f"would make {len(before) + len(files)} recordings wait, at most {MOST_WAITING} may"
            fix = "Wait until some were played, or take some out."
            if all(track.state == QueuedTrack.State.SENT for track in before) and len(before) == MOST_WAITING:
                # Whoever reads this may not be able to see why, and can tell somebody who is.
                fix += (
                    " No node has told of any: see whether the AutoDJ runs, and that the worker's"
                    " streamfleet_worker_collect_seconds is not 0."
                )
            problem = Problem("files", len(files), message, fix)
            raise ApiError("conflict", f"files: {message}. {fix}", [problem])
        new = [QueuedTrack(media_service=service, path=path) for path in files]
        index = len(before) if position is None else min(position - 1, len(before))
        if new and not dry_run:
            _place(before, new, index)
            _forget(service)
            changes = {"queue": {"before": None, "after": files}}
            _changed(actor, service, "queue", changes)
    return Queued(new, index + 1, len(before) + len(new), service.generation)


def take_out(actor: Actor, service: MediaService, names: Collection[str] | None) -> tuple[int, int]:
    """Take these entries out of the queue, or (None) all. Returns how many, and the generation to wait for.

    What does not wait any more is passed over. Raises ApiError where the service is gone.
    """
    with transaction.atomic():
        service = _locked(service)
        found = list(waiting(service) if names is None else waiting(service).filter(name__in=names))
        if found:
            QueuedTrack.objects.filter(pk__in=[track.pk for track in found]).delete()
            changes = {"queue": {"before": [track.path for track in found], "after": None}}
            _changed(actor, service, "queue", changes)
    return len(found), service.generation


def take_out_one(actor: Actor, service: MediaService, name: str) -> tuple[int, int]:
    """Take one entry out of the queue; as ``take_out``. Raises ApiError where it does not wait."""
    removed, generation = take_out(actor, service, [name])
    if not removed:
        raise ApiError("not_found", f"Nothing called {name[:100]} waits in the queue of {service.slug}")
    return removed, generation


def named(value: str) -> list[str]:
    """The ids in a text in which commas divide them. Raises ApiError."""
    names = value.split(",")
    if len(names) > MOST_WAITING or not all(names):
        message = f"names {len(names)} entries, at most {MOST_WAITING} wait" if all(names) else "has an empty id"
        fix = "Give ids as the list says them, divided by commas; leave ids out to take everything out."
        problem = Problem("ids", shown(value), message, fix)
        raise ApiError("invalid_document", f"ids: {message}", [problem])
    return names


def _locked(service: MediaService) -> MediaService:
    """The service as it is now, for whoever changes its queue. Raises ApiError where it is deleted meanwhile."""
    found = locked(service)
    # Before its entries, as who stores what its node tells does.
    MediaService.objects.select_for_update().filter(pk=found.pk).values_list("pk", flat=True).first()
    if found.deleted_at is not None:
        raise ApiError("not_found", f"There is no media service {service.slug}")
    return found


def _changed(actor: Actor, service: MediaService, action: str, changes: dict[str, Any]) -> None:
    bump([service])
    service.save(update_fields=["generation"])
    audit_entry(actor, action, "media_service", service.slug, changes, service.customer).save()


def _place(before: list[QueuedTrack], new: list[QueuedTrack], index: int) -> None:
    """Store what is new where it belongs. What waits behind it moves on."""
    after = before[index:]
    start = before[index - 1].place + 1 if index else 0
    for place, track in enumerate([*new, *after], start):
        track.place = place
    QueuedTrack.objects.bulk_update(after, ["place"])
    QueuedTrack.objects.bulk_create(new)


def _forget(service: MediaService) -> None:
    """Delete the oldest of what is done."""
    oldest = list(done(service).values_list("pk", flat=True)[MOST_DONE:])
    if oldest:
        QueuedTrack.objects.filter(pk__in=oldest).delete()


def _checked(data: dict[str, Any]) -> tuple[list[str], int | None, bool]:
    problems: list[Problem] = []
    files: list[str] = []
    position, unless_waiting = data.get("position"), data.get("unless_waiting", False)
    try:
        for number, item in enumerate(items(data.get("files"), "files", MOST_WAITING, "Name fewer at once.")):
            try:
                files.append(_recording(item))
            except Bad as error:
                problems.append(error.problem(f"files[{number}]", item))
    except Bad as error:
        problems.append(Problem("files", shown(data.get("files")), error.message, "Name at least one file."))
    try:
        position = None if position is None else _POSITION.check(position)
    except Bad as error:
        problems.append(error.problem("position", position))
    if not isinstance(unless_waiting, bool):
        problems.append(Problem("unless_waiting", shown(unless_waiting), "must be true or false", "Leave it out."))
    if problems:
        first = problems[0]
        raise ApiError("invalid_document", f"{first.path}: {first.message}", problems)
    return files, position, unless_waiting


def _recording(value: Any) -> str:
    """A path that can be one of a recording. Raises Bad."""
    path = path_of(value)
    if any(part.startswith(".") for part in path.split("/")):
        raise Bad("is hidden: a name begins with a dot", "Hidden files are not played; rename it.")
    if not path.lower().endswith(SUFFIXES):
        raise Bad("is not called as a recording is", f"Use a file that ends in {', '.join(SUFFIXES)}.")
    return path
