"""Has Wowza record the channels that are to be recorded, and gives each recording to its customer. Limits nDVR, too.

Wowza's recorders end with their stream, so this asks for them again. Wowza writes into a folder of its own, as its own
user; a recording that is whole is copied into the customer's media library by a process of the customer's own user,
whose it is from then on. So neither can be led by the other to a file that is not its own. What nDVR keeps Wowza limits
by time only: where it is more than the channel may have, it begins anew. Runs as root without root's rights, but for
the one to become those users.
"""

import contextlib
import http.client
import json
import os
import pwd
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# What speaks to Wowza lies beside this program.
sys.path.append(str(Path(__file__).resolve().parent))

import application

INSTANCES = Path("/etc/streamfleet/instances/wowza")
SPOOL = Path("/var/lib/streamfleet-wowza/recordings")
DVR = Path("/var/lib/streamfleet-wowza/dvr")
LIBRARIES = Path("/var/lib/streamfleet/media")
UNITS = Path("/etc/systemd/system")
USER = "streamfleet-wowza"
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
#: The folder of a library that recordings come into, one folder for each channel.
FOLDER = "recordings"
FIRST_UID, LAST_UID = 200000, 299999
#: Seconds between two looks, and for which a file must have been left alone to be whole.
PAUSE, QUIET = 5.0, 10.0
#: So old is what Wowza did not finish and never will.
STALE = 86_400.0
MIB = 1024 * 1024
#: Seconds between two looks at what nDVR keeps of a channel, and the share of time that they take at most.
DVR_SECONDS, SHARE = 60.0, 0.02
#: More files in a folder of recordings are as good as its limit: they are counted every time.
MOST_FILES = 5000
#: Bytes that are copied at once.
PIECE = 4 * MIB

FAULTS = (application.Refused, OSError, http.client.HTTPException, ValueError, KeyError, TypeError, IndexError)


def as_customer(uid: int, work: "Callable[[], int]") -> int:
    """What ``work`` returns in a process of the customer's own user. Raises OSError where it fails."""
    if not FIRST_UID <= uid <= LAST_UID:
        raise ValueError(f"{uid} is no customer's number")
    return as_user(uid, uid, work)


def as_user(uid: int, gid: int, work: "Callable[[], int]") -> int:
    """What ``work`` returns in a process of this user. Raises OSError where it fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            os.umask(0o027)
            os.write(writing, f"{work()}".encode())
            code = 0
        except BaseException as error:  # whatever it is, this process must not go on as the other does
            os.write(writing, f"{error}"[:200].encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read(1000).decode(errors="replace")
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise OSError(said or "the process of the user has ended")
    return int(said)


def as_wowza(work: "Callable[[], int]") -> int:
    """What ``work`` returns in a process of Wowza's user, whose the store of nDVR is. Raises OSError."""
    user = pwd.getpwnam(USER)
    return as_user(user.pw_uid, user.pw_gid, work)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    total = 0
    for place, _folders, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(f"{place}/{name}").st_size
    return total


def remove(folder: Path) -> int:
    """All of a folder."""
    shutil.rmtree(folder)
    return 0


def folder_of(uid: int, slug: str) -> int:
    """The folder of a channel's recordings, open; made where it is missing. No link is followed. Raises OSError."""
    place = os.open(LIBRARIES / f"{uid}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    for name in (FOLDER, slug):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o750, dir_fd=place)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
        os.close(place)
        place = below
    return place


def kept(uid: int, slug: str) -> int:
    """Bytes of a channel's recordings in the library, by a process of the customer's."""

    def count() -> int:
        total = 0
        with os.scandir(folder_of(uid, slug)) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_FILES:
                    return sys.maxsize
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_size
        return total

    return as_customer(uid, count)


def give(uid: int, slug: str, path: Path) -> None:
    """Copy a recording into the library, whole or not at all, and remove it here. Raises OSError."""
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no file")
        # When it ended, in letters that channels on demand play.
        name = time.strftime("%Y-%m-%d_%H.%M.%S", time.gmtime(found.st_mtime)) + f"_{found.st_ino}.mp4"

        def copy() -> int:
            place, part = folder_of(uid, slug), f".{name}.part"
            target = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640, dir_fd=place)
            try:
                while piece := os.read(source, PIECE):
                    left = memoryview(piece)
                    while left:
                        left = left[os.write(target, left) :]
                os.fsync(target)
                os.replace(part, name, src_dir_fd=place, dst_dir_fd=place)
            except OSError:
                os.unlink(part, dir_fd=place)
                raise
            return found.st_size

        as_customer(uid, copy)
    finally:
        os.close(source)
    path.unlink()


def wanted_of(slug: str) -> "dict[str, object]":
    """What a channel's file says; of one that has none any more, that it is not recorded. Raises FAULTS."""
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, object] = json.loads((INSTANCES / slug / "record.json").read_text())
        return found
    user = (UNITS / f"streamfleet-wowza@{slug}.service.d/10-user.conf").read_text()
    return {"uid": int(re.findall(r"^User=sf([0-9]+)$", user, re.MULTILINE)[0]), "quota_mb": 0, "running": False}


