"""Custom domains: which records prove one, what DNS says of it, and what follows.

``records`` is about names and records alone, ``lookup`` asks DNS, ``judge`` decides and stores, ``checks`` has it done
in the background by the jobs process, and ``ask`` has one looked at soon. ``targets`` knows what CNAMEs are to lead to,
and what owners have to change. ``told`` tells the web server which names of
resellers' own lead to the panel.
"""
