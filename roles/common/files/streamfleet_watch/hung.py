"""Which units are hung: they run, as systemd says, and answer nothing, or a signal holds their processes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from streamfleet_watch import waiting

#: Seconds for an answer, those for whoever is about to be restarted, and how many are asked at once.
PATIENCE, LAST_PATIENCE, AT_ONCE = 5.0, 15.0, 16
#: Engines whose stations answer HTTP at the port of their route → what they are asked for, which is nobody's stream.
STATUS = {"icecast": "/status-json.xsl", "icecast_kh": "/status-json.xsl", "shoutcast2": "/stats?sid=1"}
#: Units of one service each that have no port of their own: of these only a signal is seen.
_INSTANCE = re.compile(r"streamfleet-[a-z0-9_-]+@([a-z0-9-]+)\.service$")
WANTS = "etc/systemd/system/streamfleet-instances.target.wants"
SILENT = "it took connections and answered nothing"
HELD = "a signal held its processes (SIGSTOP)"
STUCK = "it took none of the connections that waited for it"
#: No hung program: somebody sends more connections than it takes, and it goes on taking them.
FULL = "more connections waited for it than its queue holds, and it went on taking them"


@dataclass(frozen=True)
class Asked:
    """A unit and how it is asked. ``service``: whose it is, "" for one of all."""

    unit: str
    service: str
    port: int
    ask: Callable[[int, float], str]


def answers_http(path: str) -> Callable[[int, float], str]:
    """Why nothing answers a request for ``path``, "" where anything does. A port that refuses: systemd sees it end."""

    def ask(port: int, patience: float) -> str:
        request = f"GET {path} HTTP/1.0\r\nUser-Agent: streamfleet-watch\r\n\r\n"
        return _answers(port, request.encode(), patience)

    return ask


def answers_rtmp(port: int, patience: float) -> str:
    """Why the first half of RTMP's handshake is not answered; "" where it is."""
    return _answers(port, b"\x03" + bytes(1536), patience)


def _answers(port: int, request: bytes, patience: float) -> str:
    try:
        link = socket.create_connection(("127.0.0.1", port), timeout=patience)
    except TimeoutError:
        return FULL
    except OSError:
        return ""
    with link:
        try:
            link.sendall(request)
            link.recv(1)
        except TimeoutError:
            return SILENT
        except OSError:
            return ""
    return ""


def asked(root: Path, running: Mapping[str, str]) -> list[Asked]:
    """What is asked of the units that run. ``running``: unit → systemd's sub-state."""
    found = []
    wants = root / WANTS
    for engine, path in STATUS.items():
        for instance in sorted(wants.glob(f"streamfleet-{engine}@*.service")):
            match = _INSTANCE.match(instance.name)
            if match and running.get(instance.name) == "running":
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    port = int(json.loads((root / "etc/streamfleet/routes" / f"{match[1]}.json").read_text())["port"])
                    found.append(Asked(instance.name, match[1], port, answers_http(path)))
    if running.get("streamfleet-rtmp.service") == "running":
        with contextlib.suppress(OSError):
            text = (root / "etc/streamfleet/rtmp/nginx.conf").read_text()
            # The first server of the RTMP part is the one of encoders.
            port_of = re.search(r"\brtmp\s*\{.*?\blisten\s+(?:\[::\]:|[0-9.]+:)?(\d+)", text, re.DOTALL)
            if port_of:
                found.append(Asked("streamfleet-rtmp.service", "", int(port_of[1]), answers_rtmp))
    return found


def held(root: Path) -> Iterator[tuple[str, str]]:
    """Unit and service of instances, and of the RTMP server, of which a process is stopped by a signal."""
    seen = set()
    for folder in (root / "proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] != "T":
                continue
            for part in re.findall(r"[^/\n]+\.service\b", (folder / "cgroup").read_text()):
                match = _INSTANCE.match(part)
                if (match or part == "streamfleet-rtmp.service") and part not in seen:
                    seen.add(part)
                    yield part, match[1] if match else ""


def look(
    root: Path, running: Mapping[str, str], patience: float | None = None, only: Iterable[str] | None = None
) -> dict[str, tuple[str, str]]:
    """Unit → service and cause, of all that are hung at this moment, or whose queue is full. ``only``: of these."""
    wanted = None if only is None else set(only)
    found = {unit: (service, HELD) for unit, service in held(root) if wanted is None or unit in wanted}
    questions = [
        one for one in asked(root, running) if one.unit not in found and (wanted is None or one.unit in wanted)
    ]
    seconds = PATIENCE if patience is None else patience
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one, cause in zip(questions, pool.map(lambda it: _cause(root, it, seconds), questions), strict=True):
            if cause:
                found[one.unit] = (one.service, cause)
    return found


def _cause(root: Path, one: Asked, patience: float) -> str:
    told = one.ask(one.port, patience)
    return STUCK if told == FULL and waiting.stands(root, one.port, patience) else told
