"""Applies a node document's rendered instances on a node: compare, validate, write, act on units, remember.

Importable without Ansible; standard library only, since it runs on the node's own Python. See apply.py.
"""
