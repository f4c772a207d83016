"""Custom domains of media services, and what proves those of each account."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import streamfleet_panel.models.account


def give_tokens(apps: Any, schema_editor: Any) -> None:
    """Each account gets a token of its own: a default would give one to all."""
    accounts = apps.get_model("panel", "Account").objects.using(schema_editor.connection.alias)
    for pk in list(accounts.filter(domain_token=None).values_list("pk", flat=True)):
        accounts.filter(pk=pk).update(domain_token=streamfleet_panel.models.account.new_domain_token())


class Migration(migrations.Migration):
    dependencies = [("panel", "0016_passed_over")]

    operations = [
        migrations.AddField("account", "domain_token", models.CharField(max_length=32, null=True, editable=False)),
        migrations.RunPython(give_tokens, migrations.RunPython.noop),
        migrations.AlterField(
            "account",
            "domain_token",
            models.CharField(
                default=streamfleet_panel.models.account.new_domain_token, editable=False, max_length=32, unique=True
            ),
        ),
        migrations.AddField(
            "mediaservice", "max_domains", models.PositiveIntegerField(blank=True, default=5, null=True)
        ),
        migrations.CreateModel(
            name="Domain",
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
                (
                    "media_service",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="domains",
                        to="panel.mediaservice",
                    ),
                ),
            ],
            options={
                "ordering": ["media_service__slug", "name"],
                "constraints": [
                    models.UniqueConstraint(fields=("media_service", "name"), name="panel_domain_of_service")
                ],
            },
        ),
    ]
