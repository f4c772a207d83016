"""Put a channel of Wowza on the air, or take it off: ``application on|off SLUG``; ``application all``: fetch again.

Both have Wowza read the channel's Application.xml again, which says what is allowed now; a channel that is off the air
has one that allows nothing. Whoever is connected to it is thrown out, and nobody else. Where the channel has a
relay.json, Wowza is told to fetch that stream, and forgets so when it ends: ``all`` tells it of every one after its
start. While one process tells Wowza of a channel, no other does. Exit code 1: the reason is on stderr.
"""

import base64
import contextlib
import fcntl
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The guard of addresses lies beside this program.
sys.path.append(str(Path(__file__).resolve().parent))

import guard

PLACE = Path("/etc/streamfleet/wowza")
INSTANCES = Path("/etc/streamfleet/instances/wowza")
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
APPLICATIONS = "/v2/servers/_defaultServer_/vhosts/_defaultVHost_/applications"
#: The stream that is fetched: the name of its file, without ``.stream``.
STREAM = "live"
#: Templates of the transcoder, called like the streams that they are for.
TEMPLATES = ("live.xml", "air.xml")
#: Schemes of addresses that Wowza is told to fetch, and the parts of it that do.
SCHEMES = ("rtmp", "rtsp", "http", "https")
CASTERS = ("liverepeater", "rtp", "applehls", "shoutcast")
#: Seconds that Wowza may take to start, of which Java needs a good part.
PATIENCE = 80
#: Seconds for which a channel waits until another process has told Wowza of it.
TURN_SECONDS = 30
#: Of channels that Wowza is told of together: seconds that an answer about one may take, and how many go at a time. One
#: that is slow to answer holds up none of the others for long, and fails alone.
ANSWER_SECONDS, AT_A_TIME = 10, 8


class Refused(Exception):
    """What was asked for cannot be had."""


#: What goes wrong between this program, its files and Wowza.
FAULTS = (Refused, guard.Refused, OSError, http.client.HTTPException, ValueError, KeyError, TypeError)


class Rest:
    """Wowza's REST interface. ``patience``: seconds that an answer may take."""

    def __init__(self, patience: float = 30) -> None:
        self._patience = patience
        settings = json.loads((PLACE / "settings.json").read_text())
        self._port = settings["rest_port"]
        self._login = f"streamfleet:{(PLACE / 'rest-password').read_text().strip()}"
        self.transcoder = settings.get("transcoder") is True
        # Read where an address is judged: a network that is none must keep no other channel off the air.
        self.networks: list[str] = settings.get("networks", [])

    def ask(self, method: str, path: str, body: "str | None" = None) -> "tuple[int, dict[str, object]]":
        """One request. Raises OSError where nobody answers."""
        headers = {
            "Accept": "application/json; charset=utf-8",
            "Content-Type": "application/json; charset=utf-8",
            "Authorization": f"Basic {base64.b64encode(self._login.encode()).decode()}",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._patience)
        connection.request(method, f"{APPLICATIONS}{path}", body, headers)
        answer = connection.getresponse()
        text = answer.read(1_000_000)
        try:
            found = json.loads(text)
        except ValueError:
            found = {}
        return answer.status, found if isinstance(found, dict) else {}

    def done(self, path: str, patience: float = 0) -> None:
        """An action. Raises Refused with what Wowza says, OSError where it is not there within ``patience`` seconds."""
        end = time.monotonic() + patience
        while True:
            try:
                status, said = self.ask("PUT", path)
                break
            except ConnectionRefusedError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.5)
        if status == 401:
            raise Refused("Wowza does not take the password of its REST interface: run install.yml for this node")
        if status != 200 or said.get("success") is not True:
            raise Refused(f"Wowza answers {status}: {said.get('message') or 'without a reason'}")


