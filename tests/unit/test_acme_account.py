"""Accounts that a directory binds to one of its own: registered with the right key, and with no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet_acme import account
from streamfleet_acme.errors import TlsError

from tests.doubles.acme_directory import AcmeDirectory

KEY, OTHER = "c2VjcmV0LW9mLWN1c3RvbWVyLTE3LXRoYXQtaXMtbG9uZw", "YW5vdGhlci1zZWNyZXQtdGhhdC1pcy1sb25nLXRvby1hYWE"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AcmeDirectory]:
    with AcmeDirectory({"customer-17": KEY}).serving(tmp_path / "directory") as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where lego keeps the account."""
    return tmp_path / "lego" / "account"


def register(server: AcmeDirectory, folder: Path, identifier: str, key: str, **settings: Any) -> None:
    known = {"directory": server.url, "directory_ca": True, "email": "ops@example.net", **settings}
    account.register(known, server.ca, folder, identifier, key)


def test_it_is_registered_once_and_kept_as_lego_reads_it(server: AcmeDirectory, folder: Path) -> None:
    register(server, folder, "customer-17", KEY)
    assert server.refuse == 0, "a nonce that is refused is asked for again"
    (thumbprint,) = server.accounts
    assert server.accounts[thumbprint]["contact"] == ["mailto:ops@example.net"]
    kept = folder / "account.json"
    written = json.loads(kept.read_text())
    assert written["email"] == "ops@example.net"
    assert written["registration"]["uri"].endswith(f"/account/{thumbprint}")
    assert written["registration"]["body"]["status"] == "valid"
    key = folder / "keys" / "ops@example.net.key"
    assert key.read_text().startswith("-----BEGIN EC PRIVATE KEY-----")
    assert [path.stat().st_mode & 0o777 for path in (kept, key)] == [0o600, 0o600]
    # A run that was killed before it could write what it had got.
    kept.unlink()
    register(server, folder, "customer-17", KEY)
    assert json.loads(kept.read_text()) == written
    assert len(server.accounts) == 1


@pytest.mark.parametrize(
    ("identifier", "key", "said"),
    [
        ("customer-17", OTHER, "the account is refused: 403 :: urn:ietf:params:acme:error:unauthorized :: external"),
        ("customer-18", KEY, "the field 'kid' references a key that is not known"),
        ("customer-17", KEY[:-3], "the account is refused: 403"),
        ("customer-17", KEY[:41], "streamfleet_certificates_acme_eab_hmac is not base64url: it is cut off somewhere"),
    ],
)
def test_with_anything_else_it_is_not(
    server: AcmeDirectory, folder: Path, identifier: str, key: str, said: str
) -> None:
    with pytest.raises(TlsError) as caught:
        register(server, folder, identifier, key)
    assert said in str(caught.value)
    assert key not in str(caught.value)
    assert server.accounts == {}
    assert not (folder / "account.json").exists()
    register(server, folder, "customer-17", KEY)


def test_a_directory_that_takes_no_nonce_is_not_asked_for_ever(server: AcmeDirectory, folder: Path) -> None:
    server.refuse = 1000
    with pytest.raises(TlsError, match="takes none of the nonces that it gives"):
        register(server, folder, "customer-17", KEY)
    assert server.refuse == 1000 - account.TRIES


def test_what_is_no_directory_or_is_away_is_said(server: AcmeDirectory, folder: Path) -> None:
    with pytest.raises(TlsError, match="is not an ACME directory: "):
        register(server, folder, "customer-17", KEY, directory=server.url.replace("https:", "http:"))
    with pytest.raises(TlsError, match="cannot be reached: "):
        register(server, folder, "customer-17", KEY, directory_ca=False)
