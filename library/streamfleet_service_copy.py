#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of media services on their way to another node. The work is in module_utils/streamfleet/service_copy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_service_copy
short_description: Have the files of media services be fetched from one node by another
version_added: 0.3.0
description:
  - What C(playbooks/transfer.yml) asks of the two nodes of a transfer, step by step. The node that gets the services
    fetches their folders from the other one by rsync, itself and in the background, so that it goes on when the
    controller is gone. No file passes the controller.
  - The key that it does so with is made for the transfer, can read these folders and nothing else, and is taken away at
    the end.
  - Each step may be asked for again.
options:
  state:
    description:
      - On the node that gives, C(measured) only says how much there is, C(served) lets O(public_key) read, and
        C(withdrawn) ends that.
      - On the node that gets, C(keyed) makes the key, C(copied) fetches while the services are in use and says how far
        it is, C(caught_up) fetches what has changed since and compares, while they are not, and C(forgotten) removes
        the key.
      - On the node that has the services no more, C(removed) removes the libraries of O(libraries). What services have
        besides goes by C(streamfleet_converge).
      - On either, C(heard) listens to O(services) by their routes, and tries those that are silent for O(seconds).
    type: str
    choices: [measured, served, withdrawn, keyed, copied, caught_up, forgotten, removed, heard]
    required: true
  transfer:
    description: Number of the transfer in the panel.
    type: str
  services:
    description: For O(state=measured), O(state=served) and O(state=heard), slugs of the services.
    type: list
    elements: str
    default: []
  libraries:
    description: For O(state=measured), O(state=served) and O(state=removed), uids whose media libraries go along.
    type: list
    elements: int
    default: []
  folders:
    description: For O(state=copied) and O(state=caught_up), what RV(folders) of O(state=served) said.
    type: list
    elements: str
    default: []
  bytes:
    description: For O(state=copied), how much there is; without room for it nothing is begun.
    type: int
    default: 0
  user:
    description: User that the node that gives is reached as.
    type: str
    default: streamfleet-converge
  address:
    description: Address of the node that gives, on the one that gets.
    type: str
  port:
    description: Its port of SSH.
    type: int
    default: 22
  host_key:
    description: Its public host key, as the panel knows it.
    type: str
  public_key:
    description: For O(state=served), the key that may read.
    type: str
  seconds:
    description:
      - For O(state=copied), how long a step waits at most before the action says how far the copy is; for
        O(state=heard), how long silent services are tried.
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
- name: Say how much there is to copy
  streamfleet_service_copy:
    state: measured
    services: [rock-fm]
    libraries: [200001]
  register: __size
"""

RETURN = r"""
folders:
  description: Folders below C(/var/lib/streamfleet) that there are.
  returned: with O(state=measured) and O(state=served)
  type: list
  elements: str
  sample: [services/rock-fm, media/200001]
files:
  description: How many files are in them.
  returned: with O(state=measured) and O(state=served)
  type: int
bytes:
  description: How large these are.
  returned: with O(state=measured) and O(state=served)
  type: int
public_key:
  description: The public half of the key.
  returned: with O(state=keyed)
  type: str
status:
  description: How far the copy is.
  returned: with O(state=copied)
  type: dict
  sample: {running: true, step: "copy, pass 1", percent: 41.0, words: "52,428,800 bytes, 12.5MB/s"}
verified:
  description: What was found to be as it is on the other node, and the seconds that the last pass took.
  returned: with O(state=caught_up)
  type: dict
  sample: {files: 1200, bytes: 5368709120, seconds: 1.8}
heard:
  description: Slug of each service, and how many bytes came of its stream; 0 where it is silent.
  returned: with O(state=heard)
  type: dict
  sample: {rock-fm: 16384}
freed:
  description: What was removed.
  returned: with O(state=removed)
  type: dict
  sample: {files: 1200, bytes: 5368709120}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.node_apply.host import Host
from ansible.module_utils.streamfleet.service_copy import getting, giving, hearing
from ansible.module_utils.streamfleet.service_copy.places import CopyError, folders_of, measured, there

#: States of the node that gets, which need the way to the other.
FETCHING = ("keyed", "copied", "caught_up")


def main() -> None:
    states = ["measured", "served", "withdrawn", "keyed", "copied", "caught_up", "forgotten", "removed", "heard"]
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": states, "required": True},
            "transfer": {"type": "str"},
            "services": {"type": "list", "elements": "str", "default": []},
            "libraries": {"type": "list", "elements": "int", "default": []},
            "folders": {"type": "list", "elements": "str", "default": []},
            "bytes": {"type": "int", "default": 0},
            "user": {"type": "str", "default": "streamfleet-converge"},
            "address": {"type": "str"},
            "port": {"type": "int", "default": 22},
            "host_key": {"type": "str", "no_log": False},
            "public_key": {"type": "str", "no_log": False},
            "seconds": {"type": "float", "default": 5},
        },
        required_if=[
            ("state", "served", ["transfer", "public_key"]),
            ("state", "withdrawn", ["transfer"]),
            ("state", "forgotten", ["transfer"]),
            *(("state", state, ["transfer", "address", "host_key"]) for state in FETCHING),
        ],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**_do(module, Host()))
    except CopyError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['state']}: {error.strerror or error}")


def _do(module: AnsibleModule, host: Host) -> dict[str, Any]:
    asked = module.params
    state = asked["state"]
    folders = folders_of(asked["services"], asked["libraries"])
    if state == "measured":
        return {"changed": False, **_counted(host, folders)}
    if state == "heard":
        return {"changed": False, "heard": hearing.heard(host, asked["services"], asked["seconds"])}
    if module.check_mode:
        return {"changed": True}
    if state == "served":
        here = giving.served(host, asked["transfer"], asked["user"], asked["public_key"], folders)
        return {"changed": True, **_counted(host, here)}
    if state == "withdrawn":
        return {"changed": giving.withdrawn(host, asked["transfer"], asked["user"])}
    if state == "removed":
        gone: dict[str, Any] = getting.removed(host, asked["libraries"])
        return gone
    here = getting.Getting(host, asked["transfer"])
    if state == "forgotten":
        return {"changed": here.ended()}
    origin = getting.Origin(asked["address"], asked["port"], asked["user"], asked["host_key"])
    if state == "keyed":
        return {"changed": True, "public_key": here.keyed(origin)}
    fetched: dict[str, Any]
    if state == "copied":
        fetched = here.copied(origin, asked["folders"], asked["bytes"], asked["seconds"])
    else:
        fetched = here.caught_up(origin, asked["folders"])
    return fetched


def _counted(host: Host, folders: list[str]) -> dict[str, Any]:
    counts = measured(host, folders)
    return {"folders": there(host, folders), "files": counts.files, "bytes": counts.bytes}


if __name__ == "__main__":
    main()
