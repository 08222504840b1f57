"""Ctrl-C and SIGTERM ask for a stop; the loop answers when its state is whole."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

import jax
from rich.console import Console

from mqc_jax.training.distributed import earliest

OURS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Within this context, in the main thread, the first SIGINT or SIGTERM asks for a stop; a second one ends at once.

    A thread listens for the second: the main one may wait for the device for long, and runs no handler meanwhile.
    """

    def __init__(self) -> None:
        self.requested, self._calls = False, 0
        self._from: int | None = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = [(number, signal.signal(number, self._ask)) for number in OURS]
            self._ear, self._mouth = os.pipe()
            os.set_blocking(self._mouth, False)
            self._wakeup = signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
            self._listener = threading.Thread(target=_end_at_the_second, args=(self._ear,), daemon=True)
            self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._wakeup)
            for number, handler in self._previous:
                signal.signal(number, handler)
            os.close(self._mouth)
            self._listener.join()
            os.close(self._ear)

    def agreed(self) -> bool:
        """Whether to stop now: the same in all processes, which must ask equally often, once a dispatch.

        A process reads the metrics of a dispatch when all have asked for it. So what one of them says in its n-th call,
        all know in theirs of number n + 2.
        """
        if jax.process_count() == 1:
            return self.requested
        self._calls += 1
        if self.requested and self._from is None:
            self._from = self._calls + 2
        return self._calls >= earliest("stop", self._from)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def _end_at_the_second(ear: int) -> None:
    heard = 0
    while numbers := os.read(ear, 1):
        heard += numbers[0] in OURS
        if heard == 2:
            Console().show_cursor()  # which a progress bar hides
            print("error: interrupted; what was saved before is intact", file=sys.stderr, flush=True)
            os._exit(130)