def judge(address: str, networks: "list[str]") -> None:
    """Whether the address leads where a tenant may have something fetched. Raises guard.Refused, ValueError.

    The firewall judges every connection that Wowza then makes; this is for the customer, who is told here. A name
    that is not found now may be found later, and Wowza goes on asking.
    """
    place = guard.place_of(address, SCHEMES)
    try:
        found = [str(item[4][0]) for item in socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        print(f"{place.host} is not found by now; Wowza goes on asking", file=sys.stderr)
        return
    guard.vetted(found, guard.networks_of(networks))


def fetch(rest: Rest, slug: str, look_up: bool = True) -> None:
    """Have Wowza fetch the channel's stream, where it has one. Raises what is in FAULTS.

    ``look_up``: whether to see what its name stands for, which its own server may take long to say.
    """
    try:
        relay = json.loads((INSTANCES / slug / "relay.json").read_text())
    except FileNotFoundError:
        return
    if relay["caster"] not in CASTERS:
        raise Refused(f"no part of Wowza is called {relay['caster']}")
    if look_up:
        judge(relay["address"], rest.networks)
    else:
        guard.place_of(relay["address"], SCHEMES)
    where = f"connectAppName={slug}&appInstance=_definst_&mediaCasterType={relay['caster']}"
    rest.done(f"/{slug}/streamfiles/{STREAM}/actions/connect?{where}")


def fetched(rest: Rest, slug: str) -> bool:
    """Whether Wowza has been told of the channel's stream since its start. Raises what is in FAULTS."""
    status, _said = rest.ask("GET", f"/{slug}/instances/_definst_/incomingstreams/{STREAM}.stream")
    return status == 200


def forget(rest: Rest, slug: str) -> None:
    """Have Wowza fetch no stream for the channel any more. Whether it did is its business."""
    with contextlib.suppress(Refused, http.client.HTTPException):
        rest.done(f"/{slug}/instances/_definst_/incomingstreams/{STREAM}.stream/actions/disconnectStream")


@contextlib.contextmanager
def turn(slug: str, patience: float) -> "Iterator[bool]":
    """What is done in the block nobody else does for the channel; False where somebody still does after so long.

    Its folder is what is locked: it is there before the channel is, and no tenant can open it.
    """
    try:
        folder = os.open(INSTANCES / slug, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        # It has gone, and all that is told of it with it.
        yield True
        return
    try:
        yield _locked(folder, slug, patience)
    finally:
        os.close(folder)


def _locked(folder: int, slug: str, patience: float) -> bool:
    end, told = time.monotonic() + patience, False
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            if not told:
                print(
                    f"{slug}: Wowza is being told of it by another process, for which this one waits", file=sys.stderr
                )
                told = True
            time.sleep(0.1)
        else:
            return True


def on_the_air() -> "set[str]":
    """Channels whose units have put them on the air. Raises OSError."""
    listed = ["systemctl", "list-units", "--plain", "--no-legend", "--full", "--state=active,reloading"]
    command = [*listed, "streamfleet-wowza@*.service"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"systemd does not say which channels are on the air: {done.stderr.strip()}")
    units = (line.split()[0] for line in done.stdout.splitlines() if line.strip())
    return {unit.removeprefix("streamfleet-wowza@").removesuffix(".service") for unit in units}


def everything() -> None:
    """Have Wowza fetch the streams of all channels that are on the air; one that is refused is no reason for others.

    A channel that is not on the air yet, as at boot, has it told by its own unit, once that begins.
    """
    slugs = sorted(path.parent.name for path in INSTANCES.glob("*/relay.json"))
    if not slugs:
        return
    rest = Rest(ANSWER_SECONDS)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            rest.ask("GET", "")
            break
        except (OSError, http.client.HTTPException):
            if time.monotonic() >= end:
                raise
            time.sleep(0.5)
    here = on_the_air()
    with ThreadPoolExecutor(AT_A_TIME) as workers:
        for _told in workers.map(lambda slug: again(rest, slug), [slug for slug in slugs if slug in here]):
            pass


def again(rest: Rest, slug: str) -> None:
    """Have Wowza fetch the stream of a channel that is on the air, if it does not; raises nothing."""
    try:
        with turn(slug, 0) as mine:
            # Else its own unit is at it, which tells Wowza of the stream, too.
            if mine and not fetched(rest, slug):
                # The firewall judges each connection. A name that is slow to be found must not delay others' streams.
                fetch(rest, slug, look_up=False)
    except ConnectionRefusedError:
        # No fault of the channel's.
        print(f"{slug}: Wowza has ended, and is told of it after its next start", file=sys.stderr)
    except FAULTS as error:
        print(f"{slug}: {error}", file=sys.stderr)
        # Started anew now that Wowza runs, it comes to be, or fails, and converge sees that.
        unit = f"streamfleet-wowza@{slug}.service"
        subprocess.run(["systemctl", "--no-block", "try-restart", unit], capture_output=True, check=False)


def one(verb: str, slug: str) -> None:
    """Put one channel on the air or off it. Raises what is in FAULTS."""
    rest = Rest()
    with turn(slug, TURN_SECONDS) as mine:
        if not mine:
            print(f"{slug}: the other process is still at it; this one goes on", file=sys.stderr)
        if verb == "off":
            forget(rest, slug)
            rest.done(f"/{slug}/actions/restart")
            return
        if any((INSTANCES / slug / name).exists() for name in TEMPLATES) and not rest.transcoder:
            raise Refused(
                "renditions need Wowza's transcoder, which this node does not have: set renditions: [], or "
                "streamfleet_wowza_transcoder: true where the licence has it"
            )
        rest.done(f"/{slug}/actions/restart", PATIENCE)
        fetch(rest, slug)


def main() -> int:
    """Command line."""
    verb, slug = [*sys.argv[1:], "", ""][:2]
    if not (verb == "all" and not slug) and not (verb in ("on", "off") and SLUG.fullmatch(slug)):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if verb == "all":
            everything()
        else:
            one(verb, slug)
    except ConnectionRefusedError:
        if verb == "off":
            # Nothing is on the air, and the file keeps it so when Wowza starts.
            return 0
        print("Wowza is not running: see journalctl -u streamfleet-wowza.service", file=sys.stderr)
        return 0 if verb == "all" else 1
    except guard.Refused as refused:
        print(f"the address of the stream {refused.message}. {refused.fix}", file=sys.stderr)
        return 1
    except FAULTS as error:
        print(f"{error}", file=sys.stderr)
        # Never in the way of Wowza's own start: what is wrong is in the journal.
        return 0 if verb == "all" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
