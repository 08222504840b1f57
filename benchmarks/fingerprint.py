"""One number for all that training left behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

from mqc_jax.checkpoint import Checkpoints
from mqc_jax.run import read_metrics

TIMES = ("seconds", "tokens_per_second", "mfu")


def fingerprint(run: Path) -> str:
    """SHA-256 of all that training left in `run`: its newest and best step, every array, and the metrics; no times."""
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        steps = [checkpoints.latest, checkpoints.best]
    digest = hashlib.sha256(repr(steps).encode())
    for step in steps:
        place = (run / "checkpoints" / str(step)).resolve()
        progress = json.loads((place / "progress" / "metadata").read_text())
        digest.update(json.dumps({k: v for k, v in progress.items() if k not in TIMES}).encode())
        for name in ("model", "optimizer"):
            for path, leaf in sorted(ocp.StandardCheckpointer().restore(place / name).items()):
                digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode() + np.asarray(leaf).tobytes())
    for line in read_metrics(run):
        digest.update(json.dumps({k: v for k, v in line.items() if k not in TIMES}).encode())
    return digest.hexdigest()
