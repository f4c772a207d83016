"""Whatever tenants write stays what it is: the corpus through every field of a service, in every engine and companion.

A field either arrives in the rendered files exactly as it was written, read by a strict parser of each file's syntax,
with nothing else changed, or it is refused with an error that names the field. Neighbours never notice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from streamfleet.engine import File, Instance, RenderError, instances_of, load_renderer

from tests.doubles.panel import autodj, dj, playlist, relay, schedule
from tests.live.engines import LISTED, NAMES, ROOT, adapter, spec_of

CORPUS: dict[str, str] = json.loads((ROOT / "tests" / "corpus" / "hostile.json").read_text())
NODE = {"node": "n1", "stream_host": "stream.example.net"}
#: A path in a service, such as ("settings", "mounts", 0, "name").
Path_ = tuple[str | int, ...]

#: What a tenant writes, beside what the engine's spec declares.
TEXTS = ("name", "reason", "customer")
#: Texts of fields that are null by default, and of lists that are empty or short, each valid by the field's schema.
FILLED: dict[str, Any] = {
    "genre": "a-genre",
    "description": "a-description",
    "website": "https://example.net/",
    "listener_password": "listener-secret",
    "authhash": "an-authhash-of-a-station",
    "premium_user_id": "premium-user",
    "premium_licence_id": "premium-licence",
    "mounts": [{"name": "/one", "format": "mp3"}, {"name": "/two", "fallback": "/one", "format": "aac"}],
    "streams": [{"id": 1, "name": "/one", "public": True}, {"id": 2, "name": "/two"}],
    "live_port": 8900,
    "media_folder": "films",
    "timezone": "Europe/Prague",
    "stream_address": "rtsp://camera.example.net/one",
    "stream_username": "a-camera-user",
    "stream_password": "a-camera-password",
    "radio_address": "http://radio.example.net:8000/one",
    **autodj(),
}
WINDOWS = [{"days": ["mon"], "start": "10:00", "end": "12:00"}]
OBJECTS: dict[str, list[dict[str, Any]]] = {
    "playlists": [playlist("day", folder="day"), playlist("list", files=["a/b.mp3"], active=WINDOWS)],
    "djs": [dj("anna", name="Anna", active=WINDOWS)],
    "schedules": [
        # Of others than those above: what a name leads to would change along with it.
        schedule("late", playlist="gone", days=["fri"], start="23:00", end="02:00", start_date="2026-12-01"),
        schedule("show", dj="gone", end_date="2026-12-31"),
    ],
    "queue": [{"id": "0a" * 16, "path": "a/queued.mp3"}],
    "relays": [
        relay("network", mount="/one", username="a-user", password="a-relays-secret"),
        relay("other", direction="out", address="icecast://other.example/live", mount="/one", password="out-secret"),
    ],
}
HEX = re.compile(r"[0-9a-f]{32,64}")
FILES = re.compile(
    r"/etc/streamfleet/(?:instances/[a-z0-9_]+/(?P<slug>[a-z0-9-]+)/[a-z_]+(?:\.[a-z]+)?|routes/(?P<route>[a-z0-9-]+)\.json"
    r"|publish-keys/(?:[0-9a-f]{64}|of-(?P<keys>[a-z0-9-]+))\.json)",
    re.IGNORECASE,
)


@cache
def companions(engine: str) -> list[str]:
    return [name for name in LISTED["companions"] if engine in spec_of(name)["companion_of"]]


def service_of(engine: str, slug: str, number: int, kind: str | None = None) -> dict[str, Any]:
    """A service (of a type) in which every text that the engine and its companions know is filled in."""
    service = adapter(engine).service(slug, number, **({} if kind is None else {"service_type": kind}))
    for name in (engine, *companions(engine)):
        spec = spec_of(name)
        for key, group in (("fields", "settings"), ("credentials", "credentials")):
            for field, declared in (spec.get(key) or {}).items():
                if field in FILLED:
                    service[group][field] = deepcopy(FILLED[field])
                elif declared.get("overlap"):
                    old = {"value": f"older-{field}-of-{slug}", "expires": "2030-01-01T00:00:00Z"}
                    service["previous_credentials"][field] = [old]
        of_type = spec.get("by_type", {}).get(service["service_type"], {})
        service.update(
            {kind: deepcopy(OBJECTS[kind]) for kind in [*spec.get("objects", ()), *of_type.get("objects", ())]}
        )
    return service


def texts(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Paths of all texts below a value."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from texts(item, (*path, number))


def fields(engine: str) -> list[Path_]:
    """Paths of all texts of a service that its tenant writes."""
    service = service_of(engine, "rock-fm", 0)
    groups = ("settings", "credentials", "previous_credentials", "playlists", "djs", "schedules", "queue", "relays")
    return [(name,) for name in TEXTS] + [path for group in groups for path in texts(service.get(group), (group,))]


def written(path: Path_) -> str:
    """A path as errors name it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def changed(service: Mapping[str, Any], path: Path_, value: str | None) -> dict[str, Any]:
    """The service with another value there; what is not on the way to it is the same, and not a copy."""
    made: dict[str, Any] = dict(service)
    place: Any = made
    for part in path[:-1]:
        place[part] = copy(place[part])
        place = place[part]
    place[path[-1]] = value
    return made


