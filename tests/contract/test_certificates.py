"""streamfleet_authority and streamfleet_certificates: as tasks, one after the other, as the role runs them."""

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
