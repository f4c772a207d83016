"""Limits of what is encoded for a service."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("panel", "0017_domains")]

    operations = [
        migrations.AddField("mediaservice", "max_renditions", models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddField(
            "mediaservice", "max_transcode_mpixels", models.PositiveIntegerField(blank=True, null=True)
        ),
        migrations.AddField(
            "resellerplan",
            "max_renditions",
            models.PositiveIntegerField(blank=True, null=True, verbose_name="max renditions of each service"),
        ),
        migrations.AddField(
            "resellerplan",
            "max_transcode_mpixels",
            models.PositiveIntegerField(
                blank=True, null=True, verbose_name="max megapixels a second that are encoded for each service"
            ),
        ),
    ]
