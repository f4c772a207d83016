"""Accounts, uids, tokens and stored secrets."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from streamfleet_panel import secrets
from streamfleet_panel import settings as panel_settings
from streamfleet_panel.models import Account, ApiToken, Counter, Installation
from streamfleet_panel.models.counter import UID_LAST, UidsExhausted

pytestmark = pytest.mark.django_db


def test_migrations_are_complete() -> None:
    call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())


def test_uids_start_at_200000_and_never_return() -> None:
    first = Account.objects.create_user("one", "secret1")
    second = Account.objects.create_user("two", "secret1")
    assert (first.uid, second.uid) == (200000, 200001)
    second.delete()
    assert Account.objects.create_user("three", "secret1").uid == 200002


def test_uids_end() -> None:
    with transaction.atomic():
        counter = Counter.lock()
        counter.value = UID_LAST
        assert list(counter.take(1)) == [UID_LAST]
        with pytest.raises(UidsExhausted):
            counter.take(1)


def test_epoch_is_stable() -> None:
    assert Installation.current().epoch == Installation.current().epoch


def test_passwords_are_argon2_with_owasp_minimum(settings: Any) -> None:
    settings.PASSWORD_HASHERS = panel_settings.PASSWORD_HASHERS
    account = Account.objects.create_user("one", "secret1")
    assert account.password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert account.check_password("secret1")
    assert not account.check_password("secret2")


def test_disabled_reseller_disables_its_customers() -> None:
    reseller = Account.objects.create_user("shop")
    customer = Account.objects.create_user("one", reseller=reseller)
    assert customer.is_enabled
    reseller.status = Account.Status.DISABLED
    assert not customer.is_enabled


def test_token_format_and_expiry() -> None:
    token = ApiToken(name="ci")
    secret = token.new_secret()
    prefix, token_id, rest = secret.split("_", 2)
    assert (prefix, len(token_id), len(rest)) == ("sft", 8, 43)
    assert secret not in token.digest
    assert token.is_valid(secret)
    assert not token.is_valid(secret[:-1] + "!")
    token.expires_at = timezone.now() - timedelta(seconds=1)
    assert not token.is_valid(secret)


def test_secrets_round_trip_and_rotate(settings) -> None:  # type: ignore[no-untyped-def]
    from cryptography.fernet import Fernet

    text = secrets.encrypt({"source_password": "pässword"})
    assert "pässword" not in text
    settings.FIELD_KEYS = [Fernet.generate_key().decode(), *settings.FIELD_KEYS]
    assert secrets.decrypt(text) == {"source_password": "pässword"}
    renewed = secrets.reencrypt(text)
    settings.FIELD_KEYS = settings.FIELD_KEYS[:1]
    assert secrets.decrypt(renewed) == {"source_password": "pässword"}
    with pytest.raises(secrets.SecretsError):
        secrets.decrypt(text)
