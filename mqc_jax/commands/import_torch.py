"""`import-torch`: a checkpoint of the original PyTorch project becomes a run directory.

A `.pt` file is a pickle, and a pickle can run code. This is the only place that opens one, with PyTorch's restricted
unpickler: tensors, plain containers, and one class by the name of GPTConfig, which is read as bare fields.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from data_pipeline import BadInput
from data_pipeline.storage import new_directory
from data_pipeline.tokenizers import TokenIds
from mqc_jax.flags import parse
from mqc_jax.run import write_run_head

ALLOWED = "GPTConfig"
FIELDS = ("sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd")


@dataclass(frozen=True)
class ImportFlags:
    """Turn an original checkpoint into a run directory. Needs the torch extra: pip install 'mqc-jax[torch]'."""

    checkpoint: Annotated[str, tyro.conf.Positional]
    """The original's .pt file."""
    out: Annotated[str, tyro.conf.Positional]
    """Run directory to write; it must not exist."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


class GPTConfig:
    """Stands in for the original's class of this name: holds fields, runs nothing."""


def flags(argv: Sequence[str]) -> ImportFlags:
    return parse(ImportFlags, argv, "mqc import-torch")


def run(flags: ImportFlags, console: Console) -> dict[str, Any]:
    """Read, convert, write."""
    from mqc_jax.checkpoint import Checkpoints
    from mqc_jax.config import Config, DataConfig, ModelConfig
    from mqc_jax.model import count_parameters
    from mqc_jax.original import from_original

    out = Path(flags.out)
    stored = read_pt(Path(flags.checkpoint))
    fields: dict[str, Any] = _fields(stored, flags.checkpoint)
    try:
        model_config = ModelConfig(**fields, rope_dtype="bfloat16")
    except ValueError as error:
        raise BadInput(f"{flags.checkpoint}: {error}") from None
    weights = {name: value.float().numpy() for name, value in stored["model_state_dict"].items()}
    model = from_original(model_config, weights, flags.checkpoint)
    history = {name: stored[name] for name in ("epoch", "train_loss", "val_loss") if _is_finite(stored.get(name))}
    manifest = {"source": flags.checkpoint, "assets": [], "splits": {}, "imported": history}
    config = Config(model=model_config, data=DataConfig(data="none", tokenizer="quantile"))
    with new_directory(out) as partial:
        write_run_head(partial, config, TokenIds(model_config.vocab_size), manifest)
        with Checkpoints(partial / "checkpoints") as checkpoints:
            checkpoints.save(0, model)
    console.print(f"{out}: {count_parameters(model):,} parameters from {flags.checkpoint}")
    return {"run": str(out), "n_parameters": count_parameters(model)}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def read_pt(path: Path) -> dict[str, Any]:
    """Unpickle a checkpoint without running anything in it. Raises BadInput for what is not one of the original's."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
        from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals  # pyright: ignore
    except ImportError:
        raise BadInput("PyTorch is not installed; pip install 'mqc-jax[torch]' and try again") from None
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    try:
        names = get_unsafe_globals_in_checkpoint(path)
        foreign = [name for name in names if name.rpartition(".")[2] != ALLOWED]
        if foreign:
            raise BadInput(
                f"{path}: refused, it would load {', '.join(foreign[:3])}; only tensors and {ALLOWED} are read"
            )
        with safe_globals([(GPTConfig, name) for name in names]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        if isinstance(error, BadInput):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise BadInput(f"{path}: not a readable PyTorch checkpoint ({reason})") from None
    weights = stored.get("model_state_dict") if isinstance(stored, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise BadInput(f"{path}: no 'model_state_dict' of tensors; is this a checkpoint of the original's train.py?")
    return stored


def _fields(stored: dict[str, Any], where: str) -> dict[str, int]:
    config = stored.get("config")
    found = config if isinstance(config, dict) else vars(config) if isinstance(config, GPTConfig) else {}
    missing = [name for name in FIELDS if not isinstance(found.get(name), int)]
    if missing:
        raise BadInput(f"{where}: its config lacks {', '.join(missing)}; it is not the original's")
    return {name: found[name] for name in FIELDS}
