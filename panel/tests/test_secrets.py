"""Secrets stand nowhere but where they belong: not in answers, audit, log or database."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core import serializers

from streamfleet_panel import jobs
from tests_support import Api

pytestmark = pytest.mark.django_db
CANARY = "canary-4711"
STREAM_KEY = "canary-4711-stream-key"


def everything_stored() -> str:
    return "\n".join(
        serializers.serialize("json", model._default_manager.all())  # includes password hashes
        for model in apps.get_app_config("panel").get_models()
    )


def test_canary(api: Callable[..., Api]) -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    loggers = [logging.getLogger(name) for name in ("", "django", "streamfleet_panel", "axes")]
    for logger in loggers:
        logger.addHandler(handler)
    root = api("root")
    answers: list[Any] = []
    document = {
        "customers": [{"username": "new", "password": CANARY}],
        "media_services": [
            {"slug": "new", "customer": "new", "engine": "nginx_rtmp", "stream_key": STREAM_KEY},
            {"slug": "rock", "source_password": CANARY, "listener_password": CANARY},
        ],
    }
    try:
        for options in ({"dry_run": True}, {}, {"update_password": "always"}, {"return_objects": True}):
            answers.append(root("POST", "/apply", {"document": document, **options}))
        # The same where it is refused, of a wrong type, or under a wrong name.
        for fields in (
            {"password": CANARY, "email": "bad"},
            {"password": [CANARY]},
            {"password": {"x": CANARY}},
            {"password": f"{CANARY}\n"},
        ):
            answers.append(root("POST", "/apply", {"document": {"customers": [{"username": "other", **fields}]}}))
        for value in (f"{CANARY} ", [f"{CANARY}"], {"x": CANARY}, CANARY * 50):
            answers.append(root("PUT", "/media-services/rock", {"source_password": value}))
            answers.append(root("PUT", "/media-services/tv", {"stream_key": value}))
        answers.append(root("PUT", "/media-services/tv", {"stream_key": STREAM_KEY}))
        answers.append(root("POST", "/apply", f'{{"document": {{"customers": [{{"password": "{CANARY}"'))
        many = {"customers": [{"username": f"m{n}", "password": CANARY} for n in range(51)]}
        answers.append(root("POST", "/apply", {"document": many}))
        assert CANARY not in everything_stored()
        jobs.run_next()
        for path in (
            "/audit-log?limit=1000",
            "/media-services",
            "/customers",
            "/tokens",
            "/media-services/rock/status",
        ):
            answers.append(root("GET", path))
        answers.append(root("GET", "/jobs/" + answers[-6][1]["job"]["id"]))
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert CANARY not in json.dumps(answers)
    assert CANARY not in log.getvalue()
    assert CANARY not in everything_stored()
    assert root.token not in everything_stored()
    # It is where it belongs.
    assert root("GET", "/media-services/new/credentials")[1]["credentials"]["stream_key"] == STREAM_KEY
    assert CANARY in json.dumps(root("GET", "/nodes/node1/document"))
