"""The run directory: what training writes and everything else reads.

config.json      the resolved configuration          metrics.jsonl   one line per epoch
tokenizer.json   fitted on the training dates        checkpoints/    Orbax: the latest two and the best
manifest.json    the data: source, splits, SHA-256   dataset/        the tokens, when training prepared them
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from data_pipeline import BadInput, DamagedData, TokenDataset, Tokenizer, open_dataset, tokenizer_from_json
from data_pipeline.storage import read_json, write_json
from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.checkpoint import Checkpoints
from mqc_jax.config import Config, ModelConfig
from mqc_jax.model import GPT, OrdinalBins


class Run(NamedTuple):
    """A trained model and all that is needed to use it."""

    model: GPT
    config: Config
    tokenizer: Tokenizer
    manifest: dict[str, Any]


def load_run(path: str | Path) -> Run:
    """Read a run directory, with the weights of its best validation loss.

    Raises BadInput when the path is no run directory, DamagedData when a part of it cannot be read.
    """
    path = Path(path)
    config = read_config(path)
    tokenizer = tokenizer_from_json(read_json(path / "tokenizer.json"), str(path / "tokenizer.json"))
    manifest = read_json(path / "manifest.json")
    template = jax.eval_shape(lambda: new_model(config.model, tokenizer, manifest, jax.random.key(0)))
    about = what_it_is(config, tokenizer, manifest)
    return Run(_best_model(path / "checkpoints", template, about), config, tokenizer, manifest)


def _best_model(directory: Path, template: GPT, about: dict[str, Any]) -> GPT:
    while True:
        with Checkpoints(directory, read_only=True, about=about) as checkpoints:
            best = checkpoints.best
            if best is None:
                raise DamagedData(f"{directory}: no checkpoint was finished; train again, or resume with --resume")
            try:
                return checkpoints.restore_model(best, template)
            except DamagedData:
                if (directory / str(best)).exists():
                    raise  # otherwise the training that goes on has put a better one in its place


def what_it_is(config: Config, tokenizer: Tokenizer, manifest: dict[str, Any]) -> dict[str, Any]:
    """What weights mean nothing without: saved with each checkpoint, and compared when it is restored."""
    return {"model": vars(config.model), "tokenizer": tokenizer.to_json(), "manifest": manifest}


def read_config(path: Path) -> Config:
    """The configuration of a run. Raises BadInput when the path is no run directory."""
    if path.is_file():
        raise BadInput(
            f"{path} is a file, a run is a folder; 'mqc import-torch {path} OUT' makes one of a PyTorch file"
        )
    if not (path / "config.json").is_file():
        what = "no config.json here" if path.is_dir() else "no such folder"
        raise BadInput(f"{path}: {what}, so no run; train one with 'python train.py --out {path}'")
    try:
        return Config.from_json(read_json(path / "config.json"))
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedData(f"{path / 'config.json'}: {error}; edited, or of another version: train again") from None


def write_run_head(path: Path, config: Config, tokenizer: Tokenizer, manifest: dict[str, Any]) -> None:
    """Write what is known before the first step."""
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "tokenizer.json", tokenizer.to_json())
    write_json(path / "manifest.json", manifest)
    write_json(path / "config.json", config.to_json())


def open_run_dataset(path: str | Path, config: Config) -> TokenDataset:
    """The dataset a run was trained on: inside the run, or where `config.data.data` says it was already prepared.

    Raises BadInput when it is gone, DamagedData when it is no longer the one in the run's manifest.
    """
    path = Path(path)
    place = path / "dataset" if (path / "dataset").is_dir() else Path(config.data.data)
    if not place.is_dir():
        raise BadInput(f"{path}: the data it was trained on, {place}, is not here; put it back")
    dataset = open_dataset(place)
    if dataset.manifest != read_json(path / "manifest.json"):
        raise DamagedData(f"{place}: no longer the data {path} was trained on; put that back")
    return dataset


def new_model(config: ModelConfig, tokenizer: Tokenizer, manifest: dict[str, Any], key: Array) -> GPT:
    """A fresh model for these tokens. Raises BadInput when model and data do not fit each other."""
    n_special = len(manifest.get("special_tokens", ()))
    for name, wanted in (("vocab_size", tokenizer.vocab_size), ("n_special", n_special)):
        if getattr(config, name) != wanted:
            raise BadInput(f"{name}={getattr(config, name)}, but the tokens have {wanted}; set --{name} {wanted}")
    bins = None
    if isinstance(tokenizer, ReturnTokenizer):
        bins = OrdinalBins(tuple(tokenizer.bin_values.tolist()), tuple(np.log(tokenizer.bins.masses).tolist()))
    try:
        return GPT(config, key, len(manifest.get("inputs", ())), bins)
    except ValueError as error:
        raise BadInput(str(error)) from None


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last one cut short by a crash is left out.

    Raises DamagedData naming the file and the line.
    """
    file = Path(path) / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise DamagedData(f"{file}: line {number} is not JSON ({error}); remove it") from None
    return found
