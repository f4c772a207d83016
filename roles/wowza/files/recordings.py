"""Has Wowza record the channels that are to be recorded, and gives each recording to its customer. Limits nDVR, too.

Wowza's recorders end with their stream, so this asks for them again. Wowza writes into a folder of its own, as its own
user; a recording that is whole is copied into the customer's media library by a process of the customer's own user,
whose it is from then on. So neither can be led by the other to a file that is not its own. What nDVR keeps Wowza limits
by time only: where it is more than the channel may have, it begins anew. Runs as root without root's rights, but for
those to become those users, and to end what it does as them.

Nothing that takes long is waited for: it is a child's, and a look finds what children of earlier ones ended with.
"""

import contextlib
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

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
#: The stream that is recorded: what is published, or, of a relay, what Wowza fetches.
SENT, RELAYED = application.STREAM, f"{application.STREAM}.stream"
#: The folder of a library that recordings come into, one folder for each channel.
FOLDER = "recordings"
FIRST_UID, LAST_UID = 200000, 299999
#: Seconds between two looks, and for which a file must have been left alone to be whole.
PAUSE, QUIET = 5.0, 10.0
#: So old is what Wowza did not finish and never will.
STALE = 86_400.0
MIB = 1024 * 1024
#: Seconds between two counts of what is kept, the share of time that they are to take, and the seconds between two at
#: most: whoever makes counts slow is counted all the same.
COUNT_SECONDS, SHARE, MOST_SECONDS = 60.0, 0.02, 900.0
#: Seconds that Wowza may take to say what it records.
ANSWER_SECONDS = 5.0
#: Seconds for which a channel has had no nDVR before its store is removed: its file may be away for a moment.
MISSING_SECONDS = 300.0
#: More files in a folder of recordings are as good as its limit: they are counted every time.
MOST_FILES = 5000
#: Bytes that are copied at once, and a second at least: what copies slower is ended, and begun again.
PIECE, LEAST_SPEED = MIB, 4 * MIB
#: Bytes that a copy leaves free in the library's file system, for all others who write there.
RESERVE = 512 * MIB
#: Seconds until a customer's copies are tried again after one that failed: of the first, and at most.
AGAIN, MOST_AGAIN = 5.0, 1800.0
#: Seconds that a child has for anything, and that one has which counts or removes.
PATIENCE, LONG_PATIENCE = 60.0, 600.0
#: Children of each kind at once, so that none waits for another kind: copies, counts of libraries, counts of nDVR, and
#: what puts aside and removes. Together below what the unit may have.
MOST = {"copy": 8, "count": 8, "measure": 6, "dvr": 6}

Answer = TypeVar("Answer")

FAULTS = (application.Refused, OSError, http.client.HTTPException, ValueError, KeyError, TypeError, IndexError)


class Child:
    """A process of this user that does ``work`` and says what it returns. It is never waited for.

    ``seconds``: what the work took, once the process has said so; what it may take, until then.
    """

    def __init__(self, uid: int, gid: int, work: "Callable[[], object]", patience: float) -> None:
        self._reading, writing = os.pipe()
        self._end, self._late, self.seconds = time.monotonic() + patience, False, patience
        self._pid = os.fork()
        if self._pid == 0:
            code, begun = 1, time.monotonic()

            def say(what: object) -> None:
                # Measured here: when its end is seen depends on all that a look does.
                os.write(writing, f"{time.monotonic() - begun:.3f} {what}".encode())

            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setresgid(gid, gid, gid)
                    os.setresuid(uid, uid, uid)
                os.umask(0o027)
                say(work())
                code = 0
            except BaseException as error:  # whatever it is, this process must not go on as the other does
                say(f"{error}"[:200])
            finally:
                os._exit(code)
        os.close(writing)
        os.set_blocking(self._reading, False)

    def said(self) -> "str | None":
        """What it says, once it has ended; None: it works. Raises OSError where it failed, or took too long."""
        gone, status = os.waitpid(self._pid, os.WNOHANG)
        if not gone:
            if time.monotonic() >= self._end:
                # Its own user may have stopped it.
                self._late = True
                with contextlib.suppress(OSError):
                    os.kill(self._pid, signal.SIGKILL)
            return None
        with os.fdopen(self._reading, "rb", buffering=0) as pipe:
            said = (pipe.read(65536) or b"").decode(errors="replace")
        if self._late:
            raise OSError("it took too long, and was ended")
        seconds, _blank, said = said.partition(" ")
        with contextlib.suppress(ValueError):
            # Nothing, where something else has ended it.
            self.seconds = float(seconds)
        if os.waitstatus_to_exitcode(status) != 0:
            raise OSError(said or "the process of the user has ended")
        return said


