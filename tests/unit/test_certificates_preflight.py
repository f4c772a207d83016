"""Role certificates refuses what an ACME directory would not take, before anything is done; a host for each input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from streamfleet.tls import acme, pem

from scripts import forked_ansible
from tests.unit.preflight import refusals

ROOT = Path(__file__).resolve().parents[2]
ACME = {
    "streamfleet_certificates_source": "acme",
    "streamfleet_certificates_names": [{"name": "stream.example.net"}],
    "streamfleet_certificates_acme_email": "ops@example.net",
    "streamfleet_certificates_acme_terms_agreed": True,
}
#: What is given differently (without ``streamfleet_certificates_``), and what is said; None: nothing.
CASES: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"source": "authority", "acme_email": "", "acme_terms_agreed": False}, None),
    ({"acme_directory": "http://acme.example.net/dir"}, "acme_directory (http://acme.example.net/dir) must be"),
    ({"acme_staging": True, "acme_staging_directory": "staging"}, "acme_directory (staging) must be the https address"),
    ({"acme_email": ""}, "acme_email ('') must be an e-mail address"),
    ({"acme_email": "ops@example"}, "acme_email ('ops@example') must be an e-mail address"),
    ({"acme_email": "../x@example.net"}, "must be an e-mail address"),
    ({"acme_terms_agreed": False}, "acme_terms_agreed is not true"),
    ({"acme_eab_key_id": "kid"}, "go together: the latter is missing"),
    ({"acme_eab_hmac": "aG1hYw"}, "go together: the former is missing"),
    ({"acme_eab_key_id": "kid", "acme_eab_hmac": "a+b="}, "acme_eab_hmac must be in base64url"),
    ({"acme_eab_key_id": "kid", "acme_eab_hmac": "aG1hYw"}, None),
    ({"names": [{"name": "a.example.net", "alternatives": ["*.a.example.net"]}]}, "*.a.example.net: a wildcard can be"),
    (
        {
            "names": [{"name": "a.example.net", "alternatives": ["*.a.example.net"]}], "acme_challenge": "dns-01",
            "acme_dns_hook": "#!/bin/sh",
        },
        None,
    ),
    ({"names": [{"name": "müller.example"}]}, "write müller.example as xn--mller-kva.example"),
    ({"names": [{"name": "localhost"}]}, "localhost: an ACME directory issues for names of public domains only"),
    ({"names": [{"name": "a.example.net", "addresses": ["192.0.2.1"]}]}, "a.example.net: certificates from an ACME"),
    ({"names": [{"name": "a.example.net"}, {"name": "localhost", "source": "authority", "addresses": ["::1"]}]}, None),
    ({"acme_resolvers": ["dns.example.net"]}, "acme_resolvers (dns.example.net) must be addresses"),
    ({"acme_resolvers": ["192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:53"]}, None),
    ({"acme_addresses": ["192.0.2.1:80"]}, "acme_addresses (192.0.2.1:80) addresses without a port"),
    ({"acme_renew_days": 0}, "acme_renew_days (0)"),
    ({"acme_dns_provider": "exec; rm"}, "acme_dns_provider (exec; rm) must be a name that lego has"),
    ({"acme_challenge": "dns-01"}, "acme_dns_provider is exec, and there is nothing to execute"),
    (
        {"acme_challenge": "dns-01", "acme_dns_environment": {"EXEC_PATH": "/srv/hook", "a b": "x"}},
        "acme_dns_environment must have names in capital letters",
    ),
    (
        {"acme_challenge": "dns-01", "acme_dns_environment": {"EXEC_PATH": "/srv/hook\nLD_PRELOAD=/x"}},
        "values of printable ASCII in one line",
    ),
]  # fmt: skip


# One test: side by side, each worker that gets a case would ask all of them.
def test_bad_input_is_named(tmp_path: Path) -> None:
    cases = [
        {
            **ACME,
            "streamfleet_certificates_authority_host": f"case{number}",
            **{f"streamfleet_certificates_{name}": value for name, value in given.items()},
        }
        for number, (given, _said) in enumerate(CASES)
    ]
    said = refusals("certificates", cases, tmp_path)
    for number, (given, expected) in enumerate(CASES):
        text = said.get(f"case{number}", "")
        assert (not text) if expected is None else expected in text, (given, text)
        assert "aG1hYw" not in text


def test_all_may_stand_beside_customers_names(tmp_path: Path) -> None:
    play = yaml.safe_load((ROOT / "playbooks/certificates.yml").read_text())[0]
    block = next(task for task in play["tasks"] if "block" in task)["block"]
    asked = block[-1]["vars"]["streamfleet_certificates_acme_renew"]
    customer = "radio.customer.example"
    cases = {
        "all": ["n1.example.net"],
        f"all,{customer}": ["n1.example.net", customer],
        f"{customer},n1.example.net,all": ["n1.example.net", customer],
        customer: [customer],
        "": [],
    }
    keep = {
        "ansible.builtin.copy": {
            "content": "{{ renewed | to_json }}", "dest": f"{tmp_path}/{{{{ item.0 }}}}.json", "mode": "0600",
        },
        "vars": {"certificates_renew": "{{ item.1 }}", "renewed": asked},
        "loop": [list(case) for case in enumerate(cases)],
    }  # fmt: skip
    own = {"_streamfleet_certificates_here": [{"name": "n1.example.net", "source": "acme"}]}
    own |= {"__streamfleet_certificates_of_host": ["n1.example.net", customer]}
    text = yaml.safe_dump(
        [{"hosts": "localhost", "gather_facts": False, "vars": {**play["vars"], **own}, "tasks": [keep]}]
    )
    (path := tmp_path / "play.yml").write_text(text)
    done = forked_ansible.playbook(
        ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", str(path)]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for number, (given, renewed) in enumerate(cases.items()):
        assert json.loads((tmp_path / f"{number}.json").read_text()) == renewed, given


def test_the_same_words_everywhere() -> None:
    entries = yaml.safe_load((ROOT / "roles/certificates/meta/argument_specs.yml").read_text())["argument_specs"]
    order = entries["order"]["options"]
    assert order["streamfleet_certificates_acme_revoke_reason"]["choices"] == list(acme.REASONS)
    assert order["streamfleet_certificates_key_type"]["choices"] == list(pem.KINDS)
    play = yaml.safe_load((ROOT / "playbooks/certificates.yml").read_text())[0]
    own = set(order) - set(entries["main"]["options"])
    asked = {f"streamfleet_certificates_acme_{name}" for name in play["vars"]["__streamfleet_certificates_options"]}
    assert own == asked
    assert own <= set(next(task for task in play["tasks"] if "block" in task)["block"][-1]["vars"])
