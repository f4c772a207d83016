"""Applies a node document's rendered instances on a node: compare, validate, write, act on units, remember.

Importable without Ansible; standard library only, since it runs on the node's own Python. ``apply`` is the way in.
"""

from __future__ import annotations

from .apply import Options, apply
from .errors import ApplyError
from .host import Host
from .payload import decode, encode

__all__ = ["ApplyError", "Host", "Options", "apply", "decode", "encode"]
