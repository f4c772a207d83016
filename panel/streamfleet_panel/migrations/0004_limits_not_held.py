from django.db import migrations


def forget(apps, schema_editor):
    """Take away limits that were accepted although nothing held them, so that none is shown that does not hold."""
    services = apps.get_model("panel", "MediaService").objects.using(schema_editor.connection.alias)
    services.filter(engine="nginx_rtmp").exclude(max_listeners=None).update(max_listeners=None)


class Migration(migrations.Migration):
    dependencies = [("panel", "0003_password_reset_job")]

    operations = [migrations.RunPython(forget, migrations.RunPython.noop)]
