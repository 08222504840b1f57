"""What can go wrong, and the exit code each failure ends a command with.

0 done · 2 usage or bad input · 3 damaged data or checkpoint · 4 numeric failure · 5 out of disk, memory or network ·
130 interrupted at once · 141 nobody reads the output · 143 stopped by a signal after a clean save. A message is one
line: what is wrong, where, how to mend it.
"""

from __future__ import annotations

import errno
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a quota, the limit of a file's size


class MqcError(Exception):
    """A failure the user can act on."""

    exit_code = 1
    figures: dict[str, Any] | None = None  # what was found out before it, for --json


class BadInput(MqcError, ValueError):
    """What the user gave cannot be used as it is."""

    exit_code = 2


class DamagedData(MqcError):
    """A dataset or checkpoint on disk is not what was written."""

    exit_code = 3


class NumericFailure(MqcError):
    """Training produced a number that is not finite."""

    exit_code = 4


class OutOfResources(MqcError):
    """The disk or the memory is full, or the network does not deliver."""

    exit_code = 5


class Stopped(MqcError):
    """A signal ended the work, and everything was saved first."""

    exit_code = 143


class SomeFailed(MqcError):
    """Part of the work failed, with the exit code of what went worst; the rest was done."""

    def __init__(self, message: str, exit_code: int, figures: dict[str, Any]) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.figures = figures


def outcome(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code that a command ends with; None for a mistake of ours, whose traceback is wanted."""
    if isinstance(error, MqcError):
        return str(error), error.exit_code
    if isinstance(error, BrokenPipeError):
        return "whoever read the output has gone", 141
    if isinstance(error, OSError):
        full = error.errno in FULL
        what = "no space left; free some and run the command again" if full else error.strerror or str(error)
        return f"{error.filename or 'disk'}: {what}", (OutOfResources if full else BadInput).exit_code
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)):
        return "out of memory; try less at once: a smaller --batch_size, fewer paths", OutOfResources.exit_code
    return None
