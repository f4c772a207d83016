"""What AWX's API keeps of each kind of object, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import StrictUndefined, TemplateError, sandbox

from tests.doubles.awx.surveys import Refused

Objects = Mapping[str, Mapping[int, dict[str, Any]]]


@dataclass(frozen=True)
class Kind:
    """One kind. ``fields``: name → its default, whose type a value must be of; ``refers``: name → kind referred to."""

    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    refers: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ("name",)
    unique: tuple[str, ...] = ("name", "organization")
    #: May be sent, and is not looked at.
    ignored: frozenset[str] = frozenset()
    #: Lists of other objects that it has → their kind.
    lists: Mapping[str, str] = field(default_factory=dict)


NAMED = {"name": "", "description": ""}
ASKED = (
    "variables", "inventory", "limit", "tags", "skip_tags", "job_type", "diff_mode", "verbosity", "credential",
    "scm_branch", "execution_environment", "forks", "instance_groups", "job_slice_count", "labels", "timeout",
)  # fmt: skip
KINDS: dict[str, Kind] = {
    "organizations": Kind("organization", {**NAMED, "max_hosts": 0}, {"default_environment": "execution_environments"}),
    "execution_environments": Kind(
        "execution_environment",
        {**NAMED, "image": "", "pull": ""},
        {"organization": "organizations", "credential": "credentials"},
        required=("name", "image"),
    ),
    "credential_types": Kind(
        "credential_type",
        {**NAMED, "kind": "", "inputs": {}, "injectors": {}},
        required=("name", "kind"),
        unique=("name", "kind"),
        ignored=frozenset({"managed"}),
    ),
    "credentials": Kind(
        "credential",
        {**NAMED, "inputs": {}},
        {"organization": "organizations", "credential_type": "credential_types"},
        required=("name", "credential_type"),
        unique=("name", "organization", "credential_type"),
    ),
    "projects": Kind(
        "project",
        {
            **NAMED, "scm_type": "", "scm_url": "", "scm_branch": "", "scm_refspec": "", "scm_clean": False,
            "scm_delete_on_update": False, "scm_track_submodules": False, "scm_update_on_launch": False,
            "scm_update_cache_timeout": 0, "timeout": 0, "allow_override": False,
        },
        {"organization": "organizations", "credential": "credentials", "default_environment": "execution_environments"},
        required=("name", "organization"),
    ),
    "inventories": Kind(
        "inventory",
        {**NAMED, "kind": "", "host_filter": None, "variables": "", "prevent_instance_group_fallback": False},
        {"organization": "organizations"},
        required=("name", "organization"),
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            **NAMED, "source": "", "source_path": "", "source_vars": "", "overwrite": False, "overwrite_vars": False,
            "update_on_launch": False, "update_cache_timeout": 0, "timeout": 0, "verbosity": 1, "limit": "",
        },
        {
            "inventory": "inventories", "source_project": "projects", "credential": "credentials",
            "execution_environment": "execution_environments",
        },
        required=("name", "inventory", "source"),
        unique=("name", "inventory"),
    ),
    "job_templates": Kind(
        "job_template",
        {
            **NAMED, "job_type": "run", "playbook": "", "forks": 0, "limit": "", "verbosity": 0, "extra_vars": "",
            "job_tags": "", "skip_tags": "", "timeout": 0, "diff_mode": False, "survey_enabled": False,
            "become_enabled": False, "allow_simultaneous": False, "job_slice_count": 1, "use_fact_cache": False,
            **{f"ask_{name}_on_launch": False for name in ASKED},
        },
        {
            "inventory": "inventories", "project": "projects", "organization": "organizations",
            "execution_environment": "execution_environments",
        },
        lists={"credentials": "credentials"},
    ),
    "workflow_job_templates": Kind(
        "workflow_job_template",
        {
            **NAMED, "extra_vars": "", "limit": "", "survey_enabled": False, "allow_simultaneous": False,
            **{f"ask_{name}_on_launch": False for name in ("variables", "inventory", "limit", "tags", "labels")},
        },
        {"organization": "organizations", "inventory": "inventories"},
    ),
    "workflow_job_template_nodes": Kind(
        "workflow_job_template_node",
        {"identifier": ""},
        {"workflow_job_template": "workflow_job_templates", "unified_job_template": "unified_job_templates"},
        required=("workflow_job_template", "unified_job_template"),
        unique=("identifier", "workflow_job_template"),
        lists={f"{when}_nodes": "workflow_job_template_nodes" for when in ("success", "failure", "always")},
    ),
    "schedules": Kind(
        "schedule",
        {**NAMED, "rrule": "", "enabled": True, "extra_data": {}, "limit": None, "job_type": None},
        {"unified_job_template": "unified_job_templates", "inventory": "inventories"},
        required=("name", "rrule", "unified_job_template"),
        unique=("name", "unified_job_template"),
    ),
}  # fmt: skip
#: Fields of a project whose change makes AWX fetch it.
FETCHED_WHEN_CHANGED = ("scm_type", "scm_url", "scm_branch", "scm_refspec")
#: Kinds that share their numbers, and can be run.
UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates")


def _fields(*names: str, secret: tuple[str, ...] = (), boolean: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "fields": [
            {"id": name, "label": name, "type": "boolean" if name in boolean else "string", "secret": name in secret}
            for name in names
        ]
    }


#: Credential types that are there from the first.
BUILT_IN = {
    "Machine": (
        "ssh",
        _fields(
            "username", "password", "ssh_key_data", "ssh_public_key_data", "ssh_key_unlock", "become_method",
            "become_username", "become_password",
            secret=("password", "ssh_key_data", "ssh_public_key_data", "ssh_key_unlock", "become_password"),
        ),
    ),
    "Vault": ("vault", _fields("vault_password", "vault_id", secret=("vault_password",))),
    "Source Control": (
        "scm",
        _fields("username", "password", "ssh_key_data", "ssh_key_unlock", secret=("password", "ssh_key_data")),
    ),
    "Red Hat Ansible Automation Platform": (
        "cloud",
        _fields(
            "host", "username", "password", "oauth_token", "verify_ssl",
            secret=("password", "oauth_token"), boolean=("verify_ssl",),
        ),
    ),
}  # fmt: skip


#: Environment that a credential of a built-in type gives to jobs, as its injectors say.
INJECTORS = {
    "Red Hat Ansible Automation Platform": {
        "env": {
            f"{prefix}_{name}": f"{{{{ {field} }}}}"
            for prefix in ("TOWER", "CONTROLLER")
            for name, field in (
                ("HOST", "host"), ("USERNAME", "username"), ("PASSWORD", "password"), ("OAUTH_TOKEN", "oauth_token"),
                ("VERIFY_SSL", "verify_ssl"),
            )
        }
    }
}  # fmt: skip


def check(kind: str, item: Mapping[str, Any], objects: Objects, playbooks: frozenset[str]) -> None:
    """Raise Refused unless AWX would keep ``item`` (all its fields) beside the other ``objects``."""
    plan = KINDS[kind]
    for name in plan.required:
        if item.get(name) in (None, ""):
            raise Refused(f"{name}: This field is required.")
    for name, default in plan.fields.items():
        value = item.get(name, default)
        if value is not None and default is not None and type(value) is not type(default):
            raise Refused(f"{name}: {value!r} is not of type {type(default).__name__}.")
    for name, target in plan.refers.items():
        if item.get(name) is not None and item[name] not in objects[target]:
            raise Refused(f'{name}: Invalid pk "{item[name]}" - object does not exist.')
    for other in objects[kind].values():
        same = all(other.get(name) == item.get(name) for name in plan.unique)
        if same and other["id"] != item.get("id"):
            raise Refused(f"{plan.type} with this {', '.join(plan.unique)} already exists.")
    if kind in CHECKS:
        CHECKS[kind](item, objects, playbooks)


def _execution_environment(item: Mapping[str, Any], _objects: Objects, _playbooks: frozenset[str]) -> None:
    if item["pull"] not in ("", "always", "missing", "never"):
        raise Refused(f"pull: {item['pull']!r} is not a valid choice.")


def _project(item: Mapping[str, Any], _objects: Objects, _playbooks: frozenset[str]) -> None:
    if item["scm_type"] not in ("", "git", "svn", "insights", "archive"):
        raise Refused(f"scm_type: {item['scm_type']!r} is not a valid choice.")
    if item["scm_type"] and not item["scm_url"]:
        raise Refused("scm_url: SCM URL is required.")


def _inventory_source(item: Mapping[str, Any], objects: Objects, _playbooks: frozenset[str]) -> None:
    if item["source"] != "scm":
        raise Refused(f"source: {item['source']!r} is nothing that this double knows.")
    if item.get("source_project") is None:
        raise Refused("source_project: Project required for scm type sources.")
    if item.get("credential") is not None:
        kind = objects["credential_types"][objects["credentials"][item["credential"]]["credential_type"]]["kind"]
        if kind in ("insights", "vault"):
            raise Refused("credential: insights and vault are disallowed for scm inventory sources.")


def _job_template(item: Mapping[str, Any], _objects: Objects, playbooks: frozenset[str]) -> None:
    if item.get("project") is None:
        raise Refused("project: Job Templates must have a project assigned.")
    if item["playbook"] not in playbooks:
        raise Refused("playbook: Playbook not found for project.")
    if item.get("inventory") is None and not item["ask_inventory_on_launch"]:
        raise Refused("inventory: Job Template must provide 'inventory' or allow prompting for it.")
    if item["job_type"] not in ("run", "check"):
        raise Refused(f"job_type: {item['job_type']!r} is not a valid choice.")
    if item["extra_vars"]:
        json.loads(item["extra_vars"])


def _schedule(item: Mapping[str, Any], _objects: Objects, _playbooks: frozenset[str]) -> None:
    rule = item["rrule"]
    starts = re.findall(r"DTSTART(?:;TZID=[A-Za-z_/+-]+:\d{8}T\d{6}|:\d{8}T\d{6}Z)(?= |$)", rule)
    if len(starts) != 1:
        raise Refused("rrule: Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ")
    rules = re.findall(r"RRULE:(\S+)", rule)
    if len(rules) != 1:
        raise Refused("rrule: One RRULE required in rrule.")
    parts = dict(part.split("=", 1) for part in rules[0].split(";"))
    if "INTERVAL" not in parts:
        raise Refused("rrule: INTERVAL required in rrule.")
    if parts.get("FREQ") not in ("MINUTELY", "HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        raise Refused(f"rrule: FREQ={parts.get('FREQ')} is not supported.")


def _credential_type(item: Mapping[str, Any], _objects: Objects, _playbooks: frozenset[str]) -> None:
    if item["kind"] not in ("cloud", "net") and item["name"] not in BUILT_IN:
        raise Refused("kind: Must be 'cloud' or 'net'.")
    if set(item["inputs"]) - {"fields", "required"}:
        raise Refused("inputs: Additional properties are not allowed.")
    allowed = {
        "id",
        "label",
        "type",
        "format",
        "choices",
        "help_text",
        "multiline",
        "secret",
        "ask_at_runtime",
        "default",
    }
    names = []
    for entry in item["inputs"].get("fields", ()):
        if set(entry) - allowed or not {"id", "label"} <= set(entry):
            raise Refused(f"inputs: {entry} is no field.")
        if entry["type"] != "string" and (entry.get("secret") or entry.get("multiline")):
            raise Refused(f"inputs: secret and multiline are not allowed for {entry['type']}.")
        names.append(entry["id"])
    if len(set(names)) != len(names) or "tower" in names:
        raise Refused("inputs: field IDs must be unique, and not tower.")
    if set(item["inputs"].get("required", ())) - set(names):
        raise Refused("inputs: required names a field that is none.")
    injected(item, dict.fromkeys(names, "EXAMPLE"), "EXAMPLE_FILENAME", StrictUndefined)


def injected(
    item: Mapping[str, Any], inputs: Mapping[str, str | bool], filename: str, undefined: Any = None
) -> tuple[str | None, dict[str, str]]:
    """(Content of the file, environment) that a credential type's injectors make of ``inputs``. Raises Refused."""
    injectors = item["injectors"]
    if set(injectors) - {"file", "env", "extra_vars"} or set(injectors.get("file", {})) - {"template"}:
        raise Refused("injectors: Additional properties are not allowed.")
    place = sandbox.ImmutableSandboxedEnvironment(**({"undefined": undefined} if undefined else {}))
    # A boolean that is not given is False; a text that is not given is none.
    booleans = {entry["id"]: False for entry in item["inputs"].get("fields", ()) if entry.get("type") == "boolean"}
    given = {name: value for name, value in inputs.items() if value}
    names: dict[str, Any] = {**booleans, **given, "tower": {"filename": filename}}
    try:
        content = None
        if "file" in injectors:
            content = place.from_string(injectors["file"]["template"]).render(names)
        environment = {}
        for name, template in injectors.get("env", {}).items():
            if name.startswith("ANSIBLE_") or not re.fullmatch(r"[a-zA-Z_]\w*", name):
                raise Refused(f"injectors: Environment variable {name} is not allowed in credentials.")
            environment[name] = place.from_string(template).render(names)
    except TemplateError as error:
        raise Refused(f"injectors: {error}") from None
    return content, environment


