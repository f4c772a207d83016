"""Have an engine do all that it promises, on a real host. The work is in streamfleet.behaviour."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet import arguments, errors
from streamfleet.behaviour import checks
from streamfleet.behaviour.panel_client import ApiPanelClient
from streamfleet.behaviour.route import Route
from streamfleet.behaviour.target import secret_of
from streamfleet.client import Panel
from streamfleet.on_controller import client_of

SPEC: dict[str, dict[str, Any]] = {
    **arguments.CONNECTION,
    "engine": {"type": "str", "required": True},
    "customer": {"type": "str", "required": True},
    "node": {"type": "str"},
    "address": {"type": "str"},
    "stream_ca_path": {"type": "path"},
    "wait_timeout": {"type": "int", "default": 120},
}
#: A customer whose name, with what is put behind it, is the slug of a service.
CUSTOMER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?")


class ActionModule(ActionBase):
    """Makes a customer with two services, and runs the checks. Whoever calls it removes the customer."""

    _VALID_ARGS = frozenset(SPEC)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """All checks; ``failed`` with the table of them where one is not ok."""
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=SPEC)
        if self._task.check_mode:
            return {
                "changed": True,
                "skipped": True,
                "made": False,
                "msg": "It would make a customer and services, and verify these.",
            }
        try:
            made = self._verify(options)
        except errors.Error as error:
            return {"failed": True, "changed": False, "msg": str(error), "checks": [], "made": False}
        table = checks.table(made)
        result = {"changed": True, "made": True, "checks": [check.as_dict() for check in made], "table": table}
        bad = [check for check in made if not check.ok]
        if bad:
            lines = "\n".join(table)
            message = f"{len(bad)} of {len(made)} checks of {options['engine']} are not ok:\n{lines}"
            return {**result, "failed": True, "msg": message}
        return result

    def _verify(self, options: dict[str, Any]) -> list[checks.Check]:
        spec = _spec_of(options["engine"])
        customer = options["customer"]
        if not CUSTOMER.fullmatch(customer):
            raise errors.BadOption(
                f"customer: {customer!r} cannot begin the slugs of services: use at most 52 of a-z, 0-9 and - inside."
            )
        for program in ("ffmpeg", "ffprobe"):
            if not shutil.which(program):
                raise errors.BadOption(f"The controller has no {program}: install it (apt-get install ffmpeg).")
        with client_of(options, "an administrator") as client:
            panel = Panel(client)
            if panel.get("customer", customer) is not None:
                raise errors.BadOption(
                    f"customer: {customer!r} is there already, and what is verified is removed: give a name of nobody."
                )
            client = ApiPanelClient(panel, customer, spec, options["node"], options["wait_timeout"])
            route = Route(options["address"], options["stream_ca_path"] or _authority(options))
            services = [checks.Subject(f"{customer}-{letter}", spec, client, route) for letter in "ab"]
            return checks.Verification(*services, tell=_tell).run()


def _spec_of(engine: str) -> dict[str, Any]:
    """What the engine says of itself. Raises BadOption."""
    known = yaml.safe_load((RELEASE / "engines.yml").read_text())["engines"]
    if engine not in known:
        raise errors.BadOption(f"engine: {engine!r} is none. Use one of {', '.join(known)}.")
    spec: dict[str, Any] = yaml.safe_load((RELEASE / "roles" / engine / "engine" / "spec.yml").read_text())
    secret_of(spec)
    return spec


def _authority(options: dict[str, Any]) -> str | None:
    """The authority of the panel, where it has one of its own: it is that of the streams, too."""
    found = options["ca_path"] or os.environ.get(arguments.ENVIRONMENT["ca_path"])
    return str(found) if found else None


def _tell(check: checks.Check) -> None:
    """A line for whoever waits."""
    Display().display(checks.table([check])[0])
