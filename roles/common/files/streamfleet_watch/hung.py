"""Which units are hung: they run, as systemd says, and answer nothing, or a signal holds their processes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

#: Seconds for an answer, and how many are asked at once.
PATIENCE, AT_ONCE = 5.0, 16
#: Engines whose stations answer HTTP at the port of their route → what they are asked for, which is nobody's stream.
STATUS = {"icecast": "/status-json.xsl", "icecast_kh": "/status-json.xsl", "shoutcast2": "/stats?sid=1"}
#: Units of one service each that have no port of their own: of these only a signal is seen.
_INSTANCE = re.compile(r"streamfleet-[a-z0-9_-]+@([a-z0-9-]+)\.service$")
WANTS = "etc/systemd/system/streamfleet-instances.target.wants"
SILENT = "it took connections and answered nothing"
HELD = "a signal held its processes (SIGSTOP)"


@dataclass(frozen=True)
class Asked:
    """A unit and how it is asked. ``service``: whose it is, "" for one of all."""

    unit: str
    service: str
    port: int
    ask: Callable[[int], bool]


def answers_http(path: str) -> Callable[[int], bool]:
    """Whether anything answers a request for ``path``. A port that refuses is no hung program: systemd sees it end."""

    def ask(port: int) -> bool:
        request = f"GET {path} HTTP/1.0\r\nUser-Agent: streamfleet-watch\r\n\r\n"
        return _answers(port, request.encode())

    return ask


def answers_rtmp(port: int) -> bool:
    """Whether the first half of RTMP's handshake is answered."""
    return _answers(port, b"\x03" + bytes(1536))


def _answers(port: int, request: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as link:
            link.sendall(request)
            link.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


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


def look(root: Path, running: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Unit → service and cause, of all that are hung at this moment."""
    found = {unit: (service, HELD) for unit, service in held(root)}
    questions = [one for one in asked(root, running) if one.unit not in found]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one, well in zip(questions, pool.map(lambda it: it.ask(it.port), questions), strict=True):
            if not well:
                found[one.unit] = (one.service, SILENT)
    return found
