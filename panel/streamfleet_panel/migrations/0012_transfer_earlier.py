from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("panel", "0011_listener_sessions"),
    ]

    operations = [
        migrations.AddField(
            model_name="transfer",
            name="earlier",
            field=models.JSONField(blank=True, default=list),
        ),
    ]
