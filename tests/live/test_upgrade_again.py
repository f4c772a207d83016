"""From one state of this tree to another: runs that were killed, what is foretold and done, and what is refused.

Tests playbooks: upgrade.yml. From an earlier release in tests/live/test_upgrade.py.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.errors import Busy

from demo.stage import NODE, PANEL_HOST, ROOT, STREAM_HOST, Stage
from demo.upgrade import PROGRAMS, Air, FromTree, on_air
from tests.live.streams import Listener
from tests.live.test_snippets import FILES, GOOD, ask
from tests.live.upgrades import (
    MORE,
    PROBE,
    add_migration,
    done,
    foretold,
    held,
    installed,
    later,
    left_of_probes,
    objects,
    on_node,
    tables,
    tree_in,
    upgrading,
    version,
)

pytestmark = [pytest.mark.live, pytest.mark.full]

#: Packages that are there, as newer ones in a list of apt's own: nothing in them differs but the version.
NEWER = """
set -eu
mkdir -p /srv/newer && cd /srv/newer
for name in "$@"; do
  apt-get download -q "$name"
  dpkg-deb -R "$name"_*.deb made
  rm "$name"_*.deb
  sed -i 's/^Version: .*/&+newer1/' made/DEBIAN/control
  dpkg-deb -b made "$name.deb"
  rm -r made
  { dpkg-deb -f "$name.deb"; echo "Filename: ./$name.deb"; echo "Size: $(stat -c %s "$name.deb")"
    echo "SHA256: $(sha256sum "$name.deb" | cut -d' ' -f1)"; echo; } >> Packages
done
echo 'deb [trusted=yes] file:/srv/newer ./' > /etc/apt/sources.list.d/newer.list
apt-get update -q
"""
#: Of nginx, what an operator has in the inventory, and a site by hand.
OWN = {
    "streamfleet_web_snippets": GOOD,
    "streamfleet_web_panel_max_body_mib": 35,
    "streamfleet_web_panel_timeout": 290,
    "streamfleet_web_hsts_seconds": 86400,
}
SITE = "server { listen 127.0.0.1:8081; location / { return 200 by-hand; } }"
MEANT = ("-e", "upgrade_allow_restarts=yes")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FromTree]:
    """This tree on a node, with two customers, and settings of nginx of the operator's own."""
    with on_node(Path(tmp_path_factory.mktemp("upgrade"))) as made:
        made.more = (*made.more, "-e", json.dumps(OWN))
        installed(made)
        yield made


@pytest.fixture(scope="module")
def air(stage: FromTree) -> Iterator[Air]:
    """Everybody on the air, from before the first upgrade until after the last."""
    with on_air(stage) as made:
        yield made


def test_a_run_that_was_killed_is_undone_by_the_next(stage: FromTree, air: Air) -> None:
    before = objects(stage)
    root = "/opt/streamfleet"
    paths = {name: f"{root}/{name}s/9.9.9-0123456789abcdef" for name in ("release", "venv")}
    # What a killed run may have left beside: a station, and a node that takes no services.
    probe = {"customer": "upgrade-probe-killed", "engine": "icecast"}
    document = {"customers": [{"username": probe["customer"]}], "media_services": [{"slug": "probe-killed-a", **probe}]}
    stage.api().request("POST", "/apply", {"document": document, "label": PROBE})
    stage.api().request("PUT", f"/nodes/{NODE}", {"status": "draining"})
    assert left_of_probes(stage) == ["upgrade-probe-killed", "probe-killed-a"]
    before.update(objects(stage))
    step(stage, {"step": "drain", "run": "killed", "nodes": [NODE]})
    step(stage, {"step": "claim", "run": "killed", "by": "a test", **paths})
    step(stage, {"step": "begin", "run": "killed"})
    with pytest.raises(Busy, match=r"is being upgraded from 0\.2\.0-dev0 to 9\.9\.9"):
        once(stage)
    assert objects(stage) == before
    said = stage.upgrade(ok=False)
    assert "Another upgrade is under way on demo1: 0.2.0-dev0 to 9.9.9, begun by a test at" in said
    assert "An upgrade is under way on demo1, or was killed" in stage.run("install.yml", ok=False)
    said = stage.upgrade("-e", "upgrade_take_over=yes")
    assert "An upgrade that was killed was undone" in said
    assert f"had left these draining; they take services again: {NODE}." in said
    assert stage.api().request("GET", f"/nodes/{NODE}").data["status"] == "active"
    assert (left_of_probes(stage), held(stage)) == ([], "")
    assert objects(stage) == {name: item for name, item in before.items() if item["label"] != PROBE}
    stage.api().request("PUT", "/customers/ada", {"name": "Ada"})
    assert air.faults() == []


