"""What the modules of library/ give to AnsibleModule: their argument specs, for generators and tests."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import ansible.module_utils
from ansible.module_utils.basic import AnsibleModule

ROOT = Path(__file__).resolve().parent.parent

# On a target Ansible packs module_utils/ into ansible.module_utils; here the directory is added to that package.
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))


class _Called(Exception):
    def __init__(self, spec: dict[str, Any], concealed: frozenset[str]) -> None:
        self.spec, self.concealed = spec, concealed


def talks(name: str) -> bool:
    """Whether the module ``name`` is one by itself. (Others only document an action plugin.)"""
    return "def main()" in (ROOT / "library" / f"{name}.py").read_text()


def argument_spec(name: str) -> dict[str, Any]:
    """The argument spec that the module ``name`` gives to AnsibleModule. Raises AssertionError if it makes none."""
    return _called(name).spec


def concealed(name: str) -> frozenset[str]:
    """Options that the module ``name`` takes out before anything is logged: documents, which may hold secrets."""
    return _called(name).concealed


@cache
def _called(name: str) -> _Called:
    def init(self: AnsibleModule, argument_spec: dict[str, Any], **_options: Any) -> None:
        raise _Called(argument_spec, frozenset(getattr(self, "_concealed", ())))

    spec = importlib.util.spec_from_file_location(name, ROOT / "library" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    with mock.patch.object(AnsibleModule, "__init__", init):
        try:
            module.main()
        except _Called as called:
            return called
    raise AssertionError(f"{name} makes no AnsibleModule")
