"""`data decode`: tokens back to returns and prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from data_pipeline import BadInput, open_dataset
from data_pipeline.token_file import parse_ids
from mqc_jax.commands.data.tokenize import saved_tokenizer
from mqc_jax.flags import check_place, parse


@dataclass(frozen=True)
class DecodeFlags:
    """Turn tokens into log returns and prices: those of a dataset beside the real ones, or ids typed in."""

    data: str
    """Token dataset to decode, or the run or dataset whose tokenizer reads --tokens."""
    out: str
    """CSV file to write."""
    tokens: str | None = None
    """Space-separated ids that follow a long calm at the typical volatility."""
    price: float | None = None
    """Price before the first of --tokens; default: 100."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> DecodeFlags:
    given = parse(DecodeFlags, argv, "mqc data decode")
    check_place(given.out, "--out")
    if given.price is not None and not 0 < given.price < np.inf:
        raise BadInput(f"--price {given.price} must be above 0")
    if given.price is not None and given.tokens is None:
        raise BadInput("--price goes with --tokens; a dataset has prices of its own")
    return given


def run(flags: DecodeFlags, console: Console) -> dict[str, Any]:
    """Decode, write, and say how much the bins leave out."""
    from data_pipeline.decode import decode_ids, decoded_frame

    if flags.tokens is None:
        dataset = open_dataset(flags.data)
        frame = decoded_frame(dataset)
        error = float(np.sqrt(np.mean((frame["log_return"] - frame["decoded_log_return"]) ** 2)))
        r_squared = 1 - error**2 / (float(np.var(frame["log_return"])) or 1.0)
        figures = {"root_mean_square_error_log_return": error, "r_squared": r_squared}
        columns = sorted({asset["price"] for asset in dataset.manifest["assets"]})
        said = f"prices are {' or '.join(columns)}; the bins' mean returns explain {r_squared:.4%} of the variance"
    else:
        tokenizer, _ = saved_tokenizer(flags.data)
        ids = parse_ids(flags.tokens, tokenizer.vocab_size, "--tokens")
        if not len(ids):
            raise BadInput("--tokens is empty; give at least one token id")
        price = flags.price or 100.0
        with np.errstate(over="ignore", invalid="ignore"):
            frame = decode_ids(tokenizer, ids, price)
        finite = np.isfinite(frame["decoded_close"].to_numpy()) & (frame["decoded_close"].to_numpy() > 0)
        if not finite.all():
            raise BadInput(f"--tokens: after {np.argmin(finite)} of them the price is no number any more; give fewer")
        figures = {"last_price": float(frame["decoded_close"].iloc[-1])}
        said = f"from {price:g} to {figures['last_price']:.6g}"
    frame.to_csv(flags.out, index=False)
    console.print(f"{flags.out}: {len(frame):,} rows; {said}")
    return {"file": flags.out, "rows": len(frame)} | figures
