"""Servers of databases on a node, and the variables by which the panel uses them."""

from __future__ import annotations

from urllib.parse import quote

from demo.stage import Stage

KINDS = ("mariadb", "postgresql")
PASSWORD = "of the panel's p@ss/word"
#: As an operator makes it; the password comes by standard input.
MARIADB = """
set -e
password=$(cat)
apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mariadb-server
systemctl start mariadb
mariadb -e "CREATE DATABASE streamfleet CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  CREATE USER streamfleet@'127.0.0.1' IDENTIFIED BY '$password'; GRANT ALL ON streamfleet.* TO streamfleet@'127.0.0.1'"
"""


def server(stage: Stage, kind: str) -> None:
    """Have what the operator brings: of MariaDB a server with an empty database. PostgreSQL comes with the panel."""
    if kind == "mariadb":
        stage.on_node(["sh", "-c", MARIADB], stdin=PASSWORD.replace("'", "''"), timeout=600)


def variables(kind: str) -> dict[str, object]:
    """What the inventory says of the panel's database."""
    if kind == "postgresql":
        return {"streamfleet_panel_database_install": True}
    return {"streamfleet_panel_database_url": f"mysql://streamfleet:{quote(PASSWORD, safe='')}@127.0.0.1/streamfleet"}