def test_an_operators_own_settings_of_nginx_are_carried_through(stage: FromTree, air: Air, tmp_path: Path) -> None:
    by_hand = "cat >/etc/nginx/conf.d/by-hand.conf && nginx -t -q && systemctl reload nginx.service"
    stage.on_node(["sh", "-c", by_hand], stdin=SITE)
    before = stage.on_node(["sh", "-c", FILES])
    assert all(words in before for words in ("client_max_body_size 35m;", "proxy_read_timeout 290s;", "max-age=86400"))
    assert own_pages(stage) == ["own word\n 200"] * 2 + ["by-hand"]
    stage.tree = tree_in(tmp_path)
    template, mark = stage.tree / "roles/web/templates/streamfleet.conf.j2", "# A double of another release."
    template.write_text(f"{template.read_text()}{mark}\n")
    try:
        said = stage.upgrade("-e", "upgrade_probe=no")
    finally:
        stage.tree = ROOT
    assert "nginx.service" in foretold(said)["reload"]
    after = stage.on_node(["sh", "-c", FILES])
    # As the later release has it, and otherwise as before: the snippets under their names, the panel's own settings.
    assert after.splitlines() == [*before.splitlines(), mark]
    assert own_pages(stage) == ["own word\n 200"] * 2 + ["by-hand"]
    assert (held(stage), air.faults()) == ("", [])


def own_pages(stage: Stage) -> list[str]:
    """What the operator's own pages say: of the panel's name, of the streams', and of the site that was put by hand."""
    site = stage.on_node(["curl", "-s", "-m", "10", "http://127.0.0.1:8081/"])
    return [*(ask(stage, host) for host in (PANEL_HOST, STREAM_HOST)), site]


