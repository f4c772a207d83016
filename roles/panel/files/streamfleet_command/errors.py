"""What ends the command with a message instead of a traceback."""

from __future__ import annotations

#: Exit codes: something is not well; the command line or a value is wrong; not root (as in sysexits.h).
NOT_WELL, USAGE, NOT_ROOT = 1, 2, 77


class CommandFailed(Exception):
    """``code``: the exit code. The message names what is wrong, the value and what to do."""

    def __init__(self, message: str, code: int = NOT_WELL) -> None:
        super().__init__(message)
        self.code = code
