"""The engines as the release describes them: ``engines.yml`` and ``roles/<engine>/engine/spec.yml``.

Nothing else in the panel knows an engine by name, nor a companion: a second instance of an engine's services.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from django.conf import settings
from jsonschema import Draft202012Validator, FormatChecker

from streamfleet_panel import guard

_Made = TypeVar("_Made")

#: Limits of a service that only its engine can hold; each engine's spec says which it does. All others are the panel's.
ENGINE_LIMITS = ("max_listeners", "max_bitrate_kbps")
#: Limits of what is encoded for a service, which the panel holds wherever something can be.
RENDITION_LIMITS = ("max_renditions", "max_transcode_mpixels")
#: Ways of a former node: each port of the service is forwarded; or all services share the server's ports, and the key
#: of whoever publishes tells which service it is.
TRANSFERS = ("ports", "keys")
#: Kinds of objects that services of every engine may have: the web server, not the engine, does something with them.
EVERYWHERE = frozenset({"domains"})


class EngineSpecError(RuntimeError):
    """The release's description of an engine is missing or wrong."""


@dataclass(frozen=True, eq=False)
class Property:
    """One field or credential of an engine: JSON Schema, default, and whether the panel makes it when it is omitted."""

    name: str
    schema: Mapping[str, Any]
    description: str
    default: Any
    secret: bool
    generate: bool
    mounts: bool
    unique: bool
    # The engine accepts older values too, until the overlap of a rotation ends.
    overlap: bool
    # Keys of a list's items that no two of them may share.
    distinct: tuple[str, ...]
    # Types of services that it is for; empty: all. Others keep its default.
    types: frozenset[str]
    # A service that it is for cannot be without it.
    needed: bool
    # A limit of the service (`disk_quota_mb`) that there must be for this to be set.
    with_limit: str | None
    # What that limit must be at least.
    limit_at_least: int
    # Names of fields that cannot be set together with this, and of a field or credential that is set where this is.
    excludes: tuple[str, ...]
    together: str | None
    # Field with an address → schemes with which alone this can be set.
    for_schemes: Mapping[str, tuple[str, ...]]
    # The field with the address of the server that gets this secret: another server must be given it anew.
    bound_to: str | None
    # A service in which this is set has a library.
    library: bool
    # A list of pictures that are encoded on the node, each of so many lines (`height`): RENDITION_LIMITS are for it.
    transcoded: bool
    validator: Draft202012Validator
    _fitting: dict[str, bool] = field(default_factory=dict, repr=False)

    def faults(self, value: Any) -> Iterator[tuple[str, Any, str]]:
        """What is wrong with ``value``: (path below the field, offending value, message)."""
        for error in self.validator.iter_errors(value):
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
            reason = error.cause.message if isinstance(error.cause, guard.Refused) else None
            yield path, error.instance, reason or _words(error.validator, error.validator_value, error.instance)
        yield from _control_characters(value, "")
        yield from _shared(value, self.distinct)

    def is_for(self, service_type: str) -> bool:
        """Whether services of this type have it."""
        return not self.types or service_type in self.types

    def normal(self, value: Any) -> Any:
        """``value`` with the schema's nested defaults filled in, so that equal meanings compare equal."""
        return _filled(self.schema, value)

    def fits(self, value: Any) -> bool:
        """Whether nothing is wrong with ``value``. Remembers answers: most services of a document look alike."""
        key = json.dumps(value, sort_keys=True)
        known = self._fitting.get(key)
        if known is None:
            if len(self._fitting) >= _MOST_REMEMBERED:
                self._fitting.clear()
            known = self._fitting[key] = next(self.faults(value), None) is None
        return known


