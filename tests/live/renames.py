"""A change of host names on an installed platform: runs that are watched or killed, and what people have meanwhile."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from streamfleet.errors import Error
from streamfleet.tls import pem

from demo import media
from demo.show import credentials, wait_until_running
from demo.stage import NODE, ROOT, STREAM_HOST, Recap, Stage
from demo.viewer import Viewer
from tests.live import processes
from tests.live.edge import RTMPS
from tests.live.streams import Listener, Source, on_air
from tests.live.visitors import Visitor, ask, plays, shown

OLD, NEW = ".demo.localhost", ".show.localhost"
MOVE, UNDO = {"from": OLD, "to": NEW}, {"undo": True}
NEW_PANEL, NEW_STREAM = f"panel{NEW}", f"stream{NEW}"
CUSTOMER, PASSWORD = "mover", "a broom swept the studio"
SLUGS = ("move-fm", "move-tv")


@contextlib.contextmanager
def on_platform(platform: Stage) -> Iterator[Stage]:
    """The platform with a station and a channel, and names that lead to it and are not its own yet."""
    platform.known_as(NEW_PANEL, NEW_STREAM)
    customer = {"username": CUSTOMER, "name": CUSTOMER, "email": f"{CUSTOMER}@live.example", "password": PASSWORD}
    document = {
        "customers": [customer],
        "media_services": [
            {"slug": slug, "name": slug, "customer": CUSTOMER, "engine": engine}
            for slug, engine in zip(SLUGS, ("icecast", "nginx_rtmp"), strict=True)
        ],
    }
    platform.api().request("POST", "/apply", {"document": document})
    wait_until_running(platform.api(), SLUGS, 90)
    yield platform
    gone = {"customers": [{"username": CUSTOMER, "state": "absent"}]}
    platform.api().request("POST", "/apply", {"document": gone, "max_delete": 10})


# Runs ---------------------------------------------------------------------------------------------------------------


def options(site: Stage, asked: Mapping[str, Any]) -> list[str]:
    return ["-e", json.dumps({**site.added, **{f"domain_change_{name}": value for name, value in asked.items()}})]


def change(site: Stage, asked: Mapping[str, Any], *more: str, ok: bool = True) -> tuple[Recap, str]:
    """Run the playbook; its totals and what it printed, in one line."""
    log = site.state / "domain_change.log"
    log.unlink(missing_ok=True)
    recap = site.playbook("playbooks/domain_change.yml", *options(site, asked), *more, check=ok)
    text = log.read_text()
    assert ok or recap.failed, text
    return recap, " ".join(text.split())


class Run(NamedTuple):
    """A run that was watched. ``begun``: of each task the seconds after the start, and its name."""

    killed: bool
    said: str
    begun: list[tuple[float, str]]
    code: int


def changed_by_install(site: Stage) -> list[str]:
    """Install once more; what each task printed that changed something."""
    log = site.state / "install.log"
    log.unlink(missing_ok=True)
    recap = site.install("--diff")
    text = log.read_text()
    found = [part for part in re.split(r"(?m)^(?=TASK \[)", text) if re.search(r"(?m)^changed: ", part)]
    assert len(found) >= bool(recap.changed), text
    return found


def watched(
    site: Stage, asked: Mapping[str, Any], at: Callable[[str, int], bool], held: Container[tuple[str, int]] = ()
) -> Run:
    """Run the playbook, as ``watch`` does it."""
    return watch(site.command("playbooks/domain_change.yml", *options(site, asked)), site.environment(), at, held)


def watch(
    command: Sequence[str],
    environment: Mapping[str, str],
    at: Callable[[str, int], bool],
    held: Container[tuple[str, int]] = (),
) -> Run:
    """Run Ansible; ``at`` is called as a task begins, with its name and how many times it has begun.

    ``held``: for which of these the run stands still meanwhile. Where ``at`` says so the run, and all that it has
    started here, is killed.
    """
    times: Counter[str] = Counter()
    lines: list[str] = []
    begun: list[tuple[float, str]] = []
    # Else Ansible names a task when the first host has done it.
    shown = {**environment, "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}
    start = time.monotonic()
    with subprocess.Popen(
        command, cwd=ROOT, env=shown, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            lines.append(line)
            if found := re.match(r"TASK \[(.*)\] \**$", line):
                times[found[1]] += 1
                begun.append((time.monotonic() - start, found[1]))
                still = processes.stop(process.pid) if (found[1], times[found[1]]) in held else []
                if at(found[1], times[found[1]]):
                    processes.kill(process.pid)
                processes.go_on(still)
    return Run(process.returncode == -signal.SIGKILL, "".join(lines), begun, process.returncode)


def killed(site: Stage, task: str, times: int, asked: Mapping[str, Any] = MOVE) -> Run:
    """Begin a run, and kill it when the task begins for the given time."""

    def at(name: str, time_: int) -> bool:
        if (name, time_) != (task, times):
            return False
        # So that the task may have begun on the host.
        time.sleep(0.3)
        return True

    run = watched(site, asked, at)
    assert run.killed, run.said
    return run


def kill_on_node(site: Stage) -> None:
    """SIGKILL to what runs of Ansible from this machine have begun on the node, and not to what the worker has."""
    script = (
        "for login in $(pgrep -f '^sshd[^:]*: root@'); do for command in $(pgrep -P $login); do "
        f"tr '\\0' '\\n' </proc/$command/environ | grep -q '^SSH_CONNECTION={site.address} ' || "
        "pkill -KILL -s $command; done; done; true"
    )
    site.on_node(["sh", "-c", script])


def read_only(folder: str) -> tuple[str, str]:
    """Commands that make a folder read-only for whoever writes, and writable again."""
    return f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}", f"umount --lazy {folder}"


# What there is ------------------------------------------------------------------------------------------------------


def there(site: Stage) -> str:
    """What a change of names writes, on the host and in the panel, by digest; but what the authority has signed."""
    folders = "/etc/streamfleet /etc/nginx/conf.d /etc/systemd/system"
    files = site.on_node(["sh", "-c", f"find {folders} -type f -not -path '*/ca/issued/*' | sort | xargs sha256sum"])
    node = site.api().request("GET", f"/nodes/{NODE}").data
    return f"{files}{node['stream_host']} {node['former_stream_hosts']} {node['former_stream_days']}"


def stale(site: Stage) -> str:
    """Servers that run with other settings than there are on the disk; but what waits for encoders to go."""
    script = (
        "state=$(/usr/lib/streamfleet/web/state); [ $state = fresh ] || echo the web server is $state; "
        "state=$(/usr/lib/streamfleet/rtmp/tls-state); "
        "case $state in fresh | moved) ;; *) echo the listener for RTMPS is $state ;; esac; "
        "find /etc/streamfleet/panel -name '*.env' -cnewer /run/streamfleet-panel/started"
    )
    return site.on_node(["sh", "-c", script]).strip()


def default_of_rtmps(site: Stage) -> frozenset[str]:
    """The names of the certificate that encoders get by RTMPS which name no host."""
    return pem.hosts(shown(site.address, None, RTMPS))


def missing(site: Stage, panel: str, stream: str) -> list[str]:
    """What is not had by these names, following the panel where it leads; certificates are verified with each."""
    looks: dict[str, Callable[[], bool]] = {
        f"https://{panel}/login/": lambda: logs_in(Visitor(site, panel)),
        f"https://{panel}/api/": lambda: ask(site, panel, "/api/v1/health")[0] == 200,
        f"https://{stream}/listen/": lambda: ask(site, stream, "/listen/move-fm/stream")[0] == 200,
        f"https://{stream}/hls/": lambda: ask(site, stream, "/hls/move-tv/index.m3u8")[0] == 200,
        "what customers are told": lambda: all(plays(site, url) for url in told(site)),
    }
    found = []
    for what, look in looks.items():
        try:
            if not look():
                found.append(what)
        except OSError as error:
            found.append(f"{what}: {error}")
    return found


def told(site: Stage) -> list[str]:
    """The addresses that customers are told to listen and watch by. Raises OSError where the panel does not say."""
    try:
        return [
            url for slug in SLUGS for url in site.api().request("GET", f"/media-services/{slug}").data["listen_urls"]
        ]
    except Error as error:
        raise ConnectionError(str(error)) from None


def logs_in(visitor: Visitor) -> bool:
    """Whether the customer can log in from here, and is in then."""
    return visitor.open_form() and visitor.send_form(CUSTOMER, PASSWORD) == 302 and visitor.is_in()


def whole(site: Stage, panel: str, stream: str) -> bool:
    """Whether all is had by these names."""
    return not missing(site, panel, stream)


def whole_soon(site: Stage, panel: str, stream: str, what: str, seconds: float = 30) -> None:
    """Wait until all is had by these names: the panel may be starting."""
    deadline = time.monotonic() + seconds
    while lacking := missing(site, panel, stream):
        assert time.monotonic() < deadline, f"{what}: {lacking}"
        time.sleep(0.5)


class AtThePanel:
    """A customer at the panel before a change: logged in, and with a form of a second page open."""

    def __init__(self, site: Stage, panel: str) -> None:
        self._member, self._comer = Visitor(site, panel), Visitor(site, panel)
        self._panel = panel
        assert logs_in(self._member)
        assert self._comer.open_form()

    def goes_on(self) -> None:
        """He is in still, or is led to the other name, where he can log in; the form is taken where it was opened."""
        assert self._comer.send_form(CUSTOMER, PASSWORD) == 302
        if not self._member.is_in():
            assert self._member.host != self._panel, "he was logged out where he was"
            assert logs_in(self._member)


# Everybody on the air -----------------------------------------------------------------------------------------------


def on_the_air(site: Stage, path: str) -> None:
    """Wait until it is answered."""
    deadline = time.monotonic() + 60
    while ask(site, STREAM_HOST, path)[0] != 200:
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.5)


@contextlib.contextmanager
def everybody(site: Stage) -> Iterator[None]:
    """Encoders and listeners of both engines by the old names; at the end nobody has lost anything."""
    api = site.api()
    port = api.request("GET", "/media-services/move-fm").data["port"]
    password, key = credentials(api, "move-fm")["source_password"], credentials(api, "move-tv")["stream_key"]
    with (
        subprocess.Popen(
            site.inside(media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}", seconds=3600)),
            cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as encoder,
        on_air(Source(site.address, port, "/stream", password)) as source,
    ):  # fmt: skip
        try:
            web = Listener(site.address, 443, STREAM_HOST, "/listen/move-fm/stream", str(site.ca))
            direct = Listener(site.address, port, STREAM_HOST, "/stream")
            for listener in (web, direct):
                listener.start()
                assert listener.playing.wait(20), listener.heard
            on_the_air(site, "/hls/move-tv/index.m3u8")
            viewer = Viewer(site, STREAM_HOST, "/hls/move-tv")
            viewer.start()
            yield
            viewer.stop()
            assert viewer.faults == []
            assert viewer.segments >= 5
            assert source.error is None
            assert source.is_alive()
            assert encoder.poll() is None
            for heard in (web.stop(), direct.stop()):
                assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
                assert heard.bytes > 100_000, heard
                assert heard.longest_gap < 5, heard
        finally:
            encoder.terminate()


# The inventory ------------------------------------------------------------------------------------------------------


class Inventory:
    """A copy of the demo's inventory that is kept as an operator keeps it: with the diffs that runs print."""

    def __init__(self, folder: Path) -> None:
        self.hosts = folder / "hosts.yml"
        self._names = folder / "group_vars" / "all" / "main.yml"
        shutil.copytree(ROOT / "inventories" / "demo", folder)

    @property
    def text(self) -> str:
        """The file with the names."""
        return self._names.read_text()

    def add(self, variable: str, value: str) -> None:
        """Say one more variable beside the names."""
        self._names.write_text(f"{self.text}{variable}: {value}\n")

    def patched(self, log: str) -> None:
        """Apply the diff that a run has printed; it must have printed one."""
        lines = printed_patch(log)
        assert lines
        subprocess.run(["patch", "-p1"], cwd=ROOT, input="\n".join(lines) + "\n", text=True, check=True)


def change_and_patch(site: Stage, inventory: Inventory, asked: Mapping[str, Any]) -> str:
    """Run the playbook and have the inventory say what it prints, as an operator does; what it printed, in one line."""
    _recap, said = change(site, asked)
    inventory.patched((site.state / "domain_change.log").read_text())
    return said


@contextlib.contextmanager
def kept_inventory(site: Stage) -> Iterator[Inventory]:
    """A copy by which runs go meanwhile. It lies below the folder that they are started in, as an operator's does."""
    folder, before = ROOT / ".cache" / f"inventory-{secrets.token_hex(3)}", site.hosts
    made = Inventory(folder)
    site.hosts = str(made.hosts.relative_to(ROOT))
    try:
        yield made
    finally:
        site.hosts = before
        shutil.rmtree(folder)


def printed_patch(log: str) -> list[str]:
    """Lines of the diff that a run has printed; empty where it says that there is nothing to change."""
    found = re.search(r'"msg": (\[\s+"For patch -p1.*?\n    \])', log, re.DOTALL)
    assert found or "Nothing: it says so already." in log, log[-3000:]
    return list(json.loads(found[1])[1:]) if found else []
