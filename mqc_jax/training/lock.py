"""One training at a time writes a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_pipeline.errors import BadInput

LOCK = ".lock"  # a file in the run; it may stay, for what counts is whether a process holds it


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Hold the run's lock, which the system takes back when the process ends, however it ends.

    Raises BadInput where another training holds it. Nothing is held on systems without such locks.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    with open(run / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                f"{run}: another training writes it; wait until that has ended, or choose another --out"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
