"""The command ``streamfleet`` on the panel's host, with programs of the system that are doubles in PATH."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from streamfleet.tls import pem
from streamfleet_command import control, host, logs, panel, status, systemd, users
from streamfleet_command.__main__ import parser, run
from streamfleet_command.errors import NOT_ROOT, USAGE, CommandFailed

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PANEL_UNITS = "streamfleet-panel.service streamfleet-panel-jobs.service"
NODE: dict[str, Any] = {
    "name": "node1",
    "status": "active",
    "generation": 7,
    "observed_generation": 7,
    "behind": False,
    "late": False,
    "failures": 0,
    "message": "",
    "collected_at": None,
    "collection_message": "",
}
UNITS = [
    *({"unit": name, "load": "loaded", "active": "active", "sub": "running"} for name in status.NEEDED),
    {"unit": "streamfleet-acme.service", "load": "loaded", "active": "inactive", "sub": "dead"},
    {"unit": "streamfleet-rtmp.service", "load": "loaded", "active": "active", "sub": "running"},
    {"unit": "streamfleet-icecast@rock.service", "load": "loaded", "active": "active", "sub": "running"},
    {"unit": "streamfleet-instances.target", "load": "loaded", "active": "active", "sub": "active"},
    {"unit": "flussonic.service", "load": "not-found", "active": "inactive", "sub": "dead"},
]
FLEET: dict[str, Any] = {
    "nodes": [NODE],
    "services": {"running": 2},
    "failed": [],
    "jobs": {"pending": 0, "running": 0, "succeeded": 3, "failed": 0},
}


class System:
    """What the doubles answer, and what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units(UNITS)
        self.fleet(FLEET)

    def units(self, rows: list[dict[str, str]]) -> None:
        (self.folder / "units.json").write_text(json.dumps(rows))
        shutil.rmtree(self.folder / "systemd", ignore_errors=True)
        (self.folder / "systemd").mkdir()
        for row in rows:
            if row["load"] == "loaded":
                (self.folder / "systemd" / row["unit"]).write_text("")

    def fleet(self, answer: Any, *, error: str = "") -> None:
        (self.folder / "fleet.json").write_text(json.dumps(answer))
        (self.folder / "error").write_text(error)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def orders(self) -> list[Any]:
        path = self.folder / "orders"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


SYSTEMCTL = """#!/bin/sh
case $1 in
    list-units) cat {folder}/units.json ;;
    start|stop|restart|reload-or-restart) echo "$*" >> {folder}/calls ;;
    *) echo "no such verb: $1" >&2; exit 1 ;;
esac
"""
PANEL = """#!/bin/sh
cat >> {folder}/orders
if [ -s {folder}/error ]; then echo "CommandError: $(cat {folder}/error)" >&2; exit 1; fi
cat {folder}/fleet.json
"""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    for name, text in (("systemctl", SYSTEMCTL), ("streamfleet-panel", PANEL)):
        path = tmp_path / name
        path.write_text(text.replace("{folder}", str(tmp_path)))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(panel, "PROGRAM", str(tmp_path / "streamfleet-panel"))
    monkeypatch.setattr(users, "INSTALL_TOKEN", tmp_path / "install_token")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(systemd, "FOLDERS", (tmp_path / "systemd",))
    is_held = host.is_held
    monkeypatch.setattr(host, "is_held", lambda unit: is_held(unit, tmp_path / "held"))
    for name in ("certificates", "disks", "on_air", "servers"):
        function = getattr(host, name)
        folders = {"on_air": (tmp_path / "routes", tmp_path / "usage")}.get(name, (tmp_path / name,))
        if name == "disks":
            folders = ([tmp_path],)  # type: ignore[assignment]
        monkeypatch.setattr(host, name, lambda function=function, folders=folders: function(*folders))
    return System(tmp_path)


