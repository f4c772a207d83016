"""What fields of an engine and its companions mean together: refused in the panel, before a node sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel.apply import ApiError

pytestmark = pytest.mark.usefixtures("world")
Run = Callable[..., dict[str, Any]]

MP3, AAC = {"name": "/a", "bitrate_kbps": 128}, {"name": "/b", "format": "aac", "bitrate_kbps": 64}
ECO = {"autodj": {"class": "eco"}}


def refusals(run: Run, *services: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as refused:
        run({"media_services": [{"slug": "new", **fields} for fields in services], **more})
    return [(problem.path, problem.message) for problem in refused.value.errors]


def new(run: Run, **fields: Any) -> dict[str, Any]:
    service = {"slug": "new", "customer": "free", **fields}
    return run({"customers": [{"username": "free"}], "media_services": [service]})


@pytest.mark.parametrize(
    ("mounts", "found"),
    [([MP3, AAC], "aac 64, mp3 128"), ([{"name": "/a", "format": "flac"}], "flac of no bitrate_kbps")],
)
def test_a_class_of_one_encoding_refuses_mounts_of_others(run: Run, mounts: list[Any], found: str) -> None:
    new(run, engine="icecast", mounts=mounts)
    ((path, message),) = refusals(run, ECO)
    assert path == "media_services[0].mounts"
    assert message.startswith("with autodj.class eco the mounts without a fallback must be of one encoding")
    assert message.endswith(f"these are {found}")
    # Switched off it feeds none; nor does it feed what falls back to another mount.
    new(run, autodj={"class": "eco", "enabled": False})
    new(run, mounts=[MP3, {**AAC, "fallback": "/a"}], autodj={"class": "eco"})
    assert refusals(run, {"mounts": [MP3, AAC]})[0][0] == "media_services[0].mounts"
    mount = {"media_service": "new", "name": "/c", "format": "opus"}
    with pytest.raises(ApiError) as refused:
        run({"mounts": [mount]})
    assert "must be of one encoding" in refused.value.errors[0].message
    assert run({"mounts": [{**mount, "fallback": "/a"}]})["changed"]


def test_what_is_kept_needs_a_limit(run: Run) -> None:
    run(
        {
            "customers": [{"username": "free"}],
            "nodes": [{"name": "node1", "engines": ["icecast", "nginx_rtmp", "flussonic"]}],
        }
    )
    channel = {"customer": "free", "engine": "flussonic"}
    assert refusals(run, {**channel, "dvr_hours": 5}) == [
        ("media_services[0].dvr_hours", "dvr_hours needs disk_quota_mb")
    ]
    assert new(run, **channel, dvr_hours=5, disk_quota_mb=100)["changed"]
    assert refusals(run, {"disk_quota_mb": None}) == [
        ("media_services[0].disk_quota_mb", "dvr_hours needs disk_quota_mb")
    ]
    assert new(run, dvr_hours=None, disk_quota_mb=None)["changed"]
