"""install.yml refuses engines of one host that want the same port, before it does anything."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from streamfleet.engine import load_renderer

from scripts import forked_ansible

ROOT = Path(__file__).resolve().parents[2]
VIDEO = {"nginx_rtmp": "Nginx RTMP", "wowza": "Wowza Streaming Engine", "flussonic": "Flussonic Media Server"}


PAIRS = {
    f"{first}-{second}.invalid".replace("_", ""): (first, second) for first, second in itertools.combinations(VIDEO, 2)
}


def checked(folder: Path, hosts: Mapping[str, Iterable[str]], **variables: Any) -> str:
    """What install.yml says of hosts with these engines, up to where it would reach them: their names are nobody's."""
    names = {"streamfleet_panel_host": "panel.example.net", "streamfleet_stream_host": "stream.example.net"}
    groups: dict[str, dict[str, Any]] = {
        group: {"hosts": {host: {} for host, engines in hosts.items() if group not in VIDEO or group in engines}}
        for group in ("streamfleet_panel", "streamfleet_nodes", *VIDEO)
    }
    (folder / "hosts.json").write_text(json.dumps({"all": {"vars": {**names, **variables}, "children": groups}}))
    done = forked_ansible.playbook(
        ["-i", str(folder / "hosts.json"), "playbooks/install.yml", "--check", "--tags", "none"]
    )
    return " ".join((done.stdout + done.stderr).split())


def test_two_that_want_one_port_are_refused_with_the_variables(tmp_path: Path) -> None:
    said = checked(tmp_path, PAIRS)
    for host, pair in PAIRS.items():
        first, second = (VIDEO[name] for name in pair)
        assert (
            f"{host}: two engines cannot share a port: port 1935 is wanted by {first} (RTMP) and {second} (RTMP). "
            f"Give one of them another with streamfleet_{pair[0]}_port or streamfleet_{pair[1]}_port."
        ) in said


def test_variables_separate_them(tmp_path: Path) -> None:
    own = {"base": 1950, "streamfleet_flussonic_port": "{{ base + 5 }}", "streamfleet_wowza_port": 1945}
    said = checked(tmp_path, {"video1.invalid": VIDEO}, **own)
    assert "ok: [video1.invalid] => (item=engines have ports of their own)" in said
    assert "two engines cannot share a port" not in said


def test_file_transfers_do_not_get_the_ports_of_services_nor_of_djs_slots() -> None:
    """By default; where they overlap, a second run would find its own installation in the way."""
    transfer = yaml.safe_load((ROOT / "roles/file_transfer/defaults/main.yml").read_text())
    first, last = (transfer[f"streamfleet_file_transfer_passive_ports_{end}"] for end in ("start", "end"))
    wiring = (ROOT / "playbooks/vars/wiring.yml").read_text()
    begins, ends = (
        int(re.findall(rf"streamfleet_node_port_range_{end} \| default\((\d+)\)", wiring)[0])
        for end in ("start", "end")
    )
    above = load_renderer(ROOT, "autodj").__globals__["SLOTS_ABOVE"]
    given = set(range(first, last + 1))
    assert not given & set(range(begins, ends + 1))
    assert not given & set(range(begins + above, ends + above + 1))
    assert f"default({first})" in wiring
    assert f"default({last})" in wiring
