"""Ask one node what is new on it: one command over SSH for all of its services. No database here."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamfleet_panel.collected import Batch
from streamfleet_panel.worker.config import Config
from streamfleet_panel.worker.runner import ESCAPES, Target, known_hosts, last_words, ssh_options

SCHEMA = 1
#: What runs there, of role common. ``-I``: nothing but itself and Python's own library is imported.
COMMAND = "sudo -n /usr/bin/python3 -I /usr/lib/streamfleet/collect.py 2>&1"
SECONDS = 60.0
LARGEST_ANSWER = 16 * 1024 * 1024


class Unanswered(Exception):
    """The node did not answer. Its text says why, in words for people."""


class Running:
    """The programs that ask, so that they can be ended: no thread can."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._programs: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    @contextmanager
    def holding(self, program: subprocess.Popen[bytes]) -> Iterator[None]:
        """For as long as it runs. After ``end`` it is ended at once."""
        with self._lock:
            self._programs.add(program)
            if self._ended:
                program.kill()
        try:
            yield
        finally:
            with self._lock:
                self._programs.discard(program)

    def end(self) -> None:
        """End all that run, and all that begin from now on."""
        with self._lock:
            self._ended = True
            for program in self._programs:
                program.kill()


def ask(target: Target, node_id: int, cursors: Mapping[str, Any], config: Config, running: Running) -> Batch:
    """What is new on the node since ``cursors``. Raises Unanswered."""
    fault = target.fault()
    if fault:
        raise Unanswered(f"{fault[0].upper()}{fault[1:]}.")
    folder = config.run_dir / "collect" / str(node_id)
    argv = ["ssh", "-T", "-p", str(target.port), "-i", str(config.ssh_key)]
    for option in [*ssh_options(folder), f"ControlPath={config.run_dir}/ssh/%C"]:
        argv += ["-o", option]
    argv += [f"{target.user}@{target.address}", COMMAND]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "known_hosts").write_text(known_hosts(target))
        request = json.dumps({"cursors": cursors}, separators=(",", ":")).encode()
        status, answer, said = _run(argv, request, folder, running)
    except OSError as error:
        raise Unanswered(f"It could not be asked: {error.strerror or error}.") from None
    if status == 255:
        raise Unanswered(last_words(said) or "ssh ended with 255")
    if status < 0:
        raise Unanswered(f"It did not answer within {SECONDS:g} seconds, or answered too much.")
    if status:
        words = _complaint(answer) or f"its program ended with {status}"
        raise Unanswered(f"{words} (run install.yml for this node)")
    return batch_of(answer)


def _run(argv: list[str], request: bytes, folder: Path, running: Running) -> tuple[int, bytes, str]:
    """Run a program to its end, or end it: its status, what it says, and what ssh itself complains about."""
    # Files, not pipes: a connection that stays open for the next question may keep what its first command has open.
    with (folder / "request").open("w+b") as asked, (folder / "said").open("w+b") as said:
        asked.write(request)
        asked.seek(0)
        with (
            subprocess.Popen(argv, stdin=asked, stdout=subprocess.PIPE, stderr=said) as process,
            running.holding(process),
        ):
            assert process.stdout is not None
            timer = threading.Timer(SECONDS, process.kill)
            timer.start()
            try:
                answer = process.stdout.read(LARGEST_ANSWER + 1)
                if len(answer) > LARGEST_ANSWER:
                    process.kill()
                status = process.wait()
            finally:
                timer.cancel()
        said.seek(0)
        return status, answer, ESCAPES.sub("", said.read(4096).decode("utf-8", "replace"))


def batch_of(text: bytes) -> Batch:
    """A node's answer. Raises Unanswered for what is none."""
    try:
        data = json.loads(_answer_of(text), parse_constant=_refuse)
        if data["schema"] != SCHEMA:
            raise Unanswered("Its answer is of another release: run install.yml for this node.")
        feeds = {str(name): feed for name, feed in data["feeds"].items()}
        items = {name: [_item(*item) for item in feed["items"]] for name, feed in feeds.items()}
        cursors = {name: dict(feed["cursors"]) for name, feed in feeds.items()}
        return Batch(items, cursors, bool(data["more"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Unanswered("Its answer cannot be read: run install.yml for this node.") from None


def _answer_of(text: bytes) -> bytes:
    """The last line that can be one: sudo too may say something, such as that it cannot resolve the host's name."""
    return next((line for line in reversed(text.splitlines()) if line.startswith(b"{")), b"")


def _complaint(text: bytes) -> str:
    """The last line that is for people, and no part of an answer, in which there is what tenants have written."""
    lines = [line for line in text.splitlines() if not line.startswith(b"{")]
    return ESCAPES.sub("", last_words(b"\n".join(lines)[-4096:].decode("utf-8", "replace")))


def _item(slug: object, item: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(slug, str) or not isinstance(item, dict):
        raise TypeError
    return slug, item


def _refuse(word: str) -> None:
    """JSON has no such number, and no database takes it."""
    raise ValueError(word)
