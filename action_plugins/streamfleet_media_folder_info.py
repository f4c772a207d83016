"""Say what a customer's media library on a node holds."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet import arguments, errors, libraries, media_folder, media_listing
from streamfleet.node_apply.users import name_of
from streamfleet.on_controller import client_of

SPEC: dict[str, dict[str, Any]] = {
    **arguments.CONNECTION,
    "customer": {"type": "str", "required": True},
    "folder": {"type": "str", "default": "."},
    "limit": {"type": "int", "default": 1000},
}


class ActionModule(ActionBase):
    """Asks the panel for the customer's library and quota, and the node for what the library holds."""

    _supports_check_mode = True
    _VALID_ARGS = frozenset(SPEC)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was found; ``failed`` with a message that a person can act on otherwise."""
        super().run(tmp, task_vars)
        node = (task_vars or {}).get("inventory_hostname", "")
        _result, options = self.validate_argument_spec(argument_spec=SPEC)
        try:
            return self._look(node, options)
        except errors.Error as error:
            return {"failed": True, "changed": False, "msg": f"{node}: {error}"}

    def _look(self, node: str, options: dict[str, Any]) -> dict[str, Any]:
        customer, folder, limit = options["customer"], options["folder"], options["limit"]
        media_folder.destination(folder, "folder")
        if not 0 <= limit <= media_listing.MOST_LISTED:
            raise errors.BadOption(f"limit: {limit} is not from 0 to {media_listing.MOST_LISTED}.")
        with client_of(options, "the customer's account, or of one above it") as client:
            uid = media_folder.uid_of(client, customer)
            quota = media_listing.quota_of(client, customer, node)
        library = libraries.library_of(uid)
        there = self._shell(f"test -d {shlex.quote(library)}")["rc"] == 0
        listing = media_listing.NOTHING
        if there:
            said = self._shell(media_listing.command(library, folder, limit, name_of(uid)))
            listing = media_listing.listing_of(int(said["rc"]), said["stdout"], said["stderr"], folder, node)
        return {
            "changed": False,
            "library": library,
            "exists": there,
            "disk_quota_mb": quota,
            "count": listing.count,
            "bytes": listing.bytes,
            "ignored": listing.ignored,
            "complete": listing.complete,
            "files": listing.files,
        }

    def _shell(self, command: str) -> dict[str, Any]:
        done: dict[str, Any] = self._low_level_execute_command(command, sudoable=False)
        return done
