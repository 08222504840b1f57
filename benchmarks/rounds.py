"""Fair timings on a machine that others use too: processes in turn, rounds that were disturbed left out, a ratio with
its interval."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import PRESETS

MAX_FOREIGN = 0.05  # share of the machine's CPU time that others may use in a round
MIN_ROUNDS = 5


def parser(doc: str | None, rounds: int = 10) -> argparse.ArgumentParser:
    """The flags that all timings of a preset have, under a module's docstring."""
    made = argparse.ArgumentParser(
        description=doc, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--config", choices=sorted(PRESETS), default="daily")
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--json", help="write the figures to this file")
    return made


class Ratio(NamedTuple):
    """Median of the rounds' ratios and its 95 % bootstrap interval."""

    median: float
    low: float
    high: float

    def figures(self, name: str) -> dict[str, float]:
        return {f"{name}_median": self.median, f"{name}_95_low": self.low, f"{name}_95_high": self.high}


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """How many times as long they take as we do, from the seconds of the same rounds."""
    found = np.array(theirs, float) / np.array(ours, float)
    draws = np.random.default_rng(0).choice(found, (10_000, len(found)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return Ratio(float(np.median(found)), float(low), float(high))


def quiet_rounds(foreign: Sequence[float], limit: float = MAX_FOREIGN, at_least: int = MIN_ROUNDS) -> list[int]:
    """The rounds in which others used at most `limit` of the CPU; never fewer than the `at_least` quietest."""
    quietest = sorted(range(len(foreign)), key=lambda r: foreign[r])
    n_quiet = sum(share <= limit for share in foreign)
    return sorted(quietest[: max(n_quiet, at_least)])


class ForeignCpu:
    """Within this context, the share of all CPU time that went to neither this process nor its finished children.

    0 where the system has no /proc/stat.
    """

    share = 0.0

    def __enter__(self) -> ForeignCpu:
        self._start = _busy_seconds(), _own_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        busy, own, started = self._start
        spent = _busy_seconds() - busy - (_own_seconds() - own)
        self.share = max(0.0, spent / ((time.perf_counter() - started) * (os.cpu_count() or 1)))


def _busy_seconds() -> float:
    try:
        user, nice, system, _, _, irq, softirq, steal = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def interleave(
    names: Sequence[str], n_rounds: int, measure: Callable[[str, int], Any]
) -> tuple[list[dict[str, Any]], int]:
    """Measure all in turn, A B C then C B A: what each gave in the rounds that were quiet, and how many were not."""
    found, foreign = [], []
    for r in range(n_rounds):
        with ForeignCpu() as others:
            found.append({name: measure(name, r) for name in (names if r % 2 == 0 else names[::-1])})
        foreign.append(others.share)
        print(f"round {r + 1}/{n_rounds}: others used {others.share:.1%} of the CPU", file=sys.stderr)
    kept = quiet_rounds(foreign)
    n_dropped = n_rounds - len(kept)
    loud = sum(foreign[r] > MAX_FOREIGN for r in kept)
    print(
        f"dropped {n_dropped} of {n_rounds} rounds in which others used more than {MAX_FOREIGN:.0%} of the CPU"
        + (f"; kept {loud} such, to have {MIN_ROUNDS}" if loud else "")
    )
    return [found[r] for r in kept], n_dropped


def run_worker(module: str, arguments: Sequence[object], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The JSON that `python -m module` prints on its last line. Exits with its last line of complaint if it fails."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        why = (done.stderr.strip() or "no output").splitlines()[-1]
        sys.exit(f"error: {' '.join(command[1:])} failed: {why}")
    return json.loads(done.stdout.splitlines()[-1])


def report(figures: dict[str, Any], path: str | None) -> None:
    """Print the figures, and keep them in a file if one is named."""
    text = json.dumps(figures, indent=2)
    print(text)
    if path:
        Path(path).write_text(text + "\n")
