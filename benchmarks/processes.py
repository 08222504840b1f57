"""Our training as a user starts it: a process, its output line by line, its end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start_training(cwd: Path, arguments: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.Popen:
    """`python train.py` in the folder `cwd`; what it prints can be read as it comes, complaints go to stderr.txt."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environment or {})}
    with open(cwd / "stderr.txt", "a") as complaints:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *arguments],
            cwd=cwd,
            env=given,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )


def start_together(cwd: Path, arguments: Sequence[str], n: int) -> list[subprocess.Popen]:
    """The same as `n` processes of one device each, which train together."""
    if n == 1:
        return [start_training(cwd, arguments)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = ["--coordinator", f"127.0.0.1:{free.getsockname()[1]}", "--num_processes", str(n), "--process_id"]
    return [start_training(cwd, [*arguments, *meet, str(k)], {"JAX_NUM_CPU_DEVICES": "1"}) for k in range(n)]


def end(process: subprocess.Popen) -> None:
    """Kill it, if it still runs, and reap it."""
    process.kill()
    process.communicate()


def complaint(cwd: Path) -> str:
    """The last line that a training in `cwd` complained with."""
    return ((cwd / "stderr.txt").read_text().strip() or "no output").splitlines()[-1]


def compilation_cache(folder: Path) -> dict[str, str]:
    """The environment in which every program is kept in `folder` once it is compiled."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
