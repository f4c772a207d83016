"""Transfers of media services between nodes."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


def _id() -> tuple[str, models.Field]:
    return ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


def _of(model: str, name: str) -> models.Field:
    cascade = django.db.models.deletion.CASCADE
    return models.ForeignKey(on_delete=cascade, related_name=name, to=f"panel.{model}")


STATES = ["copying", "holding", "switched", "returning", "clearing", "releasing"]


class Migration(migrations.Migration):
    dependencies = [("panel", "0020_panel_domains")]

    operations = [
        migrations.CreateModel(
            name="ServiceTransfer",
            fields=[
                _id(),
                ("source", _of("node", "transfers_from")),
                ("target", _of("node", "transfers_to")),
                (
                    "state",
                    models.CharField(
                        choices=[(state, state.capitalize()) for state in STATES],
                        db_index=True,
                        default="copying",
                        max_length=10,
                    ),
                ),
                ("held_at", models.DateTimeField(blank=True, null=True)),
                ("hold", models.PositiveIntegerField(default=0)),
                ("reached", models.BooleanField(default=False)),
                ("requested_by", models.CharField(blank=True, default="", max_length=150)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("generation", models.PositiveBigIntegerField(default=0)),
            ],
            options={"verbose_name": "transfer", "ordering": ["-id"]},
        ),
        migrations.CreateModel(
            name="TransferredService",
            fields=[
                _id(),
                ("transfer", _of("servicetransfer", "items")),
                # A service goes to one place at a time.
                (
                    "service",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="transfer", to="panel.mediaservice"
                    ),
                ),
                ("source_ports", models.JSONField(default=dict)),
                ("target_ports", models.JSONField(default=dict)),
            ],
            options={"ordering": ["id"]},
        ),
    ]
