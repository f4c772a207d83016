"""TLS before the RTMP server: what its listener is given, and which options are refused before anything is done."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from tests.unit.preflight import refusals
from tests.unit.role_tasks import tasks, templated, variables

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/nginx_rtmp"
STREAM = "stream.example.net"
PORTS = "must be four different ports from 1024 to 65535"
#: What is given differently (without ``streamfleet_nginx_rtmp_``), and what is said; None: nothing.
CASES: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"tls_port": 0}, None),
    ({"tls_port": "0", "tls_host": ""}, None),
    ({"tls_port": "1946"}, None),
    ({"tls_port": 1935}, "streamfleet_nginx_rtmp_tls_port (1935), streamfleet_nginx_rtmp_hop_port (1942) and"),
    ({"tls_port": 1942}, PORTS),
    ({"tls_port": 1937}, PORTS),
    ({"tls_port": 443}, f"(1937) {PORTS}. streamfleet_nginx_rtmp_tls_port may be 0 for no RTMPS."),
    ({"tls_port": -1}, PORTS),
    ({"tls_port": 65536}, PORTS),
    ({"hop_port": 1936}, PORTS),
    ({"port": 0}, PORTS),
    ({"tls_host": "../panel"}, "../panel is not a host name that a certificate can be shown for"),
    ({"tls_host": 'x"; } #'}, "is not a host name that a certificate can be shown for"),
    ({"tls_hidden_names": ["panel.example.net", "a b"]}, "a b is not a host name that a certificate"),
    ({"tls_hidden_names": [STREAM]}, f"streamfleet_nginx_rtmp_tls_hidden_names has {STREAM}, whose certificate"),
]


# One test: side by side, each worker that gets a case would ask all of them.
def test_bad_input_is_named(tmp_path: Path) -> None:
    cases = [
        {
            "streamfleet_stream_host": STREAM,
            **{f"streamfleet_nginx_rtmp_{name}": value for name, value in given.items()},
        }
        for given, _said in CASES
    ]
    said = refusals("nginx_rtmp", cases, tmp_path)
    for number, (given, expected) in enumerate(CASES):
        text = said.get(f"case{number}", "")
        assert (not text) if expected is None else expected in text, (given, text)


def rendered(name: str, **options: Any) -> str:
    """A template of the role with its defaults, on a host with IPv6."""
    values: dict[str, Any] = {}
    for part in ("vars", "defaults"):
        values |= yaml.safe_load((ROLE / part / "main.yml").read_text())
    values |= {
        "ansible_facts": {"streamfleet_host": {"ipv6": True, "open_files": 1024}},
        "streamfleet_nginx_rtmp_tls_host": STREAM,
        "streamfleet_nginx_rtmp_tls_hidden_names": ["panel.example.net"],
        "_streamfleet_nginx_rtmp_tls_script": "/etc/streamfleet/rtmps/rtmps-0.js",
        "_streamfleet_nginx_rtmp_publishers": 100,
        **options,
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = (ROLE / "templates" / name).read_text()
    # Variables are made of others.
    while "{{" in text or "{%" in text:
        text = environment.from_string(text).render(values)
    return text


def test_the_listener_has_the_web_servers_ciphers_and_looks_certificates_up() -> None:
    text = rendered("rtmps.conf.j2")
    web = (ROOT / "roles/web/templates/streamfleet.conf.j2").read_text()
    for setting in ("ssl_ciphers", "ssl_ecdh_curve", "ssl_prefer_server_ciphers", "ssl_session_tickets"):
        (line,) = re.findall(rf"^ *{setting} .*;$", text, re.MULTILINE)
        assert line.strip() in web
    assert "ssl_certificate /etc/streamfleet/tls/$streamfleet_certificate/fullchain.pem;" in text
    assert "ssl_certificate_key /etc/streamfleet/tls/$streamfleet_certificate/privkey.pem;" in text
    assert f'default "{STREAM}";' in text
    assert "proxy_pass 127.0.0.1:1935;" in text


def functions(path: str) -> list[str]:
    """Of a script what chooses a certificate: two functions, and what a part of a name may be."""
    text = (ROOT / "roles" / path).read_text()
    found = [
        re.search(rf"^function {name}\(.*?^}}$", text, re.MULTILINE | re.DOTALL) for name in ("hostName", "certificate")
    ]
    label = re.search(r"^const HOST_LABEL = .*$", text, re.MULTILINE)
    return [one[0] for one in (*found, label) if one is not None]


def test_it_chooses_as_the_web_server_does() -> None:
    chosen = functions("nginx_rtmp/files/rtmps.js")
    assert len(chosen) == 3
    assert chosen == functions("web/files/streams.js")


@pytest.mark.parametrize("protocols", [["TLSv1.2", "TLSv1.3"], ["TLSv1.3"]])
def test_ports_and_versions_are_those_that_are_set(protocols: list[str]) -> None:
    ports = {"streamfleet_nginx_rtmp_tls_port": 1946, "streamfleet_nginx_rtmp_port": 1945}
    text = rendered("rtmps.conf.j2", streamfleet_nginx_rtmp_tls_protocols=protocols, **ports)
    assert f"ssl_protocols {' '.join(protocols)};" in text
    assert re.findall(r"listen (.*);", text) == ["1946 ssl", "[::]:1946 ssl ipv6only=on"]
    assert "proxy_pass 127.0.0.1:1945;" in text
    none = rendered("rtmps.conf.j2", ansible_facts={"streamfleet_host": {"ipv6": False, "open_files": 1024}})
    assert re.findall(r"listen (.*);", none) == ["1936 ssl"]


def test_of_streamfleets_files_it_sees_certificates_and_its_own_alone() -> None:
    unit = rendered("streamfleet-rtmps.service.j2")
    assert "\nUser=streamfleet-rtmps\nGroup=streamfleet-rtmps\n" in unit
    assert "\nTemporaryFileSystem=/etc/streamfleet:ro /run:ro\n" in unit
    assert "\nBindReadOnlyPaths=/etc/streamfleet/rtmps /etc/streamfleet/tls /run/systemd/journal\n" in unit
    assert "\nBindPaths=/run/streamfleet-rtmps\n" in unit
    assert "\nInaccessiblePaths=-/etc/streamfleet/tls/panel.example.net\n" in unit
    assert "\nCapabilityBoundingSet=\n" in unit
    # The RTMP server's own unit gets at no key of a certificate.
    assert "www-data" not in (ROLE / "templates/streamfleet-rtmp.service.j2").read_text()


# What is due


def test_the_listener_says_what_it_does_not_run_with_yet(tmp_path: Path) -> None:
    unit, configuration, stamps = tmp_path / "unit", tmp_path / "nginx.conf", tmp_path / "run"
    script = (ROLE / "files/tls-state").read_text()
    for path, double in {
        "/etc/systemd/system/streamfleet-rtmps.service": unit,
        "/etc/streamfleet/rtmps/nginx.conf": configuration,
        "/run/streamfleet-rtmps": stamps,
    }.items():
        assert path in script
        script = script.replace(path, str(double))
    stamps.mkdir()

    def said(*arguments: str, **texts: str) -> str:
        for name, text in texts.items():
            {"unit": unit, "configuration": configuration}[name].write_text(text)
        done = subprocess.run(["sh", "-s", *arguments], input=script, text=True, capture_output=True, check=True)
        return done.stdout.strip()

    assert said(unit="1", configuration="1") == "never"
    said("stamp")
    assert said() == "fresh"
    assert said(configuration="2") == "stale"
    assert said(unit="2") == "both"
    # A reload gives the program its configuration, and not what its unit says.
    said("stamp")
    assert said() == "moved"
    # Taken back, nothing is due but the other configuration.
    assert said(unit="1") == "fresh"
    assert said(configuration="1") == "stale"


@pytest.mark.parametrize(
    ("restart", "publishers", "spared", "restarts"),
    [
        ("idle", 0, False, True),
        ("idle", 1, False, False),
        ("always", 1, False, True),
        ("never", 0, False, False),
        # Where the host's names change.
        ("idle", 0, True, True),
        ("idle", 1, True, False),
        ("always", 0, True, True),
        ("always", 1, True, False),
        ("never", 0, True, False),
    ],
)
def test_a_reload_waits_for_nobody_and_a_restart_for_those_who_publish(
    restart: str, publishers: int, spared: bool, restarts: bool
) -> None:
    task = tasks("nginx_rtmp", "tls")["Have the listener for TLS run, now and at boot"]
    conf, unit = "/etc/streamfleet/rtmps/nginx.conf", "/etc/systemd/system/streamfleet-rtmps.service"

    def asked(check: bool, *written: str) -> dict[str, Any]:
        values = {
            **variables("nginx_rtmp"), **task["vars"],
            "streamfleet_nginx_rtmp_restart": restart,
            "ansible_check_mode": check,
            "__streamfleet_nginx_rtmp_asked": {"stdout": f'{{"state": "fresh", "publishers": {publishers}}}'},
            "__streamfleet_nginx_rtmp_names_written": {"paths": list(written)},
            **({"__streamfleet_nginx_rtmp_spared": True} if spared else {}),
        }  # fmt: skip
        (found,) = templated(task["streamfleet_units"]["units"], values)
        return dict(found)

    answers = asked(False, conf, unit)["answers"]
    assert (answers["never"], answers["stale"]) == ("restart", "reload")
    assert answers["both"] == ("restart" if restarts else "reload")
    assert answers.get("moved") == ("restart" if restarts else None)
    assert asked(False, conf, unit)["pending"] == "nothing"
    # What check mode foretells is what is done.
    assert asked(True)["pending"] == "nothing"
    assert asked(True, conf)["pending"] == "reload"
    assert asked(True, conf, unit)["pending"] == answers["both"]
    assert asked(True, unit)["pending"] == answers.get("moved", "nothing")


@pytest.mark.parametrize(("groups", "hidden"), [(["streamfleet_panel"], True), (["streamfleet_nodes"], False)])
def test_the_panels_names_are_hidden_where_the_panel_is(groups: list[str], hidden: bool) -> None:
    given = {
        "group_names": groups,
        "streamfleet_panel_host": "panel.example.org",
        "streamfleet_former_panel_hosts": [{"host": "panel.example.net", "until": "2999-01-01"}],
    }
    found = templated(variables("nginx_rtmp")["streamfleet_nginx_rtmp_tls_hidden_names"], given)
    assert found == (["panel.example.org", "panel.example.net"] if hidden else [])
