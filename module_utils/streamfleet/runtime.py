"""The Ansible side of the modules: options, secrets, errors and check mode, once for all of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule, env_fallback

from . import arguments, errors, results
from .client import Panel
from .documents import Sources, masked
from .http import Client

#: Answers of a web server in front of a panel that is not there (yet).
_NO_PANEL_BEHIND = frozenset({502, 503, 504})


class Module(AnsibleModule):
    """An Ansible module that talks to the panel.

    ``given`` holds the options that the user wrote, types converted, null kept apart from omitted. Options named in
    ``documents`` are taken out before the framework logs, echoes or returns anything: they hold secrets that no
    argument spec can point at; ``document(name)`` gives them back.
    """

    def __init__(
        self,
        argument_spec: Mapping[str, Mapping[str, Any]],
        *,
        documents: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._concealed: dict[str, Any] = dict.fromkeys(documents)
        self._raw: dict[str, Any] = {}
        connection = {
            name: {**spec, "fallback": (env_fallback, [arguments.ENVIRONMENT[name]])}
            for name, spec in arguments.CONNECTION.items()
        }
        super().__init__(argument_spec={**connection, **argument_spec}, **options)
        self._panel: Panel | None = None

    # Ansible calls this by name; it is the one moment before anything is logged.
    def _load_params(self) -> None:
        super()._load_params()
        for name in self._concealed:
            value = self.params.get(name)
            if isinstance(value, str):
                value = self._from_text(value)
            self._concealed[name] = copy.deepcopy(value)
            if value is not None:
                # Anything but a mapping is refused later, with a message; Ansible would try to parse it as k=v and
                # echo it.
                self.params[name] = masked(value) if isinstance(value, dict) else {}
        self._raw = copy.deepcopy(self.params)

    @staticmethod
    def _from_text(value: str) -> Any:
        """A document that came as JSON text, as AWX and the command line give it. Left as it is if it is not JSON."""
        try:
            return json.loads(value)
        except ValueError:
            return value

    def document(self, name: str) -> Any:
        """The untouched value of an option named in ``documents``."""
        return self._concealed[name]

    def given(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """Of the options ``names``, those that the user wrote, null included."""
        validated = {name: self.params[name] for name in names if name in self.params}
        found: dict[str, Any] = arguments.given(validated, self._raw)
        return found

    @property
    def panel(self) -> Panel:
        """The panel, connected with the shared options. Raises BadOption when they cannot work."""
        if self._panel is None:
            for name in ("url", "token"):
                if not self.params[name]:
                    raise errors.NotThereYet(
                        f"{name} is not set. Give it as an option, by module_defaults, or in the environment as"
                        f" {arguments.ENVIRONMENT[name]}."
                    )
            self._panel = Panel(
                Client(
                    self.params["url"],
                    self.params["token"],
                    ca_path=self.params["ca_path"],
                    validate_certs=self.params["validate_certs"],
                    timeout=self.params["timeout"],
                )
            )
        return self._panel

    def fail(self, error: errors.Error, sources: Sources | None = None) -> NoReturn:
        """End with the error's message and its parts."""
        self.fail_json(**results.failure(error, sources))
        raise AssertionError("fail_json does not return")

    def predicts_without_panel(self, error: errors.Error) -> bool:
        """Whether this is check mode on a fresh host, where the panel will only be installed by the run itself."""
        if not (self.check_mode and self.params.get("check_without_panel")):
            return False
        return isinstance(error, errors.Unreachable | errors.NotThereYet) or error.status in _NO_PANEL_BEHIND

    def predict(self, error: errors.Error, **more: Any) -> NoReturn:
        """End as if the panel had said that everything will be created."""
        self.warn(f"Predicted without a panel: {error.message}")
        self.exit_json(changed=True, predicted=True, **more)
        raise AssertionError("exit_json does not return")


def run(module: Module, work: Callable[[Module], dict[str, Any]]) -> None:
    """Do ``work`` and return its result; errors of ours end the module with a message, never with a traceback."""
    try:
        result = work(module)
    except errors.Error as error:
        module.fail(error)
    module.exit_json(**result)
