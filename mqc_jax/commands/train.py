"""`train`: prices or tokens in, a run directory out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from configs import PRESETS
from data_pipeline import TokenDataset, prepare
from data_pipeline.dataset import is_dataset
from data_pipeline.errors import BadInput, Stopped
from data_pipeline.storage import new_directory
from data_pipeline.tokenizers import ReturnTokenizer, TokenIds
from mqc_jax.commands.contents import contents
from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from mqc_jax.depth import at_depth, overfit_warning
from mqc_jax.flags import parse
from mqc_jax.run import Run, new_model, open_run_dataset, read_config, write_run_head


@dataclass(frozen=True)
class TrainFlags:
    """Train a model. Every default comes from the preset named by --config."""

    config: str = "daily"
    """Preset: daily (default), base, tiny, seed or reference."""
    depth: int | None = None
    """Give the preset this many layers, and the width, heads and learning rate that go with them; other flags win."""
    out: str | None = None
    """Run directory to write; default: runs/<preset>, or the next free name."""
    pretrain: Literal["none", "synthetic"] = "none"
    """Train on simulated markets first, into <out>-base, and start from there; one that is there already is used."""
    resume: bool = False
    """Go on from the newest checkpoint of the run in --out, as if it had never stopped."""
    profile: bool = False
    """Write a trace of the first 5 steps to <out>/profile, for TensorBoard or Perfetto."""
    allow_inexact: bool = False
    """Resume on other devices, or on another --mesh, than before; the run then differs in the last digits."""
    coordinator: str | None = None
    """Train together with other processes: host:port of the first, or 'auto' under SLURM, Kubernetes, on TPU pods."""
    num_processes: int | None = None
    """With --coordinator host:port, how many processes there are."""
    process_id: int | None = None
    """With --coordinator host:port, which of them this is, counted from 0."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def flags(argv: Sequence[str]) -> TrainFlags:
    """Flags on top of a preset, or, with --resume, on top of the run's own configuration."""
    preset, out, resume, depth = peek(argv)
    if resume and "--config" in {word.partition("=")[0] for word in argv}:
        raise BadInput("--resume goes on with the run's own configuration; leave out --config")
    out = out or f"runs/{preset}"
    start = read_config(Path(out)) if resume else preset_at(preset, depth)
    default = TrainFlags(preset, None, out, resume=resume, model=start.model, data=start.data, train=start.train)
    given = parse(TrainFlags, argv, "train.py", default)
    changed = [
        name
        for part in ("model", "data", "train")
        for name, value in vars(getattr(given, part)).items()
        if resume and value != getattr(getattr(start, part), name) and not (name == "mesh" and given.allow_inexact)
    ]
    if resume and given.pretrain != "none":
        changed.append("pretrain")
    if resume and given.depth is not None:
        changed.append("depth")
    if changed:
        raise BadInput(f"--resume continues {out} as it was configured; leave out --{' --'.join(changed)}")
    explicit = any(word.split("=")[0] == "--out" for word in argv)
    return given if explicit or resume else replace(given, out=None)


def preset_at(name: str, depth: str | None) -> Config:
    """A preset, of the depth that was typed if one was. Raises BadInput for what is no preset or no depth."""
    if name not in PRESETS:
        raise BadInput(f"--config {name}: no such preset; choose one of {', '.join(PRESETS)}")
    if depth is None:
        return PRESETS[name]
    if not depth.removeprefix("-").isdecimal():
        raise BadInput(f"--depth {depth}: not a whole number; try --depth {PRESETS[name].model.n_layer}")
    try:
        return at_depth(PRESETS[name], int(depth))
    except ValueError as error:
        raise BadInput(str(error)) from None


