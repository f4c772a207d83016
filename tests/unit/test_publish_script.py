"""What the RTMP server's script answers: tickets of other nodes, and leases. Run by Node.js."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable
from streamfleet.engine import Instance, load_renderer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "roles/nginx_rtmp/files/publish.js"
#: The Node.js that drives the browser of the pages' tests.
NODE = compute_driver_executable()[0]
KEY = "k" * 24
TO = "rtmp://192.0.2.7:1935/live"
UNKNOWN = "refused: no such key"
#: Answers calls as the module makes them, one after the other.
CALLER = """\
import publish from './publish.mjs';
import fs from 'fs';
const answers = [];
for (const [handler, args] of JSON.parse(fs.readFileSync(0, 'utf8'))) {
    const r = {args: args, variables: {streamfleet_lease_ms: '11000', streamfleet_hls_max_bytes: '1000000'},
        return: (status, where) => answers.push([status, r.variables.streamfleet_result || '', where || ''])};
    publish[handler](r);
}
console.log(JSON.stringify(answers));
"""

render = load_renderer(ROOT, "nginx_rtmp")


class Server:
    """The script of one node, and its folders."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root / name, name
        self.keys, self.hls = self.root / "etc/streamfleet/publish-keys", self.root / "run/streamfleet/hls"
        self.live, self.clients = (self.root / "run/streamfleet-rtmp" / part for part in ("live", "clients"))
        for folder in (self.keys, self.hls, self.live, self.clients):
            folder.mkdir(parents=True)
        self.started(3600)
        text = SCRIPT.read_text()
        for place in ("/etc/streamfleet/", "/run/streamfleet"):
            assert f"'{place}" in text
            text = text.replace(f"'{place}", f"'{self.root}{place}")
        (self.root / "publish.mjs").write_text(text)
        (self.root / "caller.mjs").write_text(CALLER)

    def started(self, ago: float) -> None:
        """Have the server run for so long."""
        pid = self.root / "run/streamfleet-rtmp/nginx.pid"
        pid.write_text("7\n")
        when = time.time() - ago
        os.utime(pid, (when, when))

    def has(self, **more: Any) -> None:
        """What converge has put here of the channel."""
        service = {
            "slug": "tv", "uid": 200001, "generation": 3, "state": "running", "limits": {},
            "credentials": {"stream_key": KEY}, "previous_credentials": {}, **more,
        }  # fmt: skip
        for path in self.keys.iterdir():
            path.unlink()
        instance = render(service, {"node": self.name, "stream_host": f"{self.name}.example.net"})
        assert isinstance(instance, Instance)
        for file in instance.files:
            if file.kind == "key":
                (self.root / file.path.lstrip("/")).write_text(file.content)

    def calls(self, *calls: tuple[str, dict[str, str]]) -> list[tuple[int, str, str]]:
        done = subprocess.run(
            [NODE, "caller.mjs"],
            cwd=self.root,
            input=json.dumps(calls),
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [(status, result, where) for status, result, where in json.loads(done.stdout)]

    def publish(self, name: str, client: int = 5) -> tuple[int, str, str]:
        """An encoder starts."""
        return self.calls(("publish", {"clientid": str(client), "name": name, "addr": "192.0.2.99"}))[0]

    def lease(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.live / "tv").read_text())
        return found

    def free(self) -> None:
        """Whoever publishes is gone."""
        (self.live / "tv").unlink(missing_ok=True)


def moved(to: str = "n2", *, open_: bool = True) -> dict[str, Any]:
    """The channel as its former node has it."""
    forward = {
        "node": to,
        "address": "192.0.2.7",
        "stream_host": f"{to}.example.net",
        "host_ports": {"RTMP": 1935},
        "open": open_,
    }
    digest = hashlib.sha256(b"sent on " + KEY.encode()).hexdigest()
    digests = {"stream_key": [{"digest": digest, "expires": None}]}
    return {"state": "moved", "credentials": {"stream_key": "f" * 32}, "digests": digests, "forward": forward}


@pytest.fixture
def former(tmp_path: Path) -> Server:
    """The node that the channel was on."""
    server = Server(tmp_path, "n1")
    server.has(**moved())
    return server


@pytest.fixture
def holder(tmp_path: Path) -> Server:
    """The node that has it."""
    server = Server(tmp_path, "n2")
    server.has()
    return server


def ticket(secret: str, ahead: float = 0) -> str:
    """What anybody can make who knows the secret."""
    moment = str(int((time.time() + ahead) * 1000))
    code = hmac.new(secret.encode(), f"sent on tv {moment}".encode(), hashlib.sha256).digest()
    return f"~tv~{moment}~{urlsafe_b64encode(code).decode().rstrip('=')}"


