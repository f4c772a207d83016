"""Uninstalling web and RTMP server leaves nothing of them, and they can be installed again.

Tests roles: web, nginx_rtmp.
"""

from __future__ import annotations

import json

import pytest

from tests.live.edge import Edge
from tests.live.test_check_mode import changes

pytestmark = [pytest.mark.live, pytest.mark.full]

LEFT = r"""
find /etc /usr /var /run /opt /home -xdev \
    -path /var/cache -prune -o -path /var/lib/apt -prune -o -path /var/log/journal -prune \
    -o -path '/usr/share/*' -prune \
    -o -iname '*nginx*' -print -o -iname '*streamfleet*' -print 2>/dev/null \
    | grep -vE '^/(etc|var/lib|run)/streamfleet$'
ls -A /usr/lib/streamfleet /etc/streamfleet /var/lib/streamfleet /run/streamfleet 2>/dev/null
getent passwd streamfleet-rtmp streamfleet-rtmps
getent group streamfleet-rtmp streamfleet-rtmps
ss -Hltn | grep -E ':(80|443|1935|1936|1937|1942) '
systemctl list-units --all --plain --no-legend 'streamfleet*' 'nginx*' 'run-streamfleet*'
true
"""


def test_nothing_is_left(edge: Edge) -> None:
    edge.playbook(["nginx_rtmp", "web"], tasks_from="uninstall")
    left = edge.run(LEFT)
    allowed = {
        "/etc/streamfleet:", "ca", "domains", "routes", "tls", "/var/lib/streamfleet:", "packages.json",
        "/run/streamfleet:", "",
    }  # fmt: skip
    assert [line for line in left.splitlines() if line not in allowed] == []
    named = {"nginx", "nginx-common", "libnginx-mod-http-js", "libnginx-mod-rtmp"}
    named |= {"libnginx-mod-stream", "libnginx-mod-stream-js"}
    assert not named & set(edge.run("dpkg-query -W -f '${Package}\\n'").split())
    assert changes(edge.playbook(["nginx_rtmp", "web"], tasks_from="uninstall")) == set()
    edge.playbook(["nginx_rtmp", "web"])
    assert changes(edge.playbook(["nginx_rtmp", "web"])) == set()


def test_a_site_of_the_operators_own_keeps_its_web_server(edge: Edge) -> None:
    site = "server { listen 8080; location / { return 200 own; } }"
    edge.run("cat >/etc/nginx/sites-enabled/own && systemctl reload nginx", stdin=site)
    edge.playbook(["web"])
    asked = "curl -s -m 5 http://127.0.0.1:8080/"
    assert edge.run(asked) == "own"
    edge.playbook(["web", "nginx_rtmp"], tasks_from="uninstall")
    assert edge.run(asked) == "own"
    assert edge.run("ss -Hltn | grep -cE ':(443|1935) ' || true").strip() == "0"
    assert changes(edge.playbook(["web", "nginx_rtmp"], tasks_from="uninstall")) == set()
    edge.run("rm /etc/nginx/sites-enabled/own")
    edge.playbook(["web", "nginx_rtmp"], "-e", json.dumps({"streamfleet_web_disable_default_site": True}))
    assert edge.run(asked + " || echo gone").strip() == "gone"
