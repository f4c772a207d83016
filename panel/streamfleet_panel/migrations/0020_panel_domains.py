"""Names of resellers' own for the panel, and how many a reseller may have."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("panel", "0019_former_stream_hosts")]

    operations = [
        migrations.AddField(
            "resellerplan", "max_panel_domains", models.PositiveIntegerField(blank=True, default=1, null=True)
        ),
        migrations.CreateModel(
            name="PanelDomain",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(db_index=True, max_length=128)),
                ("enabled", models.BooleanField(default=True)),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("verified", "Verified"), ("lost", "Lost")],
                        default="pending",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("holds", models.CharField(editable=False, max_length=128, null=True, unique=True)),
                (
                    "message",
                    models.CharField(default="It has not been looked at yet.", editable=False, max_length=500),
                ),
                ("verified_at", models.DateTimeField(editable=False, null=True)),
                ("checked_at", models.DateTimeField(editable=False, null=True)),
                (
                    "next_check_at",
                    models.DateTimeField(db_index=True, default=django.utils.timezone.now, editable=False, null=True),
                ),
                ("sought_since", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("failing_since", models.DateTimeField(editable=False, null=True)),
                ("asked_at", models.DateTimeField(editable=False, null=True)),
                (
                    "label",
                    models.CharField(
                        blank=True, db_index=True, max_length=100, null=True, verbose_name="ownership label"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("brand", models.CharField(blank=True, max_length=60, null=True)),
                (
                    "reseller",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="panel_domains",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "panel domain",
                "ordering": ["reseller__username", "name"],
                "constraints": [
                    models.UniqueConstraint(fields=("reseller", "name"), name="panel_paneldomain_of_reseller")
                ],
            },
        ),
    ]
