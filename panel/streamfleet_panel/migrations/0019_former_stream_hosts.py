"""Names that a node's streams had before."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """None is known of nodes that are there; install.yml tells them."""

    dependencies = [("panel", "0018_renditions")]

    operations = [
        migrations.AddField("node", "former_stream_hosts", models.JSONField(blank=True, default=list)),
    ]
