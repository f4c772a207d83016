"""The two rows that every database of the panel has: its identity and the counter of uids."""

from __future__ import annotations

from django.db import migrations


def create(apps, schema_editor):  # type: ignore[no-untyped-def]
    alias = schema_editor.connection.alias
    apps.get_model("panel", "Installation").objects.using(alias).get_or_create(pk=1)
    apps.get_model("panel", "Counter").objects.using(alias).get_or_create(name="uid", defaults={"value": 200_000})


class Migration(migrations.Migration):
    dependencies = [("panel", "0001_initial")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
