"""From whatever the user named to a token dataset on disk, one asset at a time.

1. read     part of the source → checked returns of its assets, in a shard each
2. study    shard → the rows it will take, and sketches of its training returns; these add up to the fitted tokenizer
3. write    shard → its rows of the arrays, at their place

Every step is a pure function of one part or shard, and results are combined in the order of the parts. So any number
of workers writes the same bytes, and memory holds one asset per worker.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.bars import ReturnSeries
from data_pipeline.config import OPTIONS, DataConfig
from data_pipeline.dataset import TokenDataset, describe, is_dataset, open_dataset, sealed, write_dataset, write_head
from data_pipeline.engine import Engine, Mapper, here, merged, start
from data_pipeline.errors import BadInput
from data_pipeline.plan import Plan, Span, Writer, make_plan, patch_of
from data_pipeline.rows import Market
from data_pipeline.shards import Reading, Shard, check_timeframes, read_part
from data_pipeline.sources import Source, bundled, open_source
from data_pipeline.splits import DayCounts
from data_pipeline.storage import new_directory, reserve, sync
from data_pipeline.token_file import read_token_file
from data_pipeline.tokenizers import Fitted, check_vocab_size
from data_pipeline.volatility import WARMUP

Say = Callable[[str], None]
ASSETS_DESCRIBED = 20  # line by line


def prepare(
    config: DataConfig,
    out: Path,
    *,
    vocab_size: int = 128,
    tokenizer: Fitted | None = None,
    engine: Engine = "local",
    workers: int = 1,
    say: Say = lambda line: None,
) -> TokenDataset:
    """Open the token dataset that `config.data` is, or make one of it in the new directory `out`.

    Args:
      config: which data, and how it is cut.
      out: where to write; it appears whole or not at all.
      vocab_size: number of bins, or the bound on the ids of a text file.
      tokenizer: one already fitted, instead of the one `config` would fit.
      engine, workers: who does the work; the result does not depend on it.
      say: called with each line the user should read: what was inferred, found, left out.

    Raises BadInput or DamagedData, naming the file and the mend.
    """
    path = Path(config.data)
    if (path / "config.json").is_file():
        raise BadInput(f"{path} is a run, not data; the tokens it was trained on may be in {path / 'dataset'}")
    if is_dataset(path):
        return _open(config)
    if path.suffix == ".txt" and path.is_file():
        if config.train_end or config.validation_end:
            raise BadInput(f"{path} holds bare token ids without dates; leave out --train_end and --validation_end")
        write_dataset(read_token_file(path, vocab_size), out)
        return open_dataset(out)
    check_timeframes(config)
    if tokenizer is None:
        check_vocab_size(config.tokenizer, vocab_size)
    if config.data == "bundled":
        config = replace(
            config,
            train_end=config.train_end or bundled.TRAIN_END,
            validation_end=config.validation_end or bundled.VALIDATION_END,
        )
    source = open_source(config.data, config.files)
    with new_directory(out) as directory, start(engine, workers) as mapper:
        patch = patch_of(config.tokenizer if tokenizer is None else tokenizer)
        shards, dated = _read(source, config, directory / "shards", patch, mapper, say)
        plan = make_plan(shards, dated, config, vocab_size, tokenizer, mapper)
        _write(plan, plan.manifest | source.details(), directory, mapper)
        shutil.rmtree(directory / "shards")
        sync(directory)
    return open_dataset(out)


def _open(config: DataConfig) -> TokenDataset:
    dataset = open_dataset(config.data)
    made = dataset.manifest["splits"] | dataset.manifest.get("options", {})
    for name in ("train_end", "validation_end", *OPTIONS):
        wanted, default = getattr(config, name), getattr(DataConfig, name)
        if wanted not in (default, made.get(name)):
            raise BadInput(f"{config.data} was made with {name} {made.get(name)}, not {wanted}; prepare it again")
    return dataset


def _read(
    source: Source, config: DataConfig, directory: Path, patch: int, mapper: Mapper, say: Say
) -> tuple[list[Shard], DayCounts]:
    """Step 1; assets with too little history for anything are left out, and that is said."""
    directory.mkdir()
    kept: dict[str, Shard] = {}
    sizes: list[int] = []

    def dates() -> Iterator[DayCounts]:
        for readings in mapper(partial(_read_into, source, config, directory, patch), list(enumerate(source.parts()))):
            for reading in readings:
                unique_id = reading.shard.about["unique_id"]
                for line in reading.notes if len(sizes) < ASSETS_DESCRIBED else ():
                    say(line)
                sizes.append(reading.size)
                if reading.size <= WARMUP + 1:
                    say(f"{unique_id}: left out, {reading.size} returns do not outlast the warm-up of {WARMUP}")
                    continue
                if unique_id in kept:
                    raise BadInput(f"{config.data}: {unique_id} is in more than one file; put its bars into one")
                kept[unique_id] = reading.shard
                yield reading.dated
        if not kept:
            raise BadInput(
                f"{config.data}: {max(sizes, default=0)} returns do not outlast the warm-up; give more history"
            )

    dated = merged(DayCounts.merged, dates())
    intervals = sorted({shard.about["interval"] for shard in kept.values()})
    if config.timeframes is None and len(intervals) > 1:
        say(f"bars of {' and '.join(intervals)} go into one dataset; --timeframes makes them alike")
    if len(sizes) > ASSETS_DESCRIBED:
        say(f"… and {len(sizes) - ASSETS_DESCRIBED:,} more; 'mqc data check' says what was found in each")
    return list(kept.values()), dated


def _read_into(source: Source, config: DataConfig, directory: Path, patch: int, item: tuple[int, Any]) -> list[Reading]:
    number, part = item
    readings = read_part(source, part, config)
    return [reading.stored(directory / f"{number}-{k}.npz", patch) for k, reading in enumerate(readings)]


def _write(plan: Plan, manifest: dict[str, Any], directory: Path, mapper: Mapper) -> None:
    """Step 3."""
    for name, (dtype, shape) in plan.arrays.items():
        np.lib.format.open_memmap(directory / f"{name}.npy", "w+", dtype, shape)
        reserve(directory / f"{name}.npy")
    names = list(plan.arrays)
    plan.prefill(_arrays(directory, names))
    items = list(zip(plan.shards, plan.places.rows, strict=True))
    for _ in mapper(partial(_write_shard, plan.writer, directory, names), items):
        pass
    np.save(directory / "segments.npy", plan.places.segments.astype(np.int64), allow_pickle=False)
    described = mapper(partial(_describe, directory), [*names, "segments"])
    write_head(directory, plan.writer.tokenizer, manifest, dict(zip([*names, "segments"], described, strict=True)))


def _write_shard(writer: Writer, directory: Path, names: list[str], item: tuple[Shard, Span | np.ndarray]) -> None:
    writer.write(_arrays(directory, names), *item)


def _arrays(directory: Path, names: list[str]) -> dict[str, np.ndarray]:
    return {name: np.load(directory / f"{name}.npy", mmap_mode="r+") for name in names}


def _describe(directory: Path, name: str) -> dict[str, Any]:
    return describe(np.load(directory / f"{name}.npy", mmap_mode="r"))


def build_dataset(
    series: Sequence[ReturnSeries], config: DataConfig, *, vocab_size: int = 128, tokenizer: Fitted | None = None
) -> TokenDataset:
    """The token dataset of returns that are in memory already; `prepare` makes the same of their prices, on disk.

    Raises BadInput for dates out of order, an asset that does not outlast the warm-up, or too little data to fit.
    """
    patch = patch_of(config.tokenizer if tokenizer is None else tokenizer)
    short = next((s for s in series if len(s.patched(patch)) <= WARMUP + 1), None)
    if short is not None:
        raise BadInput(f"{short.unique_id} has {len(short)} returns, the warm-up alone takes {WARMUP * patch}")
    shards, dated = [Reading.of(s).shard for s in series], DayCounts.merged([DayCounts.of(s.times) for s in series])
    plan = make_plan(shards, dated, config, vocab_size, tokenizer, here)
    arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in plan.arrays.items()}
    plan.prefill(arrays)
    for item in zip(plan.shards, plan.places.rows, strict=True):
        plan.writer.write(arrays, *item)
    segments = plan.places.segments.astype(np.int64)
    described = {name: describe(array) for name, array in {**arrays, "segments": segments}.items()}
    tokens = arrays.pop("tokens")
    manifest = sealed(plan.manifest, plan.writer.tokenizer, described)
    return TokenDataset(tokens, segments, plan.writer.tokenizer, manifest, Market(**arrays))
