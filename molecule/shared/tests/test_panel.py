"""The panel answers over HTTPS with a certificate of its own CA, to those who may, and knows its nodes."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from pathlib import Path

import pytest
from conftest import Api
from testinfra.host import Host

testinfra_hosts = ["streamfleet_panel"]


def get(host: Host, path: str, ca: str | None) -> tuple[int, bytes]:
    """GET from this machine, as anybody would; ca: PEM text to trust, None for the system's."""
    variables = host.ansible.get_variables()
    context = ssl.create_default_context(cadata=ca)
    name = variables["streamfleet_panel_host"]
    connection = http.client.HTTPSConnection(name, context=context, timeout=20)
    raw = socket.create_connection((variables["node_address"], 443), timeout=20)
    connection.sock = context.wrap_socket(raw, server_hostname=name)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_health_over_https_with_the_ca(host: Host) -> None:
    ca = host.file("/etc/streamfleet/ca/ca.pem").content_string
    status, body = get(host, "/api/v1/health", ca)
    assert status == 200, body
    assert json.loads(body)


def test_who_does_not_know_the_ca_does_not_trust_it(host: Host) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        get(host, "/api/v1/health", None)


def test_plain_http_leads_to_https(host: Host) -> None:
    variables = host.ansible.get_variables()
    connection = http.client.HTTPConnection(variables["node_address"], 80, timeout=20)
    connection.request("GET", "/", headers={"Host": variables["streamfleet_panel_host"]})
    answer = connection.getresponse()
    assert answer.status in (301, 308)
    assert (answer.getheader("Location") or "").startswith(f"https://{variables['streamfleet_panel_host']}")


def test_api_refuses_who_has_no_token(api: Api) -> None:
    status, body = api("GET", "customers", authenticated=False)
    assert status == 401
    assert body["error"]["code"] == "unauthenticated"


def test_every_node_is_registered_with_its_pinned_key(host: Host, api: Api) -> None:
    status, body = api("GET", "nodes")
    assert status == 200, body
    inventory = host.ansible.get_variables()["groups"]
    assert sorted(node["name"] for node in body["items"]) == sorted(inventory["streamfleet_nodes"])
    for node in body["items"]:
        assert node["host_key"].startswith("ssh-ed25519 "), node
        assert node["status"] == "active", node


def test_release_is_pinned_and_complete(host: Host) -> None:
    release = host.check_output("readlink -f /opt/streamfleet/current")
    assert Path(release).parent == Path("/opt/streamfleet/releases")
    assert host.file(f"{release}/playbooks/converge.yml").exists
    # Nothing of the inventory comes with it: a worker knows tenants, not hosts' secrets.
    assert not host.file(f"{release}/inventories").exists


def test_web_process_reaches_neither_root_nor_the_nodes(host: Host) -> None:
    assert host.run("runuser -u streamfleet-panel -- sudo -n true").rc != 0
    assert host.run("runuser -u streamfleet-panel -- cat /etc/streamfleet/worker/id_ed25519").rc != 0
    groups = host.check_output("id -Gn streamfleet-panel").split()
    assert groups == ["streamfleet-panel"]
