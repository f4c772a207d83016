"""Bring one node to what the panel says of it: read the document, render every instance here, ship once, report."""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet import arguments, domains, engine, errors, forwarding
from streamfleet.engine import Instance, Renderer, RenderError
from streamfleet.http import Client, segment
from streamfleet.node_apply.payload import encode
from streamfleet.on_controller import client_of

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
STATES = frozenset({"running", "stopped", "suspended", "disabled", "over_quota", "moved", "deleted"})
OFF_STATES = STATES - {"running"}
#: So many failed services are named in the message; the result has all.
NAMED = 10

SPEC: dict[str, dict[str, Any]] = {
    **arguments.CONNECTION,
    "node": {"type": "str"},
    "origin": {"type": "str"},
    "lock_timeout": {"type": "float", "default": 60},
    "start_timeout": {"type": "float", "default": 10},
    "fail_on_services": {"type": "bool", "default": True},
    "fail_on_unreachable": {"type": "bool", "default": False},
    "document": {"type": "dict", "no_log": True},
}


class ActionModule(ActionBase):
    """One GET, one module, one PUT. Check mode writes nothing and reports nothing."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(SPEC)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of streamfleet_node_apply; ``failed`` with a message that a person can act on otherwise."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _result, options = self.validate_argument_spec(argument_spec=SPEC)
        node = options["node"] or task_vars.get("inventory_hostname", "")
        try:
            if options["document"]:
                if not self._task.check_mode:
                    raise errors.BadOption("document: is for check mode; leave it out, and the panel is asked.")
                return self._converge(None, node, options, task_vars)
            with client_of(options, "this node or of the worker") as client:
                return self._converge(client, node, options, task_vars)
        except errors.Error as error:
            return {"failed": True, "changed": False, "msg": f"Node {node}: {error}"}
        except AnsibleConnectionFailure as error:
            if not options["fail_on_unreachable"]:
                raise
            return {"failed": True, "changed": False, "msg": f"Node {node} cannot be reached: {error}"}

    def _converge(
        self, client: Client | None, node: str, options: dict[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        document = _document(client, node) if client else _checked(options["document"], "The panel")
        warnings: list[str] = []
        instances, failed = render_all(document, warnings)
        payload = encode(
            {
                "epoch": document["epoch"],
                "generation": document["generation"],
                "services": instances,
                "failed": failed,
                "secrets": secrets_of(document),
                "warnings": warnings,
                # A panel that says nothing of log-ins takes none away.
                "media_users": document.get("media_users"),
            }
        )
        arguments_of_module = {
            "payload": payload,
            "origin": options["origin"] or _origin(),
            "lock_timeout": options["lock_timeout"],
            "start_timeout": options["start_timeout"],
        }
        result: dict[str, Any] = self._execute_module(
            module_name="streamfleet_node_apply", module_args=arguments_of_module, task_vars=task_vars
        )
        result.pop("invocation", None)
        results = result.get("services") or {}
        # A node without services has something to report, too: that it has seen this generation.
        applied = result.get("services") is not None and (results or not result.get("failed"))
        if client and not self._task.check_mode and not result.get("skipped_older") and applied:
            try:
                client.request("PUT", f"/nodes/{segment(node)}/status", status_of(document, results))
            except errors.Error as error:
                told = "nothing was applied" if result.get("failed") else "the node is up to date"
                return {**result, "failed": True, "msg": f"Node {node}: {told}, but the panel was not told: {error}"}
        if result.get("failed"):
            result["msg"] = f"Node {node}: {result.get('msg', 'the module failed')}"
            return result
        broken = {slug: item["message"] for slug, item in results.items() if item["state"] == "failed"}
        if broken:
            result["msg"] = _failures(node, broken, len(results))
            result["failed"] = bool(options["fail_on_services"])
        return result


def _origin() -> str:
    """Who converges, for whoever has to wait."""
    who = os.environ.get("STREAMFLEET_ORIGIN", "by hand")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{who}, {user}@{socket.gethostname()}"


def _document(client: Client, node: str) -> dict[str, Any]:
    try:
        document = client.request("GET", f"/nodes/{segment(node)}/document").data
    except errors.NotFound as error:
        raise errors.NotFound(f"{client.url} does not know this node: run install.yml for it. ({error})") from None
    return _checked(document, client.url)


def _checked(document: Any, whose: str) -> dict[str, Any]:
    known = isinstance(document, dict) and document.get("schema") == 1
    if not known or not all(key in document for key in ("epoch", "generation", "stream_host", "services")):
        raise errors.ServerError(
            f"{whose} answered with a node document that this release does not read (schema 1)."
            " Panel and this repository must be of releases that go together."
        )
    return dict(document)


def render_all(
    document: Mapping[str, Any], warnings: list[str] | None = None
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Render all services of a node document: instances as plain data, and slug → message of those that cannot be.

    ``warnings``: gets sentences about what is left out of a service that is as wanted otherwise.
    """
    companions = companions_here()
    renderers: dict[str, Renderer] = {}
    node = {key: value for key, value in document.items() if key != "services"}
    instances: list[dict[str, Any]] = []
    failed: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    # Each name is the first's that has it.
    claimed: dict[str, str] = {}
    told: list[str] = [] if warnings is None else warnings
    own = {str(host).lower() for host in (document["stream_host"], *document.get("former_stream_hosts", []))}
    ways: dict[str, str] = {}
    for service in document["services"]:
        slug = str(service.get("slug"))
        names: list[str] | None = None
        try:
            _check_head(service, list(companions), seen)
            seen.add(slug)
            names, ours = _domains_of(service, own, claimed)
            told += [f"{slug}: domain {name} is a name of the node itself, and does not lead to it" for name in ours]
            way = _way_of(service["engine"], ways)
            # All of a service or nothing of it: its instances go together.
            made = []
            for name in [service["engine"], *companions[service["engine"]]]:
                if name not in renderers:
                    renderers[name] = engine.load_renderer(RELEASE, name)
                made += engine.instances_of(renderers[name](service, node))
            made += forwarding.instances(service)
            if names:
                made = [_reached_by(instance, names, way) for instance in made]
            instances += [instance.as_dict() for instance in made]
        except RenderError as error:
            message = f"{error.field}: {error.value!r} {error.message}"
        except FileNotFoundError:
            message = f"engine: {service['engine']!r} or a companion of it has no renderer in this release"
        except Exception as error:
            # One service's fault must not stop the others. Its text may hold a secret; its type and place do not.
            message = f"cannot be rendered: {type(error).__name__} in the renderer of its engine; please report this"
        else:
            continue
        failed[slug] = {"message": message, "generation": service.get("generation", 0)}
        if names is not None and service["engine"] in ways:
            # Whose a name is does not wait for a configuration that can be.
            failed[slug] |= {"domains": names, "way": ways[service["engine"]]}
        if service.get("state") in OFF_STATES:
            # A setting that cannot be is no way to stay on the air.
            failed[slug]["state"] = service["state"]
    return instances, failed