def step(stage: FromTree, values: dict[str, Any]) -> None:
    """One step of an upgrade by itself, on the node."""
    inventory = str(ROOT / f".nodes/{stage.fleet}/inventory.yml")
    module = ["--become", "-m", "streamfleet_panel_upgrade", "-a", json.dumps(values)]
    ran = subprocess.run(
        [str(PROGRAMS / "ansible"), NODE, "-i", inventory, *module],
        cwd=ROOT, env=stage.surroundings(), text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def once(stage: Stage) -> None:
    """One write, whose refusals are not waited for."""
    client = stage.api()
    client._sleep = lambda _seconds: None
    with contextlib.closing(client):
        client.request("PUT", "/customers/ada", {"name": "Lost"})


class Reader(threading.Thread):
    """Asks the panel again and again, until it is stopped; ``refused`` has what was no answer."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self._stage, self._ended = stage, threading.Event()
        self.answers, self.refused = 0, list[str]()

    def run(self) -> None:
        """Read, ten times a second; a try that fails is not repeated."""
        known = self._stage.variables()
        context = ssl.create_default_context(cafile=str(self._stage.ca))
        url = f"{known['STREAMFLEET_URL']}/api/v1/media-services/ada-fm"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {known['STREAMFLEET_TOKEN']}"})
        while not self._ended.wait(0.1):
            try:
                with urllib.request.urlopen(request, context=context, timeout=20) as answer:
                    self.answers += json.load(answer)["slug"] == "ada-fm"
            except OSError as error:
                self.refused.append(str(error))

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join(30)


def test_from_a_release_that_can_be_read_only_it_is_read_all_the_time(
    stage: FromTree, air: Air, tmp_path: Path
) -> None:
    before = objects(stage)
    stage.tree = later(tmp_path)
    reader = Reader(stage)
    since = int(stage.on_node(["date", "+%s"])) - 1
    reader.start()
    try:
        # Without the probe, for whose station nodes do more than what is foretold.
        said = stage.upgrade("-e", "upgrade_probe=no")
    finally:
        stage.tree = ROOT
        reader.stop()
    assert "panel: 0.2.0-dev0, of another state of it" in said
    assert "panel: 1 migrations of its sqlite database, which is saved before: panel.9998_more" in said
    assert "panel: can be read and takes no changes" in said
    assert (reader.refused, reader.answers > 100) == ([], True), reader.refused
    assert objects(stage) == before
    assert tables(stage) == ["panel_more_9998"]
    assert air.faults() == []
    plan, seen = foretold(said), done(stage, since)
    assert plan["restart"] == {
        *("streamfleet-sessions.service", "streamfleet-usage.service"),
        *("streamfleet-file-transfer.service", "streamfleet-file-transfer-quota.service"),
    }
    assert {verb: seen[verb] for verb in ("restart", "reload")} == {verb: plan[verb] for verb in ("restart", "reload")}
    assert ", which ends transfers of files that are under way" in said
    # It has had a migration that this tree does not know.
    assert "has had migrations that this release does not know (panel.9998_more)" in stage.upgrade(ok=False)


def test_a_downgrade_is_refused_before_anything_is_changed(stage: FromTree, air: Air, tmp_path: Path) -> None:
    before = objects(stage)
    tree = tree_in(tmp_path)
    for name in ("panel/pyproject.toml", "panel/streamfleet_panel/__init__.py", "pyproject.toml"):
        (tree / name).write_text((tree / name).read_text().replace("0.2.0-dev0", "0.1.9"))
    stage.tree = tree
    try:
        for words in (["--check"], []):
            said = " ".join(stage.upgrade(*words, ok=False).split())
            assert "This host has 0.2.0-dev0, and 0.1.9 is older." in said
            assert "Use a checkout of at least 0.2.0-dev0" in said
    finally:
        stage.tree = ROOT
    assert version(stage) == "0.2.0-dev0"
    assert (objects(stage), held(stage), air.faults()) == (before, "", [])


def test_new_packages_are_said_with_what_they_cost_and_installed_only_when_that_is_meant(
    stage: FromTree, air: Air, tmp_path: Path
) -> None:
    stage.on_node(["sh", "-s", "icecast2", "nginx"], stdin=NEWER, timeout=300)
    versions = ["dpkg-query", "--show", "--showformat=${Version}\n", "icecast2", "nginx"]
    before = stage.on_node(versions).split()
    stage.tree = later(tmp_path)
    try:
        # Debian's packages are no matter of an upgrade, unless that is asked for.
        assert "new packages" not in stage.upgrade(*MEANT)
        assert stage.on_node(versions).split() == before
        said = " ".join(stage.upgrade("-e", "upgrade_packages=yes", ok=False).split())
        new = [f"{name} {old} to {old}+newer1" for name, old in zip(("icecast2", "nginx"), before, strict=True)]
        assert f"{NODE}: new packages {', '.join(new)}" in said
        assert f"{NODE}: Debian's script has nginx change over to its new program: MAY CUT OFF who listens" in said
        assert f"{NODE}: stations go on with the Icecast that they run with, until they are next started" in said
        assert f"{NODE}: TOUCHES 2 services on the air" in said
        assert f"Streams would be interrupted on {NODE}, as said above. Nothing was changed." in said
        assert stage.on_node(versions).split() == before
        assert air.faults() == []
        stage.upgrade("-e", "upgrade_packages=yes", *MEANT)
    finally:
        stage.tree = ROOT
    assert stage.on_node(versions).split() == [f"{old}+newer1" for old in before]
    # Whoever was not named lost nothing: the station, who listens at its port, the channel.
    direct = air.listeners[0]
    assert (direct.heard.disconnects, direct.heard.lost_lines) == (0, 0), direct.heard
    assert (air.source.error, air.encoder.poll()) == (None, None)
    assert stage.api().request("GET", f"/nodes/{NODE}").data["status"] == "active"
    again = Listener(stage.address, 443, STREAM_HOST, "/listen/ada-fm/stream", str(stage.ca))
    again.start()
    assert again.playing.wait(20), again.stop()
    again.stop()


def test_of_two_runs_at_once_the_second_is_refused_until_the_first_has_ended(
    stage: FromTree, air: Air, tmp_path: Path
) -> None:
    before = objects(stage)
    stage.tree = later(tmp_path)
    add_migration(stage.tree, "9999_again", MORE)
    try:
        first = upgrading(stage)
        # While the panel is changed, and while the hosts are.
        for place in ("Hold the worker", "Stop where a host before was lost"):
            assert first.wait_for(lambda tasks, place=place: place in str(tasks)), first.said[-6000:]  # type: ignore[misc]
            first.hold()
            try:
                for playbook in ("upgrade.yml", "install.yml"):
                    said = " ".join(stage.run(playbook, ok=False).split())
                    assert "works on this fleet with upgrade.yml since " in said
            finally:
                first.go_on()
        assert first.end() == 0, first.said[-6000:]
        assert "of this very release; nothing to do" in stage.upgrade()
    finally:
        stage.tree = ROOT
    assert tables(stage) == ["panel_more_9998", "panel_more_9999"]
    assert stage.on_node(["cat", "/run/streamfleet/fleet.lock"]) == ""
    assert (objects(stage), left_of_probes(stage), held(stage)) == (before, [], "")
    assert (air.source.error, air.encoder.poll()) == (None, None)
