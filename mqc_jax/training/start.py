"""Where training starts: at random weights, or at those of other runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.storage import read_json, write_json
from mqc_jax.checkpoint import by_path
from mqc_jax.config import Config, ModelConfig
from mqc_jax.kernels.causal import best_way
from mqc_jax.kernels.precision import is_ampere_or_newer, native_precision
from mqc_jax.model import GPT
from mqc_jax.run import Run, load_run, new_model

MAY_DIFFER = ("dropout", "dtype", "attention", "unroll", "remat")  # of the network
ANCESTORS = "base.json"  # in a run's directory: what the runs before it were trained on


def base_paths(init_from: str | None) -> list[str]:
    """The runs to start from, if there are any."""
    return [] if init_from is None else [path.strip() for path in init_from.split(",")]


def open_bases(config: Config, dataset: TokenDataset) -> list[Run]:
    """The runs to start from, if there are any.

    Bins may differ, for a token means its bin's value or its rank; raises BadInput for another network, kind of
    tokens, or inputs that this data does not have.
    """
    return [_open_base(path, config, dataset) for path in base_paths(config.train.init_from)]


def _open_base(path: str, config: Config, dataset: TokenDataset) -> Run:
    base = load_run(path)
    for name, value in vars(config.model).items():
        theirs = getattr(base.config.model, name)
        if theirs != value and name not in MAY_DIFFER:
            raise BadInput(f"--init_from {path}: its {name} is {theirs}, not {value}; set --{name} {theirs}")
    if base.tokenizer.kind != dataset.tokenizer.kind:
        raise BadInput(
            f"--init_from {path}: it reads {base.tokenizer.kind} tokens, not {dataset.tokenizer.kind}; set --tokenizer "
            f"{base.tokenizer.kind}"
        )
    unknown = [name for name in _inputs(base.manifest) if name not in _inputs(dataset.manifest)]
    if config.model.inputs and unknown:
        raise BadInput(f"--init_from {path}: it reads {unknown[0]}, which this data has not; prepare it with the same")
    return base


def first_model(config: Config, dataset: TokenDataset, bases: Sequence[Run], seed: int) -> GPT:
    """A fresh model, or one with the weights of `bases[seed % n]`; inputs that are new to it have fresh weights."""
    model = new_model(config.model, dataset.tokenizer, dataset.manifest, model_key(seed))
    if not bases:
        return model
    base = bases[seed % len(bases)]
    theirs: dict[str, Array] = by_path(base.model)
    place = jnp.array([_inputs(dataset.manifest).index(name) for name in _inputs(base.manifest)], jnp.int32)

    def weights(path: str, own: Any) -> Array:
        return own.at[place].set(theirs[path]) if path == ".embed_inputs" else theirs[path]

    started = [weights(path, own) for path, own in by_path(model).items()]
    return jax.tree.unflatten(jax.tree.structure(model), started)


def check_attention(config: ModelConfig) -> None:
    """Raise BadInput where cuDNN's kernel is asked for and cannot be had."""
    if config.attention != "cudnn":
        return
    if jax.default_backend() != "gpu" or not is_ampere_or_newer():
        raise BadInput(
            f"--attention cudnn needs a GPU of NVIDIA's compute capability 8 or above, and this is a "
            f"{jax.devices()[0].device_kind}; leave it out"
        )
    dtype = native_precision() if config.dtype == "auto" else config.dtype
    if best_way("ampere", jnp.dtype(dtype), config.head_dim) != "cudnn":
        raise BadInput(
            f"--attention cudnn needs half precision and heads of 8, 16, … 128, not {dtype} and heads of "
            f"{config.head_dim}; try --dtype bfloat16, or leave it out"
        )


def _inputs(manifest: dict[str, Any]) -> list[str]:
    return manifest.get("inputs", [])  # bare token ids have none


def model_key(seed: int) -> Array:
    """What draws the weights of a fresh model."""
    return jax.random.split(jax.random.key(seed))[0]


def dropout_key(seed: int) -> Array:
    """What draws the dropout of every step."""
    return jax.random.split(jax.random.key(seed))[1]


def write_ancestors(path: Path, bases: Sequence[Run], init_from: str | None) -> None:
    """Keep with a run what it may have started from."""
    found = []
    for base, start in zip(bases, base_paths(init_from), strict=True):
        found += [{"run": start, "source": base.manifest["source"], "splits": base.manifest["splits"]}]
        found += ancestors(start)
    if found:
        write_json(path / ANCESTORS, found)


def ancestors(path: str | Path) -> list[dict[str, Any]]:
    """What the runs were trained on that this one started from, the nearest first."""
    file = Path(path) / ANCESTORS
    return read_json(file) if file.is_file() else []


def dated_ancestors(path: str | Path) -> list[dict[str, Any]]:
    """Those that have seen real dates: simulated ones mean nothing."""
    return [
        one for one in ancestors(path) if not one["source"].startswith("synthetic:") and one["splits"].get("train_end")
    ]
