"""``streamfleet-panel restore_customer``: one customer, or one service, out of a backup's database."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from streamfleet_panel import saved_customer
from streamfleet_panel.access import Actor, system
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.apply.fields import KEYS, key_text
from streamfleet_panel.apply.plan import SECRET_CHANGE, Options
from streamfleet_panel.apply.problems import ApiError
from streamfleet_panel.apply.run import Outcome, apply_document
from streamfleet_panel.management.writing import WritingCommand
from streamfleet_panel.models import Account, Counter, MediaService, MediaUser
from streamfleet_panel.saved_customer import NotSaved, Saved, Wanted
from streamfleet_panel.secrets import SecretsError


class Command(WritingCommand):
    """Makes a customer, or one of his services, what a backup says, through the same apply as every other change.

    Reads from standard input ``{"username" | "slug", "node", "keys": [field keys of the backup], "tables": {table:
    [row]}}`` and prints ``{"dry_run", "changed", "summary", "results", "username", "uid", "files": {node: [path]}}``.
    What is made anew has its old passwords, keys, uid and label; what is here keeps its own. What was made since stays.
    """

    help = "Put one customer or one service of a backup back. Reads and prints JSON; run by restore_customer.yml."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            order = json.load(sys.stdin)
            wanted = Wanted(order["username"], order["slug"], order["node"], order["keys"])
            tables = order["tables"]
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"standard input is not the JSON that this command reads: {error!r}") from None
        if not options["dry_run"]:
            self.check_writable(options)
        actor = system("restore of a backup")
        try:
            saved = saved_customer.read(tables, wanted)
            outcome = _apply(saved, actor, dry_run=options["dry_run"])
        except (NotSaved, SecretsError) as error:
            raise CommandError(str(error)) from None
        except ApiError as error:
            faults = "; ".join(f"{fault.path} {fault.message}. {fault.fix}".strip() for fault in error.errors[:5])
            raise CommandError(f"{error.message}: {faults}" if faults else error.message) from None
        nodes = {
            result.key: result.obj.node.name
            for result in outcome.results
            if result.kind == "media_service" and result.obj is not None
        }
        told = outcome.as_dict()
        told |= {
            "username": saved.account.username,
            "uid": saved.account.uid,
            "files": saved_customer.files(saved, nodes),
        }
        self.stdout.write(json.dumps(told))


def _apply(saved: Saved, actor: Actor, *, dry_run: bool) -> Outcome:
    """Apply the document, and what no document holds with it. Raises ApiError, NotSaved, SecretsError."""
    with transaction.atomic():
        counter = Counter.lock()
        document = saved_customer.document(saved)
        if not document:
            raise NotSaved(f"the backup has nothing of {saved.wanted.slug or saved.wanted.username}.")
        outcome = apply_document(document, actor, Options(dry_run=dry_run))
        assert outcome is not None  # nothing was deferred
        if not dry_run:
            _settle(saved, outcome, counter, actor)
        return outcome


def _settle(saved: Saved, outcome: Outcome, counter: Counter, actor: Actor) -> None:
    """Of what was made anew: uid, hashes of passwords, proof of domains, labels, and whether it was stopped."""
    created = [result for result in outcome.results if result.action == "created"]
    users = {user.name: user for user in saved.media_users}
    services = {service.slug: service for service in saved.services}
    slugs = {service.pk: service.slug for service in saved.services}
    belonging = {
        (kind, key_text((slugs[obj.media_service_id], getattr(obj, KEYS[kind][-1])))): obj
        for kind, objects in saved.belonging.items()
        for obj in objects
    }
    for result in created:
        obj = result.obj
        if isinstance(obj, Account):
            _account(saved.account, obj, counter)
            masked = {"password": dict(SECRET_CHANGE)}
            audit_entry(actor, "updated", "customer", result.key, masked, result.owner).save()
        elif isinstance(obj, MediaUser):
            obj.password, obj.label = users[obj.name].password, users[obj.name].label
            obj.save(update_fields=["password", "label"])
        elif isinstance(obj, MediaService):
            obj.stopped, obj.label = services[obj.slug].stopped, services[obj.slug].label
            obj.save(update_fields=["stopped", "label"])
        elif (result.kind, result.key) in belonging:
            obj.label = belonging[result.kind, result.key].label
            obj.save(update_fields=["label"])


def _account(before: Account, made: Account, counter: Counter) -> None:
    """The uid is the customer's own for ever: his files lie under it on nodes, and nobody else has ever had it."""
    counter.refresh_from_db()
    if counter.value <= before.uid:
        counter.value = before.uid + 1
        counter.save(update_fields=["value"])
    columns = ["uid", "password", "label"]
    made.uid, made.password, made.label = before.uid, before.password, before.label
    if not Account.objects.filter(domain_token=before.domain_token).exists():
        made.domain_token = before.domain_token
        columns.append("domain_token")
    made.save(update_fields=columns)
