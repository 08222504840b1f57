"""The token dataset: one row per return, split by calendar date, on disk as checked `.npy` files.

Rows of an asset are contiguous and in time order. `segments[a] = (begin, train, validation, test, end)` are the row
numbers at which asset a begins, at which its training, validation and test rows begin, and its end. The rows from
`begin` to `train` are the warm-up: their volatility is not yet known, so no model ever sees them. A row's token is
*scored* in its own split only; rows before it may serve as context.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from data_pipeline.bars import ReturnSeries
from data_pipeline.errors import BadInput, DamagedData
from data_pipeline.tokenizers import RETURN_TOKENIZERS, TokenIds, Tokenizer, tokenizer_from_json
from data_pipeline.tokenizers.base import ReturnTokenizer
from data_pipeline.volatility import WARMUP

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FORMAT = 1
LIBRARIES = ("numpy", "pandas", "scipy", "arch")


class Market(NamedTuple):
    """What is known about each row beside its token, where the tokens were made from prices."""

    times: np.ndarray  # (N,) datetime64[ns] of the bar that ends the return
    closes: np.ndarray  # (N,) its price
    returns: np.ndarray  # (N,) log returns
    volatility: np.ndarray  # (N,) known before each return: what scaled it, where anything did
    inputs: np.ndarray  # (N, F) float32, known after the return


@dataclass(frozen=True, eq=False)
class TokenDataset:
    """Tokens of N returns of A assets, with what is known about each; see the module's head for `segments`."""

    tokens: np.ndarray  # (N,) smallest unsigned integers that hold the vocabulary
    segments: np.ndarray  # (A, 5) int64
    tokenizer: Tokenizer
    manifest: dict[str, Any]
    market: Market | None = None  # None for bare token ids

    @property
    def assets(self) -> list[str]:
        return [asset["unique_id"] for asset in self.manifest["assets"]]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays there are, by file name."""
        market = {} if self.market is None else self.market._asdict()
        return {"tokens": self.tokens, "segments": self.segments, **market}

    def rows(self, split: Split) -> np.ndarray:
        """Row numbers that are scored in `split`."""
        return np.concatenate([np.arange(*span) for span in self.spans(split)])

    def spans(self, split: Split) -> list[tuple[int, int]]:
        """Per asset, the rows [low, high) scored in `split`; a first row has no context and is never scored."""
        part = 1 + SPLITS.index(split)
        lows = [max(int(s[part]), int(s[1]) + 1) for s in self.segments]
        return [(low, max(low, int(s[part + 1]))) for low, s in zip(lows, self.segments, strict=True)]

    def training_rows(self) -> np.ndarray:
        """All rows of the training dates, warm-up left out: what may be fitted on."""
        return np.concatenate([np.arange(s[1], s[2]) for s in self.segments])

    def window_starts(self, length: int) -> np.ndarray:
        """First rows of every training window of `length` tokens and the targets one step on, all in one asset.

        Raises BadInput when not a single window fits.
        """
        found = np.concatenate([np.arange(s[1], s[2] - length) for s in self.segments])
        if not len(found):
            longest = max(s[2] - s[1] for s in self.segments)
            raise BadInput(
                f"{self.manifest['source']}: the longest asset has {longest} training tokens, one window needs "
                f"{length + 1}; try --sequence_len {max(1, longest // 2)} or give a longer history"
            )
        return found


def build_dataset(
    series: Sequence[ReturnSeries],
    *,
    source: str,
    tokenizer: str | ReturnTokenizer,
    train_end: str | None = None,
    validation_end: str | None = None,
) -> TokenDataset:
    """Tokenize the returns of several assets and split them by date.

    Args:
      series: log returns per asset.
      source: where they come from, for the manifest.
      tokenizer: the name of one to fit on the training dates, or one already fitted.
      train_end, validation_end: the last training and validation dates; by default 70 % and 85 % of all bars lie
        before them.

    Raises BadInput for dates out of order, an unknown tokenizer or too little data.
    """
    train_end, validation_end = _split_dates(series, train_end, validation_end)
    borders = np.array([train_end, validation_end], "datetime64[D]") + np.timedelta64(1, "D")
    cuts = [np.searchsorted(s.times, borders.astype("datetime64[ns]")) for s in series]
    if isinstance(tokenizer, str):
        if tokenizer not in RETURN_TOKENIZERS:
            raise BadInput(f"tokenizer {tokenizer!r} is unknown; choose one of {sorted(RETURN_TOKENIZERS)}")
        kind = RETURN_TOKENIZERS[tokenizer]
        tokenizer = kind.fit([s.log_returns[: cut[0]] for s, cut in zip(series, cuts, strict=True)])
    tokens, markets, segments, assets, row = [], [], [], [], 0
    for s, cut in zip(series, cuts, strict=True):
        if len(s.times) <= WARMUP + 1:
            raise BadInput(f"{source}: {s.unique_id} has {len(s.times)} returns, the warm-up alone takes {WARMUP}")
        filtered = tokenizer.filter(s.log_returns)
        tokens.append(tokenizer.encode(s.log_returns, filtered.volatility))
        markets.append(Market(s.times, s.closes, s.log_returns, filtered.volatility, filtered.inputs))
        segments.append(row + np.array([0, WARMUP, *np.maximum(cut, WARMUP), len(s.times)]))
        row += len(s.times)
        assets.append({"unique_id": s.unique_id, "first": str(s.times[0]), "last": str(s.times[-1])})
    manifest = {
        "format": FORMAT,
        "source": source,
        "assets": assets,
        "splits": {"train_end": train_end, "validation_end": validation_end},
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return _sealed(
        TokenDataset(
            np.concatenate(tokens).astype(_dtype(tokenizer.vocab_size)),
            np.array(segments, np.int64),
            tokenizer,
            manifest,
            Market(*(np.concatenate(column) for column in zip(*markets, strict=True))),
        )
    )


def _dtype(vocab_size: int) -> np.dtype:
    return np.min_scalar_type(vocab_size - 1)


def _split_dates(series: Sequence[ReturnSeries], train_end: str | None, validation_end: str | None) -> tuple[str, str]:
    days = np.sort(np.concatenate([s.times for s in series])).astype("datetime64[D]")
    if not len(days):
        raise BadInput("there are no returns; give at least two bars per asset")
    try:
        first = np.datetime64(train_end or days[int(0.7 * (len(days) - 1))], "D")
        second = np.datetime64(validation_end or days[int(0.85 * (len(days) - 1))], "D")
    except ValueError as error:
        raise BadInput(f"--train_end and --validation_end are dates like 2010-12-31: {error}") from None
    if not days[0] <= first < second <= days[-1]:
        raise BadInput(
            f"train_end {first} and validation_end {second} must follow one another within the data, "
            f"{days[0]} to {days[-1]}; set --train_end and --validation_end"
        )
    return str(first), str(second)


def read_token_file(path: str | Path, vocab_size: int) -> TokenDataset:
    """The seed's `all_tokens.txt`: space-separated ids, one stream; 80 % train, 10 % validate, 10 % test, in order.

    Raises BadInput for text that is no id and for ids outside the vocabulary.
    """
    words = Path(path).read_text(encoding="utf-8", errors="replace").split()
    try:
        ids = np.array(words, dtype=np.int64)
    except (ValueError, OverflowError):
        bad = next(word for word in words if not word.lstrip("-").isdigit() or len(word) > 18)
        raise BadInput(f"{path}: {bad[:40]!r} is not a token id; the file holds space-separated integers") from None
    if len(ids) < 10:
        raise BadInput(f"{path}: {len(ids)} tokens, too few to split; the file holds space-separated integers")
    check_ids(ids, vocab_size, str(path))
    segments = np.array([[0, 0, int(0.8 * len(ids)), int(0.9 * len(ids)), len(ids)]], np.int64)
    manifest = {
        "format": FORMAT,
        "source": str(path),
        "assets": [{"unique_id": Path(path).stem, "first": None, "last": None}],
        "splits": {"train_share": 0.8, "validation_share": 0.1},
        "libraries": {"numpy": version("numpy")},
    }
    return _sealed(TokenDataset(ids.astype(_dtype(vocab_size)), segments, TokenIds(vocab_size), manifest))


def check_ids(ids: np.ndarray, vocab_size: int, where: str) -> None:
    """Raise BadInput naming the first id outside [0, vocab_size)."""
    bad = (ids < 0) | (ids >= vocab_size)
    if bad.any():
        place = int(np.argmax(bad))
        raise BadInput(
            f"{where}: token {ids[place]} at position {place} is outside [0, {vocab_size}); "
            f"set --vocab_size {max(int(ids.max()) + 1, 1)} or mend the file"
        )


def write_dataset(dataset: TokenDataset, directory: str | Path) -> None:
    """Write to a new directory, all or nothing. Raises BadInput when the directory is already there."""
    directory = Path(directory)
    if directory.exists():
        raise BadInput(f"{directory} exists; choose another place or remove it")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, array in dataset.arrays().items():
        with open(partial / f"{name}.npy", "wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    write_json(partial / "tokenizer.json", dataset.tokenizer.to_json())
    write_json(partial / "manifest.json", dataset.manifest)
    partial.rename(directory)


def open_dataset(directory: str | Path) -> TokenDataset:
    """Open a dataset memory-mapped, after checking it against its manifest.

    Raises BadInput when it is no dataset, DamagedData when an array is missing or is not what was written.
    """
    directory = Path(directory)
    if not (directory / "manifest.json").is_file():
        raise BadInput(f"{directory}: no manifest.json here, so no token dataset; make one with 'mqc data prepare'")
    manifest = read_json(directory / "manifest.json")
    if manifest.get("format") != FORMAT:
        raise DamagedData(f"{directory}: dataset format {manifest.get('format')}, this version reads {FORMAT}")
    tokenizer = tokenizer_from_json(read_json(directory / "tokenizer.json"), str(directory / "tokenizer.json"))
    arrays = {}
    for name, entry in manifest["arrays"].items():
        path = directory / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedData(f"{path}: not a readable array ({error}); prepare the dataset again") from None
        if _describe(arrays[name]) != entry:
            raise DamagedData(f"{path}: type, shape or SHA-256 differ from manifest.json; prepare the dataset again")
    tokens, segments = arrays.pop("tokens"), arrays.pop("segments")
    dataset = TokenDataset(tokens, segments, tokenizer, manifest, Market(**arrays) if arrays else None)
    if len(dataset.tokens) and dataset.tokens.max() >= tokenizer.vocab_size:
        raise DamagedData(
            f"{directory / 'tokens.npy'}: token {dataset.tokens.max()} is outside the vocabulary of "
            f"{tokenizer.vocab_size}; prepare the dataset again"
        )
    return dataset


def _sealed(dataset: TokenDataset) -> TokenDataset:
    described = {name: _describe(array) for name, array in dataset.arrays().items()}
    return replace(dataset, manifest={**dataset.manifest, "arrays": described})


def _describe(array: np.ndarray) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest}


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises DamagedData naming it when it cannot be parsed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedData(f"{path}: not readable JSON ({error})") from None


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN), whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
