"""Certificates of the host's own names: there, readable, in time, for the name, with their key."""

from __future__ import annotations

import grp
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, WARNING, Finding

FOLDER = "/etc/streamfleet/tls"
AUTHORITY = "/etc/streamfleet/ca/ca.pem"
FURTHER = "/etc/streamfleet/ca/further.pem"
READER = "www-data"


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """Name → what openssl says of its files."""
    return {"now": datetime.now(UTC).timestamp(), "names": {name: _look(host, name) for name in about.names}}


def _look(host: Host, name: str) -> dict[str, Any]:
    chain, key = host.path(f"{FOLDER}/{name}/fullchain.pem"), host.path(f"{FOLDER}/{name}/privkey.pem")
    if not chain.is_file() or not key.is_file():
        return {"missing": str(chain if not chain.is_file() else key)}
    told = host.run(["openssl", "x509", "-noout", "-dates", "-subject", "-issuer", "-in", str(chain)], "", 20.0)
    dates = dict(re.findall(r"^not(Before|After)=(.+)$", told.out, re.MULTILINE))
    if told.code != 0 or len(dates) != 2:
        return {"unreadable": told.last_words}
    status = key.stat()
    public = host.run(["openssl", "x509", "-noout", "-pubkey", "-in", str(chain)], "", 20.0).out
    own = host.run(["openssl", "pkey", "-pubout", "-in", str(key)], "", 20.0)
    fits = host.run(["openssl", "x509", "-noout", "-checkhost", name, "-in", str(chain)], "", 20.0)
    return {
        "before": _moment(dates["Before"]),
        "after": _moment(dates["After"]),
        "issuer": "".join(re.findall(r"^issuer=(.*)$", told.out, re.MULTILINE)),
        "subject": "".join(re.findall(r"^subject=(.*)$", told.out, re.MULTILINE)),
        "fits": "does match" in fits.out,
        "key": own.last_words if own.code != 0 else "" if own.out.strip() == public.strip() else "another key",
        "readable": bool(status.st_mode & 0o004) or (bool(status.st_mode & 0o040) and _group(status.st_gid) == READER),
        "mode": f"{_group(status.st_gid)} {status.st_mode & 0o7777:04o}",
        "verified": _verified(host, str(chain)),
    }


def _verified(host: Host, chain: str) -> str:
    """What openssl has against it, by the own authority or those that the host trusts; "" for nothing. Dates apart."""
    said = ""
    for trust in ([str(host.path(AUTHORITY))], [str(host.path(FURTHER))], []):
        if trust and not host.path(trust[0]).is_file():
            continue
        with_file = ["-CAfile", trust[0]] if trust else []
        done = host.run(["openssl", "verify", "-no_check_time", "-untrusted", chain, *with_file, chain], "", 20.0)
        if done.code == 0:
            return ""
        said = said or next((line for line in done.err.splitlines() if line.startswith("error ")), done.last_words)
    return said


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _moment(text: str) -> float:
    """As openssl writes it: ``Nov 28 01:02:03 2026 GMT``."""
    return datetime.strptime(" ".join(text.split()), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules; the first that holds for a name is its cause."""
    found = []
    for name, it in facts["certificates"]["names"].items():
        finding = _judged(name, it, facts["certificates"]["now"])
        if finding:
            found.append(finding)
    return found


def _judged(name: str, it: dict[str, Any], now: float) -> Finding | None:
    again = "Run certificates.yml for this host."
    if "missing" in it:
        return Finding(
            "certificates.missing",
            name,
            f"{name} has no certificate, so nobody can connect by TLS.",
            it["missing"] + " is missing",
            again,
        )
    if "unreadable" in it:
        return Finding(
            "certificates.broken",
            name,
            f"The certificate of {name} cannot be read: its file is damaged.",
            it["unreadable"],
            f"Remove {FOLDER}/{name}/fullchain.pem, and run certificates.yml for this host.",
        )
    if it["key"]:
        return Finding(
            "certificates.key",
            name,
            f"The key of {name} is not the one of its certificate.",
            f"privkey.pem: {it['key']}",
            f"Put the right key beside it, or remove both files of {FOLDER}/{name} and run certificates.yml for "
            "this host.",
        )
    if not it["readable"]:
        key = f"{FOLDER}/{name}/privkey.pem"
        return Finding(
            "certificates.rights",
            name,
            f"The web server may not read the key of {name}.",
            f"{key} is {it['mode']}",
            f"chgrp {READER} {key}; chmod 0640 {key}.",
            ERROR,
            (("chgrp", READER, key), ("chmod", "0640", key)),
        )
    if now < it["before"]:
        return Finding(
            "certificates.future",
            name,
            f"The certificate of {name} is not valid yet: this host's clock is behind, or that of the one who made "
            "it was ahead.",
            f"valid from {_day(it['before'])}, and it is {_day(now)} here",
            "Set the clock (timedatectl). " + again,
        )
    if now > it["after"]:
        return Finding(
            "certificates.expired",
            name,
            f"The certificate of {name} has expired.",
            f"it was valid until {_day(it['after'])}",
            again + " journalctl -u streamfleet-acme says why it was not renewed, if it is ordered.",
        )
    if not it["fits"]:
        return Finding(
            "certificates.name",
            name,
            f"The certificate in the folder of {name} is for another name.",
            it["subject"],
            again,
        )
    if it["verified"]:
        return Finding(
            "certificates.authority",
            name,
            f"No authority that clients trust has signed the certificate of {name}.",
            f"{it['issuer']}: {it['verified']}",
            again + " One of an authority of yours: name it in streamfleet_certificates_trusted.",
        )
    margin = min(timedelta(days=14).total_seconds(), (it["after"] - it["before"]) / 6)
    if now > it["after"] - margin:
        return Finding(
            "certificates.due",
            name,
            f"The certificate of {name} ends soon, and should have been renewed by now.",
            f"valid until {_day(it['after'])}",
            again,
            WARNING,
        )
    return None
