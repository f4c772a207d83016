#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with a host, and why. The work is in module_utils/streamfleet/doctor."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_doctor
short_description: Find out what is wrong with a host, and why
version_added: 0.2.0
description:
  - Looks at units, ports, processes, disks, certificates, names, the clock, rights, firewalls, the panel and its
    database, engines, file transfers, backups, converge, security updates that are held back and the logs of encoders
    and vendors' programs, all in one look. Each fault is returned with its cause, what shows it, and what to do.
  - What only follows from another fault is not returned.
  - Changes nothing, unless O(fix) is true.
options:
  panel_host:
    description: Host name of the panel, where the panel is on the host.
    type: str
    default: ""
  stream_host:
    description: Host name of the streams, where the host is a node.
    type: str
    default: ""
  https_port:
    description: Port of HTTPS of the web server.
    type: int
    default: 443
  addresses:
    description: Addresses by which clients reach the host, beside its own.
    type: list
    elements: str
    default: []
  servers:
    description: Units that serve many, with the TCP ports that must be theirs.
    type: list
    elements: dict
    default: []
    suboptions:
      unit: {description: Name of the unit., type: str, required: true}
      ports: {description: Its ports., type: list, elements: int, required: true}
      protocol:
        description: How the first port is asked whether anybody answers. V(tls) is not asked here.
        type: str
        choices: [http, rtmp, tcp, tls]
        default: tcp
  open:
    description: Ports that others must reach, as the module C(streamfleet_firewall) takes them.
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
  time:
    description: The controller's clock in seconds since 1970, UTC, that the host's is compared with; 0 to compare none.
    type: float
    default: 0
  engines:
    description: Engines of the node, whose vendors' logs are read.
    type: list
    elements: str
    default: []
  minutes:
    description: How many minutes of the logs are read.
    type: int
    default: 15
  fix:
    description:
      - Whether to do what is safe, and to look again. Safe is what nobody loses a stream or data by, who has not lost
        it already, and what does no harm when it is done twice.
    type: bool
    default: false
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
- name: Find out what is wrong
  streamfleet_doctor:
    stream_host: stream.example.net
    servers:
      - {unit: nginx.service, ports: [80, 443], protocol: tls}
      - {unit: streamfleet-rtmp.service, ports: [1935], protocol: rtmp}
  register: found

- name: Do what is safe, and look again
  streamfleet_doctor:
    stream_host: stream.example.net
    fix: true
"""

RETURN = r"""
findings:
  description: What is wrong; with O(fix), what is left of it. Errors come first.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: Theme and word, as docs/doctor.md lists them.
      type: str
      sample: certificates.expired
    subject:
      description: What has the fault.
      type: str
      sample: stream.example.net
    severity:
      description: V(error) for what keeps the host from its work, V(warning) for what will, or what is a customer's.
      type: str
      sample: error
    cause:
      description: The cause, in a sentence.
      type: str
      sample: The certificate of stream.example.net has expired.
    evidence:
      description: What shows it.
      type: str
      sample: it was valid until 2026-11-20 12:00 UTC
    fix:
      description: What to do.
      type: str
      sample: Run certificates.yml for this host.
    safe_fix:
      description: Commands that O(fix) runs; none where somebody has to decide.
      type: list
      elements: str
fixed:
  description: What was done, and in check mode what would be.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: What it was done for.
      type: str
    subject:
      description: What had the fault.
      type: str
    commands:
      description: What was run.
      type: list
      elements: str
    error:
      description: Why it did not succeed; empty where it did.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.doctor.about import About, AboutError
from ansible.module_utils.streamfleet.doctor.run import examine
from ansible.module_utils.streamfleet.node_apply.host import Host


def main() -> None:
    opening = {
        "name": {"type": "str", "required": True},
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
        "ports": {"type": "list", "elements": "str", "required": True},
        "sources": {"type": "list", "elements": "str", "default": []},
    }
    server = {
        "unit": {"type": "str", "required": True},
        "ports": {"type": "list", "elements": "int", "required": True},
        "protocol": {"type": "str", "choices": ["http", "rtmp", "tcp", "tls"], "default": "tcp"},
    }
    module = AnsibleModule(
        argument_spec={
            "panel_host": {"type": "str", "default": ""},
            "stream_host": {"type": "str", "default": ""},
            "https_port": {"type": "int", "default": 443},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "servers": {"type": "list", "elements": "dict", "default": [], "options": server},
            "open": {"type": "list", "elements": "dict", "default": [], "options": opening},
            "time": {"type": "float", "default": 0},
            "engines": {"type": "list", "elements": "str", "default": []},
            "minutes": {"type": "int", "default": 15},
            "fix": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        about = About.of(module.params)
        result = examine(Host(), about, fix=module.params["fix"], check=module.check_mode)
    except (AboutError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(result["fixed"]), **result)


if __name__ == "__main__":
    main()
