"""Seconds to a validation loss, ours beside PyTorch: python -m benchmarks.time_to_loss [--json FILE]

Ours is `python train.py` with a warm compilation cache. The rival trains the same network from the same weights on the
same windows with the same recipe (AdamW, schedule, clipping, dropout, mean of the weights), in the fastest of the ways
that are tried beforehand, its cache warm too. Both times are those of the whole process, preparing the data included,
up to the first epoch whose validation loss is at most the target. Round r has seed r in both; the masks of dropout
differ. Rounds in which one of them never gets there count for no ratio, and are reported. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exported import BEST
from benchmarks.processes import compilation_cache, complaint, end, start_training
from benchmarks.rounds import interleave, parser, ratio, report, run_worker
from configs import PRESETS
from data_pipeline import open_dataset, prepare
from mqc_jax.config import Config

MODULE = "benchmarks.time_to_loss"
TARGET = 4.765  # nats per token; the training histogram of the same tokens scores more


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--target", type=float, default=TARGET, help="validation loss, nats per token")
    flags.add_argument("--way", help="the rival's way; default: the fastest of all")
    flags.add_argument("--worker", choices=("plan", "torch"), help=argparse.SUPPRESS)
    flags.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    flags.add_argument("--place", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.worker == "plan":
        print(json.dumps(plan(args)))
    elif args.worker:
        print(json.dumps(train_torch(args)))
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Warm the caches, choose the rival's way, then all rounds."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {**compilation_cache(Path(folder) / "jax"), "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        same = ["--config", args.config, "--target", args.target, "--place", folder]

        def torch_seconds(seed: int, way: str) -> dict[str, Any]:
            return timed(lambda: run_worker(MODULE, [*same, "--worker", "torch", "--seed", seed, "--way", way], caches))

        def measure(name: str, seed: int) -> dict[str, Any]:
            return ours(args, seed, Path(folder), caches) if name == "ours" else torch_seconds(seed, way)

        for seed in range(max(1, args.rounds)):
            run_worker(MODULE, [*same, "--worker", "plan", "--seed", seed])
        ours(args, 0, Path(folder), caches)
        tried = {}
        for way in [args.way] if args.way else BEST:
            if way.endswith("compiled"):
                torch_seconds(0, way)
            tried[way] = torch_seconds(0, way)
        way = min(tried, key=lambda name: (tried[name]["reached"] is None, tried[name]["seconds"]))
        found, n_dropped = interleave(("ours", "torch"), args.rounds, measure)
    both = [one for one in found if all(one[name]["reached"] is not None for name in ("ours", "torch"))]
    figures: dict[str, Any] = {"config": args.config, "target": args.target, "rounds": args.rounds}
    figures |= {"dropped": n_dropped, "torch_way": way, "torch_tried": tried}
    for name in ("ours", "torch"):
        figures[f"{name}_never_reached"] = sum(one[name]["reached"] is None for one in found)
    if both:
        seconds = {name: [one[name]["seconds"] for one in both] for name in ("ours", "torch")}
        figures |= ratio(seconds["torch"], seconds["ours"]).figures("ratio_torch")
        for name in ("ours", "torch"):
            figures[f"{name}_seconds_median"] = float(np.median(seconds[name]))
            figures[f"{name}_epochs_median"] = float(np.median([one[name]["reached"] for one in both]))
    report(figures, args.json)
    if not both:
        sys.exit(f"error: in no round both reached {args.target} nats; try a higher --target")


def timed(run: Any) -> dict[str, Any]:
    """What a worker found, and the wall time of its process."""
    start = time.perf_counter()
    return run() | {"seconds": time.perf_counter() - start}


def ours(args: argparse.Namespace, seed: int, folder: Path, caches: dict[str, str]) -> dict[str, Any]:
    """Train until the target is reached, or to the end."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        start = time.perf_counter()
        process = start_training(Path(place), ["--config", args.config, "--seed", str(seed), "--out", "r"], caches)
        try:
            for line in process.stdout or ():
                if not line.startswith("epoch"):
                    continue
                seconds = time.perf_counter() - start
                last = json.loads((Path(place) / "r" / "metrics.jsonl").read_text().splitlines()[-1])
                if last["validation_loss"] is not None and last["validation_loss"] <= args.target:
                    return {"reached": last["epoch"], "seconds": seconds}
            if process.wait():
                sys.exit(f"error: train.py failed: {complaint(Path(place))}")
        finally:
            end(process)
        return {"reached": None, "seconds": time.perf_counter() - start}


def configured(args: argparse.Namespace) -> Config:
    config = PRESETS[args.config]
    return replace(config, train=replace(config.train, seed=args.seed))


def plan(args: argparse.Namespace) -> dict[str, Any]:
    """Export what the rival of this seed starts from."""
    from benchmarks.exported import export
    from mqc_jax.training.batches import steps_per_epoch

    config = configured(args)
    place = Path(args.place)
    if not (place / "dataset").is_dir():
        prepare(config.data, place / "dataset", vocab_size=config.model.vocab_size)
    dataset = open_dataset(place / "dataset")
    per_epoch = steps_per_epoch(dataset, config.model.sequence_len, config.train.batch_size)
    export(place / f"start{args.seed}.npz", config, dataset, config.train.num_epochs * per_epoch)
    return {}


def train_torch(args: argparse.Namespace) -> dict[str, Any]:
    """Prepare the data as train.py does, then train until the target is reached, or patience or epochs end."""
    from benchmarks.torch_trainer import TorchTrainer

    config, place = configured(args), Path(args.place)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        dataset = prepare(config.data, Path(folder) / "dataset", vocab_size=config.model.vocab_size)
        trainer = TorchTrainer(config, dataset, place / f"start{args.seed}.npz", args.way, config.model.dropout)
        best, best_epoch = math.inf, 0
        for epoch in range(1, config.train.num_epochs + 1):
            trainer.steps((epoch - 1) * trainer.per_epoch, trainer.per_epoch)
            found = trainer.validation_loss()
            if found <= args.target:
                return {"reached": epoch}
            if found < best:
                best, best_epoch = found, epoch
            if config.train.patience and epoch - best_epoch >= config.train.patience:
                break
    return {"reached": None}


if __name__ == "__main__":
    main()
