"""Test nodes: real Debian servers in containers, with systemd, SSH and addresses of their own.

Used by molecule, demo, benches and tests alike; `python -m tests.nodes --help` on the command line,
`tests.nodes.fleet.Fleet` from Python.
"""