def _credential(item: Mapping[str, Any], objects: Objects, _playbooks: frozenset[str]) -> None:
    entries = {entry["id"]: entry for entry in objects["credential_types"][item["credential_type"]]["inputs"]["fields"]}
    for name, value in item["inputs"].items():
        if name not in entries:
            raise Refused(f"inputs: Additional properties are not allowed ('{name}' was unexpected).")
        if not isinstance(value, bool if entries[name]["type"] == "boolean" else str):
            raise Refused(f"inputs: {name} is not of type {entries[name]['type']}.")
        if name == "ssh_key_data" and not re.match(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n", value):
            raise Refused("inputs: ssh_key_data: Invalid certificate or key.")


def secrets_of(credential: Mapping[str, Any], objects: Objects) -> set[str]:
    """Names of the inputs of a credential that nobody gets to see."""
    fields = objects["credential_types"][credential["credential_type"]]["inputs"]["fields"]
    return {entry["id"] for entry in fields if entry.get("secret")}


CHECKS: dict[str, Callable[[Mapping[str, Any], Objects, frozenset[str]], None]] = {
    "execution_environments": _execution_environment,
    "projects": _project,
    "inventory_sources": _inventory_source,
    "job_templates": _job_template,
    "schedules": _schedule,
    "credential_types": _credential_type,
    "credentials": _credential,
}