def certificate(folder: Path, name: str, begins: datetime, ends: datetime) -> None:
    key, _ = pem.new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(subject, subject, key.public_key(), 1, begins, ends).sign(key, hashes.SHA256())
    path = folder / "certificates" / name / "fullchain.pem"
    path.parent.mkdir(parents=True)
    path.write_bytes(made.public_bytes(pem.serialization.Encoding.PEM))


def typed(*words: str) -> int:
    return run(parser().parse_args(words))


def test_all_is_well(system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate(tmp_path, "panel.example.net", NOW - timedelta(days=30), datetime.now(UTC) + timedelta(days=60))
    found = status.gather()
    assert (found["well"], found["problems"]) == (True, [])
    assert [unit["name"] for unit in found["units"]][:2] == ["nginx.service", "streamfleet-acme.service"]
    assert found["instances"] == {"states": {"active": 1}, "failed": []}
    assert typed("status") == 0
    shown = capsys.readouterr().out
    assert "All is well." in shown
    assert re.search(r"^certificate panel.example.net +59 days left$", shown, re.MULTILINE)
    assert typed("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["fleet"]["services"] == {"running": 2}


def changed(name: str, **to: str) -> list[dict[str, str]]:
    return [{**row, **to} if row["unit"] == name else row for row in UNITS]


@pytest.mark.parametrize(
    ("units", "problem"),
    [
        (
            changed("streamfleet-worker.service", active="inactive", sub="dead"),
            "streamfleet-worker.service is inactive",
        ),
        ([row for row in UNITS if row["unit"] != "nginx.service"], "nginx.service is inactive"),
        (changed("streamfleet-acme.service", active="failed", sub="failed"), "streamfleet-acme.service has failed"),
        (
            changed("streamfleet-icecast@rock.service", active="activating", sub="auto-restart"),
            "icecast@rock.service has failed",
        ),
    ],
)
def test_units_that_do_not_run_are_problems(
    system: System, capsys: pytest.CaptureFixture[str], units: list[dict[str, str]], problem: str
) -> None:
    system.units(units)
    assert typed("status") == 1
    out = capsys.readouterr().out
    assert problem in out
    assert "All is well" not in out


def test_what_a_restore_keeps_from_starting_is_told_apart(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system.units(changed("streamfleet-panel.service", active="inactive", sub="dead"))
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "streamfleet-panel.service").write_text("")
    assert typed("status") == 1
    out = capsys.readouterr().out
    assert "streamfleet-panel.service is inactive: a restore has begun on this host and has not ended" in out
    assert "run restore.yml again" in out
    assert "systemctl start streamfleet-panel.service" not in out


@pytest.mark.parametrize(
    ("fleet", "problems"),
    [
        (
            {
                **FLEET,
                "nodes": [{**NODE, "late": True, "behind": True, "generation": 9, "message": "no route"}],
            },
            ["node node1 is behind (generation 7 of 9): no route"],
        ),
        ({**FLEET, "nodes": [{**NODE, "behind": True, "generation": 9}]}, []),
        (
            {**FLEET, "nodes": [{**NODE, "collection_message": "timed out"}]},
            ["node node1 does not tell its news: timed out"],
        ),
        ({**FLEET, "nodes": [{**NODE, "collection_message": "timed out", "status": "disabled"}]}, []),
        (
            {**FLEET, "failed": [{"slug": "tv", "node": "node1", "message": "port taken"}]},
            ["media service tv on node1 has failed: port taken"],
        ),
    ],
)
def test_what_the_panel_tells_of_the_fleet(system: System, fleet: Any, problems: list[str]) -> None:
    system.fleet(fleet)
    found = status.gather()
    assert found["problems"] == problems
    assert found["well"] is not bool(problems)


def test_a_panel_that_does_not_answer_is_a_problem_and_the_rest_is_told(system: System) -> None:
    system.fleet({}, error="The database does not answer: OperationalError")
    found = status.gather()
    assert found["fleet"] == {"error": "The database does not answer: OperationalError"}
    assert found["problems"] == [
        "the panel does not tell how the fleet is: The database does not answer: OperationalError"
    ]
    assert found["units"]


def test_certificates_that_should_have_been_renewed(system: System, tmp_path: Path) -> None:
    day = timedelta(days=1)
    for name, begins, ends in (
        ("long.example", NOW - 60 * day, NOW + 15 * day),
        ("ends.example", NOW - 80 * day, NOW + 10 * day),
        ("short.example", NOW - 3 * day, NOW + 3 * day),
        ("over.example", NOW - 90 * day, NOW - day),
    ):
        certificate(tmp_path, name, begins, ends)
    broken = tmp_path / "certificates" / "broken.example" / "fullchain.pem"
    broken.parent.mkdir()
    broken.write_text("no certificate\n")
    found = status.gather(NOW)
    assert {item["name"]: item["due"] for item in found["certificates"]} == {
        "broken.example": True,
        "ends.example": True,
        "long.example": False,
        "over.example": True,
        "short.example": False,
    }
    assert [problem.split(";")[0] for problem in found["problems"][1:]] == [
        "certificate ends.example: expires in 10 days",
        "certificate over.example: has expired",
    ]
    assert found["problems"][0].startswith("certificate broken.example: ")


def test_a_full_disk_is_a_problem(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for used, full in ((89, False), (90, True)):
        monkeypatch.setattr(host, "disks", lambda used=used: [host.Disk("/", used, 1024**3)])
        found = status.gather()
        assert found["disks"][0]["full"] is full
        assert found["well"] is not full


def test_file_systems_are_counted_once_and_as_df_does(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = list(host.disks([tmp_path, tmp_path / "a", tmp_path / "none"]))
    assert [disk.path for disk in found] == [str(tmp_path)]
    told = subprocess.run(["df", "--output=pcent", str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert abs(found[0].used_percent - int(told.split()[1].rstrip("%"))) <= 1


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        (
            ["start"],
            ["start streamfleet-panel.service streamfleet-panel-jobs.service streamfleet-worker.service nginx.service"],
        ),
        (["stop", "worker"], ["stop streamfleet-worker.service"]),
        (["stop", "panel"], ["stop streamfleet-panel-jobs.service streamfleet-panel.service"]),
        (["restart", "panel"], ["restart streamfleet-panel.service streamfleet-panel-jobs.service"]),
        (["restart", "web"], ["reload-or-restart nginx.service"]),
        (
            ["restart"],
            [
                "restart streamfleet-panel.service streamfleet-panel-jobs.service streamfleet-worker.service",
                "reload-or-restart nginx.service",
            ],
        ),
        (["stop", "web"], ["stop nginx.service"]),
    ],
)
def test_the_panels_processes_are_started_and_stopped_and_no_others(
    system: System, words: list[str], calls: list[str]
) -> None:
    assert typed(*words) == 0
    assert system.calls == calls


def on_air(folder: Path, **listeners: int | None) -> None:
    for slug, number in listeners.items():
        (folder / "routes").mkdir(exist_ok=True)
        (folder / "routes" / f"{slug}.json").write_text("{}")
        (folder / "usage" / slug).mkdir(parents=True)
        (folder / "usage" / slug / "usage.json").write_text(json.dumps({"listeners": number}))


@pytest.fixture
def spec(tmp_path: Path) -> None:
    path = tmp_path / "servers" / "roles" / "nginx_rtmp" / "engine" / "spec.yml"
    path.parent.mkdir(parents=True)
    path.write_text((ROOT / "roles" / "nginx_rtmp" / "engine" / "spec.yml").read_text())


@pytest.mark.parametrize("words", [["stop"], ["stop", "web"], ["stop", "--engines"], ["restart", "panel", "--engines"]])
def test_who_is_on_the_air_is_not_cut_off_unasked(
    system: System,
    spec: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    on_air(tmp_path, rock=12, tv=None, jazz=30)
    with pytest.raises(CommandFailed, match=r"add --yes .* Nothing was changed") as refused:
        typed(*words)
    assert refused.value.code == USAGE
    assert "3 media services are on the air here, with 42 listeners" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _prompt: "")
    with pytest.raises(CommandFailed, match="nothing was changed"):
        typed(*words)
    assert system.calls == []
    monkeypatch.setattr("builtins.input", lambda _prompt: "y")
    assert typed(*words) == 0
    assert len(system.calls) == 1
    assert typed(*words, "--yes") == 0
    assert len(system.calls) == 2


def test_restarts_of_the_panel_ask_nobody(system: System, tmp_path: Path) -> None:
    on_air(tmp_path, rock=12)
    assert typed("restart") == typed("stop", "panel") == typed("start", "--engines") == 0
    assert not any("instances" in call for call in system.calls[:-1])


def test_engines_are_those_that_the_host_has(system: System, spec: None) -> None:
    assert typed("stop", "worker", "--engines") == 0
    assert system.calls == [
        "stop streamfleet-worker.service streamfleet-rtmp.service streamfleet-instances.target streamfleet-*@*.service"
    ]
    system.units([row for row in UNITS if "rtmp" not in row["unit"] and "instances" not in row["unit"]])
    with pytest.raises(CommandFailed, match="carries no media services"):
        typed("stop", "worker", "--engines")


def test_servers_are_those_of_the_specs() -> None:
    engines = yaml.safe_load((ROOT / "engines.yml").read_text())["engines"]
    specs = [yaml.safe_load((ROOT / "roles" / name / "engine" / "spec.yml").read_text()) for name in engines]
    assert sorted(host.servers(ROOT)) == sorted(spec["server"] for spec in specs if "server" in spec)
    # Without units of their own, services need a server that they share.
    assert [spec["name"] for spec in specs if spec["unit"] is None and "server" not in spec] == []


@pytest.mark.parametrize(
    ("what", "options"),
    [
        (
            None,
            [
                "--unit=streamfleet-panel.service",
                "--unit=streamfleet-panel-jobs.service",
                "--unit=streamfleet-worker.service",
            ],
        ),
        ("web", ["--unit=nginx.service"]),
        ("rock-fm", ["--unit=streamfleet-*@rock-fm.service"]),
        ("streamfleet-icecast@rock-fm.service", ["--unit=streamfleet-icecast@rock-fm.service"]),
    ],
)
def test_logs_of_a_component_a_unit_or_a_slug(what: str | None, options: list[str]) -> None:
    assert logs.selection(what) == options


@pytest.mark.parametrize("what", ["Rock", "a b", "--since=1", "*", "rock*", "../x", "-x.service ", "x\n"])
def test_logs_refuse_what_is_neither(what: str) -> None:
    with pytest.raises(CommandFailed, match="is neither panel, worker or web"):
        logs.selection(what)


ANSWER = {
    "changed": True,
    "username": "alice",
    "email": None,
    "enabled": True,
    "password_changed": True,
    "revoked": [],
    "unlocked": False,
}


def test_a_new_password_goes_into_a_file_of_roots(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "install_token").write_text(f"sft_ab12cd34_{'x' * 43}\n")
    system.fleet(ANSWER)
    output = tmp_path / "password"
    assert typed("user", "reset", "alice", "--output", str(output), "--revoke-tokens", "--json") == 0
    (order,) = system.orders
    password = order.pop("password")
    assert order == {
        "username": "alice",
        "administrator": False,
        "dry_run": False,
        "revoke_tokens": True,
        "keep_tokens": ["ab12cd34"],
    }
    assert output.read_text() == f"{password}\n"
    assert len(password) == 24
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    shown = capsys.readouterr()
    assert json.loads(shown.out) == ANSWER
    assert password not in shown.out + shown.err
    assert list(tmp_path.glob(".*")) == []


def test_a_refusal_leaves_the_file_as_it_was(system: System, tmp_path: Path) -> None:
    output = tmp_path / "password"
    output.write_text("of before\n")
    system.fleet({}, error="username: there is no account 'ghost'; nothing was changed")
    with pytest.raises(CommandFailed, match="there is no account 'ghost'"):
        typed("user", "reset", "ghost", "--output", str(output))
    assert output.read_text() == "of before\n"
    assert list(tmp_path.glob(".*")) == []
    with pytest.raises(CommandFailed, match=r"--output .*No such file or directory; nothing was changed"):
        typed("user", "reset", "ghost", "--output", str(tmp_path / "none" / "password"))


def test_a_new_password_is_shown_on_a_terminal_alone(
    system: System, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    system.fleet(ANSWER)
    with pytest.raises(CommandFailed, match="standard output is no terminal"):
        typed("user", "reset", "alice")
    assert system.orders == []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert typed("user", "reset", "alice") == 0
    assert f"New password of alice: {system.orders[0]['password']}\n" in capsys.readouterr().out


def test_a_given_password_comes_by_standard_input_and_is_not_shown(
    system: System, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    system.fleet({**ANSWER, "enabled": False, "revoked": ["ab12cd34"]})
    monkeypatch.setattr("sys.stdin.readline", lambda: "of-mine  \n", raising=False)
    assert typed("user", "reset", "alice", "--password-stdin", "--administrator") == 0
    assert system.orders[0]["password"] == "of-mine  "
    assert system.orders[0]["administrator"] is True
    shown = capsys.readouterr().out
    assert "of-mine" not in shown
    assert "API tokens revoked: ab12cd34." in shown
    assert "alice is disabled" in shown
    with pytest.raises(CommandFailed, match="--output is for a password that is made"):
        typed("user", "reset", "alice", "--password-stdin", "--output", "x")
    with pytest.raises(CommandFailed, match="--json shows no password"):
        typed("user", "reset", "alice", "--json")


def test_others_than_root_are_sent_away(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CommandFailed, match="run this as root") as refused:
        typed("status")
    assert refused.value.code == NOT_ROOT


def test_the_program_runs_as_it_is_installed(tmp_path: Path) -> None:
    script = (ROOT / "roles/panel/files/streamfleet").read_text()
    here = script.replace("/usr/lib/streamfleet/panel", str(ROOT / "roles/panel/files"))
    assert here != script
    for words, code, text in (
        (["--help"], 0, "COMMAND"),
        (["version"], 0, ""),
        ([], 2, "required: COMMAND"),
        (["stop", "icecast"], 2, "invalid choice"),
    ):
        done = subprocess.run(
            ["sh", "-c", here, "sh", *words], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert (done.returncode, text in done.stdout + done.stderr) == (code, True), done


def test_completion_knows_every_command_and_option() -> None:
    text = (ROOT / "roles/panel/files/completion.bash").read_text()
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    asked = 'COMP_WORDS=({words}); COMP_CWORD={at}; _streamfleet; printf "%s\\n" "${{COMPREPLY[@]}}"'
    for words, offered in (
        ("streamfleet st", {"status", "start", "stop"}),
        ("streamfleet stop p", {"panel"}),
        ("streamfleet user r", {"reset"}),
        ("streamfleet status --", {"--json"}),
    ):
        script = text + asked.format(words=words, at=len(words.split()) - 1)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == offered
    for command in control.COMPONENTS:
        assert f" {command}" in text
    options = {word for line in text.splitlines() for word in line.replace('"', " ").split() if word.startswith("--")}
    known = " ".join(sub.format_help() for sub in _parsers(parser()))
    assert {option for option in options - {"--"} if option not in known} == set()


def _parsers(top: Any) -> list[Any]:
    inner = [
        sub
        for action in top._actions
        if hasattr(action, "choices") and isinstance(action.choices, dict)
        for sub in action.choices.values()
    ]
    return [top, *(found for sub in inner for found in _parsers(sub))]


def test_systemd_is_asked_by_pattern() -> None:
    assert systemd.PATTERNS[0] == "streamfleet-*"
