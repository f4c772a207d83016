"""What the CNAMEs of domains lead to, and how long nodes' former names are kept.

Domains that are served are looked at soon, so that it is known of them.
"""

from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.utils import timezone


def look_soon(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for name in ("Domain", "PanelDomain"):
        claims = apps.get_model("panel", name).objects.using(schema_editor.connection.alias)
        claims.filter(status="verified", next_check_at__gt=timezone.now()).update(next_check_at=timezone.now())


class Migration(migrations.Migration):
    dependencies = [("panel", "0021_service_transfers")]

    operations = [
        *(
            migrations.AddField(
                model, "cname", models.CharField(blank=True, default="", editable=False, max_length=255)
            )
            for model in ("domain", "paneldomain")
        ),
        migrations.AddField("node", "former_stream_days", models.JSONField(blank=True, default=dict)),
        migrations.RunPython(look_soon, migrations.RunPython.noop),
    ]
