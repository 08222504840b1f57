"""Time a training step beside PyTorch: python -m benchmarks.train_step --config reference [--json FILE]

Three engines train the same network from the same weights on the same windows of the preset's data:

ours      as training does, several steps per dispatch
original  PyTorch as the original uses it: float32, eager, plain AdamW
best      the fastest PyTorch we can write: SDPA, fused AdamW, float32 or bfloat16, eager or compiled, whichever is
          fastest when all are tried beforehand

Each runs in a process of its own, A B C then C B A, so that a machine whose speed drifts is fair to all. Their losses
must be equal step by step. Ratios are seconds of theirs over seconds of ours. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exported import BEST, ORIGINAL
from benchmarks.rounds import interleave, parser, ratio, report, run_worker
from configs import PRESETS
from data_pipeline import open_dataset, prepare
from mqc_jax.config import Config

ENGINES = ("ours", "original", "best")
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}  # nats


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--batch_size", type=int, help="windows per step; default: the preset's")
    flags.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="ours; default: the preset's, bfloat16 on a GPU"
    )
    flags.add_argument("--steps", type=int, default=10, help="steps whose losses are compared, and least timed")
    flags.add_argument("--dropout", action="store_true", help="time with the preset's dropout, in all")
    flags.add_argument("--worker", choices=("gpu", "plan", *ENGINES), help=argparse.SUPPRESS)
    flags.add_argument("--place", help=argparse.SUPPRESS)
    flags.add_argument("--way", choices=(ORIGINAL, *BEST), help="of the best; default: the fastest of all")
    flags.add_argument("--brief", action="store_true", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.worker == "gpu":
        print(json.dumps({"gpu": has_gpu()}))
    elif args.worker == "plan":
        print(json.dumps(plan(args)))
    elif args.worker:
        print(json.dumps(time_steps(args)))
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Plan, choose the rival, time all in turn, compare their losses."""
    with tempfile.TemporaryDirectory() as folder:
        config = PRESETS[args.config]
        prepare(config.data, Path(folder) / "dataset", vocab_size=config.model.vocab_size)
        same = ["--config", args.config, "--steps", args.steps, "--place", folder]
        same += ["--dtype", args.dtype] if args.dtype else []
        same += ["--batch_size", args.batch_size] if args.batch_size else []
        same += ["--dropout"] if args.dropout else []
        cache = {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}

        def work(worker: str, *more: object) -> dict[str, Any]:
            return run_worker("benchmarks.train_step", [*same, "--worker", worker, *more], cache)

        if args.config == "seed" and not work("gpu")["gpu"]:
            report({"config": args.config, "result": "not run: no GPU"}, args.json)
            return
        planned = work("plan")
        if planned["attention"] is None:
            print("attention on a GPU: not run: no GPU")
        ways = [args.way] if args.way else BEST
        tried = {way: work("best", "--way", way, "--brief")["seconds"] for way in ways}
        way = min(ways, key=lambda name: tried[name])
        print("best PyTorch: " + ", ".join(f"{name} {tried[name]:.4f} s" for name in ways))
        found, n_dropped = interleave(
            ENGINES, args.rounds, lambda name, _: work(name, *(("--way", way) if name == "best" else ()))
        )
    figures = summary(found, planned, way) | {"config": args.config, "rounds": args.rounds, "dropped": n_dropped}
    report(figures | {"seconds_per_step_tried": tried}, args.json)
    faults = loss_faults(found[0], planned["dtype"], way) + (planned["attention"] or [])
    if faults:
        sys.exit(f"error: {'; '.join(faults)}")


def summary(found: list[dict[str, dict]], planned: dict[str, Any], way: str) -> dict[str, Any]:
    """The figures of the rounds that count."""
    seconds = {name: [one[name]["seconds"] for one in found] for name in ENGINES}
    per_step = {f"{name}_seconds_per_step": float(np.median(seconds[name])) for name in ENGINES}
    tokens = planned["tokens_per_step"] / per_step["ours_seconds_per_step"]
    rate, ceiling = tokens * planned["token_flops"], max(one["ours"]["ceiling"] for one in found)
    share = {} if planned["peak_flops"] is None else {"mfu": rate / planned["peak_flops"]}
    kept = ("dtype", "batch_size", "n_parameters", "steps_per_dispatch", "timed_steps", "dropout", "peak_bytes")
    return {
        **ratio(seconds["original"], seconds["ours"]).figures("ratio_original"),
        **ratio(seconds["best"], seconds["ours"]).figures("ratio_best_torch"),
        **per_step,
        "tokens_per_second": tokens,
        "gflops": rate / 1e9,
        "matmul_ceiling_gflops": ceiling / 1e9,
        "share_of_matmul_ceiling": rate / ceiling,
        **share,
        **{name: planned[name] for name in kept},
        "best_torch": way,
        "largest_loss_difference": {name: loss_difference(found[0], name) for name in ENGINES[1:]},
        "device": planned["device"],
        "versions": planned["versions"],
    }


