"""Seconds from the start of `python train.py` to its first step, with a cold and a warm compilation cache.

    python -m benchmarks.start_up [--config daily] [--json FILE]

The first step is there when the first dispatch is: the line "step N after S s" of the output. Cold and warm runs take
turns; each cold one has an empty cache folder, each warm one has what its cold one left.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.processes import compilation_cache, complaint, end, start_training
from benchmarks.rounds import parser, ratio, report

FIRST_STEP = "step "


def first_step(config: str, cwd: Path, cache: Path) -> float:
    """Seconds to the first step of one run, which then ends."""
    cwd.mkdir()
    start = time.perf_counter()
    process = start_training(cwd, ["--config", config, "--out", "r"], compilation_cache(cache))
    try:
        for line in process.stdout or ():
            if line.startswith(FIRST_STEP):
                return time.perf_counter() - start
    finally:
        end(process)
    sys.exit(f"error: train.py --config {config} took no step: {complaint(cwd)}")


def main() -> None:
    flags = parser(__doc__, rounds=5)
    args = flags.parse_args()
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as folder:
        for r in range(args.rounds):
            cache = Path(folder) / f"cache{r}"
            cold.append(first_step(args.config, Path(folder) / f"cold{r}", cache))
            warm.append(first_step(args.config, Path(folder) / f"warm{r}", cache))
            print(f"round {r + 1}/{args.rounds}: cold {cold[-1]:.2f} s, warm {warm[-1]:.2f} s", file=sys.stderr)
    figures = {
        "config": args.config,
        "rounds": args.rounds,
        "cold_seconds_median": float(np.median(cold)),
        "warm_seconds_median": float(np.median(warm)),
        "cold_seconds": cold,
        "warm_seconds": warm,
        **ratio(cold, warm).figures("ratio_cold_to_warm"),
    }
    report(figures, args.json)


if __name__ == "__main__":
    main()
