"""streamfleet_authority, streamfleet_certificates and streamfleet_acme: as tasks, as the role runs them."""

from __future__ import annotations

import grp
import os
import subprocess
from pathlib import Path

from tests.contract.playbook import Runner, Step

NAMES = [{"name": "stream.example.net", "addresses": ["192.0.2.10"]}]


def test_request_sign_and_install(runner: Runner, tmp_path: Path) -> None:
    authority, place = tmp_path / "ca", tmp_path / "tls"
    host = {
        "names": NAMES,
        "directory": str(place),
        "authority": str(tmp_path / "host-ca.pem"),
        "group": grp.getgrgid(os.getgid()).gr_name,
    }
    kept = runner.steps(Step("streamfleet_authority", {"folder": str(authority)}))[0].real
    asked = runner.steps(Step("streamfleet_certificates", {"state": "requested", **host}, again=True))[0].real
    assert [item["name"] for item in asked["requests"]] == ["stream.example.net"]
    signing = {"folder": str(authority), "requests": asked["requests"]}
    signed = runner.steps(Step("streamfleet_authority", signing, again=True))[0].real
    assert signed["authority_certificate"] == kept["authority_certificate"]
    arguments = {
        **host,
        "certificates": signed["certificates"],
        "authority_certificate": signed["authority_certificate"],
    }
    runner.steps(Step("streamfleet_certificates", {"state": "installed", **arguments}))
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", host["authority"], str(place / "stream.example.net/fullchain.pem")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    nothing = runner.steps(Step("streamfleet_certificates", {"state": "requested", **host}, changed=False))[0].real
    assert nothing["requests"] == []


def test_bad_input_is_named_and_changes_nothing(runner: Runner, tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    host = {"state": "requested", "directory": str(tmp_path / "tls"), "group": group}
    request = [{"name": "a.example.net", "csr": "nonsense"}]
    runner.steps(
        Step("streamfleet_certificates", {**host, "names": [{"name": "../x"}]}, error="'../x' is not a host name"),
        Step(
            "streamfleet_certificates",
            {**host, "group": "no-such-group", "names": NAMES},
            error="group no-such-group does not exist on this host",
        ),
        Step(
            "streamfleet_authority",
            {"folder": str(tmp_path / "ca"), "requests": request},
            error="the request for a.example.net cannot be read",
        ),
    )
    assert not (tmp_path / "tls").exists()


def test_what_the_operator_brings_and_what_is_wrong_with_it(runner: Runner, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -days 2"
    names = ["-addext", "subjectAltName=DNS:stream.example.net", "-keyout", "key.pem", "-out", "chain.pem"]
    subprocess.run([*command.split(), *names], cwd=made, check=True, capture_output=True)
    key = runner.canary((made / "key.pem").read_text().splitlines()[2])
    pair = {"certificate": (made / "chain.pem").read_text(), "key": (made / "key.pem").read_text()}
    assert key in pair["key"]
    host = {"state": "brought", "directory": str(tmp_path / "tls"), "group": grp.getgrgid(os.getgid()).gr_name}
    wanted, other = ([{"name": f"{name}.example.net", "source": "files"}] for name in ("stream", "other"))
    runner.steps(
        Step(
            "streamfleet_certificates",
            {**host, "names": other, "files": {"other.example.net": pair}},
            error="the certificate is for stream.example.net, not for other.example.net",
        ),
        Step("streamfleet_certificates", {**host, "names": wanted}, error="certificate is empty; give its PEM text"),
        Step("streamfleet_certificates", {**host, "names": wanted, "files": {"stream.example.net": pair}}),
    )
    assert (tmp_path / "tls/stream.example.net/privkey.pem").read_text() == pair["key"]


def test_requests_for_an_acme_directory_and_what_is_due(runner: Runner, tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    host = {
        "directory": str(tmp_path / "tls"),
        "authority": str(tmp_path / "ca.pem"),
        "client_settings": str(tmp_path / "acme"),
        "client_data": str(tmp_path / "data"),
        "group": group,
        "client_group": group,
    }
    names = [{"name": "stream.example.net", "alternatives": ["www.stream.example.net"]}]
    runner.steps(Step("streamfleet_acme", {"state": "prepared", "names": names, **host}))
    asked = tmp_path / "acme/requests/stream.example.net.csr"
    said = subprocess.run(
        ["openssl", "req", "-in", str(asked), "-noout", "-text", "-verify"], capture_output=True, text=True, check=True
    ).stdout
    assert "DNS:stream.example.net, DNS:www.stream.example.net" in said
    settings = {
        "directory": "https://acme.example.net/directory",
        "renew_days": 30,
        "orders": [{"name": "stream.example.net", "hosts": ["stream.example.net", "www.stream.example.net"]}],
    }
    order = {"state": "ordered", "names": names, "settings": settings, **host}
    tasks = [
        {"name": "check", "streamfleet_acme": order, "check_mode": True},
        {"name": "unknown", "streamfleet_acme": {**order, "renew": ["other.example.net"]}, "ignore_errors": True},
        {"name": "none", "streamfleet_acme": {**order, "revoke": ["stream.example.net"]}, "ignore_errors": True},
        {"name": "nothing", "streamfleet_acme": {**order, "settings": {**settings, "orders": []}}},
    ]
    found = runner.tasks(tasks)
    assert found["check"]["changed"]
    assert found["check"]["due"] == [{"name": "stream.example.net", "reason": "there is none yet"}]
    assert "renew: other.example.net is no certificate of this host's" in found["unknown"]["msg"]
    assert "stream.example.net has no certificate of the directory's that could be revoked" in found["none"]["msg"]
    assert not found["nothing"]["changed"]
    assert not (tmp_path / "data").exists(), "nobody was asked"
