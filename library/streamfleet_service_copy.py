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
  - The key that it does so with is made for the transfer, can read these folders and nothing else, and is taken away
    when they are there.
  - Nothing is overwritten or removed that the transfer has not brought there itself. What a copy back replaces is kept
    in C(/var/lib/streamfleet/transfer/<number>/replaced) until the end of the transfer, and longer with O(fewer) and
    where it could not be put back.
  - Each step may be asked for again. A node that cannot be reached is a failure, so that what was begun is taken back.
options:
  state:
    description:
      - On the node that gives, V(measured) only says how much there is, V(served) lets O(public_key) read, V(quiet)
        waits until nobody writes there any more, and V(withdrawn) ends that.
      - On the node that gets, V(ready) looks whether it can have the services, V(keyed) makes the key, V(copied)
        fetches while the services are in use and says how far it is, V(caught_up) fetches what has changed since and
        compares, while they are not, and V(forgotten) removes the key.
      - On the node that the services were on at first, V(put_back) has the folders be as they were before a copy back
        that will never be ended, as the other node is dead. What that copy has brought beside stays.
      - V(compared) sees that the files of O(given) are on this node, too, before the other one removes them.
      - On the node that has the services no more, V(removed) removes the libraries of O(libraries) that the transfer
        has brought or given. What services have besides goes by M(streamfleet_converge); of a node that never had them
        the folders of O(services) that the transfer has made go here.
      - On either, V(heard) listens to O(services) by their routes and notes it, V(heard_again) listens once to those
        that were heard, for O(seconds) until it fails, and V(ended) forgets the transfer.
    type: str
    choices:
      - measured
      - served
      - quiet
      - withdrawn
      - ready
      - keyed
      - copied
      - caught_up
      - forgotten
      - put_back
      - compared
      - removed
      - heard
      - heard_again
      - ended
    required: true
  transfer:
    description: Number of the transfer in the panel.
    type: str
  services:
    description: Slugs of the services, for all states that name or copy folders.
    type: list
    elements: str
    default: []
  libraries:
    description: Uids whose media libraries go along, for all states that name or copy folders.
    type: list
    elements: int
    default: []
  given:
    description:
      - For O(state=copied), O(state=caught_up) and O(state=compared), what RV(given) of the other node said.
    type: dict
    default: {}
  bytes:
    description: For O(state=copied), how much there is; without room for it nothing is begun.
    type: int
    default: 0
  back:
    description:
      - For O(state=copied) and O(state=caught_up), that the folders are those that were here before. Otherwise they are
        made, and one that has files already is refused.
    type: bool
    default: false
  fewer:
    description:
      - For O(state=compared), and with O(back), that a folder may have less than half of the files that the other
        copy has.
    type: bool
    default: false
  brought:
    description:
      - For O(state=ended), that what the transfer has brought to this node stays, and what is noted of it; it may be
        the only copy that there is.
    type: bool
    default: false
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
  addresses:
    description:
      - For O(state=served), addresses and names of the node that may use the key; empty for any.
      - For O(state=ready), addresses of the node that will send connections on; jails of role fail2ban have to spare
        it.
    type: list
    elements: str
    default: []
  templates:
    description: For O(state=ready), what RV(templates) of the node that gives said.
    type: list
    elements: str
    default: []
  ports:
    description: For O(state=ready), ports that the services will have here.
    type: list
    elements: int
    default: []
  seconds:
    description:
      - For O(state=copied), how long a step waits at most before the action says how far the copy is; for
        O(state=heard_again), how long silent services are tried; for O(state=quiet), how long it waits.
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
given:
  description: Folders below C(/var/lib/streamfleet) that there are, each with the number of its files.
  returned: with O(state=measured), O(state=served) and O(state=compared)
  type: dict
  sample: {services/rock-fm: 12, media/200001: 1188}
files:
  description: How many files are in them; with O(state=put_back), how many were put back.
  returned: with O(state=measured), O(state=served) and O(state=put_back)
  type: int
bytes:
  description: How large these are.
  returned: with O(state=measured) and O(state=served)
  type: int
templates:
  description: Templates of the units that the services have on this node.
  returned: with O(state=measured)
  type: list
  elements: str
  sample: [streamfleet-icecast@.service]
public_key:
  description: The public half of the key.
  returned: with O(state=keyed)
  type: str
addresses:
  description: Addresses that this node is seen as by the one that gives.
  returned: with O(state=keyed)
  type: list
  elements: str
  sample: [192.0.2.11]
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
  returned: with O(state=heard) and O(state=heard_again)
  type: dict
  sample: {rock-fm: 16384}
kept:
  description:
    - Folder with what a copy back has replaced by fewer files, or what could not be put back; somebody has to remove
      it. Empty where none is.
  returned: with O(state=ended) and O(state=put_back)
  type: str
  sample: ""
problem:
  description: Why something was not put back; empty where all was.
  returned: with O(state=put_back)
  type: str
  sample: ""
brought:
  description: Folders with files that the transfer has brought to this node, with O(brought).
  returned: with O(state=ended)
  type: list
  elements: str
  sample: [/var/lib/streamfleet/media/200001]
freed:
  description: What was removed.
  returned: with O(state=removed)
  type: dict
  sample: {files: 1200, bytes: 5368709120}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.node_apply.errors import ApplyError
