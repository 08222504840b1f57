"""`plot`: learning curves of one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console

from data_pipeline.errors import BadInput
from mqc_jax.flags import check_picture, parse
from mqc_jax.run import read_config, read_metrics

if TYPE_CHECKING:
    from mqc_jax.config import Config
    from mqc_jax.training.curves import Curve


@dataclass(frozen=True)
class PlotFlags:
    """Draw how the training and validation losses of runs fell; a run may still be training."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ("runs/daily",)
    """Run directories."""
    out: str = "curves.png"
    """PNG file to write."""
    x: Literal["tokens", "epochs"] = "tokens"
    """What the losses are drawn over."""
    json: str | None = None
    """Also write the curves to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> PlotFlags:
    given = parse(PlotFlags, argv, "mqc plot")
    if not given.runs:
        raise BadInput("mqc plot: no run is named; try: mqc plot runs/daily")
    check_picture(given.out, "--out")
    return given


def run(flags: PlotFlags, console: Console) -> dict[str, Any]:
    """Read, draw, and say where each run was best."""
    from mqc_jax.training.curves import learning_curves

    paths = [Path(path) for path in dict.fromkeys(flags.runs)]
    configs = [read_config(path) for path in paths]
    curves = [_curve(path, config) for path, config in zip(paths, configs, strict=True)]
    if len({_tokens(config) for config in configs}) > 1:
        console.print("these runs predict different tokens: compare the shapes of their curves, not their heights")
    learning_curves(Path(flags.out), curves, flags.x)
    for one in curves:
        best = "no validation dates" if one.best is None else f"best validation loss {one.validation[one.best]:.4f}"
        at = "" if one.best is None else f" nats/token at epoch {one.epochs[one.best]:.0f}"
        console.print(f"{one.name}: {len(one.epochs)} epochs, {best}{at}")
    console.print(f"drawn: {flags.out}")
    return {"picture": flags.out, "runs": [_figures(one) for one in curves]}


def _curve(path: Path, config: Config) -> Curve:
    from mqc_jax.training.curves import curve

    lines = read_metrics(path)
    if not lines:
        raise BadInput(f"{path}: no metrics yet, they come with the first epoch; train it on with --resume, or wait")
    return curve(str(path), lines, config.tokens_per_step)


def _tokens(config: Config) -> tuple[Any, ...]:
    """What decides whether two losses can be compared."""
    data = config.data
    return data.data, data.tokenizer, data.signal, config.model.vocab_size, data.train_end, data.validation_end


def _figures(one: Curve) -> dict[str, Any]:
    from mqc_jax.training.progress import finite_or_none

    best = one.best
    return {
        "run": one.name,
        "best_validation_nats_per_token": None if best is None else float(one.validation[best]),
        "best_epoch": None if best is None else int(one.epochs[best]),
        "epochs": one.epochs.astype(int).tolist(),
        "tokens": one.tokens.astype(int).tolist(),
        "loss": [finite_or_none(value) for value in one.train.tolist()],
        "validation_loss": [finite_or_none(value) for value in one.validation.tolist()],
    }
