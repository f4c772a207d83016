"""The firewall around a host: its rules, who is found to listen, and a change that stays only if it is confirmed.

nft, ss and systemd are a double here; tests/live/test_hardening.py has the real ones.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from streamfleet.firewall import change as changing
from streamfleet.firewall.change import CANDIDATE, FIREWALL, LISTING, PROGRAM, FirewallError, change, confirm
from streamfleet.firewall.listeners import ListenersError, Socket, look, others, parse, ssh_ports
from streamfleet.firewall.rules import FAMILY, TABLE, Rules, RulesError
from streamfleet.node_apply.host import Finished, Host

from filter_plugins.streamfleet import streamfleet_openings

ROOT = Path(__file__).resolve().parents[2]
SPECS = {path.parent.parent.name: yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/engine/spec.yml")}
SS = """\
tcp   LISTEN 0      128           0.0.0.0:22        0.0.0.0:*     users:(("sshd",pid=7,fd=3))
tcp   LISTEN 0      128              [::]:22           [::]:*     users:(("sshd",pid=7,fd=4))
tcp   LISTEN 0      100         127.0.0.1:25        0.0.0.0:*     users:(("master",pid=9,fd=13))
tcp   LISTEN 0      511                 *:443             *:*     users:(("nginx",pid=8,fd=6))
tcp   LISTEN 0      128    127.0.0.1%lo:6010        0.0.0.0:*     users:(("sshd-session",pid=5,fd=9))
tcp   ESTAB  0      0      192.0.2.1:22    198.51.100.7:50100     users:(("sshd-session",pid=5,fd=4))
tcp   ESTAB  0      0      192.0.2.1:41000 198.51.100.9:443       users:(("sshd-session",pid=5,fd=8))
udp   UNCONN 0      0            0.0.0.0:68         0.0.0.0:*     users:(("dhclient",pid=4,fd=9))
udp   UNCONN 0      0          10.88.0.1:53         0.0.0.0:*     users:(("aardvark-dns",pid=3,fd=11))
udp   UNCONN 0      0            0.0.0.0:47000      0.0.0.0:*     users:(("systemd-timesyn",pid=2,fd=11))
udp   UNCONN 0      0      [fe80::1%eth0]:546          [::]:*     users:(("dhclient",pid=4,fd=9))
udp   UNCONN 0      0      [fe80::2]%eth1:546          [::]:*     users:(("dhclient",pid=4,fd=8))
udp   UNCONN 0      0               [::1]:323          [::]:*     users:(("chronyd",pid=1,fd=6))
"""


def options(**more: Any) -> dict[str, Any]:
    """Of the module, with its defaults."""
    lists: dict[str, Any] = {name: [] for name in ("open", "ssh_ports", "ssh_sources", "interfaces", "protocols")}
    return {**lists, "close_others": False, "confirm_seconds": 60, "needs_ssh": True, **more}


def opening(name: str, *ports: str, protocol: str = "tcp", sources: Sequence[str] = ()) -> dict[str, Any]:
    return {"name": name, "protocol": protocol, "ports": list(ports), "sources": list(sources)}


WEB = opening("web", "80", "443")


# Rules


def test_rules_let_in_what_is_named_and_ssh_and_drop_the_rest() -> None:
    text = Rules.of(options(open=[WEB, opening("services", "10000-19999")])).text([2222, 22])
    assert "type filter hook input priority filter; policy drop;" in text
    assert '    tcp dport { 22, 2222 } accept comment "ssh"\n    tcp dport { 80, 443 } accept comment "web"\n' in text
    assert '    tcp dport { 10000-19999 } accept comment "services"\n' in text
    for kept in ("ct state established,related accept", 'iifname "lo" accept', "{ 1, 58 } accept"):
        assert kept in text
    # The one table that it touches, made anew in one transaction.
    assert {line.split()[-1] for line in text.splitlines() if line.startswith(("table", "delete"))} <= {
        "streamfleet_firewall",
        "{",
    }
    assert "flush" not in text


def test_sources_are_open_in_both_versions_of_ip() -> None:
    sources = ["192.0.2.10", "192.0.2.0/24", "2001:db8::/32"]
    text = Rules.of(options(open=[opening("x", "9100", protocol="udp", sources=sources)], ssh_sources=["::/0"])).text(
        [22]
    )
    assert '    ip saddr { 192.0.2.0/24 } udp dport { 9100 } accept comment "x"\n' in text
    assert '    ip6 saddr { 2001:db8::/32 } udp dport { 9100 } accept comment "x"\n' in text
    assert '    ip6 saddr { ::/0 } tcp dport { 22 } accept comment "ssh"\n' in text
    assert text.count('comment "ssh"') == 1


def test_ports_that_overlap_are_one_range() -> None:
    text = Rules.of(options(open=[opening("x", "90", "80-90", "85-100", "101", "443")])).text([22])
    assert "tcp dport { 80-101, 443 } accept" in text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"open": [opening("x", "0")]}, r"open\[0\].ports: '0' is no port"),
        ({"open": [WEB, opening("x", "443-80")]}, r"open\[1\].ports: '443-80' is no port"),
        ({"open": [opening("x", "80;")]}, r"'80;' is no port"),
        ({"open": [opening("x")]}, r"open\[0\].ports: is empty. Name the ports of x"),
        ({"open": [opening('x" drop', "80")]}, r"open\[0\].name"),
        ({"open": [opening("x", "80", protocol="sctp")]}, r"open\[0\].protocol: 'sctp' is not one of tcp, udp"),
        ({"open": [opening("x", "80", sources=["192.0.2.1/24"])]}, r"open\[0\].sources: '192.0.2.1/24' is no network"),
        ({"ssh_sources": ["example.net"]}, "ssh_sources: 'example.net' is no network"),
        ({"interfaces": ['lo" accept #']}, "interfaces: 'lo\" accept #' is not a name"),
        ({"protocols": ["esp }"]}, "protocols: 'esp }' is not a name or number"),
    ],
)
def test_a_value_that_cannot_be_a_rule_is_refused_with_its_name(wrong: Mapping[str, Any], said: str) -> None:
    with pytest.raises(RulesError, match=said):
        Rules.of(options(**wrong))


def test_of_engines_only_the_ports_for_encoders_are_open() -> None:
    moved = {"streamfleet_nginx_rtmp_port": "1950"}
    specs = [SPECS["nginx_rtmp"], SPECS["icecast"]]
    found = [(item["name"], item["ports"]) for item in streamfleet_openings(specs, moved)]
    assert found == [("nginx_rtmp RTMP", ["1950"]), ("nginx_rtmp RTMPS", ["1936"])]
    off = streamfleet_openings(specs, {**moved, "streamfleet_nginx_rtmp_tls_port": "0"})
    assert [(item["name"], item["ports"]) for item in off] == found[:1]
    for name in ("nginx_rtmp", "wowza", "flussonic"):
        public = [use for use, plan in SPECS[name]["host_ports"].items() if plan.get("public")]
        assert public == (["RTMP", "RTMPS"] if name == "nginx_rtmp" else ["RTMP"])


def test_the_playbooks_know_the_range_that_the_panel_gives_a_node() -> None:
    """Where the inventory names none, both have the same."""
    model = (ROOT / "panel/streamfleet_panel/models/node.py").read_text()
    first, last = 10000, 19999
    assert f"port_range_start = models.PositiveIntegerField(default={first})" in model
    assert f"port_range_end = models.PositiveIntegerField(default={last})" in model
    for name in ("vars/wiring.yml", "self_check.yml"):
        text = (ROOT / "playbooks" / name).read_text()
        assert f"streamfleet_node_port_range_start | default({first})" in text
        assert f"streamfleet_node_port_range_end | default({last})" in text


# Who listens


class HostDouble:
    """ss, nft, systemctl and systemd-run, and the role's program, as far as a change needs them; files are real."""

    def __init__(self, root: Path, sockets: str = SS) -> None:
        self.root = root
        self.sockets = sockets
        self.table: str | None = None
        self.timer = False
        self.fails: dict[str, str] = {}
        self.said: list[str] = []
        for folder in ("etc/streamfleet/nftables", "run"):
            (root / folder).mkdir(parents=True)

    @property
    def host(self) -> Host:
        return Host(root=self.root, run=self.run, own=False)

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        line = " ".join(argv)
        self.said.append(line)
        for part, why in self.fails.items():
            if part in line:
                return Finished(1, err=why)
        match list(argv):
            case ["ss", "-Hantup"]:
                return Finished(0, out=self.sockets)
            case ["nft", "--stateless", "list", "table", "inet", "streamfleet_firewall"]:
                return Finished(1, err="no such table") if self.table is None else Finished(0, out=self.table)
            case ["nft", "--check", "--file", path]:
                return Finished(0 if Path(path).read_text().startswith("# Managed") else 1)
            case ["nft", "--file", path]:
                self.table = Path(path).read_text()
                return Finished(0)
            case ["systemctl", "is-active", "--quiet", "streamfleet-firewall-revert.timer"]:
                return Finished(0 if self.timer else 3)
            case ["systemctl", "reset-failed", *_]:
                return Finished(0)
            case ["systemctl", "stop", "streamfleet-firewall-revert.timer"]:
                self.timer = False
                return Finished(0)
            case ["systemctl", "show", "--property=Listen,ActiveState", "--", unit]:
                active = unit == "ssh.socket"
                return Finished(
                    0, out="Listen=[::]:2200 (Stream)\nActiveState=active\n" if active else "ActiveState=inactive\n"
                )
            case ["systemd-run", *_]:
                assert not self.timer
                self.timer = True
                return Finished(0)
            case [program, "load", "locked"] if program == PROGRAM:
                self.load()
                return Finished(0)
            case [program, "revert", "locked"] if program == PROGRAM:
                self.revert()
                return Finished(0)
        raise AssertionError(line)

    def load(self) -> None:
        self.file(CANDIDATE).unlink(missing_ok=True)
        self.table = self.file(FIREWALL).read_text()
        self.file(LISTING).write_text(self.table)

    def revert(self) -> None:
        """What the timer does."""
        self.timer = False
        self.file(CANDIDATE).unlink(missing_ok=True)
        if self.file(FIREWALL).exists():
            self.load()
        else:
            self.table = None


