"""Planning of playlists: each belongs to a media service, and whoever may change that may change them."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from django.db.models import Count, Sum

from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import KINDS
from streamfleet_panel.apply.plan import DELETED, Growth, Plan
from streamfleet_panel.apply.services import in_reach
from streamfleet_panel.apply.world import chunks
from streamfleet_panel.engines import engines
from streamfleet_panel.models import MediaService, Playlist

_TABLE = KINDS["playlist"]
_OBJECTS = "playlists"
MOST_PLAYLISTS = 200
# In all lists of one service: a node document holds them all.
MOST_FILES = 20_000


def plan_playlist(plan: Plan, entry: Entry, declared: Container[str]) -> None:
    """One playlist of the document. ``declared``: slugs that the document itself names; their faults are noted."""
    service = plan.world.services.get(entry.parts[0])
    if service is not None and not in_reach(plan, service):
        service = None
    stored = plan.world.playlists.get(entry.key) if service is not None else None
    if entry.absent:
        _absent(plan, entry, stored)
        return
    if not plan.permitted(entry, "create" if stored is None else "update"):
        return
    playlist = stored or Playlist(name=entry.parts[1])
    faults = len(plan.problems)
    changes = plan.fields(entry, playlist, _TABLE, creating=stored is None)
    if not _fit(plan, entry, service, declared) or service is None:
        return
    if len(plan.problems) == faults:
        _judge(plan, entry, playlist, changes)
    plan.labelled(playlist, changes)
    if stored is None:
        playlist.media_service = service
        plan.create(playlist)
    if "files" in changes:
        before = playlist.file_count
        playlist.file_count = len(playlist.files or ())
        plan.update(playlist, ["file_count"])
        _grow(plan, service, entry.path, files=playlist.file_count - before)
    if stored is None:
        _grow(plan, service, entry.path, playlists=1)
    plan.update(playlist, changes)
    if changes.keys() - {"label"} or stored is None:
        plan.touch(service)
    plan.finish(entry, playlist, changes, "created" if stored is None else "updated", service.customer)


def _fit(plan: Plan, entry: Entry, service: MediaService | None, declared: Container[str]) -> bool:
    """Whether the service can have the playlist; notes why it cannot."""
    slug, path = entry.parts[0], f"{entry.path}.media_service"
    if service is None:
        if slug not in declared:
            fix = "Name an existing media service, or declare it as well."
            plan.problem(path, slug, "there is no such media service", fix)
        return False
    if service.deleted_at is not None or service.customer.deleted_at is not None:
        fix = "Restore the media service, or take its playlists out of the document."
        plan.problem(path, slug, "this media service is deleted", fix)
        return False
    known = engines()
    engine = known.get(service.engine)
    if engine is None or _OBJECTS not in engine.objects:
        title = service.engine if engine is None else engine.title
        able = [other.title for other in known.values() if _OBJECTS in other.objects]
        fix = f"Name a service of {' or '.join(able)}." if able else "No engine of this release has playlists."
        plan.problem(path, slug, f"is a service of {title}, which has no playlists", fix)
        return False
    return True


def _judge(plan: Plan, entry: Entry, playlist: Playlist, changes: dict[str, Any]) -> None:
    """What fields mean together."""
    path, kind = entry.path, playlist.type
    if playlist.folder is None and playlist.files is None:
        fix = "Give folder (. is the whole library), or files as a list."
        plan.problem(f"{path}.folder", None, "is missing, and so is files", fix)
    elif playlist.folder is not None and playlist.files is not None:
        name = "files" if "files" in entry.fields else "folder"
        other = "folder" if name == "files" else "files"
        plan.problem(f"{path}.{name}", getattr(playlist, name), f"goes not with {other}", f"Set {other}: null as well.")
    if kind == Playlist.Type.SCHEDULED and playlist.active is None:
        fix = 'Give its times, as active: [{start: "22:00", end: "02:00"}].'
        plan.problem(f"{path}.active", None, "is missing: a scheduled playlist needs its times", fix)
    if kind != Playlist.Type.ROTATION and "weight" in changes and playlist.weight != 1:
        message = f"means nothing for the type {kind}"
        plan.problem(f"{path}.weight", playlist.weight, message, "Leave it out, or set type: rotation.")
    _spacing(plan, path, playlist)


def _spacing(plan: Plan, path: str, playlist: Playlist) -> None:
    """How often a jingle comes: by one of two measures, and nothing else has any."""
    given = {name: getattr(playlist, name) for name in ("every_tracks", "every_minutes")}
    named = {name: value for name, value in given.items() if value is not None}
    if playlist.type != Playlist.Type.JINGLE:
        for name, value in named.items():
            message = f"means nothing for the type {playlist.type}"
            plan.problem(f"{path}.{name}", value, message, f"Set {name}: null, or type: jingle.")
    elif not named:
        fix = "Give every_tracks or every_minutes."
        plan.problem(f"{path}.every_tracks", None, "is missing, and so is every_minutes: a jingle needs one", fix)
    elif len(named) > 1:
        message, fix = "goes not with every_tracks", "Set one of the two to null."
        plan.problem(f"{path}.every_minutes", named["every_minutes"], message, fix)


def _absent(plan: Plan, entry: Entry, stored: Playlist | None) -> None:
    if not plan.permitted(entry, "delete"):
        return
    if stored is None:
        plan.finish(entry, None, {}, "unchanged", None)
        return
    delete_playlist(plan, stored, entry.path)
    plan.finish(entry, stored, dict(DELETED), "deleted", stored.media_service.customer)


def delete_playlist(plan: Plan, playlist: Playlist, path: str = "") -> None:
    """Delete a playlist at once and for good."""
    plan.remove(playlist)
    plan.touch(playlist.media_service)
    _grow(plan, playlist.media_service, path, playlists=-1, files=-playlist.file_count)


def prunable(plan: Plan, playlist: Playlist) -> bool:
    """The playlist is the actor's to prune. One whose service goes stays its row, and comes back with it."""
    service = playlist.media_service
    kept = service.deleted_at is not None or service.customer.deleted_at is not None
    return not kept and in_reach(plan, service)


def _grow(plan: Plan, service: MediaService, path: str, playlists: int = 0, files: int = 0) -> None:
    growth = plan.growth.setdefault(id(service), Growth(service))
    growth.playlists += playlists
    growth.files += files
    if playlists > 0 or files > 0:
        growth.path = path


def check_room(plan: Plan) -> None:
    """Refuse more playlists, or more files in them, than a service may have: one query."""
    grown = [growth for growth in plan.growth.values() if growth.playlists > 0 or growth.files > 0]
    stored: dict[int, tuple[int, int]] = {}
    for part in chunks(growth.service.pk for growth in grown if growth.service.pk is not None):
        counted = Playlist.objects.filter(media_service_id__in=part).order_by().values_list("media_service_id")
        stored |= {pk: (count, files) for pk, count, files in counted.annotate(Count("pk"), Sum("file_count"))}
    for growth in grown:
        slug = growth.service.slug
        playlists, files = stored.get(growth.service.pk, (0, 0))
        playlists, files = playlists + growth.playlists, files + growth.files
        if growth.playlists > 0 and playlists > MOST_PLAYLISTS:
            message = f"{slug} would have {playlists} playlists, at most {MOST_PLAYLISTS} fit"
            plan.problem(growth.path, playlists, message, "Delete some that are not needed.")
        if growth.files > 0 and files > MOST_FILES:
            message = f"the playlists of {slug} would name {files} files in all, at most {MOST_FILES} fit"
            plan.problem(f"{growth.path}.files", files, message, "Put files into folders, and name a folder instead.")
