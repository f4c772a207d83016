"""A hostile tenant tries, and fails."""

from __future__ import annotations

import json
import time

import pytest
from streamfleet.errors import Error

from demo.show import credentials
from demo.stage import NODE, PANEL_HOST, STREAM_HOST, Stage
from tests.live.streams import Listener, Source, on_air
from tests.live.test_platform import account, apply, published, running, settled, station, tenant  # noqa: F401

pytestmark = pytest.mark.live


def as_tenant(platform: Stage, slug: str, code: str) -> str:
    """Run Python on the node as the system user of a station's customer."""
    unit = f"streamfleet-icecast@{slug}.service"
    user = platform.on_node(["systemctl", "show", unit, "-p", "User", "--value"]).strip()
    assert user.startswith("sf2"), user
    return platform.on_node(["runuser", "-u", user, "--", "python3", "-c", code]).strip()


def opened(platform: Stage, slug: str, *ports: int, address: str = "127.0.0.1") -> set[int]:
    """Those of ``ports`` at ``address`` to which a tenant's process could connect; all are tried at one time."""
    code = (
        "import asyncio\n"
        "async def opens(port):\n"
        "    try:\n"
        f"        _, writer = await asyncio.wait_for(asyncio.open_connection({address!r}, port), 5)\n"
        "    except (OSError, asyncio.TimeoutError): return\n"
        "    writer.close(); print(port)\n"
        "async def main():\n"
        f"    await asyncio.gather(*(opens(port) for port in {ports!r}))\n"
        "asyncio.run(main())"
    )
    return {int(port) for port in as_tenant(platform, slug, code).split()}


@pytest.fixture
def two(platform: Stage, tenant: str) -> tuple[str, str]:  # noqa: F811
    """Stations of two customers."""
    other = f"{tenant}x"
    apply(
        platform,
        {
            "customers": [account(other)],
            "media_services": [station(tenant, f"{tenant}-a"), station(other, f"{other}-a")],
        },
    )
    running(platform, f"{tenant}-a", f"{other}-a")
    return f"{tenant}-a", f"{other}-a"


def test_loopback_ports_of_others_are_closed(platform: Stage, two: tuple[str, str]) -> None:
    mine, theirs = two
    ports = json.loads(platform.on_node(["cat", f"/etc/streamfleet/routes/{theirs}.json"]))
    own = json.loads(platform.on_node(["cat", f"/etc/streamfleet/routes/{mine}.json"]))
    assert opened(platform, mine, own["port"], ports["port"]) == {own["port"]}, (
        "the tenant's own port must stay open, else this proves nothing"
    )
    assert opened(platform, mine, ports["port"], address=platform.address) == set()


def test_no_listening_loopback_port_takes_a_tenant(platform: Stage, two: tuple[str, str]) -> None:
    mine, _ = two
    own = json.loads(platform.on_node(["cat", f"/etc/streamfleet/routes/{mine}.json"]))["port"]
    listening = platform.on_node(["sh", "-c", "ss -Hltn | awk '{print $4}' | sed 's/.*://' | sort -un"]).split()
    assert {"1935", str(own)} <= {*listening}
    assert opened(platform, mine, *map(int, listening)) == {own}


def test_one_tenant_reads_nothing_of_another(platform: Stage, two: tuple[str, str]) -> None:
    mine, theirs = two
    paths = [
        f"/etc/streamfleet/instances/icecast/{theirs}/icecast.xml",
        f"/etc/streamfleet/routes/{theirs}.json",
        "/etc/streamfleet/publish-keys",
        "/etc/streamfleet/panel/panel.env",
        "/var/lib/streamfleet/panel",
        "/var/lib/streamfleet/node/state.json",
        "/etc/streamfleet/worker/token",
        "/etc/streamfleet/ca/ca.key",
    ]
    code = (
        "import os\n"
        f"for path in {paths!r}:\n"
        "    try:\n"
        "        os.listdir(path) if os.path.isdir(path) else open(path).read(); print('READ', path)\n"
        "    except FileNotFoundError: print('MISSING', path)\n"
        "    except PermissionError: pass\n"
    )
    assert as_tenant(platform, mine, code) == ""


def test_a_source_of_type_html_is_harmless_in_a_browser(platform: Stage, two: tuple[str, str]) -> None:
    slug, _ = two
    address, port, password = published(platform, slug)
    with on_air(Source(address, port, "/stream", password, content_type="text/html")):
        listener = Listener(address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(platform.ca))
        listener.start()
        assert listener.answered.wait(20)
        time.sleep(0.5)
        heard = listener.stop()
    assert not heard.headers.get("content-type", "").startswith("text/"), heard.headers
    assert heard.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in heard.headers["content-security-policy"]
    assert "set-cookie" not in heard.headers


@pytest.mark.parametrize("slug", ["../x", "..%2fx", "a/../../etc", "a b", "a;b", "a\nb", "%00"])
def test_a_slug_that_climbs_is_refused_everywhere(platform: Stage, tenant: str, slug: str) -> None:  # noqa: F811
    with pytest.raises(Error) as refused:
        apply(platform, {"media_services": [station(tenant, slug)]})
    assert "media_services[0].slug" in str(refused.value)
    if "\n" in slug or " " in slug:
        return
    for path in (f"/listen/{slug}/stream", f"/hls/{slug}/index.m3u8"):
        listener = Listener(platform.address, 443, STREAM_HOST, path, str(platform.ca))
        listener.start()
        assert listener.answered.wait(20)
        assert listener.stop().status in (400, 404), path


def test_the_panel_does_not_answer_on_the_stream_host(platform: Stage) -> None:
    done = platform.run_inside(
        [
            "curl",
            "--connect-to",
            f"::{NODE}:",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            str(platform.ca),
            f"https://{STREAM_HOST}/login/",
        ]
    )
    assert done.stdout == "404"
    page = platform.run_inside(
        ["curl", "--connect-to", f"::{NODE}:", "-s", "-i", "--cacert", str(platform.ca), f"https://{PANEL_HOST}/login/"]
    ).stdout
    cookies = [line for line in page.splitlines() if line.lower().startswith("set-cookie")]
    assert cookies
    for cookie in cookies:
        assert "domain=" not in cookie.lower(), "host-only, so that no stream host ever gets it"
        assert "secure" in cookie.lower()


def test_the_packaging_port_refuses_a_tenant_and_everybody_else(platform: Stage, two: tuple[str, str]) -> None:
    mine, _ = two
    packaging = platform.on_node(
        [
            "sh",
            "-c",
            "grep -hoE 'listen +127.0.0.1:[0-9]+' /etc/streamfleet/rtmp/nginx.conf | grep -oE '[0-9]+$' | sort -u",
        ]
    ).split()
    assert packaging
    assert opened(platform, mine, *map(int, packaging)) == set()
    assert credentials(platform.api(), mine)["source_password"]
    settled(platform)
