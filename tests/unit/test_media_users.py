"""Log-ins for media as ProFTPD reads them, and what an apply does with them on a node."""

from __future__ import annotations

import errno
import importlib.util
import json
import math
import os
import signal as signals
import struct
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from streamfleet import media_users
from streamfleet.media_users import MediaUser
from streamfleet.node_apply import apply as module
from streamfleet.node_apply.host import send_signal
from streamfleet.node_apply.payload import decode, encode
from streamfleet.node_apply.run import Options

from tests.doubles.node import NodeDouble
from tests.doubles.panel import media_user

ROOT = Path(__file__).resolve().parents[2]
HASH = "$y$j9T$0123456789abcdef$0123456789abcdef0123456789abcdef"
OTHER = HASH.replace("j9T$0", "j9T$1")
FOLDER = "etc/streamfleet/file-transfer"
READERS = 990


def all_of(data: list[dict[str, Any]]) -> list[MediaUser]:
    """Log-ins that are all good."""
    users, faults = media_users.all_of(data)
    assert faults == []
    return users


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_log_in_stands_where_it_may_come_in() -> None:
    users = all_of(
        [
            media_user("bob.x", 200002, HASH, protocols=["sftp"], disk_quota_mb=3),
            media_user("alice.b", 200001, HASH, read_only=True),
            media_user("alice.a", 200001, OTHER, protocols=["ftps"]),
        ]
    )
    home = "/var/lib/streamfleet/media/200001:/usr/sbin/nologin\n"
    assert media_users.passwd(users, "ftps") == (
        f"alice.a:{OTHER}:200001:200001::{home}alice.b:{HASH}:200001:200001::{home}"
    )
    assert [line.split(":")[0] for line in media_users.passwd(users, "sftp").splitlines()] == ["alice.b", "bob.x"]
    assert media_users.groups(users, READERS) == (
        "sf200001:x:200001:\nsf200002:x:200002:\nstreamfleet-transfer-ro:x:990:alice.b\n"
    )


def test_limits_are_what_proftpd_reads() -> None:
    """The layout of mod_quotatab_file: a number, then records of 126 bytes, the name in 81 of them."""
    users = all_of([media_user("alice.a", 200001, HASH, disk_quota_mb=3), media_user("bob.x", 200002, HASH)])
    raw = media_users.limits(users)
    assert raw[:4] == b"\x26\x76\x00\x00"
    assert len(raw) == 4 + 2 * 126
    first, second = raw[4:130], raw[130:]
    assert first[:81].rstrip(b"\0") == b"sf200001"
    assert struct.unpack("<iBi", first[81:90]) == (30, 0, 1)  # a group's, not per session, hard
    assert struct.unpack("<3d3I", first[90:]) == (3 * 1024 * 1024, 0, 0, 200_000, 0, 0)
    assert struct.unpack("<d", second[90:98]) == (0.0,)  # ProFTPD's word for unlimited
    nothing = media_users.limits(all_of([media_user("alice.a", 200001, HASH, disk_quota_mb=0)]))
    assert struct.unpack("<d", nothing[94:102])[0] > 0


@pytest.mark.parametrize(
    ("login", "changes"),
    [
        ("alice", {}),
        ("alice.a:x", {}),
        ("alice.a\nroot", {}),
        ("alice.a,bob", {}),
        ("alice.a b", {}),
        (".a", {}),
        ("alice.a", {"password": "secret"}),
        ("alice.a", {"password": f"{HASH}:0:0"}),
        ("alice.a", {"password": f"{HASH}\nroot"}),
        ("alice.a", {"password": ""}),
        ("alice.a", {"uid": 0}),
        ("alice.a", {"uid": "200001"}),
        ("alice.a", {"protocols": ["ftp"]}),
        ("alice.a", {"disk_quota_mb": -1}),
    ],
)
def test_what_would_mean_something_else_is_refused(login: str, changes: dict[str, Any]) -> None:
    good = media_user("bob.x", 200002, HASH)
    users, [fault] = media_users.all_of([media_user(login, 200001, HASH, **changes), good])
    assert [user.login for user in users] == ["bob.x"]
    assert repr(login)[1:-1] in fault
    assert HASH not in fault


