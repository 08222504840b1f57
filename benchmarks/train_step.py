"""Time one training step beside PyTorch: python -m benchmarks.train_step --config reference [--json FILE]

The rival is the original's way: the same architecture in eager float32 PyTorch with AdamW and clipping (torch_gpt.py).
Both get the same shapes and random tokens. Each runs in a process of its own, in turn, A B B A, so that a machine
whose speed drifts is fair to both; the ratio is the median over rounds with a bootstrap interval. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs import PRESETS


def time_jax(preset: str, batch: int, steps: int) -> float:
    import jax
    import jax.numpy as jnp

    from mqc_jax.model import GPT
    from mqc_jax.training.optimizer import make_optimizer
    from mqc_jax.training.step import Batch, TrainState, train_step

    config = PRESETS[preset]
    model = GPT(replace(config.model, inputs=False, ordinal=False, dropout=0.0), jax.random.key(0))
    tx = make_optimizer(config.train, steps_per_epoch=1000)
    state = TrainState(jnp.int32(0), model, tx.init(model))
    shape = (batch, config.model.sequence_len + 1)
    tokens = Batch(jax.random.randint(jax.random.key(1), shape, 0, config.model.vocab_size), None)
    state, metrics = train_step(state, tokens, jax.random.key(2), tx=tx)
    jax.block_until_ready(metrics)
    start = time.perf_counter()
    for _ in range(steps):
        state, metrics = train_step(state, tokens, jax.random.key(2), tx=tx)
    jax.block_until_ready((state, metrics))
    return (time.perf_counter() - start) / steps


def time_torch(preset: str, batch: int, steps: int) -> float:
    import torch

    from benchmarks.torch_gpt import GPTConfig, TorchGPT

    config = PRESETS[preset]
    fields = {name: getattr(config.model, name) for name in GPTConfig.__dataclass_fields__}
    model = TorchGPT(GPTConfig(**fields))
    train = config.train
    betas, decay = (train.beta1, train.beta2), train.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), train.learning_rate, betas, weight_decay=decay)
    tokens = torch.randint(0, config.model.vocab_size, (batch, config.model.sequence_len + 1))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model.loss(tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), train.max_grad_norm)
        optimizer.step()

    step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", choices=sorted(PRESETS), default="daily")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="steps per process and round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--worker", choices=("jax", "torch"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        run = {"jax": time_jax, "torch": time_torch}[args.worker]
        print(run(args.config, args.batch_size, args.steps))
        return

    seconds: dict[str, list[float]] = {"jax": [], "torch": []}
    for r in range(args.rounds):
        for worker in ("jax", "torch") if r % 2 == 0 else ("torch", "jax"):
            command = [sys.executable, "-m", "benchmarks.train_step", "--worker", worker, "--config", args.config]
            command += ["--batch_size", str(args.batch_size), "--steps", str(args.steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"error: the {worker} worker failed: {done.stderr.strip().splitlines()[-1]}")
            seconds[worker].append(float(done.stdout))
    ratio = np.array(seconds["torch"]) / np.array(seconds["jax"])
    draws = np.random.default_rng(0).choice(ratio, (10_000, len(ratio)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    figures = {
        "config": args.config,
        "batch_size": args.batch_size,
        "rounds": args.rounds,
        "jax_seconds_per_step_median": float(np.median(seconds["jax"])),
        "torch_seconds_per_step_median": float(np.median(seconds["torch"])),
        "ratio_original_median": float(np.median(ratio)),
        "ratio_original_95_low": float(low),
        "ratio_original_95_high": float(high),
    }
    print(json.dumps(figures, indent=2))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
