"""Uninstalling takes what is ours, and nothing else: the tasks' own commands, over trees made for it."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from streamfleet import packages

from tests.unit.role_tasks import tasks, templated, variables

ROOT = Path(__file__).resolve().parents[2]


def run(root: Path, role: str, task: str, **values: Any) -> list[str]:
    """What a task's command prints, with ``root`` in the place of /."""
    argv = templated(tasks(role, "uninstall")[task]["ansible.builtin.command"]["argv"], {**variables(role), **values})
    command = [word.replace("/etc/", f"{root}/etc/").replace("/var/", f"{root}/var/") for word in argv]
    done = subprocess.run(command, text=True, capture_output=True, check=True, timeout=30)
    return sorted(line.removeprefix(str(root)) for line in done.stdout.splitlines())


def removed(role: str, task: str, **values: Any) -> list[str]:
    """The paths that a task removes."""
    return list(templated(tasks(role, "uninstall")[task]["loop"], {**variables(role), **values}))


# Data


def test_the_data_of_media_services_is_not_the_panels(tmp_path: Path) -> None:
    data = tmp_path / "var/lib/streamfleet"
    for name in ("services", "media", "media-index", "sessions", "panel", "upgrade", "panel-domains"):
        (data / name / "inner").mkdir(parents=True)
    (data / "panel/panel.sqlite3").touch()
    found = run(tmp_path, "common", "Look for the data of media services")
    assert found == [f"/var/lib/streamfleet/{name}" for name in ("media", "media-index", "services", "sessions")]
    run(tmp_path, "common", "Remove the folder of data, if the panel has none there")
    assert (data / "panel/panel.sqlite3").exists()


def test_the_folder_of_data_goes_when_nothing_is_left_in_it(tmp_path: Path) -> None:
    (tmp_path / "var/lib/streamfleet").mkdir(parents=True)
    assert run(tmp_path, "common", "Remove the folder of data, if the panel has none there") == ["/var/lib/streamfleet"]
    assert not (tmp_path / "var/lib/streamfleet").exists()


@pytest.mark.parametrize("word", [False, "false"])
def test_data_goes_only_when_that_is_said(word: Any) -> None:
    values: dict[str, Any] = {"__streamfleet_panel_found": {"files": []}}
    values |= {"__streamfleet_panel_settings": {"stdout_lines": ["/etc/streamfleet/panel/panel.env"]}}
    data = {"/var/lib/streamfleet/panel", "/var/lib/streamfleet/upgrade", "/etc/streamfleet/panel"}
    assert not data & set(removed("panel", "Remove the panel's files", streamfleet_panel_uninstall_data=word, **values))
    assert data <= set(removed("panel", "Remove the panel's files", streamfleet_panel_uninstall_data=True, **values))
    for task in ("Look for the data of media services", "Remove the folder of data, if the panel has none there"):
        assert tasks("common", "uninstall")[task]["when"] == "streamfleet_common_uninstall_data | bool"


def test_databases_that_a_restore_put_aside_are_the_panels(tmp_path: Path) -> None:
    data = tmp_path / "var/lib/streamfleet-backup"
    for name in ("before-20260101T000000", "scratch"):
        (data / name).mkdir(parents=True)
    (data / "hashes.sqlite3").touch()
    here = "/var/lib/streamfleet-backup"
    assert run(tmp_path, "backup", "Look what is remembered") == [f"{here}/hashes.sqlite3", f"{here}/scratch"]
    assert "_streamfleet_backup_data" not in str(
        tasks("backup", "uninstall")["Remove programs, secrets and what is remembered"]
    )
    assert run(tmp_path, "panel", "Look for databases that a restore has put aside") == [
        f"{here}/before-20260101T000000"
    ]
    run(tmp_path, "backup", "Remove the folder of backups, if no database is kept in it")
    assert (data / "before-20260101T000000").is_dir()
    values = {
        "__streamfleet_panel_found": {"files": []},
        "__streamfleet_panel_settings": {"stdout_lines": []},
        "__streamfleet_panel_aside": {"stdout_lines": [f"{here}/before-20260101T000000"]},
    }
    for said in (True, False):
        paths = removed("panel", "Remove the panel's files", streamfleet_panel_uninstall_data=said, **values)
        assert (f"{here}/before-20260101T000000" in paths) is said


# Keys