def test_one_log_in_cannot_be_two_customers() -> None:
    three = [("alice.a", 200001), ("alice.a", 200002), ("bob.x", 200002)]
    users, faults = media_users.all_of([media_user(login, uid, HASH) for login, uid in three])
    assert [user.login for user in users] == ["bob.x"]
    assert faults == ["log-in alice.a: is in the document twice"]
    assert media_users.all_of(["alice.a"])[1] == ["a log-in of the node document is of type str, not a mapping"]  # type: ignore[list-item]


# --- on a node --------------------------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> NodeDouble:
    """A node with the role file_transfer."""
    double = NodeDouble(tmp_path)
    (double.root / FOLDER).mkdir(parents=True)
    (double.root / "var/lib/streamfleet/media").mkdir(parents=True, exist_ok=True)
    with (double.root / "etc/group").open("a") as stream:
        stream.write(f"streamfleet-transfer-ro:x:{READERS}:\n")
    return double


def apply(node: NodeDouble, generation: int, *users: dict[str, Any], **options: Any) -> dict[str, Any]:
    whole = {"epoch": "e", "generation": generation, "services": [], "failed": {}, "media_users": list(users)}
    host = options.pop("host", None) or node.host()
    return module.apply(host, decode(encode(whole)), Options(**options))


def session(node: NodeDouble, pid: int, title: str, unit: str = "streamfleet-file-transfer.service") -> None:
    """A process of the node."""
    folder = node.root / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(title.encode() + b"\0")
    (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n")


def signalled(node: NodeDouble, **more: Any) -> tuple[Any, list[int]]:
    """A host that notes whom it signals."""
    told: list[int] = []

    def signal(pid: int, _number: int, is_meant: Callable[[], bool]) -> None:
        if is_meant():
            told.append(pid)

    return node.host(signal=signal, **more), told


def test_log_ins_are_written_once_with_user_and_library(node: NodeDouble) -> None:
    alice = media_user("alice.a", 200001, HASH)
    predicted = apply(node, 1, alice, check=True, diff=True)
    assert predicted["changed"]
    assert HASH not in json.dumps(predicted)
    assert list((node.root / FOLDER).iterdir()) == []
    assert apply(node, 1, alice)["changed"]
    for name in ("users-ftps", "users-sftp", "groups", "limits"):
        assert (node.root / FOLDER / name).stat().st_mode & 0o777 == 0o600
    assert "alice.a" in (node.root / FOLDER / "users-sftp").read_text()
    assert (node.root / "var/lib/streamfleet/media/200001").is_dir()
    assert "sf200001" in (node.root / "etc/passwd").read_text()
    assert not apply(node, 1, alice)["changed"]


def test_a_node_without_the_role_is_left_alone(tmp_path: Path) -> None:
    double = NodeDouble(tmp_path)
    apply(double, 1)
    assert not apply(double, 2, media_user("alice.a", 200001, HASH))["changed"]
    assert not (double.root / FOLDER).exists()


def test_who_is_changed_or_gone_is_sent_away_and_nobody_else(node: NodeDouble) -> None:
    everybody = [media_user(f"{name}.x", 200001 + n, HASH) for n, name in enumerate(["a", "b", "c", "d", "e"])]
    apply(node, 1, *everybody)
    titles = ["a.x", "b.x", "c.x", "d.x", "e.x"]
    for pid, login in enumerate(titles, 100):
        session(node, pid, f"proftpd: {login} - 192.0.2.1: STOR a - b")
    session(node, 200, "proftpd: (accepting connections)")
    session(node, 201, "proftpd: b.x - forged", "streamfleet-icecast@evil.service")
    session(node, 202, "sh -c proftpd: b.x - forged")
    host, told = signalled(node)
    new = [
        everybody[0],
        {**everybody[2], "password": OTHER},
        {**everybody[3], "read_only": True},
        {**everybody[4], "protocols": ["ftps"]},
        media_user("new.x", 200009, HASH),
    ]
    assert apply(node, 2, *new, host=host)["changed"]
    assert sorted(told) == [101, 102, 103, 104]


def test_a_run_that_is_killed_before_it_sends_away_is_finished_by_the_next(node: NodeDouble) -> None:
    alice, bob = media_user("alice.a", 200001, HASH), media_user("bob.x", 200002, HASH)
    apply(node, 1, alice, bob)
    session(node, 100, "proftpd: alice.a - 192.0.2.1: IDLE")

    class KilledError(Exception):
        pass

    def stop(name: str) -> None:
        if name == "transfer":
            raise KilledError

    host, told = signalled(node, checkpoint=stop)
    changed = media_user("alice.a", 200001, OTHER)
    with pytest.raises(KilledError):
        apply(node, 2, changed, bob, host=host)
    assert told == []
    host, told = signalled(node)
    assert apply(node, 2, changed, bob, host=host)["changed"]
    assert told == [100]
    host, told = signalled(node)
    assert not apply(node, 2, changed, bob, host=host)["changed"]
    assert told == []


def test_a_faulty_log_in_is_named_and_left_out_and_the_others_are_applied(node: NodeDouble) -> None:
    alice, bob = media_user("alice.a", 200001, HASH), media_user("bob.x", 200002, HASH)
    apply(node, 1, alice, bob)
    result = apply(node, 2, {**alice, "password": "plain"}, {**bob, "password": OTHER})
    assert result["changed"]
    (warning,) = [text for text in result["warnings"] if "log-in" in text]
    assert warning.startswith("log-in alice.a: password is not a hash of crypt(5); nobody can log in with it")
    assert (node.root / FOLDER / "users-sftp").read_text().split(":")[:2] == ["bob.x", OTHER]
    assert not apply(node, 2, {**alice, "password": "plain"}, {**bob, "password": OTHER})["changed"]


def test_a_log_in_whose_number_is_another_users_is_left_out_alone(node: NodeDouble) -> None:
    with (node.root / "etc/passwd").open("a") as stream:
        stream.write("dora:x:200003:200003::/home/dora:/bin/sh\n")
    result = apply(node, 1, media_user("alice.a", 200001, HASH), media_user("carol.c", 200003, HASH))
    assert "log-in carol.c: uid 200003 belongs to user dora of this node" in " ".join(result["warnings"])
    assert (node.root / FOLDER / "users-sftp").read_text().startswith("alice.a:")
    assert "carol" not in (node.root / FOLDER / "users-sftp").read_text()


@pytest.mark.parametrize("said", [{}, {"media_users": None}, {"media_users": {}}])
def test_a_document_without_a_list_of_log_ins_takes_none_away(node: NodeDouble, said: dict[str, Any]) -> None:
    apply(node, 1, media_user("alice.a", 200001, HASH))
    session(node, 100, "proftpd: alice.a - 192.0.2.1: IDLE")
    before = (node.root / FOLDER / "users-sftp").read_text()
    host, told = signalled(node)
    payload = {"epoch": "e", "generation": 2, "services": [], "failed": {}, **said}
    result = module.apply(host, decode(encode(payload)), Options())
    assert not result["changed"]
    assert ("media_users is dict, not a list" in " ".join(result["warnings"])) == (said.get("media_users") == {})
    assert (node.root / FOLDER / "users-sftp").read_text() == before
    assert told == []
    # An empty list does.
    assert apply(node, 3, host=host)["changed"]
    assert told == [100]


def test_a_number_that_is_another_process_by_now_is_not_signalled(node: NodeDouble) -> None:
    apply(node, 1, media_user("alice.a", 200001, HASH))
    session(node, 100, "proftpd: alice.a - 192.0.2.1: IDLE")
    told: list[int] = []

    def signal(pid: int, _number: int, is_meant: Callable[[], bool]) -> None:
        (node.root / "proc" / str(pid) / "cmdline").write_bytes(b"proftpd: bob.x - 192.0.2.2: IDLE\0")
        if is_meant():
            told.append(pid)

    apply(node, 2, host=node.host(signal=signal))
    assert told == []


def test_a_process_is_held_while_it_is_asked_whether_it_is_the_one() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        send_signal(child.pid, signals.SIGTERM, lambda: False)
        assert child.poll() is None
        send_signal(child.pid, signals.SIGTERM, lambda: True)
        assert child.wait(10) == -signals.SIGTERM
    send_signal(child.pid, signals.SIGTERM, lambda: True)  # gone: nothing to do


# --- what ends uploads ------------------------------------------------------------------------------------------------


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with libraries and limits in a folder."""
    spec = importlib.util.spec_from_file_location("transfer_quota", ROOT / "roles/file_transfer/files/quota.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.setattr(program, "LIMITS", str(tmp_path / "limits"))
    monkeypatch.setattr(program, "LIBRARIES", str(tmp_path))
    return program


def table(path: Path, users: list[dict[str, Any]], **more: int) -> None:
    (path / "limits").write_bytes(media_users.limits(all_of(users), **more))


def watch_of(quota: ModuleType, writers: dict[int, list[int]], nameless: dict[int, list[int]] | None = None) -> Any:
    """A watch that sees these sessions write, and notes whom it ends."""
    see(quota, writers, nameless)
    ended: list[Any] = []

    def end_all(over: Any) -> int:
        ended.append(over)
        return len([pid for pid in over.pids if pid not in watch.gone])

    watch = quota.Watch(end_all)
    watch.ended, watch.gone = ended, set()
    return watch


def see(
    quota: ModuleType,
    writers: dict[int, list[int]],
    nameless: dict[int, list[int]] | None = None,
    idle: dict[int, list[int]] | None = None,
) -> None:
    """Let it find these sessions."""
    quota.sessions = lambda: quota.Sessions({**writers, **(idle or {})}, writers, nameless or {})


def over(watch: Any, now: float) -> tuple[dict[int, list[int]], list[int]]:
    """Sessions that end at once, and customers who are over."""
    at_once = watch.look(now)
    return at_once, counted(watch, 5)


def counted(watch: Any, seconds: float) -> list[int]:
    """Customers who are over, as found in that time."""
    before = len(watch.ended)
    watch.count(time.monotonic() + seconds)
    return [found.uid for found in watch.ended[before:]]


def test_it_reads_what_converge_writes(quota: ModuleType, tmp_path: Path) -> None:
    table(tmp_path, [media_user("alice.a", 200001, HASH, disk_quota_mb=3), media_user("bob.x", 200002, HASH)])
    assert quota.limits() == {200001: quota.Limit(3 * 1024 * 1024, 200_000), 200002: quota.Limit(math.inf, 200_000)}
    (tmp_path / "limits").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no table of limits"):
        quota.limits()


def test_the_node_says_how_many_files_and_directories_fit(node: NodeDouble) -> None:
    (node.root / FOLDER / "max-entries").write_text("5000\n")
    apply(node, 1, media_user("alice.a", 200001, HASH))
    raw = (node.root / FOLDER / "limits").read_bytes()
    assert struct.unpack("<3I", raw[118:130]) == (5000, 0, 0)


def test_it_counts_files_and_directories_and_follows_no_link(quota: ModuleType, tmp_path: Path) -> None:
    library = tmp_path / "200001"
    (library / "day" / "deep").mkdir(parents=True)
    (library / "a").write_bytes(bytes(1000))
    (library / "day" / "deep" / "b").write_bytes(bytes(500))
    (library / "out").symlink_to("/usr")
    (library / "day" / "loop").symlink_to(library)
    own = sum((library / path).lstat().st_size for path in ("day", "day/deep", "out", "day/loop"))
    count = quota.Count(200001, quota.Limit(math.inf, math.inf))
    assert count.go_on(5)
    assert (count.bytes, count.entries, count.full) == (1500 + own, 6, False)
    missing = quota.Count(200002, quota.Limit(math.inf, math.inf))
    assert missing.go_on(5)
    assert missing.entries == 0


def test_empty_directories_count(quota: ModuleType, tmp_path: Path) -> None:
    table(tmp_path, [media_user("a.x", 200001, HASH)], most_entries=1000)
    for number in range(1000):
        (tmp_path / "200001" / str(number)).mkdir(parents=True)
    watch = watch_of(quota, {200001: [11]})
    assert over(watch, 100.0) == ({}, [])
    (tmp_path / "200001" / "more").mkdir()
    assert over(watch, math.inf) == ({}, [200001])


def test_who_makes_directories_only_is_ended_once_they_become_more_than_too_many(
    quota: ModuleType, tmp_path: Path
) -> None:
    table(tmp_path, [media_user("a.x", 200001, HASH)], most_entries=1000)
    library = tmp_path / "200001"
    for number in range(1000):
        (library / str(number)).mkdir(parents=True)
    watch = watch_of(quota, {})
    see(quota, {}, idle={200001: [11]})
    assert over(watch, math.inf) == ({}, [])
    for name in ("more", "and-more"):
        (library / name).mkdir()
        # Who comes and finds too much, or removes some of it, is let be.
        expected = [] if name == "more" else [200001]
        assert over(watch, math.inf) == ({}, expected)
        assert over(watch, math.inf) == ({}, [])
    see(quota, {})
    over(watch, math.inf)
    (library / "after-another-log-in").mkdir()
    see(quota, {}, idle={200001: [12]})
    assert over(watch, math.inf) == ({}, [200001])
    for number in range(2):
        (library / str(number)).rmdir()
    assert over(watch, math.inf) == ({}, [])


def test_only_sessions_that_write_of_who_is_over_end(quota: ModuleType, tmp_path: Path) -> None:
    users = [media_user(f"{n}.x", uid, HASH, disk_quota_mb=1) for n, uid in (("a", 200001), ("b", 200002))]
    table(tmp_path, [*users, media_user("c.x", 200003, HASH)])
    for uid, size in ((200001, 2_000_000), (200002, 1000), (200003, 2_000_000)):
        (tmp_path / str(uid)).mkdir()
        (tmp_path / str(uid) / "f").write_bytes(bytes(size))
    watch = watch_of(quota, {200001: [11, 12], 200002: [21], 200003: [31]})
    assert over(watch, 100.0) == ({}, [200001])
    assert [(found.pids, found.writing) for found in watch.ended] == [([11, 12], True)]
    # A library is counted again when the time has come.
    watch._due[200001] = math.inf
    assert over(watch, 150.0) == ({}, [])
    # Who writes to a file that has no name any more ends at once, unless there is no limit.
    see(quota, {200002: [21, 22], 200003: [31]}, {200002: [22], 200003: [31]})
    assert over(watch, 150.0) == ({200002: [22]}, [])
    # What was counted while somebody was there is counted once more, and forgotten then.
    see(quota, {})
    watch.look(math.inf)
    assert set(watch._counts) == {200001, 200002, 200003}
    for _ in range(2):
        watch.count(time.monotonic() + 5)
        watch.look(math.inf)
    assert watch._due == watch._counts == {}


def test_a_library_that_cannot_be_counted_ends_its_own_uploads_only(
    quota: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path, [media_user(f"{n}.x", uid, HASH, disk_quota_mb=1) for n, uid in (("a", 200001), ("b", 200002))])
    (tmp_path / "200002").mkdir()
    (tmp_path / "200002" / "f").write_bytes(bytes(2_000_000))
    sizes = quota._sizes

    def too_deep(folder: str) -> Iterator[int]:
        if folder.endswith("200001"):
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        yield from sizes(folder)

    monkeypatch.setattr(quota, "_sizes", too_deep)
    assert over(watch_of(quota, {200001: [11], 200002: [21]}), 100.0) == ({}, [200001, 200002])


def test_a_library_that_takes_long_holds_up_no_other(
    quota: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one has no end: the second one is found to be over all the same, and the first is counted on."""
    table(tmp_path, [media_user(f"{n}.x", uid, HASH, disk_quota_mb=1) for n, uid in (("a", 200001), ("b", 200002))])
    (tmp_path / "200002").mkdir()
    (tmp_path / "200002" / "f").write_bytes(bytes(2_000_000))
    sizes = quota._sizes

    def endless(folder: str) -> Iterator[int]:
        if folder.endswith("200001"):
            while True:
                time.sleep(0.0001)
                yield 0
        yield from sizes(folder)

    monkeypatch.setattr(quota, "_sizes", endless)
    watch = watch_of(quota, {200001: [11], 200002: [21]})
    watch.look(100.0)
    assert counted(watch, 0.3) == [200002]
    before = watch._counts[200001].entries
    watch.look(101.0)
    assert counted(watch, 0.1) == []
    assert watch._counts[200001].entries > before > 0


def test_long_paths_take_no_memory(quota: ModuleType, tmp_path: Path) -> None:
    deep = tmp_path / "200001"
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    for _ in range(15):
        os.mkdir("x" * 240, dir_fd=here)
        below = os.open("x" * 240, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    for number in range(2000):
        os.mkdir(str(number), dir_fd=here)
    os.close(here)
    count = quota.Count(200001, quota.Limit(math.inf, math.inf))
    tracemalloc.start()
    try:
        assert count.go_on(60)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert count.entries == 2015


def test_a_library_with_too_many_levels_cannot_be_counted(quota: ModuleType, tmp_path: Path) -> None:
    """One folder is open for each level."""
    table(tmp_path, [media_user("a.x", 200001, HASH)])
    library = tmp_path / "200001"
    deepest = library.joinpath(*["d"] * (quota.MOST_DEEP - 1))
    deepest.mkdir(parents=True)
    watch = watch_of(quota, {}, {})
    see(quota, {}, idle={200001: [11]})
    assert over(watch, math.inf) == ({}, [])
    (deepest / "d").mkdir()
    opened = len(list(Path("/proc/self/fd").iterdir()))
    assert over(watch, math.inf) == ({}, [200001])
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def test_folders_of_so_many_libraries_only_are_open(
    quota: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever begins or ceases to write meanwhile; and they make way for others."""
    uids = range(200001, 200201)
    table(tmp_path, [media_user(f"a{uid}.x", uid, HASH) for uid in uids])
    opened: set[str] = set()
    going_on = True

    def endless(folder: str) -> Iterator[int]:
        opened.add(folder)
        while going_on:
            yield 0
        opened.discard(folder)

    monkeypatch.setattr(quota, "_sizes", endless)
    monkeypatch.setattr(quota, "TURN", 0.0001)
    watch = watch_of(quota, {})
    for first in range(200001, 200201, 20):
        see(quota, {uid: [1] for uid in uids if first <= uid < first + 20}, idle={uid: [1] for uid in uids})
        watch.look(100.0)
        watch.count(time.monotonic() + 0.1)
    assert quota.MOST_WRITING <= len(opened) <= quota.MOST_WRITING + quota.MOST_IDLE
    going_on = False
    watch.count(time.monotonic() + 10)
    assert opened == set()
    assert watch._counts == {}


def test_who_makes_directories_above_a_quota_of_bytes_is_ended(quota: ModuleType, tmp_path: Path) -> None:
    table(tmp_path, [media_user("a.x", 200001, HASH, disk_quota_mb=1)], most_entries=1000)
    library = tmp_path / "200001"
    library.mkdir()
    (library / "f").write_bytes(bytes(2_000_000))
    watch = watch_of(quota, {})
    see(quota, {}, idle={200001: [11]})
    assert over(watch, math.inf) == ({}, [])
    (library / "f").write_bytes(bytes(1_900_000))
    assert over(watch, math.inf) == ({}, [])
    (library / "g").write_bytes(bytes(5000))  # a directory, where one takes space
    assert over(watch, math.inf) == ({}, [200001])
    assert (watch.ended[-1].pids, watch.ended[-1].writing) == ([11], False)
    assert over(watch, math.inf) == ({}, [])


@pytest.fixture
def known(quota: ModuleType, tmp_path: Path) -> Any:
    """A watch that knows of a customer's 1,001 directories, one too many. Nobody is logged in."""
    table(tmp_path, [media_user("a.x", 200001, HASH)], most_entries=1000)
    for number in range(1001):
        (tmp_path / "200001" / str(number)).mkdir(parents=True)
    watch = watch_of(quota, {})
    see(quota, {}, idle={200001: [11]})
    assert over(watch, math.inf) == ({}, [])
    see(quota, {})
    assert over(watch, math.inf) == ({}, [])
    return watch


def test_what_a_short_session_makes_ends_the_next_one(quota: ModuleType, tmp_path: Path, known: Any) -> None:
    """It is over before all is counted."""
    see(quota, {}, idle={200001: [12]})
    known.look(math.inf)
    (tmp_path / "200001" / "more").mkdir()
    see(quota, {})
    assert over(known, math.inf) == ({}, [])
    see(quota, {}, idle={200001: [13]})
    known.look(0.0)
    known._counts.clear()  # at once, before anything is counted
    assert counted(known, 1) == [200001]
    assert known.ended[-1].pids == [13]
    # One session for what was made, and the next is let remove it.
    see(quota, {}, idle={200001: [14]})
    for _ in range(2):
        assert over(known, math.inf) == ({}, [])


def test_a_session_that_went_before_it_could_be_ended_is_made_up_for(
    quota: ModuleType, tmp_path: Path, known: Any
) -> None:
    see(quota, {}, idle={200001: [12]})
    (tmp_path / "200001" / "more").mkdir()
    known.gone.add(12)
    assert over(known, math.inf)[1] == [200001]
    see(quota, {}, idle={200001: [13]})
    assert over(known, math.inf) == ({}, [200001])
    assert known.ended[-1].pids == [13]
    # Unless it is removed meanwhile.
    known.gone.add(13)
    (tmp_path / "200001" / "more-still").mkdir()
    assert over(known, math.inf)[1] == [200001]
    for name in ("more", "more-still"):
        (tmp_path / "200001" / name).rmdir()
    see(quota, {})
    assert over(known, math.inf) == ({}, [])
    see(quota, {}, idle={200001: [14]})
    assert over(known, math.inf) == ({}, [])


def test_who_comes_back_is_not_counted_earlier_and_who_is_gone_is_counted_once_more(
    quota: ModuleType, tmp_path: Path, known: Any
) -> None:
    known._due = {200001: 200.0}
    (tmp_path / "200001" / "more").mkdir()
    for now, idle in ((100.0, {200001: [12]}), (101.0, {}), (102.0, {200001: [13]}), (103.0, {}), (199.0, {})):
        see(quota, {}, idle=idle)
        assert over(known, now) == ({}, [])
        assert known._counts == {}
    assert over(known, 201.0) == ({}, [])
    see(quota, {}, idle={200001: [14]})
    assert over(known, 202.0) == ({}, [200001])


def test_who_has_written_and_only_deletes_is_not_ended(quota: ModuleType, tmp_path: Path) -> None:
    """What was counted while somebody wrote is counted to the end before anything is compared with it."""
    table(tmp_path, [media_user("a.x", 200001, HASH)], most_entries=100)
    library = tmp_path / "200001"
    for number in range(1000):
        (library / str(number)).mkdir(parents=True)
    watch = watch_of(quota, {200001: [11]})
    watch.look(math.inf)
    see(quota, {}, idle={200001: [11]})
    assert over(watch, math.inf) == ({}, [])
    for number in range(3):
        (library / str(number)).rmdir()
        assert over(watch, math.inf) == ({}, [])


def test_who_writes_and_makes_directories_in_another_session_is_ended_in_both(
    quota: ModuleType, tmp_path: Path, known: Any
) -> None:
    (tmp_path / "200001" / "more").mkdir()
    see(quota, {200001: [12]})
    quota.sessions = lambda: quota.Sessions({200001: [12, 13]}, {200001: [12]}, {})
    assert set(over(known, math.inf)[1]) == {200001}
    assert (known.ended[-1].pids, known.ended[-1].writing) == ([12, 13], False)


def test_who_writes_is_counted_before_who_does_not(
    quota: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody is kept from being counted for good."""
    uids = range(200001, 200031)
    table(tmp_path, [media_user(f"a{uid}.x", uid, HASH) for uid in uids])
    monkeypatch.setattr(quota, "_sizes", lambda _folder: iter(lambda: 0, 1))
    see(quota, {200030: [1]}, idle={uid: [1] for uid in uids})
    watch = quota.Watch(lambda _over: 1)
    watch.look(100.0)
    begun = time.monotonic()
    watch.count(begun + 0.5)
    assert time.monotonic() - begun < 0.8  # not a turn for each of them beyond it
    spent = {uid: count.spent for uid, count in watch._counts.items()}
    writer = spent.pop(200030)
    assert writer > 0.4
    assert 0 < sum(spent.values()) < writer / 2


def test_the_others_get_what_is_left(quota: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, [media_user(f"a{uid}.x", uid, HASH) for uid in range(200001, 200005)])
    (tmp_path / "200004").mkdir()
    sizes = quota._sizes

    def endless(folder: str) -> Iterator[int]:
        return sizes(folder) if folder.endswith("4") else iter(lambda: 0, 1)

    monkeypatch.setattr(quota, "_sizes", endless)
    see(quota, {200004: [1]}, idle={uid: [1] for uid in range(200001, 200004)})
    watch = quota.Watch(lambda _over: 1)
    watch.look(100.0)
    watch.count(time.monotonic() + 0.5)
    spent = [count.spent for count in watch._counts.values()]
    assert len(spent) == 3
    assert min(spent) > 0.05  # by turns


def test_it_ends_only_who_is_that_customers_session_and_writes(
    quota: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose number has become another's since it was looked at lives on."""
    owner: dict[str, int | None] = {"uid": 200002}
    writes: list[int] = [1]
    monkeypatch.setattr(quota, "customer_of", lambda _process: owner["uid"])
    monkeypatch.setattr(quota, "_written", lambda _process, _uid: writes)
    with subprocess.Popen(["sleep", "60"]) as child:
        assert not quota.end(child.pid, 200001)
        owner["uid"] = None
        assert not quota.end(child.pid, 200001)
        owner["uid"], writes = 200001, []
        assert not quota.end(child.pid, 200001)
        assert child.poll() is None
        writes = [1]
        assert quota.end(child.pid, 200001)
        assert child.wait(10) == -signals.SIGTERM
    assert not quota.end(child.pid, 200001)


def test_it_sees_who_writes(quota: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this very process: what it has open to write, and what only to read."""
    monkeypatch.setattr(quota, "FIRST_UID", os.getuid())
    monkeypatch.setattr(quota, "LAST_UID", os.getuid())
    path = tmp_path / "f"
    path.touch()
    assert quota._written(Path("/proc/self"), os.getuid() + 1) == []
    with path.open("w"):
        assert 1 in quota._written(Path("/proc/self"), os.getuid())
        path.unlink()
        assert 0 in quota._written(Path("/proc/self"), os.getuid())
        path.touch()
