#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps by which the panel moves to another host. The work is in module_utils/streamfleet/panel_transfer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_panel_transfer
short_description: Move the panel from one host to another
version_added: 0.5.0
description:
  - The steps that C(panel_transfer.yml) takes on the host that the panel goes from, and on the one that it comes to.
    Each notes in C(/var/lib/streamfleet/panel_transfer.json) what is true from then on, and units that must not start
    are held in C(/var/lib/streamfleet/panel_transfer/held), over a restart of the host.
  - What goes is one file of root's, which the new host fetches by SSH with a key of one run that opens this file alone.
options:
  step:
    description:
      - V(look) says what is there, and changes nothing; V(mark) says the mark alone.
      - On the former host V(first) packs what the new one needs before it is installed, V(held) stops worker and jobs
        and makes the panel read-only, V(last) stops the panel and packs all of it, V(parting) notes that the new host
        is switched to, V(gone) ends it there, V(back) has it go on as before, and V(released) removes what it has left.
        Only databases go along that are SQLite, or on the server that C(streamfleet_panel_database_install) makes.
      - On the new host V(prepared) puts away what a panel has left there, V(came) puts in place what it needs before it
        is installed, V(filled) has the panel there as it was, read-only, V(here) has it write, and V(away) puts away
        what has come to nothing, with the keys that came, and puts back what these have replaced.
      - V(lost) is for when the other host is lost for good. The panel that has gone from here, or was about to, goes
        on as it was then, to nodes another one than they know; what was on its way to this host is put away.
      - V(key) makes a key on the new host, V(allow) lets it in on the former one, V(forbid) takes it away, and
        V(fetch) brings the file.
    type: str
    required: true
    choices:
      - look
      - mark
      - first
      - held
      - last
      - parting
      - gone
      - back
      - released
      - prepared
      - came
      - filled
      - here
      - away
      - lost
      - key
      - allow
      - forbid
      - fetch
  run:
    description:
      - Name of the run. A step of another run than the one that has begun is refused.
      - Needed for V(held), V(last), V(parting), V(gone), V(prepared), V(came), V(filled) and V(here).
    type: str
    default: ""
  other:
    description:
      - The other host's name in the inventory; needed for V(held), V(prepared), V(back) and V(lost).
      - V(back) and V(lost) are refused where this host knows of another one.
    type: str
    default: ""
  names:
    description: Host names of the panel whose certificates go along (V(first)) or are removed (V(released)).
    type: list
    elements: str
    default: []
  nodes:
    description: Of V(filled), nodes that the worker has to reach.
    type: list
    elements: str
    default: []
  reach:
    description: Of V(look), whether to say which nodes the worker reaches.
    type: bool
    default: false
  alone:
    description: Of V(back), whether the new host cannot be asked; refused where the panel may have come there.
    type: bool
    default: false
  public_key:
    description: Of V(allow), the key that is let in.
    type: str
    default: ""
  addresses:
    description: Of V(allow), addresses or names that it may come from; from everywhere without any.
    type: list
    elements: str
    default: []
  address:
    description: Of V(key) and V(fetch), where the former host is.
    type: str
    default: ""
  port:
    description: Of V(key) and V(fetch), its port of SSH.
    type: int
    default: 22
  host_key:
    description: Of V(fetch), its host key.
    type: str
    default: ""
  sha256:
    description: Of V(fetch), of what is to come.
    type: str
    default: ""
attributes:
  check_mode:
    description: V(look) and V(mark) run; the other steps are skipped.
    support: partial
    details: There is nothing that could be foretold of the other steps.
  diff_mode:
    description: Returns no diff.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Look at both hosts
  streamfleet_panel_transfer:
    step: look
    reach: true
  register: found

- name: Have the panel be read-only, and its worker stand still
  streamfleet_panel_transfer:
    step: held
    other: panel2
    run: 3f9c0a17be52
"""

RETURN = r"""
result:
  description: What the step found or made.
  returned: success
  type: dict
  sample: {bytes: 1945600, sha256: 6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.node_apply.host import Host
from ansible.module_utils.streamfleet.panel_transfer import coming, leaving, lock, looking, losing, marks, way
from ansible.module_utils.streamfleet.panel_transfer.places import TransferError
from ansible.module_utils.streamfleet.upgrade.errors import UpgradeError

LOOKS = ("look", "mark")
OF_LEAVING = ("first", "held", "last", "parting", "gone", "back", "released")
OF_COMING = ("prepared", "came", "filled", "here", "away", "lost")
OF_WAY = ("key", "allow", "forbid", "fetch")
CHOICES = [*LOOKS, *OF_LEAVING, *OF_COMING, *OF_WAY]
NEEDED = {
    "run": ("held", "last", "parting", "gone", "prepared", "came", "filled", "here"),
    "other": ("held", "prepared", "back", "lost"),
}


def needed(given: dict[str, Any]) -> None:
    """Raises TransferError for what the step needs and was not given."""
    for name, steps in NEEDED.items():
        if given["step"] in steps and not given[name]:
            raise TransferError(f"{name}: is needed for step {given['step']}, and is empty")


def work(host: Host, given: dict[str, Any]) -> tuple[bool, Any]:
    """Whether the step has changed anything, and what came of it."""
    step, run = given["step"], given["run"]
    origin = way.Origin(given["address"], given["port"], given["host_key"])
    found: Any = {
        "first": lambda: leaving.packed_first(host, given["names"]),
        "held": lambda: leaving.held(host, given["other"], run),
        "last": lambda: leaving.packed_last(host, run),
        "parting": lambda: leaving.parting(host, run),
        "gone": lambda: leaving.gone(host, run),
        "back": lambda: leaving.back(host, given["other"], given["alone"]),
        "released": lambda: leaving.released(host, given["names"]),
        "prepared": lambda: coming.prepared(host, given["other"], run),
        "came": lambda: coming.came_first(host, run),
        "filled": lambda: coming.filled(host, run, given["nodes"]),
        "here": lambda: coming.here(host, run),
        "away": lambda: coming.away(host),
        "lost": lambda: losing.lost(host, given["other"]),
        "key": lambda: way.key(host, origin),
        "allow": lambda: way.allow(host, given["public_key"], given["addresses"]),
        "forbid": lambda: way.forbid(host),
        "fetch": lambda: way.fetch(host, origin, given["sha256"]),
    }[step]()
    return bool(found) if step in ("back", "released", "away", "forbid") else True, found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "choices": CHOICES, "required": True},
            "run": {"type": "str", "default": ""},
            "other": {"type": "str", "default": ""},
            "names": {"type": "list", "elements": "str", "default": []},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "reach": {"type": "bool", "default": False},
            "alone": {"type": "bool", "default": False},
            "public_key": {"type": "str", "default": "", "no_log": False},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "address": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 22},
            "host_key": {"type": "str", "default": "", "no_log": False},
            "sha256": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given, host = module.params, Host()
    try:
        needed(given)
        if given["step"] == "mark":
            module.exit_json(changed=False, result=marks.read(host))
        if given["step"] == "look":
            module.exit_json(changed=False, result=looking.look(host, given["reach"]))
        if module.check_mode:
            module.exit_json(changed=False, skipped=True, msg=f"Check mode does no step {given['step']}.")
        with lock.locked(host) as locked:
            changed, result = work(locked, given)
    except (TransferError, UpgradeError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or given['step']}: {error.strerror or error}")
    module.exit_json(changed=changed, result=result)


if __name__ == "__main__":
    main()
