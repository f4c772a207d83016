#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole document at once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_apply
short_description: Apply a document of customers, nodes, media services and all that belongs to them
version_added: 0.1.0
description:
  - Sends any number of objects to the panel in one request. The panel checks all of them, lists every error, and then
    changes all that differ in one transaction, or nothing.
  - Thousands of objects take about as long as one; this is the module for fleets.
options:
  document:
    description:
      - The document. A mapping with the lists V(reseller_plans), V(customers), V(nodes), V(media_services),
        V(playlists), V(djs), V(schedules), V(relays), V(domains), V(panel_domains), V(mounts) and V(media_users); each
        object has the fields that are the options of M(streamfleet_reseller_plan), M(streamfleet_customer),
        M(streamfleet_node), M(streamfleet_media_service),
        M(streamfleet_playlist), M(streamfleet_dj), M(streamfleet_schedule),
        M(streamfleet_relay), M(streamfleet_domain), M(streamfleet_panel_domain),
        M(streamfleet_mount) and M(streamfleet_media_user), and may have C(state=absent).
      - At most 100,000 objects and 32 MiB.
    type: dict
  files:
    description:
      - Files that hold documents, YAML or JSON by their ending; a directory stands for all such files in it, sorted
        by name. They are appended to O(document) and to each other.
      - Read on the host where the module runs; C(delegate_to=localhost) reads the controller's. YAML needs the Python
        library PyYAML there, which every controller has.
    type: list
    elements: path
  label:
    description: Ownership label of this document. Every object that it creates or changes carries it.
    type: str
  prune:
    description: Delete the objects that carry O(label) and are not in the document any more. Nothing else is ever
      pruned.
    type: bool
    default: false
  max_delete:
    description: Refuse the whole document if pruning would delete more objects than this.
    type: int
    default: 10
  return_unchanged:
    description: Whether RV(results) lists the objects too that are unchanged. They are always counted in RV(summary).
    type: bool
    default: false
  job_timeout:
    description:
      - Seconds to wait for a document that the panel works on as a job, as it does with more than 50 new passwords.
    type: int
    default: 1800
attributes:
  check_mode:
    support: full
    description: The panel plans the change in a dry run, with the same rules that decide the real one, and stores
      nothing.
  diff_mode:
    support: full
    description: Returns one entry per changed object, field by field; secrets are masked.
notes:
  - A field that is omitted is left as it is; an explicit V(null) empties it (for a limit, unlimited).
requirements:
  - PyYAML, for O(files) in YAML
extends_documentation_fragment:
  - streamfleet
  - streamfleet.passwords
  - streamfleet.check
seealso:
  - module: streamfleet_customer
  - module: streamfleet_dj
  - module: streamfleet_media_service
  - module: streamfleet_media_user
  - module: streamfleet_playlist
"""

EXAMPLES = r"""
- name: A customer with a station that plays the customer's media library by itself
  streamfleet_apply:
    document:
      customers:
        - username: alice
          email: alice@example.net
          password: "{{ vault_alice_password }}"
      media_services:
        - slug: rock-fm
          name: Rock FM
          customer: alice
          engine: icecast
          autodj:
            timezone: Europe/Prague
      playlists:
        - {media_service: rock-fm, name: all, folder: "."}
      djs:
        - {media_service: rock-fm, username: anna}

- name: All files of a directory of the controller; what has left them is deleted
  streamfleet_apply:
    files:
      - "{{ playbook_dir }}/fleet"
    label: fleet-repository
    prune: true
    max_delete: 5
  delegate_to: localhost
"""

RETURN = r"""
summary:
  description: How many objects were created, updated, left unchanged and deleted, or would be in check mode.
  returned: success
  type: dict
  sample: {"created": 2, "updated": 0, "unchanged": 998, "deleted": 0}
results:
  description:
    - Per object what was done; in the document's order, pruned objects last. Unchanged ones only with
      O(return_unchanged).
  returned: success
  type: list
  elements: dict
  sample:
    - kind: customer
      key: alice
      path: customers[0]
      action: updated
      changes: {"email": {"before": null, "after": "a@example.net"}}
nodes:
  description: The generation of every node whose document has changed.
  returned: success
  type: dict
  sample: {"node1": 42}
errors:
  description: When the document is refused, everything that is wrong with it, and how to put it right.
  returned: failure
  type: list
  elements: dict
  sample:
    - path: customers[3].email
      value: a@
      message: is not an e-mail address
      fix: Use one like name@example.net.
code:
  description: The panel's word for the kind of failure.
  returned: failure, when the panel answered
  type: str
  sample: invalid_document
"""

from ansible.module_utils.streamfleet.bulk import run_apply_module


def main() -> None:
    """Run the module."""
    run_apply_module()


if __name__ == "__main__":
    main()
