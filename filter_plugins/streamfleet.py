"""Pure functions for playbooks and templates."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any

from ansible.errors import AnsibleFilterError

_NONE = frozenset({"null", "none", "unlimited"})
_TRUE = frozenset({"yes", "true", "on"})
_FALSE = frozenset({"no", "false", "off"})


def streamfleet_answer(value: Any, omitted: Any, kind: str = "text") -> Any:
    """An answer of a survey (or any variable) as the value of a module's option.

    Surveys know only text, and cannot leave a question out: so an empty answer means that the option is omitted, and a
    word says null.

    :param value: the answer. Anything but text is returned as it is, empty lists and mappings too.
    :param omitted: what to return for an empty answer; in a task the variable ``omit``.
    :param kind: ``text``; ``number`` (``unlimited``, ``none`` and ``null`` mean null); ``choice`` (``none`` and
        ``null`` mean null); ``bool`` (yes, no, true, false, on, off); ``list`` (one entry a line, or between commas);
        ``data`` (JSON); ``secret`` (text that is not even trimmed).
    :raises AnsibleFilterError: for an answer that cannot be of this kind.
    """
    if value is None:
        return omitted
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return omitted
    if kind == "secret":
        return value
    try:
        convert = _KINDS[kind]
    except KeyError:
        raise AnsibleFilterError(
            f"streamfleet_answer: kind {kind!r} must be one of {', '.join([*_KINDS, 'secret'])}"
        ) from None
    return convert(text)


def streamfleet_unknown(names: Iterable[str], prefix: str, known: Iterable[str]) -> list[str]:
    """Of the variables ``names``, those that start with ``prefix`` but do not go on with one of ``known``; sorted."""
    allowed = {f"{prefix}{name}" for name in known}
    return sorted(name for name in names if name.startswith(prefix) and name not in allowed)


def streamfleet_no_networks(texts: Iterable[Any]) -> list[str]:
    """Of ``texts``, those that are no network as programs and the firewall take it: ``10.20.0.1/16``, ``10.20.0.0``."""
    return [str(text) for text in texts if not _is_one(text, ipaddress.ip_network) or "/" not in text]


def streamfleet_no_addresses(texts: Iterable[Any]) -> list[str]:
    """Of ``texts``, those that are no IP address by itself; one with its interface (``fe80::1%eth0``) is none."""
    return [str(text) for text in texts if not _is_one(text, ipaddress.ip_address)]


def streamfleet_kept(entries: Iterable[Mapping[str, Any]], now: datetime) -> list[str]:
    """Of former names, ``{"host", "until"}`` each, the hosts that are kept: ``until`` is the last day, in UTC.

    :raises AnsibleFilterError: for an entry without a host or a day.
    """
    return list(streamfleet_kept_days(entries, now))


def streamfleet_kept_days(entries: Iterable[Mapping[str, Any]], now: datetime, current: str = "") -> dict[str, str]:
    """As ``streamfleet_kept``, each host with its last day, as ``2027-03-01``, but for the ``current`` name."""
    found = {}
    for entry in entries:
        try:
            host, until = entry["host"], entry["until"]
            # YAML reads a day without quotes as one.
            last = date.fromisoformat(str(until)[:10])
        except (KeyError, TypeError, ValueError):
            raise AnsibleFilterError(
                "streamfleet_former_panel_hosts, streamfleet_former_stream_hosts, streamfleet_former_domain_targets: "
                f'{entry!r} must have host, a host name, and until, a day such as "2027-03-01"'
            ) from None
        if now.date() <= last and host != current:
            found[str(host)] = last.isoformat()
    return found


def streamfleet_a_labels(names: Iterable[Any]) -> list[tuple[str, str]]:
    """Of host names, those that are international, each with how DNS has it (``xn--…``), where Python's rules know."""
    found = []
    for name in names:
        if isinstance(name, str) and not name.isascii():
            try:
                label = name.encode("idna").decode("ascii")
                known = label.encode().decode("idna") == name.lower()
            except UnicodeError:
                known = False
            found.append((name, label if known else "its A-label (xn--…), which your registrar shows"))
    return found


def _is_one(text: Any, read: Callable[[str], Any]) -> bool:
    # Numbers would be read as addresses, too.
    if not isinstance(text, str):
        return False
    try:
        read(text)
    except ValueError:
        return False
    # Python knows masks (10.20.0.0/255.255.0.0) and interfaces (fe80::1%eth0), too; the firewall does not.
    return re.fullmatch(r"[0-9a-fA-F:.]+(/[0-9]{1,3})?", text) is not None


