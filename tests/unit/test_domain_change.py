"""A change of host names, as far as it is decided without a host: names, inventories' diff, journal, where names lead.

What it does to hosts and listeners: tests/live/test_domain_change.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from streamfleet.controller_process import gone, where
from streamfleet.domain_change import inventory, names
from streamfleet.domain_change.errors import DomainError
from streamfleet.domain_change.journal import LEASE, Holder, Journal
from streamfleet.domain_change.names import Rename

from filter_plugins.streamfleet import streamfleet_kept, streamfleet_kept_days
from scripts import forked_ansible
from tests.ports import free_port

# Each runs Ansible.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
UNTIL = "2027-02-26"


def host(name: str, panel: str = "", stream: str = "", **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "former_panel_hosts": [], "former_stream_hosts": [], "domain_target": "", "former_domain_targets": [],
        "extra": {},
    }  # fmt: skip
    return {"name": name, "panel_host": panel, "stream_host": stream, **empty, **more}


FLEET = [
    host("panel1", "panel.example.net", extra={"streamfleet_panel_public_url": "https://panel.example.net:8443"}),
    host("audio1", stream="audio1.streams.example.net"),
    host("audio2", stream="audio2.streams.example.net"),
]


# Names


def test_one_name_is_replaced_on_its_host_and_kept_as_a_former_one() -> None:
    renames, variables = names.plan(FLEET, "panel.example.net", "panel.example.org", UNTIL)
    assert renames == [Rename("panel1", "panel", "panel.example.net", "panel.example.org")]
    assert variables == {
        "panel1": {
            "before": {
                "streamfleet_panel_host": "panel.example.net",
                "streamfleet_former_panel_hosts": [],
                "streamfleet_panel_public_url": "https://panel.example.net:8443",
            },
            "target": {
                "streamfleet_panel_host": "panel.example.org",
                "streamfleet_former_panel_hosts": [{"host": "panel.example.net", "until": UNTIL}],
                "streamfleet_panel_public_url": "https://panel.example.org:8443",
            },
        }
    }


def test_all_names_below_one_are_replaced() -> None:
    renames, variables = names.plan(FLEET, ".streams.example.net", ".radio.example.org", UNTIL)
    assert [(one.host, one.new) for one in renames] == [
        ("audio1", "audio1.radio.example.org"),
        ("audio2", "audio2.radio.example.org"),
    ]
    assert set(variables) == {"audio1", "audio2"}


@pytest.mark.parametrize("noted", [True, False])
def test_an_inventory_that_has_the_new_name_already_means_the_same(noted: bool) -> None:
    former = [{"host": "audio1.streams.example.net", "until": "2027-01-01"}] if noted else []
    new = host("audio1", stream="a.example.org", former_stream_hosts=former)
    renames, variables = names.plan([FLEET[0], new, FLEET[2]], "audio1.streams.example.net", "a.example.org", UNTIL)
    assert renames == [Rename("audio1", "streams", "audio1.streams.example.net", "a.example.org")]
    until = "2027-01-01" if noted else UNTIL
    assert variables["audio1"] == {
        "before": {"streamfleet_stream_host": "audio1.streams.example.net", "streamfleet_former_stream_hosts": []},
        "target": {
            "streamfleet_stream_host": "a.example.org",
            "streamfleet_former_stream_hosts": [{"host": "audio1.streams.example.net", "until": until}],
        },
    }


def test_moving_back_takes_the_name_from_the_former_ones() -> None:
    former = [{"host": "old.example.net", "until": UNTIL}, {"host": "older.example.net", "until": UNTIL}]
    there = host("audio1", stream="new.example.net", former_stream_hosts=former)
    _renames, variables = names.plan([there], "new.example.net", "old.example.net", "2027-03-03")
    assert variables["audio1"]["target"]["streamfleet_former_stream_hosts"] == [
        {"host": "new.example.net", "until": "2027-03-03"},
        {"host": "older.example.net", "until": UNTIL},
    ]
    assert variables["audio1"]["before"]["streamfleet_former_stream_hosts"] == former


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "panel.example.net",
            "panel.example.net",
            "domain_change_to: 'panel.example.net' is what domain_change_from says",
        ),
        ("panel.example.net", "*.example.org", "is a wildcard. Give one host name; or '.example.org'"),
        ("panel.example.net", "pänel.example.org", "write it xn--pnel-loa.example.org"),
        ("panel.example.net", "Panel.example.org", "use lower-case letters"),
        ("panel.example.net", "panel", "is not a host name"),
        ("panel.example.net", "panel.example.org:8443", "is not a host name"),
        ("panel.example.net", ".example.org", "must both be a host name, or both begin with a dot"),
        (
            "other.example.net",
            "panel.example.org",
            "no host of this inventory is called 'other.example.net'. They are ",
        ),
        ("panel.example.net", "audio1.streams.example.net", "is the name of the streams of audio1 already"),
        ("audio1.streams.example.net", "audio2.streams.example.net", "is the name of the streams of audio2 already"),
        (".example.net", f".{'long.' * 49}example.net", "is not a host name"),
    ],
)
def test_a_name_that_cannot_be_is_refused_by_what_is_wrong_with_it(old: str, new: str, said: str) -> None:
    with pytest.raises(DomainError) as error:
        names.plan(FLEET, old, new, UNTIL)
    assert said in str(error.value)
    assert str(error.value).startswith("domain_change_")


def test_a_name_that_is_served_as_a_former_one_is_nobody_elses() -> None:
    former = host("audio2", stream="b.example.net", former_stream_hosts=[{"host": "c.example.net", "until": UNTIL}])
    with pytest.raises(DomainError, match="the streams of audio2 already, or was it"):
        names.plan([FLEET[1], former], "audio1.streams.example.net", "c.example.net", UNTIL)


def test_what_the_inventory_does_not_know_yet_is_known_from_the_host() -> None:
    kept = [{"host": "audio1.streams.example.net", "until": UNTIL}]
    note = {"host": "a.example.org", "former": ["audio1.streams.example.net"], "kept": kept, "since": ""}
    lagging = {**FLEET[1], "noted": {"streams": note}}
    _renames, variables = names.plan([lagging], "a.example.org", "audio1.streams.example.net", "2027-03-03")
    assert variables["audio1"]["before"]["streamfleet_former_stream_hosts"] == kept
    assert variables["audio1"]["target"]["streamfleet_former_stream_hosts"] == [
        {"host": "a.example.org", "until": "2027-03-03"}
    ]
    renames, variables = names.plan([lagging], "audio1.streams.example.net", "a.example.org", UNTIL)
    assert renames == [Rename("audio1", "streams", "audio1.streams.example.net", "a.example.org")]
    # It is done: a run that fails afterwards has nothing to put back.
    assert variables["audio1"]["before"] == variables["audio1"]["target"]
    assert variables["audio1"]["target"]["streamfleet_stream_host"] == "a.example.org"
    assert names.release([lagging], "audio1.streams.example.net")[1]["audio1"]["target"] == {
        "streamfleet_former_stream_hosts": []
    }


@pytest.mark.parametrize("said", ["b.example.net", "c.example.net"])
def test_a_note_of_an_earlier_change_does_not_say_that_this_one_is_done(said: str) -> None:
    """Whether the inventory has the new name already or not."""
    note = {"host": "b.example.net", "former": ["a.example.net"], "kept": [], "since": ""}
    there = host("audio1", stream=said) | {"noted": {"streams": note}}
    renames, variables = names.plan([there], "c.example.net", "b.example.net", UNTIL)
    assert renames == [Rename("audio1", "streams", "c.example.net", "b.example.net")]
    assert variables["audio1"]["before"]["streamfleet_stream_host"] == "c.example.net"
    assert variables["audio1"]["target"]["streamfleet_stream_host"] == "b.example.net"


def test_a_former_name_is_given_up() -> None:
    former = [{"host": "old.example.net", "until": UNTIL}, {"host": "older.example.net", "until": UNTIL}]
    there = host("audio1", stream="new.example.net", former_stream_hosts=former)
    gone, variables = names.release([FLEET[0], there], "old.example.net")
    assert gone == ["old.example.net"]
    assert variables["audio1"]["target"] == {"streamfleet_former_stream_hosts": former[1:]}
    with pytest.raises(DomainError, match=r"There are old.example.net, older.example.net"):
        names.release([there], "new.example.net")
    assert names.release([there], ".example.net")[0] == ["old.example.net", "older.example.net"]


def test_the_target_of_cnames_moves_with_the_names_around_it() -> None:
    panel = host("panel1", "panel.streams.example.net", domain_target="cname.streams.example.net")
    renames, variables = names.plan([panel, FLEET[1]], ".streams.example.net", ".radio.example.org", UNTIL)
    assert [(one.host, one.kind, one.new) for one in renames] == [
        ("panel1", "panel", "panel.radio.example.org"),
        ("panel1", "target", "cname.radio.example.org"),
        ("audio1", "streams", "audio1.radio.example.org"),
    ]
    assert variables["panel1"]["before"]["streamfleet_panel_domain_target"] == "cname.streams.example.net"
    assert variables["panel1"]["before"]["streamfleet_former_domain_targets"] == []
    assert variables["panel1"]["target"] | {"streamfleet_panel_domain_target": "cname.radio.example.org"} == {
        "streamfleet_panel_host": "panel.radio.example.org",
        "streamfleet_former_panel_hosts": [{"host": "panel.streams.example.net", "until": UNTIL}],
        "streamfleet_panel_domain_target": "cname.radio.example.org",
        "streamfleet_former_domain_targets": [{"host": "cname.streams.example.net", "until": UNTIL}],
    }
    # By itself, and back.
    moved = host(
        "panel1", "panel.example.net", domain_target="cname.example.org",
        former_domain_targets=[{"host": "cname.example.net", "until": UNTIL}],
    )  # fmt: skip
    renames, variables = names.plan([moved], "cname.example.org", "cname.example.net", "2027-03-03")
    assert renames == [Rename("panel1", "target", "cname.example.org", "cname.example.net")]
    assert variables["panel1"]["target"] == {
        "streamfleet_panel_domain_target": "cname.example.net",
        "streamfleet_former_domain_targets": [{"host": "cname.example.org", "until": "2027-03-03"}],
    }


def test_the_target_of_cnames_may_be_called_as_the_streams_are() -> None:
    both = host("audio1", "panel.example.net", "audio1.example.net", domain_target="audio1.example.net")
    renames, _variables = names.plan([both], "audio1.example.net", "audio1.example.org", UNTIL)
    assert [one.kind for one in renames] == ["streams", "target"]
    renames, _variables = names.plan(
        [{**both, "domain_target": "c.example.net"}], "c.example.net", "audio1.example.net", ""
    )
    assert [one.kind for one in renames] == ["target"]


@pytest.mark.parametrize("target", ["cname.example.org", ""])
def test_a_former_target_is_given_up_whether_there_is_another_or_none(target: str) -> None:
    former = [{"host": "cname.example.net", "until": UNTIL}, {"host": "older.example.com", "until": UNTIL}]
    there = host("panel1", "panel.example.org", domain_target=target, former_domain_targets=former)
    gone, variables = names.release([there], "cname.example.net")
    assert gone == ["cname.example.net"]
    assert variables == {
        "panel1": {
            "before": {"streamfleet_former_domain_targets": former},
            "target": {"streamfleet_former_domain_targets": former[1:]},
        }
    }


def test_a_name_that_is_served_still_stays_among_those_behind_a_proxy() -> None:
    text = (
        "streamfleet_panel_host: p.example.net\nstreamfleet_certificates_acme_proxied: [p.example.net, q.example.org]\n"
    )
    rename = Rename("panel1", "panel", "p.example.net", "q.example.org")
    after, _said = inventory.edited(text, [rename], {"p.example.net": UNTIL})
    assert yaml.safe_load(after)["streamfleet_certificates_acme_proxied"] == ["p.example.net", "q.example.org"]


def test_an_inventory_is_told_of_the_target() -> None:
    text = "streamfleet_panel_host: panel.example.net\nstreamfleet_panel_domain_target: cname.example.net\n"
    rename = Rename("panel1", "target", "cname.example.net", "cname.example.org")
    after, said = inventory.edited(text, [rename], {"cname.example.net": UNTIL})
    assert said == {rename}
    assert yaml.safe_load(after) == {
        "streamfleet_panel_host": "panel.example.net",
        "streamfleet_panel_domain_target": "cname.example.org",
        "streamfleet_former_domain_targets": [{"host": "cname.example.net", "until": UNTIL}],
    }
    assert inventory.by_hand(rename, UNTIL) == (
        "panel1: streamfleet_panel_domain_target: cname.example.org, streamfleet_former_domain_targets: "
        f'[{{host: cname.example.net, until: "{UNTIL}"}}]'
    )
    assert "former" not in inventory.released(after, ["cname.example.net"])


def test_former_names_are_kept_to_the_end_of_their_day() -> None:
    entries = [{"host": "a.example.net", "until": "2026-11-28"}, {"host": "b.example.net", "until": "2026-11-27"}]
    assert streamfleet_kept(entries, NOW) == ["a.example.net"]
    assert streamfleet_kept([{"host": "a.example.net", "until": NOW.date()}], NOW) == ["a.example.net"]
    # A name that is the current one again is no former one.
    assert set(streamfleet_kept_days(entries, NOW)) == {"a.example.net"}
    assert streamfleet_kept_days(entries, NOW, "a.example.net") == {}
    for bad in ({"host": "a.example.net"}, {"host": "a.example.net", "until": "soon"}, "a.example.net"):
        with pytest.raises(AnsibleFilterError, match="must have host, a host name, and until"):
            streamfleet_kept([bad], NOW)  # type: ignore[list-item]


# The inventory's files

HOSTS = """\
all:
  children:
    streamfleet_nodes:
      hosts:
        audio1:
          ansible_host: audio1.streams.example.net
          streamfleet_stream_host: audio1.streams.example.net  # see DNS
        audio2:
          streamfleet_stream_host: xaudio1.streams.example.net
    icecast:
      hosts:
        audio1:
