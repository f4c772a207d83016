"""A double of AWX 24: it keeps objects and refuses what AWX's API refuses. It runs no jobs.

``surveys`` has the rules of surveys and of answers to them, ``rules`` those of the other objects, ``server`` the API.
"""
