"""Where things lie, and what goes along."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..node_apply.host import Host

#: The mark: where the panel has come from, or gone to. Read by streamfleet_fleet_lock, too.
MARK = "/var/lib/streamfleet/panel_transfer.json"
#: Root's: what goes, what came, and what was here before.
FOLDER = "/var/lib/streamfleet/panel_transfer"
PACK, COME, BEFORE = f"{FOLDER}/pack.tar", f"{FOLDER}/come.tar", f"{FOLDER}/before"
#: On the new host, until the panel has come: which files came, and what was in their places.
REPLACED = f"{FOLDER}/replaced"
CAME = f"{FOLDER}/came.json"
#: While a file of a unit's name is here, it does not start; the units themselves say so.
HELD = f"{FOLDER}/held"
#: Gone at a restart of the host: the key of one run.
WAY = "/run/streamfleet-panel-transfer"
#: Had by whatever changes something here, and by the programs that it runs.
LOCK = "/run/streamfleet-panel-transfer.lock"

CA = "/etc/streamfleet/ca"
#: The authority's key is the panel's host's alone.
CA_KEYS = (f"{CA}/ca.key",)
TLS = "/etc/streamfleet/tls"
#: Names of customers' own, whose certificates are not the panel's.
DOMAINS = "/etc/streamfleet/domains"
PANEL_DOMAINS = "/var/lib/streamfleet/panel-domains"
WORKER_KEY = "/etc/streamfleet/worker/id_ed25519"
#: With them the database can be read, and who has them is let in.
SECRETS = (
    "/etc/streamfleet/panel/secrets.env",
    "/etc/streamfleet/panel/admin_password",
    "/etc/streamfleet/panel/install_token",
    "/etc/streamfleet/worker/secrets.env",
    "/etc/streamfleet/worker/token",
)
ACME_CLIENT = "/var/lib/streamfleet/certificates/client"
ACME = f"{ACME_CLIENT}/lego/accounts"
#: What was issued, and what is known of it: without them the new host would order at once.
ACME_HELD, ACME_STATE = f"{ACME_CLIENT}/held", f"{ACME_CLIENT}/state.json"

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


class TransferError(RuntimeError):
    """What cannot be done, for people: names what is wrong, and what to do."""


def certificates(host: Host, names: Iterable[str]) -> list[str]:
    """Folders of the certificates of these names that there are. Raises TransferError."""
    found = []
    for name in names:
        if not _NAME.fullmatch(name):
            raise TransferError(f"names: {name!r} is not a host name in lower case")
        if host.path(f"{TLS}/{name}").is_dir():
            found.append(f"{TLS}/{name}")
    return found


def resellers(host: Host) -> list[str]:
    """Names of resellers' own for the panel."""
    return sorted(path.stem for path in host.path(PANEL_DOMAINS).glob("*.json") if _NAME.fullmatch(path.stem))


def customers(host: Host) -> set[str]:
    """Names of customers' own that services here are reached by."""
    return {path.stem for path in host.path(DOMAINS).glob("*.json")}


def first(host: Host, names: Iterable[str]) -> list[str]:
    """What the new host has to have before it is installed, or it would make others. ``names``: with certificates."""
    names = list(names)
    folders = certificates(host, names)
    # Of those that end in a slash the folder alone, for its owner.
    acme = [f"{ACME_CLIENT}/lego/", ACME]
    if names:
        acme += [f"{ACME_HELD}/", ACME_STATE, *(f"{ACME_HELD}/{name}.pem" for name in names)]
    wanted = [CA, WORKER_KEY, f"{WORKER_KEY}.pub", *acme, *folders]
    return [path for path in wanted if host.path(path).exists()]


def last(host: Host) -> list[str]:
    """What goes with the database."""
    wanted = [*SECRETS, PANEL_DOMAINS, *certificates(host, resellers(host))]
    return [path for path in wanted if host.path(path).exists()]


def made(host: Host, path: str) -> Path:
    """A folder of root's alone."""
    place = host.path(path)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    return place