"""


def test_only_the_variables_lines_change_and_the_old_name_is_kept_beside_them() -> None:
    rename = Rename("audio1", "streams", "audio1.streams.example.net", "a.example.org")
    after, done = inventory.edited(HOSTS, [rename], {rename.old: UNTIL})
    assert done == {rename}
    assert inventory.difference({"hosts.yml": (HOSTS, after)}).splitlines()[2:] == [
        "@@ -4,7 +4,9 @@",
        "       hosts:",
        "         audio1:",
        "           ansible_host: audio1.streams.example.net",
        "-          streamfleet_stream_host: audio1.streams.example.net  # see DNS",
        "+          streamfleet_stream_host: a.example.org  # see DNS",
        "+          streamfleet_former_stream_hosts:",
        '+            - {host: audio1.streams.example.net, until: "2027-02-26"}',
        "         audio2:",
        "           streamfleet_stream_host: xaudio1.streams.example.net",
        "     icecast:",
    ]
    again, _done = inventory.edited(after, [rename], {rename.old: UNTIL})
    assert again == after


def test_moved_back_and_given_up_the_file_says_so() -> None:
    forward = Rename("audio1", "streams", "audio1.streams.example.net", "a.example.org")
    back = Rename("audio1", "streams", "a.example.org", "audio1.streams.example.net")
    after, _done = inventory.edited(HOSTS, [forward], {forward.old: UNTIL})
    returned, _done = inventory.edited(after, [back], {back.old: UNTIL})
    assert "streamfleet_stream_host: audio1.streams.example.net  # see DNS" in returned
    assert [entry["host"] for entry in _audio1(returned)["streamfleet_former_stream_hosts"]] == ["a.example.org"]
    assert inventory.released(returned, ["a.example.org"]) == HOSTS
    assert inventory.released(returned, ["other.example.org"]) == returned


def _audio1(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["all"]["children"]["streamfleet_nodes"]["hosts"]["audio1"]
    return found


@pytest.mark.parametrize("name", ["demo", "production", "staging"])
def test_the_shipped_inventories_say_what_is_planned_once_they_are_patched(name: str, tmp_path: Path) -> None:
    folder = ROOT / "inventories" / name
    old, new = ("panel.demo.localhost" if name == "demo" else _panel(folder)), "panel.example.org"
    rename = Rename("panel1", "panel", old, new)
    path = folder / "group_vars" / "all" / "main.yml"
    after, done = inventory.edited(path.read_text(), [rename], {old: UNTIL})
    assert done == {rename}
    (tmp_path / "main.yml").write_text(path.read_text())
    patch = inventory.difference({"main.yml": (path.read_text(), after)})
    subprocess.run(["patch", "-p1"], cwd=tmp_path, input=patch, text=True, check=True, capture_output=True)
    said = yaml.safe_load((tmp_path / "main.yml").read_text())
    assert said["streamfleet_panel_host"] == new
    assert said["streamfleet_former_panel_hosts"] == [{"host": old, "until": UNTIL}]
    assert old not in str({key: value for key, value in said.items() if key != "streamfleet_former_panel_hosts"})


def _panel(folder: Path) -> str:
    return str(yaml.safe_load((folder / "group_vars" / "all" / "main.yml").read_text())["streamfleet_panel_host"])


@pytest.mark.parametrize(
    "text",
    [
        'streamfleet_stream_host: "stream.{{ domain }}"\n',
        "audio1: {streamfleet_stream_host: old.example.net}\n",
        "[nodes]\naudio1 streamfleet_stream_host=old.example.net\n",
    ],
)
def test_what_cannot_be_edited_is_left_and_said(text: str) -> None:
    rename = Rename("audio1", "streams", "old.example.net", "new.example.net")
    assert inventory.edited(text, [rename], {rename.old: UNTIL}) == (text, set())
    assert inventory.by_hand(rename, UNTIL) == (
        "audio1: streamfleet_stream_host: new.example.net, streamfleet_former_stream_hosts: "
        '[{host: old.example.net, until: "2027-02-26"}]'
    )


# The journal

CHANGE = {"from": "old.example.net", "to": "new.example.net", "until": UNTIL, "hosts": {"audio1": {}}}
ONE, TWO = Holder("one", "boot 1 1"), Holder("two", "boot 2 2")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "domain_change")


def begin(
    journal: Journal, holder: Holder, *, now: datetime = NOW, take_over: bool = False, **more: Any
) -> dict[str, Any]:
    return journal.begin(holder, {**CHANGE, **more}, take_over=take_over, now=now)


def noted(host: str, old: str) -> dict[str, Any]:
    kept = [{"host": old, "until": UNTIL}] if old else []
    return {"panel": {"host": host, "old": old, "kept": kept}}


def test_two_runs_do_not_work_at_once(journal: Journal) -> None:
    assert begin(journal, ONE)["resumed"] is False
    journal.step("one", "web", NOW)
    with pytest.raises(DomainError, match=r"wrote 60 seconds ago that it is at the step 'web'. Wait for it"):
        begin(journal, TWO, now=NOW + timedelta(minutes=1))
    with pytest.raises(DomainError, match="Wait for it"):
        journal.take_back(TWO, take_over=False, now=NOW + timedelta(minutes=1))
    journal.step("one", "end", NOW, "finished")
    assert begin(journal, TWO, now=NOW + timedelta(minutes=1))["resumed"] is False


@pytest.mark.parametrize(("late", "take_over"), [(timedelta(minutes=1), True), (LEASE + timedelta(seconds=1), False)])
def test_what_a_dead_run_has_left_is_gone_on_with_as_it_meant_it(
    journal: Journal, late: timedelta, take_over: bool
) -> None:
    begin(journal, ONE)
    found = begin(journal, TWO, now=NOW + late, take_over=take_over, until="2028-01-01", hosts={})
    assert (found["resumed"], found["until"], found["hosts"]) == (True, UNTIL, {"audio1": {}})
    with pytest.raises(DomainError, match="another run has taken this change over"):
        journal.step("one", "panel", NOW)


def test_another_change_waits_for_an_unfinished_one(journal: Journal) -> None:
    begin(journal, ONE)
    journal.step("one", "web", NOW, "stuck")
    with pytest.raises(DomainError) as error:
        begin(journal, TWO, to="else.example.net")
    assert "Finish it: domain_change.yml -e 'domain_change_from=old.example.net domain_change_to=new.ex" in str(
        error.value
    )
    assert journal.take_back(TWO, take_over=False, now=NOW)["state"] == "returning"


def test_nothing_is_taken_back_where_nothing_is_unfinished(journal: Journal) -> None:
    with pytest.raises(DomainError, match=r"no change of names is unfinished. To go back from one"):
        journal.take_back(ONE, take_over=False, now=NOW)
    begin(journal, ONE)
    journal.step("one", "end", NOW, "finished")
    with pytest.raises(DomainError, match=r"The last one, from old.example.net to new.example.net, is finished\."):
        journal.take_back(ONE, take_over=False, now=NOW)


def test_check_mode_writes_nothing(journal: Journal) -> None:
    assert journal.begin(ONE, CHANGE, take_over=False, now=NOW, write=False)["state"] == "changing"
    assert journal.record(noted("b.example.net", "a.example.net"), NOW, write=False) is True
    assert not journal.folder.exists()


def test_what_a_host_was_called_is_remembered(journal: Journal) -> None:
    assert journal.record(noted("b.example.net", "a.example.net"), NOW) is True
    assert journal.record(noted("b.example.net", "a.example.net"), NOW) is False
    assert journal.record(noted("a.example.net", "b.example.net"), NOW) is True
    assert journal.names()["panel"]["host"] == "a.example.net"
    assert journal.names()["panel"]["former"] == ["b.example.net"]
    # A name that is given up, and no move.
    assert journal.record(noted("a.example.net", ""), NOW + timedelta(days=9)) is True
    assert journal.names()["panel"] == {
        "host": "a.example.net", "former": ["b.example.net"], "kept": [], "since": "2026-11-28T12:00:00+00:00",
    }  # fmt: skip
    assert (journal.folder.stat().st_mode & 0o777, (journal.folder / "names.json").stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )


def test_no_name_is_changed_while_an_upgrade_is_under_way(journal: Journal) -> None:
    upgrade = journal.folder.parent / "upgrade"
    upgrade.mkdir()
    (upgrade / "journal.json").touch()
    with pytest.raises(DomainError, match=r"upgrade is under way.*upgrade\.yml"):
        journal.take_back(Holder("r1"), take_over=True, now=NOW)
    assert not (journal.folder / "journal.json").exists()


def test_a_run_of_this_controller_is_known_to_be_gone() -> None:
    assert gone(where(os.getpid())) is False
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        holder = where(process.pid)
        assert gone(holder) is False
    assert gone(holder) is True
    # Of another controller, or of nobody, nothing is known.
    assert gone(f"other {holder.split()[1]} 1") is False
    assert gone("") is False


# Where a name leads


@pytest.mark.parametrize(
    ("name", "proxied", "said"),
    [
        ("localhost", [], "localhost leads to"),
        ("nowhere.invalid", [], "nowhere.invalid does not resolve"),
        ("nowhere.invalid", ["nowhere.invalid"], ""),
    ],
)
def test_a_name_is_asked_about_before_there_is_a_client(name: str, proxied: list[str], said: str) -> None:
    settings = {"addresses": [], "fleet": [], "http_port": 80, "proxied": proxied, "resolvers": []}
    program = ROOT / "roles" / "certificates" / "files" / "streamfleet_acme" / "here.py"
    order = json.dumps({"hosts": [name], "settings": settings, "acme": False})
    done = subprocess.run(
        [sys.executable, "-", order, "/nonexistent"],
        input=program.read_text(), capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert done.stdout.startswith(said) if said else done.stdout == ""


# What the playbooks make of former names

WIRING = """
- name: Show what is made of former names
  hosts: n1
  connection: local
  gather_facts: false
  vars_files: [{root}/playbooks/vars/wiring.yml]
  vars: {{playbook_dir: {root}/playbooks}}
  tasks:
    - name: Show
      ansible.builtin.copy:
        dest: {out}
        mode: "0600"
        content: >-
          {{{{ {{'certificates': _streamfleet_certificates_here | map(attribute='name') | list,
                'over': _streamfleet_names_over_here, 'note': _streamfleet_names_to_note_here,
                'panel': _streamfleet_former_panel_hosts_here, 'streams': _streamfleet_former_stream_hosts_here,
                'targets': _streamfleet_former_domain_targets_here, 'days': _streamfleet_former_panel_days_here,
                'fleet': _streamfleet_fleet}} | to_json }}}}