def as_customer(uid: int, work: "Callable[[], object]", patience: float = PATIENCE) -> Child:
    """A process of the customer's own user. Raises OSError, and ValueError for who is no customer."""
    if not FIRST_UID <= uid <= LAST_UID:
        raise ValueError(f"{uid} is no customer's number")
    return Child(uid, uid, work, patience)


def as_wowza(work: "Callable[[], object]") -> Child:
    """A process of Wowza's user, whose the store of nDVR is. Raises OSError, KeyError."""
    user = pwd.getpwnam(USER)
    return Child(user.pw_uid, user.pw_gid, work, LONG_PATIENCE)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed. Raises OSError for what cannot be looked into."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    total = 0
    for place, _folders, files in os.walk(folder, onerror=refuse):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(f"{place}/{name}").st_size
    return total


def remove(folder: Path) -> None:
    """All of a store, and the customer's folder with the last one."""
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def put_aside(folder: Path) -> Path:
    """Give a store another name, at once, so that what removes it cannot meet what begins in its place."""
    aside = aside_of(folder)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(aside)
    folder.rename(aside)
    return aside


def aside_of(folder: Path) -> Path:
    """The name under which a store is removed: none of a channel."""
    return folder.with_name(f".{folder.name}")


class Wowza:
    """Wowza's REST interface for one look: once it has not answered in time it is asked no more, for any channel."""

    def __init__(self) -> None:
        self._late = False

    def ask(self, method: str, path: str, body: "str | None" = None) -> "tuple[int, dict[str, object]]":
        """One request that takes it no time. Raises what is in FAULTS."""
        return self._unless_late(lambda: application.Rest(ANSWER_SECONDS).ask(method, path, body))

    def done(self, path: str) -> None:
        """An action, which may take its time. Raises what is in FAULTS."""
        self._unless_late(lambda: application.Rest().done(path))

    def _unless_late(self, request: "Callable[[], Answer]") -> "Answer":
        if not self._late:
            try:
                return request()
            except TimeoutError:
                self._late = True
        raise TimeoutError("Wowza does not answer in time")


def folder_of(uid: int, slug: str, make: bool = True) -> int:
    """The folder of a channel's recordings, open; made where it is missing. No link is followed. Raises OSError."""
    place = os.open(LIBRARIES / f"{uid}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    for name in (FOLDER, slug):
        with contextlib.suppress(FileExistsError):
            if make:
                os.mkdir(name, 0o750, dir_fd=place)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
        os.close(place)
        place = below
    return place


def counted(uid: int, slugs: "list[str]") -> "list[int]":
    """Bytes of the whole library, then of each channel's recordings in it. Raises OSError."""
    return [size_of(LIBRARIES / f"{uid}"), *(kept(uid, slug) for slug in slugs)]


def kept(uid: int, slug: str) -> int:
    """Bytes of a channel's recordings in the library. Raises OSError."""
    total = 0
    try:
        place = folder_of(uid, slug, make=False)
    except FileNotFoundError:
        return 0
    try:
        with os.scandir(place) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_FILES:
                    return sys.maxsize
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_size
    finally:
        os.close(place)
    return total


def give(uid: int, slug: str, path: Path) -> Child:
    """Have a recording copied into the library, whole or not at all. Raises OSError."""
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no file")
        # When it ended, in letters that channels on demand play.
        name = time.strftime("%Y-%m-%d_%H.%M.%S", time.gmtime(found.st_mtime)) + f"_{found.st_ino}.mp4"

        def copy() -> int:
            place, part = folder_of(uid, slug), f".{name}.part"
            there = os.fstatvfs(place)
            if there.f_bavail * there.f_frsize < found.st_size + RESERVE:
                raise OSError("the file system of media libraries has no room for it")
            # Whatever lies there, it is not written into.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=place)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_NONBLOCK
            target = os.open(part, flags, 0o640, dir_fd=place)
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

        return as_customer(uid, copy, PATIENCE + found.st_size / LEAST_SPEED)
    finally:
        os.close(source)


def wanted_of(slug: str) -> "dict[str, object]":
    """What a channel's file says; of one that has none any more, that it is not recorded. Raises FAULTS.

    Its recorder is to end then, whose stream only the channel's other files tell.
    """
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, object] = json.loads((INSTANCES / slug / "record.json").read_text())
        return found
    user = (UNITS / f"streamfleet-wowza@{slug}.service.d/10-user.conf").read_text()
    uid = int(re.findall(r"^User=sf([0-9]+)$", user, re.MULTILINE)[0])
    stream = RELAYED if (INSTANCES / slug / "relay.json").exists() else SENT
    return {"uid": uid, "quota_mb": 0, "running": False, "stream": stream}


