"""What is to be done for the host names of one service."""

from __future__ import annotations

from dataclasses import dataclass, field

from .files import Found, Target


@dataclass
class Holder:
    """A service with names: what shall be there, and what differs. ``error``: why not all of it is as wanted."""

    key: str
    targets: list[Target] = field(default_factory=list)
    writes: list[tuple[Target, Found]] = field(default_factory=list)
    removals: list[tuple[str, Found]] = field(default_factory=list)
    error: str = ""

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.writes or self.removals)

    @property
    def paths(self) -> list[str]:
        """Every path that it has or is about to have or to give up."""
        return sorted({target.path for target in self.targets} | {path for path, _found in self.removals})