def peek(argv: Sequence[str]) -> tuple[str, str | None, bool, str | None]:
    """The flags on which the other defaults depend."""
    found: dict[str, str] = {}
    for word, after in zip_longest(argv, argv[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        found[name] = value if equals else after
    return found.get("--config", "daily"), found.get("--out"), "--resume" in found, found.get("--depth")


def run(flags: TrainFlags, console: Console) -> dict[str, Any]:
    """Prepare the data, train, and say where the run is."""
    from mqc_jax.training import train
    from mqc_jax.training.distributed import at_first, initialize, is_first, together
    from mqc_jax.training.sharding import make_mesh
    from mqc_jax.training.start import check_attention
    from mqc_jax.training.writers import check_writers

    config = Config(flags.model, flags.data, flags.train)
    if flags.coordinator is not None:
        if flags.pretrain != "none":
            raise BadInput("--pretrain is for one process; train that run by --config base, and give it by --init_from")
        initialize(flags.coordinator, flags.num_processes, flags.process_id)
        console = console if is_first() else Console(quiet=True)
    elif (flags.num_processes, flags.process_id) != (None, None):
        raise BadInput("--num_processes and --process_id need --coordinator host:port of the first process")
    make_mesh(config)  # says at once what does not fit
    check_attention(config.model)
    check_writers(config.train.writers)
    out, bases = Path(flags.out or ""), []
    if not flags.resume:
        with together():
            out = Path(at_first(lambda: str(_begin(flags, config, console, bases))))
        config = read_config(out)
    dataset = open_run_dataset(out, config)
    console.print(f"{config.data.data}: {contents(dataset)}")
    summary = train(
        config,
        dataset,
        out,
        resume=flags.resume,
        console=console,
        allow_inexact=flags.allow_inexact,
        profile=flags.profile,
        bases=bases,
    )
    if not is_first():
        return {}
    best = summary.best_validation_loss
    console.print(
        f"{out}: {summary.n_parameters:,} parameters, {summary.steps} steps in {summary.train_seconds:.1f} s"
        + ("" if best is None else f", best validation loss {best:.4f} nats/token at epoch {summary.best_epoch}")
    )
    return {
        "run": str(out),
        "n_parameters": summary.n_parameters,
        "steps": summary.steps,
        "train_seconds": summary.train_seconds,
        "best_validation_nats_per_token": best,
        "best_epoch": summary.best_epoch,
    }


def _pretrained(flags: TrainFlags, config: Config, dataset: TokenDataset, out: Path, console: Console) -> str:
    """The run in `out`, trained on simulated markets for `config` to start from; what is there is used or finished."""
    if config.train.init_from is not None:
        raise BadInput("--pretrain makes the run to start from; leave out --init_from")
    if not isinstance(dataset.tokenizer, ReturnTokenizer):
        raise BadInput(f"--pretrain needs tokens of returns, not {dataset.tokenizer.kind}; leave it out")
    start = PRESETS["base"]
    model = replace(config.model, dropout=start.model.dropout, n_special=0)
    shared = {name: getattr(config.train, name) for name in ("mesh", "log_to")}
    train = replace(start.train, seed=config.train.seed, **shared)
    cut = {name: getattr(config.data, name) for name in ("tokenizer", "signal", "clock", "ranges")}
    data = replace(start.data, special_tokens=config.model.n_special > 0, **cut)
    if out.exists():
        there = read_config(out)
        if replace(there.model, n_special=0) != model or replace(there.train, **shared) != train:
            raise BadInput(f"{out} was trained for another network; move it away, or choose another --out")
        model, data = there.model, there.data
    base = replace(flags, out=str(out), pretrain="none", profile=False, resume=out.exists())
    try:
        run(replace(base, model=model, data=data, train=train), console)
    except Stopped as stop:
        raise Stopped(f"{str(stop).partition('; ')[0]}; the same command goes on with it") from None
    return str(out.resolve())


def _new_directory(flags: TrainFlags, console: Console) -> Path:
    if flags.out is not None:
        if Path(flags.out).exists():
            raise BadInput(f"{flags.out} exists; go on with it by --resume, or choose another --out")
        return Path(flags.out)
    first = Path("runs") / flags.config
    free = next(p for i in range(1, 10_000) if not (p := first if i == 1 else Path(f"{first}-{i}")).exists())
    if free != first:
        console.print(f"{first} exists and stays as it is; this run goes to {free}")
    return free


def _begin(flags: TrainFlags, config: Config, console: Console, bases: list[Run]) -> Path:
    """Prepare the data, check that model and data fit, and write the head of a new run: all of it or nothing.

    `bases` is filled with the runs that it starts from.
    """
    from mqc_jax.training import check_fit
    from mqc_jax.training.start import base_paths, write_ancestors

    if config.train.init_from is not None:  # found again from any folder
        found = ",".join(str(Path(path).resolve()) for path in base_paths(config.train.init_from))
        config = replace(config, train=replace(config.train, init_from=found))
    out = _new_directory(flags, console)
    with new_directory(out) as partial:
        dataset = prepare(config.data, partial / "dataset", vocab_size=config.model.vocab_size, say=console.print)
        config = _resolved(config, dataset, console)
        if flags.pretrain == "synthetic":
            base = _pretrained(flags, config, dataset, Path(f"{out}-base"), console)
            config = replace(config, train=replace(config.train, init_from=base))
        bases += check_fit(config, dataset)
        warning = overfit_warning(config, PRESETS[flags.config], dataset.count("train"), _counter(dataset))
        if warning is not None:
            console.print(warning)
        write_run_head(partial, config, dataset.tokenizer, dataset.manifest)
        write_ancestors(partial, bases, config.train.init_from)
    return out


def _counter(dataset: TokenDataset) -> Callable[[ModelConfig], int]:
    """What counts the parameters of a network for these tokens, without making it."""
    import jax

    from mqc_jax.model import count_parameters

    def count(model: ModelConfig) -> int:
        return count_parameters(
            jax.eval_shape(lambda: new_model(model, dataset.tokenizer, dataset.manifest, jax.random.key(0)))
        )

    return count


def _resolved(config: Config, dataset: TokenDataset, console: Console) -> Config:
    """What was asked for, completed by what the data turned out to be."""
    data, model = config.data, config.model
    if is_dataset(Path(data.data)):  # used in place: found again from any folder
        data = replace(data, data=str(Path(data.data).resolve()))
    if not isinstance(dataset.tokenizer, TokenIds):  # what was asked for, or what the dataset was made with
        made = dataset.manifest["splits"] | dataset.manifest["options"]
        data = replace(data, tokenizer=dataset.tokenizer.kind, **made)
    if data.clock and not model.inputs:
        console.print("this model reads no float inputs, so --clock changes nothing for it")
    model = replace(model, n_special=dataset.n_special)
    if not isinstance(dataset.tokenizer, ReturnTokenizer) and (model.inputs or model.ordinal):
        model = replace(model, inputs=False, ordinal=False)
        console.print(f"{data.data}: {dataset.tokenizer.kind} tokens have no bins: inputs and ordinal are off")
    return replace(config, data=data, model=model)
