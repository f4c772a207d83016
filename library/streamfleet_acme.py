#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requests for an ACME directory, and its client on the host. The work is in module_utils/streamfleet/tls/acme.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_acme
short_description: Have a host's certificates ordered from an ACME directory
version_added: 0.2.0
description:
  - With O(state=prepared) makes the requests that the client of role certificates has signed. Private keys never leave
    their folders, and the client does not see them.
  - With O(state=ordered) says what is due, has the client order it at once, and waits until it is in place. What was
    issued before, and has had another source's certificate put over it, is put back without an order. What does
    not succeed is no failure of the module, unless it was asked for with O(renew) or O(revoke); the client tries it
    again by itself.
  - In check mode it says what would be ordered, and asks nobody. What has failed when it was last tried is not foretold
    to succeed.
options:
  state:
    description: Which part of the work to do.
    type: str
    choices: [prepared, ordered]
    required: true
  names:
    description: The certificates that the directory is to issue.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Host name and name of the folder., type: str, required: true}
      alternatives:
        description: Further host names; C(*.) before one stands for all names below it.
        type: list
        elements: str
        default: []
  settings:
    description: For O(state=ordered), what the client's C(settings.json) holds, or would hold.
    type: dict
    default: {}
  renew:
    description: Names that are ordered anew though they are not due; C(all) is every one of O(settings). Names of
      tenants' own that lead to services of the host may be among them, beside C(all), too.
    type: list
    elements: str
    default: []
  revoke:
    description: Names whose certificate is replaced, with a new key, and then revoked; tenants' own, too.
    type: list
    elements: str
    default: []
  revoke_reason:
    description: Why.
    type: str
    choices: [unspecified, key_compromise, affiliation_changed, superseded, cessation_of_operation]
    default: unspecified
  revoke_unreplaced:
    description: Whether it is revoked even if the directory issues no new one, so that a revoked one is served.
    type: bool
    default: false
  wait_seconds:
    description: How long to wait for the client.
    type: int
    default: 180
  key_type:
    description: Kind of keys that are made.
    type: str
    choices: [ec256, ec384, rsa2048, rsa3072, rsa4096]
    default: ec256
  directory:
    description: Where the folders of certificates are.
    type: path
    default: /etc/streamfleet/tls
  authority:
    description: Where the own authority's certificate is.
    type: path
    default: /etc/streamfleet/ca/ca.pem
  client_settings:
    description: Where the client's settings and requests are.
    type: path
    default: /etc/streamfleet/acme
  client_data:
    description: Where the client's state is.
    type: path
    default: /var/lib/streamfleet/certificates
  group:
    description: Group of the servers, which may read keys.
    type: str
    default: www-data
  client_group:
    description: Group of the client, which may read requests.
    type: str
    default: streamfleet-acme
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns no diff.
    support: none
requirements:
  - python3-cryptography on the host
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Have the requests there
  streamfleet_acme:
    state: prepared
    names:
      - name: stream.example.net

- name: Order what is due, and one that is not
  streamfleet_acme:
    state: ordered
    settings: "{{ __settings }}"
    renew: [stream.example.net]
"""

RETURN = r"""
paths:
  description: Requests that changed.
  returned: with O(state=prepared)
  type: list
  elements: str
due:
  description: What was ordered, or would be, each with C(name) and C(reason).
  returned: with O(state=ordered)
  type: list
  elements: dict
put_back:
  description: Names whose certificate was issued before and is in place again, or would be, without an order.
  returned: with O(state=ordered)
  type: list
  elements: str
orders:
  description: >-
    Every name of O(settings), and tenants' own that were asked for, with whether the directory's certificate is
    C(in_place), C(not_after), the last C(error), whether that was found C(here) or by the directory, C(next_try),
    whether it was C(issued) or C(revoked) now.
  returned: with O(state=ordered), not in check mode
  type: list
  elements: dict
missing:
  description: What is not in place, in sentences.
  returned: with O(state=ordered), not in check mode
  type: list
  elements: str