def secret(node: str = "n2") -> str:
    return hmac.new(KEY.encode(), f"ticket for {node}".encode(), hashlib.sha256).hexdigest()


def test_an_encoder_is_sent_on_by_a_ticket_that_is_taken_once(former: Server, holder: Server) -> None:
    status, result, where = former.publish(KEY)
    assert (status, result) == (302, "sent on")
    name = where.removeprefix(f"{TO}/")
    assert KEY not in where
    assert holder.publish(name) == (302, "publishing", "tv")
    # It goes on by that name, however long.
    call = {"call": "update_publish", "clientid": "5", "name": name}
    assert holder.calls(("update", call))[0][0] == 204
    holder.free()
    assert holder.publish(name)[:2] == (403, UNKNOWN)
    # One that was made before the one that was taken.
    assert holder.publish(ticket(secret(), -30))[:2] == (403, UNKNOWN)
    assert holder.publish(ticket(secret(), 1))[0] == 302


def test_a_ticket_that_came_too_early_is_good_once_more(holder: Server) -> None:
    """The former session's end is told after it, and the other node tries again with the same."""
    assert holder.publish(KEY)[0] == 302
    name = ticket(secret())
    assert holder.publish(name, 6)[:2] == (403, "refused: already publishing")
    holder.free()
    assert holder.publish(name, 7)[0] == 302


@pytest.mark.parametrize(("ahead", "good"), [(-58, True), (-62, False), (4, True), (7, False)])
def test_a_ticket_is_good_for_a_minute_and_not_before_its_time(holder: Server, ahead: float, good: bool) -> None:
    assert (holder.publish(ticket(secret(), ahead))[0] == 302) is good


def test_what_was_taken_before_a_restart_is_not_taken_after_it(holder: Server) -> None:
    holder.started(5)
    assert holder.publish(ticket(secret(), -6))[:2] == (403, UNKNOWN)
    assert holder.publish(ticket(secret(), -4))[0] == 302


def test_nothing_that_the_former_node_has_or_had_makes_a_ticket(former: Server, holder: Server) -> None:
    former.has()
    had = [json.loads(path.read_text()) for path in former.keys.iterdir()]
    words = [path.stem.split("-", 1)[-1] for path in former.keys.iterdir()]
    words += [key[part] for one in had for key in one.get("keys", []) for part in ("file", "secret")]
    former.has(**moved())
    words += [path.stem.split("-", 1)[-1] for path in former.keys.iterdir()]
    assert len(set(words)) >= 4
    for word in words:
        assert holder.publish(ticket(word))[:2] == (403, UNKNOWN), word
    assert holder.publish(ticket(secret()))[0] == 302


def test_an_unknown_key_is_unknown_whatever_has_moved(former: Server, holder: Server) -> None:
    for server in (former, holder):
        for name in ("x" * 24, "tv", ticket("0" * 64), "~tv~1~x"):
            assert server.publish(name)[:2] == (403, UNKNOWN), name
    former.has(**moved(open_=False))
    assert former.publish(KEY)[:2] == (403, "refused: moves to another node")
    assert former.publish("x" * 24)[:2] == (403, UNKNOWN)


def test_the_end_of_a_way_may_be_told_before_its_begin(former: Server) -> None:
    where = former.publish(KEY)[2]
    asked = {"name": former.lease()["name"], "addr": where.removeprefix("rtmp://")}
    former.calls(("lost", {**asked, "clientid": "11"}), ("taken", {**asked, "clientid": "11"}))
    assert "way" not in former.lease()
    former.calls(("taken", {**asked, "clientid": "12"}), ("lost", {**asked, "clientid": "11"}))
    assert former.lease()["way"] == "12"
    former.calls(("lost", {**asked, "clientid": "12"}))
    assert "way" not in former.lease()


def test_of_a_session_that_lost_its_lease_nothing_is_left(former: Server) -> None:
    assert former.publish(KEY, 5)[0] == 302
    lease = former.lease()
    (former.live / "tv").write_text(json.dumps({**lease, "seen": 0}))
    assert former.publish(KEY, 6)[0] == 302
    assert not (former.clients / lease["name"]).exists()
    former.calls(("done", {"clientid": "5"}), ("done", {"clientid": "6"}))
    assert list(former.clients.iterdir()) == []
    assert list(former.live.iterdir()) == []


def test_what_the_hop_refuses_leaves_no_folder(former: Server) -> None:
    former.publish(KEY)
    name = former.lease()["name"]
    (former.hls / name).mkdir()
    used = former.hls / "other"
    used.mkdir()
    (used / "in-use").touch()
    answers = former.calls(("admit", {"name": name}), ("admit", {"name": "other"}))
    assert [status for status, _result, _where in answers] == [403, 403]
    assert list(former.hls.iterdir()) == [used]
