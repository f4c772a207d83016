"""The queue of a station: what its AutoDJ plays before the rotation."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, queueing, represent
from streamfleet_panel.access import Actor, require
from streamfleet_panel.api.core import actor_of_call, answer, found, listed, mapping_of, only
from streamfleet_panel.api.objects import DRY_RUN, LIMIT, OFFSET
from streamfleet_panel.api.schema import json_body
from streamfleet_panel.models import MediaService

router = Router(tags=["media services"])

IDS = Query(None, description="Only these, by their `id`, divided by commas; those that do not wait are passed over.")
DONE = Query(False, description="What was played or refused instead, the newest first.")


def _service(request: HttpRequest, slug: str, action: str) -> tuple[Actor, MediaService]:
    actor = actor_of_call(request)
    service: MediaService = found(access.services(actor), "media service", slug=slug)
    require(actor, action, "media_service")
    return actor, service


@router.get(
    "/media-services/{slug}/queue",
    summary="List what waits in the queue",
    description="In the order in which it is played. What its node has not looked at yet is `sent`; what was played is "
    "told some seconds after it began.",
)
def list_queue(
    request: HttpRequest, slug: str, limit: int = LIMIT, offset: int = OFFSET, done: bool = DONE
) -> HttpResponse:
    """The queue of one service."""
    _, service = _service(request, slug, "view")
    rows, count = listed(queueing.done(service) if done else queueing.waiting(service), limit, offset)
    items = [represent.queued(track, None if done else position) for position, track in enumerate(rows, offset + 1)]
    return answer({"items": items, "count": count})


@router.post(
    "/media-services/{slug}/queue",
    summary="Put recordings into the queue",
    description="All of them or none. Answers what was added, how many wait now, and the generation to wait for. "
    "Whether a file is there and can be played, its node finds out some seconds later: then it is `waiting` or "
    "`failed`.",
    openapi_extra=json_body(queueing.BODY, {"files": ["music/rock/song.mp3"], "position": 1}),
)
def put_into_queue(request: HttpRequest, slug: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """Played once each, after what plays now."""
    actor, service = _service(request, slug, "control")
    data = mapping_of(request)
    only(data, *queueing.BODY["properties"])  # type: ignore[misc]
    put = queueing.put(actor, service, data, dry_run=dry_run)
    items = [represent.queued(track, position) for position, track in enumerate(put.tracks, put.first)]
    return answer({"dry_run": dry_run, "items": items, "count": put.count, "generation": put.generation})


@router.delete("/media-services/{slug}/queue", summary="Take everything out of the queue, or some")
def clear_queue(request: HttpRequest, slug: str, ids: str | None = IDS) -> HttpResponse:
    """What has begun plays on."""
    actor, service = _service(request, slug, "control")
    names = None if ids is None else queueing.named(ids)
    removed, generation = queueing.take_out(actor, service, names)
    return answer({"removed": removed, "generation": generation})


@router.delete("/media-services/{slug}/queue/{name}", summary="Take one recording out of the queue")
def take_out_of_queue(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """By the `id` that the list says."""
    actor, service = _service(request, slug, "control")
    removed, generation = queueing.take_out_one(actor, service, name)
    return answer({"removed": removed, "generation": generation})
