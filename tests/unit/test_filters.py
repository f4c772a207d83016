"""filter_plugins/streamfleet.py: answers of surveys."""

from __future__ import annotations

import ipaddress
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

from filter_plugins.streamfleet import (
    FilterModule,
    streamfleet_a_labels,
    streamfleet_answer,
    streamfleet_host_ports,
    streamfleet_no_addresses,
    streamfleet_no_networks,
    streamfleet_servers,
    streamfleet_shared_ports,
    streamfleet_unknown,
)

OMIT = object()
ROOT = Path(__file__).resolve().parents[2]
ENGINES = yaml.safe_load((ROOT / "engines.yml").read_text())["engines"]
SPECS = {name: yaml.safe_load((ROOT / f"roles/{name}/engine/spec.yml").read_text()) for name in ENGINES}
VIDEO = [name for name, spec in SPECS.items() if spec["kind"] == "video"]


@pytest.mark.parametrize("kind", ["text", "number", "choice", "bool", "list", "data", "secret"])
@pytest.mark.parametrize("empty", ["", "  ", "\n", None])
def test_an_empty_answer_is_omitted(kind: str, empty: Any) -> None:
    assert streamfleet_answer(empty, OMIT, kind) is OMIT


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        ("text", " Rock FM ", "Rock FM"),
        ("text", "none", "none"),
        ("text", "#{x} {{ y }} ]]>", "#{x} {{ y }} ]]>"),
        ("secret", " with blanks ", " with blanks "),
        ("secret", "none", "none"),
        ("number", "0", 0),
        ("number", " 100 ", 100),
        ("number", "Unlimited", None),
        ("number", "none", None),
        ("number", "null", None),
        ("choice", "bronze", "bronze"),
        ("choice", "None", None),
        ("bool", "yes", True),
        ("bool", "No", False),
        ("bool", "TRUE", True),
        ("bool", "off", False),
        ("list", "a, b\nc\n", ["a", "b", "c"]),
        ("list", "none", None),
        ("data", '[{"name": "/x"}]', [{"name": "/x"}]),
        ("data", "null", None),
    ],
)
def test_answers(kind: str, answer: str, value: Any) -> None:
    assert streamfleet_answer(answer, OMIT, kind) == value


