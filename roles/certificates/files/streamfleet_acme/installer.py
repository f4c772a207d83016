"""Puts what was issued in place: as root, without a network, and believing nothing of what the client has written."""

from __future__ import annotations

import grp
import hashlib
import json
import sys
from pathlib import Path

from . import certificates, domains, pem
from .errors import TlsError
from .names import ACME, Names
from .shelf import Shelf, read

TLS, AUTHORITY, GROUP = Path("/etc/streamfleet/tls"), Path("/etc/streamfleet/ca/ca.pem"), "www-data"


def take(shelf: Shelf, place: certificates.Place) -> list[str]:
    """Put all that waits in place, and say what could not be; nothing waits afterwards."""
    settings = json.loads(read(shelf.settings / "settings.json"))
    known = {item["name"]: item["hosts"] for item in settings["orders"]}
    own = {*known, *settings["own"]}
    faults, placed = [], {name: value for name, value in shelf.placed().items() if name in known}
    for path in sorted(shelf.issued.iterdir()):
        name = path.name.removesuffix(".pem")
        try:
            tenants = name not in own and _is_tenants(shelf, name)
            if name not in known and not tenants:
                raise TlsError("it was never ordered")
            chain = read(path)
            digest = hashlib.sha256(chain).hexdigest()
            _one(place, Names(name, tuple(known.get(name, [name])), (), ACME), chain)
            if tenants:
                # A file of its own: there may be thousands.
                pem.put(shelf.marker(name), digest.encode(), 0o644)
            else:
                placed[name] = digest
                shelf.write_placed(placed)
            print(f"{name}: in place", flush=True)
        except (OSError, TlsError) as error:
            faults.append(f"{path.name!r} is not put in place: {error}")
        finally:
            # Whatever becomes of it: it would be tried without end.
            path.unlink(missing_ok=True)
    return faults


def _is_tenants(shelf: Shelf, name: str) -> bool:
    """Whether root has made a request for the name, as a tenant's own."""
    return domains.problem(name) is None and shelf.domain_request(name).is_file()


def _one(place: certificates.Place, names: Names, chain: bytes) -> None:
    leaf = pem.read_chain(chain)[0]
    if not set(names.hosts) <= pem.hosts(leaf):
        raise TlsError(f"it is for {', '.join(sorted(pem.hosts(leaf)))}, not for {', '.join(names.hosts)}")
    if pem.days_left(leaf) <= 0:
        raise TlsError("it is not valid now")
    certificates.put_chain(place, names, chain)


def main(shelf: Shelf) -> int:
    """Exit status."""
    place = certificates.Place(TLS, AUTHORITY, grp.getgrnam(GROUP).gr_gid, 0)
    faults = take(shelf, place)
    for fault in faults:
        print(fault, file=sys.stderr, flush=True)
    return 1 if faults else 0
