"""Time decoding beside PyTorch: python -m benchmarks.decode --config reference [--paths 1 64 1024] [--json FILE]

Behind one prompt of 128 tokens, 128 more are drawn of each path, by the preset's network with a context of 256 on bare
tokens (no float inputs, no ordinal basis: the rivals have no feedback) and random weights, the same in all engines:

ours      the prompt is read once for all paths
unshared  ours too, but every path has a prompt of its own
best      PyTorch with keys and values of every path in buffers of fixed size, float32 or bfloat16, whichever is faster
original  PyTorch as the original does it: all tokens so far for every new one, its time for 128 tokens worked out from
          a few tokens of 4 paths at three lengths

Each runs in a process of its own, A B C D then D C B A. Greedily, in float32, all draw the same tokens: checked. The
bound is the larger of two times: of the step's operations at the rate of a large product, and of its weights, keys and
values at the rate at which a large array is read, both measured beside ours. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import interleave, parser, ratio, report, run_worker
from configs import PRESETS
from mqc_jax.config import Config, ModelConfig

PROMPT, STEPS = 128, 128
ENGINES = ("ours", "unshared", "best", "original")
DTYPES = ("float32", "bfloat16")
CHECKED = 16  # greedy tokens that are compared


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--paths", type=int, nargs="+", default=[1, 64, 1024])
    flags.add_argument("--worker", choices=ENGINES, help=argparse.SUPPRESS)
    flags.add_argument("--dtype", choices=DTYPES, help=argparse.SUPPRESS)
    flags.add_argument("--place", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.worker:
        print(json.dumps(time_engine(args.worker, args.config, args.paths[0], args.dtype, Path(args.place))))
        return
    figures: dict[str, Any] = {"config": args.config}
    for n in args.paths:
        figures[f"paths_{n}"] = compare(args, n)
        report(figures, args.json)


def compare(args: argparse.Namespace, n_paths: int) -> dict[str, Any]:
    """The figures of one number of paths."""
    with tempfile.TemporaryDirectory() as place:
        export(args.config, Path(place) / "weights.npz")

        def work(engine: str, dtype: str) -> dict[str, Any]:
            same = ["--config", args.config, "--paths", n_paths, "--place", place]
            return run_worker("benchmarks.decode", [*same, "--worker", engine, "--dtype", dtype])

        tried = {(engine, dtype): work(engine, dtype)["seconds"] for engine in ENGINES[::2] for dtype in DTYPES}
        way = {engine: min(DTYPES, key=lambda dtype, e=engine: tried[e, dtype]) for engine in ENGINES[::2]}
        way |= {"unshared": way["ours"], "original": "float32"}
        engines = ENGINES if n_paths > 1 else ("ours", "best", "original")
        found, n_dropped = interleave(engines, args.rounds, lambda name, _: work(name, way[name]))
        greedy = {engine: work(engine, "float32")["greedy"] for engine in engines}
    if any(tokens != greedy["ours"] for tokens in greedy.values()):
        sys.exit(f"error: greedy tokens differ: {greedy}")
    seconds = {name: [one[name]["seconds"] for one in found] for name in engines}
    bound = min(one["ours"]["bound"] for one in found)
    figures = {
        **ratio(seconds["best"], seconds["ours"]).figures("ratio_best_torch"),
        **ratio(seconds["original"], seconds["ours"]).figures("ratio_original"),
        **{f"{name}_seconds": float(np.median(seconds[name])) for name in engines},
        "tokens_per_second": n_paths * STEPS / float(np.median(seconds["ours"])),
        "share_of_bound": bound / float(np.median(seconds["ours"])),
        "dtypes": way,
        "rounds": args.rounds,
        "dropped": n_dropped,
    }
    if n_paths > 1:
        figures |= ratio(seconds["unshared"], seconds["ours"]).figures("ratio_unshared")
    return figures


def network(config: str, dtype: Any = "float32") -> ModelConfig:
    """The preset's, on bare tokens."""
    bare = replace(PRESETS[config].model, inputs=False, ordinal=False, dropout=0.0)
    return replace(bare, dtype=dtype, sequence_len=PROMPT + STEPS)


def export(config: str, path: Path) -> None:
    """Random weights under the names of `TorchGPT`, (fan_out, fan_in)."""
    model = network(config)
    rng, width = np.random.default_rng(0), model.n_embd
    shapes = {"transformer.wte": (model.padded_vocab_size, width), "lm_head": (model.padded_vocab_size, width)}
    for layer in range(model.n_layer):
        for name in ("c_q", "c_k", "c_v", "c_proj"):
            rows = width if name in ("c_q", "c_proj") else model.n_kv_head * model.head_dim
            shapes[f"transformer.h.{layer}.attn.{name}"] = (rows, width)
        shapes[f"transformer.h.{layer}.mlp.c_fc"] = (4 * width, width)
        shapes[f"transformer.h.{layer}.mlp.c_proj"] = (width, 4 * width)
    np.savez(
        path, **{f"{name}.weight": rng.normal(0, s[1] ** -0.5, s).astype(np.float32) for name, s in shapes.items()}
    )


