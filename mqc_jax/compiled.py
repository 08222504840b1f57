"""Compiled programs are kept between runs, in a folder that only this user can write."""

from __future__ import annotations

import hashlib
import os
import platform
import stat
from pathlib import Path

from mqc_jax.machine import cpu_features

MOST_BYTES = 2**30
FOLDER, LEAST_SECONDS = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def keep_compiled() -> None:
    """Let JAX, not yet imported, keep what it compiles under ~/.cache/mqc-jax; a folder that is set already stays.

    JAX runs what it finds there, so a folder that others can write is not used, nor one that cannot be made.
    """
    # XLA takes its own tuning hints for features that the machine lacks, and says so for every program it loads
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if FOLDER in os.environ or os.name != "posix":
        return
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "mqc-jax" / f"compiled-{_machine()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        safe = _is_ours(folder) and _is_ours(folder.parent)
        if safe:
            _bound(folder)
    except OSError:
        return
    if not safe:
        return
    os.environ[FOLDER] = str(folder)
    os.environ.setdefault(LEAST_SECONDS, "0.1")


def _bound(folder: Path) -> None:
    """Delete what was not read for longest, until the rest has at most MOST_BYTES.

    A process that misses a program compiles it. JAX has a bound of its own (`jax_compilation_cache_max_size`), but
    there a process that is killed while it writes leaves a file that keeps all later ones from being written.
    """
    about = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    total = 0
    for path, found in sorted(about, key=lambda one: -max(one[1].st_atime, one[1].st_mtime)):
        total += found.st_size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)


def _is_ours(folder: Path) -> bool:
    about = folder.stat()
    return about.st_uid == os.getuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _machine() -> str:
    """Names the instructions that programs compiled here may use: a home folder can be shared by unlike machines."""
    about = " ".join([platform.machine(), platform.processor(), *sorted(cpu_features())])
    return hashlib.sha256(about.encode()).hexdigest()[:12]
