"""The panel's data is in the database that the inventory names, and nowhere else."""

from __future__ import annotations

import json

from testinfra.host import Host

testinfra_hosts = ["streamfleet_panel"]

ASK = (
    "import json; from django.db import connection as c; from streamfleet_panel.models import Account, Node;"
    " print(json.dumps([c.vendor, str(c.settings_dict['NAME']), Account.objects.count(), Node.objects.count()]))"
)
SQLITE = "/var/lib/streamfleet/panel/panel.sqlite3"


def test_the_data_is_where_the_inventory_has_it(host: Host) -> None:
    variables = host.ansible.get_variables()
    vendor, name = "sqlite", SQLITE
    if variables.get("streamfleet_panel_database_install"):
        vendor, name = "postgresql", "streamfleet"
    elif str(variables.get("streamfleet_panel_database_url", "")).startswith("mysql:"):
        vendor, name = "mysql", "streamfleet"
    told = json.loads(host.check_output("streamfleet-panel shell --verbosity 0 --command %s", ASK))
    assert told[:2] == [vendor, name]
    assert told[2] >= 1
    assert told[3] == len(variables["groups"]["streamfleet_nodes"])
    assert host.file(SQLITE).exists == (vendor == "sqlite")
