#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A node's media libraries on a disk of their own. The work is in module_utils/streamfleet/media_move."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_media_move
short_description: Have the media libraries of a node be in another folder, while all that plays goes on
version_added: 0.3.0
description:
  - Everything looks for media libraries in C(/var/lib/streamfleet/media). This module has another folder, of another
    disk, be mounted there, and moves what is in it. It is what C(playbooks/move_media.yml) does step by step, and the
    role C(common) on a host that is new.
  - How far a move has come is noted on the node, and each step may be asked for again. The copy is made by the node
    itself, in the background, and goes on when the controller loses it.
options:
  state:
    description:
      - C(planned) says what a move to O(to) would do; C(begun) notes it; C(copied) copies, and says how far it is;
        C(switched) holds uploads, copies what has changed since, compares, and mounts.
      - C(turned) notes that a move goes back; C(copied) copies back then, and C(undone) ends it. C(released) removes
        the files of before.
      - C(placed) has a host without libraries begin with O(to); C(removed) takes the mount away.
      - C(looked) only says what there is.
    type: str
    choices: [looked, planned, begun, copied, switched, turned, undone, released, placed, removed]
    required: true
  to:
    description: For O(state=planned), O(state=begun) and O(state=placed), the folder. The one above it has to be there.
    type: str
  data:
    description: For O(state=removed), whether the files go as well.
    type: bool
    default: false
  seconds:
    description: For O(state=copied), how long a step waits at most before the action says how far the copy is.
    type: float
    default: 5
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns no diff.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Say what a move would do
  streamfleet_media_move:
    state: planned
    to: /srv/media/libraries
  register: __plan

- name: Have a new host keep its libraries on the large disk
  streamfleet_media_move:
    state: placed
    to: /srv/media/libraries
"""

RETURN = r"""
path:
  description: The folder that the libraries are in.
  returned: with O(state=looked) and O(state=placed)
  type: str
  sample: /srv/media/libraries
journal:
  description: The move that is not ended, with C(from), C(to), C(phase) and C(began); null where there is none.
  returned: with O(state=looked)
  type: dict
plan:
  description: What is to be done, for people.
  returned: with O(state=planned)
  type: list
  elements: str
done:
  description: Whether the libraries are in O(to) already.
  returned: with O(state=planned)
  type: bool
status:
  description: How far the copy is.
  returned: with O(state=copied)
  type: dict
  sample: {running: true, step: "copy, pass 1", percent: 41.0, words: "52,428,800 bytes, 12.5MB/s"}
verified:
  description: What the copy has been found to hold, and for how many seconds uploads were held.
  returned: with O(state=switched) and O(state=undone)
  type: dict
  sample: {files: 1200, folders: 80, bytes: 5368709120, hashed: 200, held_seconds: 1.8}
back:
  description: Whether there is something to copy back.
  returned: with O(state=turned)
  type: bool
freed:
  description: What was removed.
  returned: with O(state=released)
  type: dict
  sample: {files: 1200, bytes: 5368709120}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.media_move.errors import MoveError
from ansible.module_utils.streamfleet.media_move.move import Move
from ansible.module_utils.streamfleet.node_apply.host import Host

#: States that change nothing, whether or not another run works.
READ = ("looked", "planned")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": [
                    "looked",
                    "planned",
                    "begun",
                    "copied",
                    "switched",
                    "turned",
                    "undone",
                    "released",
                    "placed",
                    "removed",
                ],
                "required": True,
            },
            "to": {"type": "str"},
            "data": {"type": "bool", "default": False},
            "seconds": {"type": "float", "default": 5},
        },
        required_if=[("state", state, ["to"]) for state in ("planned", "begun", "placed")],
        supports_check_mode=True,
    )
    move = Move(Host(), module.check_mode)
    try:
        if module.check_mode or module.params["state"] in READ:
            module.exit_json(**_do(module, move))
        if module.params["state"] == "removed" and not Move(Host(), check=True).removed(data=False)["changed"]:
            # The lock would leave its folder on a host that has nothing of ours any more.
            module.exit_json(changed=False)
        with move.journal.locked():
            result = _do(module, move)
        module.exit_json(**result)
    except MoveError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or move.journal.folder}: {error.strerror or error}")


def _do(module: AnsibleModule, move: Move) -> dict[str, Any]:
    asked = module.params
    state, to = asked["state"], asked["to"]
    if state == "planned":
        plan = move.planned(to)
        return {"changed": False, "plan": plan.lines, "done": plan.done}
    if state == "begun":
        return move.begun(to)
    if state == "placed":
        return move.placed(to)
    if state == "removed":
        return move.removed(asked["data"])
    if state == "copied":
        return move.copied(asked["seconds"])
    done: dict[str, Any] = getattr(move, state)()
    return done


if __name__ == "__main__":
    main()