def test_keys_of_data_that_stays_do_so_too(tmp_path: Path) -> None:
    settings = tmp_path / "etc/streamfleet"
    for name in (
        "panel/secrets.env",
        "panel/admin_password",
        "panel/panel.env",
        "panel/install_token",
        "panel/.panel.env.new",
    ):
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).touch()
    for name in ("file-transfer", "worker", "tls", "ca", "instances"):
        (settings / name).mkdir()
    gone = run(tmp_path, "panel", "Look for settings that the database does not need")
    assert gone == [f"/etc/streamfleet/panel/{name}" for name in (".panel.env.new", "install_token", "panel.env")]
    names = ("ca", "instances", "tls", "worker")
    assert run(tmp_path, "common", "Look for settings") == [f"/etc/streamfleet/{name}" for name in names]
    run(tmp_path, "common", "Remove the folder of settings, if no keys are kept in it")
    assert (settings / "panel/secrets.env").exists()
    kept = [*removed("common", "Remove units and settings", **own())]
    assert not [path for path in kept if path.startswith("/etc/streamfleet")]


def test_what_is_not_there_is_no_path() -> None:
    """Of a command that was not needed Ansible says so where its output would be."""
    nothing = {"stdout_lines": ["skipped, since /etc/streamfleet does not exist"], "stdout": "skipped, since"}
    found = removed("common", "Remove units and settings", **own() | {"__streamfleet_common_settings": nothing})
    found += removed("common", "Remove the data of media services", __streamfleet_common_data=nothing)
    values = {"__streamfleet_panel_found": {"files": []}, "__streamfleet_panel_settings": nothing}
    found += removed("panel", "Remove the panel's files", **values)
    assert len(found) > 20
    assert [path for path in found if not path.startswith("/")] == []


def own() -> dict[str, Any]:
    told = {"__streamfleet_common_settings": {}, "__streamfleet_common_installed": {"stdout_lines": []}}
    return {**tasks("common", "uninstall")["Remove units and settings"]["vars"], **told}


def test_a_later_installation_takes_them_into_use() -> None:
    """A file that is made where it is missing keeps what is in it."""
    values = {**variables("panel"), "role_path": str(ROOT / "roles/panel")}
    made = [
        one
        for one in values["_streamfleet_panel_files"] + values["_streamfleet_panel_password_files"]
        if "generate" in one
    ]
    paths = [str(templated(one["path"], values)) for one in made]
    assert paths == ["/etc/streamfleet/panel/secrets.env", "/etc/streamfleet/panel/admin_password"]
    assert {one["mode"] for one in made} == {"0600"}


def test_file_transfers_host_keys_go_only_when_that_is_said() -> None:
    values = variables("file_transfer")
    paths = templated(
        tasks("file_transfer", "uninstall")["Remove units, programs, log-ins and tallies"]["loop"], values
    )
    assert len(paths) > 8
    assert not [path for path in paths if "host_" in path or path == values["_streamfleet_file_transfer_dir"]]
    task = tasks("file_transfer", "uninstall")["Remove the server's host keys"]
    assert task["when"] == "streamfleet_file_transfer_uninstall_data | bool"


# Packages


def test_what_was_there_is_the_operators(tmp_path: Path) -> None:
    there = {"nginx", "nginx-common"}
    asked = ["nginx", "nginx-common", "icecast2=2.4.4-4", "libc6:amd64"]
    assert packages.note(asked, there, write=False, root=tmp_path)
    assert packages.own(asked, tmp_path) == []
    assert packages.note(asked, there, write=True, root=tmp_path)
    assert packages.own(["nginx", "icecast2", "libc6", "lego"], tmp_path) == ["icecast2", "libc6"]
    assert stat.S_IMODE((tmp_path / packages.NOTE).stat().st_mode) == 0o644
    # When they are asked for again, with others.
    there |= {"icecast2", "libc6", "lego"}
    assert not packages.note([*asked, "lego"], there, write=True, root=tmp_path)
    assert packages.note(["proftpd-core"], there, write=True, root=tmp_path)
    assert packages.own(["lego", "proftpd-core", "icecast2"], tmp_path) == ["icecast2", "proftpd-core"]