def test_sockets_are_read_as_ss_tells_them(tmp_path: Path) -> None:
    sockets = parse(SS)
    assert Socket("tcp", 443, "*", "nginx") in sockets
    assert {each.port for each in sockets if each.local} == {25, 6010, 323}
    assert {(each.protocol, each.port, each.program) for each in others(sockets)} == {
        ("tcp", 22, "sshd"),
        ("tcp", 443, "nginx"),
        ("udp", 53, "aardvark-dns"),
    }
    # Neither what SSH forwards on loopback, nor where it has connected to.
    assert ssh_ports(HostDouble(tmp_path).host, sockets) == {22}


@pytest.mark.parametrize("address", ["[fe80::1%eth0]", "[fe80::1]%eth0", "fe80::1%eth0"])
def test_zones_are_no_part_of_an_address(address: str) -> None:
    (found,) = parse(f'udp UNCONN 0 0 {address}:547 [::]:* users:(("dhcpd",pid=4,fd=9))\n')
    assert (found.address, found.local) == ("fe80::1", False)
    assert others([found]) == [found]


def test_what_is_no_address_is_said() -> None:
    with pytest.raises(ListenersError, match="ss names '/run/x' as the address of a socket"):
        parse('tcp LISTEN 0 0 /run/x:547 [::]:* users:(("x",pid=4,fd=9))\n')