def time_engine(engine: str, config: str, n_paths: int, dtype: str, place: Path) -> dict[str, Any]:
    weights = dict(np.load(place / "weights.npz", allow_pickle=False))
    prompt = np.random.default_rng(1).integers(0, network(config).vocab_size, PROMPT)
    if engine in ("ours", "unshared"):
        return _time_ours(network(config, dtype), weights, prompt, n_paths, shared=engine == "ours")
    return _time_torch(network(config), weights, prompt, n_paths, dtype, cached=engine == "best")


def _time_ours(
    config: ModelConfig, weights: dict[str, np.ndarray], prompt: np.ndarray, n_paths: int, *, shared: bool
) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from benchmarks.our_trainer import matmul_ceiling
    from mqc_jax.decoding import Prompts, Sampler, decode
    from mqc_jax.original import from_original

    model = from_original(config, weights, "the benchmark's weights")
    rows = max(n_paths, 2) if shared else n_paths  # two share a prompt
    n_prompts = 1 if shared else rows
    tokens = jnp.repeat(jnp.asarray(prompt, jnp.int32)[None], n_prompts, axis=0)
    prompts = Prompts(tokens, None, jnp.full(n_prompts, PROMPT))
    keys = jax.random.split(jax.random.key(0), (n_prompts, rows // n_prompts))

    def draw(sampler: Sampler = Sampler()) -> Any:  # noqa: B008  frozen
        return jax.block_until_ready(decode(model, prompts, keys, steps=STEPS, sampler=sampler).tokens_SB)

    draw()
    seconds = _timed(draw)
    greedy = np.asarray(draw(Sampler(0)))[:CHECKED, 0].tolist()
    found = {"seconds": seconds, "greedy": greedy}
    if shared:
        big = jnp.ones(2**26)
        total = jax.jit(jnp.sum)
        total(big).block_until_ready()
        bandwidth = big.nbytes / min(_timed(lambda: total(big).block_until_ready()) for _ in range(5))
        found["bound"] = _bound(config, n_paths, matmul_ceiling(Config(model=config)), bandwidth)
    return found


def _bound(config: ModelConfig, n_paths: int, flops: float, bandwidth: float) -> float:
    """Seconds of all steps, if operations or reading were all there is."""
    per_layer = 2 * config.n_embd * (config.n_embd + config.n_kv_head * config.head_dim) + 8 * config.n_embd**2
    n_weights = config.n_layer * per_layer + config.n_embd * config.padded_vocab_size
    own = STEPS * (STEPS + 1) // 2  # positions that a path reads of its own
    seen = own + STEPS * PROMPT
    kv = 2 * config.n_layer * config.n_kv_head * config.head_dim
    operations = 2 * n_paths * (n_weights * STEPS + config.n_layer * 2 * config.n_embd * seen)
    size = 2 if config.dtype == "bfloat16" else 4
    read = size * (n_weights * STEPS + kv * (n_paths * own + seen - own))
    return max(operations / flops, read / bandwidth)


def _time_torch(
    config: ModelConfig, weights: dict[str, np.ndarray], prompt: np.ndarray, n_paths: int, dtype: str, *, cached: bool
) -> dict[str, Any]:
    import torch

    from benchmarks.torch_decoder import CachedDecoder, draw_again_and_again
    from benchmarks.torch_gpt import GPTConfig, TorchGPT

    names = ("vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd")
    about = {name: getattr(config, name) for name in names}
    model = TorchGPT(GPTConfig(sequence_len=PROMPT + STEPS, **about), rope_dtype=torch.float32)
    model.load_state_dict({name: torch.as_tensor(weight) for name, weight in weights.items()})
    model = model.eval()
    cos, sin = model.cos, model.sin
    model.to(getattr(torch, dtype))
    model.cos, model.sin = cos, sin
    generator, n_rows = torch.Generator().manual_seed(0), n_paths if cached else min(n_paths, 4)
    tokens = torch.as_tensor(prompt)[None].expand(n_rows, -1)
    if cached:
        decoder = CachedDecoder(model, n_rows, PROMPT + STEPS)
        decoder.draw(tokens, 2, generator)
        seconds = _timed(lambda: decoder.draw(tokens, STEPS, generator))
        greedy = decoder.draw(tokens, CHECKED, None)
    else:
        draw_again_and_again(model, tokens, 1, generator)
        lengths = np.linspace(PROMPT, PROMPT + STEPS - 1, 3).astype(int)
        longer = [tokens.repeat(1, 2)[:, :length] for length in lengths]
        each = [_timed(lambda t=t: draw_again_and_again(model, t, 1, generator)) for t in longer]
        seconds = float(np.mean(each)) * STEPS * n_paths / n_rows
        greedy = draw_again_and_again(model, tokens, CHECKED, None)
    return {"seconds": seconds, "greedy": greedy[0].tolist()}


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