def test_of_what_an_earlier_version_installed_all_is_ours(tmp_path: Path) -> None:
    unit = tmp_path / packages.PLATFORM
    assert packages.own(["icecast2"], tmp_path) == []
    unit.parent.mkdir(parents=True)
    unit.touch()
    assert packages.own(["icecast2"], tmp_path) == ["icecast2"]
    assert packages.note(["icecast2"], {"icecast2"}, write=True, root=tmp_path)
    assert packages.own(["icecast2", "nginx"], tmp_path) == ["icecast2"]


def test_what_stays_with_its_data_is_noted_until_it_goes(tmp_path: Path) -> None:
    server = ["postgresql", "postgresql-common"]
    assert not packages.keep(server, set(server), write=True, root=tmp_path)
    packages.note([*server, "nginx"], set(), write=True, root=tmp_path)
    assert packages.keep(server, {"nginx", *server}, write=False, root=tmp_path)
    assert packages.own(["nginx"], tmp_path) == ["nginx"]
    assert packages.keep(server, {"nginx", *server}, write=True, root=tmp_path)
    assert packages.own(["nginx", *server], tmp_path) == server
    assert not packages.keep(server, set(server), write=True, root=tmp_path)
    assert packages.keep([], set(server), write=True, root=tmp_path)
    assert not (tmp_path / packages.NOTE).exists()


@pytest.mark.parametrize("text", ["{", '{"nginx": 1}', "[1]"])
def test_a_note_that_cannot_be_read_takes_nothing(tmp_path: Path, text: str) -> None:
    note = tmp_path / packages.NOTE
    note.parent.mkdir(parents=True)
    note.write_text(text)
    with pytest.raises(packages.PackagesError, match=re.escape(str(note))):
        packages.own(["nginx"], tmp_path)
    with pytest.raises(packages.PackagesError, match="Put it back from a backup"):
        packages.note(["nginx"], set(), write=True, root=tmp_path)
    assert note.read_text() == text