def test_a_tunnel_of_the_kernel_is_told_from_who_asks() -> None:
    text = 'udp UNCONN 0 0 *:51820 *:*\nudp UNCONN 0 0 *:47000 *:* users:(("ntpd",pid=4,fd=9))\n'
    assert [(each.port, each.program) for each in others(parse(text))] == [(51820, "?")]
    with pytest.raises(FirewallError, match=r"would close 51820/udp \(the kernel, such as WireGuard\)"):
        changing._refuse_to_close(Rules.of(options()), set(), parse(text), None)


def test_ssh_that_systemd_listens_for_is_found(tmp_path: Path) -> None:
    text = 'tcp LISTEN 0 4096 *:2200 *:* users:(("systemd",pid=1,fd=60))\n'
    assert ssh_ports(HostDouble(tmp_path).host, parse(text)) == {2200}


def test_a_host_that_does_not_say_who_listens_is_left_alone(tmp_path: Path) -> None:
    double = HostDouble(tmp_path)
    double.fails = {"ss ": "ss: not found"}
    with pytest.raises(ListenersError, match="ss does not say who listens: ss: not found"):
        look(double.host)
    with pytest.raises(ListenersError):
        change(double.host, options())
    assert double.table is None


# A change

OPEN = options(open=[WEB, opening("names", "53", protocol="udp")])


