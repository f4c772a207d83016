"""Where things lie on a node."""

from __future__ import annotations

#: Mounts the folder that the libraries are in at the place where everything looks for them.
UNIT = "var-lib-streamfleet-media.mount"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
#: Journal of a move, and its lock; root's alone.
FOLDER = "/var/lib/streamfleet/media_move"
#: Of the copy that is being made: what it says, and how it has ended. Gone at a restart of the host, as the copy is.
RUN = "/run/streamfleet-media-move"
COPY = "streamfleet-media-copy.service"
#: What has changed since, while nobody writes.
LAST = "streamfleet-media-last.service"
#: Starts again what a killed run has stopped.
GUARD = "streamfleet-media-guard"
#: The folder above the libraries without what is mounted in it: there the files of before are.
VIEW = f"{RUN}/view"
#: Libraries as Wowza sees them: another mount of the same, with options of its own.
ALSO = "/run/streamfleet/wowzamedia"
#: Who writes into libraries, besides converge, whose lock is held.
WRITERS = ("streamfleet-file-transfer.service", "streamfleet-wowza-recordings.service")
