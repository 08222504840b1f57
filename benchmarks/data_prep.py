"""How fast returns become tokens, and what a large dataset costs.

    python -m benchmarks.data_prep                   # encoding, then 1 M, 10 M and 100 M returns
    python -m benchmarks.data_prep --millions 1 10   # without the 12 GiB of disk that 100 M take for a while

Encoding is measured beside a plain copy of the same memory. Preparing is `prepare` from simulated prices of 50,000 bars
per symbol, read, checked, tokenized, written and hashed, each size in a fresh process whose peak memory is reported.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_pipeline import DataConfig, ReturnTokenizer, prepare

BARS = 50_000  # per symbol
ROUNDS = 7


def rates(function: Callable[[], object], n: int) -> tuple[float, float, float]:
    """Least, median and most millions of returns per second over ROUNDS rounds, after one that warms up."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    found = sorted(n / s / 1e6 for s in seconds[1:])
    return found[0], statistics.median(found), found[-1]


def encoding(n_series: int = 40) -> None:
    """Tokens per second on one core, and how far that is from copying the same numbers."""
    rng = np.random.default_rng(0)
    series = [0.01 * rng.standard_t(5, BARS) for _ in range(n_series)]
    n = n_series * BARS
    place = np.empty(BARS)
    copied = rates(lambda: [np.copyto(place, r) for r in series], n)
    print(f"{'copy of the returns':<22}{copied[1]:9.0f} M/s  ({copied[0]:.0f} to {copied[2]:.0f})")
    for kind in ("quantile", "uniform", "volatility", "rolling"):
        tokenizer = ReturnTokenizer.fit(kind, series[:4])
        found = rates(lambda: [tokenizer.encode(r) for r in series], n)  # noqa: B023
        print(
            f"{kind:<22}{found[1]:9.1f} M/s  ({found[0]:.1f} to {found[2]:.1f}); "
            f"the copy is {copied[1] / found[1]:.0f} times as fast"
        )


def preparing(millions: float, workers: int, process: str) -> None:
    """Time and peak memory of one size, in this process."""
    symbols = max(1, round(millions * 1e6 / BARS))
    with tempfile.TemporaryDirectory(dir=".") as place:
        out = Path(place) / "dataset"
        config = DataConfig(f"synthetic:{process}?symbols={symbols}&bars={BARS + 1}")
        start = time.perf_counter()
        dataset = prepare(config, out, workers=workers)
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in out.iterdir())
        n = len(dataset.tokens)
        one, all_children = (
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        peak = one + (workers * all_children if workers > 1 else 0)
    figures = {"returns": n, "seconds": seconds, "ns_per_return": seconds / n * 1e9, "gib": size / 2**30}
    print(json.dumps(figures | {"peak_gib_at_most": peak / 2**20}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="*", default=[1, 10, 100], help="sizes to prepare, in millions")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--process", default="sv", help="the simulated process")
    parser.add_argument("--only", type=float, help="prepare this size in this process and print JSON")
    given = parser.parse_args()
    if given.only is not None:
        preparing(given.only, given.workers, given.process)
        return
    encoding()
    free = shutil.disk_usage(".").free / 2**30
    for millions in given.millions:
        if free < 0.12 * millions:
            print(f"{millions:g} M returns: not run, {free:.0f} GiB of disk are free")
            continue
        command = [
            sys.executable,
            "-m",
            "benchmarks.data_prep",
            "--only",
            str(millions),
            "--workers",
            str(given.workers),
        ]
        done = subprocess.run([*command, "--process", given.process], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{found['returns'] / 1e6:7.1f} M returns prepared in {found['seconds']:7.1f} s = "
            f"{found['ns_per_return']:5.0f} ns each, {found['gib']:.2f} GiB on disk, "
            f"peak memory at most {found['peak_gib_at_most']:.2f} GiB"
        )


if __name__ == "__main__":
    main()