@pytest.mark.parametrize("value", [0, False, 7, [], {}, ["a"], {"a": 1}])
@pytest.mark.parametrize("kind", ["text", "number", "bool", "list", "data"])
def test_what_is_no_text_is_left_alone(kind: str, value: Any) -> None:
    assert streamfleet_answer(value, OMIT, kind) is value


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("number", "ten", "'ten' must be a whole number, or unlimited"),
        ("number", "1.5", "must be a whole number"),
        ("number", "٣", "must be a whole number"),
        ("bool", "maybe", "'maybe' must be yes or no"),
        ("data", "[", "not JSON: Expecting value"),
        ("lots", "x", "kind 'lots' must be one of text, number"),
    ],
)
def test_wrong_answers_say_what_is_right(kind: str, answer: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        streamfleet_answer(answer, OMIT, kind)


def test_a_secret_in_broken_data_is_not_repeated() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        streamfleet_answer('{"password": "canary"', OMIT, "data")
    assert "canary" not in str(caught.value)


def test_unknown_variables_are_found() -> None:
    names = ["customer_b", "customer_name", "customer_a", "other_x"]
    assert streamfleet_unknown(names, "customer_", ["name"]) == ["customer_a", "customer_b"]


def test_international_names_as_dns_has_them() -> None:
    names = ["stream.example.net", "müller.example", "straße.example", "x\u200d.example", "ü" * 70 + ".example", None]
    unknown = "its A-label (xn--…), which your registrar shows"
    assert streamfleet_a_labels(names) == [
        ("müller.example", "xn--mller-kva.example"),
        *((name, unknown) for name in names[2:5]),
    ]


def test_ansible_finds_them() -> None:
    assert set(FilterModule().filters()) == {
        "streamfleet_a_labels",
        "streamfleet_answer",
        "streamfleet_host_ports",
        "streamfleet_kept",
        "streamfleet_kept_days",
        "streamfleet_no_addresses",
        "streamfleet_no_networks",
        "streamfleet_openings",
        "streamfleet_servers",
        "streamfleet_shared_ports",
        "streamfleet_unknown",
    }


@pytest.mark.parametrize("pair", list(itertools.combinations(VIDEO, 2)), ids="-".join)
def test_two_video_engines_on_one_host_want_one_port_unless_a_variable_separates_them(pair: tuple[str, str]) -> None:
    specs = [SPECS[name] for name in pair]
    shared = streamfleet_shared_ports(specs, {})
    first, second = (spec["title"] for spec in specs)
    variables = [f"streamfleet_{name}_port" for name in pair]
    who = f"port 1935 is wanted by {first} (RTMP) and {second} (RTMP)"
    assert shared == [f"{who}. Give one of them another with {' or '.join(variables)}"]
    for variable in variables:
        assert streamfleet_shared_ports(specs, {variable: "1945", "other": 1935}) == []
        # Onto a port of the other that is not for encoders.
        plan = SPECS[pair[1 - variables.index(variable)]]["host_ports"]
        taken = next(item.get("port") or item["default"] for name, item in plan.items() if name != "RTMP")
        assert f"port {taken} is wanted by" in streamfleet_shared_ports(specs, {variable: taken})[0]


def test_all_video_engines_on_one_host() -> None:
    specs = [SPECS[name] for name in VIDEO]
    assert len(VIDEO) == 3
    assert len(streamfleet_shared_ports(specs, {})) == 1
    separated = {"streamfleet_wowza_port": 1945, "streamfleet_flussonic_port": 1955}
    assert streamfleet_shared_ports(specs, separated) == []
    assert streamfleet_shared_ports(specs[:1], {}) == []


def test_ports_that_variables_set_are_told() -> None:
    specs = [SPECS["nginx_rtmp"], SPECS["flussonic"]]
    ports = streamfleet_host_ports(specs, {"streamfleet_flussonic_port": "1955"})
    assert ports["nginx_rtmp"]["RTMP"] == 1935
    assert ports["nginx_rtmp"]["RTMPS"] == 1936
    assert ports["flussonic"] == {"RTMP": 1955}


def test_a_port_that_is_switched_off_is_nobodys() -> None:
    off = {"streamfleet_nginx_rtmp_tls_port": "0"}
    twice = [{**SPECS["nginx_rtmp"], "host_ports": {"RTMPS": SPECS["nginx_rtmp"]["host_ports"]["RTMPS"]}}] * 2
    assert "port 1936 is wanted by" in streamfleet_shared_ports(twice, {})[0]
    assert streamfleet_shared_ports(twice, off) == []
    assert streamfleet_host_ports([SPECS["nginx_rtmp"]], off)["nginx_rtmp"]["RTMPS"] == 0


def test_ports_are_those_of_the_unit_that_listens() -> None:
    rtmp = {"unit": "streamfleet-rtmp.service", "ports": [1935], "protocol": "rtmp"}
    rtmps = {"unit": "streamfleet-rtmps.service", "ports": [1946], "protocol": "tcp"}
    specs = [SPECS["nginx_rtmp"]]
    assert streamfleet_servers(specs, {"streamfleet_nginx_rtmp_tls_port": "1946"}) == [rtmp, rtmps]
    assert streamfleet_servers(specs, {"streamfleet_nginx_rtmp_tls_port": "0"}) == [rtmp]


def test_where_no_variable_separates_them_hosts_must() -> None:
    specs = [{"title": title, "host_ports": {"x": {"port": 99}}} for title in ("A", "B")]
    assert streamfleet_shared_ports(specs, {}) == [
        "port 99 is wanted by A (x) and B (x). Put them on hosts of their own"
    ]


@pytest.mark.parametrize("name", VIDEO)
def test_the_plan_of_ports_is_what_the_roles_have(name: str) -> None:
    defaults = yaml.safe_load((ROOT / f"roles/{name}/defaults/main.yml").read_text())
    own = yaml.safe_load((ROOT / f"roles/{name}/vars/main.yml").read_text())
    for use, plan in SPECS[name]["host_ports"].items():
        if "variable" in plan:
            assert defaults[plan["variable"]] == plan["default"]
        else:
            read_from_there = any(f"host_ports['{use}'].port" in str(value) for value in own.values())
            assert read_from_there or plan["port"] in own.values()


@pytest.mark.parametrize("text", ["10.20.0.0/16", "0.0.0.0/0", "192.0.2.7/32", "fd00::/8", "::/0"])
def test_a_network_is_one(text: str) -> None:
    assert streamfleet_no_networks([text]) == []
    ipaddress.ip_network(text)


@pytest.mark.parametrize(
    "text",
    ["10.20.0.1/16", "10.0.0.0/99", "10.20.0.0", "10.20.0.0/255.255.0.0", "10.20/16", "fd00::1/8", "fd00::/129", "x/8"],
)
def test_what_is_no_network_is_named(text: str) -> None:
    assert streamfleet_no_networks(["10.0.0.0/8", text, 7, ""]) == [text, "7", ""]


def test_what_is_no_address_is_named() -> None:
    assert streamfleet_no_addresses(["192.0.2.53", "2001:db8::53"]) == []
    wrong = ["192.0.2", "192.0.2.256", "1:2", "192.0.2.53/32", "fe80::1%eth0", "dns.example.net", ""]
    assert streamfleet_no_addresses([*wrong, 3221225525]) == [*wrong, "3221225525"]


@pytest.mark.parametrize("role", ["relay", "wowza"])
def test_roles_refuse_networks_and_resolvers_that_are_none(role: str) -> None:
    """As their preflight says it; what they accept, programs on the node read without a fault."""
    jinja = NativeEnvironment(undefined=StrictUndefined)
    jinja.filters |= FilterModule().filters()
    (refuse,) = [
        task
        for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/preflight.yml").read_text())
        if "resolvers" in str(task) and "loop" in task
    ]
    for option, good, bad in (
        ("allowed_networks", "10.20.0.0/16", "10.20.0.1/16"),
        ("resolvers", "192.0.2.53", "192.0.2.256"),
    ):
        name = f"streamfleet_{role}_{option}"
        (item,) = [item for item in refuse["loop"] if item["that"].startswith("{{ " + name)]
        for value, passes in (([good], True), ([good, bad], False)):
            assert jinja.from_string(item["that"]).render({name: value}) is passes
        assert f"holds {bad}, which is not" in jinja.from_string(item["message"]).render({name: value})
