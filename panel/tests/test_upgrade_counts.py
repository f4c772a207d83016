"""What an upgrade counts before and after: every kind of object that this release has, found and not listed."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from streamfleet.node_apply.host import Finished, Host
from streamfleet.upgrade import panel

from streamfleet_panel.models import Collection, Node

pytestmark = pytest.mark.django_db


def counted(tmp_path: Path) -> dict[str, int]:
    """What the module's question finds, asked of this database by the panel's own command line."""

    def run(argv: list[str], _stdin: str, _timeout: float) -> Finished:
        said = io.StringIO()
        words = argv[argv.index("shell") :]
        with contextlib.redirect_stdout(said):
            call_command(*words)
        return Finished(0, said.getvalue())

    host = Host(root=tmp_path, run=run, own=False)  # type: ignore[arg-type]
    return panel.counts(host, "/opt/streamfleet/releases/x", "/opt/streamfleet/venvs/x")


def test_all_kinds_are_counted_but_those_that_pass(world: None, tmp_path: Path) -> None:
    before = counted(tmp_path)
    kinds = {model.__name__ for model in apps.get_app_config("panel").get_models(include_auto_created=True)}
    assert set(before) == kinds - set(panel.PASSING)
    assert set(panel.PASSING) <= kinds
    node = Node.objects.first()
    assert node is not None
    Collection.objects.filter(node=node).delete()
    assert before["Node"] == Node.objects.count() > 0
    Collection.objects.create(node=node)
    assert counted(tmp_path)["Collection"] == 1
