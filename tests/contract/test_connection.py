"""The connection that all modules share: where its options come from, and what is said when it fails."""

from __future__ import annotations

import json
from pathlib import Path

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner
from tests.ports import free_port
from tests.unit.fake_server import Reply, serving
from tests.unit.test_http import write_authority

INFO = "streamfleet_customer_info"


def test_options_environment_and_module_defaults(runner: Runner, panel: Panel) -> None:
    runner.environment = {"STREAMFLEET_URL": "http://127.0.0.1:1", "STREAMFLEET_TOKEN": panel.token}
    results = runner.tasks([{"name": "option wins", INFO: {"url": panel.url}}])
    assert results["option wins"]["customers"], results
    runner.environment = {}
    connection = {"url": panel.url, "token": panel.token}
    results = runner.tasks(
        [
            {"name": "nothing", INFO: {}, "ignore_errors": True},
            {"name": "no token", INFO: {"url": panel.url}, "ignore_errors": True},
            {"name": "options", INFO: connection},
            {"name": "module_defaults", INFO: {}, "module_defaults": {INFO: connection}},
            {
                "name": "timeout",
                INFO: {},
                "environment": {"STREAMFLEET_TIMEOUT": "soon"},
                "ignore_errors": True,
            },
        ]
    )
    assert (
        "url is not set. Give it as an option, by module_defaults, or in the environment as STREAMFLEET_URL."
        in (results["nothing"]["msg"])
    )
    assert "token is not set." in results["no token"]["msg"]
    for name in ("options", "module_defaults"):
        assert results[name]["customers"], results[name]
    assert "timeout" in results["timeout"]["msg"]


def test_what_goes_wrong_is_named(runner: Runner, panel: Panel, tmp_path: Path) -> None:
    right, context = write_authority(tmp_path, "right")
    wrong, _ = write_authority(tmp_path, "wrong")
    people = {"customers": [{"username": "conn-off", "status": "disabled"}, {"username": "conn-api"}]}
    assert panel.request("POST", "/apply", {"document": people})[0] == 200
    tokens = {
        name: panel.request("POST", "/tokens", {"name": "t", "account": name})[1]["token"]
        for name in ("conn-off", "conn-api")
    }
    panel.request("PUT", "/customers/conn-api", {"api_access": False})
    for token in tokens.values():
        runner.canary(token)
    nobody = f"http://127.0.0.1:{free_port()}"
    canned = {"items": [{"username": "canned"}], "count": 1}
    with (
        serving(Reply(200, canned), context=context) as tls,
        serving(Reply(200, raw=b"<html>", headers={"Content-Type": "text/html"})) as page,
        serving(Reply(302, headers={"Location": "https://elsewhere.example.net/"})) as moved,
        serving(Reply(502, raw=b"<html>", headers={"Content-Type": "text/html"})) as gateway,
    ):
        asked = {
            "right CA": ({"url": tls.url, "ca_path": str(right)}, None),
            "wrong CA": ({"url": tls.url, "ca_path": str(wrong)}, "wrong.pem. Set ca_path (STREAMFLEET_CA)"),
            "no CA": ({"url": tls.url}, "is not trusted"),
            "missing CA": ({"url": tls.url, "ca_path": "/none.pem"}, "'/none.pem' does not exist where this runs"),
            "no validation": ({"url": tls.url, "validate_certs": False}, None),
            "nobody": ({"url": nobody}, "refused the connection. Check url (STREAMFLEET_URL)"),
            "no host": (
                {"url": "https://none.invalid"},
                "host name none.invalid of url https://none.invalid can",
            ),
            "no URL": ({"url": "panel"}, "url 'panel' must be an https:// address"),
            "clear text": ({"url": "http://192.0.2.1"}, "would send the token in the clear"),
            "no panel": ({"url": page.url}, "is this the address of a Streamfleet panel?"),
            "moved": ({"url": moved.url}, "which is not followed with a token"),
            "gateway": ({"url": gateway.url}, "the panel behind it does not answer"),
            "bad token": ({"token": "sft_nonsense"}, "Set token (STREAMFLEET_TOKEN) to a valid token"),
            "disabled": ({"token": tokens["conn-off"]}, "The account conn-off is disabled"),
            "no API": ({"token": tokens["conn-api"]}, "API access of the account conn-api is switched off"),
        }
        results = runner.tasks([{"name": name, INFO: args, "ignore_errors": True} for name, (args, _) in asked.items()])
    for name, (_, message) in asked.items():
        if message is None:
            assert results[name]["customers"] == canned["items"], f"{name}: {results[name]}"
        else:
            assert message in results[name]["msg"], f"{name}: {results[name]['msg']}"
            assert not results[name]["changed"]


def test_a_customer_sees_and_changes_only_its_own(runner: Runner, panel: Panel) -> None:
    people = {
        "customers": [{"username": "own-a"}, {"username": "own-b"}],
        "media_services": [{"slug": f"own-{name}-fm", "customer": f"own-{name}", "engine": "icecast"} for name in "ab"],
    }
    assert panel.request("POST", "/apply", {"document": people})[0] == 200
    token = panel.request("POST", "/tokens", {"name": "t", "account": "own-a"})[1]["token"]
    runner.canary(token)
    runner.environment["STREAMFLEET_TOKEN"] = token
    service, task = "streamfleet_media_service", {"ignore_errors": True}
    results = runner.tasks(
        [
            {"name": "list", "streamfleet_media_service_info": {}},
            {"name": "own", service: {"slug": "own-a-fm", "genre": "Jazz"}},
            {"name": "limit", service: {"slug": "own-a-fm", "max_listeners": 9999}, **task},
            {"name": "foreign", service: {"slug": "own-b-fm", "genre": "Jazz"}, **task},
            {"name": "absent", service: {"slug": "own-b-fm", "state": "absent"}, **task},
            {"name": "secrets", "streamfleet_media_service_info": {"slug": "own-b-fm", "credentials": True}, **task},
            {"name": "stop", "streamfleet_media_service_control": {"slug": "own-b-fm", "state": "stopped"}, **task},
            {"name": "plan", "streamfleet_reseller_plan": {"name": "mine"}, **task},
        ]
    )
    assert [item["slug"] for item in results["list"]["media_services"]] == ["own-a-fm"]
    assert results["own"]["changed"] is True
    assert "max_listeners: may not be set by a customer" in results["limit"]["msg"]
    for name in ("foreign", "absent", "stop", "plan"):
        assert results[name].get("failed"), name
    assert results["secrets"]["media_services"] == []
    services = {item["slug"]: item for item in panel.request("GET", "/media-services?search=own-")[1]["items"]}
    assert services["own-b-fm"]["genre"] is None
    assert services["own-a-fm"]["max_listeners"] is None
    assert json.dumps(services).count("Jazz") == 1
