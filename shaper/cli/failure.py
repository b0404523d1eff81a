"""Failures of the command line, each with its code of sysexits.h."""

from __future__ import annotations

__all__ = [
    "CONFIG",
    "IOERR",
    "NOPERM",
    "SOFTWARE",
    "TEMPFAIL",
    "UNAVAILABLE",
    "USAGE",
    "CliError",
]

USAGE = 64
UNAVAILABLE = 69  # the daemon does not run
SOFTWARE = 70
IOERR = 74  # the answer could not be written
TEMPFAIL = 75  # try again later
NOPERM = 77
CONFIG = 78


class CliError(Exception):
    """Ends the command: what is wrong, and what the operator may do."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        """``hint`` is shown on a line of its own."""
        super().__init__(message)
        self.code = code
        self.hint = hint
