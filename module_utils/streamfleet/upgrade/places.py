"""Where things lie on the panel's host."""

from __future__ import annotations

ROOT = "/opt/streamfleet"
CURRENT = f"{ROOT}/current"
VENV = f"{ROOT}/venv"
UPGRADE = "/var/lib/streamfleet/upgrade"
JOURNAL = f"{UPGRADE}/journal.json"
#: What came of the last one.
LAST = f"{UPGRADE}/last.json"
#: A node that an upgrade has set draining, and has to give back.
DRAINING = "draining-{node}.json"
#: Room in the folder of what is saved that nothing takes, so that going back finds it on a disk that is full by then.
RESERVE = "reserve"
NAMES = "/var/lib/streamfleet/domain_change/journal.json"
#: Read by the panel at every request (streamfleet_panel/maintenance.py).
MAINTENANCE = f"{UPGRADE}/maintenance.json"
LOCK = "/run/streamfleet-upgrade.lock"
#: Held by whatever changes the database (roles/panel/files/set_up.py).
SET_UP_LOCK = "/run/streamfleet-panel-set-up.lock"
PANEL_ENV = "/etc/streamfleet/panel/panel.env"
SOCKET = "/run/streamfleet-panel/panel.sock"
COMMAND = "/usr/local/bin/streamfleet-panel"
#: Tokens whose writes the gate lets through: that of the probe, and that by which the worker reports.
TOKENS = ("/etc/streamfleet/panel/install_token", "/etc/streamfleet/worker/token")

PANEL = "streamfleet-panel.service"
#: They write into the database without being asked.
HELD = ("streamfleet-worker.service", "streamfleet-panel-jobs.service")
UNITS = (*HELD, PANEL)
#: What install.yml writes for the panel and its worker. What is new in a folder goes at a rollback.
SETTINGS = (
    "/etc/streamfleet/panel",
    "/etc/streamfleet/worker",
    "/usr/lib/streamfleet/panel",
    COMMAND,
    "/etc/tmpfiles.d/streamfleet-panel.conf",
    *(f"/etc/systemd/system/{unit}" for unit in UNITS),
)
