"""What is wrong with a host, and why. Each theme gathers facts on the host, and judges them by pure rules.

A theme is a module with ``gather(host, about, seen) -> dict`` and ``judge(facts) -> list[Finding]``. What
``gather`` returns is plain JSON and goes into ``facts`` under the theme's name; ``seen``: what earlier themes gathered.
``judge`` asks nothing but ``facts``, those of other themes included: what follows from another fault is not told, too.
"""
