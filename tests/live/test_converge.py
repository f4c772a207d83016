"""Converge, for real: roles common and icecast on a node, a double of the panel, stations with sources and listeners.

``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.panel import station
from tests.live.node import NODE, ROOT, Node, counted, password
from tests.live.streams import Listener, Source, on_air

pytestmark = pytest.mark.live

JOURNAL = "/var/lib/streamfleet/node/journal.json"
FIRST = ("rock-fm", 200001, 8100)
SECOND = ("jazz-fm", 200002, 8101)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with nothing on it, and the double, serving."""
    with Node(Path(tmp_path_factory.mktemp("converge"))).started() as node:
        yield node


@pytest.fixture(scope="module")
def log(bare: Node) -> str:
    """What the roles say."""
    return bare.play(bare.folder / "roles.yml", "--diff")


@pytest.fixture(scope="module")
def node(bare: Node, log: str) -> Node:
    """A node ready for stations."""
    return bare


@pytest.fixture
def two(node: Node) -> Node:
    """Two stations on the air."""
    told = node.converge(station(*FIRST), station(*SECOND))
    assert {item["state"] for item in told.values()} == {"running"}
    return node


def test_the_roles_tell_no_password_and_leave_debians_own_service_off(bare: Node, log: str) -> None:
    assert "password" not in log
    assert bare.sh("systemctl is-active icecast2.service", check=False) != "active"


def test_self_checks_are_content_and_then_name_the_cause(two: Node) -> None:
    arguments = ["-e", json.dumps({"entry": "self_check", "roles_in_order": ["common", "icecast"]})]
    assert two.changed(two.play(two.folder / "tasks.yml", *arguments)) == 0
    two.sh("nft delete table inet streamfleet_tenants")
    assert "streamfleet-tenants.service" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.converge(station(*FIRST), station(*SECOND))
    two.sh("systemctl kill -s KILL streamfleet-icecast@rock-fm.service; systemctl stop streamfleet-icecast@rock-fm")
    assert "rock-fm on port 8100" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.converge(station(*FIRST), station(*SECOND))
    two.play(two.folder / "tasks.yml", *arguments)


