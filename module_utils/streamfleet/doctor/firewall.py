"""The firewalls: ours in force, and none of somebody else's in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, Finding

TENANTS, OWN, BANS = "streamfleet_tenants", "streamfleet_firewall", "streamfleet_bans"
RULES = "/etc/streamfleet/nftables/firewall.nft"


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``tables``; ``closing``: of each table that drops what it does not name, the TCP port ranges that it lets in."""
    done = host.run(["nft", "--json", "list", "ruleset"], "", 30.0)
    try:
        items = json.loads(done.out or "{}").get("nftables", [])
    except ValueError:
        items = []
    closing = {}
    for item in items:
        chain = item.get("chain")
        if chain and chain.get("hook") == "input" and chain.get("policy") == "drop":
            name = f"{chain['family']} {chain['table']}"
            closing[name] = _let_in(items, chain["family"], chain["table"])
    return {
        "error": "" if done.code == 0 else done.last_words,
        "tables": [item["table"]["name"] for item in items if "table" in item],
        "closing": closing,
        "meant": host.path(RULES).is_file(),
        "node": host.path("/etc/systemd/system/streamfleet-tenants.service").is_file(),
        "candidate": host.path(RULES.replace("firewall.nft", "candidate-firewall.nft")).exists(),
        "open": [list(entry) for entry in about.open],
    }


def _let_in(items: list[dict[str, Any]], family: str, table: str) -> list[list[int]] | None:
    """The ranges that some rule of the table accepts; None where a rule accepts by something else than the port."""
    found: list[list[int]] = []
    sets = {
        item["set"]["name"]: item["set"].get("elem", [])
        for item in items
        if "set" in item and (item["set"]["family"], item["set"]["table"]) == (family, table)
    }
    for item in items:
        rule = item.get("rule")
        if not rule or (rule["family"], rule["table"]) != (family, table):
            continue
        if not any("accept" in part for part in rule["expr"]):
            continue
        ports = list(_ports(rule["expr"], sets))
        if ports:
            found += ports
        elif not _narrow(rule["expr"]):
            return None
    return found


def _ports(expressions: list[dict[str, Any]], sets: dict[str, Any]) -> Iterator[list[int]]:
    for part in expressions:
        match = part.get("match", {})
        payload = match.get("left", {}).get("payload", {}) if isinstance(match.get("left"), dict) else {}
        if payload.get("field") != "dport" or match.get("op") not in ("==", "in"):
            continue
        right = match["right"]
        if isinstance(right, str) and right.startswith("@"):
            right = {"set": sets.get(right[1:], [])}
        for value in right["set"] if isinstance(right, dict) and "set" in right else [right]:
            if isinstance(value, int):
                yield [value, value]
            elif isinstance(value, dict) and "range" in value:
                yield [int(value["range"][0]), int(value["range"][1])]


def _narrow(expressions: list[dict[str, Any]]) -> bool:
    """Whether a rule without a port lets in only what nobody begins with: answers, loopback, ICMP, other protocols."""
    for part in expressions:
        match = part.get("match", {})
        left = match.get("left", {}) if isinstance(match.get("left"), dict) else {}
        words = json.dumps(match.get("right"))
        if left.get("ct", {}).get("key") == "state" and "new" not in words:
            return True
        if left.get("meta", {}).get("key") in ("iif", "iifname") and '"lo"' in words:
            return True
        if "icmp" in json.dumps(match) or left.get("payload", {}).get("protocol") in ("udp", "icmp", "icmpv6"):
            return True
    return False


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["firewall"]
    found: list[Finding] = []
    if it["error"]:
        return found
    tenants = facts["units"]["units"].get("streamfleet-tenants.service", {}).get("active")
    if it["node"] and TENANTS not in it["tables"] and tenants == "active":
        found.append(
            Finding(
                "firewall.tenants",
                TENANTS,
                "The firewall around tenants is not loaded: their processes reach loopback. Something has flushed "
                "the rules.",
                f"there is no table inet {TENANTS}, though its unit is active",
                "systemctl restart streamfleet-tenants.service.",
                ERROR,
                (("systemctl", "restart", "streamfleet-tenants.service"),),
            )
        )
    if it["meant"] and OWN not in it["tables"]:
        found.append(
            Finding(
                "firewall.off",
                OWN,
                "The host's firewall is not loaded: everybody reaches what others must not. Something has flushed it.",
                f"there is no table inet {OWN}, though {RULES} is there",
                "systemctl restart streamfleet-firewall.service.",
                ERROR,
                (("systemctl", "restart", "streamfleet-firewall.service"),),
            )
        )
    # What it does to FTP is told by the theme of file transfers.
    passive = facts["file_transfer"].get("passive")
    for table, ranges in sorted(it["closing"].items()):
        if ranges is None:
            continue
        shut = [entry for entry in it["open"] if not inside(entry, ranges) and entry[:2] != passive]
        if not shut:
            continue
        words = ", ".join(f"{first if first == last else f'{first}-{last}'} ({what})" for first, last, what in shut)
        ours = table.endswith(" " + OWN)
        found.append(
            Finding(
                "firewall.narrow" if ours else "firewall.foreign",
                table,
                f"{'The host firewall' if ours else 'A firewall that is not ours'} closes ports that others must "
                f"reach: {words}.",
                f"table {table} drops what it does not name",
                "Run hardening.yml for this host."
                if ours
                else "Open these ports there (ufw, firewalld or /etc/nftables.conf), or remove it and have "
                "hardening.yml set up the host's.",
            )
        )
    return found


def inside(entry: list[Any], ranges: list[list[int]]) -> bool:
    """Whether the whole of a range is let in, by several rules maybe."""
    port = int(entry[0])
    for first, last in sorted(ranges):
        if first <= port <= last:
            port = last + 1
        if port > int(entry[1]):
            return True
    return False
