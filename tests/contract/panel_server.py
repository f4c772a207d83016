"""A real panel for tests: gunicorn on a free loopback port and the jobs process, over a temporary SQLite database.

    with running_panel() as panel:
        panel.url, panel.token          # an administrator's token
        panel.environment               # STREAMFLEET_URL, STREAMFLEET_TOKEN as the modules read them
        panel.manage("issue_token", …)  # a management command, its JSON

By hand: ``python tests/contract/panel_server.py`` prints URL and token, and serves until it is interrupted.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180


@dataclass
class Panel:
    """A panel that runs. ``password`` is the administrator's (user name ``admin``)."""

    url: str
    token: str
    password: str
    directory: Path
    variables: dict[str, str] = field(repr=False, default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that modules, actions and the worker read."""
        return {"STREAMFLEET_URL": self.url, "STREAMFLEET_TOKEN": self.token}

    def manage(self, *arguments: str, stdin: str = "") -> Any:
        """Run a management command against this panel's database; its output as JSON. Raises CalledProcessError."""
        done = subprocess.run(
            [sys.executable, "-m", "streamfleet_panel", *arguments],
            env=self.variables,
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{arguments[0]} failed: {done.stderr[-2000:]}")
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    def request(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        """One call of the API (``path`` below /api/v1); (status, parsed body)."""
        call = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(call, timeout=120) as response:
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")


@contextlib.contextmanager
def running_panel(
    *,
    workers: int = 2,
    database_url: str | None = None,
    extra: Mapping[str, str] | None = None,
    static: bool = False,
) -> Iterator[Panel]:
    """Start a panel, yield it, stop exactly what was started. ``extra``: more settings, e.g. a small grace period.

    ``static``: collect the pages' assets too (for browsers; takes some seconds).
    """
    with tempfile.TemporaryDirectory(prefix="streamfleet-panel-") as name:
        directory = Path(name)
        (directory / "panel-domains").mkdir()
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "panel"),
            "STREAMFLEET_PANEL_SECRET_KEY": secrets.token_hex(32),
            # Not into this machine's own log.
            "STREAMFLEET_PANEL_SYSLOG": "",
            "STREAMFLEET_PANEL_FIELD_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "STREAMFLEET_PANEL_DATABASE_URL": database_url or f"sqlite:///{directory}/panel.sqlite3",
            "STREAMFLEET_PANEL_PUBLIC_URL": url,
            "STREAMFLEET_PANEL_ALLOWED_HOSTS": "127.0.0.1,localhost",
            "STREAMFLEET_PANEL_SECURE_COOKIES": "false",
            "STREAMFLEET_PANEL_STATIC_ROOT": str(directory / "static"),
            "STREAMFLEET_PANEL_RELEASE_DIR": str(ROOT),
            "STREAMFLEET_PANEL_PANEL_DOMAINS_DIR": str(directory / "panel-domains"),
            # Nobody answers there: no test asks the Internet about domains.
            "STREAMFLEET_PANEL_DOMAIN_RESOLVERS": "127.0.0.1:1",
            **(extra or {}),
        }
        panel = Panel(url, "", secrets.token_urlsafe(12), directory, variables)
        administrator = {"username": "admin", "password": panel.password}
        tokens = [{"name": "tests", "scope": "account", "account": "admin"}]
        order = json.dumps({"administrator": administrator, "tokens": tokens})
        panel.token = panel.manage("set_up", stdin=order)["tokens"][0]
        if static:
            panel.manage("collectstatic", "--noinput", "--verbosity", "0")
        commands = [
            ["-m", "gunicorn", "--workers", str(workers), "--bind", f"127.0.0.1:{port}", "--timeout", "120"],
            ["-m", "streamfleet_panel", "jobs", "--poll", "0.3"],
        ]
        commands[0] += ["--no-control-socket", "streamfleet_panel.wsgi:application"]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for command, log in zip(commands, ("gunicorn.log", "jobs.log"), strict=True):
                with (directory / log).open("wb") as stream:
                    process = subprocess.Popen(
                        [sys.executable, *command], env=variables, cwd=directory, stdout=stream, stderr=stream
                    )
                processes.append(process)
            _wait(url, processes[0], directory / "gunicorn.log")
            yield panel
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/api/v1/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"The panel did not start:\n{log.read_text(errors='replace')[-3000:]}")


if __name__ == "__main__":
    with running_panel() as served:
        print(f"export STREAMFLEET_URL={served.url} STREAMFLEET_TOKEN={served.token}", flush=True)
        print(f"# administrator: admin / {served.password}; data in {served.directory}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
