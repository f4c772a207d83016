"""A Shoutcast 2 station's files: no tenant's text becomes a line of its own, and sc_serv's traps are avoided."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from streamfleet.engine import Instance, RenderError, load_renderer

from tests.doubles.panel import shoutcast_station as station

ROOT = Path(__file__).resolve().parents[2]
render = load_renderer(ROOT, "shoutcast2")
SPEC = yaml.safe_load((ROOT / "roles/shoutcast2/engine/spec.yml").read_text())
NODE = {"node": "n1", "stream_host": "stream.example.net"}
A = ("rock-fm", 200001, 8100)

#: Text that means something to somebody: to sc_serv's files, its source protocol, a shell, a template.
HOSTILE = [
    "secret\nadminpassword=stolen",
    "secret\r\nstreamrelayurl_1=http://127.0.0.1/",
    "secret\rinclude=/etc/shadow",
    "secret\x0binclude=/etc/shadow",
    "secret\x85include=/etc/shadow",
    "secret\u2028include=/etc/shadow",
    "secret\0secret",
    "secret;comment",
    "; secret-secret",
    "[secret-secret]",
    "#secret-secret",
    "secret=secret",
    '"secret-secret"',
    "'secret-secret'",
    " secret-secret",
    "secret-secret ",
    "secret\tsecret",
    "secret:#2",
    "dj:secret-secret",
    "secret$unique",
    "secret%n%s",
    "secret\\n",
    "$(reboot)",
    "{{ 7*7 }}",
    "pässword",
    "\u202esecret",
    "secret\ud800",
    "",
    "x" * 129,
]


def lines(instance: Instance) -> dict[str, str]:
    """The configuration as keys and values; every line but the first is one, and no key is there twice."""
    text = instance.files[0].content
    first, *rest = text.removesuffix("\n").split("\n")
    assert first.startswith("; ")
    assert all(re.fullmatch(r"[a-z0-9]+(_[0-9]+)?=[A-Za-z0-9._~/-]*", line) for line in rest), text
    found = dict(line.split("=", 1) for line in rest)
    assert len(found) == len(rest)
    return found


def streams(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"streams": [{"max_listeners": None, "public": False, "default": False, **entry} for entry in entries]}


def test_a_station_as_a_whole() -> None:
    instance = render(station(*A), NODE)
    assert lines(instance) == {
        "portbase": "8100",
        "password": "source-rock-fm-secret",
        "adminpassword": "admin-rock-fm-secret",
        "requirestreamconfigs": "1",
        "maxuser": "10",
        "maxbitrate": "128000",
        "songhistory": "20",
        "publicserver": "never",
        "allowpublicrelay": "0",
        "usexff": "1",
        "namelookups": "0",
        "banfile": "/var/lib/streamfleet/services/rock-fm/sc_serv.ban",
        "ripfile": "/var/lib/streamfleet/services/rock-fm/sc_serv.rip",
        "agentfile": "/var/lib/streamfleet/services/rock-fm/sc_serv.agent",
        "configrewrite": "0",
        "log": "1",
        "screenlog": "1",
        "logfile": "/dev/null",
        "rotateinterval": "0",
        "w3cenable": "0",
        "pidfile": "",
        "streamid_1": "1",
        "streampath_1": "/stream",
        "streampublicserver_1": "never",
    }
    assert (instance.ports, instance.listen) == ([8100, 8101], [8100, 8101])
    assert instance.unit == "streamfleet-shoutcast2@rock-fm.service"
    # The lists that sc_serv keeps are in its own folder: none of converge's files.
    assert [file.path for file in instance.files] == [
        "/etc/streamfleet/instances/shoutcast2/rock-fm/sc_serv.conf",
        "/etc/streamfleet/routes/rock-fm.json",
    ]
    assert (instance.files[0].mode, instance.files[0].group) == ("0640", "sf200001")
    assert len(instance.listen) == SPEC["ports"]


@pytest.mark.parametrize("credential", ["source_password", "admin_password", "authhash", "premium_licence_id"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_credentials_are_refused_and_not_told(credential: str, text: str) -> None:
    others = {"authhash": "hash-hash-hash", "premium_user_id": "user", "premium_licence_id": "licence"}
    service = station(*A, settings=streams({"id": 1, "name": "/a", "public": True}), credentials=others)
    lines(render(service, NODE))
    with pytest.raises(RenderError) as caught:
        render(station(*A, settings=service["settings"], credentials={**others, credential: text}), NODE)
    told = f"{caught.value} {caught.value.value}"
    assert caught.value.field.startswith(("credentials.", "settings.streams[0].public"))
    assert "secret" not in told


@pytest.mark.parametrize("text", [*HOSTILE, "/a/b", "/../etc", "stream", "/A", "/stream?sid=2", "/", "/.a"])
def test_hostile_paths_are_refused(text: str) -> None:
    with pytest.raises(RenderError, match=r"settings\.streams\[1\]\.name"):
        render(station(*A, settings=streams({"id": 1, "name": "/a"}, {"id": 2, "name": text})), NODE)


@pytest.mark.parametrize("number", [0, -1, 1000, 1.5, "1", "1\n2", True, None])
def test_hostile_numbers_are_refused(number: Any) -> None:
    with pytest.raises(RenderError):
        render(station(*A, settings=streams({"id": number, "name": "/a"})), NODE)
    for field in ("max_listeners", "max_bitrate_kbps"):
        if number not in (None, 1000):
            with pytest.raises(RenderError, match=field):
                render(station(*A, limits={field: number}), NODE)


@given(text=st.text(max_size=60))
def test_any_password_is_kept_or_refused(text: str) -> None:
    service = station(*A, credentials={"source_password": text})
    if re.fullmatch(r"[A-Za-z0-9._~-]+", text):
        assert lines(render(service, NODE))["password"] == text
        return
    with pytest.raises(RenderError) as caught:
        render(service, NODE)
    assert caught.value.field == "credentials.source_password"


@given(name=st.text(max_size=80), customer=st.text(max_size=20))
def test_names_are_in_no_file(name: str, customer: str) -> None:
    plain, named = render(station(*A), NODE), render(station(*A, name=name, customer=customer), NODE)
    assert named.files == plain.files
    assert named.fingerprints == plain.fingerprints


def test_the_schema_lets_through_what_the_renderer_takes() -> None:
    """What the panel stores is never refused for its characters."""
    patterns = {credential["schema"]["pattern"] for credential in SPEC["credentials"].values()}
    assert patterns
    for pattern in patterns:
        letters = set(filter(re.compile(pattern).search, map(chr, range(0x110000))))
        assert letters <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-"), pattern


def test_several_streams() -> None:
    entries = streams(
        {"id": 1, "name": "/high", "max_listeners": 5},
        {"id": 7, "name": "/low.aac", "default": True},
    )
    instance = render(station(*A, settings=entries), NODE)
    found = {key: value for key, value in lines(instance).items() if key.startswith("stream")}
    assert found == {
        "streamid_1": "1",
        "streampath_1": "/high",
        "streammaxuser_1": "5",
        "streampublicserver_1": "never",
        "streamid_7": "7",
        "streampath_7": "/low.aac",
        "streampublicserver_7": "never",
    }
    assert json.loads(instance.files[1].content) == {
        "port": 8100,
        "mounts": ["/high", "/low.aac"],
        "default": "/low.aac",
        "unwritten": True,
        "max_bitrate_kbps": 128,
    }


def test_a_public_stream_needs_the_key_of_the_directory() -> None:
    entries = streams({"id": 1, "name": "/a"}, {"id": 2, "name": "/b", "public": True})
    with pytest.raises(RenderError, match=r"settings\.streams\[1\]\.public: needs the credential authhash"):
        render(station(*A, settings=entries), NODE)
    found = lines(render(station(*A, settings=entries, credentials={"authhash": "abcdef123456"}), NODE))
    assert found["streamauthhash_2"] == "abcdef123456"
    assert "streamauthhash_1" not in found
    assert (found["streampublicserver_1"], found["streampublicserver_2"]) == ("never", "always")
    assert found["publicip"] == "stream.example.net"


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({"max_listeners": None, "max_bitrate_kbps": None}, ("1000000", None)),
        ({"max_listeners": 1, "max_bitrate_kbps": 320}, ("1", "320000")),
    ],
)
def test_limits(limits: dict[str, Any], found: tuple[str, str | None]) -> None:
    config = lines(render(station(*A, limits=limits), NODE))
    assert (config["maxuser"], config.get("maxbitrate")) == found


def test_no_listeners_are_not_unlimited_listeners() -> None:
    with pytest.raises(RenderError, match="means unlimited to Shoutcast"):
        render(station(*A, limits={"max_listeners": 0}), NODE)


@pytest.mark.parametrize(
    "entries",
    [[{"id": 1, "name": "/a"}, {"id": 1, "name": "/b"}], [{"id": 1, "name": "/a"}, {"id": 2, "name": "/a"}]],
)
def test_streams_that_share_an_id_or_a_path_are_refused(entries: list[dict[str, Any]]) -> None:
    with pytest.raises(RenderError, match=r"settings\.streams\[1\]\.(id|name): is declared twice"):
        render(station(*A, settings=streams(*entries)), NODE)


def test_passwords_that_sc_serv_would_not_start_with_are_refused() -> None:
    same = {"source_password": "the-same-one", "admin_password": "the-same-one"}
    with pytest.raises(RenderError, match=r"credentials\.admin_password: is the same"):
        render(station(*A, credentials=same), NODE)


@pytest.mark.parametrize(
    ("given", "missing"), [("premium_user_id", "premium_licence_id"), ("premium_licence_id", "premium_user_id")]
)
def test_half_a_licence_is_refused(given: str, missing: str) -> None:
    with pytest.raises(RenderError, match=rf"credentials\.{missing}: is missing"):
        render(station(*A, credentials={given: "abc"}), NODE)


def test_off_the_air_there_is_no_route() -> None:
    for state in ("stopped", "suspended", "disabled", "over_quota", "deleted"):
        off = render(station(*A, state=state), NODE)
        assert not [file for file in off.files if "/routes/" in file.path]
        assert off.state == state


@pytest.mark.parametrize(
    ("change", "restart"),
    [
        ({"port": 8102}, True),
        ({"uid": 200009}, True),
        ({"credentials": {"source_password": "another-one"}}, True),
        ({"limits": {"max_listeners": 11}}, True),
        ({"settings": {"song_history": 5}}, True),
        ({"settings": streams({"id": 1, "name": "/other"})}, True),
        ({"settings": streams({"id": 1, "name": "/stream", "default": True})}, False),
        ({"limits": {"disk_quota_mb": 5}}, False),
        ({"name": "x"}, False),
        ({"generation": 9}, False),
        ({"state": "stopped"}, False),
        ({"customer": "bob"}, False),
    ],
)
def test_fingerprints_follow_the_change_matrix(change: dict[str, Any], restart: bool) -> None:
    before, after = (render(station(*A, **some), NODE).fingerprints for some in ({}, change))
    assert set(before) == {"restart"}
    assert (before != after) == restart


@pytest.mark.parametrize("public", [True, False])
def test_the_name_of_the_streams_is_read_at_a_start_where_it_is_listed(public: bool) -> None:
    """What playbooks/tasks/domain_change_restarts.yml goes by."""
    settings = streams({"id": 1, "name": "/a", "public": public})
    service = station(*A, settings=settings, credentials={"authhash": "the-hash-of-it"})
    before, after = (render(service, {**NODE, "stream_host": f"{name}.example.net"}) for name in ("old", "new"))
    assert (before.fingerprints != after.fingerprints) is public


def test_diffs_blank_every_secret() -> None:
    secrets = {
        "source_password": "source-password",
        "admin_password": "admin-password",
        "authhash": "the-hash-of-it",
        "premium_user_id": "the-user",
        "premium_licence_id": "the-licence",
    }
    settings = streams({"id": 12, "name": "/a", "public": True})
    file = render(station(*A, settings=settings, credentials=secrets), NODE).files[0]
    blanked = re.sub(file.mask or "$^", "*", file.content)
    for secret in secrets.values():
        assert secret in file.content
        assert secret not in blanked
