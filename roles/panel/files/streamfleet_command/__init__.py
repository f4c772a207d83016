"""The command ``streamfleet`` of the panel's host: how everything is, start and stop, logs, passwords.

Runs as root, on Python's own library. What only the database knows it asks ``streamfleet-panel``.
"""
