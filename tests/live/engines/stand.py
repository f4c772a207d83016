"""One node with engines on it, and services of each, declared in the document that a double of the panel serves."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamfleet.behaviour.checks import Login, Subject
from streamfleet.behaviour.counted import Audience
from streamfleet.behaviour.route import Route
from streamfleet.engine import Instance, load_renderer
from streamfleet.errors import Misbehaved

from tests.live.engines import ROOT, adapter, spec_of
from tests.live.node import NODE, Node

STREAM = "stream.example.net"
PLAY = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles: {roles}
"""


class PanelClient:
    """Declares services as a panel does, and converges at once: ``streamfleet.behaviour.checks.PanelClient``."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.services: dict[str, dict[str, Any]] = {}
        self.engines: dict[str, str] = {}

    def have(self, engine: str, *services: dict[str, Any]) -> None:
        """Have these services of an engine, and leave all others as they are."""
        wanted = {service["slug"]: service for service in services}
        self.engines.update(dict.fromkeys(wanted, engine))
        if any(self.services.get(slug) != service for slug, service in wanted.items()):
            self.services.update(copy.deepcopy(wanted))
            self.converge()

    def converge(self) -> None:
        """Have the node do it. Every service must become what is asked for."""
        told = self._node.converge(*self.services.values())
        assert {slug: item["state"] for slug, item in told.items()} == {
            slug: service["state"] for slug, service in self.services.items()
        }, told

    def _set(self, slug: str, **changes: Any) -> bool:
        service = self.services[slug]
        before = copy.deepcopy(service)
        for key, value in changes.items():
            service[key] = {**service[key], **value} if isinstance(value, dict) else value
        if service == before:
            assert self._node.changed(self._node.play("playbooks/converge.yml")) == 0
            return False
        service["generation"] += 1
        self.converge()
        return True

    def create(self, slug: str) -> None:
        self._set(slug, state="running")

    def name(self, slug: str, name: str) -> bool:
        return self._set(slug, name=name)

    def secret(self, slug: str, value: str) -> None:
        connection = spec_of(self.engines[slug])["connection"]
        credential = next(entry["credential"] for entry in connection if "credential" in entry)
        self._set(slug, credentials={credential: value})

    def suspend(self, slug: str, suspended: bool) -> None:
        self._set(slug, state="suspended" if suspended else "running", reason="unpaid" if suspended else "")

    def delete(self, slug: str) -> None:
        self._set(slug, state="deleted")

    def restore(self, slug: str) -> None:
        self._set(slug, state="running")

    def login(self, slug: str) -> Login:
        """The connection details as a panel formats them (its own tests hold how)."""
        service, name = self.services[slug], self.engines[slug]
        spec = spec_of(name)
        mounts = next((field for field, item in (spec["fields"] or {}).items() if item.get("mounts")), None)
        mount = service["settings"][mounts][0]["name"] if mounts else ""
        words = {"stream_host": STREAM, "slug": slug, "port": service["port"], "mount": mount}
        # A port of the host where it is not the usual one; below it is set as the node has it.
        plans = spec.get("host_ports") or {}
        unmoved = {f":{use}": "" for use in plans} | {use: plan.get("default", "") for use, plan in plans.items()}
        details = {
            entry["label"]: _formatted(
                str(entry.get("value", "{credential}")),
                {**words, **unmoved, "credential": service["credentials"].get(entry.get("credential"))},
            )
            for entry in spec["connection"]
        }
        port = getattr(adapter(name), "RTMP_PORT", None)
        if port and details["Server"].startswith("rtmp://"):
            parts = urlsplit(details["Server"])
            details["Server"] = parts._replace(netloc=f"{parts.hostname}:{port}").geturl()
        return Login(details, _formatted(spec["listen_urls"][0], words))


def _formatted(template: str, words: Mapping[str, Any]) -> str:
    for name, value in words.items():
        template = template.replace("{" + name + "}", str(value))
    return template


class EnginesNode(Node):
    """A node that is to have several engines."""

    def __init__(self, folder: Path, engines: Sequence[str]) -> None:
        super().__init__(folder)
        self.engines = list(engines)
        self.ca = folder / "ca.pem"
        self.variables: dict[str, Any] = {
            "streamfleet_certificates_authority_host": NODE,
            "streamfleet_certificates_names": [{"name": STREAM}],
            "streamfleet_web_stream_host": STREAM,
            "streamfleet_web_default_host": STREAM,
            "streamfleet_common_uninstall_data": True,
        }
        for name in engines:
            self.variables.update(adapter(name).variables(folder))
        groups = {"streamfleet_nodes": {"hosts": {NODE: {}}, "vars": self.variables}}
        (folder / "groups.json").write_text(json.dumps(groups))
        roles = ["common", "certificates", *engines, "web"]
        (folder / "roles.yml").write_text(PLAY.format(roles=json.dumps(roles)))
        self.client = PanelClient(self)

    def role(self, name: str, variables: dict[str, Any], *arguments: str) -> str:
        """Run one role with other variables."""
        path = self.folder / f"{name}.yml"
        path.write_text(PLAY.format(roles=json.dumps([name])))
        return self.play(path, "-e", json.dumps(variables), *arguments)

    def sha256(self, paths: Iterable[str]) -> str:
        """The sums of files, and their paths."""
        return self.sh(f"sha256sum {' '.join(paths)}")

    def uninstall(self) -> str:
        """Remove all of it, in the order of uninstall.yml."""
        roles = ["web", *reversed(self.engines), "certificates", "common"]
        options = {"entry": "uninstall", "roles_in_order": roles}
        return self.play(self.folder / "tasks.yml", "-e", json.dumps(options))


@contextlib.contextmanager
def counting(audience: Audience) -> Iterator[Audience]:
    """One more who listens or watches; at the end nothing was lost."""
    audience.start()
    assert audience.playing.wait(60), audience.count
    yield audience
    count = audience.stop()
    assert (count.lost, count.faults) == (0, []), count
    assert count.gap < audience.longest_gap, count


class Stand:
    """An engine on that node: a service that things are done to, and one beside it that must not notice."""

    def __init__(self, node: EnginesNode, name: str) -> None:
        self.node, self.name, self.adapter = node, name, adapter(name)
        self.spec = spec_of(name)
        if not node.ca.exists():
            node.ca.write_text(node.sh("cat /etc/streamfleet/ca/ca.pem"))
        route = Route(node.address, str(node.ca))
        prefix = name.replace("_", "-")
        self._services = [self.adapter.service(f"{prefix}-{letter}", number) for number, letter in enumerate("ab")]
        self.subject, self.beside = (
            Subject(service["slug"], self.spec, node.client, route) for service in self._services
        )
        self._listening = contextlib.ExitStack()
        self._audience: Audience | None = None

    def ready(self) -> None:
        """Have both services on the air as they were first declared."""
        self.node.client.have(self.name, *self._services)

    def change(self, **changes: Any) -> None:
        """Change the service's settings."""
        service = copy.deepcopy(self._services[0])
        for key, value in changes.items():
            service[key] = {**service[key], **value} if isinstance(value, dict) else value
        self.node.client.have(self.name, service)

    def listen(self) -> None:
        """From now on the one beside it is published and listened to."""
        if self._audience is None:
            self._audience = self._listening.enter_context(self.beside.counted())

    def heard(self) -> Audience:
        """What was heard of it since, without a loss. Raises Misbehaved."""
        self.listen()
        audience, self._audience = self._audience, None
        assert audience is not None
        self._listening.close()
        return audience

    def stop(self) -> None:
        """End what is still listened to."""
        self._listening.close()

    def render(self, service: Mapping[str, Any]) -> Instance | list[Instance]:
        """What the engine makes of a service."""
        return load_renderer(ROOT, self.name)(service, {"node": NODE, "stream_host": STREAM})

    def hostile(self) -> list[dict[str, Any]]:
        """Two services for every text of the corpus: with it in what is free to write, and as the credential."""
        corpus = json.loads((ROOT / "tests" / "corpus" / "hostile.json").read_text())
        free = [
            field
            for field, item in (self.spec["fields"] or {}).items()
            if "string" in item["schema"].get("type", ()) and "enum" not in item["schema"]
        ]
        credential = next(entry["credential"] for entry in self.spec["connection"] if "credential" in entry)
        made = []
        # What is no Unicode text at all cannot be in a node document.
        for number, text in enumerate(text for text in corpus.values() if _encodable(text)):
            written = {"name": text, "reason": text, "settings": dict.fromkeys(free, text)}
            for letter, changes in (("t", written), ("c", {"credentials": {credential: text}})):
                service = self.adapter.service(f"h{number}-{letter}", 100 + 2 * number + (letter == "c"), **changes)
                made.append(service)
        return made

    def comes_back(self, within: float = 90) -> str:
        """What shows that it plays, once it does so after the node was away."""
        deadline = time.monotonic() + within
        while True:
            try:
                return self.subject.plays(660)
            except (Misbehaved, OSError):
                if time.monotonic() > deadline:
                    raise


def _encodable(text: str) -> bool:
    """Whether UTF-8 can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
