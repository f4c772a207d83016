"""Documentation of the options that modules share; module_utils/streamfleet/arguments.py has their argument specs."""

from __future__ import annotations


class ModuleDocFragment:
    """Read by ansible-doc."""

    # The connection, which every module has.
    DOCUMENTATION = r"""
options:
  url:
    description:
      - Address of the panel, for example V(https://panel.example.net).
      - Must be given here, by C(module_defaults), or in the environment as E(STREAMFLEET_URL).
    type: str
  token:
    description:
      - Token of the panel's API. What the module may see and do is what the token's account may.
      - Must be given here, by C(module_defaults), or in the environment as E(STREAMFLEET_TOKEN).
    type: str
  ca_path:
    description:
      - File of the CA that signed the panel's certificate (PEM), on the host where the module runs. Without it the
        system's certificate store decides.
      - If not set, the environment variable E(STREAMFLEET_CA) is used.
    type: path
  validate_certs:
    description:
      - Whether the panel's certificate must be valid. V(false) accepts any, and V(http://) addresses too.
      - If not set, the environment variable E(STREAMFLEET_VALIDATE_CERTS) is used.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for the connection, and for each answer.
      - If not set, the environment variable E(STREAMFLEET_TIMEOUT) is used.
    type: int
    default: 30
requirements:
  - Python 3.11 or later on the host where the module runs; no other library.
notes:
  - The module talks to the panel only, so it usually runs on the controller (C(hosts=localhost) or C(delegate_to)).
  - Environment variables are read where the module runs. Do not set the token by a task's C(environment) keyword, since
    Ansible prints that with C(-vvv); O(token) is never printed.
author:
  - Streamfleet (@streamfleet)
"""

    # Modules for one object.
    OBJECT = r"""
options:
  state:
    description: Whether the object is to be there.
    type: str
    choices: [present, absent]
    default: present
  label:
    description:
      - Ownership label that the object gets. A later M(streamfleet_apply) with the same label and
        O(streamfleet_apply#module:prune) may delete it.
    type: str
attributes:
  check_mode:
    support: full
    description: The panel plans the change in a dry run, with the same rules that decide the real one, and stores
      nothing.
  diff_mode:
    support: full
    description: Returns what has changed (or in check mode would change) field by field; secrets are masked.
notes:
  - An option that is omitted leaves its field as it is; an explicit V(null) empties the field (for a limit, unlimited).
"""

    # Modules that can set login passwords.
    PASSWORDS = r"""
options:
  update_password:
    description:
      - V(on_create) sets the login password of a new account only; V(always) whenever it differs from the given one.
    type: str
    choices: [on_create, always]
    default: on_create
"""

    # Modules that change something.
    CHECK = r"""
options:
  check_without_panel:
    description:
      - In check mode, predict that everything will be created when no panel answers at O(url), or the connection
        options are not there yet, instead of failing.
      - For playbooks that install the panel in the same run. Without effect outside check mode.
    type: bool
    default: false
"""

    # Modules that only read.
    INFO = r"""
options:
  search:
    description: Only objects in whose key or name this text occurs, whatever its case.
    type: str
  label:
    description: Only objects with this ownership label.
    type: str
attributes:
  check_mode:
    support: full
    description: Reads only, in check mode too.
  diff_mode:
    support: none
    description: Changes nothing.
"""