def test_a_change_stays_when_it_is_confirmed_and_is_not_made_twice(tmp_path: Path) -> None:
    double = HostDouble(tmp_path)
    foretold = change(double.host, OPEN, check=True)
    assert (foretold["changed"], foretold["unconfirmed"], double.table) == (True, "", None)
    result = change(double.host, OPEN)
    token = result["unconfirmed"]
    assert result == {**foretold, "unconfirmed": token}
    # Armed before it is loaded.
    steps = [line.split()[0] for line in double.said]
    assert steps.index("systemd-run") < double.said.index(f"nft --file {double.file(CANDIDATE)}")
    assert any("--on-active=60" in line and line.endswith(f"{PROGRAM} revert") for line in double.said)
    assert double.timer
    assert not double.file(FIREWALL).exists()
    confirm(double.host, token)
    assert not double.timer
    assert not double.file(CANDIDATE).exists()
    assert double.file(FIREWALL).read_text() == double.table == result["diff"]["after"]
    assert not change(double.host, OPEN)["changed"]


def test_a_change_that_is_not_confirmed_takes_itself_back(tmp_path: Path) -> None:
    double = HostDouble(tmp_path)
    confirm(double.host, change(double.host, OPEN)["unconfirmed"])
    before = double.table
    token = change(double.host, options(open=[WEB], ssh_sources=["203.0.113.0/24"], close_others=True))["unconfirmed"]
    assert double.table != before
    with pytest.raises(FirewallError, match="another change waits to be confirmed"):
        change(double.host, OPEN)
    double.revert()
    assert double.table == before
    with pytest.raises(FirewallError, match="was not confirmed in time"):
        confirm(double.host, token)
    assert double.table == double.file(FIREWALL).read_text() == before
    assert not change(double.host, OPEN)["changed"]


def test_only_whoever_made_a_change_confirms_it_and_only_while_its_timer_runs(tmp_path: Path) -> None:
    double = HostDouble(tmp_path)
    mine = change(double.host, OPEN)["unconfirmed"]
    double.revert()
    others = change(double.host, options(open=[WEB, opening("x", "81")], close_others=True))["unconfirmed"]
    with pytest.raises(FirewallError, match="is another change, of somebody else"):
        confirm(double.host, mine)
    assert double.timer
    # A timer that was lost, as by a restart of the host, takes nothing back: nothing may be kept, either.
    double.timer = False
    with pytest.raises(FirewallError, match="was not confirmed in time"):
        confirm(double.host, others)
    assert not double.file(FIREWALL).exists()