from ansible.module_utils.streamfleet.node_apply.host import Host
from ansible.module_utils.streamfleet.service_copy import getting, giving, hearing, quiet, ready
from ansible.module_utils.streamfleet.service_copy.notes import Notes
from ansible.module_utils.streamfleet.service_copy.places import CopyError, folders_of, measured, total

#: States of the node that gets, which need the way to the other.
FETCHING = ("keyed", "copied", "caught_up")
#: States that need the number of the transfer, and no way.
NUMBERED = ("served", "withdrawn", "forgotten", "put_back", "removed", "compared", "heard", "heard_again", "ended")
#: States that only look.
LOOKING = ("measured", "quiet", "ready", "compared")
STATES = (
    *("measured", "served", "quiet", "withdrawn", "ready", "keyed", "copied", "caught_up", "forgotten", "compared"),
    *("put_back", "removed", "heard", "heard_again", "ended"),
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": list(STATES), "required": True},
            "transfer": {"type": "str"},
            "services": {"type": "list", "elements": "str", "default": []},
            "libraries": {"type": "list", "elements": "int", "default": []},
            "given": {"type": "dict", "default": {}},
            "bytes": {"type": "int", "default": 0},
            "back": {"type": "bool", "default": False},
            "fewer": {"type": "bool", "default": False},
            "brought": {"type": "bool", "default": False},
            "user": {"type": "str", "default": "streamfleet-converge"},
            "address": {"type": "str"},
            "port": {"type": "int", "default": 22},
            "host_key": {"type": "str", "no_log": False},
            "public_key": {"type": "str", "no_log": False},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "templates": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "seconds": {"type": "float", "default": 5},
        },
        required_if=[
            *(("state", state, ["transfer"]) for state in NUMBERED),
            ("state", "served", ["public_key"]),
            *(("state", state, ["transfer", "address", "host_key"]) for state in FETCHING),
        ],
        supports_check_mode=True,
    )
    try:
        state = module.params["state"]
        if module.check_mode and state not in LOOKING:
            module.exit_json(changed=True)
        module.exit_json(**_looked(module, Host()) if state in LOOKING else _done(module, Host()))
    except (CopyError, ApplyError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['state']}: {error.strerror or error}")


def _looked(module: AnsibleModule, host: Host) -> dict[str, Any]:
    asked = module.params
    if asked["state"] == "measured":
        counted = _counted(host, folders_of(asked["services"], asked["libraries"]))
        return {"changed": False, **counted, "templates": ready.templates_of(host, asked["services"])}
    if asked["state"] == "quiet":
        quiet.check(host, folders_of(asked["services"], asked["libraries"]), asked["seconds"])
        return {"changed": False}
    if asked["state"] == "ready":
        ready.check(host, asked["services"], asked["templates"], asked["ports"], asked["addresses"])
        return {"changed": False}
    compared = Notes(host, asked["transfer"]).compared(_given(asked).files, fewer=asked["fewer"])
    return {"changed": False, "given": compared}


def _done(module: AnsibleModule, host: Host) -> dict[str, Any]:
    asked = module.params
    state, transfer = asked["state"], asked["transfer"]
    folders = folders_of(asked["services"], asked["libraries"])
    if state == "served":
        here = giving.served(host, transfer, asked["user"], asked["public_key"], folders, asked["addresses"])
        return {"changed": True, **_counted(host, here)}
    if state == "withdrawn":
        return {"changed": giving.withdrawn(host, transfer, asked["user"])}
    if state == "heard":
        return {"changed": True, "heard": hearing.before(host, transfer, asked["services"])}
    if state == "heard_again":
        found = hearing.again(host, transfer, asked["seconds"])
        return {"changed": bool(found), "heard": found}
    getter = getting.Getting(host, transfer)
    if state == "removed":
        freed = getter.removed(asked["services"], asked["libraries"])
        return {"changed": freed.files > 0, "freed": {"files": freed.files, "bytes": freed.bytes}}
    if state == "forgotten":
        return {"changed": getter.forgotten()}
    if state == "ended":
        brought = getter.notes.brought() if asked["brought"] else []
        changed, kept = getter.ended(brought=asked["brought"])
        return {"changed": changed, "kept": kept, "brought": brought}
    if state == "put_back":
        files, problem = getter.put_back(folders)
        return {
            "changed": files > 0,
            "files": files,
            "problem": problem,
            "kept": str(getter.notes.replaced) if problem else "",
        }
    origin = getting.Origin(asked["address"], asked["port"], asked["user"], asked["host_key"])
    if state == "keyed":
        return {"changed": True, "public_key": getter.keyed(origin), "addresses": getting.seen_as(origin)}
    fetched: dict[str, Any]
    if state == "copied":
        fetched = getter.copied(origin, _given(asked), folders, asked["seconds"])
    else:
        fetched = getter.caught_up(origin, _given(asked), folders)
    return fetched


def _given(asked: dict[str, Any]) -> getting.Given:
    """What the other node has. Raises CopyError."""
    try:
        files = {str(folder): int(count) for folder, count in asked["given"].items()}
    except (TypeError, ValueError):
        raise CopyError("given: is not a number of files for each folder") from None
    return getting.Given(files, asked["bytes"], asked["back"], asked["fewer"])


def _counted(host: Host, folders: list[str]) -> dict[str, Any]:
    counts = measured(host, folders)
    every = total(counts)
    given = {folder: one.files for folder, one in counts.items()}
    return {"given": given, "files": every.files, "bytes": every.bytes}


if __name__ == "__main__":
    main()
