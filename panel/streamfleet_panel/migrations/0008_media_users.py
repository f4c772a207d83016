import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import streamfleet_panel.models.media_user


class Migration(migrations.Migration):
    dependencies = [
        ("panel", "0007_relays"),
    ]

    operations = [
        migrations.CreateModel(
            name="MediaUser",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("name", models.CharField(max_length=32)),
                (
                    "password",
                    models.CharField(default="!", max_length=255),
                ),
                ("read_only", models.BooleanField(default=False)),
                (
                    "protocols",
                    models.JSONField(default=streamfleet_panel.models.media_user.both),
                ),
                ("enabled", models.BooleanField(default=True)),
                (
                    "label",
                    models.CharField(
                        blank=True,
                        db_index=True,
                        max_length=100,
                        null=True,
                        verbose_name="ownership label",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="media_users",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "media user",
                "ordering": ["customer__username", "name"],
                "constraints": [
                    models.UniqueConstraint(fields=("customer", "name"), name="panel_media_user_of_customer")
                ],
            },
        ),
    ]
