"""Settings of the panel, read from the environment (``STREAMFLEET_PANEL_*``, see ``docs/`` and the role ``panel``).

Required: ``STREAMFLEET_PANEL_SECRET_KEY`` and ``STREAMFLEET_PANEL_FIELD_KEYS``. Everything else has a default that
is right behind our nginx on the panel's host.
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environs import Env, validate

from streamfleet_panel.admin_pages.navigation import UNFOLD as UNFOLD
from streamfleet_panel.databases import configured

PACKAGE = Path(__file__).resolve().parent

env = Env()


def _last_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        names = "STREAMFLEET_PANEL_FORMER_DOMAIN_TARGETS, STREAMFLEET_PANEL_FORMER_HOSTS"
        raise ValueError(f"{names}: {text!r} is no day; write each as old.example.net=2027-03-01") from None


def _kept_until(text: str) -> date | None:
    return _last_day(text) if text else None


with env.prefixed("STREAMFLEET_PANEL_"):
    SECRET_KEY = env.str("SECRET_KEY")
    SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", [])
    # Fernet keys for stored credentials, newest first: the first encrypts, all decrypt. `rotate_keys` re-encrypts.
    FIELD_KEYS: list[str] = env.list("FIELD_KEYS")
    DEBUG = env.bool("DEBUG", False)
    # There while an upgrade works, see maintenance.py.
    MAINTENANCE_FILE = env.str("MAINTENANCE_FILE", "/var/lib/streamfleet/upgrade/maintenance.json")
    # The URL that people and machines use; links in mail, and what CSRF trusts.
    PUBLIC_URL = env.str("PUBLIC_URL", "https://localhost").rstrip("/")
    ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", [urlsplit(PUBLIC_URL).hostname or "localhost"])
    DATABASES: dict[str, dict[str, Any]] = {
        "default": configured(
            env.dj_db_url("DATABASE_URL", "sqlite:////var/lib/streamfleet/panel/panel.sqlite3", conn_max_age=60)
        )
    }
    # Where engines.yml and roles/<engine>/engine/spec.yml lie: the checkout, or /opt/streamfleet/current.
    RELEASE_DIR = Path(env.str("RELEASE_DIR", str(PACKAGE.parents[1])))
    # Which environment this process has loaded: an upgrade switches the link that leads to it.
    ENVIRONMENT = Path(sys.prefix).resolve().name
    STATIC_ROOT = env.str("STATIC_ROOT", str(Path(sys.prefix) / "share" / "streamfleet-panel" / "static"))
    GRACE_DAYS = env.int("GRACE_DAYS", 7)
    # Of sessions of listeners: days that they are kept, and what is kept of addresses (the worker stores them).
    SESSION_DAYS = env.int("SESSION_DAYS", 30)
    SESSION_ADDRESSES = env.str("SESSION_ADDRESSES", "full", validate=validate.OneOf(["full", "network", "none"]))
    # Below it each customer has a name that CNAMEs of domains may lead to; empty: TXT records alone count.
    DOMAIN_TARGET = env.str(
        "DOMAIN_TARGET",
        "",
        validate=validate.Regexp(
            r"^$|^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z](?:[a-z0-9-]*[a-z0-9])?$",
            error="Must be a host name in lower case, as cname.example.net.",
        ),
    )
    # Targets that there were before: below them CNAMEs count to the end of a day, in UTC. `target=2027-03-01,…`
    FORMER_DOMAIN_TARGETS: dict[str, date] = env.dict(
        "FORMER_DOMAIN_TARGETS", {}, subcast_keys=str, subcast_values=_last_day
    )
    # Of the panel's own names those that it had before, and answers under still; each with its last day, where known.
    FORMER_HOSTS: dict[str, date | None] = env.dict("FORMER_HOSTS", {}, subcast_keys=str, subcast_values=_kept_until)
    # Name servers that are asked about customers' domains, `address` or `address:port`; empty: those of the host.
    DOMAIN_RESOLVERS: list[str] = env.list("DOMAIN_RESOLVERS", [])
    # Whether the panel answers under names of resellers' own, too.
    WHITE_LABEL = env.bool("WHITE_LABEL", True)
    # Where the web server finds which names of resellers' own lead to the panel, a file for each; empty: not told.
    PANEL_DOMAINS_DIR = env.str("PANEL_DOMAINS_DIR", "")
    # Plain-HTTP trials only: browsers send secure cookies over HTTPS alone.
    SECURE_COOKIES = env.bool("SECURE_COOKIES", True)
    # The client address is believed from X-Real-IP only over the unix socket, which only our nginx may open; a proxy
    # that comes over TCP has to be declared.
    TRUST_PROXY = env.bool("TRUST_PROXY", False)
    LOG_LEVEL = env.log_level("LOG_LEVEL", "INFO")
    # Socket of the system's log, which is told what the audit log has and which log-ins were refused; empty: nobody is.
    SYSLOG = env.str("SYSLOG", "/dev/log")
    # Failed API log-ins that one address may make in a minute before it is answered 429.
    API_FAILURES_PER_MINUTE = env.int("API_FAILURES_PER_MINUTE", 30)
    # More new passwords than this in one document are hashed by the jobs process; the answer is 202.
    PASSWORDS_IN_REQUEST = env.int("PASSWORDS_IN_REQUEST", 50)
    EMAIL_HOST = env.str("EMAIL_HOST", "")
    EMAIL_PORT = env.int("EMAIL_PORT", 25)
    EMAIL_HOST_USER = env.str("EMAIL_USER", "")
    EMAIL_HOST_PASSWORD = env.str("EMAIL_PASSWORD", "")
    EMAIL_USE_TLS = env.bool("EMAIL_USE_TLS", False)
    EMAIL_USE_SSL = env.bool("EMAIL_USE_SSL", False)
    EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT", 10)
    DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", f"streamfleet@{urlsplit(PUBLIC_URL).hostname or 'localhost'}")

INSTALLED_APPS = [
    "streamfleet_panel",
    "streamfleet_panel.portal",
    "streamfleet_panel.admin_pages",
    # The site is our own (admin_pages/site.py), so not Unfold's own configuration.
    "unfold.apps.BasicAppConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "hijack",
    "ninja",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "streamfleet_panel.portal.security.PageHeaders",
    "streamfleet_panel.middleware.ApiErrors",
    "streamfleet_panel.middleware.ClientAddress",
    # Before anything that asks which host a request is for.
    "streamfleet_panel.middleware.WhiteLabel",
    # Before anything that writes: a session, a count of failures.
    "streamfleet_panel.maintenance.ReadOnly",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "streamfleet_panel.middleware.WhiteLabelSessions",
    "hijack.middleware.HijackUserMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "streamfleet_panel.urls"
WSGI_APPLICATION = "streamfleet_panel.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "streamfleet_panel.white_label.words",
            ]
        },
    }
]

# Log in
AUTH_USER_MODEL = "panel.Account"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "streamfleet_panel.auth.AccountBackend"]
PASSWORD_HASHERS = ["streamfleet_panel.auth.OwaspArgon2Hasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 5}}
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "streamfleet_panel.middleware.client_ip"
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ACCESS_FAILURE_LOG = False
AXES_VERBOSE = False
AXES_LOCKOUT_CALLABLE = "streamfleet_panel.portal.views.session.locked"
PASSWORD_RESET_TIMEOUT = 3600
HIJACK_PERMISSION_CHECK = "streamfleet_panel.access.may_hijack"
HIJACK_INSERT_BEFORE = None

# Cookies belong to the panel's host alone (no Domain), so that a stream's host never sees one.
SESSION_COOKIE_NAME = "__Host-streamfleet" if SECURE_COOKIES else "streamfleet"
SESSION_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 8 * 3600
CSRF_COOKIE_NAME = "__Host-streamfleet-csrf" if SECURE_COOKIES else "streamfleet-csrf"
CSRF_COOKIE_SECURE = SECURE_COOKIES
CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# Bodies: one document is at most 32 MiB; the API answers 413 above it before reading.
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "streamfleet_panel.assets.AssetStorage"},
}

if not EMAIL_HOST:
    # No mail server told: mail is not tried at all, and the job says so.
    EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"


def _told(identifier: str) -> dict[str, Any]:
    if not SYSLOG:
        return {"class": "logging.NullHandler"}
    return {"()": "streamfleet_panel.journal.SystemLog", "address": SYSLOG, "identifier": identifier}


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain"},
        "audit": _told("streamfleet-audit"),
        "login": _told("streamfleet-login"),
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.db.backends": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "axes": {"level": "WARNING"},
        # See journal.py.
        "streamfleet.audit": {"handlers": ["audit"], "level": "INFO", "propagate": False},
        "streamfleet.login": {"handlers": ["login"], "level": "INFO", "propagate": False},
    },
}


NINJA_PAGINATION_MAX_LIMIT = 1000
