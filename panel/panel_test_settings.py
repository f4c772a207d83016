"""The panel's own settings, with an environment made for tests. Also what the type checker reads."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("STREAMFLEET_PANEL_SECRET_KEY", "only-for-tests-" + "0" * 40)
os.environ.setdefault("STREAMFLEET_PANEL_FIELD_KEYS", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
os.environ.setdefault("STREAMFLEET_PANEL_DATABASE_URL", "sqlite:///:memory:")
os.environ.setdefault("STREAMFLEET_PANEL_PUBLIC_URL", "https://panel.example.net")
os.environ.setdefault("STREAMFLEET_PANEL_ALLOWED_HOSTS", "testserver,panel.example.net")
os.environ.setdefault("STREAMFLEET_PANEL_SYSLOG", "")
os.environ.setdefault("STREAMFLEET_PANEL_RELEASE_DIR", str(Path(__file__).resolve().parents[1]))

from streamfleet_panel.settings import *  # noqa: F403

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# What the panel hashes with costs 25 ms a password; tests/test_models.py holds that it does.
PASSWORD_HASHERS = ["tests_support.QuickHasher"]
