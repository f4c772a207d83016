#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reseller plans, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_reseller_plan_info
short_description: List reseller plans
version_added: 0.1.0
description:
  - Returns the reseller plans that the token may see, all of them or those that the filters leave.
options:
  name:
    description: Name of one plan.
    type: str
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_reseller_plan
"""

EXAMPLES = r"""
- name: All plans
  streamfleet_reseller_plan_info:
  register: result
"""

RETURN = r"""
reseller_plans:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "bronze", "max_customers": 10}]
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {}


def main() -> None:
    """Run the module."""
    run_info_module("reseller_plan", "name", FILTERS)


if __name__ == "__main__":
    main()