"""


def kept(*names: str) -> list[dict[str, str]]:
    return [{"host": name, "until": "2999-01-01"} for name in names]


@pytest.mark.parametrize("was_noted", [True, False])
def test_a_former_name_has_a_certificate_until_its_day_is_over(was_noted: bool, tmp_path: Path) -> None:
    """Or until the inventory has it no more. What this host has not served may be a customer's by then."""
    playbook, out, hosts = tmp_path / "wiring.yml", tmp_path / "wiring.json", tmp_path / "hosts.json"
    playbook.write_text(WIRING.format(root=ROOT, out=out))
    noted = {
        "panel": {"host": "panel.example.net", "kept": kept("p.example.net", "panel.example.net")},
        "streams": {"host": "stream.example.net", "kept": kept("over.example.net", "taken-out.example.net")},
        # Of these there are no certificates.
        "target": {"host": "cname.example.net", "kept": kept("c.example.net")},
    }
    variables = {
        "__streamfleet_names_moved": {"names": noted if was_noted else {}},
        "streamfleet_panel_host": "panel.example.net",
        "streamfleet_stream_host": "stream.example.net",
        "streamfleet_former_panel_hosts": [
            {"host": "p.example.net", "until": "2999-01-01"},
            # One that is the panel's again is no former one.
            {"host": "panel.example.net", "until": "2999-01-01"},
        ],
        "streamfleet_former_stream_hosts": [
            {"host": "s.example.net", "until": "2999-01-01"},
            {"host": "over.example.net", "until": "2020-01-01"},
        ],
        "streamfleet_panel_domain_target": "cname.example.net",
        "streamfleet_former_domain_targets": [
            {"host": "t.example.net", "until": "2999-01-01"},
            {"host": "cname.example.net", "until": "2999-01-01"},
            {"host": "ended.example.net", "until": "2020-01-01"},
        ],
    }
    groups = ("streamfleet_panel", "streamfleet_nodes", "icecast")
    inventory_of = {"all": {"children": {group: {"hosts": {"n1": variables}} for group in groups}}}
    hosts.write_text(json.dumps(inventory_of))
    done = forked_ansible.playbook(
        ["-i", str(hosts), "-e", f"ansible_python_interpreter={sys.executable}", str(playbook)]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["certificates"] == ["panel.example.net", "stream.example.net", "p.example.net", "s.example.net"]
    assert (found["panel"], found["streams"], found["over"]) == (
        ["p.example.net"],
        ["s.example.net"],
        ["over.example.net", "taken-out.example.net"] if was_noted else [],
    )
    assert found["targets"] == kept("t.example.net")
    assert found["days"]["p.example.net"] == "2999-01-01"
    assert found["note"] == {
        "panel": {"host": "panel.example.net", "old": "", "kept": kept("p.example.net")},
        "streams": {"host": "stream.example.net", "old": "", "kept": kept("s.example.net")},
        "target": {"host": "cname.example.net", "old": "", "kept": kept("t.example.net")},
    }
    assert {"p.example.net", "s.example.net"} <= set(found["fleet"])
    assert "over.example.net" not in found["fleet"]


STEPS = """\
- name: Begin
  hosts: a:b
  gather_facts: false
  module_defaults: &journal
    streamfleet_domain_change: {folder: FOLDER}
  tasks:
    - name: Begin
      streamfleet_domain_change:
        {state: begun, run: one, from: a.example.net, to: b.example.net, last_day: "2027-03-01"}
      run_once: true

- name: Change
  hosts: a:b
  gather_facts: false
  module_defaults: *journal
  vars_files: [PLAYBOOKS/vars/domain_change.yml]
  vars: {__streamfleet_domain_run: one, _streamfleet_panel_inventory_name: a}
  tasks:
    - name: Step by step
      block:
        - name: Come to the first
          ansible.builtin.import_tasks: PLAYBOOKS/tasks/domain_change_step.yml
          vars: {__streamfleet_domain_step: web}
        - name: Break the one
          ansible.builtin.fail:
            msg: broken
          when: inventory_hostname == broken
        - name: Come to the second
          ansible.builtin.import_tasks: PLAYBOOKS/tasks/domain_change_step.yml
          vars: {__streamfleet_domain_step: panel}
        - name: Go on
          ansible.builtin.debug:
            msg: went on
      rescue:
        - name: Turn
          ansible.builtin.debug:
            msg: "{{ inventory_hostname }} turns, {{ ansible_failed_result.msg }}"
"""


@pytest.mark.parametrize(
    ("broken", "backward", "said", "step"),
    [
        ("a", False, ["a turns, broken", "b turns, a has failed, or cannot be reached any more"], "web"),
        ("b", False, ["b turns, broken", "a turns, b has failed, or cannot be reached any more"], "web"),
        ("a", True, ["a turns, broken", "went on"], "panel"),
        ("none", False, ["went on"], "panel"),
    ],
)
def test_a_step_is_for_all_hosts_forward_and_for_each_backward(
    broken: str, backward: bool, said: list[str], step: str, tmp_path: Path
) -> None:
    play = tmp_path / "play.yml"
    play.write_text(STEPS.replace("PLAYBOOKS", str(ROOT / "playbooks")).replace("FOLDER", str(tmp_path / "journal")))
    given = json.dumps({"broken": broken, "__streamfleet_domain_backward": backward})
    done = run("-i", "a,b,", "-e", given, str(play))
    assert done.returncode == 0, done.stdout + done.stderr
    for text in said:
        assert f'"msg": "{text}"' in done.stdout, done.stdout
    assert ("went on" in done.stdout) is ("went on" in said)
    assert json.loads((tmp_path / "journal" / "journal.json").read_text())["step"] == step


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A playbook's run; hosts without a connection of their own are this machine."""
    return forked_ansible.playbook(
        ["-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", *arguments],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}, timeout=120,
    )  # fmt: skip


