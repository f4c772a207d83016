"""Documents of any size, the same at every run."""

from __future__ import annotations

from typing import Any


def document(
    customers: int, services: int, *, prefix: str, passwords: bool = False, enabled: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """``customers`` accounts and ``services`` Icecast services over them, off unless ``enabled``."""
    accounts: list[dict[str, Any]] = [
        {"username": f"{prefix}-{n}", "name": f"Customer {n}", "email": f"{prefix}-{n}@bench.example"}
        for n in range(customers)
    ]
    if passwords:
        for n, account in enumerate(accounts):
            account["password"] = f"correct horse {prefix} {n}"
    stations = [
        {
            "slug": f"{prefix}-{n}",
            "name": f"Station {n}",
            "customer": f"{prefix}-{n % customers}",
            "engine": "icecast",
            "enabled": enabled,
        }
        for n in range(services)
    ]
    return {"customers": accounts, "media_services": stations}


def absent(whole: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The document that removes what ``whole`` declares."""
    return {
        "customers": [{"username": entry["username"], "state": "absent"} for entry in whole["customers"]],
        "media_services": [{"slug": entry["slug"], "state": "absent"} for entry in whole["media_services"]],
    }
