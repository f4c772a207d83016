"""The fields of every kind of object: type, range, description. One table for validation, API schema and pages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Model

from streamfleet_panel.apply.checks import (
    CONTROL,
    MOST_MB,
    Bad,
    Field,
    boolean,
    choice,
    integer,
    kind_of,
    limit,
    one_line,
    table,
    text,
    timestamp_of,
)
from streamfleet_panel.apply.dj_fields import DJ, USERNAME_FIX
from streamfleet_panel.apply.dj_fields import USERNAME as DJ_USERNAME
from streamfleet_panel.apply.domain_fields import DOMAIN, PANEL_DOMAIN
from streamfleet_panel.apply.media_user_fields import MEDIA_USER
from streamfleet_panel.apply.media_user_fields import NAME as MEDIA_USER_NAME
from streamfleet_panel.apply.media_user_fields import NAME_FIX as MEDIA_USER_NAME_FIX
from streamfleet_panel.apply.playlist_fields import PLAYLIST
from streamfleet_panel.apply.relay_fields import MOUNT, RELAY
from streamfleet_panel.apply.schedule_fields import SCHEDULE
from streamfleet_panel.engines import engines
from streamfleet_panel.models import Dj, Domain, Playlist, Relay, Schedule

SLUG = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
USERNAME = r"^[a-z0-9](?:[a-z0-9._@+-]{0,62}[a-z0-9])?$"
NODE_NAME = r"^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$"
HOST = (
    r"^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
)
ADDRESS = r"^[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$"
LABEL = r"^[A-Za-z0-9](?:[A-Za-z0-9._:/@-]{0,98}[A-Za-z0-9])?$"
SSH_KEY = r"^(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/=]{40,2000}(?: [^\s]{1,200})?$"


def _email(value: Any) -> str:
    address = one_line(254)(value)
    try:
        validate_email(address)
    except ValidationError:
        raise Bad("is not an e-mail address", "Write it as name@domain.tld.") from None
    return address


def _password(value: Any) -> str:
    if not isinstance(value, str):
        raise Bad(f"must be a text, is {kind_of(value)}", "Put it in quotes.")
    if len(value) < 5:
        raise Bad("is shorter than 5 characters", "Choose a password of at least 5 characters.")
    if len(value) > 256:
        raise Bad("is longer than 256 characters", "Choose a password of at most 256 characters.")
    if CONTROL.search(value):
        raise Bad("contains a control character or a line break", "Remove it; other characters are all welcome.")
    return value


def _engines(value: Any) -> list[str]:
    known = engines()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Bad(f"must be a list of engine names, is {kind_of(value)}", f"Known engines: {', '.join(known)}.")
    unknown = [item for item in value if item not in known]
    if unknown:
        raise Bad(f"names an engine that does not exist: {unknown[0][:60]}", f"Known engines: {', '.join(known)}.")
    if len(set(value)) != len(value):
        raise Bad("names an engine twice", "Name each engine once.")
    return list(value)


_one_host = one_line(253, HOST, "Write host names, as stream.example.net.")


def _hosts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise Bad(f"must be a list, is {kind_of(value)}", "Write host names as a list; [] for none.")
    if len(value) > 50:
        raise Bad(f"has {len(value)} items, at most 50 fit", "Leave out what nobody uses any more.")
    return sorted({_one_host(item).lower() for item in value})


def _days(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Bad(f"must be a mapping, is {kind_of(value)}", "Give each host name its last day; {} for none.")
    if len(value) > 50:
        raise Bad(f"has {len(value)} items, at most 50 fit", "Leave out what nobody uses any more.")
    found = {}
    for host, day in value.items():
        try:
            found[_one_host(host).lower()] = date.fromisoformat(day).isoformat()
        except (TypeError, ValueError):
            raise Bad(f"has no day for {host}", 'Write the day as "2027-03-01".') from None
    return dict(sorted(found.items()))


def _facts(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Bad(f"must be a mapping, is {kind_of(value)}", "Give facts as name: value.")
    if len(json.dumps(value)) > 65536:
        raise Bad("is larger than 64 KiB", "Send fewer facts.")
    return value


def _engine_name(value: Any) -> str:
    known = engines()
    if not isinstance(value, str) or value not in known:
        raise Bad("is not an engine of this release", f"Known engines: {', '.join(known)}.")
    return value


_USERNAME_FIX = (
    "Lower-case letters, digits and . _ @ + -; begins and ends with a letter or digit; at most 64 characters."
)
_NAME_FIX = "Lower-case letters, digits and hyphens; 1 to 63 characters; no hyphen at either end."

KINDS: dict[str, dict[str, Field]] = {
    "reseller_plan": table(
        text("name", "Name of the plan.", 100, r"^[^/]+$", "Do not use a slash."),
        limit("max_customers", "Customers that a reseller may have."),
        limit("max_media_services", "Media services in all."),
        limit("max_listeners", "Sum of max_listeners over all services whose engine holds that limit."),
        limit("max_disk_mb", "Sum of disk_quota_mb over all services.", MOST_MB),
        limit("max_transfer_mb", "Sum of monthly_transfer_mb over all services.", MOST_MB),
        limit("max_mounts", "Sum of max_mounts over all services."),
        limit("max_mounts_per_service", "Greatest max_mounts of each service."),
        limit("max_bitrate_kbps", "Greatest max_bitrate_kbps of each service whose engine holds that limit."),
        limit("max_panel_domains", "Domains of its own under which a reseller's customers find the panel. Default: 1."),
        limit("max_renditions", "Greatest max_renditions of each service for which something can be encoded."),
        limit(
            "max_transcode_mpixels",
            "Greatest max_transcode_mpixels of each service for which something can be encoded.",
        ),
        Field(
            "allowed_engines",
            _engines,
            {"type": "array", "items": {"type": "string"}},
            "Engines that services may have. null = all.",
            nullable=True,
        ),
    ),
    "customer": table(
        text(
            "username",
            "Log-in name; also the key.",
            64,
            USERNAME,
            "Lower-case letters, digits and . _ @ + -; begins and ends with a letter or digit; at most 64 characters.",
        ),
        Field(
            "password",
            _password,
            {"type": "string", "minLength": 5, "maxLength": 256, "writeOnly": True},
            "Log-in password; never shown again. Without one nobody can log in.",
            secret=True,
            special=True,
        ),
        text("name", "Full name or company.", 200, nullable=True),
        Field(
            "email",
            _email,
            {"type": "string", "format": "email", "maxLength": 254},
            "For password reset and notices.",
            nullable=True,
        ),
        text("contact_number", "For administrators' information.", 50, nullable=True),
        choice("status", "disabled: no log-in, and all its services are off the air.", ("enabled", "disabled")),
        boolean("api_access", "Off: every API call of this account is refused."),
        boolean("accessibility_features", "Adds aids for screen readers to the pages."),
        boolean("send_welcome_email", "Send the welcome mail; acts when the account is created, only.", special=True),
        choice("account_type", "What the account is.", ("customer", "administrator")),
        text(
            "reseller_plan", "Name of a reseller plan: makes the account a reseller.", 100, nullable=True, special=True
        ),
        text("reseller", "User name of the reseller whose customer this is.", 64, nullable=True, special=True),
    ),
    "node": table(
        text("name", "Name of the node, as in the inventory.", 63, NODE_NAME, _NAME_FIX),
        text("address", "Host name or address for SSH.", 253, ADDRESS, "Write a host name, an IPv4 or IPv6 address."),
        integer("ssh_port", "TCP port of SSH.", 1, 65535),
        text("ssh_user", "User that converge logs in as.", 32, r"^[a-z_][a-z0-9_-]{0,31}$"),
        text(
            "host_key",
            "The host's public SSH key, one line.",
            2300,
            SSH_KEY,
            "Write it as: ssh-ed25519 AAAA….",
            nullable=True,
        ),
        Field("engines", _engines, {"type": "array", "items": {"type": "string"}}, "Engines installed on the node."),
        text(
            "stream_host", "Host name that listeners and encoders use.", 253, HOST, "Write a host name.", nullable=True
        ),
        Field(
            "former_stream_hosts",
            _hosts,
            {"type": "array", "items": {"type": "string", "maxLength": 253, "pattern": HOST}},
            "Host names that its streams had before, and that it still answers to.",
        ),
        Field(
            "former_stream_days",
            _days,
            {"type": "object", "additionalProperties": {"type": "string", "format": "date"}},
            "Of former_stream_hosts the last day (UTC) of each. Customers whose domains lead there see it.",
        ),
        integer("port_range_start", "First port of services.", 1024, 65535),
        integer("port_range_end", "Last port of services.", 1024, 65535),
        limit("max_media_services", "Media services that the node takes."),
        choice(
            "status",
            "draining: keeps its services, takes no new ones. disabled: is not converged.",
            ("active", "draining", "disabled"),
        ),
        Field("facts", _facts, {"type": "object"}, "What is known of the host (system, cores, memory)."),
    ),
    "media_service": table(
        text("slug", "Name in URLs and file names; also the key.", 63, SLUG, _NAME_FIX),
        text("name", "Name that listeners see. Default: the slug.", 200),
        text("customer", "User name of the owner; fixed.", 64, fixed=True, special=True),
        Field("engine", _engine_name, {"type": "string"}, "The engine; fixed.", fixed=True),
        text("service_type", "One of the engine's types; fixed. Default: its first.", 50, fixed=True),
        text(
            "node",
            "The node; fixed. Default: the active node with the engine and the fewest services.",
            63,
            fixed=True,
            special=True,
        ),
        integer("port", "TCP port out of the node's range. Default: the next free one.", 1, 65535, nullable=True),
        boolean("enabled", "false: off the air until it is enabled again."),
        boolean("suspended", "true: off the air, e.g. for an unpaid bill."),
        text("suspend_reason", "Why; shown to the customer.", 300, nullable=True),
        Field(
            "suspended_until",
            timestamp_of,
            {"type": "string", "format": "date-time"},
            "When the suspension ends by itself. null = not by itself.",
            nullable=True,
        ),
        limit("max_listeners", "Listeners or viewers at once; only for engines that hold it."),
        limit("max_bitrate_kbps", "Greatest bitrate; only for engines that hold it."),
        limit(
            "monthly_transfer_mb",
            "Transfer in a month of UTC; at the limit the service is over quota until the next.",
            MOST_MB,
        ),
        limit("disk_quota_mb", "Space for media and recordings.", MOST_MB),
        limit("max_mounts", "Mount points."),
        limit("max_domains", "Custom domains. Default: 5."),
        limit("max_renditions", "Smaller pictures that are encoded on the node."),
        limit(
            "max_transcode_mpixels",
            "Megapixels that are encoded in a second for these, counted at 16:9 and 30 pictures a second.",
        ),
    ),
    "playlist": table(
        text("media_service", "Slug of the media service that plays it; part of the key.", 63, SLUG, _NAME_FIX),
        text("name", "Name of the playlist in its service; part of the key.", 63, SLUG, _NAME_FIX),
        *PLAYLIST,
    ),
    "dj": table(
        text("media_service", "Slug of the media service; part of the key.", 63, SLUG, _NAME_FIX),
        text("username", "Log-in name and mount; part of the key.", 32, DJ_USERNAME, USERNAME_FIX),
        *DJ,
    ),
    "schedule": table(
        text("media_service", "Slug of the media service; part of the key.", 63, SLUG, _NAME_FIX),
        text("name", "Name of the entry in its service's calendar; part of the key.", 63, SLUG, _NAME_FIX),
        *SCHEDULE,
    ),
    "relay": table(
        text("media_service", "Slug of the media service; part of the key.", 63, SLUG, _NAME_FIX),
        text("name", "Name of the relay in its service; part of the key.", 63, SLUG, _NAME_FIX),
        *RELAY,
    ),
    "domain": table(
        text("media_service", "Slug of the media service; part of the key.", 63, SLUG, _NAME_FIX),
        *DOMAIN,
    ),
    "panel_domain": table(
        text("reseller", "User name of the reseller; part of the key.", 64, USERNAME, _USERNAME_FIX),
        *PANEL_DOMAIN,
    ),
    # The rest is what items of the engine's list of mounts have (mounts.py).
    "mount": table(
        text("media_service", "Slug of the media service; part of the key.", 63, SLUG, _NAME_FIX),
        text("name", "Path of the mount in its service; part of the key.", 65, MOUNT, "Write it as /stream."),
    ),
    "media_user": table(
        text(
            "customer",
            "User name of the customer; part of the key.",
            64,
            USERNAME,
            "Lower-case letters, digits and . _ @ + -; begins and ends with a letter or digit; at most 64 characters.",
        ),
        text(
            "name", "Name among the customer's media users; part of the key.", 32, MEDIA_USER_NAME, MEDIA_USER_NAME_FIX
        ),
        *MEDIA_USER,
    ),
}

# The fields of the key. Where there are several, the first names the object that this one belongs to.
KEYS: dict[str, tuple[str, ...]] = {
    "reseller_plan": ("name",),
    "customer": ("username",),
    "node": ("name",),
    "media_service": ("slug",),
    "playlist": ("media_service", "name"),
    "dj": ("media_service", "username"),
    "schedule": ("media_service", "name"),
    "relay": ("media_service", "name"),
    "domain": ("media_service", "name"),
    "panel_domain": ("reseller", "name"),
    "mount": ("media_service", "name"),
    "media_user": ("customer", "name"),
}
# What belongs to a media service: whoever may change that may change them, and they go and come back with it.
OF_SERVICE: dict[str, type[Model]] = {
    "playlist": Playlist,
    "dj": Dj,
    "schedule": Schedule,
    "relay": Relay,
    "domain": Domain,
}
# Between the parts of a key in one text; none contains it, but for paths of mounts, which begin with it.
SEPARATOR = "/"
COLLECTIONS = {
    "reseller_plans": "reseller_plan",
    "customers": "customer",
    "nodes": "node",
    "media_services": "media_service",
    "playlists": "playlist",
    "djs": "dj",
    "schedules": "schedule",
    "relays": "relay",
    "domains": "domain",
    "panel_domains": "panel_domain",
    "mounts": "mount",
    "media_users": "media_user",
}
COLLECTION_OF = {kind: collection for collection, kind in COLLECTIONS.items()}
REQUIRED = {
    "node": ("address",),
    "media_service": ("customer", "engine"),
    "schedule": ("start", "end"),
    "relay": ("direction", "address"),
}


def key_text(parts: Iterable[str]) -> str:
    """A key in one text: ``rock-fm/night``, also for the path of a mount."""
    return SEPARATOR.join(part.removeprefix(SEPARATOR) for part in parts)


def key_fields(kind: str, key: str) -> dict[str, str]:
    """The fields of a key that is given in one text: ``rock-fm/night`` → the service's slug and the playlist's name."""
    names = KEYS[kind]
    parts = key.split(SEPARATOR, len(names) - 1)
    if kind == "mount":
        parts[-1] = f"{SEPARATOR}{parts[-1]}"
    return dict(zip(names, parts, strict=True))


def key_of(kind: str, obj: Any) -> str:
    """The key of a stored object in one text; the object that it belongs to must be selected along."""
    return key_text(str(getattr(obj, name)) for name in KEYS[kind])
