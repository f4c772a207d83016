"""What the role backup puts onto a host is what ssh and restic read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import forked_ansible

# Most run Ansible.
pytestmark = pytest.mark.slow

ROLE = Path(__file__).resolve().parents[2] / "roles/backup"
KEY, HOSTS, CA = (f"{name}\n{name}" for name in ("key", "10.1.1.1 ssh-ed25519 AAAA", "certificate"))
GIVEN = {
    "streamfleet_backup_password": "it's kept elsewhere",
    "streamfleet_backup_ssh_key": KEY,
    "streamfleet_backup_ssh_known_hosts": f"{HOSTS}\n\n",
}


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"repository": "sftp:keeper@10.1.1.1:/r"}, {"ssh_key": f"{KEY}\n", "known_hosts": f"{HOSTS}\n"}),
        ({"repository": "rest:https://10.1.1.1/r", "ca": f"{CA}\n"}, {"ca.pem": f"{CA}\n"}),
        ({"repository": "/srv/backup"}, {}),
    ],
)
def test_secrets_end_in_one_line_end(tmp_path: Path, given: dict[str, str], written: dict[str, str]) -> None:
    variables = GIVEN | {f"streamfleet_backup_{name}": value for name, value in given.items()}
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    template = ROLE / "templates/secrets.env.j2"
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / template.name).write_text(template.read_text())
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "tasks": [{"ansible.builtin.debug": {"msg": "TOLD {{ _streamfleet_backup_secret_files | to_json }} TOLD"}}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = forked_ansible.playbook(
        ["-i", "localhost,", "-e", f"@{tmp_path / 'variables.json'}", str(tmp_path / "play.yml")]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    message = yaml.safe_load(done.stdout.split("ok: [localhost] =>")[-1].split("\n\n")[0])["msg"]
    found: list[dict[str, Any]] = json.loads(message.split("TOLD")[1])
    contents = {Path(file["path"]).name: file["content"] for file in found}
    assert f"RESTIC_REPOSITORY='{given['repository']}'\n" in contents.pop("secrets.env")
    assert contents == written


PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
#: What restic takes: it passes over what stands around certificates.
AUTHORITIES = {
    "": True,
    PEM: True,
    f"# Of the keeper\n{PEM}\n": True,
    f"Certificate:\n    Data:\n        Version: 3 (0x2)\n{PEM}\n{PEM}\nnothing more\n": True,
    "/etc/ssl/certs/keeper.pem": False,
    "-----BEGIN CERTIFICATE-----\nMIIB\n": False,
    PEM.replace("CERTIFICATE", "PRIVATE KEY"): False,
}


def test_an_authority_is_text_with_a_certificate_in_it(tmp_path: Path) -> None:
    checked = yaml.safe_load((ROLE / "tasks/preflight.yml").read_text())[0]["ansible.builtin.assert"]["that"]
    (rule,) = [rule for rule in checked if "streamfleet_backup_ca" in rule]
    tasks = [
        {"ansible.builtin.debug": {"msg": f"TOLD {{{{ ({rule}) | bool }}}}"}, "vars": {"streamfleet_backup_ca": text}}
        for text in AUTHORITIES
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = forked_ansible.playbook(["-i", "localhost,", str(tmp_path / "play.yml")])
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.split("TOLD ")[1].strip('"') for line in done.stdout.splitlines() if "TOLD " in line]
    assert told == [str(taken) for taken in AUTHORITIES.values()]


#: What the panel's settings say → the file, and whether the units reach it.
DATABASES: dict[str, tuple[str, bool]] = {
    "": ("/var/lib/streamfleet/panel/panel.sqlite3", True),
    "sqlite:////var/lib/streamfleet/panel/panel.sqlite3": ("/var/lib/streamfleet/panel/panel.sqlite3", True),
    "sqlite:////var/lib/streamfleet/panel/other/base?timeout=5": ("/var/lib/streamfleet/panel/other/base", True),
    "sqlite:////srv/base/panel.sqlite3": ("/srv/base/panel.sqlite3", False),
    "sqlite:////var/lib/streamfleet/panel/../base": ("/var/lib/streamfleet/panel/../base", False),
    "sqlite:///base": ("base", False),
    "postgres://me:secret@db/x": ("", True),
    "mysql://me:secret@db/x": ("", True),
}


def test_a_database_that_the_units_do_not_reach_is_refused(tmp_path: Path) -> None:
    (check,) = [
        task["ansible.builtin.assert"]
        for task in yaml.safe_load((ROLE / "tasks/preflight.yml").read_text())
        if task["name"] == "Check that the panel's database can be reached"
    ]
    wiring = yaml.safe_load((ROLE.parents[1] / "playbooks/vars/wiring.yml").read_text())
    told = f"{{'path': streamfleet_backup_database.path, 'taken': ({check['that']}) | bool}}"
    tasks = [
        {
            "ansible.builtin.debug": {"msg": f"TOLD {{{{ {told} | to_json }}}}"},
            "vars": {"streamfleet_panel_database_url": url, "_streamfleet_is_panel": True},
        }
        for url in DATABASES
    ]
    variables = {"streamfleet_backup_database": wiring["_streamfleet_backup_database"]}
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "roles").symlink_to(ROLE.parent)
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    (tmp_path / "playbooks/play.yml").write_text(yaml.safe_dump([play]))
    done = forked_ansible.playbook(["-i", "localhost,", str(tmp_path / "playbooks/play.yml")])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "secret" not in done.stdout
    lines = [yaml.safe_load(line.split('"msg": ')[1]) for line in done.stdout.splitlines() if "TOLD " in line]
    found = [json.loads(line.removeprefix("TOLD ")) for line in lines]
    assert [(each["path"], each["taken"]) for each in found] == list(DATABASES.values())


def test_a_unit_that_has_failed_is_forgotten_while_systemd_knows_it() -> None:
    tasks = yaml.safe_load((ROLE / "tasks/uninstall.yml").read_text())
    steps = [json.dumps(task) for task in tasks]
    order = [[number for number, step in enumerate(steps) if word in step] for word in ("stopped", "reset-failed")]
    removed = [number for number, task in enumerate(tasks) if "streamfleet_host_files" in task]
    assert [len(found) for found in (*order, removed)] == [1, 1, 1]
    assert order[0] < order[1] < removed