def stream_of(wanted: "dict[str, object]") -> str:
    """The stream that is recorded, of a channel's file. Raises ValueError."""
    # A file of an earlier release does not say it: it is one of a channel that somebody publishes to.
    stream = wanted.get("stream", SENT)
    if stream not in (SENT, RELAYED):
        raise ValueError(f"{stream} is no stream of a channel")
    return str(stream)


def folders(place: Path) -> "list[tuple[int, Path]]":
    """Folders of channels below ``place``, each with the customer's number above it."""
    customers = [path for path in listed(place) if re.fullmatch(r"2[0-9]{5}", path.name)]
    found = [(int(customer.name), path) for customer in customers for path in listed(customer)]
    return sorted((uid, path) for uid, path in found if SLUG.fullmatch(path.name.removeprefix(".")))


def listed(place: Path) -> "list[Path]":
    """What is in this folder; nothing, where there is none. Raises OSError."""
    # A child may remove it meanwhile, which glob() of Debian 12's Python does not bear.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return list(place.iterdir())
    return []


def sizes_of(files: "Iterable[Path]") -> int:
    """Bytes of these files, of those that are there."""
    total = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


class Recordings:
    """What is done about every channel, and what has been said of it."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        #: What children do → the child, and what becomes of what it says.
        self._children: dict[
            tuple[str, object], tuple[Child, Callable[[str, float], None], Callable[[OSError, float], None]]
        ] = {}
        #: When what is kept of something is counted next.
        self._due: dict[object, float] = {}
        #: Customer → bytes of the whole library; channel → bytes of its recordings there; why there is no such number.
        self._library: dict[int, int] = {}
        self._kept: dict[tuple[int, str], int] = {}
        self._uncounted: dict[int, str] = {}
        #: Channel → bytes of what nDVR keeps.
        self._stored: dict[tuple[int, str], int] = {}
        #: Those whose last count failed.
        self._unmeasured: set[tuple[int, str]] = set()
        #: Those that were restarted since their store was put aside.
        self._anew: set[tuple[int, str]] = set()
        #: Stores of nDVR that no channel wants → since when.
        self._missing: dict[tuple[int, str], float] = {}
        #: Channel → why its last recording was not given away.
        self._not_given: dict[str, str] = {}
        #: Customer whose last copy failed → when another may begin, and the seconds after the next failure.
        self._again: dict[int, tuple[float, float]] = {}
        #: Customer → when a copy was last begun: whoever waits longest is next.
        self._copied: dict[int, float] = {}

    @property
    def busy(self) -> bool:
        """Whether a child works."""
        return bool(self._children)

    def say(self, slug: str, what: str) -> None:
        """Into the journal, once until something else is to be said."""
        if self._said.get(slug, "") != what:
            self._said[slug] = what
            print(f"{slug}: {what or 'goes on'}", flush=True)

    def look(self) -> None:
        """Once for all channels; what one of them fails at is none of the others'. Raises what is in FAULTS."""
        self.collect()
        names = {path.parent.name for path in INSTANCES.glob("*/record.json")}
        # Those that were recorded until now, too.
        names |= {path.name for _uid, path in folders(SPOOL) if (INSTANCES / path.name).is_dir()}
        wanted = {}
        for slug in sorted(names):
            try:
                wanted[slug] = wanted_of(slug)
            except FAULTS as error:
                self.say(slug, f"{error}")
        rest = Wowza()
        ready = []
        for slug, found in wanted.items():
            try:
                uid = int(str(found["uid"]))
                problem, files = self.channel(rest, slug, uid, found)
                ready += [(self._copied.get(uid, 0.0), uid, slug, file) for file in files]
                if not files:
                    self._not_given.pop(slug, None)
                self.say(slug, problem or self._not_given.get(slug, ""))
            except FAULTS as error:
                self.say(slug, f"{error}")
        stores = []
        for path in INSTANCES.glob("*/dvr.json"):
            slug = path.parent.name
            try:
                kept = json.loads(path.read_text())
                uid, quota = int(kept["uid"]), int(kept["quota_mb"]) * MIB
                stores.append((self._due.get((uid, slug), 0.0), slug, uid, quota))
            except FAULTS as error:
                self.say(f"{slug} (nDVR)", f"dvr.json cannot be read, so its store is kept: {error}")
        # Whichever waits longest is counted next, whatever its name is.
        for _due, slug, uid, quota in sorted(stores):
            try:
                self.limit(rest, slug, uid, quota)
            except FAULTS as error:
                self.say(f"{slug} (nDVR)", f"{error}")
        self.count(wanted)
        for _since, uid, slug, file in sorted(ready):
            if time.monotonic() >= self._again.get(uid, (0.0, 0.0))[0]:
                self.hand_over(uid, slug, file)
        self.sweep(wanted)

    def begin(
        self,
        key: "tuple[str, object]",
        start: "Callable[[], Child]",
        then: "Callable[[str, float], None]",
        failed: "Callable[[OSError, float], None]",
    ) -> bool:
        """Begin a child, unless there is one for this already, or enough of its kind. Raises OSError."""
        alike = sum(kind == key[0] for kind, _of in self._children)
        if key in self._children or alike >= MOST[key[0]]:
            return False
        self._children[key] = (start(), then, failed)
        return True

    def collect(self) -> None:
        """What children have ended with."""
        for key, (child, then, failed) in list(self._children.items()):
            try:
                said = child.said()
                if said is None:
                    continue
                then(said, child.seconds)
            except OSError as error:
                failed(error, child.seconds)
            except FAULTS as error:
                failed(OSError(f"{error}"), child.seconds)
            del self._children[key]

    def count(self, wanted: "dict[str, dict[str, object]]") -> None:
        """Have libraries counted, of those who are recorded, large ones more rarely: it takes little of the time."""
        channels: dict[int, list[str]] = {}
        for slug, found in wanted.items():
            if found["running"] is True:
                channels.setdefault(int(str(found["uid"])), []).append(slug)
        now = time.monotonic()
        for uid in sorted(channels, key=lambda uid: self._due.get(uid, 0.0)):
            new = any((uid, slug) not in self._kept for slug in channels[uid]) and uid not in self._uncounted
            if not new and now < self._due.get(uid, 0.0):
                continue
            slugs = channels[uid]

            def then(said: str, seconds: float, uid: int = uid, slugs: "list[str]" = slugs) -> None:
                total, *each = (int(number) for number in json.loads(said))
                self._library[uid] = total
                self._kept |= {(uid, slug): size for slug, size in zip(slugs, each, strict=True)}
                self._uncounted.pop(uid, None)
                self.next_count(uid, now, seconds)

            def failed(error: OSError, seconds: float, uid: int = uid) -> None:
                # Whoever could keep it from being counted would have no limit.
                self._uncounted[uid] = f"{error}"
                self.next_count(uid, now, seconds)

            start = partial(as_customer, uid, partial(counted, uid, slugs), LONG_PATIENCE)
            try:
                self.begin(("count", uid), start, then, failed)
            except (OSError, ValueError) as error:
                failed(OSError(f"{error}"), 0.0)

    def next_count(self, key: object, begun: float, seconds: float) -> None:
        """When to count again, after one that was begun then and took so long."""
        self._due[key] = begun + seconds + max(COUNT_SECONDS, min(seconds / SHARE, MOST_SECONDS))

    def hand_over(self, uid: int, slug: str, file: Path) -> None:
        """Have a recording copied to its customer, and remove it here when that is done. One at once of a customer."""

        def then(said: str, _seconds: float) -> None:
            file.unlink()
            self._not_given.pop(slug, None)
            self._again.pop(uid, None)
            # Until it is counted again.
            size = int(said)
            self._library[uid] = self._library.get(uid, 0) + size
            if (uid, slug) in self._kept:
                self._kept[uid, slug] += size

        def failed(error: OSError, _seconds: float) -> None:
            self._not_given[slug] = f"{file.name}: {error}"
            pause = self._again.get(uid, (0.0, AGAIN))[1]
            self._again[uid] = (time.monotonic() + pause, min(2 * pause, MOST_AGAIN))

        try:
            if self.begin(("copy", uid), partial(give, uid, slug, file), then, failed):
                self._copied[uid] = time.monotonic()
        except (OSError, ValueError) as error:
            failed(OSError(f"{error}"), 0.0)

    def limit(self, rest: Wowza, slug: str, uid: int, quota: int) -> None:
        """Have nDVR begin anew where a channel has more than it may. Raises what is in FAULTS."""
        folder, key, now = DVR / f"{uid}" / slug, (uid, slug), time.monotonic()
        if ("dvr", key) in self._children or ("measure", key) in self._children:
            return
        if not aside_of(folder).is_dir():
            self._anew.discard(key)
            if self._stored.get(key, -1) < quota:
                if now >= self._due.get(key, 0.0) and folder.is_dir():
                    self.measure(slug, key, folder, now)
            # At once: from now on nothing of what begins anew is removed.
            elif self.child_of_dvr(slug, key, partial(put_aside, folder)):
                # What comes next is counted; until there is a place for this, it is not forgotten.
                del self._stored[key]
            return
        # Wowza has what it knows of its store in memory, until the stream has gone. Once, whatever becomes of what is
        # aside.
        if key not in self._anew:
            with contextlib.suppress(ConnectionRefusedError):
                rest.done(f"/{slug}/actions/restart")
            self._anew.add(key)
            print(f"{slug}: what nDVR keeps has reached disk_quota_mb: it begins anew", flush=True)
        self.child_of_dvr(slug, key, partial(remove, aside_of(folder)))

    def measure(self, slug: str, key: "tuple[int, str]", folder: Path, now: float) -> None:
        """Have a store of nDVR counted. One that cannot be, twice in a row, has reached its limit. Raises KeyError."""

        def then(said: str, seconds: float) -> None:
            self._stored[key] = int(said)
            self._unmeasured.discard(key)
            self.say(f"{slug} (nDVR)", "")
            self.next_count(key, now, seconds)

        def failed(error: OSError, seconds: float) -> None:
            self.say(f"{slug} (nDVR)", f"its store cannot be counted: {error}")
            self.next_count(key, now, seconds)
            # Whoever could keep it from being counted would have no limit; but what failed once may have been chance.
            if key in self._unmeasured:
                self._stored[key] = sys.maxsize
            self._unmeasured ^= {key}

        try:
            self.begin(("measure", key), partial(as_wowza, partial(size_of, folder)), then, failed)
        except OSError as error:
            # There was no process for it: that says nothing about the store.
            self.say(f"{slug} (nDVR)", f"{error}")
            self.next_count(key, now, 0.0)

    def child_of_dvr(self, slug: str, key: "tuple[int, str]", work: "Callable[[], object]") -> bool:
        """Have Wowza's own user put a store aside or remove it; whether it has begun. Raises OSError, KeyError."""
        return self.begin(
            ("dvr", key),
            partial(as_wowza, work),
            lambda _said, _seconds: None,
            lambda error, _seconds: self.say(f"{slug} (nDVR)", f"{error}"),
        )

    def channel(self, rest: Wowza, slug: str, uid: int, wanted: "dict[str, object]") -> "tuple[str, list[Path]]":
        """See to one channel; why it is not recorded now, if it should be, and its recordings that are whole."""
        base = f"/{slug}/instances/_definst_/streamrecorders"
        running, spool = wanted["running"] is True, SPOOL / f"{uid}" / slug
        stream = stream_of(wanted)
        status, found = 404, {}
        # What it has finished is given away while it does not run, too.
        with contextlib.suppress(ConnectionRefusedError):
            status, found = rest.ask("GET", f"{base}/{stream}")
        if status not in (200, 404):
            # A file that is being written could not be told from one that is whole.
            raise application.Refused(f"Wowza does not say whether it records: it answers {status}")
        asked, current = status == 200, str(found.get("currentFile") or "")
        if running:
            for place in (spool.parent, spool):
                place.mkdir(mode=0o770, exist_ok=True)
        here = listed(spool)
        problem, known = self.reached(slug, uid, wanted, here) if running else ("", True)
        # One that writes for whoever had the name before goes, too.
        if asked and (problem or not running or found.get("outputPath", f"{spool}") != f"{spool}"):
            rest.done(f"{base}/{stream}/actions/stopRecording")
        elif running and known and not asked and not problem:
            with contextlib.suppress(ConnectionRefusedError):
                self.start(rest, slug, spool, wanted)
        ready = []
        for file in here:
            with contextlib.suppress(FileNotFoundError):
                age, done = time.time() - file.lstat().st_mtime, current not in (str(file), file.name)
                if file.suffix == ".mp4" and done and age > QUIET:
                    ready.append(file)
                elif done and age > STALE:
                    file.unlink()
        if not running and not here:
            for place in (spool, spool.parent):
                with contextlib.suppress(OSError):
                    place.rmdir()
        return problem, sorted(ready)

    def reached(self, slug: str, uid: int, wanted: "dict[str, object]", here: "list[Path]") -> "tuple[str, bool]":
        """Why a channel may have no more recordings, and whether its library has been counted at all."""
        if uid in self._uncounted:
            return f"its recordings cannot be counted: it is not recorded: {self._uncounted[uid]}", True
        spooled, kept = sizes_of(here), self._kept.get((uid, slug))
        if (kept or 0) + spooled >= int(str(wanted["quota_mb"])) * MIB:
            return "its recordings have reached disk_quota_mb: it is not recorded", True
        library = wanted.get("library_mb")
        waiting = sizes_of(file for spool in listed(SPOOL / f"{uid}") for file in listed(spool))
        if library is not None and self._library.get(uid, 0) + waiting >= int(str(library)) * MIB:
            return "the media library has reached the disk_quota_mb of its services: it is not recorded", True
        return "", kept is not None

    @staticmethod
    def start(rest: Wowza, slug: str, spool: Path, wanted: "dict[str, object]") -> None:
        """Have Wowza record the channel's stream, now or when it comes. Raises Refused, OSError, ValueError."""
        stream = stream_of(wanted)
        asked = {
            "instanceName": "_definst_",
            "recorderName": stream,
            # Sound alone has none, and would be waited for.
            "startOnKeyFrame": wanted.get("pictures") is not False,
            "outputPath": f"{spool}",
            "baseFile": f"{SENT}.mp4",
            "fileFormat": "MP4",
            "fileTemplate": "${BaseFileName}_${RecordingStartTime}_${SegmentNumber}",
            "segmentationType": "SegmentByDuration",
            "segmentDuration": int(str(wanted["minutes"])) * 60_000,
        }
        path = f"/{slug}/instances/_definst_/streamrecorders/{stream}"
        status, said = rest.ask("POST", path, json.dumps(asked))
        if status not in (200, 201) or said.get("success") is not True:
            raise application.Refused(f"Wowza does not record: {status}: {said.get('message') or 'without a reason'}")

    def sweep(self, wanted: "dict[str, dict[str, object]]") -> None:
        """Remove what is left of channels that have gone or are another customer's now, and of nDVR where it is off."""
        for uid, path in folders(SPOOL):
            slug = path.name
            there = (INSTANCES / slug).exists()
            if SLUG.fullmatch(slug) and (not there or (slug in wanted and wanted[slug]["uid"] != uid)):
                shutil.rmtree(path, ignore_errors=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()
        stores, now = folders(DVR), time.monotonic()
        keys = {(uid, path.name.removeprefix(".")) for uid, path in stores}
        self._missing = {key: since for key, since in self._missing.items() if key in keys}
        for uid, path in stores:
            slug = path.name.removeprefix(".")
            if self.wants_dvr(slug, uid):
                self._missing.pop((uid, slug), None)
                continue
            if now - self._missing.setdefault((uid, slug), now) < MISSING_SECONDS:
                continue
            # Aside first: where it is on again meanwhile, what begins then is left alone.
            folder = path.with_name(slug)
            work = partial(remove, path) if path != folder else partial(put_aside, folder)
            with contextlib.suppress(OSError, KeyError):
                self.child_of_dvr(slug, (uid, slug), work)

    def wants_dvr(self, slug: str, uid: int) -> bool:
        """Whether the channel is to keep this customer's store. Where that cannot be read, it is: a look says so."""
        try:
            return bool(int(json.loads((INSTANCES / slug / "dvr.json").read_text())["uid"]) == uid)
        except FileNotFoundError:
            return False
        except FAULTS:
            return True


def main() -> None:
    """For ever."""
    recordings = Recordings()
    while True:
        try:
            recordings.look()
        except FAULTS as error:
            print(f"{error}", file=sys.stderr, flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
