"""The measurements. Each returns nothing and records its figures."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.documents import absent, document
from bench.figures import Results, median_seconds
from demo.show import credentials
from demo.stage import Stage

LOOP_OBJECTS = 50
STARTED = 5


def timed(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def empty_play(stage: Stage) -> float:
    """Median wall seconds of a play with one task that does nothing, over SSH."""
    return median_seconds(lambda: stage.playbook("bench/playbooks/empty.yml"), runs=5)


def install(results: Results, stage: Stage, other: Stage) -> None:
    """install.yml on a fresh node against apt-get of the same packages on another fresh one."""
    stage.start()
    before = _packages(stage)
    seconds = timed(lambda: stage.install())
    added = sorted(_packages(stage) - before)
    other.start()
    try:
        variables = json.dumps({"bench_packages": " ".join(added)})
        base = timed(lambda: other.playbook("bench/playbooks/apt.yml", "-e", variables))
    finally:
        other.remove()
    results.add(f"install on a fresh node, against apt-get of its {len(added)} packages alone", seconds, base, 3)


def _packages(stage: Stage) -> set[str]:
    return set(stage.on_node(["dpkg-query", "-W", "-f", "${Package}\\n"]).split())


def declare(results: Results, stage: Stage, empty: float, size: int) -> None:
    """A whole document in one task, against a loop of the single modules and against an empty play."""
    loop = document(LOOP_OBJECTS // 2, LOOP_OBJECTS // 2, prefix="loop")
    variables = _file(stage, "loop", {"bench_document": loop})
    each = timed(lambda: stage.playbook("bench/playbooks/loop.yml", "-e", f"@{variables}", inventory=False)) - empty
    scaled = each / LOOP_OBJECTS * 2 * size
    results.notes.append(f"The loop was measured with {LOOP_OBJECTS} objects and scaled up to {2 * size}.")
    names = [f"bulk{n}" for n in range(3)]
    bulk = sorted(timed(partial(applied, stage, document(size, size, prefix=name))) for name in names)[1]
    results.add(f"declare {size} customers and {size} services: the loop against streamfleet_apply", bulk, scaled,
                200, better="higher")  # fmt: skip
    results.add(f"declare {size} customers and {size} services, against an empty play", bulk, empty, 5)
    for name in names[1:]:
        applied(stage, absent(document(size, size, prefix=name)), max_delete=3 * size)
    secret = document(size, 1, prefix="secret", passwords=True)
    whole = timed(lambda: applied(stage, secret))
    results.add(f"declare {size} customers with passwords (Argon2 included), against an empty play", whole, empty)
    hashing = _hashing_seconds(stage, size)
    results.add(f"of which hashing {size} passwords, on one core, alone", hashing, empty)
    applied(stage, absent(secret), max_delete=3 * size)


def _hashing_seconds(stage: Stage, count: int) -> float:
    """Seconds that ``count`` hashes take with the panel's own hasher and parameters (40 measured, scaled up)."""
    code = (
        "import time; from django.contrib.auth.hashers import make_password; s = time.perf_counter(); "
        "[make_password('correct horse') for _ in range(40)]; print((time.perf_counter() - s) / 40)"
    )
    return (
        float(stage.on_node(["streamfleet-panel", "shell", "--no-imports", "-v", "0", "-c", code]).split()[-1]) * count
    )


def unchanged(results: Results, stage: Stage, empty: float, size: int) -> None:
    """A document of which nothing changes."""
    whole = document(size // 2, size // 2, prefix="same")
    applied(stage, whole)
    seconds = median_seconds(lambda: applied(stage, whole), runs=3, warmup=0)
    results.add(f"{size} unchanged objects, against an empty play", seconds, empty, 10)
    applied(stage, absent(whole), max_delete=2 * size)


def converge(results: Results, stage: Stage, empty: float, size: int) -> None:
    """converge.yml with ``size`` services: all new, nothing changed, one changed."""
    whole = document(size, size, prefix="node")
    for service in whole["media_services"][:STARTED]:
        service["enabled"] = True
    applied(stage, whole)
    first = timed(lambda: stage.playbook("playbooks/converge.yml"))
    results.add(f"converge, {size} new icecast services ({STARTED} started), against an empty play", first, empty)
    again = median_seconds(lambda: stage.playbook("playbooks/converge.yml"))
    results.add(f"converge, nothing changed, {size} services, against an empty play", again, empty, 2.5)
    change = {"media_services": [{"slug": "node-1", "genre": "Changed"}]}
    applied(stage, change)
    one = timed(lambda: stage.playbook("playbooks/converge.yml"))
    results.add(f"converge, one of {size} services changed, against an empty play", one, empty)


def to_air(results: Results, stage: Stage, empty: float, runs: int = 5) -> None:
    """One service created through the API until its encoder port takes its password."""
    api = stage.api()
    api.request("PUT", "/customers/air", {"name": "On Air", "email": "air@bench.example"})
    times = []
    for run in range(runs):
        slug = f"air-{run}"
        started = time.perf_counter()
        api.request("PUT", f"/media-services/{slug}", {"name": slug, "customer": "air", "engine": "icecast"})
        port = api.request("GET", f"/media-services/{slug}").data["port"]
        password = credentials(api, slug)["source_password"]
        _wait_for_encoder_port(stage.address, port, password)
        times.append(time.perf_counter() - started)
    middle = sorted(times)[len(times) // 2]
    results.add("one service from the API call until its key is accepted, against an empty play", middle, empty, 3)


def _wait_for_encoder_port(address: str, port: int, password: str, patience: float = 60) -> None:
    """Offer a source until the port says yes. Raises TimeoutError with the last answer."""
    login = base64.b64encode(f"source:{password}".encode()).decode()
    request = (
        f"PUT /stream HTTP/1.1\r\nHost: {address}:{port}\r\nAuthorization: Basic {login}\r\n"
        "Content-Type: audio/mpeg\r\nExpect: 100-continue\r\n\r\n"
    ).encode()
    deadline = time.monotonic() + patience
    last = ""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, port), timeout=2) as link:
                link.sendall(request)
                last = link.recv(64).decode("latin-1")
        except OSError as error:
            last = str(error)
        if last.startswith(("HTTP/1.1 100", "HTTP/1.0 100", "HTTP/1.1 200", "HTTP/1.0 200")):
            return
        time.sleep(0.02)
    raise TimeoutError(f"{address}:{port} did not take the source: {last}")


def applied(stage: Stage, whole: dict[str, Any], max_delete: int = 10) -> None:
    """Apply a document, as playbooks/apply.yml does."""
    variables = {"apply_files": [str(_file(stage, "document", whole))], "apply_max_delete": max_delete}
    stage.playbook("playbooks/apply.yml", "-e", json.dumps(variables), inventory=False)


def _file(stage: Stage, name: str, data: dict[str, Any]) -> Path:
    path = stage.state / f"{name}.json"
    path.write_text(json.dumps(data))
    return path