def away() -> dict[str, Any]:
    """A host of an inventory that cannot be reached."""
    return {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}


def hosts_file(folder: Path, **hosts: dict[str, Any]) -> str:
    """An inventory; where the playbooks look for hosts, those but ``p`` are nodes."""
    nodes = {name: {} for name in hosts if name != "p"}
    written = folder / "hosts.json"
    written.write_text(json.dumps({"all": {"hosts": hosts, "children": {"streamfleet_nodes": {"hosts": nodes}}}}))
    return str(written)


@pytest.mark.parametrize("backward", [True, False])
def test_where_the_panel_s_host_is_lost_no_other_leaves_the_run(backward: bool, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    steps = yaml.safe_load(STEPS.replace("PLAYBOOKS", str(ROOT / "playbooks")).replace("FOLDER", str(tmp_path)))[1]
    play.write_text(yaml.safe_dump([steps]))
    given = json.dumps(
        {"broken": "none", "__streamfleet_domain_backward": backward, "_streamfleet_panel_inventory_name": "p"}
    )
    done = run("-i", hosts_file(tmp_path, a={}, b={}, p=away()), "-e", given, str(play))
    assert done.returncode == 0, done.stdout + done.stderr
    recap = done.stdout[done.stdout.index("PLAY RECAP") :]
    assert recap.count("unreachable=0") == 2, done.stdout
    for name in ("a", "b"):
        assert (f"{name} turns, p: " in done.stdout) is not backward, done.stdout
    assert done.stdout.count('"went on"') == (2 if backward else 0)


PLAYS = yaml.safe_load((ROOT / "playbooks" / "domain_change.yml").read_text())


def alone(folder: Path, hosts: str, tasks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A play with tasks of domain_change.yml, on this machine; journal and lock are in the folder."""
    text = json.dumps(tasks).replace('"tasks/', f'"{ROOT}/playbooks/tasks/')
    return {
        "name": "Part", "hosts": hosts, "gather_facts": False,
        "vars_files": [f"{ROOT}/playbooks/vars/domain_change.yml"],
        "module_defaults": {
            "streamfleet_domain_change": {"folder": str(folder / "domain_change")},
            "streamfleet_fleet_lock": {"path": str(folder / "lock"), "state_folder": str(folder)},
        },
        "tasks": json.loads(text), **more,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["panel", "streams", "target"])
def test_an_inventory_of_before_is_refused(kind: str, tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROOT / "playbooks" / "tasks" / "names_moved.yml").read_text())
    check = next(task for task in tasks if task["name"] == "Check that the inventory calls it so")
    now = {name: f"{name}.example.org" for name in ("panel", "streams", "target")}
    noted = {
        name: {"host": host, "since": "2026-11-28", "former": [f"{name}.example.net"]} for name, host in now.items()
    }

    def said(**names_said: str) -> str:
        called = now | names_said
        given = {
            "streamfleet_panel_host": called["panel"], "streamfleet_stream_host": called["streams"],
            "streamfleet_panel_domain_target": called["target"], "__streamfleet_names_moved": {"names": noted},
        }  # fmt: skip
        play = alone(tmp_path, "a", [check], vars={"playbook_dir": f"{ROOT}/playbooks"})
        play["vars_files"].append(f"{ROOT}/playbooks/vars/wiring.yml")
        (path := tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
        groups = {group: {"hosts": {"a": {}}} for group in ("streamfleet_panel", "streamfleet_nodes")}
        (hosts := tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": groups}}))
        done = run("-i", str(hosts), "-e", json.dumps(given), str(path))
        return " ".join(done.stdout.split()) if done.returncode else ""

    assert said() == ""
    text = said(**{kind: f"{kind}.example.net"})
    assert f"moved to {kind}.example.org on 2026-11-28." in text
    assert f"domain_change_from={kind}.example.org domain_change_to={kind}.example.net." in text


@pytest.mark.parametrize(
    ("former", "taken"),
    [
        ([{"host": "cname.example.net", "until": "2027-03-01"}], True),
        ([{"host": "*.example.net", "until": "2027-03-01"}], False),
        ([{"host": "cname.example.net", "until": "March"}], False),
    ],
)
def test_former_targets_are_names_with_a_day(former: list[dict[str, str]], taken: bool, tmp_path: Path) -> None:
    role = ROOT / "roles" / "panel"
    check = yaml.safe_load((role / "tasks" / "preflight.yml").read_text())[0]
    play = alone(tmp_path, "a", [check])
    play["vars_files"] = [str(role / "defaults" / "main.yml"), str(role / "vars" / "main.yml")]
    (path := tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    given = {"streamfleet_panel_host": "panel.example.net", "streamfleet_panel_former_domain_targets": former}
    done = run("-i", "a,", "-e", json.dumps(given), str(path))
    assert (done.returncode == 0) is taken, done.stdout
    assert ("streamfleet_panel_former_domain_targets ([" in done.stdout) is not taken


def test_what_the_panel_is_told_of_former_names(tmp_path: Path) -> None:
    role = ROOT / "roles" / "panel"
    render = {
        "name": "Render",
        "ansible.builtin.template": {
            "src": str(role / "templates" / "panel.env.j2"), "dest": str(tmp_path / "panel.env"), "mode": "0600",
        },
    }  # fmt: skip
    play = alone(tmp_path, "a", [render])
    play["vars_files"] = [str(role / "defaults" / "main.yml"), str(role / "vars" / "main.yml")]
    (path := tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    given = {
        "streamfleet_panel_host": "panel.example.org", "_streamfleet_panel_white_label": True,
        "streamfleet_panel_domain_target": "cname.example.org",
        "streamfleet_panel_former_domain_targets": kept("cname.example.net", "c.example.com"),
        "streamfleet_panel_former_hosts": ["panel.example.net", "p.example.com"],
        "streamfleet_panel_former_days": {"panel.example.net": "2999-01-01"},
    }  # fmt: skip
    done = run("-i", "a,", "-e", json.dumps(given), str(path))
    assert done.returncode == 0, done.stdout
    lines = (tmp_path / "panel.env").read_text().splitlines()
    assert "STREAMFLEET_PANEL_DOMAIN_TARGET='cname.example.org'" in lines
    former = "cname.example.net=2999-01-01,c.example.com=2999-01-01"
    assert f"STREAMFLEET_PANEL_FORMER_DOMAIN_TARGETS='{former}'" in lines
    assert "STREAMFLEET_PANEL_FORMER_HOSTS='panel.example.net=2999-01-01,p.example.com='" in lines


#: In place of the role's: names lead to every host but one, which fails or cannot be reached.
LEADS = """\
- name: Ask where they lead
  ansible.builtin.command: "{{ 'false' if inventory_hostname == broken else 'true' }}"
  changed_when: false
"""
#: Of what is looked at before a change begins: some that a run may be refused by, on one host for all and on each.
LOOKED = (
    "Have the fleet for this run",
    "Check that there is something to take back",
    "Check that the new names lead here",
)


@pytest.mark.parametrize(
    ("undo", "broken", "said"),
    [
        (False, "none", ""),
        (True, "none", "no change of names is unfinished"),
        (False, "b", "non-zero return code"),
        (False, "away", "UNREACHABLE"),
    ],
)
def test_where_a_change_may_not_begin_others_may_work_again(undo: bool, broken: str, said: str, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    (tasks := tmp_path / "roles" / "certificates" / "tasks").mkdir(parents=True)
    (tasks / "leads_here.yml").write_text(LEADS)
    *before, whole = PLAYS[0]["tasks"]
    assert [task["name"] for task in before] == ["Check what is asked for"]
    names = [task["name"] for task in whole["block"]]
    begins = names.index("Have the fleet until the change is made")
    assert set(LOOKED) <= set(names[:begins])
    part = {
        **whole, "block": [task for n, task in enumerate(whole["block"]) if n >= begins or task["name"] in LOOKED]
    }  # fmt: skip
    play.write_text(yaml.safe_dump([alone(tmp_path, "a:b", [part], any_errors_fatal=True)]))
    given: dict[str, Any] = {"release": "", "undo": undo, "take_over": False, "hosts": {}, "left": {"journal": None}}
    given |= {"from": "a.example.net", "to": "b.example.net", "last_day": UNTIL, "run": "one", "moves": True}
    given |= {"new_certificates": []}
    variables = {f"__streamfleet_domain_{name}": value for name, value in given.items()}
    variables |= {"_streamfleet_panel_inventory_name": "a", "broken": broken}
    hosts = hosts_file(tmp_path, a={}, b=away() if broken == "away" else {})
    done = run("-i", hosts, "-e", json.dumps(variables), str(play))
    assert (done.returncode == 0) is (not said), done.stdout
    assert said in done.stdout
    assert done.stdout.count("Have the fleet's lock") == (1 if said else 2), done.stdout
    assert bool((tmp_path / "lock").read_text()) is (not said), done.stdout
    # Nothing is begun on one of them alone.
    assert (tmp_path / "domain_change" / "journal.json").exists() is (not said)


#: In place of the role's: what each host says of where a name leads; a test's host may not be asked.
LEADS_SAID = """\
- name: Ask where they lead
  ansible.builtin.set_fact:
    __streamfleet_certificates_lead:
      stdout: "{{ said[inventory_hostname] | replace('NAME', streamfleet_certificates_names[0].name) }}"
- name: Check that nobody else judges
  ansible.builtin.assert:
    that: not __streamfleet_certificates_must_lead and streamfleet_certificates_acme_challenge == 'dns-01'
"""


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"a": "", "b": ""}, False),
        ({"a": "NAME leads to 192.0.2.2", "b": ""}, False),
        ({"a": "NAME leads to 192.0.2.9", "b": "NAME does not resolve"}, True),
    ],
)
def test_a_target_must_lead_to_some_node(said: dict[str, str], refused: bool, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    (tasks := tmp_path / "roles" / "certificates" / "tasks").mkdir(parents=True)
    (tasks / "leads_here.yml").write_text(LEADS_SAID)
    task = next(
        t for t in PLAYS[0]["tasks"][1]["block"] if t["name"] == "Check that the new target of CNAMEs leads to a node"
    )
    play.write_text(yaml.safe_dump([alone(tmp_path, "p:a:b", [task])]))
    rename = {"old": "cname.example.net", "new": "cname.example.org"}
    given = {
        "__streamfleet_domain_hosts": {"p": {"renames": {"target": rename}}, "a": {"renames": {}}},
        "__streamfleet_domain_undo": False, "_streamfleet_others_here": [], "said": said,
    }  # fmt: skip
    nodes = {name: {"_streamfleet_is_node": True} for name in said}
    inventory_of = {
        "all": {"hosts": {"p": {"_streamfleet_is_node": False}}, "children": {"streamfleet_nodes": {"hosts": nodes}}}
    }
    (hosts := tmp_path / "nodes.json").write_text(json.dumps(inventory_of))
    done = run("-i", str(hosts), "-e", json.dumps(given), str(play))
    assert (done.returncode != 0) is refused, done.stdout
    text = " ".join(done.stdout.split())
    name = "streamfleet-check.cname.example.org"
    assert (f"and {name} leads to no node of this run." in text) is refused, done.stdout
    assert (f"a: {name} leads to 192.0.2.9; b: {name} does not resolve" in text) is refused, done.stdout
    # Where no target moves nobody is asked.
    given["__streamfleet_domain_hosts"] = {"a": {"renames": {"streams": rename}}}
    done = run("-i", str(hosts), "-e", json.dumps(given), str(play))
    assert done.returncode == 0
    assert "Ask where they lead" not in done.stdout


#: In place of the module: the disk of one host is as full as the test says.
DISKS = """\
#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"free": {"type": "int", "required": True}}, supports_check_mode=True)
module.exit_json(ansible_facts={"streamfleet_host": {"free_mb": {"/": module.params["free"]}}})
"""


@pytest.mark.parametrize(("free", "begun"), [(99, False), (100, True)])
def test_a_change_begins_on_no_host_where_one_has_no_room(free: int, begun: bool, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    (modules := tmp_path / "library").mkdir()
    (modules / "streamfleet_host_facts.py").write_text(DISKS)
    whole = PLAYS[0]["tasks"][1]
    looked = ["Have the fleet for this run", "Look at the hosts", "Check the disk", "Begin"]
    tasks = [task for task in whole["block"] if task["name"] in looked]
    assert [task["name"] for task in tasks] == looked
    tasks[1] = {**tasks[1], "streamfleet_host_facts": {"free": "{{ free if inventory_hostname == 'b' else 5000 }}"}}
    tasks.append({"name": "Note", "ansible.builtin.set_fact": {"__streamfleet_domain_begun": True}})
    play.write_text(yaml.safe_dump([alone(tmp_path, "a:b", [{**whole, "block": tasks}], any_errors_fatal=True)]))
    given: dict[str, Any] = {"release": "", "undo": False, "take_over": False, "hosts": {}, "run": "one"}
    given |= {"from": "a.example.net", "to": "b.example.net", "last_day": UNTIL}
    variables = {f"__streamfleet_domain_{name}": value for name, value in given.items()}
    variables |= {"_streamfleet_panel_inventory_name": "a", "free": free}
    done = run("-i", hosts_file(tmp_path, a={}, b={}), "-e", json.dumps(variables), str(play))
    assert (done.returncode == 0) is begun, done.stdout
    assert (f"b has {free} MB of free disk; certificates and configuration need 100." in done.stdout) is not begun
    assert (tmp_path / "domain_change" / "journal.json").exists() is begun
    assert bool((tmp_path / "lock").read_text()) is begun


def test_where_a_change_cannot_be_turned_round_all_hosts_say_so(tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    (journal := Journal(tmp_path / "domain_change")).begin(
        Holder("another"), CHANGE, take_over=False, now=datetime.now(UTC)
    )
    say = {
        "name": "Say",
        "ansible.builtin.debug": {"msg": "{{ inventory_hostname }}: {{ __streamfleet_domain_stuck }}"},
    }
    play.write_text(yaml.safe_dump([alone(tmp_path, "a:b", PLAYS[2]["tasks"]), alone(tmp_path, "a:b", [say])]))
    variables = {
        "_streamfleet_panel_inventory_name": "p", "__streamfleet_domain_faults": ["a: broken"],
        "__streamfleet_domain_run": "one", "__streamfleet_domain_hosts": {}, "__streamfleet_domain_backward": False,
    }  # fmt: skip
    hosts = hosts_file(tmp_path, a={}, b={}, p={})
    done = run("-i", hosts, "-e", json.dumps(variables), str(play))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("a", "b"):
        assert f'"{name}: Check that the change is being taken back: p: A change of names' in done.stdout, done.stdout
    assert (journal.unfinished() or {})["state"] == "changing"


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("earlier", [False, True])
def test_the_panel_is_told_of_former_names_that_are_given_up(earlier: bool, backward: bool, tmp_path: Path) -> None:
    former = kept("older.example.net", "old.example.net")
    there = host("a", stream="new.example.net", former_stream_hosts=former)
    panel = host("b", panel="p.example.net", former_panel_hosts=kept("o.old.example.net"))
    _gone, variables = names.release([there, panel], ".old.example.net")
    assert set(variables) == {"b"}
    variables |= names.release([there], "old.example.net")[1]
    tasks = yaml.safe_load((ROOT / "playbooks" / "tasks" / "domain_change_tell.yml").read_text())
    asked = next(task for task in tasks if "streamfleet_apply" in task)
    say = {"name": "Say", "ansible.builtin.debug": {"msg": asked["streamfleet_apply"]["document"]}}
    (play := tmp_path / "play.yml").write_text(yaml.safe_dump([alone(tmp_path, "a", [{**say, "when": asked["when"]}])]))
    hosts = {name: {**one, "renames": {}} for name, one in variables.items()}
    # As streamfleet_node_info has it; a panel of an earlier release refuses the field that it does not show.
    node = {"name": "a", "former_stream_hosts": [], **({} if earlier else {"former_stream_days": {}})}
    given = {
        "__streamfleet_domain_hosts": hosts, "__streamfleet_domain_backward": backward,
        "__streamfleet_domain_known": {"nodes": [node]},
    }  # fmt: skip
    done = run("-i", "a,", "-e", json.dumps(given), str(play))
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout[done.stdout.index("{") : done.stdout.index("PLAY RECAP")])["msg"]
    served = ["older.example.net", *(["old.example.net"] if backward else [])]
    days = {} if earlier else {"former_stream_days": dict.fromkeys(served, "2999-01-01")}
    assert said == {"nodes": [{"name": "a", "former_stream_hosts": served, **days}]}


@pytest.mark.parametrize(("undo", "leaves"), [(True, False), (False, False), (False, True)])
def test_a_panel_of_an_earlier_release_does_not_say_where_domains_lead(
    undo: bool, leaves: bool, tmp_path: Path
) -> None:
    """It passes over the filter, and its domains have no CNAME: the way back goes on, what is given up needs a yes."""
    tasks = yaml.safe_load((ROOT / "playbooks" / "tasks" / "domain_change_deserted.yml").read_text())
    asked = {"domains": [{"media_service": "ada-fm", "name": "radio.example.com", "checked_at": None}]}
    given = {
        "__streamfleet_domain_led": {"results": [asked]},
        "__streamfleet_domain_led_to_the_panel": {"results": [{"panel_domains": []}]},
        "__streamfleet_domain_undo": undo, "__streamfleet_domain_leave_domains": leaves,
    }  # fmt: skip
    (play := tmp_path / "play.yml").write_text(yaml.safe_dump([alone(tmp_path, "a", tasks[2:])]))
    done = run("-i", "a,", "-e", json.dumps(given), str(play))
    said = " ".join(done.stdout.split())
    assert (done.returncode == 0) == (undo or leaves), said
    left = "radio.example.com of the service ada-fm (this panel, of an earlier release, does not know where it leads)"
    assert (left in said) == (not undo), said


#: In place of each role: says which of the host's names it was given.
ROLE = """\
- name: Say
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} NAME: {{ names | join(' ') }}."
  vars:
    names: "{{ streamfleet_certificates_dropped | default(streamfleet_web_stream_former_hosts) }}"
"""


@pytest.mark.parametrize(("kind", "dropped"), [("streams", False), ("panel", True)])
def test_what_the_panel_may_still_tell_is_served_on_all_hosts(kind: str, dropped: bool, tmp_path: Path) -> None:
    """Going back with a panel that does not answer; which need not be told where its own name alone was changed."""
    for role in ("certificates", "web", "fail2ban"):
        (tasks := tmp_path / "roles" / role / "tasks").mkdir(parents=True)
        (tasks / "main.yml").write_text(ROLE.replace("NAME", role) if role != "fail2ban" else "[]")
        for part in ("order", "self_check"):
            (tasks / f"{part}.yml").write_text("[]")
    hosts = {
        name: {
            "before": {"streamfleet_stream_host": f"{name}.old", "streamfleet_former_stream_hosts": []},
            "target": {"streamfleet_former_stream_hosts": []} if kind == "streams" else {},
            "renames": {kind: {"old": f"{name}.old", "new": f"{name}.new"}},
        }
        for name in ("a", "b")
    }  # fmt: skip
    wiring = {
        "certificates_here": [], "stream_host_here": "", "former_stream_hosts_here": [], "panel_host_here": "",
        "panel_alt_names_here": [], "former_panel_hosts_here": [], "default_host_here": "", "is_panel": False,
        "has_file_transfer": False, "engines_named_here": [], "hardening_here": [], "local_url": f"http://127.0.0.1:{free_port()}",
        "panel_inventory_name": "p",
    }  # fmt: skip
    variables = {f"_streamfleet_{name}": value for name, value in wiring.items()} | {
        "__streamfleet_domain_hosts": hosts, "__streamfleet_domain_backward": True, "__streamfleet_domain_run": "one",
        "__streamfleet_domain_token": {"content": "eA=="}, "__streamfleet_domain_noted": {"names": {}},
    }  # fmt: skip
    steps = yaml.safe_load((ROOT / "playbooks" / "tasks" / "domain_change.yml").read_text())
    names = [step["name"] for step in steps]
    part = [
        step
        for step in steps[names.index("Have the web server lead on from former names") :]
        if "domain_change_step" not in step.get("ansible.builtin.import_tasks", "")
    ]
    said = "{{ inventory_hostname }} failed: {{ ansible_failed_task.name }}"
    fails = {"name": "Fail", "ansible.builtin.debug": {"msg": said}}
    block = [{"name": "Step by step", "block": part, "rescue": [fails]}]
    text = yaml.safe_dump([alone(tmp_path, "a:b", block)])
    (play := tmp_path / "play.yml").write_text(
        text.replace(" domain_change_", f" {ROOT}/playbooks/tasks/domain_change_")
    )
    here = {"__streamfleet_domain_at": "services"}
    inventory = hosts_file(
        tmp_path, a={**here, "streamfleet_stream_host": "a.old"}, b={**here, "streamfleet_stream_host": "b.old"}, p={}
    )
    done = run("-i", inventory, "-e", json.dumps(variables), str(play))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("a", "b"):
        assert (f"{name} certificates: {name}.new." in done.stdout) is dropped, done.stdout
        assert (f"{name} web: {name}.new." in done.stdout.split("Have nodes and customers told")[0]) is not dropped
        assert "Have the web server drop" not in done.stdout, done.stdout
    if not dropped:
        assert "a failed: Tell the panel of the streams' names" in done.stdout, done.stdout
        assert "b failed: Check that the panel tells nobody of what is dropped" in done.stdout


#: In place of the roles' parts: what each host has and drops, and a verification that fails on one.
GIVEN_UP = {
    "certificates/tasks/main.yml": """\
- name: Say
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} has {{ has }}; drops {{ drops }}."
  vars:
    drops: "{{ streamfleet_certificates_dropped | default([]) | join(' ') }}"
    has: "{{ streamfleet_certificates_names | map(attribute='name') | join(' ') }}"
