"""What the modules of library/ say of themselves, for tests: their argument specs and their documentation."""

from __future__ import annotations

from typing import Any

from scripts.module_specs import ROOT, argument_spec, talks

__all__ = ["argument_spec", "module_names", "own_options"]


def module_names() -> list[str]:
    """Modules of library/ that talk to the panel by themselves: those for users. (Others only document an action.)"""
    return sorted(
        path.stem
        for path in (ROOT / "library").glob("*.py")
        if "extends_documentation_fragment" in path.read_text() and talks(path.stem)
    )


def own_options(name: str) -> dict[str, Any]:
    """The argument spec without the options of the connection."""
    from streamfleet.arguments import CONNECTION

    return {option: spec for option, spec in argument_spec(name).items() if option not in CONNECTION}