def test_a_station_runs_as_its_tenant_in_a_sandbox(two: Node) -> None:
    assert two.sh("ps -o user:20= -C icecast2 | sort") == "sf200001\nsf200002"
    exposure = two.sh("systemd-analyze security --no-pager streamfleet-icecast@rock-fm.service | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 3.0
    for path in ("instances/icecast/jazz-fm/icecast.xml", "routes/jazz-fm.json"):
        got = two.sh(f"runuser -u sf200001 -- cat /etc/streamfleet/{path} 2>&1", check=False)
        assert "Permission denied" in got
    # The user's drop-in was read with no daemon-reload, and nothing waits for one.
    assert two.sh("systemctl show -p NeedDaemonReload --value streamfleet-icecast@rock-fm.service") == "no"


def test_nobody_notices_what_happens_to_fifty_others(two: Node) -> None:
    others = [(f"other-{number}", 200100 + number, 8200 + number) for number in range(50)]
    keep = station(*FIRST), station(*SECOND)
    with counted(two, *FIRST[::2]):
        told = two.converge(*keep, *(station(*other) for other in others))
        assert {item["state"] for item in told.values()} == {"running"}
        two.converge(*keep, *(station(*other, name="Renamed") for other in others))
        two.converge(*keep, *(station(slug, uid, port + 100) for slug, uid, port in others))
        two.converge(*keep, *(station(*other, state="suspended") for other in others))
        two.converge(*keep, *(station(*other, state="deleted") for other in others))
        two.converge(*keep)
    assert two.sh("ls /etc/streamfleet/instances/icecast /var/lib/streamfleet/services | grep other-", False) == ""
    assert two.sh("getent passwd sf200100", check=False) == ""
    assert "ok=1    changed=0" in two.play("playbooks/converge.yml")


def test_a_stations_own_settings_change_without_dropping_its_listeners(two: Node) -> None:
    mounts = {"mounts": [{"name": "/stream", "format": "mp3"}, {"name": "/low", "format": "mp3"}]}
    with counted(two, *FIRST[::2]):
        two.converge(station(*FIRST, name="Näw 📻 ]]> name", settings=mounts), station(*SECOND))
        source = Source(two.address, 8100, "/low", password("rock-fm"))
        with on_air(source):
            pass
        status = two.sh("curl -s http://127.0.0.1:8100/status-json.xsl")
        assert json.loads(status)["icestats"]["source"]
        two.converge(station(*FIRST, credentials={"source_password": "rotated-secret"}), station(*SECOND))
    old = Source(two.address, 8100, "/stream", password("rock-fm"))
    old.start()
    old.join(5)
    assert " 401 " in old.answer
    # Until Icecast has noticed that the encoder of before has gone, its mount is taken.
    deadline = time.monotonic() + 20
    while json.loads(two.sh("curl -s http://127.0.0.1:8100/status-json.xsl"))["icestats"].get("source"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with on_air(Source(two.address, 8100, "/stream", "rotated-secret")):
        pass


def test_sources_use_declared_mounts_with_the_right_password_only(two: Node) -> None:
    for mount, secret in (("/stream", "wrong"), ("/other", password("rock-fm")), ("/stream", password("jazz-fm"))):
        source = Source(two.address, 8100, mount, secret)
        source.start()
        source.join(5)
        assert " 401 " in source.answer, (mount, source.answer)
    for path in ("/admin/stats", "/admin/", "/admin/listmounts"):
        assert ask(two, 8100, path).startswith("HTTP/1.0 401")


def ask(node: Node, port: int, path: str, login: str = "") -> str:
    """Head of the answer to one GET."""
    with socket.create_connection((node.address, port), timeout=5) as link:
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n{login}\r\n".encode())
        return link.recv(2048).decode("latin-1")


def test_a_source_of_html_is_inert_in_a_browser(two: Node) -> None:
    with on_air(Source(two.address, 8100, "/stream", password("rock-fm"), content_type="text/html")):
        head = ask(two, 8100, "/stream").partition("\r\n\r\n")[0].lower()
        assert "\r\nx-content-type-options: nosniff" in head
        assert "\r\ncontent-security-policy: sandbox;" in head


def test_the_limit_of_listeners_holds_and_so_does_their_password(two: Node) -> None:
    secret = {"listener_password": "let-me-in"}
    two.converge(station(*FIRST, limits={"max_listeners": 3}), station(*SECOND, credentials=secret))
    with on_air(Source(two.address, 8100, "/stream", password("rock-fm"))):
        listeners = [Listener(two.address, 8100, two.address, "/stream") for _ in range(5)]
        for listener in listeners:
            listener.start()
            assert listener.answered.wait(10)
        assert [listener.heard.status for listener in listeners] == [200, 200, 200, 403, 403]
        for listener in listeners:
            listener.stop()
    with on_air(Source(two.address, 8101, "/stream", password("jazz-fm"))):
        assert ask(two, 8101, "/stream").startswith("HTTP/1.0 401")
        good = "Authorization: Basic bGlzdGVuZXI6bGV0LW1lLWlu\r\n"
        assert ask(two, 8101, "/stream", good).startswith("HTTP/1.0 200")
        time.sleep(1)  # Icecast tells a new password file by its time, in whole seconds
        two.converge(station(*FIRST), station(*SECOND, credentials={"listener_password": "another-word"}))
        new = "Authorization: Basic bGlzdGVuZXI6YW5vdGhlci13b3Jk\r\n"
        assert ask(two, 8101, "/stream", good).startswith("HTTP/1.0 401")
        assert ask(two, 8101, "/stream", new).startswith("HTTP/1.0 200")


def test_the_sum_over_mounts_is_exact_with_shares_and_four_above_without(two: Node) -> None:
    def admitted(*shares: int | None) -> int:
        mounts = [
            {"name": name, "format": "mp3", "bitrate_kbps": 128, "max_listeners": share}
            for name, share in zip(("/stream", "/other"), shares, strict=True)
        ]
        two.converge(station(*FIRST, limits={"max_listeners": 6}, settings={"mounts": mounts}), station(*SECOND))
        with (
            on_air(Source(two.address, 8100, "/stream", password("rock-fm"))),
            on_air(Source(two.address, 8100, "/other", password("rock-fm"))),
        ):
            listeners = [Listener(two.address, 8100, two.address, name) for name in ("/stream", "/other") * 7]
            for listener in listeners:
                listener.start()
                assert listener.answered.wait(10)
            found = [listener.heard.status for listener in listeners]
            for listener in listeners:
                listener.stop()
        assert set(found) == {200, 403}
        return found.count(200)

    assert admitted(4, 2) == 6
    assert admitted(None, None) == 6 + 4
    two.converge(station(*FIRST), station(*SECOND))


def test_a_tenant_reaches_its_own_port_and_the_internet_only(two: Node) -> None:
    assert two.tenant(200001, "127.0.0.1", 8100) == "open"
    assert two.tenant(200001, "::1", 8100) == "open"
    for address, port in (
        ("127.0.0.1", 8101),
        ("127.0.0.2", 8101),
        ("::1", 8101),
        (two.address, 8101),
        (two.address, 22),
        ("169.254.169.254", 80),
        ("10.0.0.1", 80),
        ("fd00::1", 80),
    ):
        assert two.tenant(200001, address, port) != "open", (address, port)
    # A datagram leaves nothing to refuse but itself.
    assert two.tenant(200001, "127.0.0.1", 53, "SOCK_DGRAM") == "PermissionError"
    assert (
        two.sh("python3 -c \"import socket; socket.create_connection(('127.0.0.1', 8101), 2); print('open')\"")
        == "open"
    )


def test_one_stations_fault_stays_its_own_and_is_told(two: Node) -> None:
    squatter = "import socket, time\ns = socket.create_server(('', 8300))\ntime.sleep(300)"
    two.fleet.exec(NODE, ["systemd-run", "--quiet", "--unit", "squatter", "python3", "-c", squatter])
    two.sh("for i in $(seq 300); do grep -q ':206C .* 0A ' /proc/net/tcp && exit 0; sleep 0.1; done; exit 1")
    with counted(two, *SECOND[::2]):
        told = two.converge(
            station("rock-fm", 200001, 8300),
            station(*SECOND),
            station("bad-name", 200003, 8103, name="two\nlines"),
            station("new-fm", 200004, 8104),
            ok=False,
        )
    assert {slug: item["state"] for slug, item in told.items()} == {
        "rock-fm": "failed",
        "jazz-fm": "running",
        "bad-name": "failed",
        "new-fm": "running",
    }
    assert "8300" in told["rock-fm"]["message"]
    assert "on the air again" in told["rock-fm"]["message"]
    assert told["bad-name"]["message"].startswith("name:")
    assert two.sh("systemctl is-active streamfleet-icecast@rock-fm.service") == "active"
    assert ask(two, 8100, "/status-json.xsl").startswith("HTTP/1.0 200")
    two.sh("systemctl stop squatter")
    done = two.converge(station(*FIRST), station(*SECOND), station("new-fm", 200004, 8104, state="deleted"))
    assert done["rock-fm"]["state"] == "running"
    two.converge(station(*FIRST), station(*SECOND))


def test_a_full_disk_fails_what_does_not_fit_and_nothing_else(two: Node) -> None:
    routes = "/etc/streamfleet/routes"
    two.sh(
        f"cp -a {routes} /root/routes && mount -t tmpfs -o size=8k,mode=0750,gid=33 tmpfs {routes}"
        f" && cp -a /root/routes/. {routes}"
    )
    try:
        with counted(two, *SECOND[::2]):
            changed = station(*FIRST), station(*SECOND, name="Renamed"), station("new-fm", 200004, 8104)
            told = two.converge(*changed, ok=False)
            assert told["new-fm"]["state"] == "failed"
            assert "No space left on device" in told["new-fm"]["message"]
            assert told["jazz-fm"]["state"] == "running"
        assert two.sh("systemctl is-active streamfleet-icecast@new-fm.service", check=False) == "inactive"
        assert two.sh("find /etc/streamfleet -name '*.streamfleet-new' -o -name 'icecast.xml' -path '*new-fm*'") == ""
    finally:
        two.sh(f"umount {routes} && cp -a /root/routes/. {routes} && rm -r /root/routes")
    told = two.converge(*changed)
    assert {item["state"] for item in told.values()} == {"running"}
    two.converge(station(*FIRST), station(*SECOND), station("new-fm", 200004, 8104, state="deleted"))
    two.converge(station(*FIRST), station(*SECOND))


def test_a_converge_killed_on_the_node_is_finished_by_the_next(two: Node) -> None:
    others = [station(f"many-{number}", 201000 + number, 9000 + number) for number in range(40)]
    with counted(two, *FIRST[::2]):
        two.want(station(*FIRST), station(*SECOND), *others)
        run = subprocess.Popen(
            two.command("playbooks/converge.yml"),
            cwd=ROOT,
            env={**os.environ, **two.panel.environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Killed as soon as it has begun to write: whoever holds the lock.
        two.sh(
            f"for i in $(seq 600); do test -e {JOURNAL} && break; sleep 0.05; done; sleep 0.2;"
            " kill -9 $(python3 -c \"import json; print(json.load(open('/run/streamfleet/converge.lock'))['pid'])\")"
        )
        assert run.wait(60) != 0
        assert two.sh(f"test -e {JOURNAL} && echo left") == "left"
        told = two.converge(station(*FIRST), station(*SECOND), *others)
        assert {item["state"] for item in told.values()} == {"running"}
        assert two.sh(f"test -e {JOURNAL} || echo none") == "none"
        assert two.sh("find /etc/streamfleet /etc/systemd -name '*.streamfleet-new'") == ""
    gone = [{**other, "state": "deleted"} for other in others]
    two.converge(station(*FIRST), station(*SECOND), *gone)
    two.converge(station(*FIRST), station(*SECOND))


def test_converges_started_together_wait_for_each_other(two: Node) -> None:
    two.want(station(*FIRST, name="Once"), station(*SECOND))
    before = len(two.panel.reports)
    environment = {**os.environ, **two.panel.environment()}
    runs = [
        subprocess.Popen(two.command("playbooks/converge.yml"), cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = [run.communicate(timeout=120)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    assert sorted(two.changed(output) for output in outputs) == [0, 0, 1]
    assert len(two.panel.reports) == before + 3


def test_whoever_waits_too_long_is_told_for_whom(two: Node) -> None:
    (two.folder / "impatient.yml").write_text(
        (ROOT / "playbooks/converge.yml").read_text().rstrip() + "\n        lock_timeout: 1\n"
    )
    holder = '{"who": "a test", "pid": 1, "since": "2026-11-24T00:00:00Z"}'
    lock = "/run/streamfleet/converge.lock"
    two.sh(
        f"echo '{holder}' > {lock}; systemd-run --quiet --unit holder flock {lock} sleep 300;"
        f" for i in $(seq 300); do flock --nonblock {lock} true || exit 0; sleep 0.1; done; exit 1"
    )
    output = two.play(two.folder / "impatient.yml", ok=False)
    assert "a test (process 1) since 2026-11-24T00:00:00Z" in " ".join(output.split())
    two.sh("systemctl kill -s KILL holder; sleep 0.5")
    two.play(two.folder / "impatient.yml")


@pytest.mark.full
def test_after_a_reboot_all_is_back_by_itself(two: Node) -> None:
    two.converge(station(*FIRST), station(*SECOND, state="stopped"))
    two.fleet.reboot(NODE)
    deadline = time.monotonic() + 30
    while two.sh("systemctl is-active streamfleet-icecast@rock-fm.service", check=False) != "active":
        assert time.monotonic() < deadline, two.sh("systemctl --failed --no-pager", check=False)
        time.sleep(0.5)
    assert two.sh("systemctl is-active streamfleet-icecast@jazz-fm.service", check=False) == "inactive"
    assert two.sh("systemctl is-active icecast2.service", check=False) != "active"
    assert "200001 . 8100" in two.sh("nft list set inet streamfleet_tenants allowed")
    order = two.sh(
        "systemctl show -p ActiveEnterTimestampMonotonic --value streamfleet-tenants.service"
        " streamfleet-icecast@rock-fm.service | grep ."
    ).split()
    assert int(order[0]) < int(order[1])
    with counted(two, *FIRST[::2]):
        assert "changed=0" in two.play("playbooks/converge.yml")
