"""What a TLS server offers, judged against a profile of Mozilla's by sslyze; and what that measures and does not judge.

sslyze asks for each version of TLS from SSL 2.0 on, for each cipher suite and each curve by itself, and brings the
published profile (Server Side TLS, 5.7) along.
"""

from __future__ import annotations

import contextlib
import ftplib
import http.client
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: What both profiles ask of Strict-Transport-Security, in seconds.
HSTS = 63_072_000
#: One line for each deviation, and one that says that there is none.
_ISSUE, _COMPLIANT = (
    re.compile(r"^ {8}\* (.+)$", re.MULTILINE),
    re.compile(r"^ {4}\S+: OK - Compliant\.$", re.MULTILINE),
)
_FAILED = re.compile(r"^ {4}\S+: FAILED - Not compliant\.$", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """Where a server is, and its name. ``ftp``: TLS begins with AUTH; ``hsts``: whether it must send that."""

    address: str
    port: int
    name: str
    ftp: bool = False
    hsts: bool = False


@dataclass(frozen=True)
class Found:
    """``offers``: by version of TLS its cipher suites, and ``curves``; ``deviations``: empty where there are none."""

    offers: Mapping[str, list[str]]
    deviations: list[str]

    @property
    def cbc(self) -> list[str]:
        """Cipher suites with CBC, whose padding has been attacked again and again."""
        return sorted({suite for suites in self.offers.values() for suite in suites if "_CBC_" in suite})


def scan_tls(server: Server, ca: str, profile: str, folder: Path) -> Found:
    """Scan a server and judge it. ``ca``: authorities (PEM) that are trusted; ``profile``: intermediate or modern.

    Raises AssertionError where the scan was not whole.
    """
    trusted, told = folder / "trusted.pem", folder / "scan.json"
    trusted.write_text(ca)
    told.unlink(missing_ok=True)
    program = subprocess.run([ROOT / "scripts/tls_scanner.sh"], capture_output=True, text=True, check=True).stdout
    target = f"[{server.address}]" if ":" in server.address else server.address
    done = subprocess.run(
        [
            *(program.strip(), "-W", "ignore", "-m", "sslyze", f"--mozilla_config={profile}", "--json_out", told),
            *("--certinfo_ca_file", trusted, "--sni", server.name),
            *(("--starttls", "ftp") if server.ftp else ("--early_data",)),
            f"{target}:{server.port}",
        ],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    assert told.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    found = judge(json.loads(told.read_text()), done.stdout)
    if server.hsts:
        found.deviations.extend(_hsts(server, ca))
    return found


def judge(told: Mapping[str, Any], said: str) -> Found:
    """From sslyze's JSON and what it printed. Raises AssertionError where something was not scanned, or not judged."""
    (server,) = told["server_scan_results"]
    assert server["scan_status"] == "COMPLETED", server["connectivity_error_trace"]
    attempts = {
        name: attempt for name, attempt in server["scan_result"].items() if attempt["status"] != "NOT_SCHEDULED"
    }
    failed = {name: attempt["error_reason"] for name, attempt in attempts.items() if attempt["status"] != "COMPLETED"}
    assert not failed, failed
    deviations = _ISSUE.findall(said.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2])
    assert (_FAILED if deviations else _COMPLIANT).search(said), said
    result = {name: attempt["result"] for name, attempt in attempts.items()}
    if result["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]:
        deviations.append("renegotiation: a client may ask for it again and again")
    if result.get("tls_1_3_early_data", {}).get("supports_early_data"):
        deviations.append("early_data: what is sent early can be sent again by others")
    for deployment in result["certificate_info"]["certificate_deployments"]:
        if deployment["leaf_certificate_has_must_staple_extension"] and deployment["ocsp_response"] is None:
            deviations.append("certificate: it demands an OCSP staple, and none is sent")
        if not deployment["received_chain_has_valid_order"]:
            deviations.append("certificate: the chain is not in order")
        if deployment["received_chain_contains_anchor_certificate"]:
            deviations.append("certificate: the authority's own is sent, too")
    offers = {
        name.removesuffix("_cipher_suites"): [item["cipher_suite"]["name"] for item in value["accepted_cipher_suites"]]
        for name, value in result.items()
        if name.endswith("_cipher_suites") and value["accepted_cipher_suites"]
    }
    assert offers, "it accepts nothing"
    offers["curves"] = [curve["name"] for curve in result["elliptic_curves"]["supported_curves"]]
    return Found(offers, deviations)


def _hsts(server: Server, ca: str) -> list[str]:
    context = ssl.create_default_context(cadata=ca)
    with (
        socket.create_connection((server.address, server.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=server.name) as link,
    ):
        link.sendall(f"GET / HTTP/1.0\r\nHost: {server.name}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(link)
        answer.begin()
        header = answer.getheader("Strict-Transport-Security") or ""
    seconds = re.fullmatch(r"max-age=([0-9]+)(?:;.*)?", header)
    return [] if seconds and int(seconds[1]) >= HSTS else [f"hsts: {header!r}, should be max-age={HSTS} or more"]


def speaks_tls(address: str, port: int) -> str:
    """``tls`` where a TCP port answers a handshake, ``ftp`` where it does after AUTH TLS, else nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=3) as plain:
        try:
            context.wrap_socket(plain).close()
        except ssl.SSLError as error:
            # An alert is an answer in TLS.
            if error.reason and "ALERT" in error.reason:
                return "tls"
        else:
            return "tls"
    with contextlib.suppress(OSError, EOFError, ftplib.Error), ftplib.FTP_TLS(context=context, timeout=3) as client:
        client.connect(address, port)
        client.auth()
        return "ftp"
    return ""
