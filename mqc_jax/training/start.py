"""Where training starts: at random weights, or at those of another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.storage import read_json, write_json
from mqc_jax.checkpoint import by_path
from mqc_jax.config import Config
from mqc_jax.model import GPT
from mqc_jax.run import Run, load_run, new_model

MAY_DIFFER = ("dropout", "dtype")  # of the network
ANCESTORS = "base.json"  # in a run's directory: what the runs before it were trained on


def open_base(config: Config, dataset: TokenDataset) -> Run | None:
    """The run to start from, if there is one.

    Bins may differ, for a token means its bin's value or its rank; raises BadInput for another network, kind of
    tokens, or inputs that this data does not have.
    """
    path = config.train.init_from
    if path is None:
        return None
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


def first_model(config: Config, dataset: TokenDataset, base: Run | None, key: Array) -> GPT:
    """A fresh model, or one with the weights of `base`; inputs that `base` does not know have fresh weights."""
    model = new_model(config.model, dataset.tokenizer, dataset.manifest, key)
    if base is None:
        return model
    theirs: dict[str, Array] = by_path(base.model)
    place = jnp.array([_inputs(dataset.manifest).index(name) for name in _inputs(base.manifest)], jnp.int32)

    def weights(path: str, own: Any) -> Array:
        return own.at[place].set(theirs[path]) if path == ".embed_inputs" else theirs[path]

    started = [weights(path, own) for path, own in by_path(model).items()]
    return jax.tree.unflatten(jax.tree.structure(model), started)


def _inputs(manifest: dict[str, Any]) -> list[str]:
    return manifest.get("inputs", [])  # bare token ids have none


def write_ancestors(path: Path, base: Run | None, init_from: str | None) -> None:
    """Keep with a run what it started from."""
    if base is not None and init_from is not None:
        about = {"run": init_from, "source": base.manifest["source"], "splits": base.manifest["splits"]}
        write_json(path / ANCESTORS, [about, *ancestors(init_from)])


def ancestors(path: str | Path) -> list[dict[str, Any]]:
    """What the runs were trained on that this one started from, the nearest first."""
    file = Path(path) / ANCESTORS
    return read_json(file) if file.is_file() else []


def dated_ancestors(path: str | Path) -> list[dict[str, Any]]:
    """Those that have seen real dates: simulated ones mean nothing."""
    return [
        one for one in ancestors(path) if not one["source"].startswith("synthetic:") and one["splits"].get("train_end")
    ]
