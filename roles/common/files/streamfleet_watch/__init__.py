"""Looks after what runs on this host: restarts what is hung, and writes down figures for node_exporter.

Python's own library and nothing else.
"""