class Recordings:
    """What is done about every channel, and what has been said of it."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        #: When a store of nDVR is measured next.
        self._due: dict[str, float] = {}

    def say(self, slug: str, what: str) -> None:
        """Into the journal, once until something else is to be said."""
        if self._said.get(slug, "") != what:
            self._said[slug] = what
            print(f"{slug}: {what or 'goes on'}", flush=True)

    def look(self) -> None:
        """Once for all channels; what one of them fails at is none of the others'."""
        wanted = {path.parent.name for path in INSTANCES.glob("*/record.json")}
        # Those that were recorded until now, too.
        for slug in sorted(wanted | {path.name for path in SPOOL.iterdir() if (INSTANCES / path.name).is_dir()}):
            try:
                self.say(slug, self.channel(slug, wanted_of(slug)))
            except FAULTS as error:
                self.say(slug, f"{error}")
        for path in sorted(INSTANCES.glob("*/dvr.json")):
            slug = path.parent.name
            try:
                self.limit(slug, int(json.loads(path.read_text())["quota_mb"]) * MIB)
            except FAULTS as error:
                self.say(f"{slug} (nDVR)", f"{error}")
        self.sweep()

    def limit(self, slug: str, quota: int) -> None:
        """Have nDVR begin anew where a channel has more than it may. Raises what is in FAULTS."""
        folder, begun = DVR / slug, time.monotonic()
        if begun < self._due.get(slug, 0.0) or not folder.is_dir():
            return
        size = as_wowza(lambda: size_of(folder))
        # Large ones more rarely: this takes little of the time.
        self._due[slug] = begun + max(DVR_SECONDS, (time.monotonic() - begun) / SHARE)
        if size < quota:
            return
        # Wowza has what it knows of its store in memory, until the stream has gone.
        application.Rest().done(f"/{slug}/actions/restart")
        as_wowza(partial(remove, folder))
        print(f"{slug}: what nDVR keeps has reached disk_quota_mb: it begins anew", flush=True)

    def channel(self, slug: str, wanted: "dict[str, object]") -> str:
        """See to one channel; returns why it is not recorded now, if it should be."""
        uid, quota = int(str(wanted["uid"])), int(str(wanted["quota_mb"])) * MIB
        rest = application.Rest()
        base = f"/{slug}/instances/_definst_/streamrecorders"
        running, spool = wanted["running"] is True, SPOOL / slug
        status, found = 0, {}
        # What it has finished is given away while it does not run, too.
        with contextlib.suppress(ConnectionRefusedError):
            status, found = rest.ask("GET", f"{base}/{application.STREAM}")
        asked, current = status == 200, str(found.get("currentFile") or "")
        if running:
            spool.mkdir(mode=0o770, exist_ok=True)
        here = list(spool.glob("*")) if spool.is_dir() else []
        limit = kept(uid, slug) + sum(file.lstat().st_size for file in here) >= quota
        if asked and (limit or not running):
            rest.done(f"{base}/{application.STREAM}/actions/stopRecording")
        elif running and status == 404 and not limit:
            self.start(rest, slug, int(str(wanted["minutes"])))
        problem = "its recordings have reached disk_quota_mb: it is not recorded" if running and limit else ""
        for file in here:
            try:
                age, done = time.time() - file.lstat().st_mtime, current not in (str(file), file.name)
                if file.suffix == ".mp4" and done and age > QUIET:
                    give(uid, slug, file)
                elif done and age > STALE:
                    file.unlink()
            except OSError as error:
                problem = f"{file.name}: {error}"
        if not running and not here:
            with contextlib.suppress(OSError):
                spool.rmdir()
        return problem

    @staticmethod
    def start(rest: "application.Rest", slug: str, minutes: int) -> None:
        """Have Wowza record the channel's stream, now or when it comes. Raises Refused, OSError."""
        wanted = {
            "instanceName": "_definst_",
            "recorderName": application.STREAM,
            "startOnKeyFrame": True,
            "outputPath": f"{SPOOL}/{slug}",
            "baseFile": f"{application.STREAM}.mp4",
            "fileFormat": "MP4",
            "fileTemplate": "${BaseFileName}_${RecordingStartTime}_${SegmentNumber}",
            "segmentationType": "SegmentByDuration",
            "segmentDuration": minutes * 60_000,
        }
        path = f"/{slug}/instances/_definst_/streamrecorders/{application.STREAM}"
        status, said = rest.ask("POST", path, json.dumps(wanted))
        if status not in (200, 201) or said.get("success") is not True:
            raise application.Refused(f"Wowza does not record: {status}: {said.get('message') or 'without a reason'}")

    @staticmethod
    def sweep() -> None:
        """Remove what is left of channels that this node no longer has, and of nDVR where it is off."""
        for folder in SPOOL.iterdir():
            if SLUG.fullmatch(folder.name) and not (INSTANCES / folder.name).exists():
                shutil.rmtree(folder, ignore_errors=True)
        for folder in DVR.iterdir():
            if SLUG.fullmatch(folder.name) and not (INSTANCES / folder.name / "dvr.json").exists():
                as_wowza(partial(remove, folder))


def main() -> None:
    """For ever."""
    recordings = Recordings()
    while True:
        try:
            recordings.look()
        except OSError as error:
            print(f"{error}", file=sys.stderr, flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
