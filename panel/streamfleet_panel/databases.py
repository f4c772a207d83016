"""How the panel uses a database, by its kind. Imported by the settings, so nothing of Django's models is."""

from __future__ import annotations

from typing import Any


def configured(database: dict[str, Any]) -> dict[str, Any]:
    """An entry of Django's ``DATABASES``, made of its URL, with what the panel wants of that kind."""
    if database["ENGINE"] == "django.db.backends.sqlite3":
        # IMMEDIATE: a transaction that will write takes the lock at its start, so it can wait for it (busy timeout,
        # seconds) instead of failing in the middle. FULL: a commit is on the disk before it is answered.
        options = {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32000;",
        }
        return {**database, "OPTIONS": options}
    if database["ENGINE"] == "django.db.backends.mysql":
        import pymysql  # type: ignore[import-untyped]

        pymysql.install_as_MySQLdb()
        options = {
            **database.get("OPTIONS", {}),
            "charset": "utf8mb4",
            "collation": "utf8mb4_bin",
            "init_command": "SET sql_mode='STRICT_ALL_TABLES', default_storage_engine=INNODB",
        }
        test = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_bin"}
        return {**database, "ENGINE": "streamfleet_panel.mariadb", "TEST": test, "OPTIONS": options}
    return database
