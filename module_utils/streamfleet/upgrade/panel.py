"""The panel on this host, asked as the web server and as its command line ask it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..node_apply.host import Finished, Host
from . import places
from .databases import settings_of
from .errors import UpgradeError

#: Seconds within which a panel that was started answers.
PATIENCE = 90.0
#: Models whose rows come and go with requests that are answered while nobody can write. All others are counted: while
#: worker and jobs are held, and nothing is written, a migration alone can make them fewer.
PASSING = ("AuthFailure",)
_COUNT = (
    "import json; from django.apps import apps; "
    "kinds = apps.get_app_config('panel').get_models(include_auto_created=True); "
    "print(json.dumps({{m.__name__: m._base_manager.count() for m in kinds "
    "if m._meta.managed and not m._meta.proxy and m.__name__ not in {passing!r}}}))"
)
_MIGRATIONS = (
    "import json; from django.db import connection; from django.db.migrations.executor import MigrationExecutor; "
    "x = MigrationExecutor(connection); n = x.loader; plan = x.migration_plan(n.graph.leaf_nodes()); "
    "gone = [k for k in n.applied_migrations if k[0] in n.migrated_apps and k not in n.disk_migrations]; "
    "print(json.dumps({'pending': ['.'.join((m.app_label, m.name)) for m, _back in plan], "
    "'unknown': sorted('.'.join(k) for k in gone)}))"
)
_GENERATIONS = (
    "import json; from django.db import connection; c = connection.cursor(); "
    "c.execute('SELECT name, generation FROM panel_node'); print(json.dumps(dict(c.fetchall())))"
)
_RAISE = (
    "import json; from streamfleet_panel.models import Node; known = json.loads({known!r}); "
    "print(json.dumps([Node.objects.filter(name=n, generation__lte=g).update(generation=g + 1) "
    "for n, g in known.items()]))"
)


def command(host: Host, arguments: list[str], release: str, venv: str, timeout: float = 300.0) -> Finished:
    """Run the panel's command line of one release."""
    chosen = [f"STREAMFLEET_PANEL_VENV={venv}", f"STREAMFLEET_PANEL_RELEASE={release}"]
    return host.run(["env", *chosen, places.COMMAND, *arguments], "", timeout)


def counts(host: Host, release: str, venv: str) -> dict[str, int]:
    """Rows by kind of object, in the database: of every model that this release has. Raises UpgradeError."""
    return dict(_shell(host, _COUNT.format(passing=PASSING), release, venv))


def generations(host: Host, release: str, venv: str) -> dict[str, int]:
    """The generation of every node's document; of a database in any shape that has the table. Raises UpgradeError."""
    return dict(_shell(host, _GENERATIONS, release, venv))


def raise_generations(host: Host, known: dict[str, int], release: str, venv: str) -> None:
    """Put every node above the generation that it may have been given, so that it takes the documents to come.

    Raises UpgradeError.
    """
    if known:
        _shell(host, _RAISE.format(known=json.dumps(known)), release, venv)


def _shell(host: Host, code: str, release: str, venv: str) -> Any:
    done = command(host, ["shell", "--verbosity=0", "--command", code], release, venv)
    try:
        if done.code != 0:
            raise ValueError(done.last_words)
        return json.loads(done.out.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise UpgradeError(f"The panel's command line of {venv} does not answer: {error}") from None


def migrations(host: Host, release: str, venv: str) -> dict[str, list[str]]:
    """What a release would do to its database, as ``panel.0005_playlists``. Only looks. Raises UpgradeError.

    ``pending``: migrations that the database has not had; ``unknown``: those that it has had and the release has not.
    """
    return dict(_shell(host, _MIGRATIONS, release, venv))


def get(host: Host, path: str, token: str = "") -> tuple[int, Any]:
    """Status and data of a GET at the panel's socket; status 0 where nobody answers."""
    settings = settings_of(host.path(places.PANEL_ENV).read_text())
    name = settings.get("STREAMFLEET_PANEL_ALLOWED_HOSTS", "localhost").split(",")[0]
    lines = ["X-Forwarded-Proto: https", f"Host: {name}", *([f"Authorization: Bearer {token}"] if token else [])]
    # By standard input, where nobody sees it.
    done = host.run(
        [
            *("curl", "--silent", "--show-error", "--max-time", "15", "--unix-socket", places.SOCKET),
            *("--write-out", "\n%{http_code}", "--header", "@-", f"http://panel{path}"),
        ],
        "\n".join(lines),
        30.0,
    )
    text, _line, code = done.out.rpartition("\n")
    if done.code != 0 or not code.isdigit():
        return 0, done.last_words
    try:
        return int(code), json.loads(text)
    except ValueError:
        return int(code), text[:200]


def wait_for(host: Host, version: str, venv: str, token: str) -> None:
    """Wait until the panel answers as this version, out of this environment. Raises UpgradeError.

    Two states of a version are told apart by the environment; 0.1.0 does not tell it.
    """
    seen: Any = ""
    deadline = host.clock() + PATIENCE
    name = venv.rpartition("/")[2]
    while True:
        status, seen = get(host, "/api/v1/whoami", token)
        good = status == 200 and isinstance(seen, dict) and seen.get("version") == version
        if good and seen.get("environment", name) == name:
            return
        if isinstance(seen, dict):
            seen = {key: seen[key] for key in ("version", "environment", "error") if key in seen}
        if host.clock() > deadline:
            raise UpgradeError(
                f"The panel does not answer as version {version}, but with {status} {seen}: "
                "journalctl -u streamfleet-panel -n 50"
            )
        host.sleep(1)


def lists(host: Host, token: str) -> dict[str, int]:
    """How many objects of each kind the API lists. Raises UpgradeError for one that it cannot list."""
    found = {}
    for kind in ("customers", "nodes", "media-services", "reseller-plans"):
        status, data = get(host, f"/api/v1/{kind}?limit=1", token)
        if status != 200:
            raise UpgradeError(f"The API answers the list of {kind} with {status}: {data}")
        found[kind] = int(data["count"])
    return found


def without_loss(step: str, find: Callable[[], dict[str, int]], before: dict[str, int]) -> dict[str, int]:
    """What ``find`` finds, of which nothing may be less than before. Raises UpgradeError."""
    after = find()
    less = [f"{name}: {after.get(name, 0)} of {count}" for name, count in before.items() if after.get(name, 0) < count]
    if less:
        raise UpgradeError(f"{step}: objects are missing after the upgrade ({', '.join(less)})")
    return after
