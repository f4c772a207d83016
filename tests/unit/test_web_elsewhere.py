"""How the web server fetches what another node has: once for all viewers, into memory."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.unit.test_web_former_names import rendered


def places(**changes: Any) -> dict[str, str]:
    """The places that fetch, by their names, of a host with streams."""
    facts = {"streamfleet_host": {"ipv6": False}}
    host = "n1.example.net"
    text = rendered(
        streamfleet_web_stream_host=host,
        _streamfleet_web_has_streams=True,
        _streamfleet_web_fetched_dir="/run/streamfleet-web-fetched",
        _streamfleet_web_snippets=[],
        ansible_facts=facts,
        **changes,
    )
    assert "proxy_cache_path /run/streamfleet-web-fetched " in text
    found = dict(re.findall(r"location @streamfleet_(elsewhere\w*) \{\n(.*?)\n    \}\n", text, re.DOTALL))
    # Each is led to by the server of streams, and by that of customers' own domains.
    for name in found:
        assert re.search(rf"error_page 42[12] = @streamfleet_{name};", text)
    return found


@pytest.mark.parametrize(("name", "good"), [("elsewhere", "600s"), ("elsewhere_list", "1s")])
def test_what_another_node_has_is_fetched_once_for_all(name: str, good: str) -> None:
    block = places(streamfleet_web_hls_segment_max_age=600)[name]
    said = dict(re.findall(r"^ +(proxy_\w+) ([^;]+);", block, re.MULTILINE))
    assert said["proxy_cache"] == "streamfleet_fetched"
    assert said["proxy_cache_lock"] == "on"
    # By node, channel and item: never another channel's.
    assert said["proxy_cache_key"] == "$streamfleet_elsewhere/$streamfleet_slug/$streamfleet_item"
    assert f"proxy_cache_valid 200 {good};" in block
    # An encoder that is not there yet is asked for by all of its viewers, too.
    assert re.search(r"proxy_cache_valid 404 [0-9 ]+1s;", block)
    # A viewer's range would be kept as the whole.
    assert "$http_range" not in block
    assert said["proxy_max_temp_file_size"] == "0"
    assert "Cache-Control" in said["proxy_ignore_headers"]


def test_segments_that_may_not_be_kept_are_not() -> None:
    assert "proxy_cache_valid 200" not in places(streamfleet_web_hls_segment_max_age=0)["elsewhere"]
