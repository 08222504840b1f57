"""`sweep`: a run per depth, and what each bought for its compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from data_pipeline.errors import BadInput, Stopped
from data_pipeline.storage import read_json, write_json
from mqc_jax.commands import train
from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from mqc_jax.flags import parse
from mqc_jax.run import read_config, read_metrics

if TYPE_CHECKING:
    from mqc_jax.training.curves import Curve

RECORD = "sweep.json"  # what was asked of each depth, and what came of it


@dataclass(frozen=True)
class SweepFlags:
    """Train a preset at several depths, one run directory each, and draw validation loss against compute.

    Finished runs are used again and interrupted ones go on, so the same command can be repeated, also with more depths.
    Every run prepares the data for itself: prepare much of it once, by mqc data prepare, and give it by --data.
    """

    depth: str = "1..4"
    """Depths to train: 1..6, or 1,2,4. Width, heads and learning rate follow, as for train --depth."""
    config: str = "daily"
    """Preset: daily (default), base, tiny, seed or reference."""
    out: str = "runs/sweep"
    """Folder of the runs, the table and the picture."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


class Sweep(NamedTuple):
    """What the flags ask for."""

    preset: str
    out: Path
    json: str | None
    asked: dict[int, Config]  # by depth


def flags(argv: Sequence[str]) -> Sweep:
    """For each depth, the flags on top of the preset of that depth."""
    preset, _, _, depths = train.peek(argv)
    given, asked = SweepFlags(), {}
    for depth in read_depths(depths or SweepFlags.depth):
        start = train.preset_at(preset, str(depth))
        default = SweepFlags(model=start.model, data=start.data, train=start.train)
        given = parse(SweepFlags, argv, "mqc sweep", default)
        if given.model.n_layer != depth:
            raise BadInput(f"--n_layer {given.model.n_layer}: the depths are swept by --depth; leave out --n_layer")
        asked[depth] = Config(given.model, given.data, given.train)
    return Sweep(given.config, Path(given.out), given.json, asked)


def read_depths(text: str) -> list[int]:
    """Depths as typed, 1..6 or 1,2,4, rising. Raises BadInput."""
    depths: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        low, high = first, last if dots else first
        if not (low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high) <= 1000):
            raise BadInput(f"--depth {text}: {part.strip()!r} is no depth; write 1..6 or 1,2,4")
        depths |= set(range(int(low), int(high) + 1))
    return sorted(depths)


def run(flags: Sweep, console: Console) -> dict[str, Any]:
    """Train what is missing, tabulate, draw."""
    from mqc_jax.training.curves import compute_chart

    asked, before = _record(flags)
    runs, curves = [], []
    for depth, config in flags.asked.items():
        place = flags.out / f"depth-{depth}"
        console.print(f"\ndepth {depth}, {place}")
        figures, flops, curve = _run(place, flags, config, console)
        runs.append({"depth": depth, "width": config.model.n_embd} | figures)
        curves.append((depth, flops, curve))
        known = {run["depth"]: run for run in [*before, *runs]}
        write_json(flags.out / RECORD, {"asked": asked, "runs": [known[depth] for depth in sorted(known)]})
    console.print("")
    _print(runs, console)
    console.print(f"the figures: {flags.out / RECORD}")
    if any(run["best_validation_nats_per_token"] is None for run in runs):
        console.print("no picture: there are no validation dates")
    else:
        picture = flags.out / "sweep.png"
        compute_chart(picture, curves, f"{flags.preset} by depth")
        console.print(f"the picture: {picture}")
    return {"out": str(flags.out), "runs": runs}


def _record(flags: Sweep) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What was asked of each depth, now and before, once it is on disk, and what came of it before.

    Raises BadInput where a depth was asked for otherwise.
    """
    file = flags.out / RECORD
    before = read_json(file) if file.is_file() else {"asked": {}, "runs": []}
    now = {str(depth): config.to_json() for depth, config in flags.asked.items()}
    for depth in now:
        place = flags.out / f"depth-{depth}"
        if not place.exists():
            continue
        if depth not in before["asked"]:
            raise BadInput(f"{place} is there, and no run of this sweep; choose another --out")
        for part, fields in now[depth].items():
            for name, new in fields.items():
                old = before["asked"][depth][part].get(name)
                if old != new:
                    raise BadInput(f"{place} was trained with {name}={old}, not {new}; choose another --out")
    flags.out.mkdir(parents=True, exist_ok=True)
    asked = before["asked"] | now
    write_json(file, {"asked": asked, "runs": before["runs"]})
    return asked, before["runs"]


def _run(place: Path, flags: Sweep, config: Config, console: Console) -> tuple[dict[str, Any], int, Curve]:
    """Train one depth, or go on with it, or find it finished; its figures, its FLOPs per token, its learning curve."""
    from mqc_jax.training.curves import curve
    from mqc_jax.training.flops import train_flops_per_token

    resume = place.exists()
    start = read_config(place) if resume else config
    one = train.TrainFlags(
        flags.preset, out=str(place), resume=resume, model=start.model, data=start.data, train=start.train
    )
    try:
        done = train.run(one, console)
    except Stopped as stop:
        raise Stopped(f"{str(stop).partition('; ')[0]}; the same command goes on with the sweep") from None
    start = read_config(place)  # with what the data turned out to be
    per_token = train_flops_per_token(start.model, done["n_parameters"])
    figures = {
        "run": done["run"],
        "n_parameters": done["n_parameters"],
        "train_flops": per_token * done["steps"] * start.tokens_per_step,
        "best_validation_nats_per_token": done["best_validation_nats_per_token"],
        "best_epoch": done["best_epoch"],
        "train_seconds": done["train_seconds"],
    }
    return figures, per_token, curve(done["run"], read_metrics(place), start.tokens_per_step)


def _print(runs: Sequence[dict[str, Any]], console: Console) -> None:
    names = ("depth", "width", "parameters", "FLOPs", "validation loss", "epoch", "seconds")
    console.print("{:>5}{:>7}{:>13}{:>10}{:>17}{:>7}{:>9}".format(*names))
    losses = [run["best_validation_nats_per_token"] for run in runs]
    lowest = min((loss for loss in losses if loss is not None), default=None)
    for run, loss in zip(runs, losses, strict=True):
        shown = "–" if loss is None else f"{loss:.4f}{' *' if loss == lowest else '  '}"
        console.print(
            f"{run['depth']:>5}{run['width']:>7}{run['n_parameters']:>13,}{run['train_flops']:>10.2e}{shown:>17}"
            f"{run['best_epoch']:>7}{run['train_seconds']:>9.1f}"
        )