def loss_difference(one: dict[str, dict], name: str) -> float:
    """Largest difference between ours and theirs over the steps, nats."""
    return float(np.max(np.abs(np.subtract(one["ours"]["losses"], one[name]["losses"]))))


def loss_faults(one: dict[str, dict], dtype: str, way: str) -> list[str]:
    """Which engines do not compute our losses, to the tolerance of the coarser precision of the two."""
    found = []
    for name in ENGINES[1:]:
        half = dtype == "bfloat16" or (name == "best" and way.startswith("bfloat16"))
        allowed, difference = TOLERANCE["bfloat16" if half else "float32"], loss_difference(one, name)
        if not difference <= allowed:
            found.append(f"the losses of {name} differ from ours by {difference:.1e} nats, more than {allowed:g}")
    return found


def configured(args: argparse.Namespace, default: str, dropout: bool) -> Config:
    """The preset as it is measured; `default` is the precision where none was asked for."""
    config = PRESETS[args.config]
    rate = config.model.dropout if dropout else 0.0
    model = replace(config.model, dtype=args.dtype or default, dropout=rate)
    return replace(
        config, model=model, train=replace(config.train, batch_size=args.batch_size or config.train.batch_size)
    )


def has_gpu() -> bool:
    import jax

    return jax.default_backend() == "gpu"


def plan(args: argparse.Namespace) -> dict[str, Any]:
    """Export what all start from; say how many steps are timed, and what our program needs."""
    import jax

    from benchmarks.exported import export
    from benchmarks.our_trainer import OurTrainer, attention_faults, peak_bytes
    from mqc_jax.training.flops import peak_flops

    gpu = has_gpu()
    default = "bfloat16" if gpu else PRESETS[args.config].model.dtype
    config, dataset = configured(args, default, args.dropout), open_dataset(Path(args.place) / "dataset")
    ours = OurTrainer(config, dataset)
    n_timed = -(-args.steps // ours.at_once) * ours.at_once
    export(Path(args.place) / "start.npz", config, dataset, args.steps + n_timed + 5)  # 5: a brief trial
    found = {
        "dtype": config.model.dtype,
        "batch_size": config.train.batch_size,
        "dropout": config.model.dropout,
        "tokens_per_step": config.tokens_per_step,
        "n_parameters": ours.n_parameters,
        "token_flops": ours.token_flops,
        "steps_per_dispatch": ours.at_once,
        "timed_steps": n_timed,
        "peak_bytes": peak_bytes(ours.compiled()),
        "attention": attention_faults(config, dataset) if gpu and config.model.dtype == "bfloat16" else None,
        "peak_flops": peak_flops(jax.devices()[0]),
        "device": jax.devices()[0].device_kind,
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "torch", "numpy")},
    }
    (Path(args.place) / "plan.json").write_text(json.dumps(found))
    return found


def time_steps(args: argparse.Namespace) -> dict[str, Any]:
    """Losses of the first steps, without dropout, and seconds per step of those behind them."""
    place = Path(args.place)
    planned, dataset = json.loads((place / "plan.json").read_text()), open_dataset(place / "dataset")

    def trainer(dropout: bool) -> Any:
        config = configured(args, planned["dtype"], dropout)
        if args.worker == "ours":
            from benchmarks.our_trainer import OurTrainer

            return OurTrainer(config, dataset)
        from benchmarks.torch_trainer import TorchTrainer

        return TorchTrainer(config, dataset, place / "start.npz", args.way or ORIGINAL, config.model.dropout)

    n_first, n_timed = (2, 3) if args.brief else (args.steps, planned["timed_steps"])
    timed = trainer(dropout=False)
    losses = timed.steps(0, n_first)
    if planned["dropout"]:
        timed = trainer(dropout=True)
        timed.steps(0, n_first)
    start = time.perf_counter()
    timed.steps(n_first, n_timed)
    found = {"losses": losses, "seconds": (time.perf_counter() - start) / n_timed}
    if args.worker == "ours":
        from benchmarks.our_trainer import matmul_ceiling

        found["ceiling"] = matmul_ceiling(timed.config)
    return found


if __name__ == "__main__":
    main()