""",
    "certificates/tasks/order.yml": """\
- name: Say
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} orders."
""",
    "web/tasks/self_check.yml": """\
- name: Ask
  ansible.builtin.fail:
    msg: no answer
  when: inventory_hostname == broken
""",
}


@pytest.mark.parametrize("broken", ["b", "none"])
def test_certificates_of_names_that_are_given_up_go_when_all_hosts_are_verified(broken: str, tmp_path: Path) -> None:
    """And come back with the names, for a host may have come as far as to take them away."""
    for file, role in GIVEN_UP.items():
        (path := tmp_path / "roles" / file).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(role)
    former = "streamfleet_former_stream_hosts"
    hosts = {
        name: {"before": {former: kept(f"{name}.old")}, "target": {former: []}, "renames": {}} for name in ("a", "b")
    }
    variables = {
        "broken": broken, "__streamfleet_domain_hosts": hosts, "__streamfleet_domain_run": "one",
        "_streamfleet_panel_inventory_name": "a", "_streamfleet_certificates_here": [{"name": "n.example.net"}],
    }  # fmt: skip
    steps = yaml.safe_load((ROOT / "playbooks" / "tasks" / "domain_change.yml").read_text())
    names = [step["name"] for step in steps]
    begin = {
        "name": "Begin", "run_once": True,
        "streamfleet_domain_change": {
            "state": "begun", "run": "one", "from": "a.old", "to": "", "last_day": "2027-03-01", "hosts": hosts,
        },
    }  # fmt: skip
    turn = {"name": "Turn round", "ansible.builtin.set_fact": {"__streamfleet_domain_backward": True}}
    forward = {"name": "Forward", "ansible.builtin.set_fact": {"__streamfleet_domain_backward": False}}
    block = {
        "name": "Step by step",
        "block": steps[names.index("Come to the verification") :],
        "rescue": [turn, *steps[: names.index("Come to the web server")]],
    }
    text = yaml.safe_dump([alone(tmp_path, "a:b", [begin, forward, block])])
    (play := tmp_path / "play.yml").write_text(
        text.replace(" domain_change_", f" {ROOT}/playbooks/tasks/domain_change_")
    )
    done = run("-i", hosts_file(tmp_path, a={}, b={}), "-e", json.dumps(variables), str(play))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("a", "b"):
        assert (f"{name} has n.example.net; drops {name}.old." in done.stdout) is (broken == "none"), done.stdout
        assert (f"{name} has n.example.net; drops ." in done.stdout) is (broken == "b"), done.stdout
        assert (f"{name} orders." in done.stdout) is (broken == "b"), done.stdout


@pytest.mark.parametrize("by_an_earlier_run", [True, False])
def test_a_host_has_moved_where_it_is_planned_so_and_not_where_a_note_says_so(
    by_an_earlier_run: bool, tmp_path: Path
) -> None:
    """The note may be of a change before the last one."""
    old, new = "c.example.net", "b.example.net"
    here = {
        "before": {"streamfleet_stream_host": new if by_an_earlier_run else old},
        "target": {"streamfleet_stream_host": new},
        "renames": {"streams": {"old": old, "new": new}},
    }
    given = {
        "__streamfleet_domain_hosts": {"a": here}, "expected": by_an_earlier_run,
        "__streamfleet_domain_noted": {"names": {"streams": {"host": new, "former": ["a.example.net"], "kept": []}}},
    }  # fmt: skip
    check = {
        "name": "Check", "ansible.builtin.assert": {"that": "__streamfleet_domain_moved == expected"},
    }  # fmt: skip
    (play := tmp_path / "play.yml").write_text(yaml.safe_dump([alone(tmp_path, "a", [check])]))
    done = run("-i", "a,", "-e", json.dumps(given), str(play))
    assert done.returncode == 0, done.stdout + done.stderr


#: In place of an engine's: what it would write.
ENGINE = """\
- name: Write
  ansible.builtin.copy:
    content: "{{ streamfleet_stream_host }}"
    dest: "{{ folder }}/engine.conf"
    mode: "0600"
  register: written

