"""What every engine promises: the checks of playbooks/verify_engine.yml, and what only a test can do.

One node has them all. What is particular to an engine is in tests/live/engines/<name>.py; tests of what only one engine
does are in that engine's own file. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests roles: icecast nginx_rtmp shoutcast2 wowza.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamfleet.behaviour import checks
from streamfleet.engine import RenderError, instances_of

from tests.live.chosen import PREDICTS, chosen
from tests.live.engines import NAMES, adapter
from tests.live.engines.stand import EnginesNode, Stand
from tests.live.test_check_mode import changes

pytestmark = pytest.mark.live

#: The engine whose tests `make live` runs in full; of the others it runs what is marked as smoke.
IN_FULL = "icecast"


def smoke(test: Callable[..., None]) -> Callable[..., None]:
    """Of every engine in `make live`."""
    test.smoke = True  # type: ignore[attr-defined]
    return test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test for every engine."""
    if "engine" in metafunc.fixturenames:
        short = getattr(metafunc.function, "smoke", False)
        marks = {name: [] if short or name == IN_FULL else [pytest.mark.full] for name in NAMES}
        values = [pytest.param(name, marks=marks[name]) for name in NAMES]
        metafunc.parametrize("engine", values, scope="module", indirect=True)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    """The engine's name."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnginesNode]:
    """A node with nothing on it, which is to have the engines of the chosen tests."""
    items = [item for item in request.session.items if item.fspath == request.node.fspath]
    chosen = {item.callspec.params["engine"] for item in items if hasattr(item, "callspec")}
    engines = [name for name in NAMES if name in chosen or not chosen]
    with EnginesNode(Path(tmp_path_factory.mktemp("engines")), engines).started() as node:
        yield node


@pytest.fixture(scope="module")
def logs(bare: EnginesNode, request: pytest.FixtureRequest) -> dict[str, str]:
    """The roles' first run; check and second, too, where they are compared."""
    return bare.first_runs(compared=chosen(request, "test_engines", PREDICTS))


@pytest.fixture(scope="module")
def node(bare: EnginesNode, logs: dict[str, str]) -> EnginesNode:
    """The node with the engines on it."""
    return bare


@pytest.fixture(scope="module")
def all_of_it(node: EnginesNode, engine: str) -> Iterator[Stand]:
    """Two services of the engine."""
    made = Stand(node, engine)
    yield made
    made.stop()


@pytest.fixture
def stand(all_of_it: Stand) -> Stand:
    """The same, both on the air, whatever the test before has left; the one beside it is listened to."""
    all_of_it.ready()
    all_of_it.listen()
    return all_of_it


@pytest.mark.full
def test_roles_predict_what_they_change_and_change_it_once(logs: dict[str, str], engine: str) -> None:
    def own(log: str) -> set[tuple[str, str]]:
        others = getattr(adapter(engine), "BROUGHT", set())
        return {change for change in changes(log) if change[0].startswith(f"{engine} : ") and change[0] not in others}

    predicted, made = own(logs["check"]), own(logs["first"])
    assert predicted == made != set(), f"predicted only: {predicted - made}; made only: {made - predicted}"
    assert changes(logs["second"]) == set()


@smoke
def test_a_wrong_credential_is_refused(stand: Stand) -> None:
    assert checks.wrong_credential(stand.subject)


@smoke
def test_what_is_published_is_heard(stand: Stand) -> None:
    assert "440 Hz" in checks.published_and_played(stand.subject)


def test_a_change_is_applied_once(stand: Stand) -> None:
    assert "660 Hz" in checks.renamed(stand.subject)


def test_a_changed_setting_does_not_keep_it_from_playing(stand: Stand) -> None:
    stand.change(**stand.adapter.SETTING)
    assert "880 Hz" in stand.subject.plays(880)


def test_a_new_credential_counts_and_the_old_one_no_longer(stand: Stand) -> None:
    assert checks.new_credential(stand.subject)


@smoke
def test_suspended_it_is_off_the_air_and_back_when_that_is_lifted(stand: Stand) -> None:
    assert checks.suspended(stand.subject)
    assert checks.unsuspended(stand.subject)


def test_deleted_it_is_off_the_air_and_back_when_it_is_restored(stand: Stand) -> None:
    kept = f"/var/lib/streamfleet/services/{stand.subject.slug}"
    there = stand.node.sh(f"ls -d {kept}", check=False)
    assert checks.deleted(stand.subject)
    assert stand.node.sh(f"ls -d {kept}", check=False) == there, "its data is kept"
    assert checks.restored(stand.subject)


