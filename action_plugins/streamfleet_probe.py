"""Publish to a service from the controller, and hear it. The work is in streamfleet.behaviour."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet import errors
from streamfleet.behaviour import checks
from streamfleet.behaviour.route import Route

SPEC: dict[str, dict[str, Any]] = {
    "engine": {"type": "str", "required": True},
    "slug": {"type": "str", "required": True},
    "connection": {"type": "list", "elements": "dict", "required": True, "no_log": True},
    "listen_url": {"type": "str", "required": True},
    "address": {"type": "str"},
    "stream_ca": {"type": "str"},
}


class ActionModule(ActionBase):
    """Nothing is connected to but the service; the host of the task is not asked."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(SPEC)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """``evidence`` of what was heard; ``failed`` with the reason where nothing was."""
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=SPEC)
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "Check mode publishes nothing."}
        try:
            return {"changed": False, "evidence": _probe(options)}
        except errors.Error as error:
            reason = str(error)
        except subprocess.TimeoutExpired as error:
            # Its text is a command, with what it was given.
            reason = f"{error.cmd[0]} did not end within {error.timeout:g} seconds"
        except OSError as error:
            reason = f"{type(error).__name__}: {error}"
        return {"failed": True, "changed": False, "msg": f"{options['slug']}: {reason}"}


def _probe(options: dict[str, Any]) -> str:
    known = yaml.safe_load((RELEASE / "engines.yml").read_text())["engines"]
    if options["engine"] not in known:
        raise errors.BadOption(f"engine: {options['engine']!r} is none. Use one of {', '.join(known)}.")
    for program in ("ffmpeg", "ffprobe"):
        if not shutil.which(program):
            raise errors.BadOption(f"The controller has no {program}: install it (apt-get install ffmpeg).")
    spec = yaml.safe_load((RELEASE / "roles" / options["engine"] / "engine" / "spec.yml").read_text())
    try:
        details = {str(entry["label"]): str(entry["value"]) for entry in options["connection"]}
    except KeyError as error:
        raise errors.BadOption(
            f"connection: an entry has no {error.args[0]}: give the panel's own, filled in."
        ) from None
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as authority:
        authority.write(options["stream_ca"] or "")
        authority.flush()
        route = Route(options["address"], authority.name if options["stream_ca"] else None)
        login = checks.Login(details, options["listen_url"])
        return checks.published_and_played(checks.Subject(options["slug"], spec, checks.Known(login), route))