def _domains_of(service: Mapping[str, Any], own: set[str], claimed: dict[str, str]) -> tuple[list[str], list[str]]:
    """The names of the tenant's own that are to lead to the service, and those that are the node's. Raises RenderError.

    ``claimed``: name → slug of the first that has it, filled in here.
    """
    names = service.get("domains") or []
    if not isinstance(names, list):
        raise RenderError("domains", names, "is not a list of host names")
    for name in names:
        if (why := domains.problem(name)) is not None:
            raise RenderError("domains", name, why)
        owner = claimed.setdefault(name, str(service["slug"]))
        if owner != service["slug"]:
            raise RenderError("domains", name, f"is a name of {owner}'s already: take it out of one of both")
    led = sorted(set(names)) if service["state"] in domains.HELD_IN else []
    return [name for name in led if name not in own], [name for name in led if name in own]


def _way_of(name: str, ways: dict[str, str]) -> str:
    """How services of the engine are served under their names. ``ways``: what is known of engines, filled in here."""
    if name not in ways:
        spec = yaml.safe_load((RELEASE / "roles" / name / "engine" / "spec.yml").read_text())
        ways[name] = domains.WAYS[spec["kind"]]
    return ways[name]


def _reached_by(instance: Instance, names: list[str], way: str) -> Instance:
    """The instance with these names, if it is the engine's own."""
    return instance if instance.companion else replace(instance, domains=names, way=way)


def companions_here() -> dict[str, list[str]]:
    """The engines of this release, each with its companions."""
    listed = yaml.safe_load((RELEASE / "engines.yml").read_text())
    folder = RELEASE / "roles"
    companions = {
        name: yaml.safe_load((folder / name / "engine" / "spec.yml").read_text()) for name in listed["companions"]
    }
    return engine.companions_of({name: {} for name in listed["engines"]}, companions)


def _check_head(service: Mapping[str, Any], engines: list[str], seen: set[str]) -> None:
    """What every renderer relies on. Raises RenderError."""
    slug, uid, port = service.get("slug"), service.get("uid"), service.get("port")
    if not isinstance(slug, str) or not SLUG.fullmatch(slug):
        raise RenderError("slug", slug, "is not a slug (a-z, 0-9, - inside; at most 63 characters)")
    if slug in seen:
        raise RenderError("slug", slug, "is in the document twice")
    if service.get("engine") not in engines:
        raise RenderError("engine", service.get("engine"), f"is not an engine of this release ({', '.join(engines)})")
    if not isinstance(uid, int) or not 200000 <= uid <= 299999:
        raise RenderError("uid", uid, "is not of the tenants' range 200000 to 299999")
    if port is not None and (not isinstance(port, int) or not 1024 <= port <= 65535):
        raise RenderError("port", port, "is not a port from 1024 to 65535")
    if service.get("state") not in STATES:
        raise RenderError("state", service.get("state"), f"is none of {', '.join(sorted(STATES))}")


def secrets_of(document: Mapping[str, Any]) -> list[str]:
    """Every credential in the document, the longest first, so that none shows through another."""
    found: set[str] = set()
    for service in document["services"]:
        found |= {value for value in (service.get("credentials") or {}).values() if isinstance(value, str)}
        for values in (service.get("previous_credentials") or {}).values():
            found |= {item["value"] for item in values if isinstance(item, dict) and item.get("value")}
        found |= {dj["password"] for dj in service.get("djs") or [] if isinstance(dj.get("password"), str)}
    return sorted((value for value in found if len(value) > 3), key=len, reverse=True)


def status_of(document: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the panel is told."""
    keys = ("generation", "state", "message")
    services = {slug: {key: item[key] for key in keys} for slug, item in results.items()}
    return {"epoch": document["epoch"], "generation": document["generation"], "services": services}


def _failures(node: str, broken: Mapping[str, str], total: int) -> str:
    shown = "; ".join(f"{slug}: {message}" for slug, message in sorted(broken.items())[:NAMED])
    more = f"; and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    return f"Node {node}: {len(broken)} of {total} services failed, the others are as wanted. {shown}{more}"
