"""What a node answers when it is asked what is new on it: every line once, whatever tenants do with their files."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "roles" / "common" / "files" / "collect.py"
spec = importlib.util.spec_from_file_location("collect", PROGRAM)
assert spec is not None
assert spec.loader is not None
collect = importlib.util.module_from_spec(spec)
spec.loader.exec_module(collect)


@pytest.fixture
def services(tmp_path: Path) -> Path:
    folder = tmp_path / "services"
    for slug in ("rock", "jazz"):
        (folder / slug / "autodj").mkdir(parents=True)
    return folder


def played(services: Path, **more: object):
    path = f"{services}/{{slug}}/autodj/history.jsonl"
    return {"played": collect.Feed({"kind": "lines", "path": path, "older": 2, **more})}


def add(services: Path, slug: str, *numbers: int) -> Path:
    path = services / slug / "autodj" / "history.jsonl"
    with path.open("a") as stream:
        stream.writelines(json.dumps({"n": number}) + "\n" for number in numbers)
    return path


def rotate(path: Path) -> None:
    if path.with_name("history.1.jsonl").exists():
        path.with_name("history.1.jsonl").rename(path.with_name("history.2.jsonl"))
    path.rename(path.with_name("history.1.jsonl"))


class Reader:
    """Asks again and again, as the worker does."""

    def __init__(self, feeds) -> None:
        self.feeds = feeds
        self.cursors = {name: {} for name in feeds}

    def ask(self, name: str = "played") -> dict[str, list]:
        answer = json.loads(json.dumps(collect.collect(self.feeds, self.cursors)))
        self.cursors = {name: feed["cursors"] for name, feed in answer["feeds"].items()}
        self.more = answer["more"]
        found: dict[str, list] = {}
        for slug, item in answer["feeds"][name]["items"]:
            found.setdefault(slug, []).append(item.get("n", item))
        return found


def test_every_line_comes_once(services):
    reader = Reader(played(services))
    add(services, "rock", 1, 2)
    add(services, "jazz", 7)
    assert reader.ask() == {"rock": [1, 2], "jazz": [7]}
    assert reader.ask() == {}
    add(services, "rock", 3)
    assert reader.ask() == {"rock": [3]}


def test_a_line_that_is_being_written_waits(services):
    reader = Reader(played(services))
    path = add(services, "rock", 1)
    with path.open("a") as stream:
        stream.write('{"n": 2')
    assert reader.ask() == {"rock": [1]}
    with path.open("a") as stream:
        stream.write("}\n")
    assert reader.ask() == {"rock": [2]}


def test_what_was_rotated_away_meanwhile_is_read_first(services):
    reader = Reader(played(services))
    path = add(services, "rock", 1, 2)
    reader.ask()
    add(services, "rock", 3)
    rotate(path)
    add(services, "rock", 4)
    rotate(path)
    add(services, "rock", 5)
    assert reader.ask() == {"rock": [3, 4, 5]}
    rotate(path)
    assert reader.ask() == {}


def test_without_a_cursor_only_the_end_is_read_where_the_feed_says_so(services):
    path = add(services, "rock", 1, 2)
    rotate(path)
    add(services, "rock", *range(10, 20))
    size = len(json.dumps({"n": 10})) + 1
    assert Reader(played(services, first_bytes=3 * size)).ask() == {"rock": [17, 18, 19]}
    assert Reader(played(services, first_bytes=3 * size + 2)).ask() == {"rock": [17, 18, 19]}
    assert Reader(played(services, first_bytes=10_000)).ask() == {"rock": list(range(10, 20))}
    assert Reader(played(services)).ask() == {"rock": [1, 2, *range(10, 20)]}


def test_what_is_no_object_and_what_is_too_long_is_passed_over(services):
    reader = Reader(played(services))
    path = add(services, "rock", 1)
    with path.open("ab") as stream:
        stream.write(b'[1]\n\xff\xfe\nnull\n"x"\n' + b"[" * 5000 + b"\n" + b'{"n": "' + b"x" * 100_000 + b'"}\n')
    add(services, "rock", 2)
    assert reader.ask() == {"rock": [1, 2]}


@pytest.mark.parametrize(
    "bad",
    [
        *(b'{"n": %s}' % number for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"[-1e999]")),
        *(b'{"n": ' + b"[" * deep + b"]" * deep + b"}" for deep in (8, 90, 983, 1000, 4000)),
        b'{"n": ' * 1000 + b"1" + b"}" * 1000,
    ],
)
def test_one_line_that_no_reader_would_take_costs_that_line(services, monkeypatch, capsys, tmp_path, bad):
    path = add(services, "rock", 1)
    with path.open("ab") as stream:
        stream.write(bad + b"\n")
    add(services, "rock", 2)
    (services / "jazz" / "autodj" / "live.json").write_bytes(bad)
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    for name, feed in (
        ("played", {"kind": "lines", "path": f"{services}/{{slug}}/autodj/history.jsonl"}),
        ("air", {"kind": "state", "path": f"{services}/{{slug}}/autodj/live.json"}),
    ):
        (feeds / f"{name}.json").write_text(json.dumps(feed))
    monkeypatch.setattr(collect, "FEEDS", feeds)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"cursors": {}}')))
    assert collect.main() == 0
    said = capsys.readouterr().out
    assert said.endswith("}\n")
    assert said.count("\n") == 1
    answer = json.loads(said)["feeds"]
    assert answer["played"]["items"] == [["rock", {"n": 1}], ["rock", {"n": 2}]]
    assert answer["air"]["items"] == []
    assert set(answer["air"]["cursors"]) == {"jazz"}


def test_what_roles_write_is_flat_enough(services):
    path = services / "rock" / "autodj" / "history.jsonl"
    line = {"title": "[" * 100 + "{" * 100, "connected": [{"a": [{}]}] * 50}
    path.write_text(json.dumps(line) + "\n")
    assert Reader(played(services)).ask() == {"rock": [line]}


def test_nothing_is_written_before_all_of_it_can_be(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(collect, "FEEDS", tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"cursors": {}}')))
    monkeypatch.setattr(collect, "collect", lambda *_args: {"feeds": "secret", "more": float("nan")})
    assert collect.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "secret" not in said.err


def test_a_file_that_cannot_be_read_is_in_no_others_way(services, monkeypatch):
    reader = Reader(played(services))
    for slug in ("rock", "jazz"):
        add(services, slug, 1)
    reader.ask()
    for slug in ("rock", "jazz"):
        add(services, slug, 2)
    lines = collect.read_lines

    def broken(feed, slug: str, *rest: object):
        if slug == "rock":
            raise OSError(5, "Input/output error")
        return lines(feed, slug, *rest)

    monkeypatch.setitem(collect.READERS, "lines", broken)
    assert reader.ask() == {"jazz": [2]}
    monkeypatch.setitem(collect.READERS, "lines", lines)
    assert reader.ask() == {"rock": [2]}


def reused(reader: Reader, path: Path) -> None:
    """The file gets the inode of the one that was read last, as file systems do once that one has gone."""
    reader.cursors["played"]["rock"][0] = path.stat().st_ino


@pytest.mark.parametrize("first_bytes", [None, 10])
@pytest.mark.parametrize("longer", [True, False])
def test_an_inode_that_is_used_again_is_another_file(services, first_bytes, longer):
    reader = Reader(played(services, first_bytes=first_bytes))
    path = add(services, "rock", *range(100, 120))
    reader.ask()
    path.unlink()
    rotate(add(services, "rock", 1, 2))
    new = list(range(200, 240 if longer else 210))
    add(services, "rock", *new)
    reused(reader, path)
    assert reader.ask() == {"rock": [1, 2, *new]}
    assert reader.ask() == {}


def test_a_short_file_that_grows_stays_the_same(services):
    reader = Reader(played(services))
    for number in range(200):
        add(services, "rock", number)
        assert reader.ask() == {"rock": [number]}


def test_a_cursor_of_an_earlier_release_is_gone_on_from(services):
    reader = Reader(played(services))
    path = add(services, "rock", 1, 2)
    reader.cursors["played"]["rock"] = [path.stat().st_ino, path.stat().st_size]
    add(services, "rock", 3)
    assert reader.ask() == {"rock": [3]}
    assert len(reader.cursors["played"]["rock"]) == 3


def test_a_tenant_gets_so_much_room_and_no_more(services, monkeypatch):
    monkeypatch.setattr(collect, "MOST_LINES_EACH", 3)
    reader = Reader(played(services))
    add(services, "rock", *range(7))
    add(services, "jazz", 1)
    assert [reader.ask() for _turn in range(4)] == [
        {"rock": [0, 1, 2], "jazz": [1]},
        {"rock": [3, 4, 5]},
        {"rock": [6]},
        {},
    ]
    assert not reader.more


def test_an_answer_is_bounded_and_says_that_there_is_more(services, monkeypatch):
    monkeypatch.setattr(collect, "MOST_LINES", 4)
    reader = Reader(played(services))
    add(services, "rock", *range(5))
    add(services, "jazz", *range(5))
    seen: dict[str, list] = {"rock": [], "jazz": []}
    turns = 0
    while True:
        for slug, items in reader.ask().items():
            seen[slug] += items
        turns += 1
        if not reader.more:
            break
    assert seen == {"rock": list(range(5)), "jazz": list(range(5))}
    assert turns == 3


def test_no_link_of_a_tenant_is_followed(services, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('{"n": "secret"}\n')
    (services / "rock" / "autodj" / "history.jsonl").symlink_to(secret)
    (services / "jazz" / "autodj").rmdir()
    (services / "jazz" / "autodj").symlink_to(services / "rock" / "autodj")
    (services / "blues" / "autodj").mkdir(parents=True)
    os.link(secret, services / "blues" / "autodj" / "history.jsonl")
    (services / "folk" / "autodj" / "history.jsonl").mkdir(parents=True)
    (services / "punk" / "autodj").mkdir(parents=True)
    os.mkfifo(services / "punk" / "autodj" / "history.jsonl")
    assert Reader(played(services)).ask() == {}


def test_a_file_of_somebody_else_in_a_tenants_folder_is_not_read(services):
    if os.getuid():
        pytest.skip("only root can give files away")
    os.chown(add(services, "rock", 1), 200001, 200001)
    assert Reader(played(services)).ask() == {}
    os.chown(services / "rock" / "autodj", 200001, 200001)
    assert Reader(played(services)).ask() == {"rock": [1]}


def test_a_state_is_told_when_it_changes(services):
    feed = collect.Feed({"kind": "state", "path": f"{services}/{{slug}}/live.json"})
    reader = Reader({"air": feed})
    assert reader.ask("air") == {}
    (services / "rock" / "live.json").write_text('{"on_air": "anna"}')
    assert reader.ask("air") == {"rock": [{"on_air": "anna"}]}
    assert reader.ask("air") == {}
    new = services / "rock" / "new"
    new.write_text('{"on_air": null}')
    new.replace(services / "rock" / "live.json")
    assert reader.ask("air") == {"rock": [{"on_air": None}]}
    (services / "rock" / "live.json").write_text('{"x": "' + "y" * collect.LARGEST_STATE + '"}')
    assert reader.ask("air") == {}


def test_a_feed_of_the_node_itself(tmp_path):
    path = tmp_path / "sessions.jsonl"
    path.write_text('{"n": 1}\n{"n": 2}\n')
    reader = Reader({"sessions": collect.Feed({"kind": "lines", "path": str(path), "older": 1})})
    assert reader.ask("sessions") == {"": [1, 2]}
    path.rename(tmp_path / "sessions.1.jsonl")
    path.write_text('{"n": 3}\n')
    assert reader.ask("sessions") == {"": [3]}


def test_a_cursor_that_makes_no_sense_is_none(services):
    add(services, "rock", 1)
    for cursor in (None, 7, "x", [], [1], ["a", "b"], {}, [1, 2, 3], [True, 0], [1, -1, "x"]):
        answer = collect.collect(played(services), {"played": {"rock": cursor}})
        assert answer["feeds"]["played"]["items"] == [["rock", {"n": 1}]]
    assert collect.collect(played(services), {"played": [1]})["feeds"]["played"]["items"]


def test_the_program_itself(tmp_path):
    """As the worker starts it, with nothing declared on this host; then with what is no question."""
    argv = [sys.executable, "-I", str(PROGRAM)]
    done = subprocess.run(argv, input=b'{"cursors": {}}', capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["schema"]) == (0, 1)
    done = subprocess.run(argv, input=b"[]", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_declaration_that_is_none_is_named(tmp_path):
    (tmp_path / "played.json").write_text('{"kind": "lines"}')
    with pytest.raises(ValueError, match=r"played\.json declares no feed"):
        collect.feeds_of(tmp_path)


def test_states_take_no_room_of_lines(services, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MOST_LINES", 2)
    state = tmp_path / "state.json"
    state.write_text('{"n": 0}')
    add(services, "rock", 1, 2)
    # In the order of names, the state comes first.
    reader = Reader({"air": collect.Feed({"kind": "state", "path": str(state)}), **played(services)})
    assert reader.ask() == {"rock": [1, 2]}
    assert reader.more
    assert reader.ask("air") == {"": [0]}
