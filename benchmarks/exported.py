"""What the rival starts from: our weights, our windows of the data and our learning rates, in one file without JAX.

The file is written by a process that has JAX and read by one that has torch, so neither pays for the other's import.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from data_pipeline import TokenDataset
    from mqc_jax.config import Config
    from mqc_jax.model import GPT

ORIGINAL = "original"  # way to train in PyTorch: float32, eager, plain AdamW
BEST = ("float32-eager", "bfloat16-eager", "float32-compiled", "bfloat16-compiled")  # the best is one of these


def torch_weights(model: GPT) -> dict[str, np.ndarray]:
    """Our weights by the names of `TorchGPT`, stored (fan_out, fan_in): the inverse of `from_original`, and more."""
    from mqc_jax.checkpoint import by_path
    from mqc_jax.original import BLOCK_NAMES

    found = {}
    for path, leaf in by_path(model).items():
        weight = np.asarray(leaf)
        if path == ".embed":
            found["transformer.wte.weight"] = weight.T if model.config.ordinal else weight
        elif path == ".embed_inputs":
            found["transformer.wie.weight"] = weight.T
        elif path == ".head":
            found["lm_head.weight"] = weight.T
        else:
            name = BLOCK_NAMES[path.removeprefix(".blocks")]
            found |= {f"transformer.h.{layer}.{name}.weight": one.T for layer, one in enumerate(weight)}
    return found


def export(path: Path, config: Config, dataset: TokenDataset, n_steps: int) -> GPT:
    """Write what the first `n_steps` of training `config` start from and see; return the first weights."""
    from mqc_jax.model.ordinal import ordinal_basis
    from mqc_jax.training.batches import draw_windows, scoring_windows, steps_per_epoch
    from mqc_jax.training.optimizer import learning_rate
    from mqc_jax.training.start import first_model

    length, size, seed = config.model.sequence_len, config.train.batch_size, config.train.seed
    model = first_model(config, dataset, [], seed)
    windows = draw_windows(dataset, dataset.window_starts(length), length, size, seed=seed, steps=range(n_steps))
    if windows.last is not None:
        raise ValueError("the rival reads whole windows only; this dataset has pieces shorter than the context")
    per_epoch = steps_per_epoch(dataset, length, size)
    rate = learning_rate(config.train, per_epoch)
    validation = scoring_windows(dataset, "validation", length)
    arrays: dict[str, Any] = {f"w:{name}": weight for name, weight in torch_weights(model).items()}
    if model.bins is not None:
        arrays["basis"] = ordinal_basis(np.array(model.bins.values))
        arrays["log_masses"] = np.array(model.bins.log_masses, np.float32)
    np.savez(
        path,
        windows=windows.first,
        rates=np.array([float(rate(step)) for step in range(n_steps)]),
        per_epoch=per_epoch,
        validation_rows=validation.rows,
        validation_scored=validation.scored,
        **arrays,
    )
    return model
