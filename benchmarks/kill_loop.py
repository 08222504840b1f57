"""Kill a training again and again, resume it, and compare what it leaves with that of one that nobody touched.

    python -m benchmarks.kill_loop --kills 30 [--json FILE]
    python -m benchmarks.kill_loop --processes 2 --kills 5

With --processes, as many train together, and all are killed at once.

Half of the SIGKILLs, by chance, come while a checkpoint is being written (`checkpoints/partial` is there), the others
at any moment between the start of the process and a little after its first save. Prints a line for each, then the two
SHA-256 of the newest and the best state and of the metrics; exits with 1 where they differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fingerprint import fingerprint
from benchmarks.processes import complaint, end, start_together
from benchmarks.rounds import report

POLL = 0.0005  # seconds
SAVE = 0.2  # seconds that a save takes at most, about


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1, help="that train together")
    parser.add_argument("--epochs", type=int, help="length of the training; default: 120 and 8 for every kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    train = ["--config", "tiny", "--num_epochs", str(args.epochs or 120 + 8 * args.kills)]
    with tempfile.TemporaryDirectory() as folder:
        unbroken, broken = Path(folder) / "unbroken", Path(folder) / "broken"
        unbroken.mkdir()
        broken.mkdir()
        start = time.perf_counter()
        together = start_together(unbroken, [*train, "--out", "r"], args.processes)
        wait(together, (unbroken / "r" / "checkpoints" / "partial").exists)
        first_save = time.perf_counter() - start
        finish(together, unbroken)
        rng = np.random.default_rng(args.seed)
        kills = kill_and_resume(broken, train, args.kills, rng, 1.3 * first_save, args.processes)
        digests = {"unbroken": fingerprint(unbroken / "r"), "killed": fingerprint(broken / "r")}
    same = digests["unbroken"] == digests["killed"]
    figures = {"kills": len(kills), "in_save": sum(one["in_save"] for one in kills), "same": same, **digests}
    report(figures | {"each": kills}, args.json)
    if len(kills) < args.kills:
        sys.exit(f"error: the training was done after {len(kills)} kills; try --epochs {240 + 16 * args.kills}")
    if not same:
        sys.exit("error: a training that was killed and resumed ended in another state")


def kill_and_resume(
    cwd: Path, train: list[str], n: int, rng: np.random.Generator, seconds: float, n_processes: int
) -> list[dict[str, Any]]:
    """Kill the training `n` times, or as often as it can be before it is done; then let it finish."""
    kills = []
    while True:
        resume = (cwd / "r" / "config.json").is_file()
        together = start_together(cwd, [*(["--resume"] if resume else train), "--out", "r"], n_processes)
        began = time.perf_counter()
        killed = len(kills) < n and kill(together, cwd / "r" / "checkpoints", rng, seconds)
        if not killed:
            finish(together, cwd)
            return kills
        kills.append({"in_save": in_save(cwd), "seconds": time.perf_counter() - began, "latest": latest(cwd)})
        print(
            f"kill {len(kills)}/{n}: after {kills[-1]['seconds']:.2f} s, "
            f"{'inside a save' if kills[-1]['in_save'] else 'outside a save'}, newest step {kills[-1]['latest']}",
            flush=True,
        )


def kill(together: list[subprocess.Popen], checkpoints: Path, rng: np.random.Generator, seconds: float) -> bool:
    """Wait for a moment, or for a save and a moment in it, and kill; False if they were done before."""
    if rng.random() < 0.5:
        partial = checkpoints / "partial"
        for _ in range(int(rng.integers(1, 4))):
            if not (wait(together, lambda: not partial.exists()) and wait(together, partial.exists)):
                return False
        time.sleep(SAVE * rng.random() ** 2)  # more often early: a save is short
    else:
        end_of_wait = time.perf_counter() + rng.uniform(0, seconds)
        if not wait(together, lambda: time.perf_counter() >= end_of_wait):
            return False
    if any(process.poll() is not None for process in together):
        return False
    for process in together:
        process.kill()
    for process in together:
        end(process)
    return True


def wait(together: list[subprocess.Popen], happened: Any) -> bool:
    """Until something happened; False if a process ended first."""
    while not happened():
        if any(process.poll() is not None for process in together):
            return False
        time.sleep(POLL)
    return True


def in_save(cwd: Path) -> bool:
    return (cwd / "r" / "checkpoints" / "partial").exists()


def latest(cwd: Path) -> int | None:
    steps = [int(path.name) for path in (cwd / "r" / "checkpoints").glob("[0-9]*")]
    return max(steps, default=None)


def finish(together: list[subprocess.Popen], cwd: Path) -> None:
    """To their end. Exits with the last complaint where one failed."""
    for process in together:
        process.communicate()
    codes = [process.returncode for process in together]
    if any(codes):
        sys.exit(f"error: train.py failed with {codes}: {complaint(cwd)}")


if __name__ == "__main__":
    main()