@dataclass(frozen=True, eq=False)
class Companion:
    """What may run beside the services of some engines.

    ``engines`` are their names; ``objects`` the kinds of objects that those services then have (``playlists``). What
    switches it on is the field that is called like the companion itself. ``port`` is the field that holds the TCP port
    of its own, where it needs one. ``one_encoding``: the settings (``when``) with which it feeds mounts of one encoding
    only, of these ``formats``; kinds of objects that then do nothing are ``without``.
    """

    name: str
    title: str
    engines: tuple[str, ...]
    objects: tuple[str, ...]
    port: str | None
    fields: Mapping[str, Property]
    credentials: Mapping[str, Property]
    one_encoding: Mapping[str, Any] = field(default_factory=dict)

    def is_there(self, settings: Mapping[str, Any]) -> bool:
        """Whether a service with these settings has it, on or off."""
        return settings.get(self.name) is not None

    def is_on(self, settings: Mapping[str, Any]) -> bool:
        """Whether it runs for a service with these settings (defaults filled in)."""
        own = settings.get(self.name)
        return own is not None and bool(own.get("enabled", True))

    def feeds_one_of(self, settings: Mapping[str, Any]) -> list[str] | None:
        """Formats of which it can feed one encoding, where that is all that it feeds; None where it feeds any."""
        if not self.one_encoding or not self.is_on(settings) or not self._is_simple(settings):
            return None
        return list(self.one_encoding["formats"])

    def serves(self, kind: str, settings: Mapping[str, Any]) -> bool:
        """Whether a kind of its objects does anything for a service with these settings (defaults filled in)."""
        if kind not in self.objects or not self.is_there(settings):
            return False
        return kind not in self.one_encoding.get("without", ()) or not self._is_simple(settings)

    def _is_simple(self, settings: Mapping[str, Any]) -> bool:
        own = settings[self.name]
        return all(own.get(key) == value for key, value in self.one_encoding["when"].items())


