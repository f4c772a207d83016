"""OpenAPI: request bodies and answers, made from the same tables that validate."""

from __future__ import annotations

from typing import Any

from streamfleet_panel.apply.checks import Field
from streamfleet_panel.apply.fields import COLLECTIONS, KEYS, KINDS, REQUIRED
from streamfleet_panel.engines import ENGINE_LIMITS, Engine, EngineSpecError, engines

EXAMPLES: dict[str, dict[str, Any]] = {
    "reseller_plan": {"name": "gold", "max_customers": 50, "max_media_services": 100, "max_listeners": 5000},
    "customer": {"username": "alice", "name": "Alice Arden", "email": "alice@example.net", "password": "correct horse"},
    "node": {
        "name": "node1",
        "address": "192.0.2.10",
        "engines": ["icecast", "nginx_rtmp"],
        "stream_host": "stream.example.net",
        "port_range_start": 10000,
        "port_range_end": 19999,
    },
    "media_service": {
        "slug": "rock-fm",
        "name": "Rock FM",
        "customer": "alice",
        "engine": "icecast",
        "max_listeners": 100,
        "max_bitrate_kbps": 128,
    },
    "playlist": {
        "media_service": "rock-fm",
        "name": "night",
        "type": "scheduled",
        "folder": "music/quiet",
        "active": [{"days": ["fri", "sat"], "start": "23:00", "end": "04:00"}],
    },
    "dj": {
        "media_service": "rock-fm",
        "username": "anna",
        "name": "Anna B.",
        "priority": 20,
        "scheduled_only": True,
        "active": [{"days": ["fri"], "start": "20:00", "end": "22:00"}],
    },
    "schedule": {
        "media_service": "rock-fm",
        "name": "christmas-eve",
        "playlist": "night",
        "start": "18:00",
        "end": "00:00",
        "start_date": "2026-12-24",
        "end_date": "2026-12-24",
    },
    "relay": {
        "media_service": "rock-fm",
        "name": "network",
        "direction": "in",
        "address": "https://radio.example.net/live.mp3",
        "mount": "/stream",
    },
    "domain": {"media_service": "rock-fm", "name": "radio.example.com"},
    "panel_domain": {"reseller": "shop", "name": "panel.shop.example", "brand": "Shop Radio Hosting"},
    "mount": {
        "media_service": "rock-fm",
        "name": "/low.aac",
        "format": "aac",
        "bitrate_kbps": 48,
        "fallback": "/stream",
    },
    "media_user": {"customer": "alice", "name": "studio", "password": "correct horse", "protocols": ["sftp"]},
}


def _engines() -> list[Engine]:
    """The release's engines; none where it cannot be read, so that commands that need no engine still run."""
    try:
        return list(engines().values())
    except EngineSpecError:
        return []


def _field(field: Field) -> dict[str, Any]:
    schema = dict(field.schema)
    if field.nullable:
        schema["type"] = [schema["type"], "null"]
    return {**schema, "description": field.description}


def object_schema(kind: str) -> dict[str, Any]:
    """JSON Schema of one object of a document."""
    properties = {name: _field(field) for name, field in KINDS[kind].items()}
    properties["state"] = {"type": "string", "enum": ["present", "absent"], "default": "present"}
    schema: dict[str, Any] = {"type": "object", "required": list(KEYS[kind]), "properties": properties}
    description = "Omitted fields stay as they are."
    if REQUIRED.get(kind):
        description += f" A new object needs: {', '.join(REQUIRED[kind])}."
    if kind == "media_service":
        for limit in ENGINE_LIMITS:
            held = ", ".join(engine.name for engine in _engines() if engine.holds(limit)) or "none"
            properties[limit]["description"] += f" Engines that hold it: {held}."
        for engine in _engines():
            for name, prop in (*engine.fields.items(), *engine.credentials.items()):
                about = f"{engine.title}: {prop.description}"
                known = properties.get(name)
                if known is not None and known.get("description"):
                    properties[name] = {"description": f"{known['description']} {about}"}
                else:
                    properties[name] = {**prop.schema, "description": about}
                if prop.secret:
                    properties[name]["writeOnly"] = True
    elif kind == "mount":
        for engine in _engines():
            for name, item in _items(engine).items():
                about = f"{engine.title}: {item.get('description', name.replace('_', ' '))}"
                known = properties.get(name)
                properties[name] = {"description": f"{known['description']} {about}"} if known else item
                properties[name].setdefault("description", about)
    else:
        schema["additionalProperties"] = False
    return {**schema, "description": description}


def _items(engine: Engine) -> dict[str, Any]:
    """What the engine's mounts have beside their name: JSON Schema by field."""
    if engine.mounts_field is None:
        return {}
    properties = engine.fields[engine.mounts_field].schema["items"]["properties"]
    return {name: dict(item) for name, item in properties.items() if name != "name"}


def json_body(schema: dict[str, Any], example: Any = None, *, required: bool = True) -> dict[str, Any]:
    """``openapi_extra`` with a JSON request body."""
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def apply_body() -> dict[str, Any]:
    """The body of ``POST /apply``."""
    collections = {
        collection: {"type": "array", "items": object_schema(kind)} for collection, kind in COLLECTIONS.items()
    }
    schema = {
        "type": "object",
        "required": ["document"],
        "additionalProperties": False,
        "properties": {
            "document": {"type": "object", "additionalProperties": False, "properties": collections},
            "dry_run": {
                "type": "boolean",
                "default": False,
                "description": "Plan only; the answer is what would happen.",
            },
            "label": {"type": ["string", "null"], "description": "Ownership label that the objects get."},
            "prune": {
                "type": "boolean",
                "default": False,
                "description": "Delete what has the label and is not named.",
            },
            "max_delete": {"type": "integer", "default": 10, "minimum": 0, "description": "Prune at most so many."},
            "update_password": {"type": "string", "enum": ["on_create", "always"], "default": "on_create"},
            "return_objects": {"type": "boolean", "default": False},
        },
    }
    example = {
        "document": {
            "customers": [EXAMPLES["customer"]],
            "media_services": [{**EXAMPLES["media_service"], "autodj": {"timezone": "Europe/Prague"}}],
            "playlists": [EXAMPLES["playlist"]],
            "djs": [EXAMPLES["dj"]],
            "schedules": [EXAMPLES["schedule"]],
            "relays": [EXAMPLES["relay"]],
            "domains": [EXAMPLES["domain"]],
            "panel_domains": [EXAMPLES["panel_domain"]],
            "mounts": [EXAMPLES["mount"]],
            "media_users": [EXAMPLES["media_user"]],
        },
        "dry_run": True,
        "label": "shop",
    }
    return json_body(schema, example)


def put_body(kind: str) -> dict[str, Any]:
    """The body of a ``PUT`` of one object: its fields; the key stands in the URL and may be left out."""
    schema = object_schema(kind)
    example = {name: value for name, value in EXAMPLES[kind].items() if name not in KEYS[kind]}
    return json_body({key: value for key, value in schema.items() if key != "required"}, example)
