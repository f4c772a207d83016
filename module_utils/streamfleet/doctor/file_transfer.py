"""FTP over TLS and SFTP: whether they answer, and whether data gets through."""

from __future__ import annotations

import contextlib
import ftplib
import hashlib
import ipaddress
import re
import ssl
from typing import Any

from ..node_apply.host import Host
from . import asking
from .about import About
from .finding import ERROR, WARNING, Finding
from .firewall import OWN, inside
from .processes import restart

UNIT = "streamfleet-file-transfer.service"
SETTINGS = "/etc/streamfleet/file-transfer/proftpd.conf"
#: Part of the passive ports in use from which on clients wait.
_BUSY = 0.95


def gather(host: Host, about: About, seen: dict[str, Any]) -> dict[str, Any]:
    """``installed``; the ports of the settings; ``ftps``, ``sftp``: how each begins; ``passive``: ports in use."""
    path = host.path(SETTINGS)
    if not path.is_file():
        return {"installed": False}
    text = path.read_text()
    ports = [int(port) for port in re.findall(r"^\s*Port (\d+)$", text, re.MULTILINE)]
    passive = re.search(r"^PassivePorts (\d+) (\d+)$", text, re.MULTILINE)
    masquerade = re.search(r"^MasqueradeAddress (\S+)$", text, re.MULTILINE)
    chain = re.search(r"^TLSECCertificateFile (\S+)$", text, re.MULTILINE)
    found: dict[str, Any] = {
        "installed": True,
        "ports": ports,
        "passive": [int(passive[1]), int(passive[2])] if passive else [],
        "masquerade": masquerade[1] if masquerade else "",
        "outside": list(about.addresses),
        "answers": {},
        "used": 0,
        "served": "",
        "stored": "",
    }
    running = seen["units"]["units"].get(UNIT, {}).get("active") == "active"
    held = any(process["unit"] == UNIT for process in seen["processes"]["stopped"])
    if running and not held:
        for port in ports:
            line, why = asking.greeting(port, about.patience)
            if why == asking.SILENT:
                line, why = asking.greeting(port, about.patience * 2)
            found["answers"][str(port)] = {"line": line, "why": why}
        if chain and ports and found["answers"][str(ports[0])]["line"].startswith("220"):
            found["served"] = _served(ports[0], about.patience)
            with contextlib.suppress(OSError, ValueError):
                found["stored"] = _digest(ssl.PEM_cert_to_DER_cert(_leaf(host.path(chain[1]).read_text())))
    if passive:
        found["used"] = _used(host, int(passive[1]), int(passive[2]))
    return found


def _leaf(text: str) -> str:
    return text[: text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")]


def _digest(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()


def _served(port: int, patience: float) -> str:
    """Digest of the certificate that is shown to clients of FTP; "" where there is none."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError, EOFError, ftplib.Error):
        client = ftplib.FTP_TLS(context=context, timeout=patience * 2)  # noqa: S321  (over TLS)
        client.connect("127.0.0.1", port)
        client.auth()
        link = client.sock
        shown = link.getpeercert(binary_form=True) if isinstance(link, ssl.SSLSocket) else None
        client.close()
        return _digest(shown) if shown else ""
    return ""


def _used(host: Host, first: int, last: int) -> int:
    """How many of the passive ports are in use: waited on, or connected."""
    done = host.run(["ss", "-Htan", f"( sport >= :{first} and sport <= :{last} )"], "", 30.0)
    ports = set()
    for line in done.out.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[0] != "TIME-WAIT":
            ports.add(fields[3].rpartition(":")[2])
    return len(ports)


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["file_transfer"]
    if not it["installed"]:
        return []
    found = []
    for port, answer in it["answers"].items():
        if answer["why"] == asking.SILENT:
            found.append(
                Finding(
                    "file_transfer.hung",
                    UNIT,
                    f"{UNIT} is hung: clients of port {port} get no answer.",
                    answer["why"],
                    f"systemctl restart {UNIT}.",
                    commands=restart(UNIT),
                )
            )
            break
        if answer["why"]:
            found.append(
                Finding(
                    "file_transfer.deaf",
                    UNIT,
                    f"{UNIT} runs, but does not listen on port {port}.",
                    answer["why"],
                    f"Another program may have the port: ss -ltnp; then systemctl restart {UNIT}.",
                )
            )
    if it["passive"]:
        found += _passive(facts, it)
    if it["served"] and it["stored"] and it["served"] != it["stored"]:
        found.append(
            Finding(
                "file_transfer.certificate",
                UNIT,
                "FTP over TLS shows the certificate of before: it was renewed, and not read again.",
                f"shown {it['served'][:16]}…, on disk {it['stored'][:16]}…",
                f"systemctl reload {UNIT}.",
                commands=(("systemctl", "reload", UNIT),),
            )
        )
    return found


def _passive(facts: dict[str, Any], it: dict[str, Any]) -> list[Finding]:
    """Log-in works and every list or transfer hangs: the classic of FTP."""
    first, last = it["passive"]
    found = []
    for table, ranges in facts["firewall"]["closing"].items():
        if ranges is not None and not inside([first, last], ranges):
            found.append(
                Finding(
                    "file_transfer.passive",
                    f"{first}-{last}",
                    "The firewall closes FTP's passive ports: clients log in, and every listing and transfer hangs.",
                    f"table {table} does not let in {first}-{last}",
                    "Run hardening.yml for this host."
                    if table.endswith(" " + OWN)
                    else f"Open TCP {first}-{last} there.",
                )
            )
    if it["used"] >= (last - first + 1) * _BUSY:
        found.append(
            Finding(
                "file_transfer.ports",
                f"{first}-{last}",
                "FTP's passive ports are used up: transfers wait or are refused.",
                f"{it['used']} of {last - first + 1} in use",
                "Widen streamfleet_file_transfer_passive_ports_start and …_end, and run install.yml.",
                ERROR,
            )
        )
    own = [address for address in facts["names"]["own"] if _is(address, "is_global")]
    outside = [address for address in it["outside"] if _is(address, "is_global")]
    if not it["masquerade"] and outside and not set(outside) & set(own) and not own:
        found.append(
            Finding(
                "file_transfer.address",
                "passive",
                "FTP tells clients this host's private address for data: transfers hang for all who are outside.",
                f"clients reach the host as {', '.join(outside)}, and no MasqueradeAddress is set",
                "Set streamfleet_file_transfer_public_address, and run install.yml.",
                WARNING,
            )
        )
    return found


def _is(text: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(text), what))
    except ValueError:
        return False
