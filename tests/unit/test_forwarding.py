"""A service that another node has by now: what converge makes of it, and the program that sends on what comes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from streamfleet import forwarding
from streamfleet.engine import RenderError

from action_plugins import streamfleet_converge as action
from tests.doubles.panel import autodj, document, station
from tests.ports import free_port

PROGRAM = Path(__file__).resolve().parents[2] / "roles/common/files/forward.py"
FORWARD = {"address": "192.0.2.7", "ports": [[8100, 9100], [8101, 9101]]}


def moved(**changes: Any) -> dict[str, Any]:
    return station("rock-fm", 200001, 8100, state="moved", forward=FORWARD, **changes)


def test_its_units_stop_its_ports_forward_and_its_web_addresses_stay() -> None:
    settings = {**station("rock-fm", 200001, 8100)["settings"], **autodj(), "live_port": 8101}
    instances, failed = action.render_all(document("n1", 1, moved(settings=settings, domains=["radio.example.com"])))
    assert failed == {}
    by_key = {instance["key"]: instance for instance in instances}
    assert {key: instance["state"] for key, instance in by_key.items()} == {
        "rock-fm": "moved",
        "rock-fm+autodj": "moved",
        "rock-fm+live": "moved",
        "rock-fm+forward": "running",
    }
    (route,) = [json.loads(file["content"]) for file in by_key["rock-fm"]["files"] if file["kind"] == "route"]
    assert (route["port"], route["elsewhere"]) == (8100, True)
    assert by_key["rock-fm"]["domains"] == ["radio.example.com"]
    (file,) = by_key["rock-fm+forward"]["files"]
    assert json.loads(file["content"]) == FORWARD
    assert (file["group"], file["mode"]) == ("streamfleet-forward", "0640")


def test_shoutcast_keeps_its_web_addresses_too() -> None:
    credentials = {"source_password": "sourcepassword", "admin_password": "adminpassword"}
    settings = {"streams": [{"id": 1, "name": "/stream"}], "song_history": 20}
    service = moved(engine="shoutcast2", settings=settings, credentials=credentials)
    instances, failed = action.render_all(document("n1", 1, service))
    assert failed == {}
    route = instances[0]["files"][-1]
    assert route["kind"] == "route"
    assert json.loads(route["content"])["elsewhere"] is True


def test_without_somewhere_to_go_nothing_is_forwarded() -> None:
    assert forwarding.instances({**moved(), "forward": None}) == []
    assert forwarding.instances({**moved(), "state": "running"}) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"address": ""}, "forward.address"),
        ({"address": "a b"}, "forward.address"),
        ({"ports": []}, "forward.ports"),
        ({"ports": [[80, 8100]]}, "forward.ports"),
        ({"ports": [[8100]]}, "forward.ports"),
        ({"ports": [[8100, True]]}, "forward.ports"),
    ],
)
def test_what_cannot_be_forwarded_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RenderError) as refused:
        forwarding.instances({**moved(), "forward": {**FORWARD, **change}})
    assert refused.value.field == field


def connected(port: int) -> socket.socket:
    """A connection, as soon as somebody listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=20)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_both_sides_get_every_byte_and_hear_the_end(tmp_path: Path) -> None:
    """A client says all it has to say, and is answered with as much afterwards."""
    sent, answer = bytes(range(256)) * 8192, bytes(reversed(range(256))) * 8192
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _address = server.accept()
            with link, link.makefile("rb") as stream:
                got.append(stream.read())
                link.sendall(answer)

        other = threading.Thread(target=serve, daemon=True)
        other.start()
        here = free_port()
        settings = tmp_path / "forward.json"
        settings.write_text(json.dumps({"address": "127.0.0.1", "ports": [[here, server.getsockname()[1]]]}))
        with subprocess.Popen([sys.executable, str(PROGRAM), str(settings)], stderr=subprocess.PIPE) as program:
            try:
                with connected(here) as link, link.makefile("rb") as stream:
                    link.sendall(sent)
                    link.shutdown(socket.SHUT_WR)
                    assert stream.read() == answer
                other.join(20)
                assert got == [sent]
                server.close()
                # Nobody is there any more: the client is told by the end, and the program goes on.
                with connected(here) as link:
                    assert link.recv(1) == b""
                assert program.poll() is None
            finally:
                program.terminate()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        settings = tmp_path / "forward.json"
        settings.write_text(json.dumps({"address": "127.0.0.1", "ports": [[taken.getsockname()[1], 9]]}))
        done = subprocess.run(
            [sys.executable, str(PROGRAM), str(settings)], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 1
    assert "address already in use" in done.stderr.lower()


def program() -> Any:
    spec = importlib.util.spec_from_file_location("forward_program", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_who_connects_faster_than_a_player_does_is_not_let_in() -> None:
    """Whoever guesses passwords comes again and again; the others are let in all the same."""
    forward, now = program(), [0.0]
    door = forward.Door(lambda: now[0])
    assert [door.lets("192.0.2.1") for _ in range(forward.BURST + 2)] == [True] * forward.BURST + [False] * 2
    assert door.lets("192.0.2.2")
    now[0] = 2 / forward.RATE
    assert [door.lets("192.0.2.1") for _ in range(3)] == [True, True, False]
    door.inside = forward.MOST
    assert not door.lets("192.0.2.3")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_web_server_comes_for_all_who_listen_by_it(address: str) -> None:
    forward = program()
    door = forward.Door(lambda: 0.0)
    assert all(door.lets(address) for _ in range(3 * forward.BURST))
    door.inside = forward.MOST
    assert not door.lets(address)


def test_no_more_addresses_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = program()
    monkeypatch.setattr(forward, "REMEMBERED", 3)
    door = forward.Door(lambda: 0.0)
    for number in range(9):
        assert door.lets(f"192.0.2.{number}")
    assert len(door._left) == 3


def test_whoever_is_not_let_in_is_cut_off() -> None:
    forward = program()
    door, here = forward.Door(), free_port()
    door.inside = forward.MOST

    async def come() -> bytes:
        async with await forward._listen(door, here, "127.0.0.1", 9):
            reader, writer = await asyncio.open_connection("127.0.0.1", here)
            try:
                return await asyncio.wait_for(reader.read(), 20)
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    assert asyncio.run(come()) == b""
    assert door.inside == forward.MOST


def test_a_client_that_stays_when_the_other_node_has_ended_holds_no_place() -> None:
    """The engine closes a connection on which nothing is said; the client does not."""
    forward = program()
    door, here = forward.Door(), free_port()

    async def engine(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"408")
        writer.close()

    async def come() -> bytes:
        there = await asyncio.start_server(engine, "127.0.0.1", 0)
        async with there, await forward._listen(door, here, "127.0.0.1", there.sockets[0].getsockname()[1]):
            reader, writer = await asyncio.open_connection("127.0.0.1", here)
            said = await asyncio.wait_for(reader.read(), 20)
            deadline = time.monotonic() + 20
            while door.inside:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            writer.close()
            return said

    assert asyncio.run(come()) == b"408"


def test_no_address_has_all_places() -> None:
    forward, now = program(), [0.0]
    door = forward.Door(lambda: now[0])
    with contextlib.ExitStack() as stack:
        for number in range(forward.EACH):
            now[0] += 1 / forward.RATE
            # Of IPv6 whoever has one address has them all.
            assert door.lets(f"2001:db8::{number:x}")
            stack.enter_context(door.place(f"2001:db8::{number:x}"))
        now[0] += 1000
        assert not door.lets("2001:db8::ffff")
        assert door.lets("2001:db8:0:1::1")
        assert door.lets("192.0.2.1")
    assert door.inside == 0
    assert door.lets("2001:db8::ffff")