def at(service: Any, path: Path_) -> str:
    for part in path:
        service = service[part]
    assert isinstance(service, str)
    return service


def rendered(engine: str, service: Mapping[str, Any]) -> list[Instance]:
    found: list[Instance] = []
    for name in (engine, *companions(engine)):
        found += instances_of(renderer(name)(service, NODE))
    return found


@cache
def renderer(name: str) -> Any:
    return load_renderer(ROOT, name)


# Strict parsers, by the end of a file's name. A file of a kind that has none here fails.


def xml(text: str) -> Any:
    def plain(element: ET.Element) -> Any:
        children = [plain(child) for child in element]
        if not children:
            return [element.tag, dict(element.attrib), element.text or ""]
        assert not (element.text or "").strip(), "text beside elements"
        assert not any((child.tail or "").strip() for child in element)
        return [element.tag, dict(element.attrib), children]

    assert "<!DOCTYPE" not in text
    assert "<!--" not in text
    return plain(ET.fromstring(text))


def json_(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _value in pairs}) == len(pairs), "a key twice"
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def sc_serv(text: str) -> Any:
    """Line by line, of what no vendor's parser can take for anything else."""
    first, *lines = text.removesuffix("\n").split("\n")
    assert first.startswith("; ")
    assert all(re.fullmatch(r"[a-z0-9]+(_[0-9]+)?=[A-Za-z0-9._~/-]*", line) for line in lines), text
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines), "a key twice"
    return found


def passwords(text: str) -> Any:
    """One line: a user and a password."""
    found = re.fullmatch(r"([^\s:]+)[ :](\S+)\n", text)
    assert found, text
    assert not found[1].startswith("#")
    return list(found.groups())


def address(text: str) -> Any:
    """One line: an address, in which nothing means something to Wowza."""
    assert re.fullmatch(r"[a-zA-Z]+://[A-Za-z0-9\[\]/._~!$&'()*+,;=:@%?-]+\n", text), text
    return text


PARSERS = {
    ".xml": xml,
    ".json": json_,
    "sc_serv.conf": sc_serv,
    ".htpasswd": passwords,
    "publish.password": passwords,
    ".stream": address,
}


def parsed(file: File) -> Any:
    parser = next((parse for end, parse in PARSERS.items() if file.path.endswith(end)), None)
    assert parser is not None, f"{file.path}: no strict parser of this kind of file: add one to PARSERS"
    file.content.encode()  # what is no UTF-8 cannot be written
    return parser(file.content)


def leaves(value: Any, place: str, found: dict[str, Any]) -> dict[str, Any]:
    """Every value with the place where it stands, added to ``found``; what is derived (a hash) is made alike."""
    if isinstance(value, dict):
        found[place] = sorted(value)
        for key, item in value.items():
            leaves(item, f"{place}.{key}", found)
    elif isinstance(value, list):
        found[place] = len(value)
        for number, item in enumerate(value):
            leaves(item, f"{place}[{number}]", found)
    else:
        found[place] = HEX.sub("<hash>", value) if isinstance(value, str) else value
    return found


@lru_cache(maxsize=256)
def read(file: File) -> tuple[tuple[str, str], dict[str, Any]]:
    """What is in a file and about it, and what files are sorted by. Most are the same whatever a text is changed to."""
    path, content = HEX.sub("<hash>", file.path), parsed(file)
    about = [path, content, file.mode, file.owner, file.group, file.kind, file.validate]
    return (path, json.dumps(content, sort_keys=True)), leaves(about, "", {})


def meaning(instances: list[Instance]) -> dict[str, Any]:
    """All that stands in all files, and about them."""
    # Files that are named by a hash come in any order.
    made = sorted((read(file) for instance in instances for file in instance.files), key=lambda item: item[0])
    found: dict[str, Any] = {"": len(made)}
    for number, (_, about) in enumerate(made):
        found.update({f"[{number}]{place}": value for place, value in about.items()})
    return found


def secret(path: Path_) -> bool:
    return path[0] == "credentials" or path[-1] in ("value", "password")


def refused(path: Path_, text: str, error: RenderError) -> None:
    """An error is good when it names the field, or the list that it is in, and shows no secret."""
    name = written(path)
    same_list = error.field.partition("[")[0] == name.partition("[")[0]
    assert (
        name.startswith(error.field) or name.endswith(f".{error.field}") or same_list or str(path[-1]) in error.message
    ), f"{name}: {error}"
    if secret(path) and len(text) >= 8:
        assert text not in f"{error} {error.value}"


