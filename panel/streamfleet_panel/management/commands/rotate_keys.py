"""``streamfleet-panel rotate_keys``: write stored secrets anew under the first of the field keys."""

from __future__ import annotations

import json
from typing import Any

from django.db import transaction

from streamfleet_panel import secrets
from streamfleet_panel.apply.execute import bulk_update
from streamfleet_panel.management.writing import WritingCommand
from streamfleet_panel.models import Counter, Dj, Job, MediaService, Relay


class Command(WritingCommand):
    """To change keys: put the new one first in STREAMFLEET_PANEL_FIELD_KEYS, run this, then drop the old one."""

    help = "Re-encrypt stored secrets under the first key of STREAMFLEET_PANEL_FIELD_KEYS; prints JSON."

    def handle(self, *args: Any, **options: Any) -> None:
        self.check_writable(options)
        with transaction.atomic():
            Counter.lock()
            services = list(MediaService.objects.all())
            for service in services:
                service.credentials_encrypted = secrets.reencrypt(service.credentials_encrypted)
                service.previous_credentials_encrypted = secrets.reencrypt(service.previous_credentials_encrypted)
            bulk_update(MediaService, services, ["credentials_encrypted", "previous_credentials_encrypted"])
            djs = list(Dj.objects.all())
            for dj in djs:
                dj.credentials_encrypted = secrets.reencrypt(dj.credentials_encrypted)
            bulk_update(Dj, djs, ["credentials_encrypted"])
            relays = list(Relay.objects.all())
            for relay in relays:
                relay.credentials_encrypted = secrets.reencrypt(relay.credentials_encrypted)
            bulk_update(Relay, relays, ["credentials_encrypted"])
            for job in Job.objects.exclude(payload_encrypted=""):
                job.payload_encrypted = secrets.reencrypt(job.payload_encrypted)
                job.save(update_fields=["payload_encrypted"])
        self.stdout.write(json.dumps({"services": len(services), "djs": len(djs), "relays": len(relays)}))
