#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Steps of transfers of media services. The work is in module_utils/streamfleet/transfers.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_transfer
short_description: Begin or find a transfer of media services to another node, and have the panel do its steps
version_added: 0.3.0
description:
  - The panel's part of a transfer, step by step. Files are copied, nodes converged and everything put in its order by
    C(playbooks/transfer.yml), which is what operators run.
  - A step that was done already is no error, so that a run that was killed can be gone on with.
options:
  step:
    description:
      - V(begin) notes a transfer to O(to), or finds the one of just these services; in check mode it only says what
        that would be. V(find) finds the one that they are in, and V(look) the one with O(id).
      - V(hold) has the services be off the air, for their last changes to be copied, and V(resume) ends that,
        or a release that is not at its end.
        V(switch) gives them to the other node. V(undo) gives them back, where V(back) follows it if they were switched.
        V(release) gives up what the former node has. V(finish) is the end, when that is reported to be removed.
    type: str
    choices: [begin, find, look, hold, resume, switch, undo, back, release, finish]
    required: true
  id:
    description: Number of the transfer, for all steps but the first two.
    type: int
  hold:
    description:
      - For V(switch), V(back) and V(resume), the number of the hold that they end, as the step before has said it.
    type: int
  force:
    description: For V(release), that services may have failed on the node that has them by now.
    type: bool
    default: false
  services:
    description: Slugs of the services. One of O(services), O(customer) and O(node).
    type: list
    elements: str
  customer:
    description: User name of the customer, for all services.
    type: str
  node:
    description: Name of a node, for all services that are there.
    type: str
  to:
    description: For O(step=begin), name of the node that gets them.
    type: str
attributes:
  check_mode:
    support: full
    description: Begins and changes nothing; what would stand in the way of V(begin) is said.
  diff_mode:
    support: none
    description: Returns no diff.
extends_documentation_fragment:
  - streamfleet
seealso:
  - module: streamfleet_service_copy
  - module: streamfleet_converge
"""

EXAMPLES = r"""
- name: Say what a transfer would be
  streamfleet_transfer:
    step: begin
    services: [rock-fm]
    to: node2
  check_mode: true
  register: __transfer
"""

RETURN = r"""
transfer:
  description:
    - The transfer, with its C(state), its nodes C(source) and C(target), its C(services) with their ports on both, and
      the C(libraries) that go along.
    - Null where the services are there already, where none was found, and after its end.
  returned: success
  type: dict
  sample:
    id: 7
    state: copying
    source: {name: node1, address: 192.0.2.10}
    target: {name: node2, address: 192.0.2.11}
    services: [{slug: rock-fm, source_ports: {port: 10000}, target_ports: {port: 10004}}]
    libraries: [{customer: alice, uid: 200001, keep: false}]
beside:
  description: Slugs of services of the transfer that were not named.
  returned: with O(step=find)
  type: list
  elements: str
  sample: [jazz-fm]
names:
  description: Domains of customers that lead to the former node still.
  returned: with O(step=find)
  type: list
  elements: str
  sample: [radio.example.com]
"""

from ansible.module_utils.streamfleet.transfers import run_transfer_module


def main() -> None:
    """Run the module."""
    run_transfer_module()


if __name__ == "__main__":
    main()
