"""The installer that an operator brings, and Wowza's own configuration: what is not as it must be is refused."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from jinja2 import Environment, StrictUndefined

from tests.doubles.wowza import LICENCE, tree
from tests.doubles.wowza.configuration import SERVER, TUNE, VHOST, VHOSTS, read

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "roles/wowza/files"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(*arguments: object) -> tuple[int, str]:
    """Exit code of install_wowza.py and what it said."""
    command = [sys.executable, str(FILES / "install_wowza.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


# The installer


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo There has been an error >&2; exit 1", "it ended with 1: There has been an error"),
        ("read answer || exit 7", "it ended with 7: without a word"),
        ("exit 0", "bin/startup.sh is missing. Does streamfleet_wowza_home say where it installs?"),
    ],
)
def test_an_installer_that_does_not_do_its_work_leaves_no_marker(tmp_path: Path, script: str, said: str) -> None:
    installer = tmp_path / "installer.run"
    installer.write_text(f"#!/bin/sh\n{script}\n")
    code, answer = call("install", installer, tmp_path / "home", tmp_path / "installed-1", "--mode", "unattended")
    assert (code, said in answer) == (3, True), answer
    assert not (tmp_path / "installed-1").exists()
    assert installer.exists()


def test_one_that_does_leaves_the_marker_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    lines = [f'mkdir -p "{home}/bin" "{home}/conf"; test "$*" = "--mode unattended"']
    module = loaded("install_wowza")
    monkeypatch.setattr(module, "UNITS", ())
    lines += [f'touch "{home}/{name}"' for name in module.NEEDED]
    (tmp_path / "installer.run").write_text("#!/bin/sh -e\n" + "\n".join(lines) + "\n")
    (tmp_path / "installed-old").write_text("old\n")
    module.install(tmp_path / "installer.run", home, tmp_path / "installed-new", ["--mode", "unattended"])
    assert {path.name for path in tmp_path.iterdir()} == {"home", "installed-new"}


# The configuration


class Installed:
    """A tree as the double's installer leaves it, and configure.py for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.vhost, place = folder / "home", folder / "vhost", folder / "place"
        for name, (content, _mode) in tree().items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (self.vhost / "conf").mkdir(parents=True)
        place.mkdir()
        (place / "licence").write_text(f"{LICENCE}\n")
        (place / "rest-password").write_text("rest-secret\n")
        self.module = loaded("configure")
        monkeypatch.setattr(self.module, "PLACE", place)
        ports = {"port": 1945, "hls_port": 1938, "tv_port": 1941, "rest_port": 8087}
        self.settings: dict[str, Any] = {"home": str(self.home), "vhost": str(self.vhost), "heap": "3G", **ports}

    def apply(self) -> None:
        """Write what is wanted."""
        for path, content in self.module.wanted(self.settings).items():
            path.write_text(content)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.home / "conf" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(tmp_path, monkeypatch)


def test_only_what_is_ours_is_set_and_the_double_takes_it(installed: Installed) -> None:
    installed.apply()
    conf = installed.home / "conf"
    server = read(conf / "Server.xml", SERVER)
    rest = {name: server.findtext(f"Server/RESTInterface/{name}") for name in ("IPAddress", "Port", "IPWhiteList")}
    assert rest == {"IPAddress": "127.0.0.1", "Port": "8087", "IPWhiteList": "127.0.0.1"}
    assert server.findtext("Server/RESTInterface/AuthenticationMethod") == "basic"
    assert server.findtext("Server/CommandInterface/HostPort/IpAddress") == "127.0.0.1"
    assert server.findtext("Server/Properties/Property/Value") == "kept"
    assert "What is set here by an operator stays." in (conf / "Server.xml").read_text()
    assert read(conf / "Tune.xml", TUNE).findtext("Tune/HeapSize") == "3G"
    assert read(conf / "VHosts.xml", VHOSTS).findtext("VHosts/VHost/ConfigDir") == str(installed.vhost)
    ports = read(installed.vhost / "conf/VHost.xml", VHOST).findall("VHost/HostPortList/HostPort")
    found = [tuple(port.findtext(name) for name in ("IpAddress", "Port", "HTTPStreamerAdapterIDs")) for port in ports]
    assert found == [
        ("*", "1945", ""),
        ("127.0.0.1", "1938", "cupertinostreaming"),
        ("127.0.0.1", "1941", ""),
        ("127.0.0.1", "8086", ""),
    ]
    assert (conf / "admin.password").read_text() == "streamfleet rest-secret admin|advUser\n"
    assert (conf / "Server.license").read_text() == f"{LICENCE}\n"


def test_setting_it_again_changes_nothing(installed: Installed) -> None:
    installed.apply()
    assert {path: path.read_text() for path in installed.module.wanted(installed.settings)} == installed.module.wanted(
        installed.settings
    )