def streamfleet_shared_ports(specs: Iterable[Mapping[str, Any]], variables: Mapping[str, Any]) -> list[str]:
    """Ports that two engines of one host want, each as a sentence that says who they are and what separates them.

    :param specs: what ``engine/spec.yml`` of each engine of the host says.
    :param variables: the host's; a port's variable that is not among them has its default.
    """
    wanted: dict[int, list[tuple[str, str, str | None]]] = {}
    for spec in specs:
        for purpose, plan in (spec.get("host_ports") or {}).items():
            port = _host_port(plan, variables)
            if port:
                wanted.setdefault(port, []).append((spec["title"], purpose, plan.get("variable")))
    shared = []
    for port, users in sorted(wanted.items()):
        if len(users) > 1:
            who = " and ".join(f"{title} ({purpose})" for title, purpose, _variable in users)
            ways = " or ".join(variable for _title, _purpose, variable in users if variable)
            fix = f"Give one of them another with {ways}" if ways else "Put them on hosts of their own"
            shared.append(f"port {port} is wanted by {who}. {fix}")
    return shared


def streamfleet_host_ports(
    specs: Iterable[Mapping[str, Any]], variables: Mapping[str, Any]
) -> dict[str, dict[str, int]]:
    """Engine → what for → port, of all that a variable may set; 0 where it is switched off.

    Parameters as of ``streamfleet_shared_ports``.
    """
    ports = {}
    for spec in specs:
        plans = (spec.get("host_ports") or {}).items()
        ports[spec["name"]] = {use: _host_port(plan, variables) for use, plan in plans if "variable" in plan}
    return ports


def streamfleet_openings(specs: Iterable[Mapping[str, Any]], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What of the engines others shall reach, as the role firewall takes it.

    Parameters as of ``streamfleet_shared_ports``.
    """
    return [
        {"name": f"{spec['name']} {purpose}", "protocol": "tcp", "ports": [str(port)]}
        for spec in specs
        for purpose, plan in (spec.get("host_ports") or {}).items()
        if plan.get("public") and (port := _host_port(plan, variables))
    ]


def streamfleet_servers(specs: Iterable[Mapping[str, Any]], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The engines' shared servers as the module streamfleet_doctor takes them; parameters as of the former.

    Ports that others reach are the unit's own, or of the unit that the plan names; the rest may be a helper's. The
    first is RTMP's where there is one.
    """
    servers = []
    for spec in specs:
        own: dict[str, list[tuple[str, int]]] = {}
        for use, plan in (spec.get("host_ports") or {}).items():
            unit = plan.get("unit", spec.get("server"))
            if unit and plan.get("public") and (port := _host_port(plan, variables)):
                own.setdefault(unit, []).append((use, port))
        servers += [
            {
                "unit": unit,
                "ports": [port for _use, port in plans],
                "protocol": "rtmp" if plans[0][0] == "RTMP" else "tcp",
            }
            for unit, plans in own.items()
        ]
    return servers


def _host_port(plan: Mapping[str, Any], variables: Mapping[str, Any]) -> int:
    return int(variables.get(plan["variable"], plan["default"]) if "variable" in plan else plan["port"])


def _text(text: str) -> str:
    return text


def _choice(text: str) -> str | None:
    return None if text.lower() in ("none", "null") else text


def _number(text: str) -> int | None:
    if text.lower() in _NONE:
        return None
    if not re.fullmatch(r"-?[0-9]+", text):
        raise AnsibleFilterError(f"streamfleet_answer: {text!r} must be a whole number, or unlimited")
    return int(text)


def _bool(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise AnsibleFilterError(f"streamfleet_answer: {text!r} must be yes or no")


def _list(text: str) -> list[str] | None:
    if text.lower() in _NONE:
        return None
    return [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]


def _data(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        # The text may hold secrets; the position says enough.
        raise AnsibleFilterError(f"streamfleet_answer: not JSON: {getattr(error, 'msg', 'error')}") from None


_KINDS: Mapping[str, Callable[[str], Any]] = {
    "text": _text,
    "number": _number,
    "choice": _choice,
    "bool": _bool,
    "list": _list,
    "data": _data,
}


class FilterModule:
    """Read by Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name → function."""
        return {
            "streamfleet_a_labels": streamfleet_a_labels,
            "streamfleet_answer": streamfleet_answer,
            "streamfleet_host_ports": streamfleet_host_ports,
            "streamfleet_kept": streamfleet_kept,
            "streamfleet_kept_days": streamfleet_kept_days,
            "streamfleet_no_addresses": streamfleet_no_addresses,
            "streamfleet_no_networks": streamfleet_no_networks,
            "streamfleet_openings": streamfleet_openings,
            "streamfleet_servers": streamfleet_servers,
            "streamfleet_shared_ports": streamfleet_shared_ports,
            "streamfleet_unknown": streamfleet_unknown,
        }
