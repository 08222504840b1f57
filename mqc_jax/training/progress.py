"""What a person sees while a model trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A bar of steps with loss, tokens per second and time left, and one line per epoch."""

    def __init__(self, console: Console, done: int, total: int):
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total, completed=done, note="compiling")
        self._started, self._tokens = time.perf_counter(), 0

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def tokens_per_second(self) -> float:
        """Since the last epoch ended, or the start."""
        return self._tokens / (time.perf_counter() - self._started)

    def steps(self, done: int, loss: float, tokens: int) -> None:
        """So many tokens more, up to step `done`."""
        self._tokens += tokens
        self._bar.update(self._task, completed=done, note=f"loss {loss:.4f}  {self.tokens_per_second:,.0f} tokens/s")

    def epoch(self, line: dict[str, Any], num_epochs: int, best: bool) -> None:
        validation = line["validation_loss"]
        shown = "" if validation is None else f"  validation {validation:.4f}{' *' if best else ''}"
        self._console.print(
            f"epoch {line['epoch']:>{len(str(num_epochs))}}/{num_epochs}  loss {line['loss'] or math.nan:.4f}{shown}  "
            f"{line['tokens_per_second']:,.0f} tokens/s"
        )
        self._started, self._tokens = time.perf_counter(), 0


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