def test_settings_of_a_package_that_was_removed_are_the_operators(tmp_path: Path, monkeypatch: Any) -> None:
    program = tmp_path / "dpkg-query"
    program.write_text(
        "#!/bin/sh\necho 'nginx installed\nicecast2 config-files\nlego not-installed\nbad half-configured'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert packages.present() == {"nginx", "icecast2", "bad"}
    program.write_text("#!/bin/sh\nexit 2\n")
    with pytest.raises(packages.PackagesError, match="dpkg-query does not tell"):
        packages.present()


#: Flussonic's come from the vendor; which it has installed stands beside them.
REMOVING = [
    path
    for path in sorted(ROOT.glob("roles/*/tasks/uninstall.yml"))
    if "builtin.apt:" in path.read_text() and path.parts[-3] != "flussonic"
]


@pytest.mark.parametrize("path", REMOVING, ids=[path.parts[-3] for path in REMOVING])
def test_no_role_removes_packages_that_it_has_not_brought(path: Path) -> None:
    role = path.parts[-3]
    for task in tasks(role, "uninstall").values():
        if apt := task.get("ansible.builtin.apt"):
            assert "autoremove" not in apt
            assert (
                f"__streamfleet_{role}_packages.own" in str(apt["name"])
                or "not _streamfleet_panel_server_stays" in task["when"]
            )
    asked = [one["streamfleet_packages"] for one in tasks(role, "install").values() if "streamfleet_packages" in one]
    assert [one["state"] for one in asked] == ["noted"]


def test_all_roles_that_remove_packages_are_among_them() -> None:
    assert {path.parts[-3] for path in REMOVING} == {
        "autodj", "certificates", "fail2ban", "file_transfer", "icecast", "nginx_rtmp", "panel", "web",
    }  # fmt: skip


# Others' services


@pytest.mark.parametrize("role", ["common", "icecast", "file_transfer"])
def test_a_service_of_the_operators_is_refused_and_named(role: str) -> None:
    task = tasks(role, "preflight")["Refuse to take an operator's own service off the air"]
    expression = task["vars"][f"__streamfleet_{role}_theirs"]
    units = {
        "streamfleet_common_masked_units": ["icecast2.service", "proftpd.service"],
        "_streamfleet_icecast_masked_units": ["icecast2.service", "proftpd.service"],
        "_streamfleet_file_transfer_masked_units": ["icecast2.service", "proftpd.service"],
    }
    for lines, theirs in (
        (["inactive", "inactive"], []),
        (["unknown", "failed"], []),
        (["inactive", "active"], ["proftpd.service"]),
        (["active", "activating"], ["icecast2.service", "proftpd.service"]),
    ):
        values = {**units, f"__streamfleet_{role}_running": {"stdout_lines": lines}}
        assert templated(expression, values) == theirs
        said = templated(
            task["ansible.builtin.assert"]["fail_msg"],
            values | {"inventory_hostname": "n1", f"__streamfleet_{role}_theirs": theirs},
        )
        assert said.startswith(f"n1: {', '.join(theirs)} runs")


@pytest.mark.parametrize(
    ("seen", "gone"),
    [
        ([], ["libnginx-mod-http-js", "nginx", "nginx-common"]),
        (["sites"], ["libnginx-mod-http-js"]),
        (["sites", "scripts"], []),
    ],
)
def test_of_nginx_stays_what_others_need(seen: list[str], gone: list[str]) -> None:
    own = {"__streamfleet_web_packages": {"own": ["libnginx-mod-http-js", "nginx", "nginx-common"]}}
    task = tasks("web", "uninstall")[
        "Remove the web server where no other site needs it, and its module where none has scripts"
    ]
    values = {**own, "__streamfleet_web_host": {"stdout_lines": seen}}
    assert sorted(templated(task["ansible.builtin.apt"]["name"], {**task["vars"], **values})) == gone
    asked = tasks("nginx_rtmp", "uninstall")["Look which packages that nothing needs were not there before"][
        "streamfleet_packages"
    ]
    names = templated(asked["names"], {"__streamfleet_nginx_rtmp_host": {"stdout_lines": seen}})
    assert sorted({*own["__streamfleet_web_packages"]["own"]} & set(names)) == gone


# The panel's database on the host


@pytest.mark.parametrize(
    ("lines", "own", "stays"),
    [
        (["changed: database", "empty"], ["postgresql", "postgresql-common"], False),
        (["other: database bookings"], ["postgresql", "postgresql-common"], True),
        (["empty"], ["postgresql"], True),
        (["empty"], [], True),
    ],
)
def test_a_server_of_others_stays(lines: list[str], own: list[str], stays: bool) -> None:
    values = {
        **variables("panel"),
        "__streamfleet_panel_dropped": {"stdout_lines": lines},
        "__streamfleet_panel_packages": {"own": own},
    }
    assert templated("{{ _streamfleet_panel_server_stays }}", values) is stays


# An operator's nginx


CONNECTIONS = [
    ("worker_connections 1500; # for the shop", "worker_connections 32768; # before Streamfleet: 1500; # for the shop"),
    ("\tworker_connections   768;", "\tworker_connections   32768; # before Streamfleet: 768;"),
]


def in_place(number: int) -> list[tuple[str, str]]:
    """What the role web does to a line of nginx.conf: patterns and what takes their place."""
    values = {**variables("web"), "_streamfleet_web_worker_connections": number}
    (file,) = [one for one in values["_streamfleet_web_files"] if one["path"] == "/etc/nginx/nginx.conf"]
    return [(templated(one["regexp"], values), templated(one["replace"], values)) for one in file["edits"]]


@pytest.mark.parametrize(("theirs", "ours"), CONNECTIONS)
def test_the_number_of_connections_of_before_comes_back(theirs: str, ours: str) -> None:
    line = theirs
    for number in (1024, 32768, 32768):
        for pattern, text in in_place(number):
            line = re.sub(pattern, text, line, flags=re.MULTILINE)
    assert line == ours
    back = tasks("web", "uninstall")["Give the web server the number of connections of before"][
        "ansible.builtin.replace"
    ]
    debians = tasks("web", "uninstall")["Give the web server Debian's number of connections back"][
        "ansible.builtin.replace"
    ]
    assert re.sub(debians["regexp"], debians["replace"], line, flags=re.MULTILINE) == line
    assert re.sub(back["regexp"], back["replace"], line, flags=re.MULTILINE) == theirs


def test_of_a_server_installed_by_a_version_that_noted_none_the_number_is_debians() -> None:
    line = "    worker_connections 32768;"
    for pattern, text in in_place(32768):
        assert re.sub(pattern, text, line, flags=re.MULTILINE) == line
    task = tasks("web", "uninstall")["Give the web server Debian's number of connections back"]
    assert "'nginx-common' in __streamfleet_web_packages.own" in task["when"]
    rule = task["ansible.builtin.replace"]
    assert re.sub(rule["regexp"], rule["replace"], line, flags=re.MULTILINE) == "    worker_connections 768;"