"""

import grp
import uuid
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.streamfleet.tls import acme, csr, pem
from ansible.module_utils.streamfleet.tls.certificates import Place
from ansible.module_utils.streamfleet.tls.errors import TlsError
from ansible.module_utils.streamfleet.tls.names import ACME, Names
from ansible.module_utils.streamfleet.tls.orders import Asked
from ansible.module_utils.streamfleet.tls.shelf import Shelf

NAMES = {
    "name": {"type": "str", "required": True},
    "alternatives": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["prepared", "ordered"], "required": True},
            "names": {"type": "list", "elements": "dict", "default": [], "options": NAMES},
            "settings": {"type": "dict", "default": {}},
            "renew": {"type": "list", "elements": "str", "default": []},
            "revoke": {"type": "list", "elements": "str", "default": []},
            "revoke_reason": {"type": "str", "choices": list(acme.REASONS), "default": "unspecified"},
            "revoke_unreplaced": {"type": "bool", "default": False},
            "wait_seconds": {"type": "int", "default": 180},
            "key_type": {"type": "str", "choices": list(pem.KINDS), "default": "ec256", "no_log": False},
            "directory": {"type": "path", "default": "/etc/streamfleet/tls"},
            "authority": {"type": "path", "default": "/etc/streamfleet/ca/ca.pem"},
            "client_settings": {"type": "path", "default": "/etc/streamfleet/acme"},
            "client_data": {"type": "path", "default": "/var/lib/streamfleet/certificates"},
            "group": {"type": "str", "default": "www-data"},
            "client_group": {"type": "str", "default": "streamfleet-acme"},
        },
        supports_check_mode=True,
    )
    options = module.params
    if pem.MISSING is not None and not module.check_mode:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(pem.MISSING))
    try:
        if options["state"] == "prepared":
            _prepare(module, [Names.of({**item, "source": ACME}) for item in options["names"]])
        else:
            _order(module)
    except TlsError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or options['client_data']}: {error.strerror or error}")


def _shelf(module: AnsibleModule) -> Shelf:
    return Shelf(Path(module.params["client_settings"]), Path(module.params["client_data"]))


def _place(module: AnsibleModule) -> Place:
    options = module.params
    group = _group(module, options["group"])
    return Place(Path(options["directory"]), Path(options["authority"]), group, 0, options["key_type"])


def _group(module: AnsibleModule, name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if module.check_mode:
            return 0
        raise TlsError(f"group {name} does not exist on this host: run install.yml for this host") from None


def _prepare(module: AnsibleModule, names: list[Names]) -> None:
    shelf = _shelf(module)
    if pem.MISSING is not None:
        # An earlier step of the same run would have installed it, so nothing is there yet.
        module.exit_json(changed=bool(names), paths=[str(shelf.request(item.name)) for item in names])
    group = _group(module, module.params["client_group"])
    paths = csr.prepare(shelf, _place(module), names, group, write=not module.check_mode)
    module.exit_json(changed=bool(paths), paths=paths)


def _order(module: AnsibleModule) -> None:
    options = module.params
    shelf = _shelf(module)
    known = [item["name"] for item in options["settings"].get("orders", [])]
    every = known if "all" in options["renew"] else []
    renew = dict.fromkeys([*every, *(name for name in options["renew"] if name != "all")])
    asked = Asked(
        str(uuid.uuid4()), tuple(renew), tuple(options["revoke"]), acme.REASONS[options["revoke_reason"]],
        options["revoke_unreplaced"], True,
    )  # fmt: skip
    if pem.MISSING is not None:
        due = [{"name": name, "reason": "there is none yet"} for name in known]
        module.exit_json(changed=bool(due), due=due, put_back=[])
    settings = {**options["settings"], "secrets": shelf.secrets()}
    look = acme.Look(shelf, settings, asked)
    look.plan(acme.now())
    place = _place(module)
    look.uncover(place, acme.now())
    if module.check_mode:
        changed = len(look.due) > len(look.doubtful) or bool(look.covered)
        module.exit_json(changed=changed, due=look.due, put_back=look.covered)
    if look.due:
        group = _group(module, options["client_group"])
        for item in options["names"]:
            if item["name"] in options["revoke"]:
                csr.new_key(place, Names.of({**item, "source": ACME}), shelf.request(item["name"]), group)
        look.lay_aside(place, group)
        look.ask(group)
    if look.due or look.covered:
        look.start(options["wait_seconds"])
    found = look.results(place)
    put_back = look.put_back()
    result = {
        "changed": any(item["issued"] or item["revoked"] for item in found) or bool(put_back),
        "due": look.due,
        "put_back": put_back,
        "orders": found,
        "missing": [acme.sentence(item) for item in found if not item["in_place"] or item["error"]],
    }
    undone = [text for item in found if (text := acme.undone(item, asked))]
    if undone:
        module.fail_json(msg=" ".join(undone), **result)
    for text in result["missing"]:
        module.warn(text)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
