#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The own authority. The work is in module_utils/streamfleet/tls/authority.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_authority
short_description: Keep the own certificate authority, and sign requests
version_added: 0.2.0
description:
  - Makes the authority's key and certificate where they are missing. A key that is there is never made anew.
  - Signs the requests of M(streamfleet_certificates), for the names that stand beside each of them, not for what is in
    the request itself.
options:
  folder:
    description: Where key, certificate and what was issued are kept.
    type: path
    default: /etc/streamfleet/ca
  name:
    description: What browsers show as the issuer.
    type: str
    default: Streamfleet
  days:
    description: Validity of the authority's certificate, in days from when it is made.
    type: int
    default: 3650
  permitted_names:
    description: Domains that it may sign for; empty means no constraint. Fixed when the authority is made.
    type: list
    elements: str
    default: []
  requests:
    description: What to sign, as M(streamfleet_certificates) returns it.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Host name., type: str, required: true}
      alternatives:
        description: Further host names.
        type: list
        elements: str
        default: []
      addresses:
        description: IP addresses.
        type: list
        elements: str
        default: []
      csr: {description: The request (PEM)., type: str, required: true}
  certificate_days:
    description: Validity of what is signed, in days.
    type: int
    default: 365
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
- name: Have an authority
  streamfleet_authority:
    name: Example Radio
    permitted_names: [example.net]
"""

RETURN = r"""
authority_certificate:
  description: The authority's certificate (PEM).
  returned: always, empty in check mode before there is one
  type: str
certificates:
  description: What was signed (PEM), by name.
  returned: always
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.streamfleet.tls import pem
from ansible.module_utils.streamfleet.tls.authority import CERTIFICATE, KEY, Authority
from ansible.module_utils.streamfleet.tls.errors import TlsError
from ansible.module_utils.streamfleet.tls.names import Names


def main() -> None:
    request = {
        "name": {"type": "str", "required": True},
        "alternatives": {"type": "list", "elements": "str", "default": []},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "csr": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "default": "/etc/streamfleet/ca"},
            "name": {"type": "str", "default": "Streamfleet"},
            "days": {"type": "int", "default": 3650},
            "permitted_names": {"type": "list", "elements": "str", "default": []},
            "requests": {"type": "list", "elements": "dict", "default": [], "options": request},
            "certificate_days": {"type": "int", "default": 365},
        },
        supports_check_mode=True,
    )
    options = module.params
    folder = Path(options["folder"])
    if module.check_mode:
        there = (folder / KEY).exists() and (folder / CERTIFICATE).exists()
        text = (folder / CERTIFICATE).read_text() if there else ""
        module.exit_json(changed=not there or bool(options["requests"]), authority_certificate=text, certificates={})
    if pem.MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(pem.MISSING))
    try:
        authority = Authority(folder, options["name"], options["days"], tuple(options["permitted_names"]))
        made = authority.ensure()
        requests = [(Names.of(item), item["csr"]) for item in options["requests"]]
        signed = authority.sign(requests, options["certificate_days"])
        module.exit_json(changed=made or bool(signed), authority_certificate=authority.text, certificates=signed)
    except TlsError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or folder}: {error.strerror or error}")


if __name__ == "__main__":
    main()
