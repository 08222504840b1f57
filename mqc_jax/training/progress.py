"""What a person sees while a model trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mqc_jax.training.flops import mfu


class TrainingProgress:
    """A bar of steps with loss, tokens per second and time left, and one line per epoch."""

    def __init__(self, console: Console, done: int, total: int, token_flops: float, n_devices: int):
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
        self._console, self._token_flops, self._n_devices = console, token_flops, n_devices
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total, completed=done, note="compiling")
        self._opened = self._started = time.perf_counter()
        self._tokens, self._none_yet = 0, True

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def speed(self) -> dict[str, float]:
        """Tokens per second since the last epoch ended, or the start; and MFU, where the device's peak is known."""
        rate = self._tokens / (time.perf_counter() - self._started)
        share = mfu(rate / self._n_devices, self._token_flops, jax.devices()[0])
        return {"tokens_per_second": rate} | ({} if share is None else {"mfu": share})

    def steps(self, done: int, loss: float, tokens: int) -> None:
        """So many tokens more, up to step `done`; the first time, say how long compiling and that took."""
        if self._none_yet:
            self._console.print(f"step {done} after {time.perf_counter() - self._opened:.1f} s")
            self._none_yet = False
        self._tokens += tokens
        self._bar.update(self._task, completed=done, note=f"loss {loss:.4f}  {_in_words(self.speed())}")

    def epoch(self, line: dict[str, Any], num_epochs: int, best: bool) -> None:
        validation = line["validation_loss"]
        shown = "" if validation is None else f"  validation {validation:.4f}{' *' if best else ''}"
        self._console.print(
            f"epoch {line['epoch']:>{len(str(num_epochs))}}/{num_epochs}  loss {line['loss'] or math.nan:.4f}{shown}  "
            f"{_in_words(line)}"
        )
        self._started, self._tokens = time.perf_counter(), 0


def _in_words(speed: dict[str, Any]) -> str:
    share = f"  {speed['mfu']:.1%} MFU" if "mfu" in speed else ""
    return f"{speed['tokens_per_second']:,.0f} tokens/s{share}"


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