CASES = [pytest.param(name, path, None, id=f"{name}-{written(path)}") for name in NAMES for path in fields(name)]
# What is for services of some types only, once more with a service of each of these.
CASES += [
    pytest.param(name, (group, field), kind, id=f"{name}-{kind}-{field}")
    for name in NAMES
    for key, group in (("fields", "settings"), ("credentials", "credentials"))
    for field, declared in (spec_of(name)[key] or {}).items()
    for kind in declared.get("service_types") or []
    if field in FILLED
]
# And what only services of a type have beside their fields.
CASES += [
    pytest.param(name, path, kind, id=f"{name}-{kind}-{written(path)}")
    for name in NAMES
    for kind, of_type in (spec_of(name).get("by_type") or {}).items()
    for objects in of_type.get("objects") or []
    for path in texts(OBJECTS[objects], (objects,))
]


@pytest.mark.parametrize(("engine", "path", "kind"), CASES)
def test_what_is_written_arrives_as_it_is_or_is_refused(engine: str, path: Path_, kind: str | None) -> None:
    plain = service_of(engine, "rock-fm", 0, kind)
    neighbour = service_of(engine, "jazz-fm", 1)
    before = rendered(engine, neighbour)
    base, old = meaning(rendered(engine, plain)), at(plain, path)
    places: dict[str, set[str]] = {}
    for name, text in CORPUS.items():
        try:
            instances = rendered(engine, changed(plain, path, text))
        except RenderError as error:
            refused(path, text, error)
            continue
        found = meaning(instances)
        if not text and found == without(engine, plain, path):
            continue
        assert found.keys() == base.keys(), (name, "there is more, or less, than with a plain text")
        places[name] = {place for place in base if found[place] != base[place]}
        for place in places[name]:
            assert old, (name, place, "is no text of this field")
            # Names of hidden mounts are made of those of mounts, without their slash.
            derived = base[place].replace(old.removeprefix("/"), text.removeprefix("/"))
            assert found[place] in (base[place].replace(old, text), derived), (name, place)
        for file in (file for instance in instances for file in instance.files):
            place = FILES.fullmatch(file.path)
            assert place, file.path
            assert {"rock-fm", None} >= {place["slug"], place["route"]}
            if secret(path) and file.kind != "key" and len(text) >= 8:
                shown = re.sub(file.mask, "*", file.content) if file.mask else file.content
                assert text not in shown
                assert escape(text) not in shown
    assert rendered(engine, neighbour) == before
    # Where one text goes, all go: none is dropped.
    assert len({frozenset(where) for name, where in places.items() if CORPUS[name] != old}) <= 1, places
    if path == ("name",):
        assert places, "no name at all was let through"


def without(engine: str, service: Mapping[str, Any], path: Path_) -> dict[str, Any] | None:
    """What is rendered where the field is null, or None where it may not be."""
    try:
        return meaning(rendered(engine, changed(service, path, None)))
    except (RenderError, TypeError, AttributeError):
        return None


def test_a_renderer_that_pastes_texts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = load_renderer(ROOT, "icecast")

    def careless(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance:
        instance = honest({**service, "name": "NAME"}, node)
        assert isinstance(instance, Instance)
        files = [replace(file, content=file.content.replace("NAME", service["name"])) for file in instance.files]
        return replace(instance, files=files)

    load = renderer
    monkeypatch.setattr(f"{__name__}.renderer", lambda name: careless if name == "icecast" else load(name))
    with pytest.raises((AssertionError, ET.ParseError)):
        test_what_is_written_arrives_as_it_is_or_is_refused("icecast", ("name",), None)


@pytest.mark.parametrize("name", [*NAMES, *LISTED["companions"]])
def test_every_text_that_a_spec_declares_is_tried(name: str) -> None:
    """A new field must be filled in here, or the corpus would pass it by."""
    spec, engine = spec_of(name), name if name in NAMES else spec_of(name)["companion_of"][0]
    tried = {path[1] for path in fields(engine) if len(path) > 1}
    for field, declared in {**(spec.get("fields") or {}), **(spec.get("credentials") or {})}.items():
        # A text of its own, or one in a list.
        if declared["schema"].get("type") != "object" and '"string"' in json.dumps(declared["schema"]):
            assert field in tried, f"{field} of {name}: give it a text in FILLED"


def test_the_corpus_is_whole() -> None:
    """What has once been thought of stays in it."""
    whole = "".join(CORPUS.values())
    for text in (
        "\n",
        "\r",
        "\0",
        "\ud800",
        "#{",
        "{{",
        "]]>",
        ";",
        "${",
        "`",
        "../",
        "<!ENTITY",
        "\u202e",
        "📻",
        "'",
        '"',
    ):
        assert text in whole, repr(text)
    assert "" in CORPUS.values()
    assert max(map(len, CORPUS.values())) == 300
