#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What may reach a host from outside. The work is in module_utils/streamfleet/firewall."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_firewall
short_description: Let in what a host is for, and take the change back if it locks Ansible out
version_added: 0.2.0
description:
  - Loads a table of nftables of its own, C(inet streamfleet_firewall), that lets in what is named, answers, ICMP, and
    SSH at the ports that the host's SSH server listens at. No other table is touched.
  - The action then logs in anew, and confirms. A change that is not confirmed in time takes itself back on the host,
    with nobody's help; what is confirmed is what the host boots with.
  - The program that the role C(firewall) puts in place must be there.
options:
  open:
    description: Ports that are open.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: What it is for., type: str, required: true}
      protocol: {description: Protocol., type: str, choices: [tcp, udp], default: tcp}
      ports:
        description: Ports, or ranges as in V(10000-19999).
        type: list
        elements: str
        required: true
      sources:
        description: Networks that it is open to; none, to everybody.
        type: list
        elements: str
        default: []
  ssh_ports:
    description: Ports of SSH that are open beside those that its server listens at.
    type: list
    elements: int
    default: []
  ssh_sources:
    description: Networks that SSH is open to; none, to everybody.
    type: list
    elements: str
    default: []
  interfaces:
    description: Network interfaces that everything is let in at.
    type: list
    elements: str
    default: []
  protocols:
    description: Further protocols of IP, by number, or by name where the host has C(/etc/protocols).
    type: list
    elements: str
    default: []
  close_others:
    description:
      - Whether a change may close ports where other programs listen, as a host's first firewall may. Otherwise it is
        refused, with their names.
    type: bool
    default: false
  confirm_seconds:
    description: Seconds after which a change takes itself back if it is not confirmed.
    type: int
    default: 60
  needs_ssh:
    description: Whether the host must have an SSH server; the action says so of hosts that it reaches by SSH.
    type: bool
    default: false
  token:
    description: Which change is confirmed, as it was returned by the first step; the action passes it.
    type: str
  step:
    description: What is done on the host; the action asks for one after the other.
    type: str
    choices: [change, confirm]
    default: change
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns the rules as nft reads them.
    support: full
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Let in what the host is for, and nothing else
  streamfleet_firewall:
    open:
      - name: web
        ports: ["80", "443"]
      - name: services
        ports: ["10000-19999"]
      - name: monitoring
        ports: ["9100"]
        sources: [192.0.2.10, "2001:db8::10"]
    ssh_sources: [192.0.2.0/24]
"""

RETURN = r"""
ssh_ports:
  description: The ports that SSH is open at.
  returned: success
  type: list
  elements: int
  sample: [22]
unconfirmed:
  description: Token of the change that is to be confirmed; empty where there is nothing to confirm; the action's own.
  returned: success
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.firewall.change import FirewallError, change, confirm
from ansible.module_utils.streamfleet.firewall.listeners import ListenersError
from ansible.module_utils.streamfleet.firewall.rules import RulesError
from ansible.module_utils.streamfleet.node_apply.host import Host


def main() -> None:
    texts: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
    opening: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
        "ports": {"type": "list", "elements": "str", "required": True},
        "sources": texts,
    }
    module = AnsibleModule(
        argument_spec={
            "open": {"type": "list", "elements": "dict", "default": [], "options": opening},
            "ssh_ports": {"type": "list", "elements": "int", "default": []},
            "ssh_sources": texts,
            "interfaces": texts,
            "protocols": texts,
            "close_others": {"type": "bool", "default": False},
            "confirm_seconds": {"type": "int", "default": 60},
            "needs_ssh": {"type": "bool", "default": False},
            "token": {"type": "str", "no_log": False},
            "step": {"type": "str", "choices": ["change", "confirm"], "default": "change"},
        },
        required_if=[("step", "confirm", ["token"])],
        supports_check_mode=True,
    )
    try:
        if module.params["step"] == "confirm":
            confirm(Host(), module.params["token"])
            result: dict[str, Any] = {"changed": True}
        else:
            result = change(Host(), module.params, module.check_mode)
    except (FirewallError, ListenersError, RulesError, OSError) as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
