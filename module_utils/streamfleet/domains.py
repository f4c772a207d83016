"""Host names of tenants' own, by which a service is reached: a small file each, which the web server reads per request.

Reads nothing and writes nothing; on Python's own library.
"""

from __future__ import annotations

import json
import re

#: Where the files lie, ``<name>.json`` each.
FOLDER = "/etc/streamfleet/domains"
#: The same of resellers' own names for the panel, on its host. The panel writes them; nothing of them is believed but
#: that the name is to lead to it.
PANEL_FOLDER = "/var/lib/streamfleet/panel-domains"
#: Characters of a name: what is written beside it on a disk must not be longer than a file's name may be.
LONGEST = 200
#: Kind of an engine → how the web server serves a service of it.
WAYS = {"audio": "listen", "video": "hls"}
#: States in which a service's names lead to it: it is on the air, or comes back by its owner's hand or by the clock, or
#: another node has it by now.
HELD_IN = frozenset({"running", "stopped", "over_quota", "moved"})

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?=[0-9-]*[a-z]){_LABEL}")


def problem(name: object) -> str | None:
    """Why ``name`` cannot be a service's own host name, to be read behind it; None where it can."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "is not a host name: lower-case letters, digits and hyphens, in at least two labels between dots"
    return f"is longer than {LONGEST} characters" if len(name) > LONGEST else None


def path_of(name: str) -> str:
    """Where the file of a name lies. Only for a name without a ``problem``."""
    return f"{FOLDER}/{name}.json"


def is_path(path: str) -> bool:
    """Whether it is the file of a name."""
    return path.startswith(f"{FOLDER}/")


def content(slug: str, uid: int, way: str) -> str:
    """What stands in it: which service the name is for, whose that is, and how it is served."""
    return json.dumps({"slug": slug, "uid": uid, "way": way}) + "\n"
