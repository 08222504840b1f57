"""`sample`: tokens that the model finds plausible behind a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from data_pipeline import BadInput
from data_pipeline.token_file import parse_ids
from data_pipeline.tokenizers import ReturnTokenizer
from data_pipeline.tokenizers.scaling import WITHIN_BAR
from mqc_jax.commands.device import Device, use_device
from mqc_jax.flags import check_range, check_seed, parse
from mqc_jax.forecasting.possible import check_paths
from mqc_jax.run import Run, load_run, open_run_dataset


@dataclass(frozen=True)
class SampleFlags:
    """Draw continuations of a prompt. The defaults draw from the model's own law."""

    checkpoint: str = "runs/daily"
    """Run directory."""
    seed_tokens: str | None = None
    """Prompt, as space-separated ids; default: the last tokens of the run's first asset."""
    num_generate: int = 50
    """Tokens to draw per sample."""
    num_samples: int = 3
    """Samples to draw; sample i depends on --seed and i only."""
    temperature: float = 1.0
    """Below 1 sharpens, above 1 flattens, 0 takes the likeliest token."""
    top_k: int | None = None
    """Keep the k likeliest tokens only."""
    top_p: float | None = None
    """Keep the likeliest tokens that together hold this probability."""
    min_p: float | None = None
    """Keep tokens at least this many times as likely as the likeliest."""
    seed: int = 0
    """Seed of the draws."""
    device: Device = "auto"
    """Where to compute."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> SampleFlags:
    given = parse(SampleFlags, argv, "sample.py")
    check_range(given, num_generate=10_000, num_samples=10_000)
    check_seed(given.seed)
    return given


def run(flags: SampleFlags, console: Console) -> dict[str, Any]:
    """Sample and print."""
    import jax

    from mqc_jax.decoding import Sampler
    from mqc_jax.forecasting import History, draw_paths

    try:
        sampler = Sampler(flags.temperature, flags.top_k, flags.top_p, flags.min_p)
    except ValueError as error:
        raise BadInput(str(error)) from None
    use_device(flags.device)
    loaded = load_run(flags.checkpoint)
    check_paths(flags.checkpoint, loaded.manifest)
    if flags.seed_tokens is None:
        history = _last_history(flags.checkpoint, loaded)
    else:
        history = History.of_tokens(loaded.tokenizer, _prompt(flags.seed_tokens, loaded))
    found = draw_paths(
        loaded.model,
        loaded.tokenizer,
        [history],
        [jax.random.key(flags.seed)],
        steps=flags.num_generate,
        n_paths=flags.num_samples,
        sampler=sampler,
    )
    tokens = found.tokens_MRS[0]
    figures: dict[str, Any] = {"prompt": history.tokens.tolist(), "samples": tokens.tolist()}
    shown = history.tokens[-10:].tolist()
    console.print(f"prompt ({len(history.tokens)} tokens): {'… ' * (len(history.tokens) > 10)}{_words(shown)}")
    returns = np.empty(0)
    prices = isinstance(loaded.tokenizer, ReturnTokenizer) and loaded.manifest["options"]["signal"] not in WITHIN_BAR
    if found.log_returns_MRS is not None:
        returns = found.log_returns_MRS[0]
        figures["log_returns"] = returns.tolist()
    for i, sample in enumerate(tokens):
        total = f" ({np.expm1(returns[i].sum()):+.1%} over {flags.num_generate} steps)" if prices else ""
        console.print(f"sample {i + 1}{total}: {_words(sample)}")
    return figures


def _words(tokens: Sequence[int] | np.ndarray) -> str:
    return " ".join(str(token) for token in tokens)


def _prompt(text: str, run: Run) -> np.ndarray:
    tokens = parse_ids(text, run.tokenizer.vocab_size, "--seed_tokens")
    if not len(tokens):
        raise BadInput("--seed_tokens is empty; give at least one token id")
    context = run.config.model.sequence_len
    if len(tokens) > context:
        raise BadInput(f"--seed_tokens: {len(tokens)} tokens, the context holds {context}; give the last {context}")
    return tokens.astype(np.int32)


def _last_history(checkpoint: str, run: Run):
    from mqc_jax.forecasting import History

    if not run.manifest["assets"]:
        raise BadInput(f"{checkpoint} holds no data to go on from; give a prompt, --seed_tokens '80 81 83 89 66'")
    dataset = open_run_dataset(checkpoint, run.config)
    return History.of_rows(dataset, 0, int(dataset.asset_rows(0)[-1]), run.config.model.sequence_len)
