"""streamfleet_media_service."""

from __future__ import annotations

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_media_service"


def test_from_nothing_to_nothing(runner: Runner, panel: Panel, owner: str) -> None:
    password = runner.canary("canary-source-1")
    other = runner.canary("canary-source-2")
    me = {"slug": "rock-fm"}
    created, mounted, keyed, suspended, _, lifted, gone, restored = runner.steps(
        Step(
            MODULE,
            {**me, "name": "Rock FM", "customer": owner, "engine": "icecast", "source_password": password}
            | {"mounts": [{"name": "/a.mp3"}, {"name": "/b.aac", "format": "aac", "fallback": "/a.mp3"}]},
        ),
        # A mount whose fields are not given has the engine's defaults: the same meaning is no change.
        Step(MODULE, {**me, "max_listeners": 100, "mounts": [{"name": "/a.mp3", "default": True}]}),
        Step(MODULE, {**me, "source_password": other}),
        Step(MODULE, {**me, "suspended": True, "suspend_reason": "unpaid", "suspended_until": "2099-01-31T12:00:00Z"}),
        # What does not name the suspension leaves it.
        Step(MODULE, {**me, "genre": "Rock"}),
        Step(MODULE, {**me, "suspended": False, "suspend_reason": None, "max_listeners": None}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, me),
    )
    service = created.real["media_service"]
    assert (service["node"], service["service_type"]) == ("base1", "radio")
    assert 10000 <= service["port"] <= 10999
    assert created.real["nodes"] == created.check["nodes"]
    assert created.real["diff"][0]["after"]["source_password"] == "********"
    assert [mount["name"] for mount in mounted.real["changes"]["mounts"]["after"]] == ["/a.mp3"]
    assert keyed.real["diff"][0]["before"] == {"source_password": "********"}
    assert keyed.real["diff"][0]["after"] == {"source_password": "******** (changed)"}
    assert suspended.real["media_service"]["suspend_reason"] == "unpaid"
    assert lifted.real["media_service"]["suspended_until"] is None
    assert gone.real["operation"] == "deleted"
    assert restored.real["media_service"]["genre"] == "Rock"
    assert panel.request("GET", "/media-services/rock-fm/credentials")[1]["credentials"]["source_password"] == other


def test_autodj(runner: Runner, panel: Panel, owner: str) -> None:
    me = {"slug": "dj-fm"}
    on, _, seeded, off = runner.steps(
        Step(MODULE, {**me, "customer": owner, "engine": "icecast", "autodj": {"timezone": "Europe/Prague"}}),
        # What has the default is left out, or said: the same meaning is no change.
        Step(
            MODULE,
            {**me, "autodj": {"timezone": "Europe/Prague", "crossfade_seconds": 3, "seed": None}},
            changed=False,
        ),
        Step(MODULE, {**me, "autodj": {"seed": "7", "crossfade_seconds": 2.5, "smart_crossfade": "no"}}),
        Step(MODULE, {**me, "autodj": None}),
        Step(MODULE, {**me, "autodj": {"crossfade_seconds": 16}}, error="autodj.crossfade_seconds: must be at most 15"),
        Step(MODULE, {**me, "autodj": {"timezone": "a b"}}, error="autodj.timezone: does not match the pattern"),
        Step(MODULE, {**me, "autodj": {"colour": "red"}}, error="autodj.colour"),
        Step(MODULE, {**me, "engine": "nginx_rtmp", "autodj": {}}, error="engine: is fixed after creation"),
    )[:4]
    assert on.real["media_service"]["autodj"] == {
        "enabled": True,
        "class": "full",
        "timezone": "Europe/Prague",
        "crossfade_seconds": 3,
        "smart_crossfade": True,
        "minimum_track_seconds": 10,
        "seed": None,
    }
    after = seeded.real["changes"]["autodj"]["after"]
    assert (after["timezone"], after["seed"], after["crossfade_seconds"]) == ("UTC", 7, 2.5)
    assert off.real["media_service"]["autodj"] is None
    credentials = panel.request("GET", "/media-services/dj-fm/credentials")[1]
    assert len(credentials["credentials"]["autodj_password"]) == 24
    assert "autodj_password" not in {line.get("credential") for line in credentials["connection"]}


def test_video(runner: Runner, panel: Panel, owner: str) -> None:
    key = runner.canary("canary-stream-key-0001")
    runner.steps(
        Step(MODULE, {"slug": "town-tv", "customer": owner, "engine": "nginx_rtmp", "stream_key": key}),
        Step(MODULE, {"slug": "town-tv", "enabled": "no"}),
    )
    assert panel.request("GET", "/media-services/town-tv/credentials")[1]["credentials"]["stream_key"] == key


def test_bad_input(runner: Runner, panel: Panel, owner: str) -> None:
    key = runner.canary("short-canary")
    document = {
        "reseller_plans": [{"name": "tight", "max_listeners": 10}],
        "customers": [
            {"username": "tight-rs", "reseller_plan": "tight"},
            {"username": "tight-c", "reseller": "tight-rs"},
        ],
        "media_services": [{"slug": "taken", "customer": owner, "engine": "icecast", "port": 10500}],
    }
    assert panel.request("POST", "/apply", {"document": document})[0] == 200
    new = {"slug": "bad", "customer": owner, "engine": "icecast"}
    steps = [
        Step(MODULE, {**new, "slug": "../etc"}, error="slug: has a form that is not accepted"),
        Step(
            MODULE, {**new, "customer": "none-such"}, error="customer: there is no such customer (given: 'none-such')"
        ),
        Step(MODULE, {**new, "engine": "winamp"}, error="engine"),
        Step(MODULE, {**new, "node": "none-such"}, error="node: there is no such node (given: 'none-such')"),
        Step(
            MODULE, {**new, "port": 10500}, error="port: is taken on base1 by taken (given: 10500) Fix: Choose another"
        ),
        Step(MODULE, {**new, "port": 80}, error="port: is outside the port range of base1 (10000-10999)"),
        Step(MODULE, {"slug": "taken", "engine": "nginx_rtmp"}, error="engine: is fixed after creation: it is icecast"),
        Step(MODULE, {**new, "engine": "nginx_rtmp", "genre": "Rock"}, error="genre"),
        Step(MODULE, {**new, "mounts": [{"name": "no-slash"}]}, error="mounts"),
        Step(MODULE, {**new, "mounts": [{"format": "mp3"}]}, error="missing required arguments: name found in mounts"),
        Step(MODULE, {**new, "suspended_until": "tomorrow"}, error="suspended_until: is not an RFC 3339 time"),
        Step(MODULE, {**new, "engine": "nginx_rtmp", "stream_key": key}, error="stream_key"),
        Step(MODULE, {**new, "customer": "tight-c", "max_listeners": 11}, error="max_listeners"),
    ]
    results = runner.steps(*steps)
    for step, result in zip(steps, results, strict=True):
        # What Ansible itself refuses has only a message.
        assert result.real.get("errors") or "missing required arguments" in str(step.error), result.real
    assert panel.request("GET", "/media-services/bad")[0] == 404
