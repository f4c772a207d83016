"""Files of media libraries that AutoDJs do not play."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """A row for each station, as its node told it last."""

    dependencies = [("panel", "0015_usage")]

    operations = [
        migrations.CreateModel(
            name="PassedOver",
            fields=[
                (
                    "media_service",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="passed_over",
                        serialize=False,
                        to="panel.mediaservice",
                    ),
                ),
                ("count", models.PositiveIntegerField(default=0)),
                ("items", models.JSONField(default=list)),
                ("reported_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "files that are passed over",
                "verbose_name_plural": "files that are passed over",
            },
        ),
    ]
