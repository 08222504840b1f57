"""What a training that ran out of memory can do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_pipeline.errors import OutOfResources
from mqc_jax.config import Config, TrainConfig
from mqc_jax.training.sharding import ROWS, make_mesh


@contextmanager
def enough_memory(config: Config, out: Path) -> Iterator[None]:
    """Raise OutOfResources that names what takes less, where the device runs out."""
    try:
        yield
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        mesh, size = make_mesh(config), config.train.batch_size
        less = less_at_once(config.train, math.prod(mesh.shape[axis] for axis in ROWS))
        if less:
            flags = "--accumulate {accumulate}, for steps on the same windows, or with --batch_size {batch_size}"
            try_ = flags.format_map(less)
        else:
            try_ = "--remat all" if config.model.remat != "all" else "a smaller network"
        raise OutOfResources(f"{out}: out of memory in a step of {size} windows; train again with {try_}") from None


def less_at_once(settings: TrainConfig, n_sharing: int) -> dict[str, int]:
    """Fields, either of which leaves each of the devices that share the windows fewer at a time; none below one window.

    A part of a step must have equally many windows for each of the `n_sharing` devices.
    """
    size, parts = settings.batch_size, settings.accumulate
    at_a_time = size // (n_sharing * parts)
    if at_a_time == 1:
        return {}
    more_parts = next(n for n in range(parts + 1, size + 1) if size % (n_sharing * n) == 0)
    return {"accumulate": more_parts, "batch_size": n_sharing * parts * (at_a_time // 2)}
