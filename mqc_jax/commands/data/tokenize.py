"""`data tokenize`: prices to a table of tokens, by a tokenizer that is already there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from data_pipeline import BadInput, DataConfig, FileOptions, tokenizer_from_json
from data_pipeline.storage import read_json, replacing
from data_pipeline.tokenizers import TokenIds
from mqc_jax.flags import check_place, parse


@dataclass(frozen=True)
class TokenizeFlags:
    """Cut prices into tokens with the tokenizer of a run or a dataset: a CSV table, or the ids alone as .txt."""

    out: str
    """File to write: .csv for unique_id, ds, token, log_return, close; .txt for the ids, as the original's."""
    data: str = "bundled"
    """'bundled', 'synthetic:garch', CSV or Parquet (a file or a folder), or a store."""
    tokenizer_from: str = "runs/daily"
    """Run or token dataset whose tokenizer cuts."""
    timeframes: str | None = None
    """Resample to these, like 5min or 1h,1d; default: the bars as they come."""
    calendar: str | None = None
    """Trading calendar of all assets; default: inferred from each name and printed."""
    files: FileOptions = field(default_factory=FileOptions)
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> TokenizeFlags:
    given = parse(TokenizeFlags, argv, "mqc data tokenize")
    check_place(given.out, "--out")
    if not given.out.endswith((".csv", ".txt")):
        raise BadInput(f"--out {given.out}: give a name that ends in .csv or .txt")
    return given


def run(flags: TokenizeFlags, console: Console) -> dict[str, Any]:
    """Encode and write, asset by asset."""
    from data_pipeline.decode import token_frames

    tokenizer, manifest = saved_tokenizer(flags.tokenizer_from)
    given: dict[str, Any] = {name: getattr(flags, name) for name in ("data", "timeframes", "calendar", "files")}
    config = DataConfig(tokenizer=tokenizer.kind, signal=manifest["options"]["signal"], **given)
    intervals = sorted({asset["interval"] for asset in manifest["assets"]})
    n_tokens, assets = 0, []
    with replacing(Path(flags.out)) as file:
        for frame in token_frames(config, tokenizer, intervals, console.print):
            if flags.out.endswith(".txt"):
                text = " " * bool(n_tokens) + " ".join(map(str, frame["token"]))
            else:
                text = frame.to_csv(index=False, header=not n_tokens)
            file.write(text.encode())
            n_tokens += len(frame)
            assets.append(str(frame["unique_id"].iloc[0]))
    console.print(f"{flags.out}: {n_tokens:,} tokens of {len(assets)} asset{'s' * (len(assets) != 1)}")
    return {"file": flags.out, "tokens": n_tokens, "assets": assets}


def saved_tokenizer(place: str) -> tuple[Any, dict[str, Any]]:
    """The tokenizer of a run or a dataset, and the manifest of the data it was fitted on.

    Raises BadInput where there is none that knows returns.
    """
    path = Path(place) / "tokenizer.json"
    if not path.is_file():
        raise BadInput(f"{place}: no tokenizer.json here; give a run or a token dataset")
    tokenizer = tokenizer_from_json(read_json(path), str(path))
    if isinstance(tokenizer, TokenIds):
        raise BadInput(f"{place}: its tokens came without returns, so nothing is known of them; choose another")
    return tokenizer, read_json(Path(place) / "manifest.json")
