import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("panel", "0014_schedules"),
    ]

    operations = [
        migrations.CreateModel(
            name="Usage",
            fields=[
                (
                    "media_service",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="usage",
                        serialize=False,
                        to="panel.mediaservice",
                    ),
                ),
                ("listeners", models.PositiveIntegerField(blank=True, null=True)),
                ("listeners_peak", models.PositiveIntegerField(default=0)),
                ("month", models.CharField(max_length=7)),
                ("sources", models.JSONField(blank=True, null=True)),
                ("disk_bytes", models.PositiveBigIntegerField(blank=True, null=True)),
                ("library_bytes", models.PositiveBigIntegerField(blank=True, null=True)),
                ("drops", models.JSONField(default=list)),
                ("reported_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "use",
                "verbose_name_plural": "use",
            },
        ),
        migrations.CreateModel(
            name="Listening",
            fields=[
                (
                    "media_service",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="listening",
                        serialize=False,
                        to="panel.mediaservice",
                    ),
                ),
                ("sessions", models.JSONField(default=list)),
                ("reported_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "listeners",
                "verbose_name_plural": "listeners",
            },
        ),
    ]
