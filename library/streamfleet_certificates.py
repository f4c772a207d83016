#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys, requests and certificates of a host. The work is in module_utils/streamfleet/tls/certificates.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_certificates
short_description: Ask for a host's certificates, and install them
version_added: 0.2.0
description:
  - With O(state=requested) looks at all certificates of the host at once, and makes keys and requests for those that
    are missing, do not fit, or are about to expire.
  - With O(state=installed) puts what M(streamfleet_authority) has signed in place. Servers read certificates by path,
    so nothing is restarted. Modes and group of what an ACME directory signs are put right.
  - With O(state=brought) puts the operator's own certificates in place, once all of them have been looked through.
  - Private keys are made on the host and never leave it.
options:
  state:
    description: Which part of the work to do.
    type: str
    choices: [requested, installed, brought]
    required: true
  names:
    description: The certificates, each with a folder of its own.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Host name and name of the folder., type: str, required: true}
      alternatives:
        description: Further host names; C(*.) before one stands for all names below it.
        type: list
        elements: str
        default: []
      addresses:
        description: IP addresses.
        type: list
        elements: str
        default: []
      source:
        description: >-
          Who makes it. C(acme) is asked for here only until the directory has issued one (M(streamfleet_acme)),
          C(files) is the operator's, by O(state=brought).
        type: str
        choices: [authority, acme, files]
        default: authority
  key_type:
    description: Kind of keys that are made.
    type: str
    choices: [ec256, ec384, rsa2048, rsa3072, rsa4096]
    default: ec256
  files:
    description: For O(state=brought), by name C(certificate) (PEM, the server's own first) and C(key) (PEM).
    type: dict
    default: {}
  directory:
    description: Where the folders are.
    type: path
    default: /etc/streamfleet/tls
  authority:
    description: Where the authority's certificate is.
    type: path
    default: /etc/streamfleet/ca/ca.pem
  group:
    description: Group of the servers, which may read keys.
    type: str
    default: www-data
  renew_days:
    description: A certificate with fewer days left is due.
    type: int
    default: 60
  certificates:
    description: For O(state=installed), the signed certificates by name.
    type: dict
    default: {}
  authority_certificate:
    description: For O(state=installed), the authority's certificate.
    type: str
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
- name: Ask for what is due
  streamfleet_certificates:
    state: requested
    names:
      - name: stream.example.net
        addresses: [192.0.2.10]
  register: __asked

- name: Sign on the authority's host
  streamfleet_authority:
    requests: "{{ __asked.requests }}"
  delegate_to: panel1
  register: __signed

- name: Install what was signed
  streamfleet_certificates:
    state: installed
    names:
      - name: stream.example.net
        addresses: [192.0.2.10]
    certificates: "{{ __signed.certificates }}"
    authority_certificate: "{{ __signed.authority_certificate }}"
"""

RETURN = r"""
requests:
  description: What is to be signed, with the names as they were given and C(csr).
  returned: with O(state=requested)
  type: list
  elements: dict
paths:
  description: Files that changed.
  returned: with O(state=installed) and O(state=brought)
  type: list
  elements: str
"""

import grp
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.streamfleet.tls import certificates, pem
from ansible.module_utils.streamfleet.tls.errors import TlsError
from ansible.module_utils.streamfleet.tls.names import ACME, AUTHORITY, FILES, Names

NAMES = {
    "name": {"type": "str", "required": True},
    "alternatives": {"type": "list", "elements": "str", "default": []},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "source": {"type": "str", "choices": [AUTHORITY, ACME, FILES], "default": AUTHORITY},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["requested", "installed", "brought"], "required": True},
            "names": {"type": "list", "elements": "dict", "required": True, "options": NAMES},
            "key_type": {"type": "str", "choices": list(pem.KINDS), "default": "ec256", "no_log": False},
            "files": {"type": "dict", "default": {}, "no_log": True},
            "directory": {"type": "path", "default": "/etc/streamfleet/tls"},
            "authority": {"type": "path", "default": "/etc/streamfleet/ca/ca.pem"},
            "group": {"type": "str", "default": "www-data"},
            "renew_days": {"type": "int", "default": 60},
            "certificates": {"type": "dict", "default": {}},
            "authority_certificate": {"type": "str"},
        },
        required_if=[("state", "installed", ["authority_certificate"])],
        supports_check_mode=True,
    )
    options = module.params
    if pem.MISSING is not None:
        if not module.check_mode:
            module.fail_json(msg=missing_required_lib("cryptography"), exception=str(pem.MISSING))
        # An earlier step of the same run would have installed it, so nothing is there yet.
        given = [{**item, "csr": ""} for item in options["names"] if item.pop("source") != FILES]
        module.exit_json(changed=True, requests=given, paths=[])
    try:
        wanted = [Names.of(item) for item in options["names"]]
        place = certificates.Place(
            Path(options["directory"]),
            Path(options["authority"]),
            grp.getgrnam(options["group"]).gr_gid,
            options["renew_days"],
            options["key_type"],
        )
        if options["state"] == "brought":
            pairs = options["files"]
            found = [(names, *certificates.brought(place, names, pairs.get(names.name) or {})) for names in wanted]
            paths = [path for one in found for path in certificates.bring(place, *one, write=not module.check_mode)]
            module.exit_json(changed=bool(paths), paths=paths)
        due = certificates.due(place, wanted)
        if options["state"] == "requested":
            asked = {names.name: "" if module.check_mode else certificates.request(place, names) for names in due}
            given = [
                {**{key: value for key, value in item.items() if key != "source"}, "csr": asked[item["name"]]}
                for item in options["names"]
                if item["name"] in asked
            ]
            module.exit_json(changed=bool(due), requests=given)
        if module.check_mode:
            module.exit_json(changed=bool(due or certificates.put_right(place, wanted, write=False)), paths=[])
        paths = certificates.install(place, wanted, options["certificates"], options["authority_certificate"])
        module.exit_json(changed=bool(paths), paths=paths)
    except TlsError as error:
        module.fail_json(msg=str(error))
    except KeyError:
        module.fail_json(msg=f"group {options['group']} does not exist on this host: install the web server first")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or options['directory']}: {error.strerror or error}")


if __name__ == "__main__":
    main()
