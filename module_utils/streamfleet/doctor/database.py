"""The panel's database: asked as the panel's own user, so that what keeps the panel out is seen."""

from __future__ import annotations

import contextlib
import json
import pwd
import re
from typing import Any

from ..node_apply.host import Host
from ..upgrade import places
from ..upgrade.databases import USER, database_of
from ..upgrade.errors import UpgradeError
from .about import About
from .finding import Finding

READY = "/usr/local/bin/streamfleet-panel"
#: Larger files are only opened and asked for their tables: to read all of them takes too long.
_WHOLE = 512 * 2**20
#: Run as the panel's user with the path as argument: prints JSON. Opens nothing that is not there, and writes nothing.
_ASK = """
import json, os, sqlite3, sys
path, told = sys.argv[1], {"error": "", "check": ""}
try:
    told["writable"] = os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK)
    link = sqlite3.connect("file:" + path.replace("?", "%3f").replace("#", "%23") + "?mode=rw", uri=True, timeout=5)
    told["tables"] = link.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if os.path.getsize(path) <= int(sys.argv[2]):
        told["check"] = link.execute("PRAGMA quick_check(1)").fetchone()[0]
    link.isolation_level = None
    link.execute("BEGIN IMMEDIATE")
    link.execute("ROLLBACK")
except (sqlite3.Error, OSError) as error:
    told["error"] = str(error)
print(json.dumps(told))
"""
#: What servers' drivers say → word, cause, fix.
_SERVERS = (
    (
        r"password authentication failed|access denied for user|role .* does not exist|peer authentication failed",
        "login",
        "The database does not take the panel's log-in.",
        "Correct user and password in streamfleet_panel_database_url, and run install.yml.",
    ),
    (
        r"no space left|disk full|could not extend file|the table .* is full",
        "full",
        "The disk of the database's server is full.",
        "Free some space on that server.",
    ),
    (
        r"too many (?:clients|connections)|remaining connection slots",
        "connections",
        "The database's server takes no further connections.",
        "Raise its max_connections, or see who holds them.",
    ),
    (
        r"database .* does not exist|unknown database",
        "missing",
        "The database does not exist on its server.",
        "Make it, or correct streamfleet_panel_database_url; then run install.yml.",
    ),
    (
        r"invalid page|corrupt|checksum|crashed",
        "corrupt",
        "The database is damaged.",
        "Put back the last backup: restore.yml.",
    ),
    (
        r"refused|no such file|timed? ?out|can't connect|could not connect|connection failed|not "
        r"known|unreachable|starting up|server closed",
        "down",
        "The database's server does not answer.",
        "Start it (systemctl start postgresql, mariadb), or see whether the network lets the panel reach it.",
    ),
)


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``kind`` "": there is none here. Of SQLite what ``_ASK`` tells; of a server what the panel's own check says."""
    if not about.panel_host or not host.path(places.PANEL_ENV).exists():
        return {"kind": ""}
    try:
        database = database_of(host)
    except UpgradeError as error:
        return {"kind": "unknown", "error": str(error)}
    if database.kind != "sqlite":
        done = host.run([READY, "check_ready"], "", 60.0)
        return {"kind": database.kind, "error": "" if done.code == 0 else done.err.strip() or done.last_words}
    path = host.path(database.file)
    if not path.is_file():
        return {"kind": "sqlite", "file": str(path), "missing": True}
    command = [
        "setpriv",
        f"--reuid={USER}",
        f"--regid={USER}",
        "--init-groups",
        "--",
        "/usr/bin/python3",
        "-I",
        "-c",
        _ASK,
    ]
    done = host.run([*command, str(path), str(_WHOLE)], "", 120.0)
    found: dict[str, Any] = {"kind": "sqlite", "file": str(path), "holder": "", "error": done.last_words, "check": ""}
    with contextlib.suppress(ValueError):
        found |= json.loads(done.out)
    status = path.stat()
    found["mode"] = f"{_owner(status.st_uid)} {status.st_mode & 0o7777:04o}"
    if "locked" in found["error"]:
        found["holder"] = _holder(host, str(path))
    return found


def _owner(number: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)


def _holder(host: Host, path: str) -> str:
    """Who holds a lock to write on the database or its files beside."""
    inodes = {}
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            inodes[str(host.path(path + suffix).stat().st_ino)] = suffix
    with contextlib.suppress(OSError):
        for line in host.path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if len(fields) > 5 and fields[3] == "WRITE" and fields[5].rpartition(":")[2] in inodes:
                with contextlib.suppress(OSError):
                    words = (
                        host.path(f"/proc/{fields[4]}/cmdline")
                        .read_bytes()
                        .replace(b"\0", b" ")
                        .decode(errors="replace")
                    )
                    return f"process {fields[4]}: {words[:120]}"
    return ""


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["database"]
    if it["kind"] == "":
        return []
    if it["kind"] == "unknown":
        return [
            Finding(
                "database.settings",
                places.PANEL_ENV,
                "The panel's settings do not say which database it has.",
                it["error"],
                "Run install.yml for this host.",
            )
        ]
    if it["kind"] != "sqlite":
        return _server(it)
    path, error = it["file"], it.get("error", "")
    if it.get("missing"):
        return [
            _database(
                "missing",
                path,
                "The panel's database is not there.",
                f"{path} is missing",
                "Put back the last backup: restore.yml. install.yml would begin with an empty one.",
            )
        ]
    if re.search(r"malformed|not a database|corrupt", error) or it["check"] not in ("", "ok"):
        return [
            _database(
                "corrupt",
                path,
                "The panel's database is damaged.",
                error or it["check"],
                "Put back the last backup: restore.yml. Look for the cause: a failing disk, a copy made while it "
                "was in use.",
            )
        ]
    if "full" in error:
        return [_database("full", path, "The disk that has the panel's database is full.", error, "Free some space.")]
    if "locked" in error:
        return [
            _database(
                "locked",
                path,
                "Somebody holds the panel's database, so nothing can be changed.",
                f"{error}; {it['holder'] or 'its holder is not known'}",
                "See what that process does, and end it.",
            )
        ]
    if error or not it.get("writable", True):
        fix = (("chown", f"{USER}:{USER}", path), ("chmod", "0660", path), ("chmod", "2770", path.rpartition("/")[0]))
        return [
            _database(
                "rights",
                path,
                "The panel may not write its database.",
                f"{path} is {it['mode']}; {error}".rstrip("; "),
                " && ".join(" ".join(words) for words in fix),
                fix,
            )
        ]
    return []


def _database(
    word: str, path: str, cause: str, evidence: str, fix: str, commands: tuple[tuple[str, ...], ...] = ()
) -> Finding:
    return Finding(f"database.{word}", path, cause, evidence, fix, commands=commands)


def _server(it: dict[str, Any]) -> list[Finding]:
    if not it["error"]:
        return []
    for pattern, word, cause, fix in _SERVERS:
        lines = [line for line in it["error"].splitlines() if re.search(pattern, line, re.IGNORECASE)]
        if lines:
            return [Finding(f"database.{word}", it["kind"], cause, lines[-1], fix)]
    # What is left is no fault of the database; the panel's own theme and check say it.
    return []
