"""Runs the relays of one station.

Folders come from the environment: settings in STREAMFLEET_RELAY_SETTINGS, own data in STREAMFLEET_RELAY_DATA; the file
with the networks that the operator has opened in STREAMFLEET_RELAY_NETWORKS.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import wire
from .roster import Roster
from .state import Board
from .station import Station, serve

#: Resolvers that do not answer hold up those who ask them, and nobody else.
LOOK_UPS = 20


async def _main() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(LOOK_UPS))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    folder = Path(os.environ["STREAMFLEET_RELAY_SETTINGS"])
    settings = json.loads((folder / "settings.json").read_text())
    outside = wire.Guarded(Path(os.environ["STREAMFLEET_RELAY_NETWORKS"]))
    board = Board(Path(os.environ["STREAMFLEET_RELAY_DATA"]) / "state.json")
    await serve(Station(Roster(folder / "relays.json"), outside, board, settings["port"], settings["password"]), stop)


if __name__ == "__main__":
    asyncio.run(_main())