- name: Say what
  ansible.builtin.set_fact:
    __streamfleet_engine_names_written:
      paths: "{{ [folder ~ '/engine.conf'] if written is changed else [] }}"
"""


@pytest.mark.parametrize("same", [True, False])
def test_a_host_whose_engine_has_something_else_is_refused_and_left_as_it_is(same: bool, tmp_path: Path) -> None:
    """Going back would not bring it: that writes what the inventory says."""
    for role, part, text in (("web", "configure", "[]"), ("engine", "names", ENGINE)):
        (tasks := tmp_path / "roles" / role / "tasks").mkdir(parents=True)
        (tasks / f"{part}.yml").write_text(text)
    (configuration := tmp_path / "engine.conf").write_text("old.example.net" if same else "older.example.net")
    configuration.chmod(0o600)
    before = configuration.read_text()
    names_here = ("stream", "panel")
    given = {
        "folder": str(tmp_path),
        "__streamfleet_domain_here": {"before": {"streamfleet_stream_host": "old.example.net"}},
        "__streamfleet_domain_noted": {"names": {}},
        "__streamfleet_web_written": {"paths": []},
        "_streamfleet_is_panel": False,
        "_streamfleet_engines_named_here": ["engine"],
        "_streamfleet_panel_alt_names_here": [],
        "_streamfleet_default_host_here": "",
        **{f"_streamfleet_{name}_host_here": "" for name in names_here},
        **{f"_streamfleet_former_{name}_hosts_here": [] for name in names_here},
    }
    tasks_of = yaml.safe_load((ROOT / "playbooks" / "tasks" / "domain_change_compare.yml").read_text())
    (play := tmp_path / "play.yml").write_text(yaml.safe_dump([alone(tmp_path, "a", tasks_of)]))
    done = run("-i", "a,", "-e", json.dumps(given), str(play))
    said = " ".join(done.stdout.split())
    assert (done.returncode == 0) is same, said
    assert (f"make of it: {configuration} would change, whatever it is called." in said) is not same, said
    assert configuration.read_text() == before


@pytest.mark.parametrize(("groups", "named"), [(("icecast", "nginx_rtmp"), ["nginx_rtmp"]), (("icecast",), [])])
def test_engines_with_names_in_their_own_configuration_are_those_that_say_so(
    groups: tuple[str, ...], named: list[str], tmp_path: Path
) -> None:
    for name in ("engines.yml", "roles"):
        (tmp_path / name).symlink_to(ROOT / name)
    (folder := tmp_path / "playbooks").mkdir()
    show = {
        "name": "Show",
        "ansible.builtin.debug": {"msg": "These: {{ _streamfleet_engines_named_here | join(' ') }}."},
    }
    play = alone(tmp_path, "a", [show])
    play["vars_files"] = [f"{ROOT}/playbooks/vars/wiring.yml"]
    (path := folder / "play.yml").write_text(yaml.safe_dump([play]))
    children = {group: {"hosts": {"a": {}}} for group in ("streamfleet_nodes", *groups)}
    (hosts := tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": children}}))
    done = run("-i", str(hosts), str(path))
    assert done.returncode == 0, done.stdout
    assert f"These: {' '.join(named)}." in done.stdout, done.stdout