def test_two_changes_at_once_wait_for_each_other(tmp_path: Path) -> None:
    double = HostDouble(tmp_path)
    with double.file(changing.LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waits = threading.Thread(target=change, args=(double.host, OPEN))
        waits.start()
        waits.join(0.2)
        assert waits.is_alive()
        assert double.table is None
    waits.join(10)
    assert double.timer


#: nft for the program: keeps the table that is loaded, and refuses a file that says so.
NFT = """\
#!/bin/sh
case "$*" in
  "--file -") cat >/dev/null; rm -f {root}/table ;;
  "--file "*) if grep -q broken "$2"; then exit 1; fi; cp "$2" {root}/table ;;
  *list*) cat {root}/table ;;
esac
"""


@pytest.mark.parametrize(
    ("verb", "rules", "table", "code"),
    [
        ("load", "confirmed", "confirmed", 0),
        ("load", "broken", "candidate", 1),
        ("revert", "confirmed", "confirmed", 0),
        ("revert", "broken", None, 0),
        ("revert", None, None, 0),
    ],
)
def test_the_program_leaves_no_candidate_and_nobody_locked_out(
    tmp_path: Path, verb: str, rules: str | None, table: str | None, code: int
) -> None:
    text = (ROOT / "roles/firewall/files/firewall").read_text()
    for path in (FIREWALL, CANDIDATE, LISTING, changing.LOCK, "/usr/sbin/nft"):
        text = text.replace(path, str(tmp_path / Path(path).name))
    nft, candidate = tmp_path / "nft", tmp_path / Path(CANDIDATE).name
    nft.write_text(NFT.format(root=tmp_path))
    nft.chmod(0o755)
    for file in (candidate, tmp_path / "table"):
        file.write_text("candidate")
    if rules is not None:
        (tmp_path / Path(FIREWALL).name).write_text(rules)
    done = subprocess.run(["sh", "-c", text, "firewall", verb], check=False, capture_output=True, timeout=30)
    assert done.returncode == code, done.stderr
    assert not candidate.exists()
    loaded = tmp_path / "table"
    assert (loaded.read_text() if loaded.exists() else None) == table


def test_what_somebody_else_has_changed_is_put_right(tmp_path: Path) -> None:
    double = HostDouble(tmp_path)
    confirm(double.host, change(double.host, OPEN)["unconfirmed"])
    for table in (None, f"{double.table}#"):
        double.table = table
        confirm(double.host, change(double.host, OPEN)["unconfirmed"])
        assert not change(double.host, OPEN)["changed"]


def test_the_first_firewall_closes_nothing_unasked(tmp_path: Path) -> None:
    double = HostDouble(tmp_path)
    with pytest.raises(FirewallError, match=r"would close 443/tcp \(nginx\), 53/udp \(aardvark-dns\), where other"):
        change(double.host, options(open=[opening("web", "80")]))
    with pytest.raises(FirewallError, match=r"would close 53/udp \(aardvark-dns\), where other"):
        change(double.host, options(open=[WEB, opening("names", "53")]), check=True)
    assert (double.table, double.timer) == (None, False)
    confirm(double.host, change(double.host, options(open=[WEB], close_others=True))["unconfirmed"])
    # What is closed already may be left so; what is open may not be closed unasked.
    with pytest.raises(FirewallError, match=r"the change would close 443/tcp \(nginx\), where other"):
        change(double.host, options(open=[opening("web", "80")]))
    assert change(double.host, options(open=[opening("web", "80", "443", "8080")]), check=True)["changed"]
    assert change(double.host, options(open=[], close_others=True))["changed"]


def test_a_fresh_host_on_which_nothing_tells_yet_is_foretold(tmp_path: Path) -> None:
    double = HostDouble(tmp_path)

    def bare(argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        return Finished(127, err=f"{argv[0]}: No such file or directory")

    host = Host(root=tmp_path, run=bare, own=False)
    assert change(host, options(open=[WEB]), check=True)["changed"]
    with pytest.raises(ListenersError):
        change(host, options(open=[WEB]))
    assert not double.file(CANDIDATE).exists()


def test_a_host_without_ssh_is_refused_where_it_is_reached_by_ssh(tmp_path: Path) -> None:
    double = HostDouble(tmp_path, sockets="")
    with pytest.raises(FirewallError, match="no SSH server is found"):
        change(double.host, options())
    assert change(double.host, options(ssh_ports=[2222]), check=True)["ssh_ports"] == [2222]
    assert change(double.host, options(needs_ssh=False), check=True)["ssh_ports"] == []


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("nft --check", "nft refuses the rules: no"),
        ("systemd-run", "systemd arms no timer that would take the change back, so it is not made: no"),
        ("nft --file", "the kernel refuses the rules: no"),
    ],
)
def test_what_fails_leaves_the_host_as_it_was(tmp_path: Path, part: str, said: str) -> None:
    double = HostDouble(tmp_path)
    confirm(double.host, change(double.host, OPEN)["unconfirmed"])
    before = double.table
    double.fails = {part: "no"}
    with pytest.raises(FirewallError, match=said):
        change(double.host, options(open=[WEB], close_others=True))
    assert double.table == before
    assert not double.file(CANDIDATE).exists()
    assert not double.timer


def test_the_program_and_the_module_mean_the_same_files() -> None:
    program = (ROOT / "roles/firewall/files/firewall").read_text()
    for path in (FIREWALL, CANDIDATE, LISTING, changing.LOCK):
        assert f"={path}\n" in program
    assert f"table='{FAMILY} {TABLE}'" in program
    role = yaml.safe_load((ROOT / "roles/firewall/vars/main.yml").read_text())
    assert role["_streamfleet_firewall_program"] == PROGRAM
    assert json.dumps(FIREWALL) in json.dumps(role)
