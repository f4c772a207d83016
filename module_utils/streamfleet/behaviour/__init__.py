"""What a media service promises to its broadcaster and its listeners, as checks from outside in.

The module ``streamfleet_verify_engine`` runs them against a real program, tests/live/test_engines.py against what tests
have. Nothing here knows an engine by name: how one is published to is in its ``engine/spec.yml``.
"""
