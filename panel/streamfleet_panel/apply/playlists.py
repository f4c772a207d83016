"""Planning of playlists."""

from __future__ import annotations

from collections.abc import Container

from django.db.models import Sum

from streamfleet_panel.apply import of_service
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.models import Playlist

MOST_PLAYLISTS = 200
# In all lists of one service: a node document holds them all.
MOST_FILES = 20_000


def plan_playlist(plan: Plan, entry: Entry, declared: Container[str]) -> None:
    """One playlist of the document. ``declared``: slugs that the document itself names; their faults are noted."""
    draft = of_service.begin(plan, entry, declared)
    if draft is None:
        return
    playlist = draft.obj
    if draft.sound:
        _judge(plan, entry, playlist, draft)
    if "files" in draft.changes:
        before = playlist.file_count
        playlist.file_count = len(playlist.files or ())
        plan.update(playlist, ["file_count"])
        plan.grow(draft.service, "files", playlist.file_count - before, entry.path)
    of_service.finish(plan, entry, draft)


def _judge(plan: Plan, entry: Entry, playlist: Playlist, draft: of_service.Draft) -> None:
    """What fields mean together."""
    path, kind = entry.path, playlist.type
    if playlist.folder is None and playlist.files is None:
        fix = "Give folder (. is the whole library), or files as a list."
        plan.problem(f"{path}.folder", None, "is missing, and so is files", fix)
    elif playlist.folder is not None and playlist.files is not None:
        name = "files" if "files" in entry.fields else "folder"
        other = "folder" if name == "files" else "files"
        plan.problem(f"{path}.{name}", getattr(playlist, name), f"goes not with {other}", f"Set {other}: null as well.")
    if kind != Playlist.Type.ROTATION and "weight" in draft.changes and playlist.weight != 1:
        message = f"means nothing for the type {kind}"
        plan.problem(f"{path}.weight", playlist.weight, message, "Leave it out, or set type: rotation.")
    _spacing(plan, path, playlist)
    _endings(plan, path, playlist, draft)


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


def _endings(plan: Plan, path: str, playlist: Playlist, draft: of_service.Draft) -> None:
    """Files that the service's type does not play."""
    endings = draft.engine.files_of(draft.service.service_type)
    if not endings or "files" not in draft.changes:
        return
    for index, name in enumerate(playlist.files or ()):
        if not name.lower().endswith(endings):
            message = f"is not called as what a service of type {draft.service.service_type} plays"
            plan.problem(f"{path}.files[{index}]", name, message, f"Name files that end in {', '.join(endings)}.")


def check_room(plan: Plan) -> None:
    """Refuse more playlists, or more files in them, than a service may have: two queries."""
    of_service.check_most(plan, "playlist", MOST_PLAYLISTS)
    for growth, files in of_service.over(plan, "files", "playlist", MOST_FILES, Sum("file_count")):
        message = f"the playlists of {growth.service.slug} would name {files} files in all, at most {MOST_FILES} fit"
        plan.problem(f"{growth.path}.files", files, message, "Put files into folders, and name a folder instead.")