def test_purged_nothing_of_it_is_left(stand: Stand) -> None:
    node, third = stand.node, stand.adapter.service(f"third-{stand.beside.slug}", 10)
    kept = list(node.client.services.values())
    assert node.converge(*kept, third)[third["slug"]]["state"] == "running"
    node.converge(*kept, {**third, "state": "deleted"})
    node.converge(*kept)
    assert node.sh(f"find /etc /var/lib/streamfleet /run/streamfleet -name '*{third['slug']}*'") == ""
    assert node.sh(f"getent passwd sf{third['uid']}", check=False) == ""


@smoke
def test_it_runs_as_a_user_of_its_own_in_a_sandbox(stand: Stand) -> None:
    unit = stand.adapter.UNIT.format(slug=stand.subject.slug)
    process = stand.node.sh(f"systemctl show --property MainPID --value {unit}")
    assert stand.node.sh(f"ps -o user:30= -p {process}").startswith(("sf20", "streamfleet-"))
    exposure = stand.node.sh(f"systemd-analyze security --no-pager {unit} | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 3.0


def test_a_second_converge_changes_nothing(stand: Stand) -> None:
    assert stand.node.changed(stand.node.play("playbooks/converge.yml")) == 0


def test_hostile_texts_run_nowhere_and_stay_what_they_are(stand: Stand) -> None:
    """The corpus of tests/corpus, each text in services of its own: in what is free to write, and as the credential."""
    node = stand.node
    own = f"/etc/streamfleet/instances/{stand.name}/{stand.beside.slug}"
    before = node.sh(f"cat {own}/* 2>/dev/null | sha256sum")
    wanted = stand.hostile()
    expected, contents = {}, {}
    for service in wanted:
        try:
            (instance,) = instances_of(stand.render(service))
        except RenderError as error:
            expected[service["slug"]] = ("failed", error.field)
        else:
            expected[service["slug"]] = ("running", "")
            contents.update({file.path: hashlib.sha256(file.content.encode()).hexdigest() for file in instance.files})
    assert {state for state, _field in expected.values()} == {"running", "failed"}
    told = node.converge(*node.client.services.values(), *wanted, ok=False)
    try:
        for slug, (state, field) in expected.items():
            assert told[slug]["state"] == state, (slug, told[slug])
            assert field in told[slug]["message"], (slug, told[slug])
        found = dict(reversed(line.split(maxsplit=1)) for line in node.sha256(contents).splitlines())
        assert found == contents
        assert node.sh("ls /run/canary", check=False) == ""
        assert node.sh(f"cat {own}/* 2>/dev/null | sha256sum") == before
        assert checks.published_and_played(stand.subject)
    finally:
        node.converge(
            *node.client.services.values(), *({**service, "state": "deleted"} for service in wanted), ok=False
        )
        node.client.converge()


def test_while_the_panel_is_down_encoders_are_let_in_and_refused_as_ever(stand: Stand) -> None:
    with stand.node.panel.down():
        assert checks.published_and_played(stand.subject)
        assert checks.wrong_credential(stand.subject)


def test_an_upgrade_is_predicted_and_made_once(stand: Stand) -> None:
    newer = stand.adapter.newer(stand.node.folder)
    predicted = changes(stand.node.role(stand.name, newer, "--check"))
    assert changes(stand.node.role(stand.name, newer)) == predicted != set()
    assert checks.published_and_played(stand.subject)


@smoke
def test_the_neighbour_has_lost_nothing_of_all_this(stand: Stand) -> None:
    assert stand.heard().count.pieces > 2


def test_after_a_reboot_it_is_back_by_itself(all_of_it: Stand) -> None:
    all_of_it.stop()
    all_of_it.ready()
    all_of_it.node.fleet.reboot("n1")
    assert "660 Hz" in all_of_it.comes_back()
    assert all_of_it.node.changed(all_of_it.node.play("playbooks/converge.yml")) == 0


@pytest.mark.full
def test_uninstalling_leaves_nothing_behind(node: EnginesNode) -> None:
    """Last: with services of every engine on the node."""
    assert node.changed(node.uninstall()) > 0
    names = ["*streamfleet*", *(pattern for name in node.engines for pattern in adapter(name).LEFT)]
    patterns = " -o ".join(f"-iname '{name}'" for name in names)
    away = "\\( -path /proc -o -path /sys -o -path /var/log -o -path /var/cache \\) -prune"
    assert node.sh(f"find / -xdev {away} -o \\( {patterns} \\) -print") == ""
    assert node.sh("getent passwd | grep -E '^(sf2|streamfleet)'", check=False) == ""
    assert node.sh("nft list tables | grep streamfleet", check=False) == ""
    assert node.sh("systemctl list-units --all --no-legend '*streamfleet*'", check=False) == ""
    assert node.changed(node.uninstall()) == 0