@dataclass(frozen=True, eq=False)
class Engine:
    """One engine. ``ports``: how many TCP ports in a row a service needs of its node's range.

    ``fields`` and ``credentials`` are its own and those of its companions.
    """

    name: str
    title: str
    kind: str
    service_types: tuple[str, ...]
    ports: int
    # How the former node of a transferred service sends on what comes: one of TRANSFERS; empty: there is no transfer.
    transfer: str
    # Those of ENGINE_LIMITS that it holds.
    limits: frozenset[str]
    fields: Mapping[str, Property]
    credentials: Mapping[str, Property]
    connection: tuple[Mapping[str, Any], ...]
    listen_urls: tuple[str, ...]
    # What for → port of the engine itself that a variable of the inventory may set, and what it is without.
    host_ports: Mapping[str, int] = field(default_factory=dict)
    # Type of service → what such services have otherwise: `connection`, `listen_urls`, `library`; and what they alone
    # have: `objects`, kinds of objects, and `files`, how names of files end that their playlists hold.
    by_type: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    companions: tuple[Companion, ...] = ()

    @property
    def objects(self) -> frozenset[str]:
        """Kinds of objects that services of any type of it may have, as they are called in a document."""
        return frozenset[str]().union(*(self.objects_of(service_type) for service_type in self.service_types))

    def objects_of(self, service_type: str) -> frozenset[str]:
        """Kinds of objects that its services of this type may have."""
        companions = (kind for companion in self.companions for kind in companion.objects)
        return self.own_objects_of(service_type).union(companions, EVERYWHERE)

    def own_objects_of(self, service_type: str) -> frozenset[str]:
        """Those of them that the engine itself, not a companion, does something with."""
        own = self.by_type.get(service_type, {}).get("objects", ())
        return frozenset([*own, *(["mounts"] if self.mounts_field is not None else [])])

    def files_of(self, service_type: str) -> tuple[str, ...]:
        """How names of files end that playlists of a service of this type hold; empty: it does not matter."""
        return tuple(self.by_type.get(service_type, {}).get("files", ()))

    def connection_of(self, service_type: str) -> tuple[Mapping[str, Any], ...]:
        """What a broadcaster enters for a service of this type; nothing where nobody sends to it."""
        return tuple(self.by_type.get(service_type, {}).get("connection", self.connection))

    def listen_urls_of(self, service_type: str) -> tuple[str, ...]:
        """Where listeners find a service of this type."""
        return tuple(self.by_type.get(service_type, {}).get("listen_urls", self.listen_urls))

    def has_library(self, settings: Mapping[str, Any], service_type: str) -> bool:
        """Whether a service of this type with these settings has to do with its customer's media library."""
        return (
            bool(self.by_type.get(service_type, {}).get("library"))
            or any("playlists" in companion.objects and companion.is_there(settings) for companion in self.companions)
            or any(prop.library and settings.get(name) is not None for name, prop in self.fields.items())
        )

    @property
    def port_fields(self) -> tuple[str, ...]:
        """Fields that hold ports beside the engine's own: one for each companion that needs one."""
        return tuple(companion.port for companion in self.companions if companion.port is not None)

    @property
    def mounts_field(self) -> str | None:
        """Name of the field that lists mounts, where the engine has mounts."""
        return next((name for name, prop in self.fields.items() if prop.mounts), None)

    def renditions_field(self, service_type: str) -> str | None:
        """Name of the field that lists what is encoded for services of this type, where something can be."""
        found = (name for name, prop in self.fields.items() if prop.transcoded and prop.is_for(service_type))
        return next(found, None)

    def holds(self, limit: str, service_type: str | None = None) -> bool:
        """Whether a limit of services, of this type or of any, means anything with this engine."""
        if limit == "max_mounts":
            return self.mounts_field is not None
        if limit in RENDITION_LIMITS:
            types = self.service_types if service_type is None else (service_type,)
            return any(self.renditions_field(kind) is not None for kind in types)
        return limit in self.limits or limit not in ENGINE_LIMITS

    def told_ports(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Its ports on a node, as far as the node has told them with its facts."""
        ports = facts.get("host_ports")
        told = ports.get(self.name) if isinstance(ports, dict) else None
        return told if isinstance(told, dict) else {}

    def settings(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Every field of the engine: what is stored, else its default."""
        return {name: prop.normal(stored.get(name, prop.default)) for name, prop in self.fields.items()}

    def all_credentials(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Every credential of the engine; None where it is neither set nor generated."""
        return {name: stored.get(name, prop.default) for name, prop in self.credentials.items()}


_ALPHABET = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_MOST_REMEMBERED = 2000
# The formats that are checked: of time zones and addresses JSON Schema itself knows nothing.
_FORMATS = FormatChecker(formats=())
_FORMAT_WORDS = {"iana-time-zone": "is not a time zone, such as Europe/Prague"}
# Format → schemes of a stream that a service takes over from elsewhere.
_ADDRESSES = {"stream-address": ("rtmp", "rtsp", "http", "https"), "radio-address": ("http", "https")}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


@_FORMATS.checks("iana-time-zone")  # type: ignore[untyped-decorator]
def _is_time_zone(value: object) -> bool:
    """Whether it is a zone of this host's database; where the host has none, that is left to the node."""
    return not isinstance(value, str) or not _zones() or value in _zones()


def _address_check(schemes: tuple[str, ...]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        """Raises guard.Refused for an address that nobody connects to for a tenant."""
        return not isinstance(value, str) or bool(guard.place_of(value, schemes))

    return check


for _name, _schemes in _ADDRESSES.items():
    _FORMATS.checks(_name, raises=guard.Refused)(_address_check(_schemes))


def generate_credential(length: int = 24) -> str:
    """A new random credential; letters and digits that are not mistaken for each other (about 5.8 bits each)."""
    size = len(_ALPHABET)
    fair = 256 - 256 % size
    drawn = ""
    while len(drawn) < length:
        # Bytes above the last whole multiple would favour the first letters.
        drawn += "".join(_ALPHABET[byte % size] for byte in secrets.token_bytes(length + 8) if byte < fair)
    return drawn[:length]


def _control_characters(value: Any, path: str) -> Iterator[tuple[str, Any, str]]:
    if isinstance(value, str):
        if _CONTROL.search(value):
            yield path, value, "contains a control character or a line break"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _control_characters(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _control_characters(item, f"{path}.{key}")


def _shared(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, Any, str]]:
    items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) and keys else []
    for key in keys:
        seen: list[Any] = []
        for index, item in enumerate(items):
            if key in item and item[key] in seen:
                yield f"[{index}].{key}", item[key], "is that of another entry, too"
            seen.append(item.get(key))


def _words(validator: str, limit: Any, value: Any) -> str:
    """A JSON Schema violation in words, without the value (it may be a secret)."""
    if validator == "type":
        names = " or ".join(limit) if isinstance(limit, list) else str(limit)
        return f"must be of type {names}"
    if validator == "additionalProperties":
        known = value if isinstance(value, dict) else {}
        return f"has a field that does not exist here (given: {', '.join(sorted(map(str, known)))})"
    if validator == "format":
        return _FORMAT_WORDS.get(limit, f"is no {limit}")
    phrases = {
        "enum": "must be one of {limit}",
        "pattern": "does not match the pattern {limit}",
        "minLength": "must have at least {limit} characters",
        "maxLength": "must have at most {limit} characters",
        "minimum": "must be at least {limit}",
        "maximum": "must be at most {limit}",
        "minItems": "must have at least {limit} items",
        "maxItems": "must have at most {limit} items",
        "required": "lacks one of {limit}",
    }
    return phrases.get(validator, "violates {validator}: {limit}").format(limit=limit, validator=validator)


def _filled(schema: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, list) and "items" in schema:
        return [_filled(schema["items"], item) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        filled = {
            name: _filled(sub, value[name] if name in value else sub["default"])
            for name, sub in schema["properties"].items()
            if name in value or "default" in sub
        }
        return {**filled, **{name: item for name, item in value.items() if name not in filled}}
    return value


def _property(name: str, raw: Mapping[str, Any], *, secret: bool) -> Property:
    schema = raw["schema"]
    Draft202012Validator.check_schema(schema)
    if raw.get("generate") and not Draft202012Validator(schema).is_valid(generate_credential()):
        raise EngineSpecError(f"{name}: a generated credential does not fit its own schema")
    return Property(
        name=name,
        schema=schema,
        # C(…) is how Ansible's documentation marks code; here it is plain text.
        description=re.sub(r"\bC\(([^)]*)\)", r"\1", raw.get("description", "")),
        default=_filled(schema, raw.get("default")),
        secret=secret,
        generate=bool(raw.get("generate")),
        mounts=bool(raw.get("mounts")),
        unique=bool(raw.get("unique")),
        overlap=bool(raw.get("overlap")),
        distinct=tuple(raw.get("distinct") or ()),
        types=frozenset(raw.get("service_types") or ()),
        needed=bool(raw.get("needed")),
        with_limit=raw.get("with_limit"),
        limit_at_least=int(raw.get("limit_at_least", 0)),
        excludes=tuple(raw.get("excludes") or ()),
        together=raw.get("together"),
        for_schemes={name: tuple(schemes) for name, schemes in (raw.get("for_schemes") or {}).items()},
        bound_to=raw.get("bound_to"),
        library=bool(raw.get("library")),
        transcoded=bool(raw.get("transcoded")),
        validator=Draft202012Validator(schema, format_checker=_FORMATS),
    )


def _limits(raw: Any) -> frozenset[str]:
    """The limits that a spec declares. Raises EngineSpecError."""
    unknown = [limit for limit in raw if limit not in ENGINE_LIMITS]
    if unknown:
        raise EngineSpecError(f"limits: {unknown[0]} is not one of {', '.join(ENGINE_LIMITS)}")
    return frozenset(raw)


def _transfer(raw: Mapping[str, Any]) -> str:
    """How its services are transferred. Raises EngineSpecError."""
    way = str(raw.get("transfer") or "")
    if way not in {"", *TRANSFERS}:
        raise EngineSpecError(f"{raw['name']}: transfer: {way} is not one of {', '.join(TRANSFERS)}")
    return way


def _spec_path(release: Path, name: str) -> Path:
    return release / "roles" / name / "engine" / "spec.yml"


def _properties(raw: Mapping[str, Any], group: str) -> dict[str, Property]:
    items = raw.get(group) or {}
    return {name: _property(name, item, secret=group == "credentials") for name, item in items.items()}


_OF_TYPE = ("connection", "listen_urls", "library", "objects", "files")


def _by_type(raw: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a spec says of types of services. Raises EngineSpecError for a type or a key that does not exist."""
    found: dict[str, Mapping[str, Any]] = dict(raw.get("by_type") or {})
    named = {name for item in (raw.get("fields") or {}).values() for name in item.get("service_types") or ()}
    unknown = sorted((found.keys() | named) - set(raw["service_types"]))
    if unknown:
        raise EngineSpecError(f"{raw['name']}: {unknown[0]} is not one of its service_types")
    strange = sorted({key for item in found.values() for key in item} - {*_OF_TYPE})
    if strange:
        raise EngineSpecError(f"{raw['name']}: by_type: {strange[0]} is not what a type can have otherwise")
    return found


def _check_names(raw: Mapping[str, Any]) -> None:
    """Refuse what a field says of another that does not exist. Raises EngineSpecError."""
    fields, credentials = raw.get("fields") or {}, raw.get("credentials") or {}
    for name, item in {**fields, **credentials}.items():
        others = {*item.get("excludes", ()), *item.get("for_schemes", {}), item.get("bound_to")} - {None}
        unknown = sorted(others - fields.keys()) + sorted({item.get("together")} - {None, *fields, *credentials})
        if unknown:
            raise EngineSpecError(f"{raw['name']}: {name} names {unknown[0]}, which is not one of its fields")
    ports = {use for use, item in (raw.get("host_ports") or {}).items() if "variable" in item}
    for line in raw.get("connection") or ():
        if line.get("needs", "") not in {"", *ports}:
            raise EngineSpecError(f"{raw['name']}: connection needs {line['needs']}, which is none of its host_ports")


def _engine(raw: Mapping[str, Any]) -> Engine:
    _check_names(raw)
    return Engine(
        name=raw["name"],
        title=raw["title"],
        kind=raw["kind"],
        service_types=tuple(raw["service_types"]),
        ports=int(raw.get("ports", 0)),
        transfer=_transfer(raw),
        limits=_limits(raw["limits"]),
        fields=_properties(raw, "fields"),
        credentials=_properties(raw, "credentials"),
        connection=tuple(raw.get("connection") or ()),
        listen_urls=tuple(raw.get("listen_urls") or ()),
        host_ports={
            use: int(item["default"]) for use, item in (raw.get("host_ports") or {}).items() if "variable" in item
        },
        by_type=_by_type(raw),
    )


def _companion(raw: Mapping[str, Any]) -> Companion:
    fields = _properties(raw, "fields")
    port = raw.get("port")
    if port is not None and port not in fields:
        raise EngineSpecError(f"{raw['name']}: port names {port}, which is not one of its fields")
    return Companion(
        name=raw["name"],
        title=raw["title"],
        engines=tuple(raw["companion_of"]),
        objects=tuple(raw.get("objects") or ()),
        port=port,
        fields=fields,
        credentials=_properties(raw, "credentials"),
        one_encoding=dict(raw.get("one_encoding") or {}),
    )


def _load(release: Path, name: str, make: Callable[[Mapping[str, Any]], _Made]) -> _Made:
    path = _spec_path(release, name)
    try:
        return make(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise EngineSpecError(f"{path}: {type(error).__name__}: {error}") from error


def _joined(engine: Engine, companion: Companion) -> Engine:
    """``engine`` with what ``companion`` adds. Raises EngineSpecError for a name that is taken."""
    mine = {**engine.fields, **engine.credentials}
    taken = [name for name in (*companion.fields, *companion.credentials) if name in mine]
    if taken:
        raise EngineSpecError(f"{companion.name}: {taken[0]} is a field or credential of {engine.name} already")
    return replace(
        engine,
        fields={**engine.fields, **companion.fields},
        credentials={**engine.credentials, **companion.credentials},
        companions=(*engine.companions, companion),
    )


@lru_cache(maxsize=4)
def _names(release: Path) -> dict[str, list[str]]:
    """Names of the ``engines`` and of the ``companions``, in the order of engines.yml."""
    path = release / "engines.yml"
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {"engines": list(listed["engines"]), "companions": list(listed.get("companions") or ())}
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise EngineSpecError(
            f"{path} cannot be read ({type(error).__name__}); STREAMFLEET_PANEL_RELEASE_DIR must name a release"
        ) from error


@lru_cache(maxsize=4)
def _all(release: Path) -> dict[str, Engine]:
    names = _names(release)
    found = {name: _load(release, name, _engine) for name in names["engines"]}
    for name in names["companions"]:
        companion = _load(release, name, _companion)
        for engine in companion.engines:
            if engine not in found:
                raise EngineSpecError(f"{name}: companion_of names {engine}, which is not in engines.yml")
            found[engine] = _joined(found[engine], companion)
    return found


@lru_cache(maxsize=4)
def _digest(release: Path) -> str:
    paths = [_spec_path(release, name) for names in _names(release).values() for name in names]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def release_digest() -> str:
    """A short hash of all engines' and companions' descriptions."""
    return _digest(Path(settings.RELEASE_DIR))


def engines() -> dict[str, Engine]:
    """Every engine of the release, by name, in the order offered. Read once a process. Raises EngineSpecError."""
    return _all(Path(settings.RELEASE_DIR))