def test_values_are_text_and_never_markup(installed: Installed) -> None:
    installed.settings["heap"] = "3G</HeapSize><x/>&"
    content = installed.module.wanted(installed.settings)[installed.home / "conf/Tune.xml"]
    assert ET.fromstring(content).findtext("Tune/HeapSize") == installed.settings["heap"]


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("Server.xml", "<Root version", "<Root <version", "cannot be read"),
        ("Server.xml", "RESTInterface>", "Other>", "has no Server/RESTInterface"),
        ("Server.xml", "<Port>8087</Port>", "<Port>1</Port><Port>2</Port>", "has Server/RESTInterface/Port 2 times"),
        ("Server.xml", "<Port>8087</Port>", "<Port><x/></Port>", "has elements in Server/RESTInterface/Port"),
        ("VHosts.xml", "_defaultVHost_", "other", "has other virtual hosts"),
        ("VHost.xml", "<Type>Streaming</Type>", "<Type>Admin</Type>", "has no HostPort of the type Streaming"),
        ("Tune.xml", "Tune>", "Other>", "has no Tune"),
    ],
)
def test_a_file_that_is_another_than_documented_is_refused(
    installed: Installed, name: str, old: str, new: str, said: str
) -> None:
    installed.edit(name, old, new)
    with pytest.raises(installed.module.Refused, match=said):
        installed.module.wanted(installed.settings)


# Processors


@pytest.mark.parametrize(
    ("cores", "share", "quota"), [(1, 85, "85%"), (2, 85, "170%"), (16, 100, "1600%"), (4, 1, "4%")]
)
def test_wowza_leaves_some_of_the_processors_to_others(cores: int, share: int, quota: str) -> None:
    role = yaml.safe_load((ROOT / "roles/wowza/vars/main.yml").read_text())
    variables = {"ansible_facts": {"streamfleet_host": {"cores": cores}}, "streamfleet_wowza_cpu_share": share}
    made = Environment(undefined=StrictUndefined).from_string(role["_streamfleet_wowza_cpu_quota"]).render(variables)
    assert made == quota
    needed = re.findall(r"{{ (\w+) }}", (ROOT / "roles/wowza/templates/streamfleet-wowza.service.j2").read_text())
    lines = rendered(
        "wowza", "streamfleet-wowza.service", **{**dict.fromkeys(needed, "x"), "_streamfleet_wowza_cpu_quota": made}
    )
    assert [line for line in lines if line.startswith("CPUQuota=")] == [f"CPUQuota={quota}"]


# The firewall around tenants


def rendered(role: str, name: str, **variables: object) -> list[str]:
    """Lines of a role's template that mean something."""
    text = (ROOT / f"roles/{role}/templates/{name}.j2").read_text()
    lines = Environment(undefined=StrictUndefined, trim_blocks=True).from_string(text).render(variables).splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def test_a_host_that_has_left_the_group_goes_on_to_hold_wowza() -> None:
    private = {"_streamfleet_common_private_ipv4": ["10.0.0.0/8"], "_streamfleet_common_private_ipv6": ["fc00::/7"]}
    hold, opened = (f'include "/etc/streamfleet/nftables/{name}"' for name in ("hold-*.nft", "open-wowza*.nft"))
    for openings in ([], ["wowza"]):
        variables = {
            "streamfleet_common_tenant_openings": openings,
            "streamfleet_common_tenant_resolvers": [],
            **private,
        }
        lines = rendered("common", "tenants.nft", **variables)
        assert (hold in lines, opened in lines) == (True, bool(openings))
    account = {"ansible_facts": {"getent_passwd": {"streamfleet-wowza": ["x", "990", "980"]}}}
    facts = {"__streamfleet_wowza_account": account, "_streamfleet_wowza_user": "streamfleet-wowza"}
    held = rendered("wowza", "hold-wowza.nft", **facts)
    assert held == ["add element inet streamfleet_tenants engines { 990 }"]
    networks = {"_streamfleet_wowza_asked": [], "streamfleet_wowza_allowed_networks": []}
    assert rendered("wowza", "open-wowza.nft", **facts, **networks) == [
        "add element inet streamfleet_tenants opened { 980 }"
    ]


# Uninstalling


def test_customers_data_and_whose_they_are_go_only_when_that_is_said() -> None:
    """A later user who got the number of Wowza's would have what stays."""
    tasks = yaml.safe_load((ROOT / "roles/wowza/tasks/uninstall.yml").read_text())
    data = [task for task in tasks if "_streamfleet_wowza_data" in str(task)]
    users = [task for task in tasks if {"ansible.builtin.user", "ansible.builtin.group"} & task.keys()]
    assert (len(data), len(users)) == (1, 2)
    assert [task.get("when") for task in data + users] == ["streamfleet_wowza_uninstall_data | bool"] * 3
