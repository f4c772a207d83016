"""Log-in passwords of a document: compared and hashed before the transaction, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.contrib.auth.hashers import check_password, make_password

from streamfleet_panel import crypt
from streamfleet_panel.apply.plan import SECRET_CHANGE, Plan
from streamfleet_panel.models import Account, MediaUser

# path of the object → (stored hash it was compared with, new hash; None = the password is what it was)
Hashes = dict[str, tuple[str, str | None]]


def _check(whose: Account | MediaUser, password: str, stored: str) -> bool:
    """Log-ins for media are checked by nodes, with what their system has; accounts by the panel."""
    return crypt.check(password, stored) if isinstance(whose, MediaUser) else check_password(password, stored)


def _make(whose: Account | MediaUser, password: str) -> str:
    return crypt.make(password) if isinstance(whose, MediaUser) else make_password(password)


def prepare(plan: Plan, progress: Callable[[int], None] | None = None) -> Hashes:
    """Hash what ``plan`` needs hashed; about 25 ms a hash and core.

    Threads: argon2 lets go of the interpreter's lock.
    """
    wanted = [
        (path, account, password, account.password if account.pk is not None else "")
        for path, (account, password) in plan.passwords.items()
    ]
    done: Hashes = {}

    def one(item: tuple[str, Account | MediaUser, str, str]) -> tuple[str, tuple[str, str | None]]:
        path, whose, password, stored = item
        same = bool(stored) and path not in plan.new_passwords and _check(whose, password, stored)
        return path, (stored, None if same else _make(whose, password))

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for count, (path, result) in enumerate(pool.map(one, wanted), 1):
            done[path] = result
            if progress is not None:
                progress(count)
    return done


def settle(plan: Plan, hashes: Hashes) -> None:
    """Put prepared hashes into the plan's accounts, and record which passwords change.

    A stored hash that changed meanwhile is compared again, here and now.
    """
    for path, (account, password) in plan.passwords.items():
        stored = account.password if account.pk is not None else ""
        prepared = hashes.get(path)
        if prepared is None or prepared[0] != stored:
            same = bool(stored) and path not in plan.new_passwords and _check(account, password, stored)
            prepared = (stored, None if same else _make(account, password))
        _set(plan, path, prepared[1])


def compare_only(plan: Plan) -> None:
    """For a dry run: which passwords would change, without hashing any."""
    for path, (account, password) in plan.passwords.items():
        if path in plan.new_passwords:
            continue
        if not _check(account, password, account.password):
            _note(plan, path)


def _set(plan: Plan, path: str, new: str | None) -> None:
    if new is None:
        return
    account = plan.passwords[path][0]
    account.password = new
    plan.update(account, ["password"])
    _note(plan, path)


def _note(plan: Plan, path: str) -> None:
    result = plan.by_path[path]
    result.changes["password"] = dict(SECRET_CHANGE)
    whose = plan.passwords[path][0]
    if isinstance(whose, MediaUser):
        plan.media_owners[id(whose.customer)] = whose.customer
    if result.action == "unchanged":
        result.action = "updated"
