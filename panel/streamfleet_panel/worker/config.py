"""The worker's settings, from its environment file (``STREAMFLEET_WORKER_*``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class ConfigError(RuntimeError):
    """A setting is missing or wrong; the message names it and the fix."""


@dataclass(frozen=True)
class Config:
    """Where things are, and how patient the worker is. Times in seconds."""

    release: Path
    run_dir: Path
    url: str
    ca: Path
    token_file: Path
    ssh_key: Path
    #: Folder of ansible-playbook; by default the one that this Python was started from.
    programs: Path
    parallel: int = 8
    poll: float = 0.15
    run_timeout: float = 900.0
    #: A run whose worker has not said for so long that it lives is taken up again.
    lease: float = 30.0
    backoff_first: float = 2.0
    backoff_most: float = 300.0
    #: Between two questions to a node what is new on it; 0: nodes are not asked.
    collect: float = 30.0
    #: Finished runs kept per node.
    keep_runs: int = 50

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], programs: Path) -> Config:
        """Read the settings. Raises ConfigError."""

        def text(name: str, default: str | None = None) -> str:
            value = environ.get(f"STREAMFLEET_WORKER_{name}", default)
            if not value:
                raise ConfigError(f"STREAMFLEET_WORKER_{name} is not set; the role worker writes it to worker.env")
            return value

        def number(name: str, default: float, least: float) -> float:
            raw = environ.get(f"STREAMFLEET_WORKER_{name}", str(default))
            try:
                value = float(raw)
            except ValueError:
                value = least - 1
            if value < least:
                raise ConfigError(f"STREAMFLEET_WORKER_{name} is {raw!r}; it must be a number of at least {least}")
            return value

        folder = "/etc/streamfleet/worker"
        return cls(
            release=Path(text("RELEASE_DIR", "/opt/streamfleet/current")),
            run_dir=Path(text("RUN_DIR", "/run/streamfleet-worker")),
            url=text("URL"),
            ca=Path(text("CA", "/etc/streamfleet/ca/ca.pem")),
            token_file=Path(text("TOKEN_FILE", f"{folder}/token")),
            ssh_key=Path(text("SSH_KEY", f"{folder}/id_ed25519")),
            programs=programs,
            parallel=int(number("PARALLEL", cls.parallel, 1)),
            poll=number("POLL", cls.poll, 0.02),
            run_timeout=number("RUN_TIMEOUT", cls.run_timeout, 10),
            lease=number("LEASE", cls.lease, 1),
            collect=number("COLLECT", cls.collect, 0),
            backoff_first=number("BACKOFF_FIRST", cls.backoff_first, 0.01),
            backoff_most=number("BACKOFF_MOST", cls.backoff_most, 0.01),
        )

    def token(self) -> str:
        """The worker's API token. Read for every run, so that a new one needs no restart. Raises ConfigError."""
        try:
            return self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.token_file} cannot be read: {error}") from error


def default_programs(executable: str) -> Path:
    """The folder of ``executable``, links not followed: a virtual environment that is switched is followed."""
    return Path(executable).parent
