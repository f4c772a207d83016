"""The API of the double, on a free loopback port.

    with Awx(playbooks) as awx:
        awx.url, awx.token          # CONTROLLER_HOST, CONTROLLER_OAUTH_TOKEN
        awx.writes                  # what was asked to be written: (method, path)
        awx.named("job_templates")  # name → object

Lists, objects, associations, surveys and updates of projects, as the modules of awx.awx use them.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import ChainMap
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.doubles.awx import rules, surveys
from tests.doubles.awx.surveys import Refused

BASE = "/api/v2/"
VERSION = "24.6.1"


class Missing(Exception):
    """AWX would answer 404."""


class Awx:
    """One controller, empty but for the credential types that are there from the first."""

    def __init__(self, playbooks: Iterable[str]) -> None:
        """``playbooks``: paths of playbooks that projects' repositories have."""
        self._pushed: tuple[str, frozenset[str]] = ("", frozenset())
        self.push(playbooks)
        #: Number of a project → (revision, playbooks) that its last update has found.
        self._fetched: dict[int, tuple[str, frozenset[str]]] = {}
        #: Number of an update → (project, revision).
        self._updates: dict[int, tuple[int, str]] = {}
        self.token = secrets.token_urlsafe(20)
        self.kept: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in rules.KINDS}
        self.writes: list[tuple[str, str]] = []
        self._lists: dict[tuple[str, int, str], list[int]] = {}
        self._surveys: dict[int, dict[str, Any]] = {}
        self._numbers = iter(range(1, 10**6))
        for name, (kind, inputs) in rules.BUILT_IN.items():
            injectors = rules.INJECTORS.get(name, {})
            whole = {"name": name, "kind": kind, "inputs": inputs, "injectors": injectors, "managed": True}
            self._keep("credential_types", whole)
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = double._answer(self.command, self.path, self.headers.get("Authorization"), body)
                data = b"" if status == 204 else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("X-API-Product-Name", "AWX")
                self.send_header("X-API-Product-Version", VERSION)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Awx:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    # For tests --------------------------------------------------------------------------------------------------------

    def push(self, playbooks: Iterable[str]) -> None:
        """Let repositories have these playbooks. A project knows of it when it is updated."""
        self._pushed = (secrets.token_hex(20), frozenset(playbooks))

    def post(self, kind: str, data: Mapping[str, Any]) -> int:
        """Number of a new object, which somebody else has made. Raises Refused."""
        return int(self._create(kind, data)["id"])

    def named(self, kind: str) -> dict[str, dict[str, Any]]:
        """Name → object as it is kept, secrets too."""
        return {item["name"]: item for item in self.kept[kind].values()}

    def listed(self, kind: str, name: str, what: str) -> list[str]:
        """Names (of nodes: identifiers) of what an object's list holds."""
        plan = rules.KINDS[kind].lists[what]
        key = next(
            number for number, item in self.kept[kind].items() if name in (item.get("name"), item.get("identifier"))
        )
        members = (self.kept[plan][number] for number in self._lists.get((kind, key, what), []))
        return [member.get("name") or member["identifier"] for member in members]

    def template(self, name: str) -> dict[str, Any]:
        """A job template with its variables and its survey, as a launch uses them."""
        item = self.named("job_templates")[name]
        variables = json.loads(item["extra_vars"] or "{}")
        return {**item, "extra_vars": variables, "survey_spec": self._surveys.get(item["id"], {})}

    # Requests ---------------------------------------------------------------------------------------------------------

    def _answer(self, method: str, target: str, authorization: str | None, body: bytes) -> tuple[int, Any]:
        if authorization != f"Bearer {self.token}":
            return 401, {"detail": "Authentication credentials were not provided."}
        parts = urlsplit(target)
        if method != "GET":
            self.writes.append((method, parts.path))
        try:
            names = parts.path.removeprefix(BASE).strip("/").split("/")
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            return self._route(method, names, query, json.loads(body) if body else {})
        except Missing:
            return 404, {"detail": "Not found."}
        except Refused as error:
            field, _, text = str(error).partition(": ")
            return 400, {field: [text]} if text else {"error": field}

    def _route(self, method: str, names: list[str], query: Mapping[str, str], data: Any) -> tuple[int, Any]:
        match method, names:
            case "GET", ["project_updates", number] if number.isdigit() and int(number) in self._updates:
                return 200, self._update_shown(int(number))
            case "POST", ["projects", number, "update"]:
                project = self._number("projects", number)
                if not self.kept["projects"][project]["scm_type"]:
                    return 405, {"detail": "Method not allowed."}
                return 202, self._update_shown(self._update(project))
            case "GET", [kind] if kind in self._all():
                found = [item for item in self._all()[kind].values() if self._matches(kind, item, query)]
                return 200, self._page([self._shown(kind, item) for item in found])
            case "POST", [kind] if kind in rules.KINDS:
                return 201, self._shown(kind, self._create(kind, data), fresh=True)
            case _, [kind, number] if kind in rules.KINDS:
                return self._one(method, kind, self._number(kind, number), data)
            case _, ["job_templates", number, "survey_spec"]:
                return self._survey(method, self._number("job_templates", number), data)
            case _, [kind, number, what] if kind in rules.KINDS and what in rules.KINDS[kind].lists:
                return self._list(method, kind, self._number(kind, number), what, data)
        raise Missing

    def _number(self, kind: str, text: str) -> int:
        if not text.isdigit() or int(text) not in self.kept[kind]:
            raise Missing
        return int(text)

    def _all(self) -> dict[str, Mapping[int, dict[str, Any]]]:
        together = ChainMap(*(self.kept[kind] for kind in rules.UNIFIED))
        return {**self.kept, "unified_job_templates": together}

    def _matches(self, kind: str, item: Mapping[str, Any], query: Mapping[str, str]) -> bool:
        either = {name.removeprefix("or__"): value for name, value in query.items() if name.startswith("or__")}
        every = {name: value for name, value in query.items() if not name.startswith("or__")}
        kinds = rules.UNIFIED if kind == "unified_job_templates" else (kind,)
        fields = {
            "id",
            "type",
            *(name for one in kinds for name in (*rules.KINDS[one].fields, *rules.KINDS[one].refers)),
        }
        fields |= {f"{name}__name" for one in kinds for name in rules.KINDS[one].refers}
        if unknown := {*either, *every} - fields:
            raise Refused(f"{kind} does not have field(s) named: {', '.join(sorted(unknown))}")

        def same(name: str, value: str) -> bool:
            if name.endswith("__name"):
                field = name.removesuffix("__name")
                target = self._all()[rules.KINDS[kind].refers[field]].get(item[field])
                return target is not None and target["name"] == value
            return item.get(name) is not None and str(item[name]) == value

        return all(same(*pair) for pair in every.items()) and (
            not either or any(same(*pair) for pair in either.items())
        )

    @staticmethod
    def _page(items: list[dict[str, Any]]) -> dict[str, Any]:
        return {"count": len(items), "next": None, "previous": None, "results": items}

    # Objects ----------------------------------------------------------------------------------------------------------

    def _create(self, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        self._known(kind, data)
        plan = rules.KINDS[kind]
        whole = {**plan.fields, **dict.fromkeys(plan.refers), **self._taken(kind, data)}
        if kind == "job_templates" and whole["project"] in self.kept["projects"]:
            whole["organization"] = self.kept["projects"][whole["project"]]["organization"]
        rules.check(kind, whole, self._all(), self._playbooks(whole))
        item = self._keep(kind, whole)
        if kind == "projects" and whole["scm_type"]:
            self._update(item["id"])
        return item

    def _playbooks(self, item: Mapping[str, Any]) -> frozenset[str]:
        """What is known of the playbooks of the project that ``item`` refers to."""
        return self._fetched.get(item.get("project") or 0, ("", frozenset()))[1]

    def _update(self, project: int) -> int:
        """Fetch what is pushed. The number of the update."""
        number = next(self._numbers)
        self._fetched[project] = self._pushed
        self._updates[number] = (project, self._pushed[0])
        return number

    def _update_shown(self, number: int) -> dict[str, Any]:
        project, revision = self._updates[number]
        return {
            "id": number, "type": "project_update", "name": self.kept["projects"][project]["name"],
            "url": f"{BASE}project_updates/{number}/", "status": "successful", "failed": False,
            "event_processing_finished": True, "elapsed": 1.0, "scm_revision": revision,
            "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z",
        }  # fmt: skip

    def _keep(self, kind: str, whole: Mapping[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        item = {**rules.KINDS[kind].fields, "managed": False, **whole, "id": number, "type": rules.KINDS[kind].type}
        self.kept[kind][number] = item
        return item

    @staticmethod
    def _taken(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name not in rules.KINDS[kind].ignored | {"type"}}

    @staticmethod
    def _known(kind: str, data: Mapping[str, Any]) -> None:
        plan = rules.KINDS[kind]
        if unknown := set(data) - set(plan.fields) - set(plan.refers) - plan.ignored - {"type"}:
            raise Refused(f"{kind}: nothing is known of {', '.join(sorted(unknown))}")

    def _one(self, method: str, kind: str, number: int, data: Any) -> tuple[int, Any]:
        item = self.kept[kind][number]
        if method == "GET":
            return 200, self._shown(kind, item)
        if method == "DELETE":
            del self.kept[kind][number]
            return 204, None
        if method != "PATCH":
            raise Missing
        self._known(kind, data)
        changed = {**item, **self._taken(kind, data)}
        if kind == "credentials":
            before = item["inputs"]
            changed["inputs"] = {n: before[n] if v == "$encrypted$" else v for n, v in changed["inputs"].items()}
        rules.check(kind, changed, self._all(), self._playbooks(changed))
        self.kept[kind][number] = changed
        # AWX fetches as soon as it is told another place, and for no other change.
        if kind == "projects" and any(changed[name] != item[name] for name in rules.FETCHED_WHEN_CHANGED):
            self._update(number)
        return 200, self._shown(kind, changed, fresh=True)

    def _shown(self, kind: str, item: Mapping[str, Any], fresh: bool = False) -> dict[str, Any]:
        kind = next((name for name, plan in rules.KINDS.items() if plan.type == item["type"]), kind)
        url = f"{BASE}{kind}/{item['id']}/"
        shown = {**item, "url": url, "related": {}, "summary_fields": {}}
        if kind == "job_templates":
            shown["related"] = {"survey_spec": f"{url}survey_spec/"}
        if kind == "projects":
            shown["scm_revision"] = self._fetched.get(item["id"], ("", frozenset()))[0]
            shown["related"] = {"update": f"{url}update/"}
            # An update runs while it is waited for, and has ended for whoever asks later.
            running = [number for number, (project, _revision) in self._updates.items() if project == item["id"]]
            shown["summary_fields"] = {"current_update": {"id": running[-1]}} if fresh and running else {}
        if kind == "credentials":
            hidden = rules.secrets_of(item, self.kept)
            kind_of = self.kept["credential_types"][item["credential_type"]]
            shown["summary_fields"] = {"credential_type": {"id": kind_of["id"], "name": kind_of["name"]}}
            shown["inputs"] = {n: "$encrypted$" if n in hidden else v for n, v in item["inputs"].items()}
        return shown

    def _survey(self, method: str, number: int, data: Any) -> tuple[int, Any]:
        if method == "GET":
            return 200, surveys.shown(self._surveys.get(number, {}))
        if method == "DELETE":
            self._surveys.pop(number, None)
            return 200, {}
        surveys.check(data)
        self._surveys[number] = data
        return 200, {}

    def _list(self, method: str, kind: str, number: int, what: str, data: Any) -> tuple[int, Any]:
        target = rules.KINDS[kind].lists[what]
        members = self._lists.setdefault((kind, number, what), [])
        if method == "GET":
            return 200, self._page([self._shown(target, self.kept[target][member]) for member in members])
        if data.get("id") not in self.kept[target]:
            raise Refused(f"id: {data.get('id')} is not there.")
        if data.get("disassociate"):
            with suppress(ValueError):
                members.remove(data["id"])
            return 204, None
        if what == "credentials":
            types = {self.kept[target][member]["credential_type"] for member in members}
            if self.kept[target][data["id"]]["credential_type"] in types:
                raise Refused("Cannot assign multiple credentials of one type.")
        if data["id"] not in members:
            members.append(data["id"])
        return 204, None
