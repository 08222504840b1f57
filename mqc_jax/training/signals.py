"""Ctrl-C and SIGTERM ask for a stop; the loop answers when its state is whole.

Among several processes JAX itself takes SIGTERM, which a handler of ours would keep from it, and tells the others.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental.multihost_utils import reached_preemption_sync_point


class StopRequest:
    """Within this context the first SIGINT or SIGTERM asks for a stop; a second one acts at once."""

    def __init__(self) -> None:
        self.requested, self._asked = False, 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            ours = (signal.SIGINT, signal.SIGTERM) if jax.process_count() == 1 else (signal.SIGINT,)
            for number in ours:
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def agreed(self) -> bool:
        """Whether to stop now: the same in all processes, which must ask equally often."""
        if jax.process_count() == 1:
            return self.requested
        self._asked += 1
        return reached_preemption_sync_point(self._asked)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
